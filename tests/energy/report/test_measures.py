"""Figures of microcontrollers: flash, RAM, cycles and time of a step, and the limits on them."""

from pathlib import Path

import nir
import numpy as np
import pytest
from onnx import helper

from nsc_deploy.cli.app import main
from nsc_deploy.deployment import Place, Side, read_deployment, write_deployment
from nsc_deploy.energy import Budget, count
from nsc_deploy.energy.output.headline_table import (
    energy_words,
    fit_words,
    headline_tables,
    memory_words,
    reasons,
)
from nsc_deploy.energy.output.html import render_html
from nsc_deploy.energy.report.budget import Finding
from nsc_deploy.energy.report.quantity import Quantity
from nsc_deploy.energy.results import Counted
from nsc_deploy.errors import BackendError, ConfigError
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.verify import open_deployment
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.c_graphs import needs_compiler, needs_qemu
from tests.support.int8 import STEPS as INT8_STEPS
from tests.support.int8 import graph, write_inputs
from tests.support.lava import random_events, receiver
from tests.support.small_runs import dense_graph, dense_run, event_run, events, onnx_graph, reals, write_run

STEPS = 6
MEMORY = {"flash_bytes": 1, "ram_bytes": 1}
TIME = {"cycles_per_step": 1e9, "microseconds_per_step": 1e9, "latency_steps": STEPS, "latency_ms": 180}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    write_network(folder / "receiver.nir", receiver())
    events = random_events(np.random.default_rng(0), STEPS, 3, 24)
    write_recording(folder / "inputs.npz", Recording(events, Signal.EVENTS, 0.03))
    return folder


def counted(place: Path, target: str | None = "c:stm32l432", **options: object) -> Counted:
    return count(place / "receiver.nir", inputs=place / "inputs.npz", target=target, **options)


def held(systems: Counted, limits: dict[str, float]) -> dict[str, Finding]:
    return {one.quantity: one for one in systems.check(Budget.model_validate({"limits": limits})).findings}


def test_flash_and_ram_are_those_of_the_map_by_layer(place: Path) -> None:
    systems = counted(place)
    (placed,) = systems.systems[0].placed
    assert placed is not None
    assert placed.found.firmware is not None
    memory = placed.found.firmware.memory
    found = held(systems, MEMORY)
    assert found["flash_bytes"].value == memory.flash_bytes
    assert found["ram_bytes"].value == memory.ram_bytes
    assert {one.unit for one in found.values()} == {"B"}
    assert all(one.passed is False and one.culprits for one in found.values())
    page = render_html(systems.estimate().report)
    assert "Memory of c:stm32l432, by layer" in page
    assert f"{memory.flash[0].bytes:,}" in page


@pytest.mark.parametrize("target", ["c:stm32l432", "c"])
def test_the_memory_of_c_code_is_its_own_and_not_that_of_a_profile(place: Path, target: str) -> None:
    # The part has a Cortex-M4, which is what any is taken to be.
    code = held(counted(place), MEMORY)
    for profile in ("horowitz-45nm", "horowitz-45nm-int8", "loihi"):
        systems = counted(place, target)
        limits = Budget.model_validate({"profile": profile, "limits": {"memory_bytes": 1}})
        (found,) = systems.check(limits).findings
        assert found.value == code["flash_bytes"].value + code["ram_bytes"].value
        assert found.culprits
    elsewhere = held(counted(place, None), {"memory_bytes": 1})["memory_bytes"]
    assert elsewhere.value != found.value


def test_memory_adds_the_parts_on_a_host_to_those_that_are_code(tmp_path: Path) -> None:
    run = event_run(tmp_path / "run")
    along = held(count(run, target="c:stm32l432"), {"memory_bytes": 1, **MEMORY})
    # The front end is in the code of the receiver, and counted once.
    assert along["memory_bytes"].value == along["flash_bytes"].value + along["ram_bytes"].value
    deployment = read_deployment(run)
    transmitter, front, receiver = deployment.parts
    apart = front.model_copy(update={"side": Side.TRANSMITTER})
    write_deployment(run, deployment.model_copy(update={"parts": (transmitter, apart, receiver)}))
    systems = count(run, target="c:stm32l432")
    every = held(systems, {"memory_bytes": 1, **MEMORY})
    host = Budget.model_validate({"place": "host", "limits": {"memory_bytes": 1}})
    (front,) = systems.check(host).findings
    assert front.value
    code = every["flash_bytes"].value + every["ram_bytes"].value
    assert every["memory_bytes"].value == code + front.value


def test_labels_say_how_many_classes_to_name(place: Path, tmp_path: Path) -> None:
    labelled = tmp_path / "labelled.npz"
    events = random_events(np.random.default_rng(0), STEPS, 3, 24)
    write_recording(labelled, Recording(events, Signal.EVENTS, 0.03, np.array([0, 3, 1])))
    for inputs, said in ((labelled, "--classes 4"), (place / "inputs.npz", "Record labels")):
        graph = receiver()
        graph.nodes["output"].metadata.clear()
        (finding,) = count(graph, inputs=inputs).check(Budget(limits={"accuracy": 0.5})).findings
        assert finding.value is None
        assert said in finding.why


@pytest.mark.parametrize(
    ("leaves", "targets", "asked"),
    [("v", ("lava", "c"), False), ("i", ("c",), False), ("n", ("lava", "c"), True)],
)
def test_classes_are_asked_for_where_spikes_vote_and_not_of_potentials(
    leaves: str, targets: tuple[str, ...], asked: bool, tmp_path: Path
) -> None:
    build = GraphBuilder(0.03)
    build.input(24, Signal.EVENTS)
    build.linear("w", np.random.default_rng(1).integers(-40, 90, (4, 24)) / 64)
    build.add("v", nir.I(r=np.full(4, 1 / 0.03)))
    if leaves != "i":
        build.threshold("n", 1.0, (4,))
        build.add("back", nir.Scale(np.full(4, -1.0, np.float32)))
        build.connect("back", "v")
    build.output(4, after="n" if leaves == "n" else "v")
    graph, inputs = tmp_path / "g.nir", tmp_path / "inputs.npz"
    write_network(graph, build.build())
    events = random_events(np.random.default_rng(0), STEPS, 3, 24)
    write_recording(inputs, Recording(events, Signal.EVENTS, 0.03, np.array([0, 3, 1])))
    folders = [export_all(graph, target, tmp_path / target, inputs=inputs)[0] for target in targets]
    for counts in (count(graph, inputs=inputs), *map(count, folders)):
        (finding,) = counts.check(Budget(limits={"accuracy": 0.5})).findings
        assert finding.value is None
        assert ("--classes 4" in finding.why) == asked
        assert ("no outputs vote for classes" in finding.why) != asked


def test_without_a_microcontroller_there_is_no_clock_to_be_late_by(place: Path) -> None:
    found = held(counted(place, "c"), TIME)
    assert found["latency_ms"].value == pytest.approx(STEPS * 30)
    assert found["latency_ms"].passed
    assert "no microcontroller is named" in found["microseconds_per_step"].why


@needs_qemu
def test_a_sample_that_enters_whole_has_lasted_before_it_is_looked_at(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "in.npz", "ds_cnn")
    export_all(graph(tmp_path, "ds_cnn"), "c:stm32l432", tmp_path / "out", inputs=inputs)
    found = held(count(tmp_path / "out"), {"latency_steps": 99, "latency_ms": 999})
    assert found["latency_steps"].value == INT8_STEPS
    assert found["latency_ms"].value == pytest.approx(INT8_STEPS * 30)


@needs_qemu
def test_cycles_and_microseconds_are_those_of_the_worst_step(place: Path) -> None:
    # Steps of a nanosecond are over before the core is done with one.
    systems = counted(place, step_seconds=1e-9)
    (placed,) = systems.systems[0].placed
    assert placed is not None
    assert placed.run is not None
    cycles = placed.run.cycles.high
    found = held(systems, TIME)
    worst = found["cycles_per_step"]
    assert worst.sample is not None
    assert worst.step is not None
    assert worst.value == cycles.max() == cycles[worst.step, worst.sample]
    assert found["microseconds_per_step"].value == pytest.approx(cycles.max() / 80)
    assert found["latency_steps"].value == STEPS
    assert found["latency_ms"].value == pytest.approx(cycles.sum(axis=0).max() / 80e3)
    assert all(one.passed for one in found.values())


@needs_qemu
def test_an_exported_folder_is_held_to_the_same_limits(place: Path) -> None:
    export_all(place / "receiver.nir", "c:stm32l432", place / "named", inputs=place / "inputs.npz")
    limits = {"ram_bytes": 1, "microseconds_per_step": 1, "latency_steps": 1}
    same, found = held(counted(place), limits), held(count(place / "named"), limits)
    assert [one.value for one in found.values()] == pytest.approx([one.value for one in same.values()])
    named = Budget.model_validate({"target": "c:stm32l432", "limits": limits})
    again = count(place / "named").check(named).findings
    assert [one.value for one in again] == [one.value for one in found.values()]
    other = Budget.model_validate({"target": "c:nrf52840", "limits": limits})
    with pytest.raises(ConfigError, match=r"c:nrf52840, .* is counted on c:stm32l432"):
        count(place / "named").check(other)


@pytest.mark.parametrize(
    ("target", "why"), [(None, "no part is on a target"), ("loihi1", "no microcontroller")]
)
def test_what_is_on_no_microcontroller_cannot_be_told(place: Path, target: str | None, why: str) -> None:
    for finding in held(counted(place, target), MEMORY | {"cycles_per_step": 1}).values():
        assert finding.passed is None
        assert why in finding.why


def test_what_runs_on_a_host_alone_is_on_no_microcontroller(tmp_path: Path) -> None:
    systems = count(event_run(tmp_path / "run"), target="c:stm32l432")
    limits = Budget.model_validate({"place": "host", "limits": {"flash_bytes": 1}})
    (finding,) = systems.check(limits).findings
    assert "on a host" in finding.why


def test_a_core_without_timings_has_no_cycles_and_its_latency_is_a_lower_bound(place: Path) -> None:
    found = held(counted(place, "c:stm32h743"), TIME)
    for name in ("cycles_per_step", "microseconds_per_step", "latency_ms"):
        assert found[name].passed is None
        assert "cortex-m7" in found[name].why
    assert found["latency_steps"].passed


def test_without_qemu_the_command_ends_with_2_and_says_what_is_missing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text('target = "c:stm32l432"\n[limits]\nflash_bytes = 100000\ncycles_per_step = 1\n')
    monkeypatch.setenv("PATH", str(tmp_path))
    arguments = [place / "receiver.nir", "--inputs", place / "inputs.npz", "--budget", budget]
    monkeypatch.setattr("sys.argv", ["nsc-deploy", "energy", "check", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    said = capsys.readouterr().out
    assert "ok    flash_bytes" in said
    assert "there is no qemu-system-arm here" in said
    assert "apt-get install" in said
    with pytest.raises(BackendError):
        counted(place).systems[0].placed[0].run.cycles  # noqa: B018


def counting_run(run: Path) -> Path:
    """A run as of qnn: a front end that counts events, which has no C, and dense layers behind it."""
    run.mkdir()
    onnx_graph(
        run / "front.onnx",
        [helper.make_node("ReduceSum", ["input", "axis"], ["output"], name="count", keepdims=1)],
        {"axis": np.array([0])},
        6,
        6,
    )
    dense_graph(run / "receiver.onnx", [6, 4])
    front = ("front", Side.TRANSMITTER, Place.HOST, "front.onnx", events(6))
    return write_run(run, "qnn", [front, ("receiver", Side.RECEIVER, Place.HOST, "receiver.onnx", reals(6))])


@needs_compiler
def test_a_part_without_a_form_in_c_is_named_beside_those_that_fit(tmp_path: Path) -> None:
    counts = count(counting_run(tmp_path / "run"), target="c:nrf52840")
    report = counts.estimate().report
    figure = report.systems[0].headline[Quantity.FITS]
    why = "front does not fit c:nrf52840: count has no form in 8 bits. Where it counts the events"
    assert figure.worst == 0
    assert figure.why.startswith(why)
    assert figure.why.endswith("; receiver: fits")
    flash = report.systems[0].headline[Quantity.FLASH].why
    assert flash == "front does not fit c:nrf52840: count has no form in 8 bits."
    (held,) = counts.check(Budget.model_validate({"limits": {"fits": True}})).findings
    assert (held.passed, held.why) == (False, figure.why)
    assert "front does not fit c:nrf52840" in "\n".join(reasons(report))
    assert energy_words(report) == []  # there is none whose prices could be named
    assert memory_words(report) == "Memory: of C code its flash and RAM, of the rest values of 32 bits."
    whole = count(event_run(tmp_path / "events"), target="c:nrf52840").estimate().report
    assert memory_words(whole) == "Memory: of C code its flash and RAM."
    assert any(line.startswith("On c:nrf52840: flash and RAM are those of") for line in whole.estimated)
    _, along, _ = (part.on_target for part in whole.systems[0].parts)
    assert (along.on_host, along.fits) == (False, True)
    assert {node.because for node in along.nodes} == {"in the code of receiver"}
    assert along.notes == ("receiver-front-end is in the code of receiver",)


def test_a_target_that_takes_no_part_is_not_passed_over(tmp_path: Path) -> None:
    counts = count(dense_run(tmp_path / "run"), target="loihi1")
    assert fit_words(counts.estimate().report) == "All parts run on a host, none on loihi1."
    assert fit_words(count(tmp_path / "run").estimate().report) == ""


def test_a_fit_says_which_parts_run_on_a_host_beside_it(tmp_path: Path) -> None:
    counts = count(event_run(tmp_path / "run"), target="loihi1")
    report = counts.estimate().report
    figure = report.systems[0].headline[Quantity.FITS]
    assert (figure.worst, figure.left_out) == (1, ("receiver-front-end",))
    (table,) = headline_tables(report)
    assert ("Fits", "loihi1: yes *") in [row.cells for row in table.rows]
    assert fit_words(report) in render_html(report)
    assert fit_words(report) == "* On a host: receiver-front-end."
    result = counts.check(Budget.model_validate({"limits": {"fits": True}}))
    assert result.passed
    assert result.findings[0].left_out == ("receiver-front-end",)
    assert "on a host: receiver-front-end" in result.as_text()
    (of_one,) = counts.check(Budget.model_validate({"part": "receiver", "limits": {"fits": True}})).findings
    assert of_one.left_out == ()


@needs_compiler
def test_a_folder_for_a_controller_says_which_and_whether_it_has_the_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dense_graph(tmp_path / "dense.onnx", [300, 300])
    write_recording(tmp_path / "dense.npz", reals(300))
    write_recording(tmp_path / "other.npz", reals(300, seed=1))
    out = tmp_path / "firmware"
    told: list[str] = []
    export_all(
        tmp_path / "dense.onnx",
        "c:stm32l051",
        out,
        inputs=tmp_path / "dense.npz",
        calibration=tmp_path / "other.npz",
        notify=told.append,
    )
    assert any(line.startswith("does not fit c:stm32l051: ") for line in told)
    assert open_deployment(out).target == "c:stm32l051"
    budget = Budget.model_validate({"target": "c:stm32l051", "limits": {"fits": True}})
    result = count(out).check(budget)
    assert result.target == "c:stm32l051"
    assert "target c:stm32l051" in result.as_text().splitlines()[0]
    (fits,) = result.findings
    assert fits.passed is False
    assert fits.why.endswith("bytes of flash, and c:stm32l051 has 65,536")
    assert result.as_text().splitlines()[2].startswith("NO    fits  no")
    for target, code in (("c:stm32l051", 1), ("c:stm32l432", 0)):
        assert count(tmp_path / "dense.onnx", inputs=tmp_path / "dense.npz", target=target).check(
            Budget.model_validate({"limits": {"fits": True}})
        ).passed is not bool(code)


def test_the_rate_of_a_system_is_that_of_its_sample_over_the_latency_beside_it(tmp_path: Path) -> None:
    """A part of a single step, which takes as long as one step of another, made four times the rate of it."""
    run = tmp_path / "run"
    run.mkdir()
    dense_graph(run / "front.onnx", [6, 6])
    dense_graph(run / "receiver.onnx", [6, 4])
    once = Recording(reals(6).values[:1], Signal.REAL, reals(6).dt)
    front = ("front", Side.TRANSMITTER, Place.HOST, "front.onnx", once)
    write_run(run, "fc", [front, ("receiver", Side.RECEIVER, Place.HOST, "receiver.onnx", reals(6))])
    limits = {"synops_per_inference": 1, "synops_per_second": 1, "latency_ms": 1}
    found = {
        one.quantity: one.value
        for one in count(run).check(Budget.model_validate({"limits": limits})).findings
    }
    operations, rate, milliseconds = (found[name] for name in limits)
    assert operations is not None and rate is not None and milliseconds is not None
    assert rate == pytest.approx(operations / (milliseconds / 1000))

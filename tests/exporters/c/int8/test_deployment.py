"""Conventional networks by the same commands as graphs of events: export, run, verify, check."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.cli.app import app
from nsc_deploy.cli.exit_codes import run_to_exit_code
from nsc_deploy.energy import estimate
from nsc_deploy.errors import ConfigError, GraphError, UserError
from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.exporters.c.deployment import read_c_deployment
from nsc_deploy.exporters.check import graphs_of
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.inputs import choose_samples
from nsc_deploy.exporters.registry import load_target
from nsc_deploy.exporters.verify import open_deployment, run, verify
from nsc_deploy.graphs.formats.nir import GraphOptions
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.formats.recording import Recording, read_recording, write_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_build import sum_over_time
from nsc_deploy.training.run import train
from nsc_deploy.verification.limits import Limits
from tests.support.c_graphs import needs_compiler, needs_qemu
from tests.support.int8 import DT, INTEGER_KINDS, KINDS, STEPS, graph, write_inputs
from tests.support.small_runs import dense_run, event_run

THREE = GraphOptions(classes=3)


def exported(folder: Path, kind: str) -> Path:
    inputs = write_inputs(folder / "in.npz", kind, 2, 20)
    (out,) = export_all(graph(folder, kind), "c", folder / "out", inputs=inputs, graph=THREE)
    return out


@needs_compiler
@pytest.mark.parametrize("kind", KINDS)
def test_an_onnx_file_goes_the_way_of_every_graph(kind: str, tmp_path: Path) -> None:
    out = exported(tmp_path, kind)
    manifest = read_c_deployment(out).manifest
    assert (manifest.form, manifest.classes, manifest.group) == ("int8", 3, 2)
    assert manifest.compiled is not None
    assert manifest.compiled.values > 0
    assert manifest.verification is not None
    assert manifest.verification.agreement is not None
    said = manifest.verification.sentence
    assert ("bit for bit" if kind in INTEGER_KINDS else "of the decisions are alike") in said
    opened = open_deployment(out)
    host, emulator = (run(opened, name) for name in ("host", "emulator"))
    np.testing.assert_array_equal(host.spikes, emulator.spikes)
    np.testing.assert_array_equal(host.decisions, emulator.decisions)
    # Ranges were chosen on the other ten; a graph in integers has none to choose.
    assert host.comparison.samples == (20 if kind in INTEGER_KINDS else 10)
    found = verify(opened, "reference", choose_samples(opened, None, None), Limits(min_agreement=0.5))
    assert found.passed


@needs_compiler
def test_ranges_and_check_never_see_the_same_samples(tmp_path: Path) -> None:
    out, whole = exported(tmp_path, "dense"), read_recording(tmp_path / "in.npz")
    kept = read_recording(out / "inputs.npz")
    np.testing.assert_array_equal(kept.values, whole.values[:, 1::2])
    assert read_c_deployment(out).manifest.calibration.samples == 10
    other = write_inputs(tmp_path / "other.npz", "dense", 3, 8)
    inputs = tmp_path / "in.npz"
    (out,) = export_all(
        tmp_path / "dense.onnx", "c", tmp_path / "all", inputs=inputs, calibration=other, graph=THREE
    )
    assert read_recording(out / "inputs.npz").samples == 20
    assert read_c_deployment(out).manifest.calibration.path == str(other)


@needs_compiler
def test_what_lies_beyond_the_ranges_is_told(tmp_path: Path) -> None:
    inputs, quiet = (write_inputs(tmp_path / f"{name}.npz", "dense", 2, 20) for name in ("in", "quiet"))
    recorded, lines = read_recording(quiet), []
    write_recording(quiet, Recording(recorded.values / 2, Signal.REAL, DT))
    (out,) = export_all(
        graph(tmp_path, "dense"),
        "c",
        tmp_path / "out",
        inputs=inputs,
        calibration=quiet,
        describe=lambda _folder, line, detail: lines.append((line, detail)),
    )
    found = [one for one in read_c_deployment(out).manifest.approximations if one.kind == "cut-off"]
    assert [one.node for one in found] == [None, "dense1", "dense2", "dense3"]
    assert all(0 < one.error < 1 and not one.exact for one in found)
    (said,) = [line for line, detail in lines if "cut off" in line and not detail]
    assert said.startswith("beyond the ranges that were chosen, and cut off on recorded inputs: ")
    assert all(name in said for name in ("% of what enters, ", "% of dense1, ", "% of dense3"))


def test_ranges_are_not_chosen_on_zeros(tmp_path: Path) -> None:
    inputs, none = write_inputs(tmp_path / "in.npz", "dense", 2, 4), tmp_path / "none.npz"
    write_recording(none, Recording(np.zeros((STEPS, 3, 7), np.float32), Signal.REAL, DT))
    with pytest.raises(ConfigError, match=r"none\.npz: what enters is 0 in all 3 samples") as caught:
        export_all(graph(tmp_path, "dense"), "c", tmp_path / "out", inputs=inputs, calibration=none)
    assert "--calibration" in str(caught.value.hint)


@needs_compiler
@pytest.mark.parametrize("system", ["qnn", "gru", "ds-cnn"])
def test_a_trained_system_in_integers_is_its_graph_bit_for_bit(
    system: str, small_experiment: Callable[..., dict[str, object]], tmp_path: Path
) -> None:
    overrides = small_experiment(system__name=system, training__epochs=1)
    trained = train(load_experiment(None, overrides), tmp_path / "run", progress=False).run
    for part in ("transmitter", "receiver"):
        (out,) = export_all(trained, "c", tmp_path / part, part=part)
        manifest = read_c_deployment(out).manifest
        assert manifest.calibration.samples == 0
        assert [one.exact for one in manifest.approximations] == [True]
        opened = open_deployment(out)
        for backend in ("host", "emulator"):
            found = run(opened, backend)
            assert found.comparison.equal
            assert found.comparison.output.compared > 100
        chosen = choose_samples(opened, None, 4)
        assert verify(opened, "reference", chosen, Limits()).passed
        report = estimate([out]).report
        assert report.systems[0].counts.macs > 0
        ((_, network),) = graphs_of(trained, GraphOptions(), part=part, target=load_target("c"))
        assert load_target("c:stm32l432").check(network).fits


def test_what_counts_events_is_left_to_the_firmware(tmp_path: Path) -> None:
    write_onnx(tmp_path / "count.onnx", sum_over_time(7, signal=Signal.EVENTS, dt=0.03))
    inputs = tmp_path / "in.npz"
    write_recording(inputs, Recording(np.ones((12, 4, 7), np.uint8), Signal.EVENTS, 0.03))
    with pytest.raises(UserError, match=r"'count' \(ReduceSum\)") as caught:
        export_all(tmp_path / "count.onnx", "c", tmp_path / "out", inputs=inputs)
    assert "let the firmware count them" in str(caught.value.hint)


@needs_qemu
def test_qemu_runs_it_too(tmp_path: Path) -> None:
    done = run(open_deployment(exported(tmp_path, "gru")), "qemu", samples=2)
    assert done.instructions is not None
    assert done.instructions.min() > 500


@needs_qemu
def test_a_step_of_a_sample_that_enters_whole_is_as_long_as_the_sample(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = exported(tmp_path, "ds_cnn")
    capsys.readouterr()
    command = ["run", str(out), "--backend", "qemu", "--samples", "1", "--clock", "80", "--json"]
    assert run_to_exit_code(lambda: app(command, prog_name="nsc-deploy")) == 0
    cost = json.loads(capsys.readouterr().out)["cost"]
    assert cost["worst_step_share"] == pytest.approx(cost["worst_step_microseconds"] / (STEPS * DT * 1e6))


@needs_compiler
def test_the_receiver_of_a_conventional_run_is_taken_with_its_readout(tmp_path: Path) -> None:
    (out,) = export_all(dense_run(tmp_path / "run"), "c", tmp_path / "out")
    manifest = read_c_deployment(out).manifest
    assert (manifest.name, manifest.classes, manifest.group) == ("receiver", 2, 2)
    (sender,) = export_all(tmp_path / "run", "c", tmp_path / "sender", part="transmitter")
    assert read_c_deployment(sender).manifest.classes is None
    (event,) = export_all(event_run(tmp_path / "event"), "c", tmp_path / "firmware")
    assert read_c_deployment(event).manifest.form == "events"


def test_other_targets_take_no_onnx(tmp_path: Path) -> None:
    path = graph(tmp_path, "dense")
    with pytest.raises(ConfigError, match="is an ONNX graph, which 'lava' does not take"):
        export_all(path, "lava", tmp_path / "out")
    with pytest.raises(ConfigError, match="is an ONNX graph, which 'lava' does not take"):
        graphs_of(path, GraphOptions(), target=load_target("lava"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "ranges of 8 bits are chosen on recorded inputs, and there are none"),
        ({"bits": 4}, "have 8 bits and a factor for each row"),
        ({"split": True}, "cuts NIR graphs only"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], problem: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=problem):
        export_all(graph(tmp_path, "dense"), "c", tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_check_needs_no_ranges(kind: str, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "in.npz", kind)
    ((_, network),) = graphs_of(graph(tmp_path, kind), THREE, inputs=inputs, target=load_target("c"))
    found = load_target("c:stm32l432").check(network)
    assert found.fits
    flash, ram = found.pools
    assert flash.used > 500
    assert ram.used > 50


def test_damage_is_told(tmp_path: Path) -> None:
    out = exported(tmp_path, "dense")
    (out / "source.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match="not the file that was exported"):
        open_deployment(out)
    with pytest.raises(GraphError, match="not an ONNX file"):
        graphs_of(out / "source.onnx", GraphOptions(), target=load_target("c"))

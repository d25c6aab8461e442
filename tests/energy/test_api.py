import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nir
import numpy as np
import pytest

from nsc_deploy.energy import (
    Budget,
    Counted,
    CountedGraph,
    advise,
    check,
    compare,
    count,
    count_graph,
    estimate,
)
from nsc_deploy.errors import BackendError, ConfigError, DataError, GraphError
from nsc_deploy.exporters.onnx.models import sequence_model
from nsc_deploy.graphs.formats.nir import read_graph, read_network
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.formats.recording import read_recording, write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import dense_graph, dense_run, event_run, events, reals, spiking_graph


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [event_run(folder / "event"), dense_run(folder / "fc")]


def test_the_figures_are_those_of_the_command(runs: list[Path], tmp_path: Path) -> None:
    priced = estimate(runs, profile="horowitz-45nm-int8")
    made = estimate(runs, profile="horowitz-45nm-int8").report
    assert priced.report.systems == made.systems
    assert [path.name for path in priced.write(tmp_path)] == ["report.json", "report.html"]


def test_tables_convert_to_pandas(runs: list[Path]) -> None:
    pytest.importorskip("pandas")
    counted = count(runs)
    frame = counted.to_pandas()
    report = counted.estimate().report
    assert frame[frame.system == "fc"].macs.sum() == pytest.approx(report.systems[1].counts.macs)
    energies = counted.estimate().to_pandas()
    of = energies[(energies.system == "att-neurosc (event)") & (energies.column == "memory")]
    assert of.mean_uj.sum() == pytest.approx(report.systems[0].energy["memory"].mean_uj)


def test_without_pandas_the_way_out_is_named(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(BackendError, match=r"nsc-deploy\[pandas\]"):
        count(runs[0], samples=1).to_pandas()


def test_notebooks_show_tables_and_run_nothing(tmp_path: Path) -> None:
    graph, inputs = tmp_path / "<b>x.nir", tmp_path / "inputs.npz"
    spiking_graph(graph, [6, 4], Signal.EVENTS)
    write_recording(inputs, events(6))
    counted = count(graph, inputs=inputs, samples=2)
    for page in (counted._repr_html_(), counted.estimate()._repr_html_()):
        assert page.startswith("<table>")
        assert "&lt;b&gt;x" in page
        assert "<b>" not in page


def test_budgets_from_python(runs: list[Path]) -> None:
    counted = count(runs[0], samples=2)
    assert counted.check(Budget.model_validate({"limits": {"neurons": 1000}})).passed
    assert not counted.check(Budget.model_validate({"limits": {"neurons": 1}})).passed
    with pytest.raises(ConfigError):
        counted.estimate("no-such-profile")


def test_importing_the_room_is_light() -> None:
    code = (
        "import sys, nsc_deploy.energy as energy; "
        "heavy = ('numpy', 'pydantic', 'onnx', 'onnxruntime', 'nir', 'pandas', 'jinja2', 'rich'); "
        "print([name for name in heavy if name in sys.modules]); energy.count; "
        "print([name for name in ('torch', 'pandas', 'onnxruntime', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


def test_a_shell_completes_every_name_and_each_is_there() -> None:
    from nsc_deploy import energy

    assert dir(energy) == energy.__all__ == sorted(energy.__all__)
    assert {"Budget", "advise", "check", "compare", "count", "count_graph", "estimate"} < set(dir(energy))
    assert all(getattr(energy, name).__name__ == name for name in dir(energy))


def test_results_are_told_in_one_line(runs: list[Path]) -> None:
    counted = count(runs, samples=2)
    assert (
        repr(counted)
        == "<Counted: att-neurosc (event), 2 samples, 1,618 SynOps; fc, 2 samples, 4,336 SynOps>"
    )
    priced = counted.estimate()
    assert re.fullmatch(
        r"<Estimate: att-neurosc \(event\) 1,618 SynOps, [\d.]+ uJ; fc 4,336 SynOps, [\d.]+ uJ "
        r"\(with memory, horowitz-45nm\)>",
        repr(priced),
    )
    assert repr(priced.report) == "<Report: att-neurosc (event), fc; horowitz-45nm>"
    assert (
        repr(counted.check(Budget.model_validate({"limits": {"synops_per_inference": 1}})))
        == "<CheckResult: 2 rows>"
    )
    assert re.fullmatch(r"<Comparison: \d+ rows>", repr(priced.compare(priced)))
    assert re.fullmatch(r"<AdviceReport: \d+ rows?>", repr(count(runs[0], samples=2).advise()))
    for system in counted.systems:
        for part in system.parts:
            assert len(repr(CountedGraph(part)).splitlines()) == 1


def test_an_unknown_name_is_an_attribute_error() -> None:
    from nsc_deploy import energy

    with pytest.raises(AttributeError, match="weigh"):
        _ = energy.weigh


def nominal(folder: Path, dt: float = 0.03) -> tuple[Path, Path]:
    """A graph and a recording of it, with the step that is named; the graph is for 0.03 s."""
    spiking_graph(folder / "graph.nir", [6, 4], Signal.EVENTS)
    write_recording(folder / "inputs.npz", replace(events(6), dt=dt))
    return folder / "graph.nir", folder / "inputs.npz"


def test_steps_of_graph_recording_and_option_agree_or_nothing_is_counted(tmp_path: Path) -> None:
    graph, inputs = nominal(tmp_path, dt=0.003)
    tight = Budget.model_validate({"limits": {"neurons": 1000}})
    refused: list[Callable[[], object]] = [
        lambda: count(graph, inputs=inputs),
        lambda: estimate(graph, inputs=inputs),
        lambda: check(graph, tight, inputs=inputs),
        lambda: compare(graph, graph, inputs=inputs),
        lambda: advise(graph, inputs=inputs),
        lambda: count_graph(read_network(graph), read_recording(inputs)),
    ]
    for attempt in refused:
        with pytest.raises(ConfigError, match=r"steps of 0\.003 s, the graph has 0\.03 s"):
            attempt()
    with pytest.raises(GraphError, match="states a time step"):
        count(graph, inputs=inputs, dt=0.003)
    nir.write(tmp_path / "bare.nir", without_step(graph))
    with pytest.raises(ConfigError, match=r"the graph has 0\.01 s"):
        count(tmp_path / "bare.nir", inputs=inputs, dt=0.01, reset="zero")
    assert count(tmp_path / "bare.nir", inputs=inputs, reset="zero").systems[0].parts[0].dt == 0.003


def without_step(graph: Path) -> nir.NIRGraph:
    bare = read_graph(graph)
    del bare.metadata["dt"]
    return bare


def test_an_onnx_graph_has_the_step_of_its_file_or_of_the_option(tmp_path: Path) -> None:
    graph, inputs = nominal(tmp_path)
    write_onnx(tmp_path / "graph.onnx", sequence_model(read_network(graph)))
    assert count(tmp_path / "graph.onnx", inputs=inputs).systems[0].parts[0].dt == 0.03
    write_recording(tmp_path / "other.npz", replace(events(6), dt=0.001))
    with pytest.raises(ConfigError, match=r"the graph has 0\.03 s"):
        count(tmp_path / "graph.onnx", inputs=tmp_path / "other.npz")
    dense_graph(tmp_path / "dense.onnx", [6, 4])
    with pytest.raises(ConfigError, match=r"the graph has 0\.01 s"):
        count(tmp_path / "dense.onnx", inputs=inputs, dt=0.01)


@pytest.mark.parametrize("recorded", [0.03, 0.003])
def test_a_nominal_step_is_given_the_real_one(tmp_path: Path, recorded: float) -> None:
    graph, inputs = nominal(tmp_path, recorded)
    (tmp_path / "same").mkdir()
    as_written = count(graph, inputs=nominal(tmp_path / "same")[1])
    real = count(graph, inputs=inputs, step_seconds=0.003)
    now, before = (one.systems[0].parts[0] for one in (real, as_written))
    assert (now.dt, before.dt) == (0.003, 0.03)
    assert now.per_sample.acs.tolist() == before.per_sample.acs.tolist()
    fast, slow = (one.estimate().report.systems[0].parts[0].load for one in (real, as_written))
    assert fast.worst == pytest.approx(10 * slow.worst)
    limit = Budget.model_validate({"limits": {"synops_per_second": slow.worst * 1.01}})
    assert as_written.check(limit).passed
    assert not real.check(limit).passed
    with pytest.raises(ConfigError, match="step_seconds"):
        count(graph, inputs=inputs, step_seconds=0.0)


def figures(counted: Counted) -> list[dict[str, float]]:
    return [part.per_sample.means() for system in counted.systems for part in system.parts]


def test_graphs_and_inputs_in_memory_are_counted_as_their_files(tmp_path: Path) -> None:
    path, inputs = nominal(tmp_path)
    wanted = count(path, inputs=inputs)
    graph, recording = nir.read(path), read_recording(inputs)
    for given in (path, str(path), graph, [graph]):
        for entering in (recording.values, [recording.values], recording.values.astype(float)):
            counted = count(given, inputs=entering, signal="events", dt=0.03)
            assert figures(counted) == figures(wanted)
    assert figures(count(graph, inputs=recording)) == figures(wanted)
    assert figures(count(graph, inputs=inputs)) == figures(wanted)
    labelled = replace(recording, labels=np.arange(recording.samples) % 2)
    assert count(graph, inputs=labelled).systems[0].accuracy is not None
    twice = count([graph, path], inputs=[recording, recording.values], signal="events", dt=0.03)
    assert [system.label for system in twice.systems] == ["graph in graph", "graph in graph.nir"]


def test_all_that_is_done_with_counts_is_done_with_those_of_graphs_in_memory(tmp_path: Path) -> None:
    path, inputs = nominal(tmp_path)
    graph, values = nir.read(path), read_recording(inputs).values
    counted = count(graph, inputs=values, signal="events", dt=0.03, target="loihi1")
    (tmp_path / "budget.toml").write_text("[limits]\nneurons = 4\n")
    assert counted.check(tmp_path / "budget.toml").passed
    assert check(graph, str(tmp_path / "budget.toml"), inputs=values, signal="events", dt=0.03).passed
    assert counted.advise().advice == count(path, inputs=inputs, target="loihi1").advise().advice
    [part] = counted.estimate("loihi").report.systems[0].parts
    assert (part.graph, part.recording) == ("graph", "inputs")
    changed = 1 - values
    [other] = estimate(graph, inputs=changed, signal="events", dt=0.03).report.systems[0].parts
    assert other.graph_sha256 == part.graph_sha256
    assert other.recording_sha256 != part.recording_sha256
    graph.nodes["linear1"].weight[0, 0] += 1
    values[:] = 0
    assert counted.estimate("loihi").report.systems[0].parts == (part,)
    [heavier] = estimate(graph, inputs=changed, signal="events", dt=0.03).report.systems[0].parts
    assert heavier.graph_sha256 != part.graph_sha256


def test_arrays_that_do_not_say_what_they_are_are_refused(tmp_path: Path) -> None:
    path, inputs = nominal(tmp_path)
    graph, values = nir.read(path), read_recording(inputs).values
    with pytest.raises(DataError, match="inputs: holds plain arrays"):
        count(graph, inputs=values, dt=0.03)
    with pytest.raises(DataError, match="inputs: holds plain arrays"):
        count(graph, inputs=values, signal="events")
    with pytest.raises(DataError, match="events other than 0 and 1"):
        count(graph, inputs=values * 2, signal="events", dt=0.03)
    with pytest.raises(ConfigError, match="graph: is a graph without recorded inputs"):
        count(graph)
    with pytest.raises(ConfigError, match="not counted yet"):
        check(count(graph, inputs=inputs), Budget.model_validate({"limits": {"neurons": 4}}), inputs=values)


def test_an_onnx_file_takes_an_array_too(tmp_path: Path) -> None:
    dense_graph(tmp_path / "mlp.onnx", [6, 4])
    recording = reals(6)
    write_recording(tmp_path / "inputs.npz", recording)
    found = count(tmp_path / "mlp.onnx", inputs=recording.values, signal="real", dt=recording.dt)
    assert figures(found) == figures(count(tmp_path / "mlp.onnx", inputs=tmp_path / "inputs.npz"))

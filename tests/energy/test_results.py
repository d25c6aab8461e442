"""What a notebook needs: every result a table, and one script that uses all of it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nsc_deploy.energy import Budget, advise, compare, count, estimate
from nsc_deploy.energy.advice.records import Change
from nsc_deploy.energy.output.tables import systems_table
from nsc_deploy.energy.report.tabular import Tabular
from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import DT, dense_run, event_run, events, spiking_graph

SCRIPT = Path(__file__).parents[2] / "examples" / "energy_notebook.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [event_run(folder / "event"), event_run(folder / "larger", scale=2), dense_run(folder / "fc")]


def page(result: Any) -> str:
    shown: str = result._repr_html_()
    assert shown.startswith("<table>")
    assert shown.count("<tr>") > 1
    return shown


def test_a_check_is_a_table(runs: list[Path]) -> None:
    result = count(runs[0], samples=2).check(
        Budget.model_validate({"limits": {"neurons": 1, "latency_steps": 99}})
    )
    assert isinstance(result, Tabular)
    neurons, latency = result.rows()
    assert (neurons["passed"], latency["passed"]) == (False, True)
    assert neurons["culprit"].startswith(("transmitter/", "receiver"))
    assert "neurons" in page(result)


def test_two_builds_are_compared_as_by_the_command(runs: list[Path], tmp_path: Path) -> None:
    before, after = (estimate(path) for path in runs[:2])
    found = before.compare(after)
    assert found.systems == compare(*runs[:2]).systems
    first = found.rows()[0]
    assert first["synapses_after"] == 4 * first["synapses_before"]
    assert "transmitter" in page(found)
    assert not after.check_against(before).passed
    assert before.check_against(after).passed
    before.write(tmp_path)
    assert before.check_against(tmp_path / "report.json").passed
    with pytest.raises(ConfigError, match="tolerance"):
        before.check_against(after, tolerance=-1)


def test_advice_is_that_of_the_command(runs: list[Path]) -> None:
    counted = count(runs[0])
    found = counted.advise()
    assert found.advice == advise(runs[0]).advice
    assert [row["after_uj"] for row in found.rows()] == sorted(row["after_uj"] for row in found.rows())
    with_rival = counted.advise(column="compute", rate_run=count(runs[1]))
    assert Change.RATE in {one.change for one in with_rival.advice}
    assert "lower rate" in page(with_rival)
    with pytest.raises(ConfigError, match="one system"):
        count(runs).advise()
    with pytest.raises(ConfigError, match="paper, compute, memory"):
        counted.advise(column="ann")


def test_advice_writes_a_pruned_part(tmp_path: Path) -> None:
    first = np.ones((4, 6), dtype=np.float32)
    first[1] = 0  # so that one neuron never fires
    builder = GraphBuilder(DT)
    builder.input(6, Signal.EVENTS)
    builder.linear("linear1", first)
    builder.lif("lif1", 0.9, 0.5, 4)
    builder.linear("linear2", np.ones((2, 4), dtype=np.float32))
    builder.lif("lif2", 0.9, 0.5, 2)
    builder.output(2, classes=2, group=1)
    write_network(tmp_path / "whole.nir", builder.build())
    write_recording(tmp_path / "inputs.npz", events(6, rate=0.5))
    counted = count(tmp_path / "whole.nir", inputs=tmp_path / "inputs.npz")
    counted.advise(write=tmp_path / "pruned.nir")
    pruned = count(tmp_path / "pruned.nir", inputs=tmp_path / "inputs.npz")
    assert sum(layer.neurons for layer in pruned.systems[0].parts[0].layers) == 5
    with pytest.raises(ConfigError, match="no NIR part"):
        counted.advise(write=tmp_path / "pruned.nir", part="elsewhere")


def test_samples_of_the_count_are_those_of_the_advice(runs: list[Path]) -> None:
    assert count(runs[0], samples=3).advise().samples == 3


def test_all_results_convert_to_pandas(runs: list[Path]) -> None:
    pytest.importorskip("pandas")
    counted = count(runs, target="loihi1")
    priced = counted.estimate("loihi")
    layers, steps = counted.to_pandas(), counted.steps_to_pandas()
    keys = ["system", "part", "layer"]
    kinds = ["acs", "macs", "neuron_updates", "spikes", "weight_reads", "state_writes", "activation_reads"]
    summed, whole = steps.groupby(keys)[kinds].sum(), layers.set_index(keys)[kinds]
    assert summed.loc[whole.index.intersection(summed.index)].size
    assert (summed - whole.loc[summed.index]).abs().to_numpy().max() < 1e-6
    assert (layers.acs + layers.macs <= layers.dense).all()
    chip = priced.chip_to_pandas()
    assert list(chip.part) == [part.name for system in priced.report.systems for part in system.parts]
    placed = priced.report.systems[0].parts[0].on_target
    assert placed is not None
    assert placed.energy is not None
    assert chip.network_uj[0] == placed.energy.mean_uj
    assert chip.on_host.tolist() == [False, True, False, False, True, False, True, True]
    assert len(count(runs[0], samples=1).estimate().chip_to_pandas()) == 0
    assert len(priced.compare(priced).to_pandas()) == sum(
        len(part.layers) for system in priced.report.systems for part in system.parts
    )
    assert len(counted.check(Budget.model_validate({"limits": {"synops_per_inference": 1}})).to_pandas()) == 3


def test_the_notebook_runs_as_a_script(runs: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, runs[:2])],
        capture_output=True, text=True, check=False, timeout=600, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in ("transmitter", "uJ a sample, with memory", "network_uj", "synops_per_inference"):
        assert words in done.stdout
    assert (tmp_path / "energy-report" / "report.html").is_file()


def test_files_counts_and_estimates_are_compared_alike(runs: list[Path]) -> None:
    of_files = compare(*runs[:2]).systems
    counts = [count(run) for run in runs[:2]]
    assert compare(*counts).systems == compare(runs[0], counts[1]).systems == of_files
    assert compare(counts[0].estimate(), runs[1]).systems == of_files
    assert compare(counts[0].estimate("loihi"), counts[1]).profile == "loihi"


def test_an_accounting_that_there_is_not_is_refused(runs: list[Path]) -> None:
    event, fc = estimate(runs[0]), estimate(runs[2])
    for ask in (
        lambda: compare(event, event, column="memmory"),
        lambda: event.compare(event, "memmory"),
        lambda: event.check_against(event, column="memmory"),
    ):
        with pytest.raises(ConfigError, match=r"memmory.*priced in paper, compute, memory, ann"):
            ask()
    with pytest.raises(ConfigError, match=r"'ann', and fc.* is priced in paper, compute, memory$"):
        event.compare(fc, "ann")  # a conventional network has no column of an opponent


def test_a_system_that_is_gone_is_told(runs: list[Path]) -> None:
    both, one = estimate([runs[0], runs[2]]), estimate(runs[0])
    found = both.compare(one)
    there, gone = found.systems
    assert (there.after, gone.before, gone.after) == (there.before, "fc", None)
    assert {layer.status for layer in gone.layers} == {"removed"}
    assert gone.total["synops"].before
    assert not gone.total["synops"].after
    assert {row["system"] for row in found.rows()} == {there.after, "fc"}
    with pytest.raises(ConfigError, match="holds fc too, which is not checked"):
        one.check_against(both)


@pytest.mark.parametrize(
    "option",
    [{"samples": 3}, {"reset": "zero"}, {"skip_zeros": True}, {"inputs": "in.npz"}, {"profile": "loihi"}],
)
def test_options_of_what_was_counted_before_are_refused(
    runs: list[Path], option: dict[str, Any], tmp_path: Path
) -> None:
    report = estimate(runs[0]).write(tmp_path)[0]
    (name,) = option
    with pytest.raises(ConfigError, match="before") as caught:
        compare(report, report, **option)
    assert caught.value.where == "--" + name.replace("_", "-")
    assert compare(report, report, samples=None, skip_zeros=False, inputs=[]).systems


def test_a_graph_without_layers_costs_nothing(tmp_path: Path) -> None:
    builder = GraphBuilder(DT)
    builder.input(6, Signal.EVENTS)
    builder.output(6)
    write_network(tmp_path / "wire.nir", builder.build())
    write_recording(tmp_path / "inputs.npz", events(6))
    priced = estimate(tmp_path / "wire.nir", inputs=tmp_path / "inputs.npz")
    assert repr(priced) == "<Estimate: wire 0 SynOps, 0 uJ (with memory, horowitz-45nm)>"
    assert priced.compare(priced).systems[0].total["energy_uj"].after == 0


def test_graphs_over_other_recordings_do_not_stand_side_by_side_without_a_word(tmp_path: Path) -> None:
    spiking_graph(tmp_path / "a.nir", [6, 4], Signal.EVENTS)
    spiking_graph(tmp_path / "b.nir", [6, 4], Signal.EVENTS)
    recorded = events(6)
    write_recording(tmp_path / "all.npz", recorded)
    write_recording(tmp_path / "few.npz", recorded.first(3))
    graphs, files = [tmp_path / "a.nir", tmp_path / "b.nir"], [tmp_path / "all.npz", tmp_path / "few.npz"]
    other, same = estimate(graphs, inputs=files).report, estimate(graphs, inputs=files[0]).report
    assert same.warnings == ()
    [warning] = other.warnings
    assert (warning.name, "b was counted over other" in warning.fault) == ("other-recording", True)
    assert "mean of 10 (a), 3 (b)." in systems_table(other).note
    assert "mean of 10." in systems_table(same).note


def test_synops_are_those_of_each_sample(runs: list[Path]) -> None:
    counted = count(runs[0], samples=3)
    (system,) = counted.systems
    of_layers = [layer.per_sample.synaptic for part in system.parts for layer in part.layers]
    assert counted.synops.tolist() == np.sum(of_layers, axis=0).tolist()
    assert counted.synops.shape == (3,)
    with pytest.raises(ConfigError, match="there are 2"):
        _ = count(runs[:2]).synops
    for shown in (page(counted.estimate()), repr(counted), repr(counted.estimate())):
        assert f"{counted.synops.mean():,.0f}" in shown
    assert "<th>SynOps</th>" in page(counted)

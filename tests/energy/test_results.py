"""What a notebook needs: every result a table, and one script that uses all of it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nsc_deploy.energy import Budget, advise, compare, count, estimate
from nsc_deploy.energy.advice.records import Change
from nsc_deploy.energy.report.tabular import Tabular
from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import DT, dense_run, event_run, events

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

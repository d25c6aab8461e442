import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

from nsc_deploy.deployment import Place, Side
from nsc_deploy.energy import Budget, advise, count, estimate
from nsc_deploy.energy.advice.prune import (
    observe,
    removable,
    rounded,
    unused_inputs,
    without_neurons,
    without_weights,
)
from nsc_deploy.energy.advice.records import Advice, AdviceReport, Change
from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.output.terminal import print_advice
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.graphs.readout import decide
from nsc_deploy.graphs.simulate import simulate
from tests.support.small_runs import DT, dense_run, event_run, events, weights, write_run

SILENT_INPUTS, DEAF, MUTE = (3, 7), (0, 4), (5,)


def dyadic(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.round(weights(*shape, seed=seed) * 16) / 16


def receiver(joined: bool = False) -> GraphBuilder:
    """16 -> 8 -> 4, where two neurons of the middle never fire and the spikes of a third meet no synapse."""
    first, second = dyadic(8, 16, seed=1), dyadic(4, 8, seed=2)
    first[list(DEAF)] = -0.25
    second[:, list(MUTE)] = 0
    builder = GraphBuilder(DT)
    builder.input(16, Signal.EVENTS)
    builder.affine("in", first, np.full(8, 0.0625))
    builder.lif("hidden", 0.75, 0.25, 8)
    builder.linear("out", second)
    if joined:
        builder.linear("past", dyadic(8, 16, seed=3), after="input")
        builder.linear("both", second, after=["hidden", "past"])
        builder.lif("decide", 0.75, 0.125, 4, after=["out", "both"])
    else:
        builder.lif("decide", 0.75, 0.125, 4)
    builder.output(4, classes=2, group=2)
    return builder


def inputs(seed: int = 0, labelled: bool = True) -> Recording:
    made = events(16, rate=0.3, seed=seed)
    values = made.values.copy()
    values[:, :, list(SILENT_INPUTS)] = 0
    labels = np.random.default_rng(seed).integers(0, 2, made.samples) if labelled else None
    return Recording(values, made.signal, made.dt, labels)


def run_folder(folder: Path, labelled: bool = True) -> Path:
    folder.mkdir(parents=True)
    write_network(folder / "receiver.nir", receiver().build())
    parts = [("receiver", Side.RECEIVER, Place.CHIP, "receiver.nir", inputs(labelled=labelled))]
    return write_run(folder, "vanilla-snn", parts)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("runs") / "one")


@pytest.fixture(scope="module")
def report(run: Path) -> AdviceReport:
    return advise(run)


def of(report: AdviceReport, change: Change) -> list[Advice]:
    return [one for one in report.advice if one.change is change]


def test_neurons_that_are_silent_or_unread_are_found_and_taken_out() -> None:
    network, recording = assemble(receiver().build()), inputs()
    activity = observe(network, recording)
    mask = removable(network, activity, network.node("hidden"))
    assert mask is not None
    assert set(np.flatnonzero(mask)) >= {*DEAF, *MUTE}
    pruned = without_neurons(network, {"hidden": mask})
    kept = 8 - int(mask.sum())
    assert pruned.node("hidden").output_shape == (kept,)
    assert pruned.node("in").parameters.weight.shape == (kept, 16)
    assert pruned.node("in").parameters.bias.shape == (kept,)
    assert pruned.node("out").parameters.weight.shape == (4, kept)
    assert np.array_equal(simulate(pruned, recording.values).output, activity.outputs)
    assert activity.outputs.any()


def test_where_the_width_has_to_stay_weights_become_zero() -> None:
    network, recording = assemble(receiver(joined=True).build()), inputs()
    activity = observe(network, recording)
    mask = removable(network, activity, network.node("hidden"))
    assert mask is not None
    # "both" also reads "past": a column of it belongs to both.
    pruned = without_neurons(network, {"hidden": mask})
    assert pruned.node("hidden").output_shape == (8,)
    assert not pruned.node("in").parameters.weight[mask].any()
    assert np.array_equal(pruned.node("both").parameters.weight, network.node("both").parameters.weight)
    assert np.array_equal(simulate(pruned, recording.values).output, activity.outputs)


def test_weights_that_no_event_meets() -> None:
    network, recording = assemble(receiver().build()), inputs()
    activity = observe(network, recording)
    mask = unused_inputs(network, activity, network.node("in"))
    assert mask is not None
    assert np.flatnonzero(mask).tolist() == list(SILENT_INPUTS)
    pruned = without_weights(network, {"in": mask})
    assert np.array_equal(simulate(pruned, recording.values).output, activity.outputs)
    before = count_network(network, recording, name="a")
    after = count_network(pruned, recording, name="b")
    assert np.array_equal(before.per_sample.acs, after.per_sample.acs)
    there = np.count_nonzero(network.node("in").parameters.weight[:, SILENT_INPUTS])
    assert there > 0
    assert after.layers[0].footprint.weights == before.layers[0].footprint.weights - there


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_outputs_stay_whatever_is_pruned(seed: int, joined: bool) -> None:
    network, recording = _random(seed, joined), events(6, rate=0.3, seed=seed)
    activity = observe(network, recording)
    masks = {
        node.name: mask for node in network.nodes if (mask := removable(network, activity, node)) is not None
    }
    pruned = without_neurons(network, masks)
    assert np.array_equal(simulate(pruned, recording.values).output, activity.outputs)
    before, after = (count_network(one, recording, name="x").per_sample for one in (network, pruned))
    assert (after.acs <= before.acs).all()
    assert (after.neuron_updates <= before.neuron_updates).all()


def _random(seed: int, joined: bool) -> Network:
    builder = GraphBuilder(DT)
    builder.input(6, Signal.EVENTS)
    builder.linear("a", dyadic(7, 6, seed=seed))
    builder.lif("la", 0.5, 0.75, 7)
    builder.linear("b", dyadic(5, 7, seed=seed + 1))
    if joined:
        builder.linear("skip", dyadic(5, 6, seed=seed + 2), after="input")
        builder.lif("lb", 0.5, 0.75, 5, after=["b", "skip"])
    else:
        builder.lif("lb", 0.5, 0.75, 5)
    builder.linear("c", dyadic(3, 5, seed=seed + 3))
    builder.threshold("end", 0.0, 3)
    builder.output(3)
    return assemble(builder.build())


def test_every_change_is_measured_before_and_after(run: Path, report: AdviceReport) -> None:
    whole = estimate([run]).report.systems[0].energy["memory"].mean_uj
    assert report.energy_uj == pytest.approx(whole)
    assert report.by == "energy"
    assert [one.after_uj for one in report.advice] == sorted(one.after_uj for one in report.advice)
    for one in report.advice:
        assert one.before_uj == report.energy_uj
        assert one.saved == pytest.approx(1 - one.after_uj / whole)
        if one.same_outputs:
            assert one.accuracy_after == one.accuracy_before == report.accuracy
    recording = inputs()
    outputs = simulate(read_network(run / "receiver.nir"), recording.values).output
    assert report.accuracy == (decide(outputs, 2, 2) == recording.labels).mean()


def test_exact_changes_save_and_leave_the_outputs(report: AdviceReport) -> None:
    (prune,), (drop, *_), (both,) = (of(report, one) for one in (Change.PRUNE, Change.DROP, Change.ALL_EXACT))
    assert prune.same_outputs
    assert drop.same_outputs
    assert both.same_outputs
    assert prune.layer == "hidden"
    assert prune.saved > 0
    assert both.after_uj <= prune.after_uj


def test_fewer_steps_are_those_of_a_shorter_recording(
    run: Path, report: AdviceReport, tmp_path: Path
) -> None:
    recording = inputs()
    network = read_network(run / "receiver.nir")
    found = of(report, Change.STEPS)
    assert {one.words for one in found} == {f"decide after {kept} of 12 steps" for kept in (9, 6)}
    for one in found:
        kept = int(one.words.split()[2])
        short = Recording(recording.values[:kept], recording.signal, recording.dt, recording.labels)
        write_recording(tmp_path / "in.npz", short)
        told = estimate([run / "receiver.nir"], inputs=[tmp_path / "in.npz"]).report.systems[0]
        assert one.after_uj == pytest.approx(told.energy["memory"].mean_uj)
        outputs = simulate(network, short.values).output
        assert one.accuracy_after == (decide(outputs, 2, 2) == recording.labels).mean()


def test_fewer_bits_read_narrower_weights(report: AdviceReport) -> None:
    found = of(report, Change.BITS)
    assert {(one.layer, one.words.split()[2]) for one in found} == {
        (layer, bits) for layer in ("in", "out") for bits in ("8", "4")
    }
    for layer in ("in", "out"):
        eight, four = sorted((one for one in found if one.layer == layer), key=lambda one: -one.after_uj)
        assert report.energy_uj > eight.after_uj > four.after_uj
        assert eight.accuracy_after is not None


def test_rounding_to_bits() -> None:
    values = np.array([-1.0, -0.3, 0.0, 0.26, 0.9])
    assert rounded(values, 3) == pytest.approx([-1, -1 / 3, 0, 1 / 3, 1])
    assert not rounded(np.zeros(3), 4).any()
    assert np.unique(rounded(np.linspace(-1, 1, 1000), 4)).size == 15


def test_a_lower_rate_is_told_only_with_a_second_run(run: Path, report: AdviceReport, tmp_path: Path) -> None:
    assert not of(report, Change.RATE)
    assert any("--rate-run" in line for line in report.left_out)
    other = run_folder(tmp_path / "other")
    quiet = inputs()
    write_recording(other / "receiver.npz", Recording(quiet.values & inputs(9).values, quiet.signal, DT))
    (rate,) = of(advise(run, rate_run=other), Change.RATE)
    assert rate.after_uj == pytest.approx(estimate([other]).report.systems[0].energy["memory"].mean_uj)
    assert rate.accuracy_after == 0.9


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    unlabelled = advise(run_folder(tmp_path / "bare", labelled=False))
    assert unlabelled.accuracy is None
    assert {one.change for one in unlabelled.advice} <= {Change.PRUNE, Change.DROP, Change.ALL_EXACT}
    assert any("no accuracy" in line for line in unlabelled.left_out)
    conventional = advise(dense_run(tmp_path / "fc"))
    assert conventional.advice == ()
    assert sum("ONNX" in line for line in conventional.left_out) == 2
    event = advise(event_run(tmp_path / "event"), samples=3)
    assert {one.part for one in event.advice} <= {"transmitter", "receiver-front-end", "receiver"}


def test_the_pruned_graph_is_written_and_gives_the_same_outputs(run: Path, tmp_path: Path) -> None:
    report = advise(run, write=tmp_path / "pruned.nir")
    values = inputs().values
    before, after = read_network(run / "receiver.nir"), read_network(tmp_path / "pruned.nir")
    assert np.array_equal(simulate(before, values).output, simulate(after, values).output)
    told = estimate([tmp_path / "pruned.nir"], inputs=[run / "receiver.npz"]).report.systems[0]
    (both,) = of(report, Change.ALL_EXACT)
    assert told.energy["memory"].mean_uj == pytest.approx(both.after_uj)
    assert dict(after.output_node.parameters.metadata) == dict(before.output_node.parameters.metadata)


def test_bad_requests_are_refused(run: Path, tmp_path: Path) -> None:
    cases: list[tuple[Path, dict[str, object], type[Exception], str]] = [
        (run, {"profile": "truenorth"}, ConfigError, "no price"),
        (run, {"column": "ann"}, ConfigError, "paper, compute, memory"),
        (run, {"part": "receiver"}, ConfigError, "part: "),
        (run, {"part": "nothing", "write": tmp_path / "x.nir"}, ConfigError, "no NIR part"),
        (tmp_path / "none", {}, DataError, "does not exist"),
    ]
    for path, options, kind, words in cases:
        with pytest.raises(kind, match=words):
            advise(path, **options)  # type: ignore[arg-type]
    assert not (tmp_path / "x.nir").exists()


def test_the_command_prints_a_table_and_json(run: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from nsc_deploy.cli.app import main; main()",
        "energy",
        "advise",
        str(run),
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    for words in ("receiver/hidden", "take out", "decide after", "Not tried"):
        assert words in text.stdout
    target = tmp_path / "pruned.nir"
    more = [*command, "--json", "--write", str(target)]
    done = subprocess.run(more, capture_output=True, text=True, check=True, timeout=600)
    assert AdviceReport.model_validate(json.loads(done.stdout)).advice
    assert "wrote" in done.stderr
    assert target.is_file()


@pytest.mark.parametrize("named", ["transmitter", "receiver"])
def test_a_budget_decides_the_accounting_and_the_parts_that_rank(tmp_path: Path, named: str) -> None:
    run = event_run(tmp_path / "event")
    words = f"column = 'compute'\npart = '{named}'\n[limits]\nenergy_uj = 1e-6\n"
    (tmp_path / "budget.toml").write_text(words)
    found = advise(run, samples=3, budget=tmp_path / "budget.toml")
    priced = estimate(run, samples=3).report.systems[0]
    assert (found.column, found.of_parts) == ("compute", (named,))
    assert found.energy_uj == pytest.approx(priced.energy["compute"].mean_uj)
    own = next(part for part in priced.parts if part.name == named).energy["compute"].mean_uj
    assert found.advice
    for one in found.advice:
        less = one.before_uj - one.after_uj if one.part == named else 0.0
        assert one.saved == pytest.approx(less / own)
    with pytest.raises(ConfigError, match="for the column compute, and memory is given"):
        advise(run, samples=3, column="memory", budget=tmp_path / "budget.toml")
    assert advise(run, samples=3).of_parts == ()


def test_what_the_system_is_over_in_ranks_the_changes(run: Path) -> None:
    (counted,) = count(run).systems
    mean = float(counted.parts[0].per_sample.synaptic.mean())
    by_synops = advise(run, by="synops")
    assert (by_synops.by, by_synops.synops) == ("synops", pytest.approx(mean))
    saved = [one.saved for one in by_synops.advice]
    assert saved == sorted(saved, reverse=True)
    for one in by_synops.advice:
        assert one.saved == pytest.approx(1 - one.after_synops / mean)
        # Fewer bits are fewer bytes, and as many synaptic operations where spikes stay as they are.
        assert one.after_bytes is not None
        assert one.before_bytes is not None
    energy, memory = advise(run), advise(run, by="memory")
    assert energy.by == "energy"
    shares = [(one.before_bytes or 0, one.after_bytes or 0) for one in memory.advice]
    assert memory.advice[0].saved == max(1 - after / before for before, after in shares)
    bits = next(one for one in memory.advice if one.change is Change.BITS)
    assert bits.after_bytes is not None
    assert bits.after_bytes < (bits.before_bytes or 0)
    over = Budget.model_validate({"limits": {"synops_per_inference": 1, "energy_uj": 1e9, "neurons": 1}})
    chosen = advise(run, budget=over)
    assert (chosen.by, chosen.advice) == ("synops", by_synops.advice)
    assert chosen.why.startswith("synops_per_inference is at ")
    assert advise(run, budget=over, by="energy").by == "energy"
    none = Budget.model_validate({"limits": {"synops_per_inference": 0, "energy_uj": 1e-9}})
    forbidden = advise(run, budget=none)
    assert (forbidden.by, forbidden.why) == ("synops", "synops_per_inference is above its limit of 0")
    with pytest.raises(ConfigError, match="limits nothing that a change could save"):
        advise(run, budget=Budget.model_validate({"limits": {"neurons": 1}}))
    with pytest.raises(ConfigError, match="energy, synops, memory"):
        advise(run, by="area")


def test_all_safe_changes_together_are_measured(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    write_network(folder / "first.nir", receiver().build())
    write_network(folder / "second.nir", receiver().build())
    parts = [
        (name, Side.RECEIVER, Place.CHIP, f"{name}.nir", inputs(seed))
        for seed, name in enumerate(("first", "second"))
    ]
    found = advise(write_run(folder, "vanilla-snn", parts))
    assert found.together is not None
    each = [one for one in found.advice if one.change is Change.ALL_EXACT]
    assert len(each) == 2
    for field in ("uj", "synops", "bytes"):
        saved = [getattr(one, f"before_{field}") - getattr(one, f"after_{field}") for one in each]
        before, after = (getattr(found.together, f"{when}_{field}") for when in ("before", "after"))
        assert before - after == pytest.approx(sum(saved))
    assert found.together.same_outputs
    assert found.together.after_bytes is not None


def test_the_terminal_shows_what_is_worth_showing(run: Path, report: AdviceReport) -> None:
    def shown(top: int | None) -> str:
        text = StringIO()
        print_advice(report, Console(file=text, width=120), top)
        return text.getvalue()

    assert "All safe changes together" in shown(None)
    assert f"--top {len(report.advice)}" in shown(1)
    everything = shown(len(report.advice))
    assert "more, which save less" not in everything
    assert len(shown(1).splitlines()) < len(everything.splitlines())

"""Advice on feature maps: whole channels are taken out, and what is left gives the same outputs."""

from pathlib import Path

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.deployment import Place, Side
from nsc_deploy.energy import advise, estimate
from nsc_deploy.energy.advice.prune import (
    observe,
    removable,
    silent_alone,
    unused_inputs,
    without_neurons,
    without_weights,
)
from nsc_deploy.energy.advice.records import AdviceReport, Change
from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Network, Signal
from tests.support.small_runs import DT, events, write_run

SILENT_CHANNEL, DEAF, MUTE = 1, 2, 0


def grid(*shape: int, seed: int = 0) -> np.ndarray:
    """Weights on a grid on which every sum is exact."""
    return (np.random.default_rng(seed).integers(-8, 16, size=shape) / 16).astype(np.float32)


def receiver(pool: bool = True, bias: bool = True, seed: int = 0) -> Network:
    """2 x 8 x 8 -> 4 channels (one never fires, one is never read) -> pool -> 3 channels -> 4 neurons."""
    first, second = grid(4, 2, 3, 3, seed=seed), grid(3, 4, 3, 3, seed=seed + 1)
    first[DEAF] = -0.25
    second[:, MUTE] = 0
    builder = GraphBuilder(DT)
    builder.input((2, 8, 8), Signal.EVENTS)
    added = np.array([0.0625, 0, -0.5, 0.0625], np.float32) * bias
    builder.add("conv1", nir.Conv2d((8, 8), first, 1, 1, 1, 1, added))
    builder.lif("maps1", 0.75, 0.5, (4, 8, 8))
    side = 8
    if pool:
        builder.add("pool", nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])))
        side = 4
    builder.add("conv2", nir.Conv2d((side, side), second, 1, 0, 1, 1, np.zeros(3, np.float32)))
    builder.lif("maps2", 0.5, 0.5, (3, side - 2, side - 2))
    builder.add("flat", nir.Flatten({"input": np.array([3, side - 2, side - 2])}, start_dim=0, end_dim=-1))
    builder.linear("out", grid(4, 3 * (side - 2) ** 2, seed=seed + 2))
    builder.lif("decide", 0.75, 0.5, 4)
    builder.output(4, classes=2, group=2)
    return assemble(builder.build())


def inputs(seed: int = 0) -> Recording:
    made = events(2, 8, 8, rate=0.3, seed=seed)
    values = made.values.copy()
    values[:, :, SILENT_CHANNEL] = 0
    labels = np.random.default_rng(seed).integers(0, 2, size=(values.shape[1],))
    return Recording(values, Signal.EVENTS, DT, labels)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.booleans())
def test_outputs_stay_whatever_channels_go(seed: int, pool: bool, bias: bool) -> None:
    network, recording = receiver(pool, bias, seed), inputs(seed)
    activity = observe(network, recording)
    weights = {node.name: unused_inputs(network, activity, node) for node in network.nodes}
    neurons = {node.name: removable(network, activity, node) for node in network.nodes}
    assert weights["conv1"] is not None
    assert weights["conv1"][SILENT_CHANNEL]
    assert neurons["maps1"] is not None
    assert neurons["maps1"][[DEAF, MUTE]].all()
    assert neurons["decide"] is None
    thin = without_weights(network, {name: mask for name, mask in weights.items() if mask is not None})
    thin = without_neurons(thin, {name: mask for name, mask in neurons.items() if mask is not None})
    kept = int((~neurons["maps1"]).sum())
    assert thin.node("maps1").output_shape == (kept, 8, 8)
    assert thin.node("conv2").parameters.weight.shape[1] == kept
    assert np.array_equal(observe(thin, recording).outputs, activity.outputs)
    before, after = (count_network(one, recording, name="graph").per_sample for one in (network, thin))
    assert (after.neuron_updates < before.neuron_updates).all()
    assert (after.synaptic <= before.synaptic).all()
    assert after.spikes.sum() <= before.spikes.sum()


def test_channels_behind_a_flatten_are_columns_in_a_row() -> None:
    network, recording = receiver(), inputs()
    activity = observe(network, recording)
    mask = np.array([True, False, False])
    thin = without_neurons(network, {"maps2": mask})
    weight = network.node("out").parameters.weight
    assert np.array_equal(thin.node("out").parameters.weight, weight[:, 4:])
    assert thin.node("flat").output_shape == (8,)
    assert thin.node("conv2").parameters.weight.shape == (2, 4, 3, 3)
    assert observe(thin, recording).outputs.shape == activity.outputs.shape


def test_convolutions_in_groups_and_layers_in_a_sum_are_left_as_they_are() -> None:
    builder = GraphBuilder(DT)
    builder.input((2, 4, 4), Signal.EVENTS)
    grouped = nir.Conv2d((4, 4), -np.ones((2, 1, 3, 3), np.float32), 1, 1, 1, 2, np.zeros(2, np.float32))
    builder.add("grouped", grouped)
    builder.lif("maps", 0.5, 0.5, (2, 4, 4))
    builder.add("conv", nir.Conv2d((4, 4), grid(2, 2, 3, 3), 1, 1, 1, 1, np.zeros(2, np.float32)))
    builder.lif("more", 0.5, 0.5, (2, 4, 4))
    builder.output((2, 4, 4))
    network = assemble(builder.build())
    made = events(2, 4, 4)
    activity = observe(network, made)
    assert not activity.active["maps"].any()
    assert removable(network, activity, network.node("maps")) is None
    assert unused_inputs(network, activity, network.node("grouped")) is None
    dropped = unused_inputs(network, activity, network.node("conv"))
    assert dropped is not None
    assert dropped.all()
    assert removable(network, activity, network.node("more")) is None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "maps"
    folder.mkdir()
    from nsc_deploy.graphs.formats.nir import to_nir

    write_network(folder / "receiver.nir", to_nir(receiver()))
    return write_run(
        folder, "vanilla-snn", [("receiver", Side.RECEIVER, Place.CHIP, "receiver.nir", inputs())]
    )


@pytest.fixture(scope="module")
def report(run: Path) -> AdviceReport:
    return advise(run)


def test_each_advice_was_made_and_measured(run: Path, report: AdviceReport) -> None:
    found = {(one.change, one.layer) for one in report.advice}
    assert {
        (Change.PRUNE, "maps1"), (Change.DROP, "conv1"), (Change.DROP, "conv2"), (Change.ALL_EXACT, None),
        (Change.BITS, "conv1"), (Change.BITS, "conv2"), (Change.BITS, "out"), (Change.STEPS, None),
    } <= found  # fmt: skip
    before = estimate([run]).report.systems[0].energy["memory"].mean_uj
    for one in report.advice:
        assert one.before_uj == pytest.approx(before)
        assert one.accuracy_after is not None
        if one.change in {Change.PRUNE, Change.DROP, Change.ALL_EXACT}:
            assert one.same_outputs
            # Weights that nothing meets cost nothing; without them a smaller memory may do.
            assert one.after_uj <= one.before_uj
    prune = next(one for one in report.advice if one.change is Change.PRUNE)
    assert prune.after_uj < prune.before_uj
    assert "of 4 channels" in prune.words
    assert any("input channels" in one.words for one in report.advice)


def test_the_written_graph_costs_what_the_advice_says(
    run: Path, report: AdviceReport, tmp_path: Path
) -> None:
    advise(run, write=tmp_path / "thin.nir")
    write_recording(tmp_path / "in.npz", inputs())
    told = next(one for one in report.advice if one.change is Change.ALL_EXACT)
    measured = estimate([tmp_path / "thin.nir"], inputs=[tmp_path / "in.npz"]).report
    assert measured.systems[0].energy["memory"].mean_uj == pytest.approx(told.after_uj)
    thin = read_network(tmp_path / "thin.nir", dt=DT)
    assert np.array_equal(observe(thin, inputs()).outputs, observe(receiver(), inputs()).outputs)


def test_single_silent_neurons_of_a_map_are_counted() -> None:
    network, recording = receiver(), inputs()
    recording.values[:, :, :, :5, :] = 0
    assert silent_alone(observe(network, recording), network.node("maps1")) > 0
    assert silent_alone(observe(network, recording), network.node("decide")) == 0

"""Counts against NeuroBench, SpikingJelly and SANA-FE: where the definitions agree, and each difference.

The table in docs/energy.md has a line for each test here. Install the tools with
`pip install 'nsc-deploy[peers]'`, or run `make test-peers`.
"""

from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import pytest

from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.counting.on_chip import ActivityCounter
from nsc_deploy.energy.counting.onnx.operators import Site, cost
from nsc_deploy.energy.counting.operations import Kind, LayerCount, PartCount
from nsc_deploy.energy.pricing.profile import load_profile
from nsc_deploy.exporters.chips.chip import ManyCores
from nsc_deploy.exporters.chips.fit import fit
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from tests.support.chips import small_chip

pytestmark = pytest.mark.peers

DT, STEPS, SAMPLES = 1e-3, 6, 4
Layer = Any


def on_grid(*shape: int, seed: int = 0) -> np.ndarray:
    """Weights without zeros, on a grid on which sums of events are exact in any order."""
    drawn = np.random.default_rng(seed).integers(1, 64, size=shape) / 64
    signs = np.random.default_rng(seed + 1).choice([-1, 1], size=shape)
    return (drawn * signs).astype(np.float32)


def events(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((STEPS, SAMPLES, *shape)) < 0.3).astype(np.uint8)


def ours(layer: nir.NIRNode, values: np.ndarray, signal: Signal) -> LayerCount:
    """Counts of a graph of one layer."""
    builder = GraphBuilder(DT)
    builder.input(values.shape[2:], signal)
    builder.add("layer", layer)
    network = builder.build()
    shape = assemble_output(layer, values.shape[2:])
    builder.output(shape)
    network = builder.build()
    part = count_network(assemble(network), Recording(values, signal, DT), name="graph")
    return next(one for one in part.layers if one.name == "layer")


def assemble_output(layer: nir.NIRNode, arriving: tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(layer, nir.Linear | nir.Affine):
        return (layer.weight.shape[0],)
    pad, stride = int(np.ravel(layer.padding)[0]), int(np.ravel(layer.stride)[0])
    room = (
        (size + 2 * pad - k) // stride + 1
        for size, k in zip(arriving[1:], layer.weight.shape[2:], strict=True)
    )
    return (layer.weight.shape[0], *room)


def in_torch(layer: nir.NIRNode) -> Layer:
    """The same layer in torch."""
    import torch

    weight = torch.from_numpy(np.asarray(layer.weight))
    if isinstance(layer, nir.Linear | nir.Affine):
        found: Layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=isinstance(layer, nir.Affine))
    else:
        taps, channels = tuple(weight.shape[2:]), weight.shape[1] * layer.groups
        form = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}
        found = torch.nn.Conv2d(channels, weight.shape[0], taps, **form)
    found.weight.data = weight
    return found


def neurobench(layer: nir.NIRNode, values: np.ndarray) -> dict[str, int]:
    """Effective_ACs, Effective_MACs and Dense over the whole batch."""
    pytest.importorskip("neurobench", reason="NeuroBench is not installed: pip install 'nsc-deploy[peers]'")
    import torch
    from neurobench.metrics.workload import SynapticOperations
    from neurobench.models import NeuroBenchModel

    class Model(NeuroBenchModel):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(in_torch(layer))

        def __call__(self, batch: Any) -> Any:
            with torch.no_grad():
                return torch.stack([self.net(step) for step in batch])

        def __net__(self) -> Any:
            return self.net

    model, metric = Model(), SynapticOperations()
    model.register_hooks()
    batch = torch.from_numpy(values.astype(np.float32))
    found = metric(model, model(batch), (batch.transpose(0, 1), None))
    model.cleanup_hooks()
    return {name: round(number * values.shape[1]) for name, number in found.items()}


def spikingjelly(layer: nir.NIRNode, values: np.ndarray) -> int:
    """SynOps over the whole batch."""
    pytest.importorskip(
        "spikingjelly", reason="SpikingJelly is not installed: pip install 'nsc-deploy[peers]'"
    )
    import torch
    from spikingjelly.activation_based.op_counter import DispatchCounterMode, SynOpCounter

    counter, module = SynOpCounter(), in_torch(layer)
    with torch.no_grad(), DispatchCounterMode([counter]):
        for step in torch.from_numpy(values.astype(np.float32)):
            module(step)
    return int(counter.get_total())


def linear(*, zeros: bool = False) -> nir.Linear:
    weight = on_grid(5, 7)
    weight[::2, ::3] *= not zeros
    return nir.Linear(weight)


def convolution(groups: int, stride: int, padding: int) -> nir.Conv2d:
    weight = on_grid(4, 2 // groups, 3, 3)
    return nir.Conv2d((8, 8), weight, stride, padding, 1, groups, np.zeros(4, dtype=np.float32))


CASES: list[tuple[Callable[[], nir.NIRNode], tuple[int, ...]]] = [
    (linear, (7,)),
    (lambda: nir.Affine(on_grid(5, 7), on_grid(5)), (7,)),
    *(
        (lambda g=groups, s=stride, p=padding: convolution(g, s, p), (2, 8, 8))
        for groups, stride, padding in [(1, 1, 0), (1, 2, 1), (2, 1, 1)]
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape"), CASES)
def test_events_on_weights_without_zeros_are_counted_alike_by_all(make, shape: tuple[int, ...]) -> None:
    layer, values = make(), events(*shape)
    counted = ours(layer, values, Signal.EVENTS)
    acs = int(counted.per_sample.acs.sum())
    assert acs > 0
    theirs = neurobench(layer, values)
    assert theirs == {"Effective_ACs": acs, "Effective_MACs": 0, "Dense": counted.dense * SAMPLES}
    assert spikingjelly(layer, values) == acs


def test_spikingjelly_counts_synapses_that_are_not_there() -> None:
    layer, values = linear(zeros=True), events(7)
    acs = int(ours(layer, values, Signal.EVENTS).per_sample.acs.sum())
    assert neurobench(layer, values)["Effective_ACs"] == acs
    assert spikingjelly(layer, values) == 5 * values.sum() > acs


def test_real_inputs_that_happen_to_be_binary_are_macs_only_here() -> None:
    layer, values = linear(), events(7).astype(np.float32)
    counted = ours(layer, values, Signal.REAL)
    assert int(counted.per_sample.macs.sum()) == STEPS * SAMPLES * 35
    assert not counted.per_sample.acs.any()
    by_value = int(5 * values.sum())
    assert neurobench(layer, values)["Effective_ACs"] == by_value
    assert spikingjelly(layer, values) == by_value


def test_real_inputs_cost_all_their_synapses_here_and_their_nonzero_ones_in_neurobench() -> None:
    layer, values = linear(), (events(7) * on_grid(STEPS, SAMPLES, 7)).astype(np.float32)
    assert int(ours(layer, values, Signal.REAL).per_sample.macs.sum()) == STEPS * SAMPLES * 35
    theirs = neurobench(layer, values)
    assert theirs["Effective_MACs"] == 5 * np.count_nonzero(values)
    assert spikingjelly(layer, values) == 0


def test_events_of_both_signs_are_accumulates_in_neurobench_alone() -> None:
    layer = linear()
    values = events(7).astype(np.float32) - events(7, seed=1)
    assert (values == -1).any()
    met = 5 * np.count_nonzero(values)
    counted = ours(layer, values, Signal.GRADED).per_sample
    assert (int(counted.macs.sum()), int(counted.acs.sum())) == (met, 0)
    assert neurobench(layer, values)["Effective_ACs"] == met
    assert spikingjelly(layer, values) == 0


def test_neurobench_adds_the_products_of_an_lstm_cell_to_its_macs() -> None:
    pytest.importorskip("neurobench", reason="NeuroBench is not installed: pip install 'nsc-deploy[peers]'")
    import torch
    from neurobench.metrics.utils.layers import single_layer_MACs
    from onnx import helper

    inputs, hidden = 3, 4
    cell = torch.nn.LSTMCell(inputs, hidden)
    ones = torch.ones(SAMPLES, hidden) / 2
    theirs, _ = single_layer_MACs((torch.ones(SAMPLES, inputs) / 2, (ones, ones)), cell)
    node = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=hidden)
    shapes = {"x": (1, SAMPLES, inputs), "w": (1, 16, inputs), "r": (1, 16, hidden), "b": (1, 32)}
    counted = cost(Site("lstm", node, {}, frozenset()), shapes | {"y": (1, 1, SAMPLES, hidden)}).operations
    assert theirs == counted[Kind.MAC] + counted[Kind.PRODUCT]


SIZES, BETA, THRESHOLD = (6, 5, 3), 0.75, 0.5


def spiking_part(weights: list[np.ndarray], values: np.ndarray) -> PartCount:
    builder = GraphBuilder(DT)
    builder.input(SIZES[0], Signal.EVENTS)
    for index, weight in enumerate(weights):
        builder.linear(f"linear{index}", weight)
        builder.lif(f"lif{index}", BETA, THRESHOLD, len(weight))
    builder.output(SIZES[-1])
    return count_network(assemble(builder.build()), Recording(values, Signal.EVENTS, DT), name="graph")


def sana_fe(weights: list[np.ndarray], values: np.ndarray) -> dict[str, Any]:
    """What SANA-FE reports of the network on one core of its Loihi; `values` are [steps, inputs]."""
    sanafe = pytest.importorskip("sanafe", reason="SANA-FE is not installed: pip install 'nsc-deploy[peers]'")
    chip_plan, network = sanafe.load_loihi(), sanafe.Network()
    core = chip_plan.tiles[0].cores[0]
    layers = [network.create_neuron_group("input", SIZES[0])]
    for channel in range(SIZES[0]):
        train = {"spikes": [bool(value) for value in values[:, channel]]}
        layers[0][channel].set_attributes(soma_hw_name=f"loihi_inputs[{channel}]", model_attributes=train)
    for index, weight in enumerate(weights):
        leaky = {"threshold": THRESHOLD, "reset": 0.0, "leak_decay": BETA}
        group = network.create_neuron_group(
            f"lif{index}", len(weight), model_attributes=leaky,
            soma_hw_name="loihi_lif", default_synapse_hw_name="loihi_dense_synapse",
        )  # fmt: skip
        for target, source in zip(*np.nonzero(weight), strict=True):
            layers[-1][int(source)].connect_to_neuron(
                group[int(target)], {"weight": float(weight[target, source])}
            )
        layers.append(group)
    for group in layers:
        for neuron in group:
            neuron.map_to_core(core)
    chip = sanafe.SpikingChip(chip_plan)
    chip.load(network)
    result: dict[str, Any] = chip.sim(len(values))
    return result


@pytest.mark.parametrize("seed", range(3))
def test_sana_fe_counts_and_charges_the_same_synapses_and_spikes(seed: int) -> None:
    weights = [on_grid(5, 6, seed=seed), on_grid(3, 5, seed=seed + 10)]
    weights[0][0, 0] = 0
    # A spike reaches the next layer one step later in SANA-FE: two silent steps let all of them arrive.
    values = np.concatenate([events(6, seed=seed), np.zeros((2, SAMPLES, 6), dtype=np.uint8)])[:, :1]
    theirs = sana_fe(weights, values[:, 0])
    counted = spiking_part(weights, values).per_sample
    acs, updates, spikes = (int(one[0]) for one in (counted.acs, counted.neuron_updates, counted.spikes))
    assert spikes > 0
    assert theirs["spikes"] == acs
    assert theirs["neurons_fired"] == spikes + values.sum()
    prices = load_profile("loihi").prices
    assert prices.ac is not None
    assert prices.spike is not None
    assert prices.neuron_update is not None
    picojoules = {name: joules * 1e12 for name, joules in theirs["energy"].items()}
    assert picojoules["synapse"] == pytest.approx(acs * prices.ac.picojoules)
    # It charges the access (51.2 pJ) to every neuron in every step as we do, but the update (21.6 pJ)
    # only to neurons that something arrived at or that hold a potential; we charge both.
    touched = theirs["neurons_updated"] - int(values.sum())
    untouched = updates - touched
    soma = updates * prices.neuron_update.picojoules - untouched * 21.6 + spikes * prices.spike.picojoules
    assert untouched >= 0
    assert picojoules["soma"] == pytest.approx(soma)
    # Messages are in its network share; our figures leave them to the placement.
    assert picojoules["network"] == pytest.approx(111 * theirs["packets_sent"])


def placed_on_sana_fe(
    weights: list[np.ndarray], values: np.ndarray, homes: dict[tuple[str, int], tuple[int, int]]
) -> dict[str, Any]:
    """As `sana_fe`, with each neuron in its own tile and core; the inputs are in the first core."""
    sanafe = pytest.importorskip("sanafe", reason="SANA-FE is not installed: pip install 'nsc-deploy[peers]'")
    chip_plan, network = sanafe.load_loihi(), sanafe.Network()
    groups = [network.create_neuron_group("input", values.shape[1])]
    for channel, neuron in enumerate(groups[0]):
        train = {"spikes": [bool(value) for value in values[:, channel]]}
        neuron.set_attributes(soma_hw_name=f"loihi_inputs[{channel}]", model_attributes=train)
        neuron.map_to_core(chip_plan.tiles[0].cores[0])
    for index, weight in enumerate(weights):
        leaky = {"threshold": THRESHOLD, "reset": 0.0, "leak_decay": BETA}
        group = network.create_neuron_group(
            f"lif{index}", len(weight), model_attributes=leaky,
            soma_hw_name="loihi_lif", default_synapse_hw_name="loihi_dense_synapse",
        )  # fmt: skip
        for target, source in zip(*np.nonzero(weight), strict=True):
            groups[-1][int(source)].connect_to_neuron(
                group[int(target)], {"weight": float(weight[target, source])}
            )
        for number in range(len(weight)):
            tile, core = homes[f"lif{index}", number]
            group[number].map_to_core(chip_plan.tiles[tile].cores[core])
        groups.append(group)
    chip = sanafe.SpikingChip(chip_plan)
    chip.load(network)
    result: dict[str, Any] = chip.sim(len(values))
    return result


WIDE = (9, 14, 11, 6)


@pytest.mark.parametrize(("seed", "room"), [(0, 40), (1, 5), (2, 2), (3, 1)])
def test_sana_fe_sends_the_same_messages_over_the_same_hops_within_our_time(seed: int, room: int) -> None:
    weights = [on_grid(*shape, seed=seed + i) for i, shape in enumerate(zip(WIDE[1:], WIDE, strict=False))]
    weights[1][::3, ::2] = 0
    builder = GraphBuilder(DT)
    builder.input(WIDE[0], Signal.EVENTS)
    for index, weight in enumerate(weights):
        builder.linear(f"linear{index}", weight)
        builder.lif(f"lif{index}", BETA, THRESHOLD, len(weight))
    builder.output(WIDE[-1])
    network = assemble(builder.build())
    recording = Recording(events(WIDE[0], seed=seed)[:, :1], Signal.EVENTS, DT)
    chip = small_chip(neurons_per_core=room)
    layout = chip.layout
    assert isinstance(layout, ManyCores)
    placement = fit(network, chip).placement
    assert placement is not None
    counter = ActivityCounter(network, placement, recording, layout.step_time)
    count_network(network, recording, name="graph", observe=counter)
    ours = counter.activity()
    assert ours.hops is not None
    assert ours.times is not None
    # SANA-FE numbers its tiles column by column, four in each.
    homes = {
        (share.population, int(neuron)): (core.tile[0] * 4 + core.tile[1], core.index % 4)
        for core in placement.cores
        for share in core.shares
        for neuron in share.neurons
        if core.tile is not None
    }
    late = np.zeros((ours.late, 1, WIDE[0]), np.uint8)
    theirs = placed_on_sana_fe(weights, np.concatenate([recording.values, late])[:, 0], homes)
    assert theirs["spikes"] == ours.synapse_events[0]
    assert theirs["packets_sent"] == ours.messages[0] + ours.from_host[0]
    host = [0, 0]
    for route in placement.routes:
        tile = placement.core(route.target_core).tile
        if route.source_core is None and tile is not None:
            spikes = int(recording.values[:, :, route.lines].sum())
            host = [host[0] + spikes * tile[0], host[1] + spikes * tile[1]]
    prices = load_profile("loihi").network
    assert prices.message is not None
    assert prices.hop_east_west is not None
    assert prices.hop_north_south is not None
    expected = (
        theirs["packets_sent"] * prices.message.picojoules
        + (ours.hops.east_west[0] + host[0]) * prices.hop_east_west.picojoules
        + (ours.hops.north_south[0] + host[1]) * prices.hop_north_south.picojoules
    )
    assert theirs["energy"]["network"] * 1e12 == pytest.approx(expected)
    assert (room > 2) or ours.hops.east_west[0] > 0
    # Its inputs lie on the chip and send, ours come from the host: what that takes comes on top.
    steps = STEPS + ours.late
    sent = 5.1 * int(ours.from_host[0]) + steps * (7 * 4.1 + 3 * 6.5)
    assert ours.times.low.sum() <= theirs["sim_time"] * 1e9 <= ours.times.high.sum() + sent

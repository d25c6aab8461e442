"""Scales: one a neuron, chosen on recorded inputs, and everything they cut off or lose is told."""

import dataclasses
from typing import Any

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.base import ScaleGranularity
from nsc_deploy.exporters.lava.arithmetic import run_network
from nsc_deploy.exporters.lava.integers import Role, validate
from nsc_deploy.exporters.lava.lowering.pipeline import Lowering, flat_events, lower
from nsc_deploy.exporters.lava.lowering.populations import Population, Tap
from nsc_deploy.exporters.lava.lowering.scales import best, can_wrap, candidates, largest_scales, round_to
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Network, Reset, Signal
from nsc_deploy.graphs.simulate import simulate
from tests.support.lava import random_events, receiver


def population(threshold: Any, leak: float = 0.1) -> Population:
    threshold = np.asarray(threshold, np.float64)
    zeros = np.zeros_like(threshold)
    weights = Matrix.identity(len(threshold))
    return Population("n", {Tap("in"): weights}, zeros, zeros, zeros + leak, None, threshold)


def layers_of(weight: Any, threshold: float = 0.3, beta: float = 0.9) -> Network:
    weight = np.asarray(weight)
    build = GraphBuilder(0.01)
    build.input(weight.shape[1], Signal.EVENTS)
    build.linear("w", weight)
    build.lif("n", beta, threshold, weight.shape[0])
    build.output(weight.shape[0])
    return assemble(build.build())


def differing(lowering: Lowering, network: Network, events: Any) -> dict[str, float]:
    """Share of differing spikes of each node."""
    reference = simulate(network, events, record="all").outputs
    found = {}
    for layer, trace in zip(lowering.network.layers, run_network(lowering.network, events), strict=True):
        for group in layer.groups:
            if group.role is Role.NEURON:
                wanted = flat_events(reference[group.node])
                found[group.node] = float((trace.spikes[..., group.rows] != wanted).mean())
    return found


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_neurons_of_different_size_keep_their_weights_apart(bits: int) -> None:
    """A neuron whose weights and threshold are a hundredth of another's loses nothing beside it."""
    chance = np.random.default_rng(bits)
    weight = chance.normal(0, 1, (8, 30)) * np.repeat([1, 0.01], 4)[:, None]
    build = GraphBuilder(0.01)
    build.input(30, Signal.EVENTS)
    build.linear("w", weight)
    build.lif("n", 0.9, np.repeat([1, 0.01], 4), 8)
    build.output(8)
    network = assemble(build.build())
    events = random_events(chance, 40, 30, 30)
    own, shared = (
        differing(lower(network, bits=bits, granularity=granularity), network, events)["n"]
        for granularity in (ScaleGranularity.NEURON, ScaleGranularity.LAYER)
    )
    assert own < shared


@pytest.mark.parametrize("bits", [2, 4])
def test_the_receiver_s_spikes_differ_less_with_scales_of_their_own_and_with_recorded_inputs(
    bits: int,
) -> None:
    network = assemble(receiver())
    chance = np.random.default_rng(bits)
    recorded, events = random_events(chance, 30, 60, 24), random_events(chance, 30, 60, 24)
    shared = lower(network, bits=bits, inputs=recorded, granularity=ScaleGranularity.LAYER)
    blind, chosen = lower(network, bits=bits), lower(network, bits=bits, inputs=recorded)
    totals = [sum(differing(one, network, events).values()) for one in (chosen, blind, shared)]
    assert totals[0] < min(totals[1:])


def test_one_scale_for_all_keeps_equal_thresholds_equal() -> None:
    network = layers_of(np.random.default_rng(0).normal(0, 0.3, (6, 20)))
    [one] = lower(network, bits=4, granularity=ScaleGranularity.LAYER).network.layers
    assert len(set(one.vth.tolist())) == 1
    assert isinstance(one.groups[0].scale, float)
    [own] = lower(network, bits=4).network.layers
    assert isinstance(own.groups[0].scale, tuple)
    assert len(set(own.vth.tolist())) > 3


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.sampled_from(list(ScaleGranularity)))
def test_weights_trained_for_the_bits_are_found_again(
    seed: int, bits: int, granularity: ScaleGranularity
) -> None:
    """Each neuron's weights are whole multiples of a step of its own (or of all): none of them is rounded."""
    chance = np.random.default_rng(seed)
    limit = 2 ** (bits - 1) - 1
    rows = int(chance.integers(1, 5))
    whole = chance.integers(-limit, limit + 1, (rows, 9))
    mantissas, exponents = chance.integers(16, 32, (rows, 1)), chance.integers(5, 14, (rows, 1))
    if granularity is ScaleGranularity.LAYER:
        mantissas, exponents = mantissas[:1], exponents[:1]
    steps = np.broadcast_to(mantissas * 2.0**-exponents, (rows, 1))
    network = layers_of(whole * steps)
    [layer] = lower(network, bits=bits, granularity=granularity).network.layers
    scale = np.broadcast_to(np.asarray(layer.groups[0].scale), rows)[:, None]
    np.testing.assert_allclose(layer.weight.dense() / scale, whole * steps, rtol=1e-12)


def test_every_candidate_stays_in_its_room() -> None:
    chance = np.random.default_rng(1)
    neurons = population(chance.uniform(0.1, 2, 12))
    weights = Matrix.of(chance.normal(0, 1, (12, 7)))
    room = chance.uniform(1, 200, 12)
    for granularity in ScaleGranularity:
        for scale in candidates(neurons, weights, 7, room, 2, granularity):
            assert (scale <= room).all()
            assert (scale > 0).all()


@pytest.mark.parametrize("granularity", list(ScaleGranularity))
@pytest.mark.parametrize("threshold", [1e-6, 1e-4, 1e-3, 1.0])
def test_no_try_cuts_weights_for_a_small_threshold(threshold: float, granularity: ScaleGranularity) -> None:
    """No scale is larger than the one asked for; a threshold below one unit becomes 0."""
    chance = np.random.default_rng(0)
    weights = Matrix.of(chance.normal(0, 0.3, (8, 20)))
    neurons = population([threshold] * 8)
    [safest, *others] = candidates(neurons, weights, 127, np.full(8, 1e6), 4, granularity)
    assert (safest[weights.target] * np.abs(weights.values) <= 254 * (1 + 1e-9)).all()
    assert others


@pytest.mark.parametrize("recorded", [False, True])
def test_a_small_threshold_fires_as_one_of_zero(recorded: bool) -> None:
    chance = np.random.default_rng(0)
    weight = chance.normal(0, 0.3, (8, 20))
    events, others = random_events(chance, 30, 10, 20), random_events(chance, 30, 20, 20)
    inputs = others if recorded else None
    zero, small = (layers_of(weight, threshold) for threshold in (0.0, 1e-5))
    wanted, found = (differing(lower(one, inputs=inputs), one, events)["n"] for one in (zero, small))
    assert found <= wanted + 0.01


def test_each_neuron_takes_the_try_that_disagrees_least_and_of_equals_the_finer_one() -> None:
    neurons = population([0.5, 0.5, 0.5])
    weights = Matrix.of(np.array([[0.3, 0.11], [0.2, -0.4], [0.7, 0.01]]))
    tries = [round_to(neurons, weights, np.full(3, scale), 127) for scale in (20.0, 200.0, 340.0)]
    chosen = best(tries, np.array([[0, 5, 2], [3, 1, 2], [3, 2, 2]]), ScaleGranularity.NEURON)
    finest = tries[int(np.argmin([one.error[2] for one in tries]))]
    assert chosen.scale.tolist() == [20.0, 200.0, finest.scale[2]]
    shared = best(tries, np.array([[0, 5, 2], [3, 1, 2], [3, 2, 2]]), ScaleGranularity.LAYER)
    assert shared.scale.tolist() == [200.0] * 3
    for one in (chosen, shared):
        again = round_to(neurons, weights, one.scale, 127)
        assert one.weight.equals(again.weight)
        for name in ("threshold", "bias", "saturated", "underflowed", "weight_error", "threshold_error"):
            np.testing.assert_array_equal(getattr(one, name), getattr(again, name))


def test_what_was_cut_and_what_vanished_is_counted() -> None:
    neurons = population([1.0, 1.0])
    weights = Matrix.of(np.array([[1.0, 0.5, 0.01, 0.02], [0.5, -1.0, 0.3, 0.0]]))
    rounded = round_to(neurons, weights, np.array([8.0, 4.0]), 3)
    assert rounded.values.tolist() == [6, 4, 0, 0, 2, -4, 2]
    assert rounded.saturated.tolist() == [1, 0]
    assert rounded.underflowed.tolist() == [2, 0]
    assert rounded.weight_error[0] > rounded.weight_error[1] > 0


def test_saturation_and_underflow_are_told() -> None:
    chance = np.random.default_rng(3)
    network = layers_of(chance.standard_t(2, (10, 40)))
    notes = {note.kind: note for _, note in lower(network, bits=2).notes}
    assert "cut at the limit" in notes["saturation"].text
    assert "became 0" in notes["underflow"].text
    integers = lower(network, bits=2).network.layers[0]
    vanished = 400 - integers.synapses
    assert f"{vanished} of 400 weights" in notes["underflow"].text
    assert notes["underflow"].error == vanished / 400
    assert not {"saturation", "underflow"} & {note.kind for _, note in lower(layers_of([[1, 2, 3]])).notes}


def test_weights_that_stay_small_beside_a_threshold_are_told() -> None:
    """A threshold that holds the scale down leaves the weights few of their steps."""
    network = layers_of([[1.0, 0.3]], threshold=5000.0)
    [note] = [note for _, note in lower(network).notes if note.kind == "narrowed"]
    assert "of 127 steps" in note.text
    assert not [note for _, note in lower(layers_of([[1.0, 0.3]])).notes if note.kind == "narrowed"]


def test_rounded_weights_are_never_changed_by_looking_at_them() -> None:
    neurons, weights = population([1.0]), Matrix.of(np.array([[0.001, 1.0]]))
    rounded = round_to(neurons, weights, np.array([4.0]), 3)
    before = rounded.values.tolist()
    assert rounded.weight.synapses == 1
    assert rounded.values.tolist() == before == [0, 4]
    assert dataclasses.is_dataclass(rounded)


def small_weights(signs: Any, reset: Reset) -> Network:
    """One neuron with many weights of a 64th of its threshold, which could have the finest exponent."""
    build = GraphBuilder(0.01, reset)
    build.input(len(signs), Signal.EVENTS)
    build.linear("w", np.asarray(signs)[None] / 64)
    build.integrate_and_fire("n", 1.0, 1)
    build.output(1)
    return assemble(build.build())


def first_inhibited(samples: int) -> Any:
    """[100, samples, 32]: half of the lines for 20 steps, then the others."""
    events = random_events(np.random.default_rng(0), 100, samples, 32)
    events[:20, :, :16] = events[20:, :, 16:] = 0
    return events


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("reset", list(Reset))
def test_a_potential_has_room_below_zero_and_above_a_threshold_that_is_subtracted(
    reset: Reset, recorded: bool
) -> None:
    signs = np.repeat([1, 1 if reset is Reset.SUBTRACT else -1], 16)
    network, events = small_weights(signs, reset), first_inhibited(6)
    lowering = lower(network, inputs=first_inhibited(4) if recorded else None)
    assert all(note.exact for _, note in lowering.notes)
    assert differing(lowering, network, events) == {"n": 0.0}


def test_potentials_that_are_cut_on_recorded_inputs_are_told() -> None:
    network = small_weights(np.repeat([1, -1], 16), Reset.ZERO)
    pushed = np.zeros((400, 1, 32), np.uint8)
    pushed[..., 16:] = 1
    notes = lower(network, inputs=pushed).notes
    assert [note.text for _, note in notes if not note.exact] == [
        "potentials of 1 neuron are cut at 24 bits on recorded inputs"
    ]


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_what_is_exact_at_any_exponent_takes_the_one_with_the_most_room(threshold: float) -> None:
    build = GraphBuilder(0.01)
    build.input(2, Signal.EVENTS)
    build.linear("w", [[1.0, -1.0]])
    build.integrate_and_fire("n", threshold, 1)
    build.output(1)
    network = assemble(build.build())
    events = np.zeros((400, 1, 2), np.uint8)
    events[:100, :, 1] = events[100:, :, 0] = 1
    lowering = lower(network)
    assert all(note.exact for _, note in lowering.notes)
    assert differing(lowering, network, events) == {"n": 0.0}


def current_based(weights: Any, halves: float) -> Network:
    """A neuron whose current loses so many 4096ths in a step."""
    build = GraphBuilder(0.001)
    build.input(len(weights), Signal.EVENTS)
    build.linear("w", [weights])
    one, tau = np.ones(1), np.array([4.096 / halves])
    build.add("n", nir.CubaLIF(tau, 0.01 * one, 1e4 * tau, 0 * one, one, v_reset=0 * one, w_in=one))
    build.output(1)
    return assemble(build.build())


@pytest.mark.parametrize("granularity", list(ScaleGranularity))
def test_a_scale_goes_down_until_no_current_can_wrap(granularity: ScaleGranularity) -> None:
    """A decay that is rounded to two thirds, and weights that are rounded to twice their size."""
    lowering = lower(current_based([0.5, *[0.12] * 14], 1.4), granularity=granularity)
    assert not can_wrap(lowering.network.layers[0])
    assert lowering.network.layers[0].weight.synapses


def test_a_current_that_wraps_with_the_smallest_weights_is_refused() -> None:
    with pytest.raises(ExportError, match="can leave its 24 bits") as refused:
        lower(current_based([0.3] * 25, 1.4))
    assert refused.value.where == "node 'n'"
    assert refused.value.hint is not None
    assert lower(current_based([0.3] * 10, 1.4)).network.layers[0].weight.synapses == 10


@pytest.mark.parametrize("threshold, bias", [(16.0, -1.0), (1.0, -1.0), (4.0, -300.0)])
def test_a_bias_that_moves_into_a_threshold_stays_in_its_bits(threshold: float, bias: float) -> None:
    build = GraphBuilder(0.001)
    build.input(2, Signal.EVENTS)
    build.affine("w", [[0.5, 0.5]], [bias])
    build.threshold("n", threshold, 1)
    build.output(1)
    validate(lower(assemble(build.build())).network)


@pytest.mark.parametrize("unit", [1.0, 2.0**-120, 1e-44])
def test_the_unit_of_a_graph_changes_no_integer(unit: float) -> None:
    neurons = dataclasses.replace(population([unit], 0.0), drive={Tap("in"): Matrix.identity(1)})
    weights = Matrix.from_entries((1, 2), np.zeros(2, int), np.arange(2), np.array([unit, unit / 2]))
    room = largest_scales(neurons, weights)
    assert (room * unit).tolist() == pytest.approx(
        largest_scales(
            population([1.0], 0.0),
            Matrix.from_entries((1, 2), np.zeros(2, int), np.arange(2), np.array([1.0, 0.5])),
        ).tolist()
    )


def test_nothing_holds_no_scale_down() -> None:
    neurons = population([0.0], 0.0)
    assert largest_scales(neurons, Matrix.empty(1, 2)).tolist() == [np.inf]


def test_a_current_that_truncates_alone_is_told() -> None:
    build = GraphBuilder(0.001)
    build.input(1, Signal.EVENTS)
    build.linear("w", [[1.0]])
    one = np.ones(1)
    build.add("n", nir.CubaLIF(0.002 * one, 0.001 * one, one, 0 * one, one, v_reset=0 * one, w_in=one))
    build.output(1)
    kinds = [note.kind for _, note in lower(assemble(build.build())).notes if not note.exact]
    assert "truncation" in kinds


def comparing(kind: str, threshold: float, bias: float, reset: Reset) -> Network:
    """One neuron whose two weights are 1 and -1."""
    build = GraphBuilder(0.001, reset)
    build.input(2, Signal.EVENTS)
    build.affine("w", [[1.0, -1.0]], [bias])
    if kind == "threshold":
        build.threshold("n", threshold, 1)
    elif kind == "lif":
        build.lif("n", 0.5, threshold, 1)
    else:
        build.integrate_and_fire("n", threshold, 1)
    build.output(1)
    return assemble(build.build())


BELOW_ONE, BELOW_ZERO = (float(np.nextafter(np.float32(one), np.float32(-1))) for one in (1.0, 0.0))


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("reset", list(Reset))
@pytest.mark.parametrize("kind", ["if", "lif", "threshold"])
@pytest.mark.parametrize("threshold", [BELOW_ONE, 0.9999, 1.0])
def test_a_threshold_just_below_a_sum_is_still_exceeded_by_it(
    threshold: float, kind: str, reset: Reset, recorded: bool
) -> None:
    """What fires at its threshold is written so: rounded to the nearest, the threshold would be the sum."""
    network = comparing(kind, threshold, 0.0, reset)
    events = np.zeros((12, 1, 2), np.uint8)
    events[..., 0] = 1
    lowering = lower(network, inputs=events if recorded else None)
    assert differing(lowering, network, events) == {"n": 0.0}


@pytest.mark.parametrize(
    "threshold, bias",
    [
        (BELOW_ZERO, 0.0),
        (BELOW_ZERO, 1.0),
        (BELOW_ZERO, -1.0),
        (0.0, 1e-20),
        (0.0, -1e-20),
        (0.0, 0.0),
        (1.0, 1e-20),
        (0.3, 0.3),
    ],
)
def test_a_comparison_without_memory_holds_where_a_sum_is_the_threshold(
    threshold: float, bias: float
) -> None:
    """Above a threshold just below zero lies zero itself, with a bias of any size beside it."""
    network = comparing("threshold", threshold, bias, Reset.ZERO)
    events = random_events(np.random.default_rng(0), 20, 10, 2)
    lowering = lower(network)
    assert all(note.exact for _, note in lowering.notes)
    assert differing(lowering, network, events) == {"n": 0.0}

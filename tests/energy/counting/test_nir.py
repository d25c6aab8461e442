import tracemalloc
from collections import Counter
from dataclasses import replace

import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.counting.nir_rules import input_cost
from nsc_deploy.energy.counting.operations import Kind, PartCount
from nsc_deploy.errors import DataError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network, Signal
from tests.support import brute_force
from tests.support.small_runs import events, weights

DT = 0.01
KINDS = ["linear", "affine", "lif", "threshold", "if", "cuba", "li", "delay", "scale", "join", "loop"]
KINDS += ["feedback"]


@st.composite
def networks(draw) -> tuple[Network, Recording]:
    """Random graphs of layers, branches, joins, delays, convolutions, scales and recurrence."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    signal = draw(st.sampled_from([Signal.EVENTS, Signal.REAL, Signal.EVENTS]))
    builder = GraphBuilder(DT)
    length = draw(st.integers(2, 5))
    form = draw(st.sampled_from(["flat", "line", "plane"]))
    shape = {"flat": (length,), "line": (2, length), "plane": (2, length, length)}[form]
    last = builder.input(shape, signal)
    if form == "line":
        last, length = _line(draw, builder, rng, length)
    elif form == "plane":
        last, length = _plane(draw, builder, rng, length)
    sizes = {last: length}
    for index in range(draw(st.integers(2, 7))):
        _add(draw(st.sampled_from(KINDS)), f"n{index}", builder, rng, draw, sizes)
    final = list(sizes)[-1]
    builder.output(sizes[final], after=final)
    values = rng.normal(size=(draw(st.integers(1, 4)), draw(st.integers(1, 3)), *shape)).astype(np.float32)
    if signal is Signal.EVENTS:
        values = (values > 0).astype(np.uint8)
    return assemble(builder.build()), Recording(values, signal, DT)


def _line(draw, builder, rng, length) -> tuple[str, int]:
    groups = draw(st.sampled_from([1, 2]))
    stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, 1))
    weight = rng.integers(-1, 2, size=(2, 2 // groups, 2)).astype(np.float32)
    bias = rng.integers(0, 2, size=2).astype(np.float32)
    node = nir.Conv1d(length, weight, stride, padding, 1, groups, bias)
    builder.add("conv", node)
    room = (length + 2 * padding - 2) // stride + 1
    builder.add("flat", nir.Flatten({"input": np.array([2, room])}, start_dim=0, end_dim=-1))
    return "flat", 2 * room


def _plane(draw, builder, rng, side) -> tuple[str, int]:
    """Pools and a convolution over [2, side, side], then flat."""
    for index, kind in enumerate(draw(st.lists(st.sampled_from(["pool", "conv", "lif"]), max_size=3))):
        if kind == "lif":
            builder.lif(f"lif-{index}", 0.5, 0.25, (2, side, side))
            continue
        taps, stride, padding = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(0, 1))
        dilation = draw(st.integers(1, 2)) if kind == "conv" else 1
        reach = dilation * (taps - 1) + 1
        if side + 2 * padding < reach or padding >= reach:
            continue
        if kind == "conv":
            groups = draw(st.sampled_from([1, 2]))
            weight = rng.integers(-1, 2, size=(2, 2 // groups, taps, taps)).astype(np.float32)
            bias = rng.integers(0, 2, size=2).astype(np.float32)
            node = nir.Conv2d((side, side), weight, stride, padding, dilation, groups, bias)
        else:
            pool = draw(st.sampled_from([nir.SumPool2d, nir.AvgPool2d]))
            node = pool(np.array([taps, taps]), np.array([stride, stride]), np.array([padding, padding]))
        builder.add(f"{kind}-{index}", node)
        side = (side + 2 * padding - reach) // stride + 1
    shape = {"input": np.array([2, side, side])}
    return builder.add("flat", nir.Flatten(shape, start_dim=0, end_dim=-1)), 2 * side * side


def _sparse(rng, rows: int, columns: int):
    return rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], size=(rows, columns)).astype(np.float32)


def _add(kind: str, name: str, builder, rng, draw, sizes: dict[str, int]) -> None:
    source = draw(st.sampled_from(list(sizes)))
    size = sizes[source]
    if kind in {"linear", "affine"}:
        rows = draw(st.integers(1, 4))
        bias = (rng.integers(-1, 2, size=rows).astype(np.float32),) if kind == "affine" else ()
        getattr(builder, kind)(name, _sparse(rng, rows, size), *bias, after=source)
        size = rows
    elif kind == "delay":
        builder.delay(name, draw(st.integers(0, 2)), size, after=source)
    elif kind == "scale":
        builder.add(name, nir.Scale(rng.choice([0.5, 1.0, 2.0], size=size).astype(np.float32)), after=source)
    elif kind == "join":
        partners = [other for other, width in sizes.items() if width == size]
        chosen = draw(st.lists(st.sampled_from(partners), min_size=1, max_size=3, unique=True))
        target = draw(st.sampled_from(["lif", "linear"]))
        if target == "lif":
            builder.lif(name, 0.5, 0.5, size, after=chosen)
        else:
            builder.linear(name, _sparse(rng, 2, size), after=chosen)
            size = 2
    elif kind == "loop":
        builder.lif(name, 0.5, 0.5, size, after=source)
        builder.linear(f"{name}-back", _sparse(rng, size, size), after=name)
        builder.connect(f"{name}-back", name)
    elif kind == "feedback":
        # The edge that closes the cycle ends at weights, and at the neurons themselves.
        builder.linear(f"{name}-in", _sparse(rng, size, size), after=source)
        builder.lif(name, 0.5, 0.25, size)
        builder.connect(name, draw(st.sampled_from([name, f"{name}-in"])))
    else:
        _neurons(kind, name, builder, size, source)
    sizes[name] = size


def _neurons(kind: str, name: str, builder, size: int, source: str) -> None:
    tau, ones = np.full(size, 2 * DT), np.ones(size)
    if kind == "if":
        builder.integrate_and_fire(name, 0.5, size, after=source)
    elif kind == "threshold":
        builder.threshold(name, 0.0, size, after=source)
    elif kind == "li":
        builder.add(name, nir.LI(tau=tau, r=tau / DT, v_leak=0 * ones), after=source)
    elif kind == "cuba":
        membrane = {"tau_mem": tau, "r": tau / DT, "v_leak": 0 * ones, "v_threshold": 0.25 * ones}
        node = nir.CubaLIF(tau_syn=tau, w_in=2 * ones, v_reset=0 * ones, **membrane)
        builder.add(name, node, after=source)
    else:
        builder.lif(name, 0.75, 0.25, size, after=source)


def by_node(part: PartCount) -> dict[str, dict[tuple[Kind, int], int]]:
    return {
        layer.name: {
            (kind, n): int(number)
            for kind in Kind
            for n, number in enumerate(layer.per_sample.of(kind))
            if number
        }
        for layer in part.layers
        if layer.per_sample.any
    }


def assert_exact(case: tuple[Network, Recording], batch: int) -> None:
    """Counts and accesses are those of a visit to every event, synapse and value; both axes agree."""
    network, recording = case
    part = count_network(network, recording, name="graph", batch=batch)
    counts = {
        name: {key: number for key, number in found.items() if number}
        for name, found in brute_force.count(network, recording.values).items()
    }
    assert by_node(part) == {name: found for name, found in counts.items() if found}
    moved = brute_force.moved(network, recording.values)
    for name in part.free:
        assert moved.pop(name) == {}
    assert {
        layer.name: {
            name: int(numbers.sum()) for name, numbers in vars(layer.traffic).items() if numbers.any()
        }
        for layer in part.layers
    } == moved
    for layer in part.layers:
        assert layer.per_step is not None
        for kind in Kind:
            assert layer.per_step.of(kind).sum() == layer.per_sample.of(kind).sum()


@settings(max_examples=50, deadline=None)
@given(networks(), st.integers(1, 3))
def test_equal_to_a_count_event_by_event(case: tuple[Network, Recording], batch: int) -> None:
    assert_exact(case, batch)


@settings(max_examples=25, deadline=None)
@given(networks(), st.integers(1, 3))
def test_each_step_is_what_it_adds_to_those_before(case: tuple[Network, Recording], batch: int) -> None:
    network, recording = case
    part = count_network(network, recording, name="graph", batch=batch)
    before: dict[str, Counter[str]] = {layer.name: Counter() for layer in part.layers}
    for step in range(recording.steps):
        values = recording.values[: step + 1]
        operations, moved = brute_force.count(network, values), brute_force.moved(network, values)
        for layer in part.layers:
            assert layer.per_step is not None
            assert layer.traffic_per_step is not None
            so_far = Counter(moved[layer.name])
            for (kind, _), number in operations[layer.name].items():
                so_far[kind.value] += number
            along = vars(layer.per_step) | vars(layer.traffic_per_step)
            added = {name: int(numbers[step]) for name, numbers in along.items() if numbers[step]}
            assert added == dict(so_far - before[layer.name])
            before[layer.name] = so_far


@settings(max_examples=25, deadline=None)
@given(networks(), st.integers(1, 3))
def test_steps_of_each_sample_are_those_of_the_sample_alone(
    case: tuple[Network, Recording], batch: int
) -> None:
    network, recording = case
    part = count_network(network, recording, name="graph", batch=batch)
    assert part.synops is not None
    for sample in range(recording.samples):
        one = replace(recording, values=recording.values[:, sample : sample + 1], labels=None)
        alone = count_network(network, one, name="graph")
        course = np.zeros(recording.steps, np.int64)
        for layer in alone.layers:
            assert layer.per_step is not None
            course += layer.per_step.synaptic
        assert np.array_equal(part.synops[:, sample], course)
    assert np.array_equal(part.synops.sum(axis=0), part.per_sample.synaptic)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks(), st.integers(1, 3))
def test_equal_to_a_count_event_by_event_on_a_thousand_graphs(
    case: tuple[Network, Recording], batch: int
) -> None:
    assert_exact(case, batch)


def dense(signal: Signal, *, inputs: int = 4, outputs: int = 3) -> Network:
    builder = GraphBuilder(DT)
    builder.input(inputs, signal)
    builder.linear("dense", np.ones((outputs, inputs)))
    builder.output(outputs)
    return assemble(builder.build())


def test_the_spike_rate_is_applied_once() -> None:
    rate, steps, inputs, outputs = 0.25, 40, 8, 5
    values = np.zeros((steps, 1, inputs), dtype=np.uint8)
    values[: int(rate * steps)] = 1
    network = dense(Signal.EVENTS, inputs=inputs, outputs=outputs)
    part = count_network(network, Recording(values, Signal.EVENTS, DT), name="graph")
    assert part.layers[0].per_sample.acs.tolist() == [rate * steps * inputs * outputs]
    assert part.layers[0].dense == steps * inputs * outputs


def test_the_graph_decides_between_ac_and_mac_and_not_the_values() -> None:
    values = np.array([[[1, 0, 1, 0]]], dtype=np.float32)
    as_events = count_network(
        dense(Signal.EVENTS), Recording(values, Signal.EVENTS, DT), name="graph"
    ).layers[0]
    as_graded = count_network(
        dense(Signal.GRADED), Recording(values, Signal.GRADED, DT), name="graph"
    ).layers[0]
    as_reals = count_network(dense(Signal.REAL), Recording(values, Signal.REAL, DT), name="graph").layers[0]
    found = [
        (int(one.per_sample.acs[0]), int(one.per_sample.macs[0])) for one in (as_events, as_graded, as_reals)
    ]
    assert found == [(6, 0), (0, 6), (0, 12)]


def test_silence_costs_no_synaptic_operation_but_every_update() -> None:
    builder = GraphBuilder(DT)
    builder.input(4, Signal.EVENTS)
    builder.linear("dense", np.ones((3, 4)))
    builder.lif("neurons", 0.9, 0.5, 3)
    builder.output(3)
    silent = Recording(np.zeros((5, 2, 4), dtype=np.uint8), Signal.EVENTS, DT)
    part = count_network(assemble(builder.build()), silent, name="graph")
    assert part.per_sample.acs.tolist() == [0, 0]
    assert part.per_sample.neuron_updates.tolist() == [15, 15]


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    builder = GraphBuilder(DT)
    builder.input(100, Signal.EVENTS)
    builder.linear("dense", weights(200, 100))
    builder.lif("neurons", 0.9, 0.3, 200)
    builder.output(200)
    network = assemble(builder.build())

    def peak(samples: int) -> int:
        values = np.ones((20, samples, 100), dtype=np.uint8)
        tracemalloc.start()
        count_network(network, Recording(values, Signal.EVENTS, DT), name="graph", batch=16)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(16)
    assert peak(512) < 1.5 * peak(32)


def test_a_recording_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match="shape"):
        count_network(dense(Signal.EVENTS, inputs=7), replace(events(4), dt=DT), name="graph")


def test_counts_that_do_not_fit_64_bits_are_refused() -> None:
    network = dense(Signal.EVENTS, inputs=1, outputs=2**20)
    endless = np.broadcast_to(np.uint8(0), (2**10, 2**33, 1))
    with pytest.raises(DataError, match="64 bits"):
        count_network(network, Recording(endless, Signal.EVENTS, DT), name="graph")


def test_a_recording_without_samples_is_refused() -> None:
    nothing = Recording(np.zeros((3, 0, 4), dtype=np.uint8), Signal.EVENTS, DT)
    with pytest.raises(DataError, match="no values"):
        count_network(dense(Signal.EVENTS), nothing, name="graph")


def test_events_that_are_none_are_refused() -> None:
    twos = Recording(np.full((3, 2, 4), 2, dtype=np.uint8), Signal.EVENTS, DT)
    with pytest.raises(DataError, match="other than 0 and 1"):
        count_network(dense(Signal.EVENTS), twos, name="graph")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    values = np.zeros((3, 2, 4), dtype=np.float32)
    values[1, 1, 2] = value
    with pytest.raises(DataError, match="NaN"):
        count_network(dense(Signal.REAL), Recording(values, Signal.REAL, DT), name="graph")


@pytest.mark.parametrize("branches", [1, 2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_values_joined_without_weights_take_one_addition_less(branches: int, weighted: bool) -> None:
    builder = GraphBuilder(DT)
    builder.input(4, Signal.REAL)
    names = [f"scale{index}" for index in range(branches)]
    for index, name in enumerate(names):
        builder.add(name, nir.Scale(np.full(4, 2.0**index, np.float32)), after="input")
    if weighted:
        names.append(builder.linear("linear", weights(4, 4), after="input"))
    builder.lif("lif", 0.9, 0.5, 4, after=names)
    builder.output(4, after="lif")
    values = np.ones((5, 2, 4), np.float32)
    part = count_network(assemble(builder.build()), Recording(values, Signal.REAL, DT), name="graph")
    assert part.per_sample.additions.tolist() == [(branches - (not weighted)) * 5 * 4] * 2


def test_events_joined_without_weights_are_added_where_they_meet() -> None:
    builder = GraphBuilder(DT)
    builder.input(3, Signal.EVENTS)
    builder.threshold("copy", 0.5, 3, after="input")
    builder.add("odd", nir.Threshold(np.array([0.5, 2.0, 0.5], np.float32)), after="input")
    builder.lif("lif", 0.9, 0.5, 3, after=["input", "copy", "odd"])
    builder.output(3, after="lif")
    values = np.array([[[0, 0, 0]], [[1, 0, 0]], [[0, 1, 1]]], np.uint8)
    part = count_network(assemble(builder.build()), Recording(values, Signal.EVENTS, DT), name="graph")
    lif = next(one for one in part.layers if one.name == "lif")
    assert lif.per_step is not None
    # The second one never fires in "odd": two of its values meet, three of the others.
    assert lif.per_step.additions.tolist() == [0, 2, 1 + 2]


def test_weighted_values_that_are_flattened_are_joined_in_their_accumulator() -> None:
    builder = GraphBuilder(DT)
    builder.input((1, 4, 4), Signal.EVENTS)
    kernel = np.ones((2, 1, 2, 2), np.float32)
    builder.add("conv", nir.Conv2d((4, 4), kernel, 2, 0, 1, 1, np.zeros(2, np.float32)), after="input")
    builder.add("flat", nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1), after="conv")
    builder.add("line", nir.Flatten({"input": np.array([1, 4, 4])}, 0, -1), after="input")
    builder.linear("skip", weights(8, 16), after="line")
    builder.lif("lif", 0.9, 0.5, 8, after=["flat", "skip"])
    builder.output(8, after="lif")
    recording = Recording(np.ones((5, 2, 1, 4, 4), np.uint8), Signal.EVENTS, DT)
    part = count_network(assemble(builder.build()), recording, name="graph")
    assert part.per_sample.additions.tolist() == [0, 0]


def test_weighted_values_that_meet_in_a_flatten_are_in_their_accumulator_already() -> None:
    builder = GraphBuilder(DT)
    builder.input((1, 4, 4), Signal.EVENTS)
    for name in ("one", "two"):
        kernel = np.ones((2, 1, 2, 2), np.float32)
        builder.add(name, nir.Conv2d((4, 4), kernel, 2, 0, 1, 1, np.zeros(2, np.float32)), after="input")
    builder.add("flat", nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1), after=["one", "two"])
    builder.lif("lif", 0.9, 0.5, 8)
    builder.output(8)
    network = assemble(builder.build())
    recording = Recording(np.ones((5, 2, 1, 4, 4), np.uint8), Signal.EVENTS, DT)
    part = count_network(network, recording, name="graph")
    lif = next(one for one in part.layers if one.name == "lif")
    assert not lif.traffic.activation_reads.any()
    assert not part.per_sample.additions.any()
    assert_exact((network, recording), 2)


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("pool", [nir.SumPool2d, nir.AvgPool2d])
def test_a_pool_takes_an_addition_less_than_values_arrive_in_a_window(signal: Signal, pool) -> None:
    builder = GraphBuilder(DT)
    builder.input((1, 2, 4), signal)
    builder.add("pool", pool(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])))
    builder.threshold("spikes", 0.5, (1, 1, 2))
    builder.output((1, 1, 2))
    values = np.zeros((3, 1, 1, 2, 4), np.float32 if signal is not Signal.EVENTS else np.uint8)
    values[1, 0, 0] = [[1, 1, 0, 0], [1, 0, 0, 1]]
    if signal is Signal.GRADED:
        values[1, 0, 0, 1, 0] = -2  # the first window then sums to nothing, of three values
    part = count_network(assemble(builder.build()), Recording(values, signal, DT), name="graph")
    layer = next(one for one in part.layers if one.name == "pool")
    assert layer.per_step is not None
    assert layer.per_step.additions.tolist() == ([6, 6, 6] if signal is Signal.REAL else [0, 2, 0])
    assert layer.once is not None
    assert layer.once.additions == 6


def test_a_primitive_without_a_rule_is_not_free() -> None:
    builder = GraphBuilder(0.01)
    builder.input(3, Signal.REAL)
    builder.threshold("node", 0.0, 3)
    builder.output(3)
    network = assemble(builder.build())
    node = replace(network.node("node"), primitive="Square")
    with pytest.raises(NotImplementedError, match="Square"):
        input_cost(network, node)

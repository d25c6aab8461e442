import tracemalloc

import brute_force
import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import events, weights

from nsc_deploy.energy.counts import Kind, PartCount
from nsc_deploy.energy.nir_count import count_network
from nsc_deploy.errors import DataError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.recording import Recording
from nsc_deploy.graphs.signal import Signal

DT = 0.01


@st.composite
def networks(draw) -> tuple[Network, Recording]:
    """Random graphs of layers, branches, joins, delays, convolutions, scales and recurrence."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    signal = draw(st.sampled_from([Signal.EVENTS, Signal.REAL, Signal.EVENTS]))
    builder = GraphBuilder(DT)
    length = draw(st.integers(2, 5))
    convolved = draw(st.booleans())
    shape = (2, length) if convolved else (length,)
    last = builder.input(shape, signal)
    if convolved:
        last, length = _convolved(draw, builder, rng, length)
    sizes = {last: length}
    for index in range(draw(st.integers(2, 7))):
        kinds = ["linear", "affine", "lif", "threshold", "if", "delay", "scale", "join", "loop", "feedback"]
        _add(draw(st.sampled_from(kinds)), f"n{index}", builder, rng, draw, sizes)
    final = list(sizes)[-1]
    builder.output(sizes[final], after=final)
    values = rng.normal(size=(draw(st.integers(1, 4)), draw(st.integers(1, 3)), *shape)).astype(np.float32)
    if signal is Signal.EVENTS:
        values = (values > 0).astype(np.uint8)
    return assemble(builder.build()), Recording(values, signal, DT)


def _convolved(draw, builder, rng, length) -> tuple[str, int]:
    groups = draw(st.sampled_from([1, 2]))
    stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, 1))
    weight = rng.integers(-1, 2, size=(2, 2 // groups, 2)).astype(np.float32)
    bias = rng.integers(0, 2, size=2).astype(np.float32)
    node = nir.Conv1d(length, weight, stride, padding, 1, groups, bias)
    builder.add("conv", node)
    room = (length + 2 * padding - 2) // stride + 1
    builder.add("flat", nir.Flatten({"input": np.array([2, room])}, start_dim=0, end_dim=-1))
    return "flat", 2 * room


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
    elif kind == "if":
        builder.integrate_and_fire(name, 0.5, size, after=source)
    elif kind == "threshold":
        builder.threshold(name, 0.0, size, after=source)
    else:
        builder.lif(name, 0.75, 0.25, size, after=source)
    sizes[name] = size


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


@settings(max_examples=200, deadline=None)
@given(networks(), st.integers(1, 3))
def test_equal_to_a_count_event_by_event(case: tuple[Network, Recording], batch: int) -> None:
    network, recording = case
    counted = by_node(count_network(network, recording, name="graph", batch=batch))
    expected = {
        name: {key: number for key, number in counts.items() if number}
        for name, counts in brute_force.count(network, recording.values).items()
    }
    assert counted == {name: counts for name, counts in expected.items() if counts}


@settings(max_examples=30, deadline=None)
@given(networks())
def test_steps_and_samples_add_up_to_the_same(case: tuple[Network, Recording]) -> None:
    network, recording = case
    for layer in count_network(network, recording, name="graph").layers:
        assert layer.per_step is not None
        for kind in Kind:
            assert layer.per_step.of(kind).sum() == layer.per_sample.of(kind).sum()


@settings(max_examples=100, deadline=None)
@given(networks(), st.integers(1, 3))
def test_memory_traffic_is_equal_to_a_count_value_by_value(
    case: tuple[Network, Recording], batch: int
) -> None:
    network, recording = case
    part = count_network(network, recording, name="graph", batch=batch)
    found = {
        layer.name: {
            name: int(numbers.sum()) for name, numbers in vars(layer.traffic).items() if numbers.any()
        }
        for layer in part.layers
    }
    expected = brute_force.moved(network, recording.values)
    for name in part.free:
        assert expected.pop(name) == {}
    assert found == expected


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
        count_network(dense(Signal.EVENTS, inputs=7), events(4), name="graph")


def test_counts_that_do_not_fit_64_bits_are_refused() -> None:
    network = dense(Signal.EVENTS, inputs=1, outputs=2**20)
    endless = np.broadcast_to(np.uint8(0), (2**10, 2**33, 1))
    with pytest.raises(DataError, match="64 bits"):
        count_network(network, Recording(endless, Signal.EVENTS, DT), name="graph")

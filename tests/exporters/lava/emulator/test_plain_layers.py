"""Plain layers in narrow integers: every spike is that of the loop for all layers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nsc_deploy.exporters.lava.emulator.connections import Conv, DelayDense, Dense, Sparse
from nsc_deploy.exporters.lava.emulator.kernels import Neurons, Synapses, run_samples
from nsc_deploy.exporters.lava.emulator.network import LIF, Layer, LIFReset, Network, SubtractiveLIF
from nsc_deploy.exporters.lava.emulator.plain_layers import COLUMNS, PlainLayer, plain_layer, run_plain
from nsc_deploy.exporters.lava.emulator.simulate import all_spikes, output_spikes, simulate
from tests.support.random_networks import random_case

STEPS, SAMPLES = 7, 3
END = 2**23
NONE = Synapses(
    np.zeros((0, 0), np.int32), np.zeros(1, np.int64), *2 * [np.zeros(0, np.int32)],
    np.zeros(1, np.int32), 0, wide=False, wraps=False,
)  # fmt: skip
NO_STATES = np.zeros((0, 0, 0), np.int32)


def matrix_of(weights: NDArray[Any], exponent: int = 0) -> Synapses:
    """Synapses from weights [sources, neurons]."""
    matrix = np.vstack([weights, np.zeros_like(weights[:1])]).astype(np.int32)
    return NONE._replace(matrix=matrix, start=np.zeros(len(matrix), np.int64), exponent=exponent)


def neurons_of(size: int, **values: Any) -> Neurons:
    start = {"keep_u": 0, "keep_v": 0, "bias": 0, "threshold": 0, "u": 0, "v": 0} | values
    arrays = {name: np.broadcast_to(np.int32(value), size).copy() for name, value in start.items()}
    return Neurons(**arrays, keeps_current=False, reset_interval=0, reset_offset=0, subtracts=False)


def require_equal(forward: Synapses, neurons: Neurons, inputs: NDArray[np.uint8]) -> PlainLayer:
    layer = plain_layer(forward, NONE, neurons)
    assert layer is not None
    steps, samples, _ = inputs.shape
    for lag in (0, 1):
        for first in (0, 1):
            shape = (steps, samples - first, len(neurons.v))
            mine, expected = np.full(shape, 9, np.uint8), np.empty(shape, np.uint8)
            run_plain(inputs, first, lag, layer, mine)
            run_samples(inputs, NO_STATES, first, lag, forward, NONE, neurons, expected, NO_STATES, NO_STATES)
            np.testing.assert_array_equal(mine, expected)
    return layer


edges_of_weights = st.sampled_from([1, 2, 127, 128, 129, 255, 256, 32767, 32768])
sizes = st.one_of(st.integers(1, 70), st.sampled_from([31, 32, 33, 63, 64, 65, 96, 127, 128, 129, 200]))


@settings(max_examples=300, deadline=None)
@given(
    sources=sizes,
    size=sizes,
    largest=edges_of_weights,
    twos=st.integers(0, 3),
    exponent=st.integers(-3, 7),
    rate=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_spike_is_that_of_the_other_loop(
    sources: int, size: int, largest: int, twos: int, exponent: int, rate: float, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    weights = chance.integers(-largest, largest, (sources, size))
    at_edge = chance.random(weights.shape) < 0.1
    weights[at_edge] = chance.choice([-largest, largest - 1], np.count_nonzero(at_edge))
    weights[chance.random(weights.shape) < chance.choice([0.0, 0.8])] = 0
    weights[0, 0] = 1  # no power of two is common to all
    forward = matrix_of(weights << twos, max(exponent, -twos))
    inputs = (chance.random((STEPS, SAMPLES, sources)) < rate).astype(np.uint8)
    inputs *= chance.choice([1, 2, 255]).astype(np.uint8)
    spread = 64 * largest << max(0, exponent + twos)
    neurons = neurons_of(
        size,
        keep_v=chance.choice([0, 1, 3696, 4095, 4096], size),
        bias=chance.choice([0, 0, 1, -1, *chance.integers(-spread, spread, 3), 2**19, -(2**19)], size),
        threshold=chance.choice([0, 1, 64, *chance.integers(0, spread, 3), END - 64, END - 1], size),
        v=chance.choice([0, 0, 1, -1, END - 1, 1 - END, *chance.integers(1 - END, END, 3)], size),
    )
    require_equal(forward, neurons, inputs)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("total", "kind"), [(2**15 - 1, np.int16), (2**15, np.int32)])
def test_sums_are_as_wide_as_all_weights_of_a_neuron_together(sign: int, total: int, kind: type) -> None:
    """Whether the sum is exact is seen at thresholds beside it, whatever sources come first."""
    weights = np.full((129, 40), 255)
    weights[-1] = total - 128 * 255
    assert weights[-1, 0] % 2 or weights[0, 0] % 2
    inputs = np.ones((2, 2, 129), np.uint8)
    driven = 64 * total
    neurons = neurons_of(40, bias=0 if sign > 0 else 2 * driven, threshold=driven - np.arange(40) % 3 + 1)
    layer = require_equal(matrix_of(sign * weights), neurons, inputs)
    assert layer.nothing.dtype == kind
    spikes = np.empty((2, 2, 40), np.uint8)
    run_plain(inputs, 0, 0, layer, spikes)
    np.testing.assert_array_equal(spikes[0, 0], np.arange(40) % 3 == 2)


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [(-128, 127, np.int8), (-129, 1, np.int16), (1, 128, np.int16), (-(2**15), 2**15 - 1, np.int16)],
)
def test_weights_are_as_narrow_as_they_fit(low: int, high: int, kind: type) -> None:
    weights = np.array([[low, 1, high], [high, low, 1]])
    layer = require_equal(
        matrix_of(weights), neurons_of(3, threshold=[1, 2, 3]), np.ones((3, 2, 2), np.uint8)
    )
    assert layer.matrix.dtype == kind
    assert layer.matrix.shape == (3, COLUMNS)


def test_weights_of_more_than_16_bits_are_not_plain() -> None:
    assert plain_layer(matrix_of(np.array([[1, 2**15]])), NONE, neurons_of(2)) is None


def test_a_common_power_of_two_joins_the_weight_exponent() -> None:
    weights, neurons = 4 * np.array([[-128, 127, 3]]), neurons_of(3, threshold=[0, 64, 63 * 3])
    inputs = np.ones((3, 2, 1), np.uint8)
    for exponent in (-2, -1, 0, 7):
        layer = require_equal(matrix_of(weights, exponent), neurons, inputs)
        assert layer.matrix.dtype == np.int8
        assert layer.scale == 64 << exponent + 2
    assert plain_layer(matrix_of(weights, -3), NONE, neurons) is None


def test_weights_that_are_all_zero() -> None:
    bias = [1, 0, 0]
    require_equal(matrix_of(np.zeros((2, 3), int)), neurons_of(3, bias=bias), np.ones((3, 2, 2), np.uint8))


WEIGHTS = np.array([[1, -2, 3], [4, 5, -6]])
PLAIN = LIF(2, du=4095)
NOT_PLAIN = {
    "delays": Layer(DelayDense(WEIGHTS, delays=1), PLAIN),
    "delays of some": Layer(DelayDense(WEIGHTS, delays=np.eye(2, 3, dtype=int)), PLAIN),
    "messages": Layer(Dense(WEIGHTS, num_message_bits=8), PLAIN),
    "a convolution": Layer(Conv(np.ones((1, 1, 1, 1), int), (1, 2, 1)), PLAIN),
    "few synapses": Layer(Sparse(np.eye(2, 40, dtype=int)), PLAIN),
    "recurrence": Layer(Dense(WEIGHTS), PLAIN, Dense(np.eye(2, dtype=int))),
    "a current": Layer(Dense(WEIGHTS), LIF(2, du=np.array([4095, 4094]))),
    "a subtractive reset": Layer(Dense(WEIGHTS), SubtractiveLIF(2, du=4095)),
    "resets at set times": Layer(Dense(WEIGHTS), LIFReset(2, du=4095, reset_interval=3)),
}


@pytest.mark.parametrize("why", NOT_PLAIN)
def test_what_is_not_plain(why: str) -> None:
    assert Network((NOT_PLAIN[why],)).plain == (None,)


@pytest.mark.parametrize("connection", [Dense(WEIGHTS), Sparse(WEIGHTS), DelayDense(WEIGHTS, delays=0)])
def test_what_is_plain_is_so_once(connection: Dense) -> None:
    network = Network((Layer(connection, PLAIN),))
    assert network.plain[0] is not None
    assert network.plain is network.plain


def test_plain_layers_among_others() -> None:
    """In random networks of all kinds, a start of the current that nothing stays of among them."""
    chosen = []
    for seed in range(150):
        case = random_case(seed)
        layers = tuple(
            Layer(layer.connection, LIF(layer.neurons.size, 4095, *states(layer.neurons)), layer.recurrent)
            for layer in case.network.layers
        )
        network = Network(layers if seed % 3 else case.network.layers)
        messages = np.stack([case.messages, np.roll(case.messages, 1, axis=0)], axis=1)
        traces = simulate(network, messages, lag=seed % 2, threads=1)
        for mine, trace in zip(all_spikes(network, messages, lag=seed % 2, threads=1), traces, strict=True):
            np.testing.assert_array_equal(mine, trace.spikes)
        outputs = output_spikes(network, messages, lag=seed % 2, threads=2)
        np.testing.assert_array_equal(outputs, traces[-1].spikes)
        chosen.append({layer is not None for layer in network.plain})
    assert sum(True in kinds for kinds in chosen) > 20
    assert sum(kinds == {True, False} for kinds in chosen) > 10


def states(neurons: LIF) -> tuple[Any, ...]:
    return neurons.dv, neurons.vth, neurons.bias_mant, neurons.bias_exp, neurons.u, neurons.v


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_any_type_of_messages_and_any_layout(dtype: type) -> None:
    messages = np.random.default_rng(0).random((3, 5, 6)) < 0.5
    network = Network((Layer(Dense(WEIGHTS), LIF(2, du=4095, vth=1)),))
    expected = simulate(network, messages.transpose(2, 1, 0), threads=1)[0].spikes
    assert expected.any()
    given = messages.astype(dtype) * dtype(1 if dtype is bool else 3)
    np.testing.assert_array_equal(output_spikes(network, given.transpose(2, 1, 0)), expected)

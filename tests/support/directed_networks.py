"""Networks built to stand on the edges of the rules: each wrap, saturation, rounding, comparison and mode.

Neurons are driven through a graded Dense of weight 1, so that a message m arrives as m and enters the
current as 64 m; every edge can then be met exactly.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nsc_deploy.exporters.lava.emulator.connections import (
    Conv,
    DelayDense,
    DelaySparse,
    Dense,
    SignMode,
    Sparse,
)
from nsc_deploy.exporters.lava.emulator.network import LIF, Layer, LIFReset, Network
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from tests.support.real_lava import Case

END = 2**23
STEPS = 8
MODES = (None, *SignMode)


def directed_cases(*, core: bool = False) -> list[Case]:
    """All of them, or the fewer that still have every rule among them."""
    return [
        *neuron_cases(),
        *weight_cases((8, 1) if core else (8, 7, 5, 1)),
        *connection_cases((-3, 7, 1) if core else (-8, -3, -1, 0, 1, 7)),
        *wide_cases(),
        *graded_cases((-8,) if core else (-8, -3, 0, 5)),
        *conv_cases(2 if core else 6),
        *time_cases(),
    ]


def column(values: Any) -> np.ndarray:
    return np.array(values).reshape(-1, 1)


def single(name: str, connection: Any, neurons: LIF, messages: Any, recurrent: Any = None) -> Case:
    return Case(name, Network((Layer(connection, neurons, recurrent),)), np.asarray(messages))


def driven(name: str, messages: list[int], weights: Any = 1, **neurons: Any) -> Case:
    """Neurons that all get the same messages."""
    size = max(np.size(value) for value in (weights, *neurons.values()))
    neurons = {key: np.asarray(value) if np.size(value) > 1 else value for key, value in neurons.items()}
    weights = np.broadcast_to(weights, (size,))
    dense = Dense(column(weights), sign_mode=SignMode.EXCITATORY, num_message_bits=24)
    return single(name, dense, LIF(size, **neurons), column([*messages, *[0] * (STEPS - len(messages))]))


def grid(*axes: Any) -> list[np.ndarray]:
    """All combinations, one list for each axis."""
    return [axis.ravel() for axis in np.meshgrid(*axes)]


def neuron_cases() -> Iterator[Case]:
    states = [1, -1, 2, 4095, 4096, 4097, -4095, -4096, -4097, 123457, -123457, END - 1, -END + 1]
    u, du = grid(states, [0, 1, 2000, 4094, 4095])
    yield driven("decay of the current", [], u=u, du=du, dv=4096, vth=131071)
    v, dv = grid(states, [0, 1, 2000, 4095, 4096])
    yield driven("decay of the potential", [], v=v, du=4095, dv=dv, vth=131071)
    edges = [
        2**17 - 1,
        2**17,
        2**17 + 1,
        3 * 2**17,
        3 * 2**17 + 1,
        2**19,
        2**25 - 1,
        2**25,
        2**25 + 5,
        2**26 + 3,
    ]
    messages = [sign * edge for edge in edges for sign in (1, -1)]
    yield driven("currents at their ends", messages, du=[4095, 0, 77], dv=4096, vth=131071)
    starts, large = grid([END - 1, END - 65, -END + 1, -END + 65, 0], [1, 2, 255])
    for sign in (1, -1):
        messages = [sign, sign, sign * 300, sign]
        yield driven(f"saturation, sign {sign}", messages, large, v=starts, du=4095, dv=0, vth=131071)
    mantissas, starts = grid([4095, -4096, 1, -1], [END - 1, END - 65, -END + 1, -END + 65, 0])
    saturating = {"du": 4095, "dv": 0, "vth": 131071, "bias_exp": 7}
    yield driven("saturation by a bias", [], v=starts, bias_mant=mantissas, **saturating)
    vth, above = grid([0, 1, 5, 1000, 131071], [-65, -64, -1, 0, 1, 64])
    starts = np.clip(64 * vth + above, -END + 1, END - 1)
    yield driven("thresholds", [0, 1], v=starts, du=4095, dv=0, vth=vth)
    yield driven("thresholds, current kept", [1, 1, 3], v=starts, u=starts, du=100, dv=10, vth=vth)
    mantissas, exponents = grid([-4096, -5, -1, 1, 3, 4095], [-15, -3, -1, 0, 1, 6, 7])
    yield driven("biases", [], bias_mant=mantissas, bias_exp=exponents, du=4095, dv=3, vth=30000)


def weight_cases(bit_widths: Sequence[int]) -> Iterator[Case]:
    sweep = np.unique([*range(-9, 10), *(sign * value for sign in (-1, 1) for value in WEIGHT_EDGES)])
    neurons = {"du": 4095, "dv": 4096, "vth": 131071}
    for mode in MODES:
        for bits in bit_widths:
            name = f"sign mode {mode}, {bits} bits"
            yield single(
                name, Dense(column(sweep), 0, bits, mode), LIF(len(sweep), **neurons), column([1] * 3)
            )
    for name, chosen in (
        ("positive", sweep[sweep >= 0]),
        ("negative", sweep[sweep <= 0]),
        ("negative, and one", np.arange(-9, 2)),
        ("zero", sweep * 0),
    ):
        for process in (Dense, Sparse):
            weights = column(chosen)
            yield single(
                f"{name} {process.__name__}", process(weights), LIF(len(weights), **neurons), column([1] * 3)
            )


WEIGHT_EDGES = (15, 16, 17, 100, 127, 128, 129, 253, 254, 255, 256, 257, 258, 300)


def connection_cases(exponents: Sequence[int]) -> Iterator[Case]:
    chance = np.random.default_rng(0)
    weights = chance.integers(-255, 256, (9, 5))
    delays = chance.integers(0, 4, weights.shape)
    spikes = (chance.random((STEPS, 5)) < 0.5).astype(int)
    neurons = LIF(9, du=4095, dv=4096, vth=131071)
    for exponent in exponents:
        for process in (Dense, Sparse):
            name = f"{process.__name__} with exponent {exponent}"
            yield single(name, process(weights, weight_exp=exponent), neurons, spikes)
        for process in (DelayDense, DelaySparse):
            name = f"{process.__name__} with exponent {exponent}"
            yield single(name, process(weights, weight_exp=exponent, delays=delays), neurons, spikes)
    for process in (Dense, Sparse, DelayDense, DelaySparse):
        ungraded = chance.integers(-3, 4, (STEPS, 5))
        yield single(f"{process.__name__}, spikes of any size", process(weights), neurons, ungraded)
    for exponent in exponents[:2]:
        yield from list_cases(weights, exponent, neurons, spikes)
    long = np.zeros((68, 2), int)
    long[[0, 2], [0, 1]] = 1
    far = DelayDense(np.array([[10, 20], [30, -40]]), delays=np.array([[63, 0], [1, 62]]))
    yield single("delays up to 63", far, LIF(2, du=4095, dv=4096, vth=131071), long)


def wide_cases() -> Iterator[Case]:
    """Few synapses among many places, which are walked one by one; and sums that only many sources reach."""
    chance = np.random.default_rng(2)
    scattered = np.where(chance.random((12, 40)) < 0.05, chance.integers(-255, 256, (12, 40)), 0)
    back = np.where(chance.random((12, 12)) < 0.06, chance.integers(-255, 256, (12, 12)), 0)
    spikes = (chance.random((STEPS, 40)) < 0.5).astype(int)
    neurons = LIF(12, du=2000, dv=300, vth=60)
    for process, more in ((Sparse, {}), (DelaySparse, {"delays": column(np.arange(12) % 3)})):
        yield single(
            f"few synapses, {process.__name__}", process(scattered, **more), neurons, spikes, process(back)
        )
    two = DelayDense(scattered, delays=column(np.arange(12) % 2))
    yield single("two delays", two, neurons, spikes)
    yield single(
        "messages of one bit",
        Dense(chance.integers(-255, 256, (12, 40)), num_message_bits=1),
        neurons,
        spikes,
    )
    many = np.full((2, 300), 255) * column([1, -1])
    large = Dense(many, weight_exp=7, sign_mode=SignMode.EXCITATORY)
    # 300 * 255 * 2^7 is beyond 24 bits, and only a convolution wraps there.
    yield single("sums beyond 24 bits", large, LIF(2, du=4095, dv=4096, vth=131071), np.ones((3, 300), int))


def list_cases(weights: np.ndarray, exponent: int, neurons: LIF, spikes: np.ndarray) -> Iterator[Case]:
    """Weights given as lists of synapses, with a delay for each target; of both signs, of one, and none."""
    kinds = {"mixed": weights, "positive": np.abs(weights), "negative": -np.abs(weights), "no": 0 * weights}
    kinds["small"] = np.abs(weights) % 4
    steps = column(np.arange(len(weights)) % 3)
    for name, chosen in kinds.items():
        listed = Matrix.of(chosen.astype(np.int32))
        yield single(f"list, {name}, {exponent}", Sparse(listed, weight_exp=exponent), neurons, spikes)
        if name == "mixed":
            delayed = DelaySparse(listed, weight_exp=exponent, delays=steps)
            yield single(f"list with delays, {exponent}", delayed, neurons, spikes)


def graded_cases(exponents: Sequence[int]) -> Iterator[Case]:
    weights = np.array([[1, 3, 0], [254, -254, 2], [255, 255, 255], [-7, 1, -128]])
    large = [2**20 + 1, -(2**21) + 3, 2**23 - 1, -(2**24), 2**30 + 7, -(2**31), 2**31 - 1]
    messages = np.array([[value, large[-index - 1], 5 - index] for index, value in enumerate(large)])
    messages[3] = [2**24 + 1, 2**24 + 1, 2**24 + 1]  # sums of 255 * 2^24 leave 32 bits in part
    neurons = LIF(4, du=[4095, 0, 2048, 5], dv=[4096, 0, 9, 4000], vth=[131071, 5, 1000, 131071])
    for process in (Dense, Sparse, DelayDense, DelaySparse):
        # One delay for all that goes to a neuron, so that large products meet in one sum.
        delays = {"delays": np.tile(column(range(4)), 3)} if issubclass(process, DelayDense) else {}
        for exponent in exponents:
            name = f"{process.__name__}, graded, exponent {exponent}"
            connection = process(weights, weight_exp=exponent, num_message_bits=24, **delays)
            yield single(name, connection, neurons, messages)
            yield single(f"{name}, small", connection, neurons, messages // 2**13)


def conv_cases(kinds: int) -> Iterator[Case]:
    chance = np.random.default_rng(1)
    neurons = {"du": 4095, "dv": 4096, "vth": 131071}
    options: list[dict[str, Any]] = [
        {},
        {"padding": (1, 2)},
        {"stride": (2, 1)},
        {"dilation": (1, 2), "padding": (0, 1)},
        {"stride": (1, 2), "padding": (2, 1), "dilation": (2, 1)},
        {"groups": 2},
    ]
    for option in options[-kinds:]:
        weight = chance.integers(-500, 501, (4, 3, 2, 2 // option.get("groups", 1)))
        conv = Conv(weight, (5, 4, 2), **option)
        spikes = (chance.random((4, 40)) < 0.3) * chance.integers(-2, 3, (4, 40))
        yield single(f"Conv {option}", conv, LIF(int(np.prod(conv.output_shape)), **neurons), spikes)
    wrapping = Conv(np.array([[[[1]]], [[[3]]], [[[-1]]]]), (2, 2, 1), num_message_bits=24)
    sums = [END - 1, END, END + 1, -END, -END - 1, 3 * END, 5 * END + 7, -3 * END]
    messages = np.array(sums).repeat(4).reshape(len(sums), 4)
    yield single("Conv wraps", wrapping, LIF(12, **neurons), messages)
    heavy = Conv(np.array([[[[END]]], [[[-END - 1]]], [[[3 * END + 5]]]]), (2, 2, 1))
    yield single("Conv, weights beyond 24 bits", heavy, LIF(12, **neurons), np.eye(4, dtype=int))
    yield single(
        "Conv, small and graded", wrapping, LIF(12, **neurons), np.array([[1, -2, 3, 0], [7, 0, 0, -100]])
    )


def time_cases() -> Iterator[Case]:
    spikes = np.zeros((14, 2), int)
    spikes[[0, 1, 5, 6, 9], [0, 1, 0, 1, 0]] = 1
    excite = np.array([[100, 60], [30, 120], [200, -60]])
    back = np.array([[0, 120, -90], [80, 0, 40], [-60, 100, 90]])
    plain = {"du": 300, "dv": 100, "vth": 90}
    for process, more in ((Dense, {}), (Sparse, {}), (DelayDense, {"delays": np.abs(back) % 3})):
        recurrent = process(back, **more)
        yield single(f"recurrent {process.__name__}", Dense(excite), LIF(3, **plain), spikes, recurrent)
    for interval, offset in ((1, 0), (2, 1), (4, 0), (5, 3), (5, 13), (20, 3)):
        neurons = LIFReset(3, **plain, bias_mant=3, bias_exp=2, reset_interval=interval, reset_offset=offset)
        yield single(f"reset every {interval} from {offset}", Dense(excite), neurons, spikes)
    started = LIFReset(3, **plain, u=9000, v=-700, reset_interval=3, reset_offset=2)
    yield single("reset of a state that was given", Dense(excite), started, spikes, Dense(back))
    kept = LIFReset(3, du=0, dv=0, vth=90, reset_interval=3, reset_offset=2)
    yield single("reset of a state that does not decay", Dense(excite), kept, spikes)
    alone = {"du": 300, "dv": 100, "vth": 20, "bias_mant": 500, "bias_exp": 3}
    yield single(
        "a neuron that drives itself",
        Dense(np.array([[100]])),
        LIF(1, **alone),
        column([1] * STEPS),
        Dense(np.array([[-60]])),
    )
    given = LIF(3, **plain, u=9000, v=-700)
    yield single("a single step", Dense(excite, num_message_bits=24), given, [[1, 2]])
    graded = Dense(excite, num_message_bits=24)
    behind = Network((Layer(graded, LIF(3, **plain)), Layer(Dense(back), LIF(3, **plain))))
    yield Case("spikes behind graded messages", behind, 3 * spikes)
    biased = LIF(3, **plain, bias_mant=500, bias_exp=3)
    deep = Network(
        (Layer(Dense(excite), biased), Layer(Dense(back), LIF(3, **plain)), Layer(Sparse(back), biased))
    )
    yield Case("three layers on their way", deep, spikes)

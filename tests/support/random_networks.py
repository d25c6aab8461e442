"""Random networks over all processes, drawn so that wraps, saturation and both sides of thresholds occur."""

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
from tests.support.real_lava import Case

STEPS = 12
MATRICES = (Dense, Sparse, DelayDense, DelaySparse)


def random_case(seed: int) -> Case:
    """A chain of one to three layers; some recurrent, some graded at the input, some convolutions."""
    chance = np.random.default_rng(seed)
    graded = bool(chance.random() < 0.25)
    connection = random_first(chance, graded)
    sources = (
        int(np.prod(connection.input_shape)) if isinstance(connection, Conv) else connection.weights.shape[1]
    )
    layers = [random_layer(chance, connection)]
    for _ in range(int(chance.integers(0, 3))):
        size = layers[-1].neurons.size
        layers.append(random_layer(chance, random_matrix(chance, size, int(chance.integers(1, 8)))))
    messages = chance.random((STEPS, sources)) < chance.uniform(0.1, 0.9)
    if graded:
        messages = messages * chance.integers(
            -(2 ** chance.integers(1, 31)), 2 ** chance.integers(1, 31), messages.shape
        )
    return Case(f"random network {seed}", Network(tuple(layers)), messages.astype(np.int64))


def random_layer(chance: np.random.Generator, connection: Any) -> Layer:
    neurons = random_neurons(chance, connection.entries().targets)
    back = random_matrix(chance, neurons.size, neurons.size) if chance.random() < 0.3 else None
    return Layer(connection, neurons, back)


def random_first(chance: np.random.Generator, graded: bool) -> Any:
    bits = int(chance.integers(1, 25)) if graded else 0
    if chance.random() < 0.15:
        return random_conv(chance, bits)
    return random_matrix(chance, int(chance.integers(1, 8)), int(chance.integers(1, 8)), bits)


def random_matrix(chance: np.random.Generator, sources: int, targets: int, message_bits: int = 0) -> Dense:
    process = MATRICES[chance.integers(len(MATRICES))]
    largest = int(2 ** chance.uniform(1, 8.3))
    weights = chance.integers(-largest, largest + 1, (targets, sources))
    weights[chance.random(weights.shape) < chance.uniform(0, 0.7)] = 0
    weights = weights if chance.random() < 0.6 else np.abs(weights) * chance.choice([-1, 1])
    delays = {"delays": chance.integers(0, 5, weights.shape)} if issubclass(process, DelayDense) else {}
    return process(
        weights,
        weight_exp=int(chance.integers(-6, 8)),
        num_weight_bits=int(chance.integers(1, 9)) if chance.random() < 0.5 else 8,
        sign_mode=None if chance.random() < 0.5 else list(SignMode)[chance.integers(4)],
        num_message_bits=message_bits,
        **delays,
    )


def random_conv(chance: np.random.Generator, message_bits: int) -> Conv:
    groups = int(chance.integers(1, 3))
    shape = (int(chance.integers(3, 6)), int(chance.integers(3, 6)), groups)
    kernel = (groups * int(chance.integers(1, 3)), int(chance.integers(1, 3)), int(chance.integers(1, 4)), 1)
    largest = int(2 ** chance.uniform(1, 9)) if message_bits == 0 else 2
    return Conv(
        chance.integers(-largest, largest + 1, kernel)
        if message_bits == 0
        else np.eye(1, int(np.prod(kernel)), dtype=int).reshape(kernel),
        shape,
        padding=tuple(int(value) for value in chance.integers(0, 3, 2)),
        stride=tuple(int(value) for value in chance.integers(1, 3, 2)),
        dilation=(1, 1) if chance.random() < 0.6 else (2, 1),
        groups=groups,
        num_message_bits=message_bits,
    )


def random_neurons(chance: np.random.Generator, size: int) -> LIF:
    def drawn(*choices: Any) -> Any:
        """One value for all neurons, or one for each."""
        count = size if chance.random() < 0.6 else None
        picked = chance.integers(len(choices), size=count)
        values = np.array([choices[index] for index in np.atleast_1d(picked)])
        return values if count else int(values[0])

    values = {
        "du": drawn(4095, 4095, 0, int(chance.integers(0, 4096))),
        "dv": drawn(4096, 0, 1, int(chance.integers(0, 4097))),
        "vth": drawn(0, 131071, *(int(2**power) for power in chance.uniform(0, 17, 4))),
        "bias_mant": drawn(0, 0, *chance.integers(-4096, 4096, 3)),
        "bias_exp": drawn(0, *chance.integers(-15, 8, 3)),
        "u": drawn(0, 0, *chance.integers(-(2**23), 2**23, 2)),
        "v": drawn(0, 0, *chance.integers(-(2**23) + 1, 2**23, 2)),
    }
    if chance.random() < 0.4:
        interval = int(chance.integers(1, 9))
        return LIFReset(size, **values, reset_interval=interval, reset_offset=int(chance.integers(0, 12)))
    return LIF(size, **values)

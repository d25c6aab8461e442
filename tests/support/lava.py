"""Graphs and integer layers that several Lava tests share, and the managed environment."""

from typing import Any

import nir
import numpy as np
import pytest
from numpy.typing import NDArray

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.lava.environment import LavaEnvironment, install_environment
from nsc_deploy.exporters.lava.integers import IntegerLayer
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Reset, Signal


def ensure_lava() -> LavaEnvironment:
    """The managed environment, installed if need be; the test is skipped where it cannot be."""
    try:
        return install_environment()
    except BackendError as error:
        pytest.skip(f"no Lava here: {error.message}")


def int32(values: Any) -> NDArray[np.int32]:
    return np.asarray(values, np.int32)


def random_layer(
    chance: np.random.Generator, outputs: int, inputs: int, *, delay: int = 0, sign: int = 0
) -> IntegerLayer:
    """Neurons of every kind side by side; `sign` makes all weights of one sign."""
    weight = chance.integers(-127, 128, (outputs, inputs)) * 2
    weight = np.abs(weight) * sign if sign else weight
    weight[chance.random(weight.shape) < 0.3] = 0
    return IntegerLayer(
        weight=Matrix.of(int32(weight)),
        delay=int32(chance.integers(0, delay + 1, outputs)),
        du=int32(chance.choice([4095, 4095, 400, 0], outputs)),
        dv=int32(chance.choice([4096, 410, 1, 0], outputs)),
        vth=int32(2 ** chance.uniform(2, 12, outputs)),
        bias=int32(chance.integers(-60, 60, outputs)),
        bias_exp=int32(chance.integers(0, 8, outputs)),
        weight_exp=int(chance.integers(0, 6)),
    )


def receiver(lines: int = 24, hidden: int = 16, outputs: int = 12, seed: int = 1) -> nir.NIRGraph:
    """An event receiver: a gate over delayed copies, a coincidence with the direct path, two dense layers."""
    chance = np.random.default_rng(seed)

    def weights(*shape: int) -> NDArray[Any]:
        return np.round(chance.normal(0, 1, shape) * 64 / np.sqrt(shape[-1])) / 64

    build = GraphBuilder(0.03)
    build.input(lines, Signal.EVENTS)
    build.linear("left", np.diag(np.round(chance.uniform(0.3, 1, lines) * 64) / 64), after="input")
    build.lif("left_lif", 0.9, 0.8, lines)
    build.linear("tap0", weights(lines, lines), after="input")
    build.delay("delay1", 1, lines, after="input")
    build.linear("tap1", weights(lines, lines))
    build.delay("delay2", 2, lines, after="input")
    build.linear("tap2", weights(lines, lines))
    build.lif("right_lif", 0.5, 0.5, lines, after=["tap0", "tap1", "tap2"])
    build.linear("gate_weight", weights(lines, lines))
    build.threshold("gate", 0.25, lines)
    build.threshold("join", 1.5, lines, after=["gate", "left_lif"])
    build.affine("dense1", weights(hidden, lines) * 2, weights(1, hidden)[0] * 0.1)
    build.lif("lif1", 0.9, 0.3, hidden)
    build.linear("dense2", weights(outputs, hidden) * 2)
    build.lif("lif2", 0.9, 0.3, outputs)
    build.output(outputs, classes=outputs // 2, group=2)
    return build.build()


def memoryless(kind: str, reset: Reset = Reset.ZERO) -> nir.NIRGraph:
    """Neurons that forget at once, with whole weights and a bias: a LIF whose time constant is the step, or a
    Threshold; "leaks" keeps half, "late" has the LIF's bias begin two steps late."""
    build = GraphBuilder(1e-3, reset)
    chance = np.random.default_rng(4)
    build.input(8, Signal.EVENTS)
    build.affine("w", chance.integers(-3, 4, (4, 8)), np.ones(4))
    if kind == "late":
        build.delay("d", 2, 4)
    if kind == "threshold":
        build.threshold("n", 2.5, 4)
    else:
        tau, ones = (2e-3 if kind == "leaks" else 1e-3), np.ones(4)
        gain = tau / 1e-3
        build.add("n", nir.LIF(tau=tau * ones, r=gain * ones, v_leak=0 * ones, v_threshold=2.5 * ones))
    build.output(4)
    return build.build()


def random_events(chance: np.random.Generator, *shape: int, rate: float = 0.25) -> NDArray[np.uint8]:
    return (chance.random(shape) < rate).astype(np.uint8)


def random_exact_graph(seed: int) -> nir.NIRGraph:
    """A random graph whose lowering is exact: whole weights, and neurons that round nothing.

    Branches, joins, sums on a wire, delays (one step for all, or one for each element), Scale, folded
    Linear pairs, biases and thresholds below zero all occur.
    """
    chance = np.random.default_rng(seed)
    build = GraphBuilder(0.01)
    sizes = {build.input(int(chance.integers(1, 6)), Signal.EVENTS): 0}
    sizes["input"] = int(build.build().nodes["input"].input_type["input"][0])
    last = ""
    for index in range(int(chance.integers(2, 8))):
        size = int(chance.integers(1, 6))
        wires = [
            _random_wire(build, chance, f"{index}_{branch}", sizes, size)
            for branch in range(int(chance.integers(1, 4)))
        ]
        once = list(dict.fromkeys(wires))  # two bare wires from one node are one edge twice, which NIR lacks
        last = _random_neuron(build, chance, f"n{index}", size, once)
        sizes[last] = size
    build.output(sizes[last], after=last)
    return build.build()


def _random_wire(
    build: GraphBuilder, chance: np.random.Generator, name: str, sizes: dict[str, int], size: int
) -> str:
    source = str(chance.choice(list(sizes)))
    width = sizes[source]
    if chance.random() < 0.4:
        steps = chance.integers(0, 4, width) if chance.random() < 0.5 else int(chance.integers(0, 4))
        source = build.delay(f"d{name}", steps, width, after=source)
    if width == size and chance.random() < 0.25:
        return source
    if chance.random() < 0.3:
        middle = int(chance.integers(1, 4))
        source = build.linear(f"m{name}", chance.integers(-2, 3, (middle, width)), after=source)
        width = middle
    if chance.random() < 0.3:
        scale = nir.Scale(chance.integers(-2, 3, width).astype(np.float32))
        source = build.add(f"s{name}", scale, after=source)
    weight = chance.integers(-3, 4, (size, width))
    if chance.random() < 0.4:
        return build.affine(f"a{name}", weight, chance.integers(-2, 3, size), after=source)
    return build.linear(f"w{name}", weight, after=source)


def _random_neuron(
    build: GraphBuilder, chance: np.random.Generator, name: str, size: int, wires: list[str]
) -> str:
    kind = chance.integers(3)
    if kind == 0:
        return build.threshold(name, chance.integers(-4, 8, size) / 2, size, after=wires)
    limit = chance.integers(0, 8, size) / 2
    if kind == 1:
        return build.integrate_and_fire(name, limit, size, after=wires)
    return build.lif(name, 0.0, limit, size, after=wires)

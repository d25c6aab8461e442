"""Random graphs with everything that has a form in C, and what is needed to compile one in a test."""

import shutil
from contextlib import ExitStack
from typing import Any

import nir
import numpy as np
import pytest
from numpy.typing import NDArray

from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.code import Origin
from nsc_deploy.exporters.c.compilers import STRICT, Compiler
from nsc_deploy.exporters.c.events import EventCode
from nsc_deploy.exporters.c.layout import Layout
from nsc_deploy.exporters.c.runners import HostRunner
from nsc_deploy.exporters.c.write import source_text
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Network, Reset, Signal
from nsc_deploy.verification.runner import RunTrace

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler here"
)
needs_qemu = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm"))),
    reason="no arm-none-eabi-gcc and qemu-system-arm here",
)
ORIGIN = Origin("graph.nir", "0123abcd", recording=False)
SANITISED = ("-std=c99", "-O1", *STRICT, "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
DT = 0.01
_WITH_STATE = (nir.LIF, nir.IF, nir.CubaLIF)
Chance = np.random.Generator


def random_c_graph(seed: int, *, lava: bool = False) -> nir.NIRGraph:
    """Populations of all kinds in a row, with branches, joins, delays, feedback and convolutions.

    Args:
        seed: another graph for each.
        lava: whether Lava must be able to hold it; else one of two graphs resets by subtraction or to values,
            has cycles without a delay, biases that pass synapses, Delays and cycles, resets that nodes write
            out, or gives out potentials.
    """
    chance = np.random.default_rng(seed)
    free = not lava and seed % 2 == 1
    biases = np.random.default_rng((seed, 1)) if free else None
    reset = Reset.SUBTRACT if free and chance.random() < 0.5 else Reset.ZERO
    build = GraphBuilder(DT, reset)
    last, sizes = "input", {}
    if chance.random() < 0.5:
        last, size = _image(build, chance, biases)
    else:
        size = int(chance.integers(1, 70))
        build.input(size, Signal.EVENTS)
    sizes[last] = size
    for index in range(int(chance.integers(1, 4))):
        width = int(chance.integers(1, 70))
        wires = [_wire(build, chance, f"w{index}_0", last, sizes[last], width, biases)]
        if chance.random() < 0.4:
            source = str(chance.choice(list(sizes)))
            wires.append(_wire(build, chance, f"w{index}_1", source, sizes[source], width, biases))
        before = last
        neuron, entrance = _neuron(chance, (width,), floors=free and reset is Reset.ZERO), f"n{index}"
        if biases is not None and biases.random() < 0.2:
            entrance = f"v{index}"
            last = _written_out(build, entrance, f"n{index}", biases.uniform(0.2, 1.2, width), wires)
        else:
            last = build.add(entrance, neuron, after=wires)
        sizes[last] = width
        if free and chance.random() < 0.4 and isinstance(build.build().nodes[before], _WITH_STATE):
            _weighted(build, f"c{index}", _weights(chance, sizes[before], width), last, biases)
            build.connect(f"c{index}", before)
        if chance.random() < 0.5:
            back = _weighted(build, f"r{index}", _weights(chance, width, width), last, biases)
            if chance.random() < 0.4 or isinstance(build.build().nodes[last], nir.Threshold):
                back = build.delay(f"rd{index}", chance.integers(1, 4, width), width, after=back)
            build.connect(back, entrance)
    if free and chance.random() < 0.6:
        width = int(chance.integers(1, 9))
        last = build.affine(
            "readout", _weights(chance, width, sizes[last]), chance.normal(0, 0.1, width), after=last
        )
        sizes[last] = width
        if chance.random() < 0.7:
            last = build.add("integrator", _integrator(chance, (width,)), after=last)
            sizes[last] = width
    leaving = entrance if last == f"n{index}" and biases is not None and biases.random() < 0.5 else last
    build.output(sizes[last], after=leaving)
    return build.build()


def _written_out(
    build: GraphBuilder, integrator: str, name: str, limit: NDArray[Any], after: list[str]
) -> str:
    """Neurons that reset by subtraction, as an integrator, a threshold and a loop."""
    build.add(integrator, nir.I(r=np.full(len(limit), 1 / DT)), after=after)
    build.threshold(name, limit, len(limit))
    build.add(f"{name}_reset", nir.Scale(-np.float32(limit)))
    build.connect(f"{name}_reset", integrator)
    build.continue_from(name)
    return name


def _integrator(chance: Chance, shape: tuple[int, ...]) -> Any:
    full = np.ones(shape)
    kind = int(chance.integers(2))
    if kind == 0:
        return nir.LI(
            tau=full * chance.uniform(0.02, 0.2), r=full * chance.uniform(0.5, 2), v_leak=full * 0.1
        )
    return nir.I(r=full * chance.uniform(50, 150))


def _weights(chance: Chance, *shape: int) -> NDArray[Any]:
    """Dense, sparse, or of few values."""
    kind = chance.integers(4)
    if kind == 0:
        return chance.integers(-1, 2, shape) * 0.5
    if kind == 1:
        return chance.normal(0, 0.5, shape) * (chance.random(shape) < 0.15)
    return chance.normal(0.05, 0.6 / np.sqrt(shape[1]) + 0.05, shape)


def _neuron(chance: Chance, shape: tuple[int, ...], *, floors: bool = False, cuba: bool = True) -> Any:
    """A neuron with parameters of its own for each element, or the same for all."""

    def near(low: float, high: float) -> NDArray[Any]:
        alike = [(1,) * len(shape), (shape[0], *[1] * (len(shape) - 1)), shape][
            chance.choice(3, p=[0.5, 0.4, 0.1])
        ]
        return np.broadcast_to(chance.uniform(low, high, alike), shape).copy()

    kind = int(chance.choice([0, 1, 2, 3] if cuba else [0, 1, 3]))
    limit, floor = near(0.2, 1.2), near(-0.3, 0.15) if floors and chance.random() < 0.5 else np.zeros(shape)
    leak = np.zeros(shape) if chance.random() < 0.6 else near(-0.2, 0.3)
    if kind == 0:
        return nir.LIF(tau=near(0.01, 0.2), r=near(0.5, 2), v_leak=leak, v_threshold=limit, v_reset=floor)
    if kind == 1:
        return nir.IF(r=near(50, 150), v_threshold=limit, v_reset=floor)
    if kind == 2:
        taus = {"tau_syn": near(0.011, 0.05), "tau_mem": near(0.011, 0.1), "w_in": near(0.5, 3)}
        return nir.CubaLIF(r=near(1, 4), v_leak=leak, v_threshold=limit, v_reset=floor, **taus)
    return nir.Threshold(limit)


def _wire(
    build: GraphBuilder,
    chance: Chance,
    name: str,
    source: str,
    size: int,
    width: int,
    biases: Chance | None = None,
) -> str:
    if chance.random() < 0.3:
        source = build.delay(f"d{name}", chance.integers(0, 5, size), size, after=source)
    wire = _weighted(build, name, _weights(chance, width, size), source, biases)
    if biases is not None and biases.random() < 0.3:
        late = biases.integers(0, 5, width if biases.random() < 0.5 else 1)
        wire = build.delay(f"{name}_late", np.broadcast_to(late, width), width, after=wire)
    return wire


def _weighted(
    build: GraphBuilder, name: str, weights: NDArray[Any], source: str, biases: Chance | None
) -> str:
    """Weights, and with leave perhaps biases: the same for all, or of each."""
    if biases is None or biases.random() < 0.5:
        return build.linear(name, weights, after=source)
    bias = biases.normal(0.05, 0.1, len(weights) if biases.random() < 0.5 else 1)
    return build.affine(name, weights, np.broadcast_to(bias, len(weights)), after=source)


def _image(build: GraphBuilder, chance: Chance, biases: Chance | None = None) -> tuple[str, int]:
    """Convolutions over an image or a sequence, perhaps with a pooling; the name and size of their end."""
    if chance.random() < 0.3:
        build.input((2, 9), Signal.EVENTS)
        groups = int(chance.choice([1, 2]))
        weight = chance.normal(0, 0.5, (4, 2 // groups, 3))
        node = nir.Conv1d(
            9, weight, int(chance.integers(1, 4)), int(chance.integers(0, 3)), 1, groups, np.zeros(4)
        )
        return _spiking_image(build, chance, "c0", node, biases)
    channels = int(chance.integers(1, 4))
    shape = (channels, int(chance.integers(4, 9)), int(chance.integers(4, 9)))
    build.input(shape, Signal.EVENTS)
    groups = channels if chance.random() < 0.3 else 1
    weight = chance.normal(0, 0.5, (int(chance.integers(1, 5)) * channels, channels // groups, 3, 2))
    if chance.random() < 0.3:
        weight = chance.integers(-1, 2, weight.shape) * 0.5
    bias = chance.normal(0, 0.05, len(weight)) if chance.random() < 0.5 else np.zeros(len(weight))
    stride = tuple(int(step) for step in chance.integers(1, 3, 2))
    dilation = (1, 2) if chance.random() < 0.3 else (1, 1)
    node = nir.Conv2d(shape[1:], weight, stride, (1, int(chance.integers(0, 2))), dilation, groups, bias)
    return _spiking_image(build, chance, "c0", node, biases)


def _spiking_image(
    build: GraphBuilder, chance: Chance, name: str, node: Any, biases: Chance | None
) -> tuple[str, int]:
    build.add(name, node)
    channels, *taps = np.asarray(node.weight).shape
    built = build.build().nodes[name]
    space = [
        (size + 2 * zeros - spread * (tap - 1) - 1) // step + 1
        for size, zeros, spread, tap, step in zip(
            np.atleast_1d(built.input_shape),
            np.atleast_1d(built.padding),
            np.atleast_1d(built.dilation),
            taps[1:],
            np.atleast_1d(built.stride),
            strict=False,
        )
    ]
    shape = (channels, *(int(size) for size in space))
    if biases is not None and biases.random() < 0.3:
        late = biases.integers(0, 4, (shape[0], *[1] * (len(shape) - 1)))
        build.delay(f"{name}_late", np.broadcast_to(late, shape), shape)
    build.add(f"{name}_spikes", _neuron(chance, shape, cuba=biases is not None or not node.bias.any()))
    if len(shape) == 3 and min(shape[1:]) > 1 and chance.random() < 0.4:
        build.add(f"{name}_pool", nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])))
        shape = (shape[0], shape[1] // 2, shape[2] // 2)
    build.add(f"{name}_flat", nir.Flatten({"input": np.array(shape)}, 0, -1))
    return f"{name}_flat", int(np.prod(shape))


def random_events(seed: int, steps: int, samples: int, network: Network) -> NDArray[np.uint8]:
    """Events [steps, samples, *shape], of another rate in each sample."""
    chance = np.random.default_rng(seed)
    rate = chance.uniform(0.02, 0.6, (1, samples, *[1] * len(network.input_node.output_shape)))
    return (chance.random((steps, samples, *network.input_node.output_shape)) < rate).astype(np.uint8)


def run_compiled(
    layout: Layout,
    network: Network,
    events: NDArray[np.uint8],
    options: tuple[str, ...] = SANITISED,
    compiler: Compiler | None = None,
) -> RunTrace:
    """Events through the compiled code, with every warning an error and every undefined operation the end."""
    with ExitStack() as closing:
        settings = RunSettings(closing=closing)
        code = EventCode(layout, network)
        return HostRunner(code, source_text(layout, ORIGIN), settings, options, compiler).run(events)

"""Random graphs with cycles or over images whose lowering to Lava is exact: whole weights, nothing rounds."""

from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Signal

Chance = np.random.Generator
Shape = tuple[int, int, int]


def whole_neuron(
    build: GraphBuilder, chance: Chance, name: str, shape: tuple[int, ...], after: list[str]
) -> str:
    """A Threshold, IF or memoryless LIF with thresholds of its own; none fires without any input."""
    limit = chance.integers(0, 8, shape) / 2
    kind = chance.integers(3)
    if kind == 0:
        return build.threshold(name, limit, shape, after=after)
    if kind == 1:
        return build.integrate_and_fire(name, limit, shape, after=after)
    return build.lif(name, 0.0, limit, shape, after=after)


def random_cyclic_graph(seed: int, *, late_biases: bool = False) -> nir.NIRGraph:
    """Populations in a row that also drive themselves, each other or the ones before, with enough delay.

    Direct feedback, weights in the loop, delays for all or for each element, a Delay that closes the loop by
    itself, late populations and delays of the surplus all occur; and with `late_biases` what Lava refuses,
    biases in front of Delays and in cycles.
    """
    chance = np.random.default_rng(seed)
    biases = np.random.default_rng((seed, 1)) if late_biases else None
    build = GraphBuilder(0.01)
    sizes = {build.input(int(chance.integers(1, 5)), Signal.EVENTS): 0}
    sizes["input"] = int(build.build().nodes["input"].input_type["input"][0])
    row: list[str] = []
    for index in range(int(chance.integers(1, 5))):
        size = int(chance.integers(1, 5))
        sources = [row[-1] if row else "input"]
        if chance.random() < 0.4:
            sources.append(str(chance.choice(list(sizes))))
        wires = [
            _weighted(
                build, f"w{index}_{branch}", chance.integers(-2, 4, (size, sizes[source])), source, biases
            )
            for branch, source in enumerate(sources)
        ]
        if biases is not None and biases.random() < 0.6:
            late = biases.integers(0, 6, size)
            wires[-1] = build.delay(f"wd{index}", late, size, after=wires[-1])
        row.append(whole_neuron(build, chance, f"n{index}", (size,), wires))
        sizes[row[-1]] = size
        if chance.random() < 0.7:
            _feedback(build, chance, index, row, sizes, biases)
    build.output(sizes[row[-1]], after=row[-1])
    return build.build()


def _weighted(
    build: GraphBuilder, name: str, weights: NDArray[Any], source: str, biases: Chance | None
) -> str:
    if biases is None or biases.random() < 0.4:
        return build.linear(name, weights, after=source)
    return build.affine(name, weights, biases.integers(-2, 4, len(weights)) / 2, after=source)


def _feedback(
    build: GraphBuilder,
    chance: Chance,
    index: int,
    row: list[str],
    sizes: dict[str, int],
    biases: Chance | None,
) -> None:
    """From the last population to itself or to one before, with a step for each connection in between."""
    back = int(chance.integers(0, index + 1)) if chance.random() < 0.5 else index
    source, target = row[-1], row[back]
    connections = index - back + 1
    if (
        connections == 1
        and chance.random() < 0.3
        and not isinstance(build.build().nodes[source], nir.Threshold)
    ):
        build.connect(source, target)
        return
    weights = _weighted(
        build, f"r{index}", chance.integers(-3, 3, (sizes[target], sizes[source])), source, biases
    )
    late = connections if chance.random() < 0.5 else connections + chance.integers(0, 3, sizes[target])
    if connections > 1 or chance.random() < 0.4 or isinstance(build.build().nodes[target], nir.Threshold):
        weights = build.delay(f"d{index}", late, sizes[target], after=weights)
    build.connect(weights, target)


def random_image_graph(seed: int) -> nir.NIRGraph:
    """Convolutions, pools, a branch around one of them, and a matrix; over an image or a sequence."""
    chance = np.random.default_rng(seed)
    build = GraphBuilder(0.01)
    if chance.random() < 0.25:
        return _sequence(build, chance)
    shape: Shape = (int(chance.integers(1, 3)), int(chance.integers(4, 8)), int(chance.integers(4, 8)))
    build.input(shape, Signal.EVENTS)
    last = "input"
    for index in range(int(chance.integers(1, 3))):
        before, entering = last, shape
        last, shape = _convolution(build, chance, f"c{index}", last, shape)
        if chance.random() < 0.5 and min(shape[1:]) > 1:
            last, shape = _pool(build, chance, f"p{index}", last, shape)
        wires = [last]
        if chance.random() < 0.4:
            side = nir.Conv2d(
                entering[1:],
                chance.integers(-2, 3, (shape[0], entering[0], 1, 1)) * 1.0,
                1,
                0,
                1,
                1,
                np.zeros(shape[0]),
            )
            if shape[1:] == entering[1:]:
                wires.append(build.add(f"s{index}", side, after=before))
        last = whole_neuron(build, chance, f"n{index}", shape, wires)
        if chance.random() < 0.3:
            kernel = chance.integers(-1, 2, (shape[0], shape[0], 3, 3)) * 1.0
            back = nir.Conv2d(shape[1:], kernel, 1, "same", 1, 1, np.zeros(shape[0]))
            build.add(f"b{index}", back, after=last)
            loop = f"b{index}"
            if isinstance(build.build().nodes[last], nir.Threshold):
                loop = build.delay(f"bd{index}", 1, shape, after=loop)
            build.connect(loop, last)
    if chance.random() < 0.5 and min(shape[1:]) > 1:
        last, shape = _pool(build, chance, "last", last, shape)
    build.add("flat", nir.Flatten({"input": np.array(shape)}, 0, -1), after=last)
    build.linear("w", chance.integers(-2, 3, (3, int(np.prod(shape)))), after="flat")
    whole_neuron(build, chance, "out", (3,), ["w"])
    build.output(3, after="out")
    return build.build()


def _convolution(
    build: GraphBuilder, chance: Chance, name: str, after: str, shape: Shape
) -> tuple[str, Shape]:
    channels = int(chance.integers(1, 4)) * shape[0]
    groups = shape[0] if chance.random() < 0.3 else 1
    kernel = [int(chance.integers(1, min(4, size + 1))) for size in shape[1:]]
    padding = ["same", "valid", (1, 0), (2, 1)][chance.integers(4)]
    stride = (1, 1) if padding == "same" else tuple(int(step) for step in chance.integers(1, 3, 2))
    dilation = (1, 2) if 2 * kernel[1] - 1 <= shape[2] and chance.random() < 0.4 else (1, 1)
    weight = chance.integers(-2, 3, (channels, shape[0] // groups, *kernel)) * 1.0
    bias = chance.integers(-1, 2, channels) * float(chance.random() < 0.3)
    build.add(name, nir.Conv2d(shape[1:], weight, stride, padding, dilation, groups, bias), after=after)
    leaving = tuple(
        _length(size, width, step, zeros, spread)
        for size, width, step, zeros, spread in zip(
            shape[1:],
            kernel,
            stride,
            (padding, padding) if isinstance(padding, str) else padding,
            dilation,
            strict=True,
        )
    )
    return name, (channels, *leaving)


def _pool(build: GraphBuilder, chance: Chance, name: str, after: str, shape: Shape) -> tuple[str, Shape]:
    """Sums of up to four spikes; a mean over a window of 1, 2 or 4, whose share is a power of two."""
    kind = nir.SumPool2d if chance.random() < 0.6 else nir.AvgPool2d
    kernel = chance.integers(1, 3, 2)
    stride = chance.integers(1, 3, 2)
    padding = np.array([chance.integers(0, size) for size in kernel])
    build.add(name, kind(kernel, stride, padding), after=after)
    leaving = [
        _length(size, width, step, zeros, 1)
        for size, width, step, zeros in zip(shape[1:], kernel, stride, padding, strict=True)
    ]
    return name, (shape[0], *leaving)


def _length(size: int, width: int, stride: int, padding: object, dilation: int) -> int:
    zeros = {"valid": 0, "same": dilation * (width - 1)}[padding] if isinstance(padding, str) else 2 * padding
    return int((size + zeros - dilation * (width - 1) - 1) // stride + 1)


def _sequence(build: GraphBuilder, chance: Chance) -> nir.NIRGraph:
    build.input((2, 9), Signal.EVENTS)
    padding = [0, 2, "same", "valid"][chance.integers(4)]
    stride = 1 if padding == "same" else int(chance.integers(1, 4))
    groups = int(chance.choice([1, 2]))
    weight = chance.integers(-3, 4, (4, 2 // groups, 3)) * 1.0
    bias = chance.integers(-1, 2, 4) * 1.0
    build.add("conv", nir.Conv1d(9, weight, stride, padding, 1, groups, bias))
    length = _length(9, 3, stride, padding, 1)
    whole_neuron(build, chance, "n", (4, length), ["conv"])
    build.add("slices", nir.Linear(chance.integers(-2, 3, (4, 2, length)) * 1.0), after="n")
    whole_neuron(build, chance, "out", (4, 2), ["slices"])
    build.output((4, 2), after="out")
    return build.build()

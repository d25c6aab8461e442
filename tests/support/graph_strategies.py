"""A hypothesis strategy for NIR graphs of every kind of node, and inputs for them.

`cases()` draws the structure, so that a failing graph shrinks to a small one; the numbers come from a seed.
Chains of images (convolutions, pools, Scales, Delays) lead to chains of vectors with branches, joins and
feedback; parts may be nested graphs; some nodes lead nowhere; a read-out without spikes may end it.

Numbers come in two kinds. On a grid, all sums are exact in float32, so whatever a pass does to them can be
compared bit for bit with anything. Rounding ones are arbitrary: there only what a pass leaves alone, or
changes in ways that provably do not matter, stays the same to the last bit.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import nir
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Network, Reset, Signal
from tests.support.exact_graphs import DT, INTEGRATORS, SPIKING, grid, neuron

Shape = tuple[int, ...]
Array = NDArray[Any]
STEPS, SAMPLES = 7, 3


@dataclass(frozen=True)
class Case:
    """A graph, the network it makes, and what enters: [STEPS, SAMPLES, *shape]."""

    graph: nir.NIRGraph
    network: Network
    values: Array

    def __repr__(self) -> str:
        lines = [
            f"{one.name}: {one.primitive} {one.output_shape} <- {one.inputs}" for one in self.network.nodes
        ]
        return "\n".join(lines)


@dataclass
class Sketch:
    """A graph as it is drawn."""

    draw: Callable[..., Any]
    chance: np.random.Generator
    build: GraphBuilder
    rounding: bool
    reset: Reset
    shapes: dict[str, Shape] = field(default_factory=dict)

    def yes(self, chances: int = 2) -> bool:
        """True once in so many draws."""
        return bool(self.draw(st.integers(0, chances - 1)) == chances - 1)

    def numbers(self, *shape: int) -> Array:
        """Weights."""
        if self.rounding:
            return self.chance.normal(0.1, 0.7, shape).astype(np.float32)
        return grid(self.chance, *shape, reach=12)

    def factors(self, shape: Shape) -> Array:
        """A Scale: powers of two or whole numbers, or (rounding) any; alike, by channel or by element."""
        alike = self.draw(st.sampled_from([(1,) * len(shape), (shape[0], *[1] * (len(shape) - 1)), shape]))
        kind = self.draw(
            st.sampled_from(["powers", "whole", "any"] if self.rounding else ["powers", "whole"])
        )
        if kind == "powers":
            values = self.chance.choice([0.25, -0.5, 1.0, 2.0, 4.0, 0.0], alike)
        elif kind == "whole":
            values = self.chance.integers(-3, 4, alike)
        else:
            values = self.chance.normal(1, 1, alike)
        return np.broadcast_to(values, shape).astype(np.float32).copy()

    def add(self, name: str, node: Any, shape: Shape, after: str | list[str]) -> str:
        """Add a node that gives out a shape."""
        self.build.add(name, node, after=after)
        self.shapes[name] = shape
        return name

    def spikes(self, name: str, shape: Shape, after: str | list[str]) -> str:
        """Add neurons of some kind."""
        kind = self.draw(st.sampled_from(SPIKING))
        if kind == "own":
            self.build.lif(name, self.chance.random(shape) * 0.95, 0.4, shape, after=after)
            self.shapes[name] = shape
            return name
        return self.add(name, neuron(self.chance, kind, shape, self.reset), shape, after)


@st.composite
def cases(draw: st.DrawFn, *, rounding: bool | None = None, signal: Signal | None = None) -> Case:
    """Graphs with inputs.

    Args:
        draw: given by hypothesis.
        rounding: whether the numbers are arbitrary; None for either kind.
        signal: what enters; None for events or real values.
    """
    arbitrary = draw(st.booleans()) if rounding is None else rounding
    entering = draw(st.sampled_from([Signal.EVENTS, Signal.REAL])) if signal is None else signal
    reset = draw(st.sampled_from(list(Reset)))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sketch = Sketch(draw, chance, GraphBuilder(DT, reset), arbitrary, reset)
    shape = draw(st.sampled_from([(3,), (2, 6, 5), (2, 6, 5)]))
    last = sketch.build.input(shape, entering)
    sketch.shapes[last] = shape
    for index in range(draw(st.integers(1, 2)) if len(shape) == 3 else 0):
        last = _image_layer(sketch, f"i{index}", last)
    if len(sketch.shapes[last]) == 3:
        last = _flat(sketch, last)
    sources = [last]
    for index in range(draw(st.integers(1, 3))):
        last = _vector_layer(sketch, f"v{index}", sources)
        sources.append(last)
    if sketch.yes(3):
        last = _readout(sketch, last)
    sketch.build.output(sketch.shapes[last], after=last)
    graph = sketch.build.build()
    values = chance.integers(0, 2, (STEPS, SAMPLES, *shape))
    if entering is Signal.REAL:
        values = chance.normal(0.2, 1, values.shape) if arbitrary else values * 2 - 0.75
    return Case(graph, assemble(graph), values.astype(np.float32))


def _image_layer(sketch: Sketch, name: str, source: str) -> str:
    """Wires, a convolution, wires, neurons on [channels, height, width]."""
    source = _image_wires(sketch, f"{name}_in", source)
    if sketch.yes(4):
        return source
    source = _convolution(sketch, f"{name}_conv", source)
    source = _image_wires(sketch, f"{name}_out", source)
    return sketch.spikes(name, sketch.shapes[source], source)


def _image_wires(sketch: Sketch, name: str, source: str) -> str:
    for index, kind in enumerate(
        sketch.draw(st.lists(st.sampled_from(["pool", "scale", "delay"]), max_size=2))
    ):
        shape, full = sketch.shapes[source], f"{name}{index}"
        if kind == "scale":
            source = sketch.add(full, nir.Scale(sketch.factors(shape)), shape, source)
        elif kind == "delay":
            source = sketch.add(full, nir.Delay(sketch.chance.integers(0, 3, shape) * DT), shape, source)
        elif min(shape[1:]) > 2:
            source = _pool(sketch, full, source)
    return source


def _pool(sketch: Sketch, name: str, source: str) -> str:
    channels, *size = sketch.shapes[source]
    if sketch.yes(3):
        window = sketch.chance.integers(1, 4, 2)
        step, pad = sketch.chance.integers(1, 3, 2), sketch.chance.integers(0, window // 2 + 1)
    else:
        window = step = np.array([2, 2])
        pad = np.array([0, 0])
    pool = sketch.draw(st.sampled_from([nir.SumPool2d, nir.AvgPool2d]))
    if pool is nir.AvgPool2d and not sketch.rounding:
        window, pad = np.array([2, 2]), np.minimum(pad, 1)
    out = (np.array(size) + 2 * pad - window) // step + 1
    return sketch.add(name, pool(window, step, pad), (channels, *map(int, out)), source)


def _convolution(sketch: Sketch, name: str, source: str) -> str:
    channels, *size = sketch.shapes[source]
    groups = sketch.draw(st.sampled_from([1, channels]))
    kernel = [int(min(wide, sketch.chance.integers(1, 4))) for wide in size]
    padding = sketch.draw(st.sampled_from([0, 1, "same", "valid"]))
    stride = 1 if padding == "same" else int(sketch.chance.integers(1, 3))
    outputs = 2 * groups
    weight, bias = sketch.numbers(outputs, channels // groups, *kernel), sketch.numbers(outputs)
    node = nir.Conv2d(tuple(size), weight, stride, padding, 1, groups, bias)
    zeros = [
        {"same": wide - 1, "valid": 0}.get(padding, 2 * padding if padding == 1 else 0) for wide in kernel
    ]
    out = [(wide + more - taps) // stride + 1 for wide, more, taps in zip(size, zeros, kernel, strict=True)]
    return sketch.add(name, node, (outputs, *out), source)


def _flat(sketch: Sketch, source: str) -> str:
    shape = sketch.shapes[source]
    return sketch.add("flat", nir.Flatten({"input": np.array(shape)}, 0, -1), (int(np.prod(shape)),), source)


def _vector_layer(sketch: Sketch, name: str, sources: list[str]) -> str:
    """Some wires, joined, into neurons, perhaps with feedback; and perhaps something that leads nowhere."""
    size = sketch.draw(st.integers(1, 4))
    usual = [sources[-1]] * 3  # so that some graphs are chains, which can be cut
    wires = [
        _vector_wire(sketch, f"{name}_{index}", sketch.draw(st.sampled_from([*usual, *sources])), size)
        for index in range(sketch.draw(st.integers(1, 3)))
    ]
    layer = sketch.spikes(name, (size,), wires)
    if sketch.yes(3):
        _feedback(sketch, f"{name}_back", layer, size)
    if sketch.yes(4):
        dead = sketch.add(f"{name}_dead", nir.Linear(sketch.numbers(2, size)), (2,), layer)
        sketch.add(f"{name}_end", nir.Scale(sketch.factors((2,))), (2,), dead)
    return layer


def _vector_wire(sketch: Sketch, name: str, source: str, size: int) -> str:
    """Scales and Delays before and behind weights, perhaps inside a nested graph."""
    width = sketch.shapes[source][0]
    before = _elements(sketch, width)
    weight = sketch.numbers(size, width)
    matrix = nir.Affine(weight, sketch.numbers(size)) if sketch.yes() else nir.Linear(weight)
    chain = [*before, matrix, *_elements(sketch, size)]
    if sketch.yes(4):
        return sketch.add(name, _nested(chain, width, size), (size,), source)
    for index, node in enumerate(chain):
        shape = (width,) if index < len(before) else (size,)
        source = sketch.add(f"{name}_{index}", node, shape, source)
    return source


def _elements(sketch: Sketch, size: int) -> list[Any]:
    made: dict[str, Callable[[], Any]] = {
        "scale": lambda: nir.Scale(sketch.factors((size,))),
        "delay": lambda: nir.Delay(sketch.chance.integers(0, 3, size) * DT),
    }
    return [made[kind]() for kind in sketch.draw(st.lists(st.sampled_from(sorted(made)), max_size=2))]


def _nested(chain: list[Any], width: int, size: int) -> nir.NIRGraph:
    nodes = {"in": nir.Input(np.array([width]))}
    nodes |= {f"part{index}": node for index, node in enumerate(chain)}
    nodes["out"] = nir.Output(np.array([size]))
    names = list(nodes)
    edges = list(pairwise(names))
    return nir.NIRGraph(nodes, edges, type_check=False)


def _feedback(sketch: Sketch, name: str, layer: str, size: int) -> None:
    """From a layer back onto itself, one step late or by a Delay of its own, perhaps scaled."""
    back = sketch.add(name, nir.Linear(sketch.numbers(size, size) / 2), (size,), layer)
    if sketch.yes():
        back = sketch.add(f"{name}_scale", nir.Scale(sketch.factors((size,))), (size,), back)
    memoryless = type(sketch.build.build().nodes[layer]).__name__ == "Threshold"
    if memoryless or sketch.yes():
        late = nir.Delay(sketch.chance.integers(1, 3, size) * DT)
        back = sketch.add(f"{name}_delay", late, (size,), back)
    sketch.build.connect(back, layer)


def _readout(sketch: Sketch, source: str) -> str:
    size = sketch.draw(st.integers(1, 3))
    weights = nir.Affine(sketch.numbers(size, sketch.shapes[source][0]), sketch.numbers(size))
    last = sketch.add("readout", weights, (size,), source)
    if sketch.yes():
        kind = sketch.draw(st.sampled_from(INTEGRATORS))
        last = sketch.add("integrator", neuron(sketch.chance, kind, (size,), sketch.reset), (size,), last)
    return last

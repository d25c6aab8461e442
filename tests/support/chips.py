"""Small chips and small graphs for the tests of fitting."""

import nir
import numpy as np
from hypothesis import strategies as st

from nsc_deploy.exporters.chips.chip import Chip, Figure, ManyCores, bundled_chip
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Network, Reset, Signal


def figure(value: int | None, lower: int | None = None) -> Figure:
    if value is None:
        return Figure(note="nobody says")
    return Figure(value=value, lower=lower, source="davies2018", place="a test")


def small_chip(name: str = "loihi1", **limits: int | None) -> Chip:
    """A chip of many cores with other limits; `memory` in bytes, `delay` in steps, `state_bits`."""
    chip = bundled_chip(name)
    layout = chip.layout
    assert isinstance(layout, ManyCores)
    synapses, neurons = chip.synapses, chip.neurons
    if "delay" in limits:
        synapses = synapses.model_copy(update={"delay_steps": figure(limits.pop("delay"))})
    if "state_bits" in limits:
        neurons = neurons.model_copy(update={"state_bits": figure(limits.pop("state_bits"))})
    if "memory" in limits:
        memory = layout.memory.model_copy(update={"capacity": figure(limits.pop("memory"))})
        layout = layout.model_copy(update={"memory": memory})
    layout = layout.model_copy(update={key: figure(value) for key, value in limits.items()})
    return chip.model_copy(update={"layout": layout, "synapses": synapses, "neurons": neurons})


def chain(*sizes: int, weights: list[np.ndarray] | None = None, reset: Reset = Reset.ZERO) -> Network:
    """Input, then LIF layers of these sizes, fully connected unless weights are given."""
    build = GraphBuilder(0.001, reset)
    build.input(sizes[0], Signal.EVENTS)
    for index, size in enumerate(sizes[1:]):
        weight = np.ones((size, sizes[index])) if weights is None else weights[index]
        build.linear(f"w{index}", weight)
        build.lif(f"n{index}", 0.9, 1.0, size)
    build.output(sizes[-1])
    return assemble(build.build())


@st.composite
def layered_graphs(draw: st.DrawFn) -> Network:
    """Layers of neurons with sparse weights, skip connections and feedback."""
    seed = draw(st.integers(0, 2**32 - 1))
    count = draw(st.integers(1, 4))
    sizes = [draw(st.integers(1, 12)) for _ in range(count + 1)]
    chance = np.random.default_rng(seed)
    build = GraphBuilder(0.001)
    names = [build.input(sizes[0], Signal.EVENTS)]
    for index in range(1, count + 1):
        sources = {index - 1} | {one for one in range(index - 1) if draw(st.booleans())}
        wires = []
        for source in sorted(sources):
            weight = chance.normal(size=(sizes[index], sizes[source])) * (
                chance.random((sizes[index], sizes[source])) < 0.6
            )
            wires.append(build.linear(f"w{source}_{index}", weight, after=names[source]))
        names.append(build.lif(f"n{index}", 0.9, 1.0, sizes[index], after=wires))
        if draw(st.booleans()):
            weight = chance.normal(size=(sizes[index], sizes[index])) * (
                chance.random((sizes[index], sizes[index])) < 0.4
            )
            build.connect(build.linear(f"back{index}", weight, after=names[index]), names[index])
    build.output(sizes[-1], after=names[-1])
    return assemble(build.build())


def dense_projections(network: Network) -> list[tuple[str, str, np.ndarray]]:
    """(source, target, weights) of every Linear node between neurons, read straight off the graph."""
    found = []
    for node in network.nodes:
        if node.primitive == "Linear":
            for target in network.successors(node.name):
                found.append((node.inputs[0], target.name, node.parameters.weight))
    return found


def convolution(
    channels: int = 1,
    outputs: int = 2,
    size: tuple[int, int] = (8, 8),
    kernel: tuple[int, int] = (3, 3),
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    *,
    dilation: int = 1,
    pool: int | None = None,
    pool_padding: int = 0,
    scale: np.ndarray | None = None,
    threshold: float = 1.0,
) -> Network:
    """Input, pooling and a Scale where asked for, Conv2d, IF neurons."""
    build = GraphBuilder(0.001)
    shape = (channels, *size)
    build.input(shape, Signal.EVENTS)
    if pool is not None:
        window, padding_of_pool = np.array([pool, pool]), np.array([pool_padding, pool_padding])
        build.add("pool", nir.SumPool2d(window, window, padding_of_pool))
        size = ((size[0] + 2 * pool_padding) // pool, (size[1] + 2 * pool_padding) // pool)
    if scale is not None:
        build.add("scale", nir.Scale(np.broadcast_to(scale, (channels, *size)).astype(np.float32)))
    weight = np.ones((outputs, channels, *kernel), np.float32)
    build.add("conv", nir.Conv2d(size, weight, stride, padding, dilation, 1, np.zeros(outputs, np.float32)))
    strides, pads = (np.broadcast_to(one, 2) for one in (stride, padding))
    out = tuple(
        int((size[axis] + 2 * pads[axis] - dilation * (kernel[axis] - 1) - 1) // strides[axis] + 1)
        for axis in range(2)
    )
    build.integrate_and_fire("n", threshold, (outputs, *out))
    build.output((outputs, *out))
    return assemble(build.build())


def loop(delay: int) -> Network:
    """Two layers that feed each other, with a delay on the way back."""
    build = GraphBuilder(0.001)
    build.input(1, Signal.EVENTS)
    build.linear("w", [[1.0]])
    build.lif("a", 0.5, 1.0, 1)
    build.linear("forth", [[1.0]])
    build.lif("b", 0.5, 1.0, 1)
    build.linear("back", [[1.0]])
    if delay:
        build.delay("late", delay, 1)
    build.connect("late" if delay else "back", "a")
    build.output(1, after="b")
    return assemble(build.build())

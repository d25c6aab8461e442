"""Pass: write resets by subtraction out with nodes that every reader of NIR knows.

NIR has no word for a reset by subtraction: its IF node states `v_reset` alone, and a reader that is told
nothing else resets to it. This pass makes of each IF neuron an integrator, a threshold that reads its
potential, and a loop that takes the threshold off the potential one step later:

    x -> IF          becomes        x -> I -> Threshold,  Threshold -> Scale(-v_threshold) -> I (next step)

The Threshold has the name of the neuron. The integrator has r = 1 / dt, so that r dt is 1 in float32 too: a
factor of 0.99999994, which a resistance rounded to float32 would make, flips spikes. A gain other than 1
stands in front as a Scale.

The neuron computes (v - threshold) + x, the loop v + (x - threshold). That is the same to the last bit where
nothing rounds, as with weights on a dyadic grid that events meet, for as many steps as the note states; it
is not where real values arrive. LIF and CubaLIF stay: their potential decays between a spike and the loop.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import nir
import numpy as np

from nsc_deploy.graphs.network import RESETTING, Network, Node, Reset, Signal
from nsc_deploy.graphs.primitives import normalise
from nsc_deploy.graphs.rewrite import settled
from nsc_deploy.passes.base import NetworkPass, Note, Rewrite
from nsc_deploy.passes.exactness import MANTISSA_BITS, Grids, joined, lowest_bit, single

ERROR = 2.0**-23
"""Two roundings of a potential a step that lie otherwise."""
WRITTEN_OUT = "written-out"
"""Kind of the note on a neuron that became a loop."""


class PlainResets(NetworkPass):
    """The pass."""

    name = "plain-resets"

    def rewrite(self, network: Network, /) -> Rewrite[Network]:
        """Each IF node of a graph that resets by subtraction."""
        if network.reset is not Reset.SUBTRACT:
            return Rewrite(network)
        grids = Grids(network)
        loops = {node.name: _loop(node, network) for node in network.nodes if node.primitive == "IF"}
        notes = [_note(network.node(name), network, grids) for name in loops]
        staying = [node for node in network.nodes if node.primitive in RESETTING and node.name not in loops]
        notes += [
            Note("kept", node.name, f"stays: a {node.primitive} decays between a spike and the loop")
            for node in staying
        ]
        return Rewrite(_rewritten(network, loops, plain=not staying), tuple(notes))

    def leftover(self, network: Network, /) -> str | None:
        """An IF node that still resets by subtraction."""
        left = [node.name for node in network.nodes if node.primitive == "IF"]
        return (
            f"'{left[0]}' still resets by subtraction" if left and network.reset is Reset.SUBTRACT else None
        )


@dataclass(frozen=True)
class _Loop:
    """What becomes of a neuron.

    Attributes:
        gain: a Scale in front; None where the gain is 1.
        integrator: takes in what the neuron did, and the loop.
        threshold: has its name.
        reset: the Scale of the loop.
    """

    gain: Node | None
    integrator: Node
    threshold: Node
    reset: Node

    @property
    def nodes(self) -> tuple[Node, ...]:
        """In the order in which they are computed."""
        inner = (self.integrator, self.threshold, self.reset)
        return inner if self.gain is None else (self.gain, *inner)

    @property
    def entrance(self) -> str:
        """Where what entered the neuron goes."""
        return (self.gain or self.integrator).name


def _loop(node: Node, network: Network) -> _Loop:
    shape, threshold = node.output_shape, single(node.parameters.v_threshold)
    gain = _gain(node, network)
    names = {part: _unused(f"{node.name}_{part}", network) for part in ("gain", "potential", "reset")}

    def made(name: str, parameters: nir.NIRNode, inputs: tuple[str, ...], emits: Signal) -> Node:
        return Node(name, type(parameters).__name__, normalise(parameters), inputs, shape, shape, emits)

    in_front = made(names["gain"], nir.Scale(gain), node.inputs, Signal.REAL)
    scaled = bool((gain != 1).any())
    entering = (in_front.name,) if scaled else node.inputs
    return _Loop(
        in_front if scaled else None,
        made(
            names["potential"],
            nir.I(r=np.full(shape, 1 / network.step_seconds)),
            (*entering, names["reset"]),
            Signal.REAL,
        ),
        made(node.name, nir.Threshold(threshold.astype(np.float32)), (names["potential"],), Signal.EVENTS),
        made(names["reset"], nir.Scale((-threshold).astype(np.float32)), (node.name,), Signal.REAL),
    )


def _gain(node: Node, network: Network) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """As the simulator rounds it."""
    gain = node.parameters.r.astype(np.float64) * network.step_seconds
    return np.broadcast_to(gain, node.output_shape).astype(np.float32)


def _unused(name: str, network: Network) -> str:
    known = {node.name for node in network.nodes}
    while name in known:
        name += "_"
    return name


def _rewritten(network: Network, loops: dict[str, _Loop], *, plain: bool) -> Network:
    def parts(name: str) -> Iterator[Node]:
        yield from loops[name].nodes if name in loops else (network.node(name),)

    nodes = tuple(part for node in network.nodes for part in parts(node.name))
    groups: list[tuple[str, ...]] = []
    for group in network.components:
        if len(group) == 1 and group[0] in loops and not network.cyclic(group):
            loop = loops[group[0]]
            groups += [] if loop.gain is None else [(loop.gain.name,)]
            groups.append((loop.integrator.name, loop.threshold.name, loop.reset.name))
        else:
            groups.append(tuple(part.name for name in group for part in parts(name)))
    late = {
        (source, loops[target].entrance if target in loops else target)
        for source, target in network.back_edges
    }
    late |= {(loop.reset.name, loop.integrator.name) for loop in loops.values()}
    metadata = {key: value for key, value in network.metadata.items() if key not in {"reset", "reset_delay"}}
    return replace(
        network,
        nodes=settled(nodes),
        components=tuple(groups),
        back_edges=frozenset(late),
        reset=None if plain else network.reset,
        metadata=metadata if plain else network.metadata,
    )


def _note(node: Node, network: Network, grids: Grids) -> Note:
    """Whether the loop computes the same, and for how long."""
    arriving = joined([grids.of(source) for source in node.inputs])
    if arriving is None or (_gain(node, network) != 1).any():
        text = "written out as an integrator, a threshold and a loop, whose sums round otherwise"
        return Note(WRITTEN_OUT, node.name, text, exact=False, error=ERROR)
    threshold = single(node.parameters.v_threshold)
    exponent = min(arriving.exponent, int(lowest_bit(threshold).min()))
    largest = 2.0 ** (MANTISSA_BITS + exponent) - float(np.abs(threshold).max())
    steps = int(largest / arriving.bound) if arriving.bound else 2**31
    text = f"written out as an integrator, a threshold and a loop: no number changes for {steps:,} steps"
    if steps < 1:
        return Note(WRITTEN_OUT, node.name, text, exact=False, error=ERROR)
    return Note(WRITTEN_OUT, node.name, text)

"""Received samples that become events: comparators at the front of a graph, in integers of 16 bits.

A sample y is held as q = round(y 2^f), and a line has an event where one of its samples leaves an interval:

    e[k] = 1 where q[i] > high[k, i] or q[i] < low[k, i] for any sample i of line k

Such graphs begin with weights that look at one sample each, a Threshold, and where several comparators share
a line another pair that joins them. Only the rounding of samples falsifies: limits are exact in these units.
Limits lie in half of the range, so a sample that is cut off at its end changes no comparison.
"""

from dataclasses import dataclass
from math import floor, frexp, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.network import Network, Node, Signal
from nsc_deploy.passes.dead_code import upstream
from nsc_deploy.passes.partition import cuts, part_of

Samples = NDArray[np.int16]
Limits = NDArray[np.int32]
LOWEST, HIGHEST = -(2**15), 2**15 - 1
_LARGEST_LIMIT = 2**14
_MOST_FRACTION_BITS = 30


@dataclass(frozen=True, eq=False)
class Comparators:
    """The front end of a program.

    Attributes:
        name: of the node whose events they are.
        samples: that come in with each step.
        fraction_bits: f, of a sample.
        source: [lines, comparators a line], which sample each looks at; some of a line may be alike.
        low: the same, an event below it.
        high: the same, an event above it.
    """

    name: str
    samples: int
    fraction_bits: int
    source: Limits
    low: Limits
    high: Limits

    @property
    def lines(self) -> int:
        """Of events."""
        return len(self.source)

    def quantised(self, values: NDArray[Any]) -> Samples:
        """Received samples [..., samples] as they enter the C code."""
        scaled = np.rint(values.astype(np.float64) * 2.0**self.fraction_bits)
        return np.clip(scaled, LOWEST, HIGHEST).astype(np.int16)

    def events(self, samples: Samples) -> NDArray[np.uint8]:
        """Quantised samples [..., samples] as events [..., lines]."""
        seen = samples[..., self.source].astype(np.int32)
        beyond: NDArray[np.bool_] = (seen > self.high) | (seen < self.low)
        fired: NDArray[np.uint8] = np.logical_or.reduce(beyond, axis=-1).astype(np.uint8)
        return fired


@dataclass(frozen=True)
class FrontEnd:
    """A graph that begins with comparators.

    Attributes:
        comparators: in integers.
        graph: the comparators as a graph of their own.
        behind: the graph behind them, which takes in events.
    """

    comparators: Comparators
    graph: Network
    behind: Network


def find_front_end(network: Network) -> FrontEnd | None:
    """The comparators at the front of a graph that takes in real samples; None where there are none."""
    if len(network.input_nodes) != 1 or network.input_node.emits is not Signal.REAL:
        return None
    # The longest front that is nothing but comparators: joined ones end later than each by itself.
    for place in reversed(cuts(network)):
        names = upstream(network, [place])
        comparators = _comparators(network, names, network.node(place))
        if comparators is not None:
            behind = [node.name for node in network.nodes if node.name not in names]
            return FrontEnd(
                comparators, part_of(network, names, exit_=place), part_of(network, behind, entrance=place)
            )
    return None


def _comparators(network: Network, names: frozenset[str], last: Node) -> Comparators | None:
    """The nodes up to `last` as comparators; None where they are something else."""
    layers = [node for node in network.nodes if node.name in names and node.primitive != "Input"]
    kinds = [node.primitive for node in layers]
    if len(layers) not in {2, 4} or not all(map(_is_matrix, layers[::2])):
        return None
    if kinds[1::2] != ["Threshold"] * (len(layers) // 2) or any(len(node.inputs) != 1 for node in layers):
        return None
    weight, limit = _affine(layers[0], layers[1])
    if (np.count_nonzero(weight, axis=1) != 1).any():
        return None
    source = np.abs(weight).argmax(axis=1)
    slope = weight[np.arange(len(weight)), source]
    joined = np.eye(len(weight), dtype=bool)
    if len(layers) == 4:
        joining, least = _affine(layers[2], layers[3])
        joined = joining != 0
        smallest = np.where(joined, joining, np.inf).min(axis=1, initial=np.inf)
        # Any one that fires is enough, and none without one.
        if (joining < 0).any() or (least < 0).any() or (smallest <= least).any():
            return None
    crossed = limit / slope
    if not joined.any(axis=1).all() or not np.isfinite(crossed).all():
        return None
    return _in_integers(last.name, prod(network.input_node.output_shape), joined, source, slope, crossed)


def _is_matrix(node: Node) -> bool:
    return node.primitive in {"Linear", "Affine"} and node.parameters.weight.ndim == 2


def _affine(wire: Node, threshold: Node) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights [outputs, inputs], and what their sums have to exceed [outputs]."""
    weight = np.asarray(wire.parameters.weight, np.float64)
    bias = np.asarray(getattr(wire.parameters, "bias", 0.0), np.float64).reshape(-1)
    return weight, np.asarray(threshold.parameters.threshold, np.float64).reshape(-1) - bias


def _in_integers(
    name: str,
    samples: int,
    joined: NDArray[np.bool_],
    source: NDArray[np.int64],
    slope: NDArray[np.float64],
    crossed: NDArray[np.float64],
) -> Comparators | None:
    bits = fraction_bits(float(np.abs(crossed).max()))
    if bits is None:
        return None
    scaled = crossed * 2.0**bits
    above = np.where(slope > 0, np.floor(scaled), HIGHEST).astype(np.int64)
    below = np.where(slope < 0, np.ceil(scaled), LOWEST).astype(np.int64)
    lines = []
    for row in joined:
        mine = np.flatnonzero(row)
        looked = np.unique(source[mine])
        lines.append(
            [
                (at, below[mine][source[mine] == at].max(), above[mine][source[mine] == at].min())
                for at in looked
            ]
        )
    each = max(map(len, lines))
    # A comparator that looks twice changes nothing.
    full = np.array([[*line, *[line[-1]] * (each - len(line))] for line in lines], np.int32)
    return Comparators(name, samples, bits, full[..., 0], full[..., 1], full[..., 2])


def fraction_bits(largest: float) -> int | None:
    """The most bits of a fraction with which a limit lies in half of the range of 16 bits, at least 0."""
    bits = _MOST_FRACTION_BITS if largest == 0 else floor(np.log2(_LARGEST_LIMIT)) - frexp(largest)[1]
    bits = min(bits, 15)
    return bits if bits >= 0 else None

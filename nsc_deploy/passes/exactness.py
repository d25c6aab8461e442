"""Where float32 computes without rounding, which is what a pass has to know before it calls itself exact.

A float32 holds every whole multiple of a step 2^e up to 2^24 steps. A node whose values, products and
partial sums all are such multiples of one step computes them without rounding, in any order. Two graphs
that both compute a value so, and compute the same in real numbers, compute the same number.

The figures are bounds worked out from the graph alone: they hold for every input.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.network import Network, Node, Signal

MANTISSA_BITS = 24
SMALLEST_EXPONENT = -149
LARGEST = 2.0**127
_NO_BIT = 2**20

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Values that are whole multiples of 2^`exponent` and at most `bound` in size."""

    exponent: int
    bound: float

    @property
    def fits(self) -> bool:
        """Whether a float32 holds every one of them."""
        in_range = self.exponent >= SMALLEST_EXPONENT and self.bound <= LARGEST
        return in_range and self.bound <= 2.0 ** (MANTISSA_BITS + self.exponent)


BINARY = Grid(0, 1.0)


class Grids:
    """The grids of the nodes of a network, worked out as they are asked for.

    Args:
        network: the graph.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._known: dict[str, Grid | None] = {}

    def of(self, name: str) -> Grid | None:
        """The grid on which the outputs of a node lie, or None where its arithmetic may round.

        A value that depends on itself through a cycle without a spike has none.
        """
        # Step by step: a graph may be deeper than calls can be nested.
        waiting, entered = [name], set[str]()
        while waiting:
            node = self._network.node(waiting[-1])
            entered.add(node.name)
            missing = [
                source for source in _needed(node) if source not in self._known and source not in entered
            ]
            if node.name not in self._known and missing:
                waiting += missing
                continue
            if node.name not in self._known:
                self._known[node.name] = self._found(node)
            waiting.pop()
        return self._known[name]

    def _found(self, node: Node) -> Grid | None:
        """From the grids of what arrives; one that is not known yet is that of a cycle."""
        if node.spiking:
            return BINARY
        if node.primitive == "Input":
            return BINARY if node.emits is Signal.EVENTS else None
        arriving = joined([self._known.get(source) for source in node.inputs])
        return None if arriving is None else behind(node, arriving)


def _needed(node: Node) -> tuple[str, ...]:
    """The nodes that the grid of a node follows from."""
    return () if node.spiking or node.primitive == "Input" else node.inputs


def joined(grids: list[Grid | None]) -> Grid | None:
    """The grid of the sum of several outputs."""
    known = [grid for grid in grids if grid is not None]
    if len(known) < len(grids):
        return None
    return _if_fits(Grid(min(one.exponent for one in known), sum(one.bound for one in known)))


def behind(node: Node, arriving: Grid) -> Grid | None:
    """The grid of what a node without spikes gives out, or None where it may round."""
    parameters = node.parameters
    if node.primitive in {"Output", "Flatten", "Delay"}:
        return arriving
    if node.primitive == "Scale":
        return _weighted(single(parameters.scale).reshape(-1, 1), None, arriving)
    if node.synaptic:
        weight = single(parameters.weight)
        rows = weight.reshape(-1 if node.primitive in {"Linear", "Affine"} else len(weight), _fan_in(node))
        bias = getattr(parameters, "bias", None)
        return _weighted(rows, None if bias is None else single(bias).reshape(-1), arriving)
    if node.primitive in {"SumPool2d", "AvgPool2d"}:
        return _pooled(node, arriving)
    return None


def single(values: Any) -> Reals:
    """Parameters as the simulator uses them, rounded to float32, for arithmetic in float64."""
    return np.asarray(values).astype(np.float32).astype(np.float64)


def is_single(values: Reals) -> bool:
    """Whether float32 holds every value as it is."""
    with np.errstate(over="ignore"):
        return bool((values.astype(np.float32) == values).all())


def powers_of_two(values: Reals) -> NDArray[np.bool_]:
    """Which values are 0, 1 or another power of two up to their sign: products with them do not round."""
    mantissa, _ = np.frexp(values)
    return np.isin(np.abs(mantissa), (0.0, 0.5))


def lowest_bit(values: Reals) -> NDArray[np.int64]:
    """For each value the largest e with the value a whole multiple of 2^e; a large number for 0."""
    mantissa, exponent = np.frexp(values)
    whole = np.abs(mantissa * 2.0**53).astype(np.int64)
    lowest = np.log2(np.maximum(whole & -whole, 1)).astype(np.int64)
    return np.where(whole == 0, _NO_BIT, exponent.astype(np.int64) - 53 + lowest)


def _weighted(rows: Reals, bias: Reals | None, arriving: Grid) -> Grid | None:
    """Rows of weights over values on a grid: each row has a grid of its own."""
    exponent = lowest_bit(rows).min(axis=1, initial=_NO_BIT) + arriving.exponent
    bound = np.abs(rows).sum(axis=1) * arriving.bound
    if bias is not None:
        exponent = np.minimum(exponent, lowest_bit(bias))
        bound = bound + np.abs(bias)
    used = bound > 0
    if not used.any():
        return Grid(0, 0.0)
    grids = [Grid(int(e), float(b)) for e, b in zip(exponent[used], bound[used], strict=True)]
    if not all(grid.fits for grid in grids):
        return None
    # Downstream sums mix the rows, and take the finest step with the largest bound.
    return Grid(min(grid.exponent for grid in grids), max(grid.bound for grid in grids))


def _pooled(node: Node, arriving: Grid) -> Grid | None:
    window = int(np.prod(node.parameters.kernel_size))
    total = _if_fits(Grid(arriving.exponent, arriving.bound * window))
    if node.primitive == "SumPool2d" or total is None:
        return total
    if window & (window - 1):
        return None
    shift = window.bit_length() - 1
    return Grid(total.exponent - shift, total.bound / window)


def _fan_in(node: Node) -> int:
    shape = node.parameters.weight.shape
    return int(shape[-1] if node.primitive in {"Linear", "Affine"} else np.prod(shape[1:]))


def _if_fits(grid: Grid) -> Grid | None:
    return grid if grid.fits else None

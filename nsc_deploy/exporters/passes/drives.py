"""What arrives at a node as a weighted sum of events, and what each wire makes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.exporters.passes.populations import Reals, Tap
from nsc_deploy.exporters.passes.wire_weights import (
    LARGEST_MATRIX,
    convolution_weights,
    dense_weights,
    most_synapses,
    pooling_weights,
)
from nsc_deploy.graphs.network import Node
from nsc_deploy.graphs.operators.linear import delay_steps

SMALLER = "Use a smaller image, fewer channels or a stride, or put neurons between the two."


@dataclass(frozen=True)
class Drive:
    """A real-valued signal as a sum over taps: sum of `terms[tap]` @ events(tap) + `bias`."""

    terms: Mapping[Tap, Matrix]
    bias: Reals

    def through(self, matrix: Matrix, bias: Reals | float = 0.0) -> "Drive":
        """The signal behind a weight matrix."""
        terms = {tap: matrix.after(term) for tap, term in self.terms.items()}
        return Drive(terms, matrix.after_vector(self.bias) + bias)

    def scaled(self, gain: Reals) -> "Drive":
        """The signal times a gain for each element."""
        return Drive({tap: term.scaled(gain) for tap, term in self.terms.items()}, gain * self.bias)

    def delayed(self, steps: NDArray[np.int64]) -> "Drive":
        """The signal without its bias, with every element late by its number of steps."""
        terms: dict[Tap, Matrix] = {}
        for tap, term in self.terms.items():
            for late in np.unique(steps):
                rows = term.at(steps == late)
                if rows.synapses:
                    _add(terms, tap.later(int(late)), rows)
        return Drive(terms, self.bias)


def events_of(node: Node) -> Drive:
    """The events that a node emits, as a signal."""
    size = int(np.prod(node.output_shape))
    return Drive({Tap(node.name): Matrix.identity(size)}, np.zeros(size))


def summed(drives: Sequence[Drive]) -> Drive:
    """The sum of signals."""
    terms: dict[Tap, Matrix] = {}
    for drive in drives:
        for tap, term in drive.terms.items():
            _add(terms, tap, term)
    return Drive(terms, np.sum([drive.bias for drive in drives], axis=0))


def through(node: Node, arriving: Drive, dt: float | None) -> Drive:
    """The signal behind a node that is no neuron.

    Raises:
        ExportError: it would have too many synapses, or a bias would start late.
    """
    if node.primitive in _WEIGHTS:
        return _weighted(node, arriving)
    if node.primitive == "Scale":
        return arriving.scaled(flat(node.parameters.scale))
    if node.primitive == "Delay":
        return late(node, arriving, delay_steps(node, dt).reshape(-1))
    return arriving


def late(node: Node, arriving: Drive, steps: NDArray[np.int64]) -> Drive:
    """The signal some steps later, for each element.

    Raises:
        ExportError: a bias in it would start late.
    """
    if arriving.bias.any() and steps.any():
        raise ExportError(
            "delays a signal that holds a bias",
            where=f"node '{node.name}'",
            remedy="Put the delay in front of the node with the bias.",
        )
    return arriving.delayed(steps)


def _weighted(node: Node, arriving: Drive) -> Drive:
    _refuse_too_many(node, most_synapses(node))
    matrix = _WEIGHTS[node.primitive](node)
    for term in arriving.terms.values():
        _refuse_too_many(node, int(np.diff(term.stored.indptr).astype(np.int64)[matrix.source].sum()))
    bias = getattr(node.parameters, "bias", None)
    if bias is None:
        return arriving.through(matrix)
    channels = flat(bias)
    return arriving.through(matrix, np.repeat(channels, matrix.shape[0] // len(channels)))


def _refuse_too_many(node: Node, synapses: int) -> None:
    if synapses > LARGEST_MATRIX:
        raise ExportError(
            f"becomes up to {synapses:,} synapses, more than the {LARGEST_MATRIX:,} of one connection",
            where=f"node '{node.name}'",
            remedy=SMALLER,
        )


def _add(terms: dict[Tap, Matrix], tap: Tap, matrix: Matrix) -> None:
    terms[tap] = terms[tap].plus(matrix) if tap in terms else matrix


def flat(values: Any) -> Reals:
    """An array of parameters as one row in float64."""
    return np.asarray(values, dtype=np.float64).reshape(-1)


_WEIGHTS: Mapping[str, Callable[[Node], Matrix]] = {
    "Linear": dense_weights,
    "Affine": dense_weights,
    "Conv1d": convolution_weights,
    "Conv2d": convolution_weights,
    "SumPool2d": pooling_weights,
    "AvgPool2d": pooling_weights,
}

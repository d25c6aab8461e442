"""Weights between two populations, of which only those that are not zero are kept.

A convolution joins each neuron to a small window, so a full matrix of its weights would grow with the
square of the image. Everything that lowers a graph therefore works on lists of synapses: `weights_of` a
Linear, Affine or convolution node is a `Matrix` from flat inputs to flat outputs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import block_diag

from nsc_deploy.graphs.connectivity import kernel_axes, pairs
from nsc_deploy.graphs.network import Node
from nsc_deploy.passes.verdict import Refusal

Reals = NDArray[np.float64]
LARGEST_MATRIX = 2**25
CONVOLUTIONS = frozenset({"Conv1d", "Conv2d"})
DENSE = frozenset({"Linear", "Affine"})
POOLS = frozenset({"SumPool2d", "AvgPool2d"})


@dataclass(frozen=True, eq=False)
class Matrix:
    """Weights [targets, sources]; what is computed from one is a new one.

    Attributes:
        stored: scipy CSR array, sorted, without zeros and without two entries in one place.
    """

    stored: Any

    @classmethod
    def of(cls, values: Any) -> "Matrix":
        """A matrix from a full array, or from a sparse one of scipy."""
        return _kept(sparse.csr_array(values, copy=True))

    @classmethod
    def identity(cls, size: int) -> "Matrix":
        """One weight of 1 from each source to the target of the same number."""
        return cls(sparse.eye_array(size, dtype=np.float64, format="csr"))

    @classmethod
    def empty(cls, targets: int, sources: int, dtype: Any = np.float64) -> "Matrix":
        """No synapse at all."""
        return cls(sparse.csr_array((targets, sources), dtype=dtype))

    @classmethod
    def from_entries(
        cls,
        shape: tuple[int, int],
        target: NDArray[Any],
        source: NDArray[Any],
        weight: NDArray[Any],
    ) -> "Matrix":
        """One synapse for each element of the three arrays; those in the same place add up."""
        return _kept(sparse.coo_array((weight, (target, source)), shape=shape).tocsr())

    @property
    def shape(self) -> tuple[int, int]:
        """Targets and sources."""
        return int(self.stored.shape[0]), int(self.stored.shape[1])

    @property
    def synapses(self) -> int:
        """Number of weights that are not zero."""
        return int(self.stored.nnz)

    @property
    def values(self) -> NDArray[Any]:
        """The weights [synapses], ordered by target, then by source."""
        values: NDArray[Any] = self.stored.data
        return values

    @property
    def source(self) -> NDArray[Any]:
        """The source of each weight [synapses]."""
        source: NDArray[Any] = self.stored.indices
        return source

    @cached_property
    def target(self) -> NDArray[Any]:
        """The target of each weight [synapses]."""
        return np.repeat(np.arange(self.shape[0], dtype=self.source.dtype), np.diff(self.stored.indptr))

    @property
    def largest(self) -> float:
        """The largest magnitude of a weight; 0 where there is none."""
        return float(np.abs(self.values).max(initial=0.0))

    def dense(self) -> NDArray[Any]:
        """The full array; only for small ones."""
        full: NDArray[Any] = self.stored.toarray()
        return full

    def with_values(self, values: NDArray[Any]) -> "Matrix":
        """Other weights [synapses] in the same places; those that are zero go."""
        # Copied, for zeros are taken out of the arrays in place.
        return _kept(sparse.csr_array((values, self.source, self.stored.indptr), shape=self.shape, copy=True))

    def scaled(self, gain: NDArray[Any]) -> "Matrix":
        """Each weight times the gain [targets] of its target."""
        return self.with_values(self.values * gain[self.target])

    def at(self, targets: NDArray[np.bool_]) -> "Matrix":
        """The weights of some targets, chosen by a mask [targets]; the others have none."""
        return self.with_values(np.where(targets[self.target], self.values, 0))

    def after(self, first: "Matrix") -> "Matrix":
        """The product: `first`, and then these weights."""
        return _kept(self.stored @ first.stored)

    def after_vector(self, values: NDArray[Any]) -> NDArray[Any]:
        """The product with a vector [sources]."""
        product: NDArray[Any] = self.stored @ values
        return product

    def plus(self, other: "Matrix") -> "Matrix":
        """The sum, place by place."""
        return _kept(self.stored + other.stored)

    def from_sources(self, lines: NDArray[Any]) -> "Matrix":
        """The weights of some sources alone, [targets, lines]; `lines` are indices."""
        return _kept(self.stored[:, lines])

    def of_targets(self, rows: slice) -> "Matrix":
        """The weights of some targets alone."""
        return _kept(self.stored[rows])

    def sums(self, values: NDArray[Any]) -> Reals:
        """What `values` [synapses] add up to at each target."""
        sums: Reals = np.bincount(self.target, values, self.shape[0]).astype(np.float64, copy=False)
        return sums

    def strongest_drive(self) -> Reals:
        """For each target the largest magnitude that spikes can add up to, all of one sign together."""
        values = self.values.astype(np.float64)
        strongest: Reals = np.maximum(self.sums(values.clip(0)), self.sums((-values).clip(0)))
        return strongest

    def read_sources(self) -> NDArray[np.bool_]:
        """Which sources have a weight at all, [sources]."""
        read = np.zeros(self.shape[1], bool)
        read[self.source] = True
        return read

    def equals(self, other: "Matrix") -> bool:
        """Whether both have the same weights in the same places."""
        return (
            self.shape == other.shape
            and np.array_equal(self.stored.indptr, other.stored.indptr)
            and np.array_equal(self.source, other.source)
            and np.array_equal(self.values, other.values)
        )


def side_by_side(parts: Sequence[Matrix]) -> Matrix:
    """Matrices with the same targets as one, their sources one after the other."""
    return _kept(sparse.hstack([part.stored for part in parts], format="csr"))


def stacked(parts: Sequence[Matrix]) -> Matrix:
    """Matrices with the same sources as one, their targets one below the other."""
    return _kept(sparse.vstack([part.stored for part in parts], format="csr"))


def _kept(stored: Any) -> Matrix:
    """A CSR array of nobody else's as a matrix, brought into its one form."""
    stored.sum_duplicates()
    stored.eliminate_zeros()
    return Matrix(stored)


def most_synapses(node: Node) -> int:
    """How many weights the matrix of a node can have, counted without making it; 0 for a node without."""
    if node.primitive in CONVOLUTIONS:
        return math.prod((*node.output_shape, *node.parameters.weight.shape[1:]))
    if node.primitive in POOLS:
        return math.prod((*node.output_shape, *node.parameters.kernel_size))
    return int(node.parameters.weight.size) if node.primitive in DENSE else 0


def too_many_synapses(synapses: int, most: int) -> Refusal | None:
    """Why a node with so many synapses is refused, or None."""
    if synapses <= most:
        return None
    return (
        f"becomes up to {synapses:,} synapses, more than the {most:,} of one connection",
        "Use a smaller image, fewer channels or a stride, or put neurons between the two.",
    )


def weights_of(node: Node) -> Matrix:
    """The weights of a Linear, Affine, Conv1d or Conv2d node."""
    return _convolution_weights(node) if node.primitive in CONVOLUTIONS else _dense_weights(node)


def _dense_weights(node: Node) -> Matrix:
    """Weights with more than two dimensions act on each slice apart."""
    weight = node.parameters.weight.astype(np.float64)
    if weight.ndim == 2:
        return Matrix.of(weight)
    return Matrix.of(block_diag(list(weight.reshape(-1, *weight.shape[-2:])), format="csr"))


def _convolution_weights(node: Node) -> Matrix:
    """A cross-correlation of [channels, *space]."""
    parameters = node.parameters
    axes = kernel_axes(parameters, node.input_shape[1:])
    weight = parameters.weight.astype(np.float64)
    place, tap, source = pairs(axes)
    places = math.prod(axis.outputs for axis in axes)
    pixels = math.prod(axis.inputs for axis in axes)
    out_channels, per_group = weight.shape[:2]
    taps = weight.reshape(out_channels, per_group, -1)
    targets, sources, values = [], [], []
    for channel in range(out_channels):
        first = channel // (out_channels // parameters.groups) * per_group
        met = taps[channel][:, tap]
        targets.append(np.broadcast_to(channel * places + place, met.shape)[met != 0])
        from_each = (first + np.arange(per_group))[:, None] * pixels + source
        sources.append(from_each.astype(np.int32)[met != 0])
        values.append(met[met != 0])
    return Matrix.from_entries(
        (out_channels * places, parameters.groups * per_group * pixels),
        np.concatenate(targets),
        np.concatenate(sources),
        np.concatenate(values),
    )

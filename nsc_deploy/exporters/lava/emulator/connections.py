"""Lava's connection processes as values, named and parameterised as in Lava.

All send in one step what they summed in the step before. `num_message_bits` above 0 makes messages count by
their value; otherwise whatever is not zero is a spike.

What Lava does to the weights of a connection before the first step: sign mode, clipping, truncation.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.graphs.connectivity import KernelAxis, pairs

MIN_WEIGHT_EXP = -8
MAX_WEIGHT_EXP = 7
MAX_DELAY = 63
MAX_MESSAGE_BITS = 32


@dataclass(frozen=True)
class Entries:
    """The synapses of a connection, one by one, with the weights it computes with.

    Attributes:
        sources: number of sources.
        targets: number of targets.
        source: of each synapse.
        target: of each synapse.
        weight: of each synapse, as Lava computes with it.
        delay: of each synapse in steps, beside the step that every connection takes.
    """

    sources: int
    targets: int
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    weight: NDArray[np.int32]
    delay: NDArray[np.int64]


class Connection(Protocol):
    """What the emulator asks of a connection.

    `wide` says that Lava forms sums of graded messages in 64 bits, `wraps` that sums wrap into 24 bits.
    """

    @property
    def weight_exp(self) -> int: ...  # noqa: D102
    @property
    def num_message_bits(self) -> int: ...  # noqa: D102
    @property
    def wide(self) -> bool: ...  # noqa: D102
    @property
    def wraps(self) -> bool: ...  # noqa: D102

    def entries(self) -> Entries:
        """The synapses, after a check of every range.

        Raises:
            DataError: something Lava would not take, or would silently change.
        """
        ...


class SignMode(StrEnum):
    """Which signs the weights of a connection may have; the names are Lava's."""

    NULL = "null"
    MIXED = "mixed"
    EXCITATORY = "excitatory"
    INHIBITORY = "inhibitory"


@dataclass(frozen=True)
class Dense:
    """Lava's Dense, and the common part of all matrices of weights.

    Attributes:
        weights: [targets, sources], whole numbers; a `Matrix` where a full array would be large.
        weight_exp: sums are shifted left by it, or right where it is below zero (rounding down).
        num_weight_bits: bits of a weight, 1..8.
        sign_mode: None lets Lava find it.
        num_message_bits: above 0 for graded messages.
    """

    weights: NDArray[Any] | Matrix
    weight_exp: int = 0
    num_weight_bits: int = 8
    sign_mode: SignMode | None = None
    num_message_bits: int = 0

    wide = False
    wraps = False

    def entries(self) -> Entries:
        """The synapses; see `Connection`."""
        return _matrix_entries(self, 0)


@dataclass(frozen=True)
class Sparse(Dense):
    """Lava's Sparse: only weights that are not zero are synapses."""


@dataclass(frozen=True)
class DelayDense(Dense):
    """Lava's DelayDense: a Dense whose synapses have delays of 0 to 63 further steps.

    The weight exponent is applied to the sum of each delay apart, before sums of several steps meet.

    Attributes:
        delays: [targets, sources], or what numpy broadcasts to that.
    """

    delays: NDArray[Any] | int = 0

    wide = True

    def entries(self) -> Entries:
        """The synapses; see `Connection`."""
        return _matrix_entries(self, self.delays)


@dataclass(frozen=True)
class DelaySparse(DelayDense):
    """Lava's DelaySparse, which sums graded messages in 32 bits, unlike DelayDense."""

    wide = False


@dataclass(frozen=True)
class Conv:
    """Lava's Conv: a true (flipped) convolution whose sums wrap into 24 bits.

    It neither clips nor truncates its weights and ignores `weight_exp` and `num_weight_bits`. Sources and
    targets are numbered in C order of (width, height, channel).

    Attributes:
        weight: [out channels, width, height, in channels / groups], whole numbers.
        input_shape: (width, height, channels).
        padding: in width and height.
        stride: likewise.
        dilation: likewise.
        groups: groups of channels.
        num_message_bits: above 0 for graded messages.
    """

    weight: NDArray[Any]
    input_shape: tuple[int, int, int]
    padding: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    num_message_bits: int = 0

    weight_exp = 0
    wide = True
    wraps = True

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(width, height, channels)."""
        width, height = self._axes
        return width.outputs, height.outputs, int(self.weight.shape[0])

    def entries(self) -> Entries:
        """The synapses; see `Connection`."""
        self._check()
        weight = whole_numbers(self.weight, "weight")
        # Flipped: a tap of the convolution is the opposite one of the cross-correlation.
        taps = weight[:, ::-1, ::-1].reshape(len(weight), -1, weight.shape[3])
        place, tap, position = (one[:, None, None].astype(np.int64) for one in pairs(self._axes))
        channel = np.arange(len(weight))[:, None]
        group = channel // (len(weight) // self.groups)
        each = taps[channel, tap, np.arange(weight.shape[3])]
        source = position * self.input_shape[2] + group * weight.shape[3] + np.arange(weight.shape[3])
        target = place * len(weight) + channel
        used = each != 0
        return Entries(
            sources=math.prod(self.input_shape),
            targets=math.prod(self.output_shape),
            source=np.broadcast_to(source, used.shape)[used],
            target=np.broadcast_to(target, used.shape)[used],
            weight=each[used],
            delay=np.zeros(np.count_nonzero(used), np.int64),
        )

    @property
    def _axes(self) -> tuple[KernelAxis, KernelAxis]:
        width, height = (
            KernelAxis(size, kernel, stride, (zeros, zeros), dilation)
            for size, kernel, stride, zeros, dilation in zip(
                self.input_shape[:2],
                self.weight.shape[1:3],
                self.stride,
                self.padding,
                self.dilation,
                strict=True,
            )
        )
        return width, height

    def _check(self) -> None:
        if self.weight.ndim != 4 or self.weight.size == 0:
            raise DataError(f"has the shape {self.weight.shape}, four axes are wanted", where="Conv weight")
        in_range(self, "num_message_bits", 0, MAX_MESSAGE_BITS)
        in_range(self, "groups", 1, 127)
        for name, low in (("padding", 0), ("stride", 1), ("dilation", 1)):
            if not all(low <= value <= 127 for value in getattr(self, name)):
                raise DataError(f"leaves the range {low}..127", where=f"Conv {name}")
        out_channels, _, _, per_group = self.weight.shape
        if per_group * self.groups != self.input_shape[2] or out_channels % self.groups:
            raise DataError("does not fit its channels and groups", where="Conv weight")
        if min(self.output_shape) < 1:
            raise DataError("has a kernel larger than its input", where="Conv weight")


def whole_numbers(values: NDArray[Any], name: str) -> NDArray[np.int32]:
    """Values as int32.

    Raises:
        DataError: a fraction, which Lava would cut off in silence, or a number beyond 32 bits.
    """
    whole = values.dtype.kind in "biu" or np.array_equal(values, np.rint(values))
    if not whole or not np.isfinite(values).all():
        raise DataError("holds numbers that are not whole", where=name)
    if values.size and not -(2**31) <= values.min() <= values.max() < 2**31:
        raise DataError("leaves 32 bits", where=name)
    return values.astype(np.int32)


def in_range(owner: object, name: str, low: int, high: int) -> None:
    """Check one number or array of a process.

    Raises:
        DataError: with the process and the parameter.
    """
    values = np.asarray(getattr(owner, name))
    if values.size and (values.min() < low or values.max() > high):
        raise DataError(f"leaves the range {low}..{high}", where=f"{type(owner).__name__} {name}")


def _matrix_entries(connection: Dense, delays: NDArray[Any] | int) -> Entries:
    in_range(connection, "weight_exp", MIN_WEIGHT_EXP, MAX_WEIGHT_EXP)
    in_range(connection, "num_weight_bits", 1, 8)
    in_range(connection, "num_message_bits", 0, MAX_MESSAGE_BITS)
    weights = connection.weights
    if len(weights.shape) != 2 or 0 in weights.shape:
        raise DataError(f"has the shape {weights.shape}, a matrix is wanted", where="weights")
    steps = _delays(delays, weights.shape)
    target, source, weight = _listed(connection)
    return Entries(
        sources=weights.shape[1],
        targets=weights.shape[0],
        source=source.astype(np.int64),
        target=target.astype(np.int64),
        weight=weight,
        delay=np.broadcast_to(steps, weights.shape)[target, source].astype(np.int64),
    )


def _delays(delays: NDArray[Any] | int, shape: tuple[int, ...]) -> NDArray[np.int32]:
    steps = whole_numbers(np.asarray(delays), "delays")
    if any(size not in {1, wanted} for size, wanted in zip(steps.shape[::-1], shape[::-1], strict=False)):
        raise DataError(f"has the shape {steps.shape}, the weights have {shape}", where="delays")
    if steps.min() < 0 or steps.max() > MAX_DELAY:
        raise DataError(f"leaves the range 0..{MAX_DELAY}", where="delays")
    return steps


def _listed(connection: Dense) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int32]]:
    """Target, source and weight of each synapse, with the weights that Lava computes with."""
    weights = connection.weights
    if isinstance(weights, Matrix):
        if not weights.synapses:
            return weights.target, weights.source, weights.values.astype(np.int32)
        listed = whole_numbers(weights.values, "weights")
        scaled = scaled_weights(listed, connection.sign_mode, connection.num_weight_bits)
        kept = scaled != 0
        return weights.target[kept], weights.source[kept], scaled[kept]
    scaled = scaled_weights(
        whole_numbers(weights, "weights"), connection.sign_mode, connection.num_weight_bits
    )
    target, source = np.nonzero(scaled)
    return target, source, scaled[target, source]


Integers = NDArray[np.int32]
WEIGHT_BITS = 8


def sign_mode_of(weights: NDArray[Any]) -> SignMode:
    """The mode Lava finds when none is given; weights that are all zero count as excitatory."""
    if weights.min() >= 0:
        return SignMode.EXCITATORY
    return SignMode.INHIBITORY if weights.max() <= 0 else SignMode.MIXED


def scaled_weights(weights: Integers, sign_mode: SignMode | None, bits: int) -> Integers:
    """The weights a connection computes with.

    With `w` of the sign that the mode allows (inhibitory weights are negated for the while):

        w = clip(w, -256, 255) if mixed else clip(w, 0, 255)
        s = 8 - bits + (1 if mixed else 0);  w = (w >> s) << s

    so mixed weights are rounded down, inhibitory ones toward zero, and 8-bit mixed weights are even.

    Args:
        weights: whole numbers.
        sign_mode: the mode, or None to find it.
        bits: `num_weight_bits`, 1..8.
    """
    mode = sign_mode_of(weights) if sign_mode is None else sign_mode
    mixed = mode is SignMode.MIXED
    sign = -1 if mode is SignMode.INHIBITORY else 1
    clipped = np.clip(sign * weights.astype(np.int32), -256 if mixed else 0, 255)
    shift = WEIGHT_BITS - bits + (1 if mixed else 0)
    truncated: Integers = sign * ((clipped >> shift) << shift)
    return truncated

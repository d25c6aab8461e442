"""A chain of Lava processes.

Lava's LIF and LIFReset as values, and what Lava does to their parameters before the first step.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.exporters.lava.emulator.connections import Connection, Entries, in_range, whole_numbers
from nsc_deploy.exporters.lava.emulator.kernels import Neurons, Synapses

if TYPE_CHECKING:
    from nsc_deploy.exporters.lava.emulator.plain_layers import PlainLayer

# A row of weights is added some ten times as fast as as many single synapses.
DENSE_SHARE = 0.1
LARGEST_MATRIX = 2**26
INT32_END = 2**31


class CompiledLayer(NamedTuple):
    """A layer as the kernel takes it.

    Attributes:
        sources: number of lines that come in.
        forward: synapses from them.
        recurrent: synapses from the neurons' own spikes.
        neurons: the population.
    """

    sources: int
    forward: Synapses
    recurrent: Synapses
    neurons: Neurons


Value = NDArray[Any] | int


@dataclass(frozen=True)
class LIF:
    """Lava's LIF; every parameter is one number, or one for each neuron.

    Attributes:
        size: number of neurons.
        du: decay of the current, 0..4095; 4095 leaves nothing of it, 0 takes 1/4096 a step.
        dv: decay of the potential, 0..4096; 0 takes nothing.
        vth: threshold, 0..2^17 - 1, in units of what arrives.
        bias_mant: mantissa of the bias, -4096..4095.
        bias_exp: its exponent, -15..7; below zero it shifts right, rounding down.
        u: current at the start, within 24 bits.
        v: potential at the start, within 24 bits.
    """

    size: int
    du: Value = 0
    dv: Value = 0
    vth: Value = 10
    bias_mant: Value = 0
    bias_exp: Value = 0
    u: Value = 0
    v: Value = 0

    subtracts = False

    @property
    def reset(self) -> tuple[int, int]:
        """Interval and offset of the clearing of the state; (0, 0) for none."""
        return 0, 0

    def scaled(self) -> Neurons:
        """The population as the kernel takes it.

        Raises:
            DataError: a parameter out of range or of another shape.
        """
        values = {name: self._vector(name) for name in _RANGES}
        mantissa, exponent = values["bias_mant"], values["bias_exp"]
        interval, offset = self.reset
        keep_u = (4096 - (values["du"] + 1)).astype(np.int32)
        return Neurons(
            keep_u=keep_u,
            keeps_current=bool(keep_u.any()),
            keep_v=(4096 - values["dv"]).astype(np.int32),
            bias=np.where(
                exponent >= 0, mantissa << np.maximum(exponent, 0), mantissa >> np.maximum(-exponent, 0)
            ).astype(np.int32),
            threshold=(values["vth"] << 6).astype(np.int32),
            u=values["u"],
            v=values["v"],
            reset_interval=interval,
            reset_offset=offset,
            subtracts=self.subtracts,
        )

    def _vector(self, name: str) -> NDArray[np.int32]:
        in_range(self, name, *_RANGES[name])
        values = whole_numbers(np.asarray(getattr(self, name)), name)
        if values.shape not in {(), (self.size,)}:
            raise DataError(
                f"has the shape {values.shape} for {self.size} neurons", where=f"{type(self).__name__} {name}"
            )
        # A copy: numba compiles a loop anew for arrays that are not to be written.
        return np.broadcast_to(values, (self.size,)).copy()


@dataclass(frozen=True)
class Layer:
    """A connection and the neurons it feeds.

    Attributes:
        connection: from the layer before, or the input.
        neurons: the population.
        recurrent: from the neurons' spikes back to them (a spike arrives one step later), or None.
    """

    connection: Connection
    neurons: LIF
    recurrent: Connection | None = None

    def compiled(self) -> CompiledLayer:
        """The layer as the kernel takes it.

        Raises:
            DataError: ranges or shapes that Lava would not take.
        """
        size = self.neurons.size
        entries = self.connection.entries()
        back = _none(size) if self.recurrent is None else self.recurrent.entries()
        for one, name, sources in ((entries, "connection", entries.sources), (back, "recurrent", size)):
            if one.targets != size or one.sources != sources:
                raise DataError(f"joins {one.sources} to {one.targets} neurons, there are {size}", where=name)
        recurrent = synapses_of(back, self.recurrent) if self.recurrent is not None else _NO_SYNAPSES
        return CompiledLayer(
            entries.sources, synapses_of(entries, self.connection), recurrent, self.neurons.scaled()
        )


@dataclass(frozen=True)
class Network:
    """Layers in order; the spikes of one are the messages to the next."""

    layers: tuple[Layer, ...]

    @cached_property
    def compiled(self) -> tuple[CompiledLayer, ...]:
        """The layers as the kernel takes them, made once.

        Raises:
            DataError: with the number of the layer.
        """
        if not self.layers:
            raise DataError("has no layers", where="network")
        compiled: list[CompiledLayer] = []
        for index, layer in enumerate(self.layers):
            try:
                compiled.append(layer.compiled())
            except DataError as error:
                raise DataError(error.problem, where=f"layer {index}, {error.where}") from error
            if index and compiled[-1].sources != self.layers[index - 1].neurons.size:
                raise DataError("does not fit the neurons before it", where=f"layer {index}, connection")
        return tuple(compiled)

    @cached_property
    def plain(self) -> "tuple[PlainLayer | None, ...]":
        """The layers as the faster kernel takes them, None where one is not plain; made once."""
        from nsc_deploy.exporters.lava.emulator.plain_layers import plain_layer

        return tuple(plain_layer(layer.forward, layer.recurrent, layer.neurons) for layer in self.compiled)


def synapses_of(entries: Entries, connection: Connection) -> Synapses:
    """Synapses as a matrix where most places are filled and all messages are spikes, else by source."""
    delays = (
        np.flatnonzero(np.bincount(entries.delay, minlength=1)) if entries.delay.size else np.zeros(1, int)
    )
    slot = np.searchsorted(delays, entries.delay) if len(delays) > 1 else 0
    rows = len(delays) * entries.targets
    row = slot * entries.targets + entries.target
    places = entries.sources * rows
    spikes_only = connection.num_message_bits == 0
    if spikes_only and DENSE_SHARE * places < len(row) and places <= LARGEST_MATRIX:
        matrix = np.zeros((entries.sources + 1, rows), np.int32)
        matrix[entries.source, row] = entries.weight
        start, row, weight = np.zeros(entries.sources + 1, np.int64), row[:0], entries.weight[:0]
    else:
        order = np.argsort(entries.source, kind="stable")
        matrix = np.zeros((0, 0), np.int32)
        start = np.searchsorted(entries.source[order], np.arange(entries.sources + 1))
        row, weight = row[order], entries.weight[order]
    return Synapses(
        matrix=matrix,
        start=start,
        row=row.astype(np.int32),
        weight=weight.astype(np.int32),
        delays=delays.astype(np.int32),
        exponent=connection.weight_exp,
        wide=connection.wide,
        wraps=connection.wraps,
    )


def largest_sum(entries: Entries, largest_message: int) -> int:
    """The largest sum that can arrive at a target."""
    weights = np.bincount(entries.target, np.abs(entries.weight).astype(np.float64), entries.targets)
    return int(weights.max(initial=0.0)) * largest_message


def _none(size: int) -> Entries:
    nothing = np.zeros(0, np.int64)
    return Entries(size, size, nothing, nothing, nothing.astype(np.int32), nothing)


_NO_SYNAPSES = Synapses(
    matrix=np.zeros((0, 0), np.int32),
    start=np.zeros(1, np.int64),
    row=np.zeros(0, np.int32),
    weight=np.zeros(0, np.int32),
    delays=np.zeros(1, np.int32),
    exponent=0,
    wide=False,
    wraps=False,
)
_RANGES = {
    "du": (0, 4095),
    "dv": (0, 4096),
    "vth": (0, 2**17 - 1),
    "bias_mant": (-4096, 4095),
    "bias_exp": (-15, 7),
    "u": (-(2**23), 2**23),
    "v": (-(2**23) + 1, 2**23 - 1),
}


@dataclass(frozen=True)
class LIFReset(LIF):
    """Lava's LIFReset: the state is cleared before some steps, and what arrives in that step counts.

    Attributes:
        reset_interval: steps from one clearing to the next, at least 1.
        reset_offset: step t, counted from 1, clears if t mod interval = offset mod interval.
    """

    reset_interval: int = 1
    reset_offset: int = 0

    @property
    def reset(self) -> tuple[int, int]:
        """Interval and offset of the clearing of the state."""
        if self.reset_interval < 1:
            raise DataError("is below 1", where="LIFReset reset_interval")
        return self.reset_interval, self.reset_offset % self.reset_interval


@dataclass(frozen=True)
class SubtractiveLIF(LIF):
    """Neurons of our own, which Lava has not (`subtractive_lif`): a spike takes off the threshold."""

    subtracts = True

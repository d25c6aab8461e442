"""A chain of Lava processes."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from nsc_deploy.errors import DataError
from nsc_deploy.exporters.lava.emulator.connections import Connection, Entries
from nsc_deploy.exporters.lava.emulator.kernels import Neurons, Synapses
from nsc_deploy.exporters.lava.twin.neurons import LIF

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

"""What a step takes on a chip of many cores: published durations, every one with its source."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from nsc_deploy.exporters.chips.figures import Sourced
from nsc_deploy.io.records import Record

Nanoseconds = Annotated[float, Field(ge=0, le=1e9)]


class Duration(Sourced):
    """Time of one event in nanoseconds.

    Attributes:
        value: as it is published.
        low: the shortest of several figures for it.
        high: the longest.
    """

    value: Nanoseconds
    low: Nanoseconds | None = None
    high: Nanoseconds | None = None

    @model_validator(mode="after")
    def _between(self) -> Self:
        if not self.shortest <= self.value <= self.longest:
            raise ValueError("needs low <= value <= high")
        return self

    @property
    def shortest(self) -> float:
        """The low end of the range, or the value itself."""
        return self.value if self.low is None else self.low

    @property
    def longest(self) -> float:
        """The high end of the range, or the value itself."""
        return self.value if self.high is None else self.high


class Wait(Record):
    """How long the cores of so many tiles wait for one another at the end of a step.

    Attributes:
        tiles: in use.
        nanoseconds: of the wait.
    """

    tiles: Annotated[int, Field(ge=1)]
    nanoseconds: Nanoseconds


class Barrier(Sourced):
    """The barrier that ends a step, published for some numbers of tiles."""

    waits: tuple[Wait, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        tiles = [one.tiles for one in self.waits]
        if tiles != sorted(set(tiles)) or tiles[0] != 1:
            raise ValueError("needs waits for ascending numbers of tiles, the first for 1")
        return self

    def nanoseconds(self, tiles: int) -> tuple[float, float]:
        """Shortest and longest wait of so many tiles: between two published numbers those of both."""
        below = [one for one in self.waits if one.tiles <= tiles][-1]
        above = next((one for one in self.waits if one.tiles >= tiles), self.waits[-1])
        low, high = sorted((below.nanoseconds, above.nanoseconds))
        return low, high


class StepTime(Record):
    """Durations of everything that fills a step.

    Attributes:
        barrier: at its end.
        synapse: a spike meets one synapse.
        neuron_access: of every neuron, in every step.
        neuron_update: of a neuron whose state changes.
        spike: a neuron fires.
        message_out: a spike leaves for one core.
        message_in: a spike reaches a core.
        hop_east_west: from tile to tile along a row.
        hop_north_south: along a column.
    """

    barrier: Barrier
    synapse: Duration
    neuron_access: Duration
    neuron_update: Duration
    spike: Duration
    message_out: Duration
    message_in: Duration
    hop_east_west: Duration
    hop_north_south: Duration

"""Small records of a report: spread over the samples, load, memory in use, course over time, Pareto front."""

from pydantic import Field

from nsc_deploy.energy.counting.operations import Store
from nsc_deploy.io.records import Record


class Spread(Record):
    """How a number of operations is spread over the samples."""

    mean: float
    median: float
    p95: float = Field(description="95th percentile over the samples, linear interpolation")
    worst: float
    worst_sample: int = Field(description="index of the largest in the recording, the first of equals")


class Load(Record):
    """Synaptic operations a second, at the step length of the recording: a sample over its duration.

    `busiest_step` is for the step in which, on the mean of the samples, most happens; None where steps cannot
    be told apart (a convolution over time in ONNX). Limit and share are None where the profile states no
    limit or the part runs on a host.
    """

    mean: float
    p95: float
    worst: float
    busiest_step: float | None = Field(description="in the busiest step, mean of the samples")
    limit: float | None = Field(description="of one unit of the device")
    limit_of: str | None = Field(description="the unit the limit is for: core or chip")
    share: float | None = Field(description="worst sample over the limit; above 1 one unit cannot keep up")


class StoreUse(Record):
    """What a part keeps of one kind, all layers together."""

    values: int
    bytes: int | None = Field(description="None where the profile does not say how wide a value is")


class MemoryUse(Record):
    """What a part keeps in memory."""

    stores: dict[Store, StoreUse]
    bytes: int | None = Field(description="all stores together")


class OverTime(Record):
    """The course of a sample: for each step, the mean over the samples."""

    synops: tuple[float, ...]
    spikes: tuple[float, ...]


class FrontPoint(Record):
    """A system among others, by accuracy and energy.

    A system is beaten by another that is at least as accurate and takes at most as much energy, and is better
    in one of the two.
    """

    system: str
    accuracy: float
    energy_uj: float
    on_front: bool
    beaten_by: tuple[str, ...] = Field(description="labels, the most frugal first")

"""Records of a report about a part on a target: nodes, pools, cores, messages, energy and time of a step."""

from enum import StrEnum

from pydantic import Field

from nsc_deploy.io.records import Record


class Spread(Record):
    """How a number of operations is spread over the samples."""

    mean: float
    median: float
    p95: float = Field(description="95th percentile over the samples, linear interpolation")
    worst: float
    worst_sample: int = Field(description="index of the largest in the recording, the first of equals")


class EnergySpread(Record):
    """How an energy is spread over the samples, in microjoules of one sample."""

    mean_uj: float
    low_uj: float = Field(description="mean at the low end of the profile's prices")
    high_uj: float = Field(description="mean at the high end of the profile's prices")
    median_uj: float
    p95_uj: float = Field(description="95th percentile over the samples")
    worst_uj: float


class Run(StrEnum):
    """How a target takes a node; `HOST`: the part it belongs to does not run on the target."""

    NATIVE = "native"
    SUBSTITUTED = "substituted"
    HOST = "host"
    REFUSED = "refused"


class NodeRun(Record):
    """One node and where it runs."""

    node: str
    primitive: str
    run: Run
    because: str = Field(description="what it becomes, or why it does not run on the target")


class Pool(Record):
    """What is used of one pool."""

    pool: str
    used: int
    limit: int | None = Field(description="None where none has been published")
    lower: int | None = Field(description="a lower limit that another publication gives")
    unit: str = Field(description="empty for a count")
    at_least: bool = Field(description="whether `used` is a lower bound")
    percent: float | None
    core: int | None = Field(
        description="the core, of several the one that uses most; None: the whole target"
    )


class CoreUse(Record):
    """One core."""

    index: int
    tile: tuple[int, int] | None = Field(description="column and row")
    holds: tuple[str, ...] = Field(description="populations and the numbers of their neurons")
    pools: tuple[Pool, ...]


class ChipTraffic(Record):
    """Spikes on their way, of one sample; exact for the placement and the recording."""

    messages: Spread = Field(description="of spikes from core to core, a core to itself included")
    hops: Spread | None = Field(description="from tile to tile; None where no mesh is published")
    from_host: Spread = Field(description="messages of the inputs, which no source prices")
    to_host: Spread = Field(description="spikes of the outputs, which no source prices")
    synapse_events: Spread = Field(description="spikes that meet a synapse on the chip")


class CoreLoad(Record):
    """Synaptic operations a second of the core that has the most, at the step length of the recording."""

    mean: float
    worst: float = Field(description="of the worst sample")
    limit: float | None = Field(description="of one core")
    share: float | None = Field(description="worst over the limit")


class Range(Record):
    """A figure of which two bounds are known."""

    low: float
    high: float


class RangeSpread(Record):
    """How bounds are spread."""

    mean: Range
    p95: Range = Field(description="95th percentile, linear interpolation")
    worst: Range


class ChipTime(Record):
    """Time on the chip, in microseconds, if it runs as fast as it can.

    Low: every core sends and receives at the same time, and the barrier is the shortest published for so
    many tiles. High: all cores send first, then the last message crosses the chip, then all receive.
    """

    steps: int = Field(description="of one sample on the chip")
    late: int = Field(description="of them, steps by which the last population is behind the graph")
    step_us: RangeSpread = Field(description="one step, over all steps of all samples")
    inference_us: RangeSpread = Field(description="all steps of a sample, over the samples")
    dt_us: float = Field(description="length of a step of the recording")
    share: float = Field(description="the worst step at its high bound over the length of a step")


class OnTarget(Record):
    """A part on a target."""

    target: str
    title: str
    on_host: bool = Field(description="whether the part runs on a host and not on the target")
    fits: bool = Field(description="false for a part on a host too")
    problems: tuple[str, ...] = Field(description="why it does not fit")
    nodes: tuple[NodeRun, ...]
    pools: tuple[Pool, ...] = Field(description="of the whole target, then of the fullest core")
    cores: tuple[CoreUse, ...]
    traffic: ChipTraffic | None = Field(description="None where the part does not fit or nothing is known")
    energy: EnergySpread | None = Field(
        description="of messages and hops between cores, in no column; None without traffic or prices of them"
    )
    load: CoreLoad | None
    time: ChipTime | None = Field(description="None where no durations are published")
    notes: tuple[str, ...] = Field(description="what is not published or was not checked")
    sources: tuple[str, ...] = Field(description="of the limits and durations; `check --json` has each place")

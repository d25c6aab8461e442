"""Energy profiles: what one operation costs on one device, with the source of every figure.

A profile is a TOML file. It names one source, quotes what other publications say against it, and gives
a price with a unit for each operation the source has a figure for. An operation without a figure is
left out, never guessed: the report then says that it is not priced.
"""

from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from nsc_deploy.errors import ConfigError, did_you_mean
from nsc_deploy.io.records import Record, UserRecord, read_toml_record

DEFAULT_PROFILE = "horowitz-45nm"
_PICOJOULES = {"fJ": 1e-3, "pJ": 1.0, "nJ": 1e3, "uJ": 1e6}


class Basis(StrEnum):
    """How the source came by its figures; `QUOTED` where it collects them and does not say."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    QUOTED = "quoted"


class Unit(StrEnum):
    """Units a price may be given in."""

    FEMTOJOULE = "fJ"
    PICOJOULE = "pJ"
    NANOJOULE = "nJ"
    MICROJOULE = "uJ"


class Price(Record):
    """Energy of one operation.

    `low` and `high` bound it where the source gives a range; all three share the unit.
    """

    value: float = Field(ge=0, description="energy of one operation")
    unit: Unit
    low: float | None = Field(default=None, ge=0)
    high: float | None = Field(default=None, ge=0)
    note: str = Field(default="", description="how the figure is made up, where the source needs a word")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        if not low <= self.value <= high:
            raise ValueError("needs low <= value <= high")
        return self

    @property
    def picojoules(self) -> float:
        """The price in pJ."""
        return self.value * _PICOJOULES[self.unit]

    @property
    def bounds_picojoules(self) -> tuple[float, float]:
        """The lowest and the highest price in pJ (both the price itself where no range is given)."""
        scale = _PICOJOULES[self.unit]
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        return low * scale, high * scale

    def times(self, factor: float, note: str = "") -> "Price":
        """The energy of so many operations, or of a share of one, with its range, in pJ."""
        low, high = (factor * bound for bound in self.bounds_picojoules)
        value = min(max(factor * self.picojoules, low), high)
        return Price(value=value, unit=Unit.PICOJOULE, low=low, high=high, note=note)

    def plus(self, other: "Price", note: str = "") -> "Price":
        """The energy of both operations, with its range, in pJ."""
        (low, high), (more_low, more_high) = self.bounds_picojoules, other.bounds_picojoules
        value = self.picojoules + other.picojoules
        return Price(value=value, unit=Unit.PICOJOULE, low=low + more_low, high=high + more_high, note=note)


class Prices(Record):
    """Prices of the operations a count distinguishes; one left out has no published figure."""

    ac: Price | None = Field(default=None, description="accumulate: a binary event meets a synapse")
    mac: Price | None = Field(default=None, description="multiply-accumulate: a value meets a synapse")
    product: Price | None = Field(default=None, description="elementwise multiplication")
    addition: Price | None = Field(default=None, description="elementwise addition, bias included")
    neuron_update: Price | None = Field(default=None, description="one neuron, one step")
    spike: Price | None = Field(default=None, description="one spike sent off by a neuron")


class NotPublished(Record):
    """Why an operation has no price, of those that `Prices` leaves out; empty where nothing is to be said."""

    ac: str = ""
    mac: str = ""
    product: str = ""
    addition: str = ""
    neuron_update: str = ""
    spike: str = ""


class Memory(Record):
    """Energy of one access to a memory of a given size."""

    name: str
    word_bits: Annotated[int, Field(ge=1, le=1024)]
    capacity_bytes: Annotated[int, Field(ge=1)] | None = Field(default=None, description="left out for DRAM")
    access: Price


class Network(Record):
    """Energy of messages on a network on chip; an item of its own in reports that place the graph."""

    message: Price | None = None
    hop_east_west: Price | None = None
    hop_north_south: Price | None = None


class Radio(Record):
    """Energy of the link; an item of its own in reports of systems that use a channel.

    No profile of this package has one: it depends on range, band, modulation and power amplifier.
    """

    channel_use: Price = Field(description="of one symbol, or of one bit of a channel that carries bits")
    source: str = Field(min_length=1, description="where the figure is from, and what it includes")


class Addressing(Record):
    """Energy of finding weights; an item of its own in reports.

    No profile of this package has one: a dense layer on a systolic array finds its weights for nothing, while
    events that meet a pruned matrix read an index for each synapse (Lemaire et al. 2022, equations 16 and 17,
    charge an addition of addresses for each synaptic operation, event-driven or not).
    """

    synapse: Price = Field(description="of finding the weight and the target of one synaptic operation")
    source: str = Field(min_length=1, description="where the figure is from, and what it includes")


class PowerUnit(StrEnum):
    """Units a power may be given in."""

    MICROWATT = "uW"
    MILLIWATT = "mW"
    WATT = "W"


_WATTS = {PowerUnit.MICROWATT: 1e-6, PowerUnit.MILLIWATT: 1e-3, PowerUnit.WATT: 1.0}


class StaticPower(Record):
    """What a device draws while nothing happens in it; an item of its own in reports."""

    value: float = Field(ge=0, description="power of the device at one end of the link")
    unit: PowerUnit
    source: str = Field(min_length=1, description="where the figure is from, and at which voltage")

    @property
    def watts(self) -> float:
        """The power in watts."""
        return self.value * _WATTS[self.unit]


class Core(Record):
    """A microcontroller at work and at rest: what its cycles take, in place of prices of operations.

    Both currents are those of the data sheet at one and the same voltage.
    """

    active_ma: float = Field(gt=0, description="current in milliamperes while the core runs code")
    clock_mhz: float = Field(gt=0, description="the clock that it is stated at")
    volts: float = Field(gt=0, description="supply voltage of both currents")
    mode: str = Field(min_length=1, description="what ran, from which memory, and which regulator")
    rest_ua: float = Field(ge=0, description="current in microamperes between two steps")
    rest_mode: str = Field(min_length=1, description="the mode at rest, and what it keeps")

    @property
    def cycle_picojoules(self) -> float:
        """Energy of one cycle in pJ."""
        return self.active_ma * self.volts / self.clock_mhz * 1e3

    @property
    def cycle(self) -> Price:
        """Energy of one cycle."""
        return Price(value=round(self.cycle_picojoules, 1), unit=Unit.PICOJOULE, note=self.mode)

    @property
    def rest_watts(self) -> float:
        """Power at rest in watts."""
        return self.rest_ua * self.volts * 1e-6

    @property
    def words(self) -> str:
        """Both, in a sentence."""
        return (
            f"{self.cycle_picojoules:.4g} pJ a cycle ({self.active_ma:g} mA at {self.clock_mhz:g} MHz and "
            f"{self.volts:g} V, {self.mode}) and {self.rest_ua:g} uA at rest ({self.rest_mode})"
        )


class LoadLimit(Record):
    """The most synaptic operations a second that a device keeps up with."""

    synops_per_second: float = Field(gt=0, description="of one unit")
    of: str = Field(min_length=1, description="what one unit is: core or chip")
    source: str = Field(min_length=1, description="where the figure is from, and how it is made up")


class Profile(UserRecord):
    """One device, or one arithmetic, with the price of its operations.

    Attributes:
        event_driven: True where only the operations that events cause are charged; False for a device
            that works through every synapse in every step (a processor running dense layers).
        operand_bits: width of the weights, states and values that the prices are for; needed to price
            accesses to memory and narrower multiplications.
        memory_included: True where the price of an operation holds its accesses to memory already.
        chip: the target on which reports with these prices place graphs, unless another is named; its TOML
            file lies beside the profile.
    """

    what: ClassVar[str] = "an energy profile"
    hint: ClassVar[str | None] = "docs/energy.md shows every field of a profile."

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str = Field(min_length=1)
    source: str = Field(min_length=1, description="the one publication the figures are from")
    process: str = Field(min_length=1, description="process node, supply voltage where given")
    precision: str = Field(min_length=1)
    scope: str = Field(min_length=1, description="what the figures include and what they leave out")
    basis: Basis
    event_driven: bool = True
    operand_bits: Annotated[int, Field(ge=1, le=64)] | None = Field(
        default=None, description="bits of a weight, a state or a value"
    )
    memory_included: bool = Field(
        default=False, description="whether the prices hold the accesses to memory already"
    )
    chip: str | None = Field(
        default=None, min_length=1, description="name of the target that the prices are for, or its TOML file"
    )
    conflicts: tuple[str, ...] = Field(default=(), description="figures published against these")
    prices: Prices = Prices()
    not_published: NotPublished = Field(
        default=NotPublished(), description="notes on the operations that have no price"
    )
    memories: tuple[Memory, ...] = ()
    network: Network = Network()
    radio: Radio | None = Field(default=None, description="left out where the link is not priced")
    addressing: Addressing | None = Field(default=None, description="left out where finding weights is free")
    static_power: StaticPower | None = Field(
        default=None, description="left out where none is published, or prices of operations include it"
    )
    load_limit: LoadLimit | None = Field(default=None, description="left out where none is published")
    core: Core | None = Field(default=None, description="of a microcontroller; `chip` says which")

    @model_validator(mode="after")
    def _prices_something(self) -> Self:
        if self.core is None and self.prices.ac is None and self.prices.mac is None:
            raise ValueError("needs a price for ac or for mac, or a core")
        if self.core is not None and self.chip is None:
            raise ValueError("has a core, and chip does not say of which microcontroller")
        return self

    @model_validator(mode="after")
    def _priced_or_not(self) -> Self:
        priced = self.prices.model_dump(exclude_none=True).keys()
        both = [name for name, note in self.not_published if note and name in priced]
        if both:
            raise ValueError(f"has a price of {both[0]} and a note that none is published")
        return self

    def prices_as(self, other: "Profile") -> bool:
        """Whether two are the same; the file of a chip may be called by another path."""
        return self.model_copy(update={"chip": None}) == other.model_copy(update={"chip": None})

    def why_without(self, kind: str) -> str:
        """What is known of an operation without a price: "not published", and the note of the file.

        Args:
            kind: of the operation as counts name it, or of the memory.
        """
        note = getattr(self.not_published, kind.removesuffix("s"), "")
        return f"not published ({note})" if note else "not published"

    @model_validator(mode="after")
    def _one_way_to_price_memory(self) -> Self:
        if self.memory_included and self.memories:
            raise ValueError("has memories although memory_included says that the prices hold them")
        if self.memories and self.operand_bits is None:
            raise ValueError("needs operand_bits to price accesses to its memories")
        return self


AnyProfile = str | Path | Profile
"""The name of a profile, its file, or the profile itself."""


def _bundled() -> dict[str, Path]:
    folder = Path(str(resources.files("nsc_deploy.energy.pricing") / "profiles"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def profile_names() -> tuple[str, ...]:
    """Names of the profiles that ship with the package."""
    return tuple(_bundled())


def load_profile(profile: AnyProfile) -> Profile:
    """A profile by its name, from a TOML file (anything that ends in .toml or holds a slash), or as it is.

    Raises:
        ConfigError: no such profile or file, not TOML, or a field that is missing, unknown or out of
            range; the message names the field.
    """
    if isinstance(profile, Profile):
        return profile
    name = str(profile)
    if name.endswith(".toml") or "/" in name:
        return read_profile(Path(name))
    known = _bundled()
    if name not in known:
        raise ConfigError(
            f"there is no profile named {name!r} (known: {', '.join(known)}){did_you_mean(name, known)}",
            hint="Give one of these names, or a TOML file: nsc-deploy energy profiles --help",
        )
    return read_profile(known[name])


def load_profiles() -> tuple[Profile, ...]:
    """Every profile that ships with the package, by name."""
    return tuple(read_profile(path) for path in _bundled().values())


def core_profile(target: str, given: Profile) -> Profile | None:
    """The profile with the currents of a microcontroller: the given one, or one that ships with the package.

    Args:
        target: its name, as "c:nrf52840".
        given: prices of the report.

    Returns:
        None where no data sheet of it could be read.
    """
    if given.core is not None and given.chip == target:
        return given
    return next((one for one in load_profiles() if one.core is not None and one.chip == target), None)


def read_profile(path: Path) -> Profile:
    """Read and check a profile; the file of a chip that it names lies beside it.

    Raises:
        ConfigError: as `load_profile`.
    """
    profile = read_toml_record(Profile, path, Profile.what, hint=Profile.hint)
    if profile.chip is None or not profile.chip.endswith(".toml"):
        return profile
    return profile.model_copy(update={"chip": str(path.parent / profile.chip)})

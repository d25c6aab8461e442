"""What to load and how sound becomes events: the `[data]` table of an experiment file.

Nothing that loads data is imported here, so that reading a configuration stays quick.
"""

from math import floor, log10
from typing import Literal, Self

from pydantic import Field, model_validator

from nsc_deploy.errors import MisfitError
from nsc_deploy.io.records import Record, WholePath

SHD_UNITS = 700
SAMPLE_RATE = 8000
"""Of all sound, in hertz."""
_SMALLEST_SPECTRUM = 1024
_ROUNDING = 1e-6


class SynthesisConfig(Record):
    """How the spoken digits are synthesised (`dataset = "spoken-digits"`)."""

    train: int = Field(default=1000, ge=10, le=100_000, description="utterances of the training part")
    test: int = Field(default=300, ge=10, le=100_000, description="utterances of the test part")
    seed: int = Field(default=0, ge=0, lt=2**32, description="the same seed gives the same audio")
    unseen_voices: bool = Field(
        default=False,
        description="true: no voice of the test part is heard in training; false: the parts share all voices",
    )


class EncodingConfig(Record):
    """The cochlea-like front end: filter bank, compression, events (`spoken-digits` and `fsdd`).

    Event channels are band-major: channel `band * levels + level`.
    """

    kind: Literal["level", "crossing", "first", "lif"] = Field(
        default="level",
        description="level: an event in each step a band is above a level; crossing: only in the step in "
        "which it rises above it; first: only the first time it does; lif: leaky integrate-and-fire neurons "
        "of one gain per level",
    )
    bands: int = Field(default=64, ge=1, le=512, description="filters of the bank, equally spaced in mel")
    levels: int = Field(default=4, ge=1, le=64, description="levels (lif: gains) per band")
    step_s: float = Field(
        default=0.03, gt=0.001, le=1.0, description="length of a step in seconds, a multiple of 1/8000"
    )
    steps: int = Field(default=30, ge=2, le=1000, description="steps per utterance")
    window_s: float = Field(
        default=0.032,
        gt=0.001,
        le=1.0,
        description="length of the analysis window in seconds, which ends with the step; of a longer step, "
        "what comes before it is not heard",
    )
    lowest_hz: float = Field(default=80.0, ge=0, lt=4000, description="lower edge of the first band in hertz")
    highest_hz: float = Field(
        default=4000.0, gt=0, le=4000, description="upper edge of the last band in hertz"
    )
    range_db: float = Field(
        default=60.0,
        gt=0,
        le=200,
        description="decibels below the utterance's loudest point that count as silence",
    )
    quietest_db: float = Field(
        default=-60.0,
        ge=-200,
        lt=0,
        description="decibels of full scale; an utterance whose samples all stay below, measured from their "
        "mean, holds no sound and makes no events",
    )
    lowest_level_db: float = Field(
        default=-40.0, lt=0, description="lowest level in decibels below the utterance's loudest point"
    )
    highest_level_db: float = Field(
        default=-5.0, lt=0, description="highest level in decibels; the others lie evenly between the two"
    )
    lif_decay: float = Field(
        default=0.8, ge=0, lt=1, description="lif: share of the potential kept over a step"
    )

    @property
    def channels(self) -> int:
        """Event channels, bands times levels."""
        return self.bands * self.levels

    @property
    def window(self) -> int:
        """Samples of the analysis window."""
        return round(self.window_s * SAMPLE_RATE)

    @property
    def spectrum_size(self) -> int:
        """Points of the Fourier transform of a window, which is followed by zeros."""
        return max(_SMALLEST_SPECTRUM, 1 << (self.window - 1).bit_length())

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.lowest_hz >= self.highest_hz:
            raise ValueError("lowest_hz must be below highest_hz")
        highest = self.lowest_level_db if self.levels == 1 else self.highest_level_db
        if not -self.range_db <= self.lowest_level_db <= highest:
            raise ValueError("-range_db, lowest_level_db and highest_level_db must be in rising order")
        return self

    @model_validator(mode="after")
    def _steps_are_whole_samples(self) -> Self:
        samples = self.step_s * SAMPLE_RATE
        if abs(samples - round(samples)) > _ROUNDING * samples:
            raise MisfitError(
                f"{{step_s}} {self.step_s:g} is {samples:g} samples of sound, and a step has whole ones",
                f"Set {{step_s}} to {round(samples) / SAMPLE_RATE:g}, a multiple of 1/{SAMPLE_RATE}.",
            )
        return self

    @model_validator(mode="after")
    def _every_band_hears(self) -> Self:
        """A band as narrow as the points of the spectrum lie may fall between two of them."""
        lowest, highest = (2595 * log10(1 + hertz / 700) for hertz in (self.lowest_hz, self.highest_hz))
        rise = (highest - lowest) / (self.bands + 1)
        apart = SAMPLE_RATE / self.spectrum_size
        mels = (lowest + rise * place for place in range(self.bands + 2))
        edges = [700 * (10 ** (mel / 2595) - 1) / apart for mel in mels]
        # On an edge, or within rounding of one, a point has no weight.
        sides = zip(edges, edges[2:], strict=False)
        deaf = sum(floor(low + _ROUNDING) + 1 >= high - _ROUNDING for low, high in sides)
        if deaf:
            raise MisfitError(
                f"{{bands}} {self.bands} are too many: {deaf} lie between two points of the spectrum, "
                f"{apart:g} Hz apart, and hear nothing",
                "Choose fewer {bands}, a longer {window_s} or a range of more hertz.",
            )
        return self


class BinningConfig(Record):
    """How recorded spike times become steps (`shd`)."""

    step_s: float = Field(default=0.06, gt=0.0001, le=1.0, description="length of a step in seconds")
    steps: int = Field(
        default=15, ge=2, le=2000, description="steps per utterance; later spikes are not used"
    )
    pool: int = Field(default=1, ge=1, le=SHD_UNITS, description="neighbouring units that share one channel")

    @property
    def channels(self) -> int:
        """Event channels after pooling."""
        return -(-SHD_UNITS // self.pool)


UNUSED_SECTIONS = {
    "spoken-digits": ("binning",),
    "fsdd": ("synthesis", "binning"),
    "shd": ("synthesis", "encoding"),
}
"""The tables that say nothing of a data set."""


class DataConfig(Record):
    """A data set, its split and its encoding."""

    dataset: Literal["spoken-digits", "fsdd", "shd"] = Field(
        default="spoken-digits",
        description="spoken-digits (synthesised), fsdd (real recordings) or shd (spikes)",
    )
    path: WholePath | None = Field(
        default=None,
        description="file or folder of the data set; without it $NSC_DEPLOY_DATA and then the folder that "
        "`nsc-deploy data fetch` fills are looked in; not for spoken-digits",
    )
    split: Literal["official", "leave-one-speaker-out", "selection"] = Field(
        default="official",
        description="which recordings are the test part; selection divides the official training part, for "
        "choosing settings; spoken-digits and shd have only official",
    )
    speaker: str | None = Field(
        default=None, description="leave-one-speaker-out: the speaker kept for the test"
    )
    synthesis: SynthesisConfig = Field(default_factory=SynthesisConfig, description="spoken-digits only")
    encoding: EncodingConfig = Field(default_factory=EncodingConfig, description="spoken-digits and fsdd")
    binning: BinningConfig = Field(default_factory=BinningConfig, description="shd only")

    @model_validator(mode="after")
    def _split_fits(self) -> Self:
        if self.split != "leave-one-speaker-out" and self.speaker is not None:
            raise MisfitError(
                "{speaker} is only used with the {split} leave-one-speaker-out",
                "Set {split} to leave-one-speaker-out, or leave {speaker} out.",
            )
        if self.split != "official" and self.dataset != "fsdd":
            raise MisfitError(
                f"{self.dataset} has only the {{split}} official",
                "Leave {split} out, or choose {dataset} fsdd.",
            )
        if self.split == "leave-one-speaker-out" and self.speaker is None:
            raise MisfitError(
                "leave-one-speaker-out as {split} needs {speaker}",
                "Set {speaker} to the one kept for the test.",
            )
        return self

    @model_validator(mode="after")
    def _path_is_used(self) -> Self:
        if self.dataset == "spoken-digits" and self.path is not None:
            raise MisfitError(
                "{path} is not used: spoken-digits is synthesised, from no file",
                "Leave {path} out, or choose {dataset} fsdd or shd.",
            )
        return self

    @property
    def steps(self) -> int:
        """Steps per utterance."""
        return self.binning.steps if self.dataset == "shd" else self.encoding.steps

    @property
    def dt(self) -> float:
        """Length of a step in seconds."""
        return self.binning.step_s if self.dataset == "shd" else self.encoding.step_s

    @property
    def channels(self) -> int:
        """Event channels."""
        return self.binning.channels if self.dataset == "shd" else self.encoding.channels

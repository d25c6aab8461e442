"""What decides a channel."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from nsc_deploy.errors import ConfigError, MisfitError
from nsc_deploy.io.records import Record

_SPREAD = 1000


class ChannelKind(StrEnum):
    """The channels with fading and noise."""

    AWGN = "awgn"
    RAYLEIGH = "rayleigh"
    RICIAN = "rician"
    MULTIPATH = "multipath"


class BinaryKind(StrEnum):
    """The channels that carry bits: one flips them (BSC), one loses them (BEC)."""

    BSC = "bsc"
    BEC = "bec"

    @property
    def useless(self) -> float:
        """The probability of an error at which what arrives tells nothing of what was sent."""
        return 0.5 if self is BinaryKind.BSC else 1.0


class Erased(StrEnum):
    """What a receiver puts in the place of an erased bit: 0 or 1 with equal chance, or one half."""

    RANDOM = "random"
    HALF = "half"


class BinaryChannelConfig(Record):
    """A channel that carries bits, each flipped or lost on its own."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    kind: BinaryKind = BinaryKind.BSC
    """bsc (a bit is flipped with probability p) or bec (it is erased with probability p)"""
    p: Annotated[float, Field(ge=0, le=1)] = 0.15
    """probability that a bit is flipped or erased (0 to 1)"""
    p_to: Annotated[float | None, Field(ge=0, le=1)] = None
    """upper end of a range: each sample has a probability of its own, drawn evenly from p to here"""
    erased: Erased = Erased.RANDOM
    """bec only: random (an erased bit is read as 0 or 1 with equal chance) or half (read as 0.5; cnn-sc in
    natural binary and cnn-1bit)"""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.p_to is not None and self.p_to <= self.p:
            raise ValueError(
                f"a range of probabilities rises, and p_to {self.p_to:g} is not above p {self.p:g}"
            )
        if self.p == self.kind.useless and self.p_to is None:
            raise MisfitError(
                f"{{p}} is {self.p:g}, at which what arrives over a {self.kind.value} tells nothing of what "
                "was sent",
                "Choose another {p}.",
            )
        if self.erased is Erased.HALF and self.kind is not BinaryKind.BEC:
            raise MisfitError(
                "{erased} is half, and a bsc erases nothing",
                "Leave {erased} out, or choose the {kind} bec.",
            )
        return self

    @property
    def errs(self) -> bool:
        """Whether a bit can arrive as another or not at all."""
        return self.p > 0 or self.p_to is not None


class ChannelConfig(Record):
    """A channel between transmitter and receiver; coefficients are drawn anew for every step and sample."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    kind: ChannelKind = ChannelKind.MULTIPATH
    """awgn, rayleigh or rician (one coefficient a step) or multipath (taps coefficients a step)"""
    snr_db: Annotated[float, Field(ge=-100, le=400)] = 10.0
    """signal-to-noise ratio in dB (-100 to 400): mean |symbol|^2 of a sample over the complex noise power"""
    snr_to_db: Annotated[float | None, Field(ge=-100, le=400)] = None
    """upper end of a range in dB: each sample has an SNR of its own, drawn evenly from snr_db to here"""
    taps: Annotated[int, Field(ge=1, le=1024)] = 8
    """multipath only: Rayleigh taps of equal mean power that sum to 1 (1 to 1024)"""
    rician_k: Annotated[float, Field(ge=0, le=1e6)] = 3.0
    """rician only: power of the direct path over that of the scattered ones, as a ratio (0 to 1e6)"""

    @model_validator(mode="after")
    def _range_rises(self) -> Self:
        if self.snr_to_db is not None and self.snr_to_db <= self.snr_db:
            raise ValueError(
                f"a range of SNRs rises, and snr_to_db {self.snr_to_db:g} is not above snr_db {self.snr_db:g}"
            )
        return self

    @property
    def snr_ends_db(self) -> tuple[float, float]:
        """The lowest and the highest SNR; twice the same where there is one alone."""
        return self.snr_db, self.snr_db if self.snr_to_db is None else self.snr_to_db

    @property
    def spread_db(self) -> tuple[float, ...]:
        """SNRs that stand for the even range of them; the SNR alone where there is no range."""
        low, high = self.snr_ends_db
        if low == high:
            return (low,)
        return tuple(low + (high - low) * (number + 0.5) / _SPREAD for number in range(_SPREAD))

    @property
    def delay_spread(self) -> int:
        """Samples by which the channel lengthens a step: taps - 1 on multipath, else 0."""
        return self.taps - 1 if self.kind is ChannelKind.MULTIPATH else 0

    def samples(self, symbols: int) -> int:
        """Complex samples that arrive in a step of `symbols` symbols."""
        return symbols + self.delay_spread

    def received_size(self, symbols: int) -> int:
        """Real values that arrive in a step of `symbols` symbols: real parts, then imaginary parts."""
        return 2 * self.samples(symbols)


def require_snr(snr_db: float) -> None:
    """Refuse an SNR that no channel has.

    Raises:
        ConfigError: it is below -100 or above 400 dB, or no number.
    """
    try:
        ChannelConfig(snr_db=snr_db)
    except ValueError as error:
        raise ConfigError(
            f"an SNR of {snr_db:g} dB is out of range",
            where="--snr",
            hint=f"snr_db: {ChannelConfig.model_fields['snr_db'].description}.",
        ) from error

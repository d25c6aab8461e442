"""What decides a channel."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from nsc_deploy.io.records import Record


class ChannelKind(StrEnum):
    """The channels with fading and noise."""

    AWGN = "awgn"
    RAYLEIGH = "rayleigh"
    RICIAN = "rician"
    MULTIPATH = "multipath"


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
    def delay_spread(self) -> int:
        """Samples by which the channel lengthens a step: taps - 1 on multipath, else 0."""
        return self.taps - 1 if self.kind is ChannelKind.MULTIPATH else 0

    def samples(self, symbols: int) -> int:
        """Complex samples that arrive in a step of `symbols` symbols."""
        return symbols + self.delay_spread

    def received_size(self, symbols: int) -> int:
        """Real values that arrive in a step of `symbols` symbols: real parts, then imaginary parts."""
        return 2 * self.samples(symbols)

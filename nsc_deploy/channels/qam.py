"""Bits as BPSK, QPSK or 16-QAM symbols of unit mean power, Gray-coded, and back to soft bits.

Which of them an SNR carries is what the turbo code of rate 1/3 (`channels.coding.turbo`) loses there.
"""

import math
from enum import StrEnum

import torch
from torch import Tensor


class Constellation(StrEnum):
    """How many bits a complex symbol carries."""

    BPSK = "bpsk"
    QPSK = "qpsk"
    QAM16 = "16-qam"

    @property
    def bits(self) -> int:
        """Bits of a symbol."""
        return {Constellation.BPSK: 1, Constellation.QPSK: 2, Constellation.QAM16: 4}[self]


QPSK_DB = -0.4
QAM16_DB = 4.5
"""The SNRs from which QPSK and 16-QAM lose 1 block of 100 under the turbo code, over AWGN."""
_QPSK = 1 / math.sqrt(2)
_QAM16 = 1 / math.sqrt(10)
_LEAST_NOISE = 1e-12
"""Less noise is taken as so much: a bit is as sure as a decoder can use, and no value ends beyond float32."""


def carried(snr_db: float) -> Constellation:
    """The constellation of most bits whose blocks arrive under the turbo code at a mean SNR in dB (AMC).

    BPSK below `QPSK_DB`, whatever is lost of it.
    """
    if snr_db >= QAM16_DB:
        return Constellation.QAM16
    return Constellation.QPSK if snr_db >= QPSK_DB else Constellation.BPSK


def map_bits(bits: Tensor, constellation: Constellation) -> Tensor:
    """Symbols, real and imaginary parts [N, S, 2], of bits [N, S * bits of one]; 0 is positive.

    Of the four bits of a 16-QAM symbol the first two are the signs, the others say whether each part is the
    larger one (3GPP TS 36.211, table 7.1.3-1).
    """
    signs = 1 - 2 * bits.view(len(bits), -1, constellation.bits).to(torch.float32)
    if constellation is Constellation.BPSK:
        return torch.cat([signs, torch.zeros_like(signs)], -1)
    if constellation is Constellation.QPSK:
        return signs * _QPSK
    return signs[..., :2] * (2 - signs[..., 2:]) * _QAM16


def soft_bits(symbols: Tensor, noise_power: Tensor, constellation: Constellation) -> Tensor:
    """Log P(bit = 0) / P(bit = 1) [N, S * bits] of symbols as detected [N, S, 2], by nearest points.

    Args:
        symbols: as `symbols.transmit` detects them.
        noise_power: of the complex noise in each message's symbols [N].
        constellation: what was sent.
    """
    scale = (4 / noise_power.clamp_min(_LEAST_NOISE))[:, None, None]
    if constellation is Constellation.BPSK:
        return (symbols[..., :1] * scale).flatten(1)
    if constellation is Constellation.QPSK:
        return (symbols * (scale * _QPSK)).flatten(1)
    # In units of the inner points +-1; max-log of the four points of an axis.
    size = symbols / _QAM16
    sign = torch.where(size.abs() <= 2, size, 2 * size - 2 * size.sign())
    larger = 2 - size.abs()
    return (torch.cat([sign, larger], -1) * (scale * _QAM16**2)).flatten(1)

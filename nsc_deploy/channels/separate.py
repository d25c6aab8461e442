"""Separate source and channel coding of events, the rival of the Att-NeuroSC poster.

The events of a sample are compressed without loss (DEFLATE, with zlib's checksum behind it), protected by the
convolutional code of rate 1/3 and sent as BPSK symbols, frame after frame, over the channel of the other
systems. Each frame has coefficients of its own and the guard interval behind it; neighbouring bits lie in
different frames, so that a frame in a fade costs no run of them. The receiver knows its channel perfectly,
decides each bit and decodes by Viterbi's algorithm. Where the checksum does not fit, nothing has arrived: the
sample is silent.

Sources: RFC 1950 and 1951 (zlib's format and DEFLATE); the code: `coding.convolutional`.
"""

import zlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nsc_deploy.channels.coding.convolutional import MEMORY, RATE, Bits, coded_length, decode, encode
from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.channels.modulation import Link, Modulation, soft_symbols

Events = NDArray[np.uint8]
_LEVEL = 9


def compress(events: Events) -> Bits:
    """The bits of a sample's events [T, C], row by row, as zlib compresses them at its best."""
    packed = np.packbits(np.ascontiguousarray(events, np.uint8))
    return np.unpackbits(np.frombuffer(zlib.compress(packed.tobytes(), _LEVEL), np.uint8))


def restore(bits: Bits, shape: tuple[int, int]) -> Events | None:
    """The events [T, C] in a stream, whatever follows it; None where the stream is damaged."""
    size = -(-shape[0] * shape[1] // 8)
    reader = zlib.decompressobj()
    try:
        # A damaged stream may ask for any amount of memory.
        packed = reader.decompress(np.packbits(bits).tobytes(), size + 1)
    except zlib.error:
        return None
    if not reader.eof or len(packed) != size:
        return None
    flat = np.unpackbits(np.frombuffer(packed, np.uint8), count=shape[0] * shape[1])
    return flat.reshape(shape)


class CodedLink(Link):
    """Sends all events of a sample as one message and returns those that arrive, [T, B, C] -> [T, B, C].

    In training it is the identity: what a classifier behind it meets is either the events as they were or
    silence, of which nothing is to be learnt.

    Args:
        channel: fading, noise and SNR.
        frame: symbols that are sent with one set of coefficients.
    """

    whole = True

    def __init__(self, channel: ChannelConfig, frame: int) -> None:
        super().__init__(channel, Modulation.BITS)
        self.frame = frame

    def forward(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """The events of each sample, or silence."""
        if self.training:
            return values
        received = torch.zeros_like(values)
        for sample in range(values.shape[1]):
            arrived = self._send(_events_of(values, sample), generator)
            if arrived is not None:
                received[:, sample] = torch.from_numpy(arrived).to(values)
        return received

    def message_bits(self, values: Tensor) -> tuple[int, ...]:
        """Bits of each sample that the code protects: the stream, filled up to whole frames."""
        return tuple(len(self._message(_events_of(values, sample))) for sample in range(values.shape[1]))

    def uses(self, message_bits: int) -> int:
        """Channel uses of a message: those of its frames, each with its guard interval."""
        return self._frames(message_bits) * (self.frame + self.channel.config.delay_spread)

    def _send(self, events: Events, generator: torch.Generator) -> Events | None:
        message = self._message(events)
        frames, coded = self._frames(len(message)), encode(message)
        places = np.zeros(frames * self.frame, np.float32)
        places[: len(coded)] = coded
        symbols = torch.from_numpy(places.reshape(self.frame, frames).T.copy()).unsqueeze(1) * 2 - 1
        arrived = soft_symbols(self.channel.transmit(symbols, generator)) > 0
        bits = arrived.squeeze(1).numpy().T.reshape(-1)[: len(coded)].astype(np.uint8)
        return restore(decode(bits), (events.shape[0], events.shape[1]))

    def _message(self, events: Events) -> Bits:
        """The stream, with zeros behind it up to the last bit that its frames hold."""
        stream = compress(events)
        message = np.zeros(self._frames(len(stream)) * self.frame // RATE - MEMORY, np.uint8)
        message[: len(stream)] = stream
        return message

    def _frames(self, message_bits: int) -> int:
        return -(-coded_length(message_bits) // self.frame)


def _events_of(values: Tensor, sample: int) -> Events:
    events: Events = values[:, sample].detach().numpy().astype(np.uint8)
    return events

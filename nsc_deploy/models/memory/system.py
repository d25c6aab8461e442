"""Mem-DeepSC: a semantic codec, a joint source-channel codec and a channel between them."""

from dataclasses import dataclass, replace
from statistics import fmean

import torch
from torch import Tensor, nn

from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.channels.modulation import straight_through
from nsc_deploy.channels.qam import carried
from nsc_deploy.channels.symbols import Knowledge, normalise_power, transmit
from nsc_deploy.models.memory.batches import Batch
from nsc_deploy.models.memory.masks import (
    ImportanceModel,
    Mask,
    consecutive_mask,
    largest_mask,
    lengths_to_send,
    random_mask,
    soft_largest,
    symbols_to_send,
)
from nsc_deploy.models.memory.semantic import SemanticCodec, read_stories


@dataclass(frozen=True)
class Air:
    """What lies between sender and receiver.

    Attributes:
        channel: its kind, and the SNR or the range of SNRs that each story draws its own from.
        knowledge: what the receiver knows of the channel.
        mask: which symbols are sent.
        least: symbols that the length rule keeps at the highest SNR.
    """

    channel: ChannelConfig
    knowledge: Knowledge = Knowledge.PERFECT
    mask: Mask = Mask.NONE
    least: int = 16

    def at(self, snr_db: float) -> "Air":
        """The same at one SNR."""
        channel = self.channel.model_copy(update={"snr_db": snr_db, "snr_to_db": None})
        return replace(self, channel=channel)

    def draw_snr(self, count: int, generator: torch.Generator) -> Tensor:
        """An SNR for each of so many stories [count], even over the channel's range, in dB, float64.

        Where it is one alone, it is that very number: what is sent depends on whether it reaches a threshold,
        and -0.4 dB in float32 lies below -0.4 dB.
        """
        low, high = self.channel.snr_ends_db
        drawn = low + (high - low) * torch.rand(count, generator=generator)
        return drawn.double() if low < high else torch.full((count,), low, dtype=torch.float64)


@dataclass(frozen=True)
class Sent:
    """Messages as they go over the air.

    Attributes:
        symbols: real and imaginary parts, of unit mean power over those that are kept [N, L, 2].
        keep: which are sent [N, L] bool; None: all.
    """

    symbols: Tensor
    keep: Tensor | None


AT_ONCE = 256
"""Messages that an importance model scores together: few enough that what lies between stays in a cache."""


class MemDeepSC(nn.Module):
    """Sender and receiver of Mem-DeepSC.

    Args:
        semantic: encoder and decoder of step 1.
        jsc_encoder: sentence vectors [N, width] to symbols [N, L, 2]; or a whole sender, from words [N, W].
        jsc_decoder: detected symbols [N, L, 2] to sentence vectors [N, width].
        symbols: L.
        air: what lies between.
        importance: the model of the importance mask; None where there is no such mask.
    """

    def __init__(
        self,
        semantic: SemanticCodec,
        jsc_encoder: nn.Module,
        jsc_decoder: nn.Module,
        symbols: int,
        air: Air,
        importance: ImportanceModel | None = None,
    ) -> None:
        super().__init__()
        self.semantic = semantic
        self.jsc_encoder = jsc_encoder
        self.jsc_decoder = jsc_decoder
        self.symbols = symbols
        self.air = air
        self.importance = importance

    @property
    def memory(self) -> int:
        """Sentences that the receiver remembers."""
        return self.semantic.memory

    @property
    def sides(self) -> tuple[nn.Module, nn.Module]:
        """What a sender and a receiver have; the importance model learns with the receiver's gradient.

        Where a whole sender stands in place of the sentence encoder, the latter is its teacher alone.
        """
        receiver = nn.ModuleList([self.jsc_decoder, self.semantic.decoder])
        if self.importance is not None:
            receiver.append(self.importance)
        if self.reads_words:
            return self.jsc_encoder, receiver
        return nn.ModuleList([self.semantic.encoder, self.jsc_encoder]), receiver

    @property
    def reads_words(self) -> bool:
        """Whether what makes symbols reads words, and not vectors."""
        return bool(getattr(self.jsc_encoder, "reads_words", False))

    @property
    def symbols_sent(self) -> float:
        """Symbols of a sentence on the air, mean over the SNRs of the channel."""
        if self.air.mask is Mask.NONE:
            return self.symbols
        return fmean(self._lengths())

    @property
    def position_symbols(self) -> float:
        """Symbols that tell which ones an importance mask has kept: a bit for each, under the turbo code.

        It has the rate 1/3, and the constellation is what the SNR carries, for positions that do not arrive
        are of no use. Where all symbols are kept, both ends know that from the SNR. Mean over the SNRs of the
        channel.
        """
        if self.air.mask is not Mask.IMPORTANCE:
            return 0.0
        return fmean(
            self.symbols * 3 / carried(snr_db).bits if length < self.symbols else 0.0
            for snr_db, length in zip(self.air.channel.spread_db, self._lengths(), strict=True)
        )

    def _lengths(self) -> list[int]:
        return [symbols_to_send(one, self.symbols, self.air.least) for one in self.air.channel.spread_db]

    def send(self, words: Tensor) -> Tensor:
        """Symbols of each sentence [N, W] before their power is normalised: [N, L, 2]."""
        read = words if self.reads_words else self.semantic.encoder.by_length(words)
        symbols: Tensor = self.jsc_encoder(read)
        return symbols

    def answer(self, sent: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        """Logits [B, answers] of a batch that went over the air, each story with one SNR and one h."""
        snr_db = self.air.draw_snr(len(batch), generator)
        vectors = self.receive(sent[batch.told], snr_db[batch.story], batch.story, generator)
        return read_stories(self.semantic.decoder, vectors, batch)

    def receive(self, symbols: Tensor, snr_db: Tensor, block: Tensor, generator: torch.Generator) -> Tensor:
        """What a receiver makes of symbols [N, L, 2] that are masked and sent: sentence vectors [N, width].

        Args:
            symbols: before their power is normalised.
            snr_db: of each message [N].
            block: [N] int64, messages of one block meet the same h.
            generator: where chance comes from.
        """
        message = self.mask(symbols, snr_db, generator)
        detected = transmit(
            message.symbols, snr_db, block, self.air.channel, self.air.knowledge, generator
        ).symbols
        if message.keep is not None:
            # Backwards all symbols arrive: a mask learns as well from what it has left out.
            detected = straight_through(detected, detected * message.keep.unsqueeze(-1))
        vectors: Tensor = self.jsc_decoder(detected)
        return vectors

    def mask(self, symbols: Tensor, snr_db: Tensor, generator: torch.Generator) -> Sent:
        """Choose the symbols that are sent and bring them to unit power."""
        if self.air.mask is Mask.NONE:
            return Sent(normalise_power(symbols), None)
        lengths = lengths_to_send(snr_db, self.symbols, self.air.least)
        if self.air.mask is Mask.CONSECUTIVE:
            keep = consecutive_mask(lengths, self.symbols)
        elif self.air.mask is Mask.RANDOM:
            keep = random_mask(lengths, self.symbols, generator)
        else:
            return self._mask_by_importance(symbols, snr_db, lengths)
        return Sent(normalise_power(symbols, keep), keep)

    def _mask_by_importance(self, symbols: Tensor, snr_db: Tensor, lengths: Tensor) -> Sent:
        if self.importance is None:
            raise ValueError("an importance mask without its model")
        message, snr_db = normalise_power(symbols), snr_db.to(symbols.dtype)
        # A test batch has 65,000 messages, whose attention at once takes ten gigabytes.
        pieces = zip(torch.split(message, AT_ONCE), torch.split(snr_db, AT_ONCE), strict=True)
        scores = torch.cat([self.importance(*piece) for piece in pieces])
        keep = largest_mask(scores, lengths)
        chosen = soft_largest(scores, lengths) if torch.is_grad_enabled() else keep
        return Sent(normalise_power(symbols, chosen), keep)

"""What the graphs of a Mem-DeepSC compute, as torch modules that take a step of samples [1, N, ...].

`models.memory.export` writes them. `Remember` and the decoder itself are the two graphs of a stream.
"""

from torch import Tensor, nn

from nsc_deploy.channels.symbols import normalise_power
from nsc_deploy.models.memory.masks import ImportanceModel
from nsc_deploy.models.memory.semantic import SemanticDecoder, SemanticEncoder, push
from nsc_deploy.models.memory.spiking import SpikingJscEncoder


class SentenceReader(nn.Module):
    """Numbers of words [1, N, W] as floats to vectors [1, N, width]."""

    def __init__(self, encoder: SemanticEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, words: Tensor) -> Tensor:
        """Vectors."""
        vectors: Tensor = self.encoder(words.squeeze(0).long())
        return vectors.unsqueeze(0)


class CurrentReader(SentenceReader):
    """Numbers of words [1, N, W] as floats to the current of a codec's first neurons [T, N, 2 width]."""

    def __init__(self, encoder: SemanticEncoder, codec: SpikingJscEncoder) -> None:
        super().__init__(encoder)
        self.codec = codec

    def forward(self, words: Tensor) -> Tensor:
        """The current, of which a step adds its own to one product."""
        return self.codec.current(super().forward(words).squeeze(0))


class DenseSender(nn.Module):
    """Vectors [1, N, width] to symbols of unit power [1, N, 2 L]: real and imaginary part of each in turn."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, vectors: Tensor) -> Tensor:
        """Symbols."""
        return normalise_power(self.encoder(vectors.squeeze(0))).flatten(1).unsqueeze(0)


class SymbolScorer(nn.Module):
    """Symbols and the SNR in dB [1, N, 2 L + 1] to how important each symbol is [1, N, L]."""

    def __init__(self, importance: ImportanceModel) -> None:
        super().__init__()
        self.importance = importance

    def forward(self, told: Tensor) -> Tensor:
        """Scores, of which the length rule says how many are kept."""
        count = len(self.importance.places) - 1
        told = told.squeeze(0)
        scores: Tensor = self.importance(told[:, : 2 * count].reshape(-1, count, 2), told[:, 2 * count])
        return scores.unsqueeze(0)


class DenseReceiver(nn.Module):
    """Detected symbols [1, N, 2 L] to vectors [1, N, width]."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, symbols: Tensor) -> Tensor:
        """Vectors."""
        vectors: Tensor = self.decoder(symbols.squeeze(0))
        return vectors.unsqueeze(0)


class Answerer(nn.Module):
    """Question and memory [1, N, 1 + memory, width + 1] to scores [1, N, answers]."""

    def __init__(self, decoder: SemanticDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, slots: Tensor) -> Tensor:
        """Scores of each answer."""
        vectors, filled = slots.squeeze(0)[..., :-1], slots.squeeze(0)[:, 1:, -1]
        count = filled.sum(1).long()
        scores: Tensor = self.decoder(vectors[:, 0], vectors[:, 1:], count)
        return scores.unsqueeze(0)


class Remember(nn.Module):
    """One more sentence in the queue: the oldest goes where it is full."""

    def forward(self, queue: Tensor, filled: Tensor, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """The queue [N, memory, width], and how many of its slots are filled [N]."""
        return push(queue, sentence), (filled + 1).clamp(max=queue.shape[1])

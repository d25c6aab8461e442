"""The joint source-channel codec of Mem-DeepSC: a sentence's vector to complex symbols, and back."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class JscEncoder(nn.Module):
    """Sentence vectors [N, width] to symbols, real and imaginary parts [N, L, 2]: two dense layers.

    Their power is not yet normalised (`channels.symbols.normalise_power`).

    Args:
        width: of a sentence vector.
        symbols: L.
    """

    def __init__(self, width: int, symbols: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, 2 * width)
        self.out = nn.Linear(2 * width, 2 * symbols)

    def forward(self, vectors: Tensor) -> Tensor:
        """Symbols [N, L, 2]."""
        symbols: Tensor = self.out(functional.relu(self.hidden(vectors)))
        return symbols.view(-1, self.out.out_features // 2, 2)


class JscDecoder(nn.Module):
    """Detected symbols [N, L, 2] to sentence vectors [N, width]: a dense layer, and two beside it.

    Args:
        width: of a sentence vector.
        symbols: L.
    """

    def __init__(self, width: int, symbols: int) -> None:
        super().__init__()
        self.first = nn.Linear(2 * symbols, width)
        self.hidden = nn.Linear(width, 4 * width)
        self.out = nn.Linear(4 * width, width)

    def forward(self, symbols: Tensor) -> Tensor:
        """Sentence vectors [N, width]."""
        found = self.first(symbols.flatten(1))
        refined: Tensor = found + self.out(functional.relu(self.hidden(functional.relu(found))))
        return refined


def build_jsc(width: int, symbols: int, seed: int) -> tuple[JscEncoder, JscDecoder]:
    """A codec with drawn weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return JscEncoder(width, symbols), JscDecoder(width, symbols)

"""Which of a sentence's symbols are sent: the length rule of Mem-DeepSC and its three masks."""

import math
from enum import StrEnum

import torch
from torch import Tensor, nn

from nsc_deploy.channels.modulation import straight_through
from nsc_deploy.errors import ConfigError
from nsc_deploy.models.memory.transformer import UniversalTransformer, sinusoids

LEAST_SYMBOLS = 16
LARGEST_VALUE = 1.0
MODEL_NOISE = 1.44


class Mask(StrEnum):
    """How the symbols that are sent are chosen.

    - NONE: all are sent.
    - CONSECUTIVE: the first ones.
    - IMPORTANCE: those that a trained model finds most important for the answer.
    - RANDOM: any, anew for each sentence; the receiver knows which.
    """

    NONE = "none"
    CONSECUTIVE = "consecutive"
    IMPORTANCE = "importance"
    RANDOM = "random"


def symbols_to_send(snr_db: float, most: int, least: int = LEAST_SYMBOLS) -> int:
    """The length rule (eq. 15), rounded up, from least to most; mu = 1 and s_m^2 = 1.44 are the paper's.

        L1 = L log(1 + mu^2 / s_m^2) / log(1 + mu^2 / (s_m^2 + s_n^2)),   s_n^2 = 10^(-SNR / 10)

    With L = 16 it gives 25 symbols at 0 dB and 17 from 9 dB; the cap of 32 is met below -2.7 dB.

    Args:
        snr_db: in dB.
        most: symbols that a sentence has.
        least: L, the symbols that are needed without noise.

    Raises:
        ConfigError: more are needed at least than there are.
    """
    if least > most:
        raise ConfigError(
            f"needs {least} symbols at least, and a sentence has {most}",
            where="mask",
            hint="Give sentences more symbols, or leave the mask out.",
        )
    noise = 10 ** (-snr_db / 10)
    needed = math.log1p(LARGEST_VALUE / MODEL_NOISE) / math.log1p(LARGEST_VALUE / (MODEL_NOISE + noise))
    return min(most, max(least, math.ceil(least * needed)))


def lengths_to_send(snr_db: Tensor, most: int, least: int = LEAST_SYMBOLS) -> Tensor:
    """`symbols_to_send` for each of many SNRs [N], int64."""
    return torch.tensor([symbols_to_send(one, most, least) for one in snr_db.tolist()], dtype=torch.int64)


def consecutive_mask(lengths: Tensor, most: int) -> Tensor:
    """The first `lengths` [N] of `most` symbols: [N, most] bool.

    Raises:
        ConfigError: a length is more than there are symbols.
    """
    if len(lengths) and int(lengths.max()) > most:
        raise ConfigError(f"keeps {int(lengths.max())} symbols of {most}", where="mask", hint="Keep fewer.")
    return torch.arange(most) < lengths.unsqueeze(1)


def random_mask(lengths: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """`lengths` [N] of `most` symbols, drawn anew for each message: [N, most] bool."""
    return largest_mask(torch.rand(len(lengths), most, generator=generator), lengths)


def largest_mask(scores: Tensor, lengths: Tensor) -> Tensor:
    """The `lengths` [N] symbols of the largest scores [N, L]: [N, L] bool; of equal ones the first."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(scores.shape[1]).expand_as(order))
    return rank < lengths.unsqueeze(1)


def soft_largest(scores: Tensor, lengths: Tensor, temperature: float = 1.0) -> Tensor:
    """A mask [N, L] that is `largest_mask` forwards and, backwards, its relaxation by successive softmax.

    Xie and Ermon, "Reparameterizable subset sampling via continuous relaxations", IJCAI 2019, without their
    noise: L1 softmaxes follow each other, each with what the former ones have taken held down.

    Args:
        scores: [N, L].
        lengths: [N] how many are kept.
        temperature: the lower, the nearer to the hard mask and the steeper.
    """
    kept = torch.zeros_like(scores)
    held = scores
    for number in range(max(lengths.tolist(), default=0)):
        taken = (held / temperature).softmax(1) * (number < lengths).unsqueeze(1)
        kept = kept + taken
        held = held + torch.log((1 - taken).clamp_min(1e-6))
    return straight_through(kept, largest_mask(scores, lengths).to(scores.dtype))


class ImportanceModel(nn.Module):
    """How important each symbol of a sentence is: symbols [N, L, 2] and SNRs [N] to scores [N, L].

    Each symbol is a token, and the SNR is one more; a Transformer layer of width 64 looks at them together.

    Args:
        symbols: L.
        width: of a token.
        heads: of the attention.
    """

    places: Tensor

    def __init__(self, symbols: int, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.token = nn.Linear(2, width)
        self.snr = nn.Linear(1, width)
        self.layer = UniversalTransformer(width, heads, 4 * width, steps=1)
        self.score = nn.Linear(width, 1)
        self.register_buffer("places", sinusoids(symbols + 1, width), persistent=False)

    def forward(self, symbols: Tensor, snr_db: Tensor) -> Tensor:
        """Scores [N, L]."""
        tokens = torch.cat([self.snr(snr_db[:, None, None] / 10), self.token(symbols)], 1)
        with self.layer.dense_products():
            seen = self.layer(tokens, self.places)
        scores: Tensor = self.score(seen[:, 1:]).squeeze(-1)
        return scores


def build_importance(symbols: int, seed: int) -> ImportanceModel:
    """A model with drawn weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ImportanceModel(symbols)

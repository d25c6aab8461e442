"""The universal Transformer (Dehghani et al. 2019): one block, taken several times over a sequence."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Rows:
    """Sequences of one padded length among the rows of a flat tensor.

    Attributes:
        index: [sequences, length] int64, the row of each place; padding names any row.
        keep: [sequences, length] bool, False for padding; None where there is none.
    """

    index: Tensor
    keep: Tensor | None

    def kept(self) -> Tensor:
        """The rows, sequence after sequence, without padding."""
        return self.keep_only(self.index)

    def keep_only(self, of_places: Tensor) -> Tensor:
        """What belongs to rows and not to padding, of values of all places [sequences, length, ...]."""
        return of_places.flatten(0, 1) if self.keep is None else of_places[self.keep]


class UniversalTransformer(nn.Module):
    """Takes one pre-norm block `steps` times over a sequence, each time with places and the step made known.

        x <- x + place + step[t];  x <- x + A(norm(x));  x <- x + F(norm(x))      for t = 1 ... steps
        y = norm(x)

    A is attention of all places to all (softmax(q k^T / sqrt(d)) v, several heads), F two dense layers with
    ReLU between; all steps share their weights, and only the code of the step differs.

    Args:
        width: of a place.
        heads: of the attention; they share the width.
        hidden: width between the two layers of F.
        steps: how often the block is taken.
    """

    def __init__(self, width: int, heads: int, hidden: int, steps: int) -> None:
        super().__init__()
        self.products = torch.float32
        self.width, self.heads, self.steps = width, heads, steps
        self.step = nn.Parameter(torch.randn(steps, width) * 0.02)
        self.before_attention = nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.before_dense = nn.LayerNorm(width)
        self.dense = nn.Linear(width, hidden)
        self.back = nn.Linear(hidden, width)
        self.last = nn.LayerNorm(width)
        for layer in (self.projections, self.mix, self.dense, self.back):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, x: Tensor, places: Tensor, keep: Tensor | None = None, *, read: int | None = None
    ) -> Tensor:
        """Padded sequences [B, L, width] to as many, or to their first `read` places.

        Args:
            x: the sequences.
            places: code of each place [L, width] or [B, L, width].
            keep: [B, L], False for padding, which nothing attends to.
            read: how many places of each are read; the last step works for these alone. None: all.
        """
        for step in range(self.steps):
            x = x + places + self.step[step]
            mixed = self.projections(self.before_attention(x))
            heads = torch.split(mixed, self.width // self.heads, -1)
            if step == self.steps - 1:
                x = x[:, :read]
                heads = (*(q[:, :read] for q in heads[: self.heads]), *heads[self.heads :])
            x = self._after_attention(x, _attend_by_head(heads, keep))
        normed: Tensor = self.last(x)
        return normed

    def heed(self, x: Tensor, places: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and how much the first place heeds every place on the way there.

        Args:
            x: sequences [B, L, width].
            places: code of each place [B, L, width].
            keep: [B, L], False for padding, which nothing attends to.

        Returns:
            The sequences [B, L, width], and weights [steps, B, heads, L] whose sums over L are 1.
        """
        heeded = []
        for step in range(self.steps):
            x = x + places + self.step[step]
            q, k, v = self.projections(self.before_attention(x)).chunk(3, -1)
            heeded.append(attention_weights(q[:, :1], k, self.heads, keep)[:, :, 0])
            x = self._after_attention(x, attend(q, k, v, self.heads, keep))
        return self.last(x), torch.stack(heeded)

    def on_rows(
        self, x: Tensor, places: Tensor, groups: Sequence[Rows], *, heads_only: bool = False
    ) -> Tensor:
        """The same for sequences of many lengths that lie in the rows of one flat tensor [rows, width].

        All dense work is done on the flat tensor, which has no padding; only attention goes by groups.

        Args:
            x: the rows.
            places: code of each row's place [rows, width].
            groups: which rows make a sequence; every row is in one sequence.
            heads_only: read the first place of each sequence alone; these are the first rows of `x`.
        """
        places_of_all = torch.cat([rows.index.flatten() for rows in groups])
        sizes = [rows.index.numel() for rows in groups]
        back = _places_of_rows(groups)
        for step in range(self.steps):
            x = x + places + self.step[step]
            with self.dense_products():
                mixed = self.projections(self.before_attention(x))
            # Gathered once for all groups: the gradient of each gathering is as large as `mixed`.
            gathered = torch.split(mixed.float().index_select(0, places_of_all), sizes)
            read = 1 if heads_only and step == self.steps - 1 else None
            attended = [
                _attend_group(part, rows, self.heads, read)
                for part, rows in zip(gathered, groups, strict=True)
            ]
            if read:
                back = _order(torch.cat([rows.index[:, 0] for rows in groups]))
                x = x[: len(back)]
            with self.dense_products():
                x = self._after_attention(x, torch.cat(attended).index_select(0, back))
        normed: Tensor = self.last(x)
        return normed

    def dense_products(self) -> torch.autocast:
        """Dense products in `products`; bfloat16 gains nothing in sums, norms and ragged attention."""
        return torch.autocast("cpu", self.products, enabled=self.products != torch.float32)

    def _after_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.mix(attended)
        added: Tensor = x + self.back(functional.relu(self.dense(self.before_dense(x))))
        return added


@contextmanager
def products_in(dtype: torch.dtype, sides: Sequence[nn.Module]) -> Iterator[None]:
    """Compute dense products of rows, and of importance models, in another number format, until the end."""
    blocks = [one for side in sides for one in side.modules() if isinstance(one, UniversalTransformer)]
    for block in blocks:
        block.products = dtype
    try:
        yield
    finally:
        for block in blocks:
            block.products = torch.float32


def _places_of_rows(groups: Sequence[Rows]) -> Tensor:
    """Where each row stands among the places of all groups, laid end to end with their padding."""
    sizes = [rows.index.numel() for rows in groups]
    parts = torch.split(torch.arange(sum(sizes)), sizes)
    kept = [
        rows.keep_only(part.view_as(rows.index)).flatten() for part, rows in zip(parts, groups, strict=True)
    ]
    return torch.cat(kept)[_order(torch.cat([rows.kept().flatten() for rows in groups]))]


def _order(rows: Tensor) -> Tensor:
    """Where each row stands in a list of all of them."""
    back = torch.empty_like(rows)
    back[rows] = torch.arange(len(rows))
    return back


def _attend_group(gathered: Tensor, rows: Rows, heads: int, read: int | None) -> Tensor:
    """What the first `read` places of each sequence, or all of them, attend to, one below the other."""
    q, k, v = gathered.view(*rows.index.shape, -1).chunk(3, -1)
    return attend(q[:, :read], k, v, heads, rows.keep).flatten(0, 1)


def _attend_by_head(heads: Sequence[Tensor], keep: Tensor | None) -> Tensor:
    """Attention as `attend`, head by head: no shape is made anew, so that graphs of it have open batches.

    Args:
        heads: q [B, Q, size] of each head, then k and v of each [B, L, size].
        keep: [B, L], False for padding.
    """
    count = len(heads) // 3
    attended = []
    for q, k, v in zip(heads[:count], heads[count : 2 * count], heads[2 * count :], strict=True):
        scores = (q * (1 / math.sqrt(int(q.shape[-1])))) @ k.transpose(1, 2)
        if keep is not None:
            scores = scores.masked_fill(~keep.unsqueeze(1), -1e9)
        attended.append(scores.softmax(-1) @ v)
    return torch.cat(attended, -1)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, keep: Tensor | None) -> Tensor:
    """Attention of places q [B, Q, width] to the places k, v [B, L, width] that are kept: [B, Q, width]."""
    weights = attention_weights(q, k, heads, keep)
    mixed = weights @ _by_head(v, heads).transpose(1, 2)
    return mixed.transpose(1, 2).reshape(q.shape)


def attention_weights(q: Tensor, k: Tensor, heads: int, keep: Tensor | None) -> Tensor:
    """How much each place of q [B, Q, width] heeds each of k [B, L, width]: [B, heads, Q, L], sums of 1."""
    asks, tells = _by_head(q, heads).transpose(1, 2), _by_head(k, heads).permute(0, 2, 3, 1)
    scores = (asks * (1 / math.sqrt(q.shape[2] // heads))) @ tells
    if keep is not None:
        scores = scores.masked_fill(~keep[:, None, None, :], -1e9)
    return scores.softmax(-1)


def _by_head(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:2], heads, x.shape[2] // heads)


def sinusoids(count: int, width: int) -> Tensor:
    """The code of places 0 to count - 1 [count, width] (Vaswani et al. 2017): sines, then cosines.

    The product of two codes depends on the distance of their places alone.
    """
    rates = torch.exp(torch.arange(width // 2) * (-math.log(10_000.0) / (width // 2 - 1)))
    angles = torch.arange(count)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)

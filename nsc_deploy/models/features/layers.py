"""A convolution and the batch normalisation behind it, trained as two and deployed as one."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nsc_deploy.graphs.dyadic import snap

KERNEL = 3
PADDING = 1


@dataclass(frozen=True)
class Folded:
    """A convolution with the normalisation in it.

    Attributes:
        weight: [out, in, 3, 3].
        bias: [out].
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


class NormalisedConvolution(nn.Module):
    """3 x 3 convolution (stride 1, padding 1) and normalisation, [N, in, h, w] -> [N, out, h, w].

    Values lie in memory with their channels last, which both are fastest on. Time steps are samples among
    others: one call for all of them, so that the running statistics of the normalisation move once a batch.
    After `finish` it is one convolution with a bias, as its graph is.

    Args:
        inputs: channels in.
        outputs: channels out.
    """

    finished: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, KERNEL, padding=PADDING, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
        self.register_buffer("finished", torch.tensor(False))

    def forward(self, values: Tensor) -> Tensor:
        """The normalised result."""
        rows = convolve(values, self.convolution.weight).permute(0, 2, 3, 1)
        # In float32 also where products are in bfloat16: what neurons add up must not round in each step.
        flat = rows.reshape(-1, rows.shape[-1]).float()
        flat = flat + self.norm.bias if bool(self.finished) else self.norm(flat)
        return flat.view(rows.shape).permute(0, 3, 1, 2)

    def over_time(self, values: Tensor) -> Tensor:
        """[T, B, in, h, w] -> [T, B, out, h, w], with one weight for all steps."""
        return self(values.flatten(0, 1)).unflatten(0, values.shape[:2])  # type: ignore[no-any-return]

    @torch.no_grad()
    def folded(self) -> Folded:
        """W' = W g / s and b' = beta - mu g / s, with the running mean mu and deviation s, in float32."""
        weight, norm = self.convolution.weight.double(), self.norm
        if bool(self.finished):
            return Folded(weight.float().numpy(), norm.bias.detach().clone().numpy())
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None:
            raise TypeError("a batch normalisation without running statistics")
        gain = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
        bias = norm.bias.double() - mean.double() * gain
        return Folded((weight * gain.view(-1, 1, 1, 1)).float().numpy(), bias.float().numpy())

    @torch.no_grad()
    def finish(self, steps: int | None = None) -> None:
        """Become one convolution, whose state has the same names and shapes as before.

        Args:
            steps: T where events enter and neurons without a leak add up what leaves over T steps: the
                weights go on a dyadic grid on which T such sums are exact in float32 in any order. None
                where real values enter: weights as they are.
        """
        folded = self.folded()
        if steps is not None:
            folded = on_grid(folded, steps)
        self.convolution.weight.copy_(torch.from_numpy(folded.weight))
        self.norm.weight.fill_(1)
        self.norm.bias.copy_(torch.from_numpy(folded.bias))
        self.norm.reset_running_stats()
        self.finished.fill_(True)


DENSE_PLACES = 4
"""Up to so many places of a map most of the kernel's taps meet the zeros around it."""


def convolve(values: Tensor, weight: Tensor) -> Tensor:
    """3 x 3 convolution with padding 1, [N, in, h, w] -> [N, out, h, w], channels last in memory.

    On a map of 2 x 2 each output meets all inputs and 5 of 9 taps meet zeros: there it is a product with one
    matrix, which holds the other taps alone and is several times as fast.
    """
    samples, _, height, width = values.shape
    if height * width > DENSE_PLACES:
        return functional.conv2d(
            values.contiguous(memory_format=torch.channels_last), weight, padding=PADDING
        )
    matrix = _as_matrix(weight, height, width)
    product = values.permute(0, 2, 3, 1).reshape(samples, -1) @ matrix
    return product.view(samples, height, width, -1).permute(0, 3, 1, 2)


def _as_matrix(weight: Tensor, height: int, width: int) -> Tensor:
    """The convolution of a map of so many places as one matrix, [h w in, h w out]."""
    places = [(row, column) for row in range(height) for column in range(width)]
    taps = torch.tensor(
        [_tap(into, out) for into in places for out in places], dtype=torch.int64, device=weight.device
    )
    padded = functional.pad(weight.flatten(2), (0, 1))
    found = padded.index_select(2, taps).view(*weight.shape[:2], len(places), len(places))
    return found.permute(2, 1, 3, 0).reshape(len(places) * weight.shape[1], -1)


def _tap(into: tuple[int, int], out: tuple[int, int]) -> int:
    """Which of the nine taps leads from one place to another; the tenth, a zero, where none does."""
    row, column = into[0] - out[0] + PADDING, into[1] - out[1] + PADDING
    return row * KERNEL + column if 0 <= row < KERNEL and 0 <= column < KERNEL else KERNEL * KERNEL


def on_grid(folded: Folded, steps: int) -> Folded:
    """Weights and bias on one grid, 2^-k, on which sums over `steps` steps of events are exact in float32."""
    snapped = snap(folded.weight, folded.bias.astype(np.float64) * steps, max_input=steps)
    bias = np.round(folded.bias.astype(np.float64) * 2.0**snapped.bits) * 2.0**-snapped.bits
    return Folded(snapped.weight, bias.astype(np.float32))

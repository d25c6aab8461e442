"""A convolution and the batch normalisation behind it, trained as two and deployed as one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from nsc_deploy.graphs.dyadic import snap
from nsc_deploy.models.event_products import gradient_of_matrix, has_events, is_recorded, product_of_events

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
        convolution = nn.Conv2d(inputs, outputs, KERNEL, padding=PADDING, bias=False)
        self.convolution = convolution.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
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
            return Folded(_array(weight), norm.bias.detach().clone().numpy())
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None:
            raise TypeError("a batch normalisation without running statistics")
        gain = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
        bias = norm.bias.double() - mean.double() * gain
        return Folded(_array(weight * gain.view(-1, 1, 1, 1)), bias.float().numpy())

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


def _array(weight: Tensor) -> NDArray[np.float32]:
    """In float32 and in numpy's own order."""
    array: NDArray[np.float32] = weight.float().contiguous().numpy()
    return array


DENSE_PLACES = 4
"""Up to so many places of a map most of the kernel's taps meet the zeros around it."""


def is_dense(values: Tensor) -> bool:
    """Whether a convolution of maps [N, in, h, w] is a product with one matrix (see `convolve`).

    In a graph that is recorded it stays a convolution.
    """
    return not is_recorded() and values.shape[-2] * values.shape[-1] <= DENSE_PLACES


def convolve(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """3 x 3 convolution with padding 1, [N, in, h, w] -> [N, out, h, w], channels last in memory.

    On a map of 2 x 2 each output meets all inputs and 5 of 9 taps meet zeros: there it is a product with one
    matrix, which holds the other taps alone and is several times as fast.
    """
    if not is_dense(values):
        return functional.conv2d(
            values.contiguous(memory_format=torch.channels_last), weight, bias, padding=PADDING
        )
    product: Tensor = _DenseConvolution.apply(values, weight, bias, _format_of_products(values))  # type: ignore[no-untyped-call]
    return product


def as_rows(values: Tensor) -> Tensor:
    """[N, C, h, w] -> [N, h w C]: no copy where channels lie last in memory."""
    return values.permute(0, 2, 3, 1).flatten(1)


def as_maps(rows: Tensor, height: int, width: int) -> Tensor:
    """[N, h w C] -> [N, C, h, w], channels last in memory."""
    return rows.view(len(rows), height, width, rows.shape[1] // (height * width)).permute(0, 3, 1, 2)


def as_matrix(weight: Tensor, height: int, width: int, dtype: torch.dtype) -> Tensor:
    """The convolution of a map of so many places as one matrix, [h w out, h w in].

    Block by block: rows of inputs lie together in a weight with its channels last.
    """
    places, (outputs, inputs) = height * width, weight.shape[:2]
    matrix = weight.new_empty((places * outputs, places * inputs), dtype=dtype)
    blocks = matrix.view(places, outputs, places, inputs)
    for into in range(places):
        for out in range(places):
            tap, block = _tap(into, out, width), blocks[out, :, into]
            block.zero_() if tap is None else block.copy_(weight[:, :, tap[0], tap[1]])
    return matrix


class _DenseConvolution(torch.autograd.Function):
    """`convolve` by a matrix in the format of products, and its gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        height, width = values.shape[-2:]
        matrix, rows = as_matrix(weight, height, width, dtype), as_rows(values.to(dtype))
        ctx.save_for_backward(rows, matrix)
        ctx.events = has_events(rows, matrix.t())
        ctx.shape, ctx.came_in = values.shape, values.dtype
        ctx.weight = torch.empty_like(weight, device="meta")  # what its gradient is to look like
        repeated = None if bias is None else bias.to(dtype).repeat(height * width)
        if ctx.events:
            return as_maps(product_of_events(rows, matrix.t(), repeated), height, width)
        return as_maps(functional.linear(rows, matrix, repeated), height, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        rows, matrix = ctx.saved_tensors
        _, inputs, height, width = ctx.shape
        grad_rows, places = as_rows(grad).to(matrix.dtype), height * width
        grad_values, grad_weight, grad_bias = None, None, None
        if ctx.needs_input_grad[0]:
            grad_values = as_maps(grad_rows @ matrix, height, width).to(ctx.came_in)
        if ctx.needs_input_grad[1]:
            grad_weight = torch.zeros_like(ctx.weight, device=grad.device)
            whole = gradient_of_matrix(rows, grad_rows).t() if ctx.events else grad_rows.t() @ rows
            blocks = whole.unflatten(1, (places, inputs)).unflatten(0, (places, len(grad_weight)))
            for into in range(places):
                for out in range(places):
                    tap = _tap(into, out, width)
                    if tap is not None:
                        grad_weight[:, :, tap[0], tap[1]].add_(blocks[out, :, into])
        if ctx.needs_input_grad[2]:
            grad_bias = grad_rows.view(-1, len(ctx.weight)).sum(0, dtype=ctx.weight.dtype)
        return grad_values, grad_weight, grad_bias, None


def _format_of_products(values: Tensor) -> torch.dtype:
    """What autocast asks products to be in here; without it, that of the values."""
    kind = values.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else values.dtype


def _tap(into: int, out: int, width: int) -> tuple[int, int] | None:
    """Row and column of the tap that leads from one place of a map to another; None where none does."""
    (top, left), (row, column) = divmod(into, width), divmod(out, width)
    tap = top - row + PADDING, left - column + PADDING
    return tap if all(0 <= one < KERNEL for one in tap) else None


def on_grid(folded: Folded, steps: int) -> Folded:
    """Weights and bias on one grid, 2^-k, on which sums over `steps` steps of events are exact in float32."""
    snapped = snap(folded.weight, folded.bias.astype(np.float64) * steps, max_input=steps)
    bias = np.round(folded.bias.astype(np.float64) * 2.0**snapped.bits) * 2.0**-snapped.bits
    return Folded(snapped.weight, bias.astype(np.float32))

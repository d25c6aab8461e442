"""Dense layers that events enter: only the weights that an event meets are added up."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nsc_deploy.models.event_products import (
    gradient_of_matrix,
    has_events,
    is_recorded,
    is_small,
    product_of_events,
)


class Dense(nn.Linear):
    """W x + b in float32; in training the products may be in another number format (`products_in`).

    Where few inputs are active, only their rows of weights are added up, in both directions
    (`event_products`): the result and the gradients are those of `nn.Linear` within float32 rounding, and
    exactly those where sums are exact in any order, as they are of events over weights on a dyadic grid.
    The weights lie in memory with those of an input side by side.

    Args:
        inputs: in.
        outputs: out.
        bias: whether there is a b.
        widens: results are float32 in any case; else they stay in the format of the products, for neurons
            that take them so and add them up in float32.
    """

    products = torch.float32

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, widens: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.weight = nn.Parameter(self.weight.detach().t().contiguous().t())
        self.widens = widens

    def forward(self, signal: Tensor) -> Tensor:
        """Currents [..., out] of a signal [..., in]."""
        if self.products is not torch.float32:
            with torch.autocast(signal.device.type, self.products):
                result = super().forward(signal)
            return result.float() if self.widens else result
        rows = self._rows_of_events(signal)
        if rows is None:
            return super().forward(signal)
        given = rows, self.weight, self.bias
        learns = torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in given)
        product = _EventProduct.apply if learns else _product
        added: Tensor = product(*given)
        return added.view(*signal.shape[:-1], self.out_features)

    def _rows_of_events(self, signal: Tensor) -> Tensor | None:
        """The signal as [rows, in] where its events are added up; else None."""
        # The type first: a symbol of torch.fx has no truth value but fails this.
        if signal.dtype is not torch.float32 or is_recorded() or signal.dim() < 2:
            return None
        if is_small(signal, self.out_features):
            return None
        rows = signal.flatten(0, -2)
        return rows if has_events(rows, self.weight.t()) else None


def _product(signal: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The result [rows, out] of signal [rows, in], weight [out, in] and bias [out] or None."""
    return product_of_events(signal, weight.t(), bias)


class _EventProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, signal: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(signal, weight)
        return _product(signal, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        signal, weight = ctx.saved_tensors
        of_signal, of_weight, of_bias = ctx.needs_input_grad
        return (
            gradient @ weight if of_signal else None,
            gradient_of_matrix(signal, gradient).t() if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )


@contextmanager
def products_in(dtype: torch.dtype, system: nn.Module) -> Iterator[None]:
    """Compute the products of a system's dense layers in another number format, until the end."""
    layers = [one for one in system.modules() if isinstance(one, Dense)]
    for layer in layers:
        layer.products = dtype
    try:
        yield
    finally:
        for layer in layers:
            layer.products = torch.float32


def dense(inputs: int, outputs: int, *, gain: float = 1.0, widens: bool = True) -> Dense:
    """A dense layer with torch's usual initial weights, U(-1, 1) / sqrt(inputs), times a gain.

    Sparse events move a neuron little: where a hundredth of the inputs are active, a gain above 1 lets
    the neurons fire from the first epoch on, and so lets them learn. `widens` is that of `Dense`.
    """
    layer = Dense(inputs, outputs, widens=widens)
    bound = gain / math.sqrt(inputs)
    with torch.no_grad():
        # Drawn output by output, however the weights lie in memory: a seed stands for the same weights.
        layer.weight.copy_(torch.empty(outputs, inputs).uniform_(-bound, bound))
    return layer

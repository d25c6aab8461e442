"""The spike and its stand-in derivative, written once for every place that is not a fused scan."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class ArctanSpike(torch.autograd.Function):
    """Heaviside step of x with the arctangent surrogate, ds/dx = 1 / (1 + (pi x)^2) (alpha = 2).

    The same derivative as `snntorch.surrogate.atan(alpha=2)`. A spike needs x > 0; x = 0 gives none.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The spikes of x, 0 or 1 in the dtype of x."""
        ctx.save_for_backward(x)
        # Written straight into floats: several times faster than booleans that are converted.
        spikes = torch.empty_like(x)
        torch.gt(x, 0, out=spikes)
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor) -> Tensor:
        """The gradient of x."""
        (x,) = ctx.saved_tensors
        grad_x: Tensor = grad_spikes / (math.pi * x).square_().add_(1)
        return grad_x


def arctan_spike(x: Tensor) -> Tensor:
    """Spikes where x > 0, differentiable by the arctangent surrogate."""
    spikes: Tensor = ArctanSpike.apply(x)  # type: ignore[no-untyped-call]
    return spikes


def threshold_events(x: Tensor, threshold: Tensor | float) -> Tensor:
    """A memoryless spike, s = 1 where x - threshold > 0 (the NIR `Threshold`), differentiable in both.

    Args:
        x: any shape.
        threshold: a number, or a tensor that broadcasts against x.

    Returns:
        0 or 1 in the shape of x - threshold, with the arctangent surrogate's gradient.
    """
    return arctan_spike(x - threshold)

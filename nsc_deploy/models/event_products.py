"""Products of events with a matrix: the rows that events meet are added up, and no others."""

import torch
from torch import Tensor

from nsc_deploy.kernels import event_gradient, event_product, has_few_events

_FEW = 0.25
"""Share of values that are not zero up to which their rows are added up faster than all, on one thread."""
_OUTPUTS = 64
"""With fewer of them, listing the events takes longer than the product."""


def has_events(signal: Tensor, outputs: int) -> bool:
    """Whether the product of a signal [rows, in] with a matrix [in, outputs] is formed faster of its events.

    That it is for float32 on the CPU, with few events and not few outputs. A graph that is being recorded
    must hold the product for any signal.
    """
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if outputs < _OUTPUTS or traced or torch.compiler.is_compiling():
        return False
    if signal.device.type != "cpu" or signal.dtype is not torch.float32:
        return False
    return has_few_events(signal.detach().numpy(), _FEW / torch.get_num_threads())


def product_of_events(signal: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Signal [rows, in] @ matrix [in, out], plus bias [out]; without a gradient."""
    shape = len(signal), matrix.shape[1]
    result = signal.new_zeros(shape) if bias is None else bias.detach().repeat(shape[0], 1)
    event_product(signal.detach().contiguous().numpy(), matrix.detach().contiguous().numpy(), result.numpy())
    return result


def gradient_of_matrix(signal: Tensor, gradient: Tensor) -> Tensor:
    """Signal [rows, in], turned, @ gradient [rows, out]: that of the matrix [in, out]."""
    sums = signal.new_zeros(signal.shape[1], gradient.shape[1])
    event_gradient(signal.contiguous().numpy(), gradient.contiguous().numpy(), sums.numpy())
    return sums

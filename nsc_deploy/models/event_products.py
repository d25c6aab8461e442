"""Products of events with a matrix: the rows that events meet are added up, and no others."""

from typing import Any

import torch
from torch import Tensor

from nsc_deploy.kernels import event_gradient, event_product, has_few_events

_FEW = 0.25
"""Share of values that are not zero up to which their rows are added up faster than all, on one thread."""
_OUTPUTS = 64
"""With fewer of them, listing the events takes longer than the product."""
_SMALL = 2**20
"""Up to so many products of two numbers, a matrix is multiplied in less time than the loop takes to begin."""


def is_recorded() -> bool:
    """Whether a graph of what is computed is being recorded, which is to hold for any signal."""
    traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return traced or torch.compiler.is_compiling()


def has_events(signal: Tensor, matrix: Tensor) -> bool:
    """Whether the product of a signal [rows, in] with a matrix [in, out] is formed faster of its events.

    That it is for float32 on the CPU, with few events, and where the product is not small. What does not
    fit is for torch to refuse: the compiled loops check no index.
    """
    inputs, outputs = matrix.shape
    if is_recorded() or signal.dtype is not torch.float32 or matrix.dtype is not torch.float32:
        return False
    if is_small(signal, outputs) or signal.shape[1] != inputs or torch.is_autocast_enabled("cpu"):
        return False
    if not (signal.is_cpu and matrix.is_cpu):
        return False
    try:
        values, _ = _array(signal), _array(matrix)
    except RuntimeError:  # of no memory: inside a transform of torch.func, or fake
        return False
    return has_few_events(values, _FEW / torch.get_num_threads())


def is_small(signal: Tensor, outputs: int) -> bool:
    """Whether a signal [..., in] times a matrix [in, outputs] is formed faster by torch in any case."""
    return outputs < _OUTPUTS or signal.numel() * outputs <= _SMALL


def product_of_events(signal: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Signal [rows, in] @ matrix [in, out], plus bias [out]; without a gradient."""
    shape = len(signal), matrix.shape[1]
    result = signal.new_zeros(shape) if bias is None else bias.detach().repeat(shape[0], 1)
    event_product(_array(signal.contiguous()), _array(matrix.contiguous()), result.numpy())
    return result


def gradient_of_matrix(signal: Tensor, gradient: Tensor) -> Tensor:
    """Signal [rows, in], turned, @ gradient [rows, out]: that of the matrix [in, out]."""
    sums = signal.new_zeros(signal.shape[1], gradient.shape[1])
    event_gradient(_array(signal.contiguous()), _array(gradient.contiguous()), sums.numpy())
    return sums


def _array(values: Tensor) -> Any:
    """As numpy sees them; a sign that torch would only take when it reads them is taken."""
    return values.detach().resolve_neg().numpy()

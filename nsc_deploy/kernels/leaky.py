"""The leaky integrate-and-fire neuron over a whole sequence, forward and backward.

    v[t] = beta * v[t-1] + I[t]      product, then sum, each rounded; never a fused multiply-add
    s[t] = 1 if v[t] > threshold, else 0
    v[t] = 0 where s[t] = 1          reset in the same step

Arrays are C-contiguous with time first: [T, B, N] for T steps, B samples and N neurons; `beta` and
`threshold` are [N]. All real arrays share one dtype, float32 (the product's arithmetic) or float64.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.kernels.jit import kernel

Real = NDArray[np.floating[Any]]


@kernel
def leaky_forward(
    current: Real,
    beta: Real,
    threshold: Real,
    state: Real,
    spikes: NDArray[Any],
    potentials: Real | None = None,
) -> None:
    """Run a layer of neurons over T steps.

    Args:
        current: input current I [T, B, N].
        beta: decay of the potential in one step [N].
        threshold: a spike needs a potential above it [N].
        state: potentials v after the last step [B, N]; read as the start, overwritten with the end.
        spikes: filled with 0 and 1 [T, B, N], of any dtype.
        potentials: filled with v before the reset [T, B, N], or None to keep none.
    """
    silent = state.dtype.type(0)
    for t in range(current.shape[0]):
        for b in range(current.shape[1]):
            for n in range(current.shape[2]):
                v = beta[n] * state[b, n] + current[t, b, n]
                fired = v > threshold[n]
                if potentials is not None:
                    potentials[t, b, n] = v
                spikes[t, b, n] = fired
                state[b, n] = silent if fired else v


@kernel
def leaky_backward(
    grad_spikes: Real, potentials: Real, beta: Real, threshold: Real, carried: Real, grad_current: Real
) -> None:
    """The gradient of `leaky_forward` with the arctangent surrogate (alpha = 2), through the reset as well.

    With x = v - threshold before the reset, ds/dv is taken as 1 / (1 + (pi x)^2); the potential after the
    reset is v - s v, so its derivative is (1 - s) - v ds/dv.

    Args:
        grad_spikes: dL/ds [T, B, N].
        potentials: v before the reset, as `leaky_forward` records it [T, B, N].
        beta: [N].
        threshold: [N].
        carried: dL/dv of the potentials after the last step [B, N]; overwritten with dL/dv of the start.
        grad_current: filled with dL/dI [T, B, N].
    """
    zero = carried.dtype.type(0)
    one = carried.dtype.type(1)
    pi = carried.dtype.type(np.pi)
    for t in range(grad_spikes.shape[0] - 1, -1, -1):
        for b in range(grad_spikes.shape[1]):
            for n in range(grad_spikes.shape[2]):
                v = potentials[t, b, n]
                x = v - threshold[n]
                slope = one / (one + (pi * x) * (pi * x))
                kept = zero if x > zero else carried[b, n]
                total = kept + (grad_spikes[t, b, n] - carried[b, n] * v) * slope
                grad_current[t, b, n] = total
                carried[b, n] = beta[n] * total

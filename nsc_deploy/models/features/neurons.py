"""The neurons of SNN-SC and S-JSCC: integrate and fire (IF), and integrate and hybrid fire (IHF).

    m[t] = v[t-1] + I[t]                          charge
    S[t] = 1 where m[t] > threshold               fire
    v[t] = m[t] - threshold S[t]                  reset by subtraction ("soft")
    v[t] = (1 - S[t]) m[t]                        reset to zero ("hard"), for chips without the first

An IF neuron gives S, an IHF neuron S and M = v[t], the potential after the reset (SNN-SC, eq. 8). The
gradient of a spike is that of sigmoid(slope (m - threshold)), and it flows through the reset as well.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.network import Reset
from nsc_deploy.kernels import COMPILES
from nsc_deploy.models.features.fire_kernels import (
    fire_backward,
    fire_forward,
    weighted_backward,
    weighted_forward,
)
from nsc_deploy.models.frameworks import FrameworkName, integrator_loop


class IntegrateFire(nn.Module):
    """Neurons without a leak over a whole sequence, currents [T, B, *N] -> spikes [T, B, *N].

    On `snntorch` the loop over time is one function with a gradient of its own (`fused`), with the spikes of
    snnTorch's loop and its gradients within float32 rounding; `fused=False` runs snnTorch's loop itself. On
    `norse` the steps always run in Norse's `SNN`. The function is compiled (`fire_kernels`) for float32 on
    the CPU, where numba is installed; elsewhere it is a few passes of torch a step.

    Args:
        threshold: a spike needs a potential above it; above 0.
        slope: of the sigmoid whose derivative stands for that of a spike; above 0.
        reset: by subtraction or to zero.
        framework: "snntorch" or "norse".
        fused: whether snnTorch's loop is replaced by the function of this module.

    Raises:
        ConfigError: a parameter out of its range, or an unknown framework.
    """

    def __init__(
        self,
        threshold: float = 1.0,
        slope: float = 4.0,
        reset: Reset = Reset.SUBTRACT,
        framework: FrameworkName = "snntorch",
        *,
        fused: bool = True,
    ) -> None:
        super().__init__()
        for name, value in (("threshold", threshold), ("slope", slope)):
            if not (np.isfinite(value) and value > 0):
                raise ConfigError(f"is a finite number above 0, not {value}", where=name)
        # As float32 holds it, so that every comparison is with the same number.
        self.threshold = float(np.float32(threshold))
        self.slope = float(slope)
        self.reset = reset
        self.framework = framework
        self._loop = None if fused and framework == "snntorch" else integrator_loop(framework)

    def forward(self, current: Tensor) -> Tensor:
        """Spikes [T, B, *N], 0 or 1, of a current [T, B, *N], from rest."""
        return self.run(current)[0]

    def run(self, current: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes S and potentials after the reset M, both [T, B, *N]."""
        if self._loop is not None:
            return self._loop(current, self.threshold, self.slope, self.reset)
        spikes, potentials = _Fire.apply(current, self.threshold, self.slope, self.reset)  # type: ignore[no-untyped-call]
        return spikes, potentials

    def extra_repr(self) -> str:
        """The parameters, for `print(model)`."""
        return f"threshold={self.threshold}, slope={self.slope}, reset={self.reset}, {self.framework!r}"


class IntegrateHybridFire(IntegrateFire):
    """IHF neurons, whose outputs of all steps are added up with one weight each as they come.

    The sum is what the converter of SNN-SC forms of its 2 T inputs. It is formed while the neurons run, so
    that neither S nor M is held for more than a step: what is kept for the gradient are the potentials, as
    for any neuron.
    """

    def weighted(
        self, current: Tensor, spike_weights: Tensor | None, potential_weights: Tensor | None
    ) -> Tensor:
        """Sum over t of a[t] S[t] + b[t] M[t], [B, *N].

        Args:
            current: [T, B, *N].
            spike_weights: a [T], or None for none (IHF-m).
            potential_weights: b [T], or None for none (IF).
        """
        nothing = current.new_zeros(len(current))
        a = nothing if spike_weights is None else spike_weights
        b = nothing if potential_weights is None else potential_weights
        if self._loop is None:
            total: Tensor = _WeightedFire.apply(current, a, b, self.threshold, self.slope, self.reset)  # type: ignore[no-untyped-call]
            return total
        spikes, potentials = self.run(current)
        sums = current.new_zeros(current.shape[1:])
        for t in range(len(current)):
            sums = sums + a[t] * spikes[t] + b[t] * potentials[t]
        return sums


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, current: Tensor, threshold: float, slope: float, reset: Reset
    ) -> tuple[Tensor, Tensor]:
        charged, spikes, after = _room(current), _room(current), _room(current)
        if _compiled(current):
            fire_forward(
                _rows(current),
                np.float32(threshold),
                reset is Reset.SUBTRACT,
                _rows(charged),
                _rows(spikes),
                _rows(after),
            )
        else:
            state = torch.zeros_like(current[0])
            for t in range(len(current)):
                torch.add(state, current[t], out=charged[t])
                _fire(charged[t], threshold, reset, spikes[t], after[t])
                state = after[t]
        ctx.save_for_backward(charged)
        ctx.form = threshold, slope, reset
        ctx.set_materialize_grads(False)
        return spikes, after

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_spikes: Tensor | None, grad_after: Tensor | None
    ) -> tuple[Tensor, None, None, None]:
        (charged,) = ctx.saved_tensors
        threshold, slope, reset = ctx.form
        nothing = torch.zeros_like(charged[0]).expand_as(charged)
        grad_spikes = nothing if grad_spikes is None else grad_spikes
        grad_after = nothing if grad_after is None else grad_after
        if _compiled(charged):
            grad_current = _room(charged)
            fire_backward(
                _rows(grad_spikes, charged),
                _rows(grad_after, charged),
                _rows(charged),
                np.float32(threshold),
                np.float32(slope),
                reset is Reset.SUBTRACT,
                _rows(grad_current),
            )
            return grad_current, None, None, None
        back = _Backwards(charged, *ctx.form)
        for t in range(len(charged) - 1, -1, -1):
            torch.add(back.later, grad_after[t], out=back.carried)
            back.step(t, grad_spikes[t])
        return back.grad_current, None, None, None


class _WeightedFire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, current: Tensor, a: Tensor, b: Tensor, threshold: float, slope: float, reset: Reset
    ) -> Tensor:
        total = torch.zeros_like(current[0])
        ctx.form, ctx.compiled = (threshold, slope, reset), _compiled(current, a, b)
        if ctx.compiled:
            weighted_forward(
                _rows(current),
                np.float32(threshold),
                reset is Reset.SUBTRACT,
                _vector(a),
                _vector(b),
                _rows(total[None])[0],
            )
            ctx.save_for_backward(current, a, b)
            return total
        charged, state, spikes = _room(current), torch.zeros_like(total), torch.zeros_like(total)
        for t in range(len(current)):
            torch.add(state, current[t], out=charged[t])
            _fire(charged[t], threshold, reset, spikes, state)
            total.addcmul_(spikes, a[t]).addcmul_(state, b[t])
        ctx.save_for_backward(charged, a, b)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        run, a, b = ctx.saved_tensors  # the current, or in passes the potentials
        threshold, slope, reset = ctx.form
        grad_a, grad_b = (torch.empty(len(one), dtype=one.dtype, device=one.device) for one in (a, b))
        if ctx.compiled:
            grad_current = _room(run)
            weighted_backward(
                _rows(grad_total[None], run[:1])[0],
                _vector(a),
                _vector(b),
                _rows(run),
                np.float32(threshold),
                np.float32(slope),
                reset is Reset.SUBTRACT,
                _rows(grad_current),
                _vector(grad_a),
                _vector(grad_b),
            )
            return grad_current, grad_a, grad_b, None, None, None
        charged = run
        back = _Backwards(charged, *ctx.form)
        spikes, after, scaled = (torch.empty_like(charged[0]) for _ in range(3))
        grad_total = scaled.clone().copy_(grad_total)
        for t in range(len(charged) - 1, -1, -1):
            _fire(charged[t], threshold, reset, spikes, after)
            grad_a[t], grad_b[t] = _dot(grad_total, spikes), _dot(grad_total, after)
            torch.addcmul(back.later, grad_total, b[t], out=back.carried)
            back.step(t, torch.mul(grad_total, a[t], out=scaled))
        return back.grad_current, grad_a, grad_b, None, None, None


def _compiled(*tensors: Tensor) -> bool:
    """Whether the compiled loops take these: float32 on the CPU, where numba is installed."""
    return COMPILES and all(one.device.type == "cpu" and one.dtype is torch.float32 for one in tensors)


def _rows(values: Tensor, like: Tensor | None = None) -> Any:
    """Values [T, B, *N] as a numpy view [T, n] in the order in which they lie in memory.

    A view [1, n] where all steps are one. What lies otherwise than `like`, or with gaps, is copied first.
    """
    values = values.detach()
    wanted = torch.empty_like(values[0] if like is None else like[0]).stride()
    size, between = values[0].numel(), values.stride(0)
    if values[0].stride() != wanted or (between not in {0, size} and len(values) > 1):
        values = values.new_empty_strided(values.shape, (size, *wanted)).copy_(values)
        between = size
    return values.as_strided((1 if between == 0 else len(values), size), (size, 1)).numpy()


def _vector(values: Tensor) -> Any:
    """Weights of steps [T] as a numpy array, a view where they lie together."""
    return values.detach().contiguous().numpy()


def _fire(charged: Tensor, threshold: float, reset: Reset, spikes: Tensor, after: Tensor) -> None:
    """Spikes and potentials after the reset, of charged potentials; the last two are filled."""
    torch.gt(charged, threshold, out=spikes)
    if reset is Reset.SUBTRACT:
        torch.add(charged, spikes, alpha=-threshold, out=after)
    else:
        torch.addcmul(charged, charged, spikes, value=-1, out=after)


class _Backwards:
    """The gradient step by step, from the last to the first, without a new tensor in a step.

    Attributes:
        grad_current: dL/dI [T, B, *N], filled step by step.
        later: dL/dm of the step done last, 0 at first [B, *N].
        carried: dL/dv of the step to be done, filled before `step` [B, *N].
    """

    def __init__(self, charged: Tensor, threshold: float, slope: float, reset: Reset) -> None:
        self._charged, self._threshold, self._slope, self._reset = charged, threshold, slope, reset
        self.grad_current = _room(charged)
        self.later = self.carried = torch.zeros_like(charged[0])
        self._derivative, self._through = torch.empty_like(charged[0]), torch.empty_like(charged[0])

    def step(self, t: int, grad_spikes: Tensor) -> None:
        """dL/dm of a step, of dL/dS and `carried`: v is m - threshold S, or (1 - S) m."""
        charged, threshold = self._charged[t], self._threshold
        derivative = sigmoid_derivative(charged - threshold, self._slope, out=self._derivative)
        if self._reset is Reset.SUBTRACT:
            torch.add(grad_spikes, self.carried, alpha=-threshold, out=self._through)
        else:
            torch.addcmul(grad_spikes, self.carried, charged, value=-1, out=self._through)
            self.carried.masked_fill_(charged > threshold, 0)
        torch.addcmul(self.carried, self._through, derivative, out=self.grad_current[t])
        self.later = self.grad_current[t]


def _room(current: Tensor) -> Tensor:
    """Uninitialised, in the shape of a current [T, B, *N], each step lying in memory as a step of it does."""
    one = current[0]
    strides = torch.empty_like(one).stride()
    return current.new_empty_strided(current.shape, (one.numel(), *strides))


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """The sum of the products of two tensors that lie alike in memory, each without a gap."""
    return torch.dot(*(each.as_strided((each.numel(),), (1,)) for each in (one, other)))


def sigmoid_derivative(x: Tensor, slope: float, out: Tensor | None = None) -> Tensor:
    """Slope p (1 - p) with p = sigmoid(slope x), finite for every x; x is overwritten."""
    p = x.mul_(slope).sigmoid_()
    return torch.addcmul(p, p, p, value=-1, out=out).mul_(slope)


class SigmoidSpike(torch.autograd.Function):
    """Heaviside step of x with the derivative of sigmoid(slope x). A spike needs x > 0.

    snnTorch's own `surrogate.sigmoid` is the same but for potentials far below the threshold, where its
    exponential overflows and the gradient becomes NaN.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        """The spikes of x, 0 or 1 in the dtype of x."""
        ctx.save_for_backward(x)
        ctx.slope = slope
        return (x > 0).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor, None]:
        """The gradient of x."""
        (x,) = ctx.saved_tensors
        return grad_spikes * sigmoid_derivative(x.clone(), ctx.slope), None

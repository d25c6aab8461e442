"""The spiking neuron as a layer over whole sequences, on snnTorch or on Norse."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nsc_deploy.errors import ConfigError
from nsc_deploy.kernels import (
    leaky_backward,
    leaky_backward_bfloat16,
    leaky_forward,
    leaky_forward_bfloat16,
)
from nsc_deploy.models.frameworks import FrameworkName, framework_loop

SMALLEST_BETA = 2.0**-29
"""Below it (but for 0) a decay is lost in 1 - beta, the form in which NIR and Norse hold it."""


class Leaky(nn.Module):
    """A layer of leaky integrate-and-fire neurons over a whole sequence, [T, B, *N] -> spikes [T, B, *N].

        v[t] = beta * v[t-1] + I[t];  s[t] = 1 if v[t] - threshold > 0;  v[t] = 0 where s[t]

    in float32, product then sum. The gradient is that of snnTorch's `Leaky(reset_mechanism="zero",
    reset_delay=False)` with `surrogate.atan(alpha=2)`, through the reset too. Inputs must be finite.

    On `snntorch` the time loop is one compiled scan (`fused`), with the spikes of snnTorch's own loop and its
    gradients within float32 rounding; `fused=False`, and any tensor that is not on the CPU, runs snnTorch's
    loop itself. On `norse` the steps always run in Norse's `SNN`.

    A current may also come in bfloat16, as products in training do: potentials are float32 all the same, and
    spikes and gradients are those of the current converted to float32, themselves in bfloat16.

    Args:
        beta: decay of the potential in one step, 0 to 1; a number or a tensor that broadcasts to `shape`.
        threshold: at least 0; a number or a tensor that broadcasts to `shape`.
        shape: neurons of the layer, e.g. 128 or (16, 30).
        framework: "snntorch" or "norse".
        fused: whether snnTorch's loop is replaced by the compiled scan.

    Raises:
        ConfigError: a parameter out of its range, or an unknown framework.
    """

    beta: Tensor
    threshold: Tensor

    def __init__(
        self,
        beta: float | Tensor,
        threshold: float | Tensor,
        shape: int | tuple[int, ...],
        framework: FrameworkName = "snntorch",
        *,
        fused: bool = True,
    ) -> None:
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.framework = framework
        self.fused = fused and framework == "snntorch"
        self.register_buffer("beta", _neuron_parameter("beta", beta, self.shape))
        self.register_buffer("threshold", _neuron_parameter("threshold", threshold, self.shape))
        self._refuse_out_of_range()
        self._loop = framework_loop(framework)

    def forward(self, current: Tensor) -> Tensor:
        """Spikes [T, B, *N] (0 or 1) of an input current [T, B, *N], from rest."""
        return self.run(current)[0]

    def run(self, current: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run on from a state, for streams that come in pieces.

        Args:
            current: [T, B, *N], in the layer's dtype or in bfloat16.
            state: potentials that an earlier run ended with [B, *N]; rest (zero) if None.

        Returns:
            Spikes [T, B, *N] in the dtype of the current, and the potentials after the last step [B, *N].

        Raises:
            ValueError: the shape or dtype of an argument is not the layer's.
        """
        self._refuse_misfit(current, state)
        if not self.fused or current.device.type != "cpu":
            start = self.beta.new_zeros(current.shape[1:]) if state is None else state
            spikes, last = self._loop(current.to(self.beta.dtype), self.beta, self.threshold, start)
            return spikes.to(current.dtype), last
        learns = current.requires_grad or (state is not None and state.requires_grad)
        if learns and torch.is_grad_enabled():
            spikes, last = _LeakyScan.apply(current, self.beta, self.threshold, state)  # type: ignore[no-untyped-call]
            return spikes, last
        return _scan(current, self.beta, self.threshold, state, None)

    @torch.no_grad()
    def potentials(self, current: Tensor) -> Tensor:
        """What is compared with the thresholds in each step, [T, B, *N] before the reset, from rest."""
        self._refuse_misfit(current, None)
        found = torch.empty(current.shape, dtype=self.beta.dtype)
        _scan(current, self.beta, self.threshold, None, found)
        return found

    def extra_repr(self) -> str:
        """The shape and the framework, for `print(model)`."""
        return f"shape={self.shape}, framework={self.framework!r}, fused={self.fused}"

    def _refuse_out_of_range(self) -> None:
        beta, threshold = self.beta, self.threshold
        if not bool(((beta == 0) | ((beta >= SMALLEST_BETA) & (beta <= 1))).all()):
            raise ConfigError("a decay is 0 or lies from 2^-29 to 1", where="beta")
        if not bool(((threshold >= 0) & threshold.isfinite()).all()):
            raise ConfigError("a threshold is finite and not negative", where="threshold")

    def _refuse_misfit(self, current: Tensor, state: Tensor | None) -> None:
        if current.shape[2:] != self.shape or current.dim() < 3:
            raise ValueError(
                f"the current is {tuple(current.shape)}, not [T, B, {', '.join(map(str, self.shape))}]"
            )
        if state is not None and state.shape != current.shape[1:]:
            raise ValueError(f"the state is {tuple(state.shape)}, not {tuple(current.shape[1:])}")
        own = self.beta.dtype
        narrow = current.dtype is torch.bfloat16 and own is torch.float32
        for given in (own if narrow else current.dtype, own if state is None else state.dtype):
            if given != own:
                raise ValueError(f"the layer computes in {own}, not in {given}")


class _LeakyScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, current: Tensor, beta: Tensor, threshold: Tensor, state: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        potentials = torch.empty(current.shape, dtype=beta.dtype)
        ctx.save_for_backward(potentials, beta, threshold)
        return _scan(current, beta, threshold, state, potentials)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_spikes: Tensor, grad_last: Tensor
    ) -> tuple[Tensor, None, None, Tensor | None]:
        potentials, beta, threshold = ctx.saved_tensors
        carried = grad_last.clone(memory_format=torch.contiguous_format)
        grad_current = torch.empty_like(grad_spikes, memory_format=torch.contiguous_format)
        backward = leaky_backward_bfloat16 if grad_spikes.dtype is torch.bfloat16 else leaky_backward
        backward(
            _flat(grad_spikes.contiguous()),
            _flat(potentials),
            _vector(beta),
            _vector(threshold),
            _flat(carried[None])[0],
            _flat(grad_current),
        )
        return grad_current, None, None, carried if ctx.needs_input_grad[3] else None


def _scan(
    current: Tensor, beta: Tensor, threshold: Tensor, state: Tensor | None, potentials: Tensor | None
) -> tuple[Tensor, Tensor]:
    current = current.detach().contiguous()
    spikes = torch.empty_like(current)
    last = beta.new_zeros(current.shape[1:]) if state is None else _copy(state)
    forward = leaky_forward_bfloat16 if current.dtype is torch.bfloat16 else leaky_forward
    forward(
        _flat(current),
        _vector(beta),
        _vector(threshold),
        _flat(last[None])[0],
        _flat(spikes),
        None if potentials is None else _flat(potentials),
    )
    return spikes, last


def _copy(state: Tensor) -> Tensor:
    return state.detach().clone(memory_format=torch.contiguous_format)


# On one sample the kernel takes 2 us and a view of torch's one: numpy's cost a third of them.
def _flat(values: Tensor) -> Any:
    """A contiguous [T, B, *N] tensor as a numpy view [T, B, prod(N)]; bfloat16 as its bits."""
    array = (values.view(torch.uint16) if values.dtype is torch.bfloat16 else values).numpy()
    return array if array.ndim == 3 else array.reshape(*array.shape[:2], math.prod(array.shape[2:]))


def _vector(values: Tensor) -> Any:
    """A parameter of the neurons as a numpy view [prod(N)]."""
    return values.numpy().ravel()


def _neuron_parameter(name: str, value: float | Tensor, shape: tuple[int, ...]) -> Tensor:
    given = torch.as_tensor(value, dtype=torch.float32)
    try:
        return given.broadcast_to(shape).clone(memory_format=torch.contiguous_format)
    except RuntimeError as error:
        raise ConfigError(
            f"{tuple(given.shape)} does not broadcast to the neurons {shape}", where=name
        ) from error


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

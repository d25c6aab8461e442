"""The neurons in Norse: Norse's sequence module, state, parameters and reset around one update rule.

Norse's own `lif_box_feed_forward_step` computes v + dt/tau (i - v). In exact arithmetic, with
dt/tau = 1 - beta and i = I / (1 - beta), that is beta v + I; in float32 it rounds differently, and a
potential within rounding of the threshold may spike in one and not in the other. `leaky_step` therefore
multiplies first and adds afterwards, as snnTorch does: the same weights give the same spikes in both.
Norse has no arctangent among its surrogates, so the step brings its own; where it spikes is Norse's
`heaviside` (above zero, not at zero).
"""

from typing import NamedTuple

from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters
from norse.torch.functional.reset import ResetMethod, reset_subtract, reset_value
from norse.torch.module.snn import SNN
from torch import Tensor

from nsc_deploy.graphs.network import Reset
from nsc_deploy.models.features.neurons import SigmoidSpike
from nsc_deploy.models.neurons import arctan_spike

STEP = 1.0
"""Norse's dt, counted in steps: the decay of one step is 1 - dt * tau_mem_inv."""


def leaky_step(
    current: Tensor, state: LIFBoxFeedForwardState, p: LIFBoxParameters, dt: float
) -> tuple[Tensor, LIFBoxFeedForwardState]:
    """One step, v = (1 - dt / tau) v + I, as an activation of Norse's `SNN` and `SNNCell`.

    Args:
        current: I [B, *N].
        state: v after the last step [B, *N].
        p: Norse's parameters; `tau_mem_inv` in float64, so that the decay comes out exact.
        dt: in the unit of tau.

    Returns:
        Spikes [B, *N] and the state after the reset.
    """
    decay = (1 - dt * p.tau_mem_inv).to(current.dtype)
    v = decay * state.v + current
    spikes = arctan_spike(v - p.v_th)
    return spikes, LIFBoxFeedForwardState(v=p.reset_method(spikes, v, p.v_reset, p.v_th))


class NorseLoop:
    """Steps `leaky_step` in Norse's `SNN`."""

    def __init__(self) -> None:
        self.network = SNN(leaky_step, state_fallback=_at_rest, p=LIFBoxParameters(), dt=STEP)

    def __call__(
        self, current: Tensor, beta: Tensor, threshold: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run T steps; arguments and results as in `FrameworkLoop`."""
        self.network.p = parameters(beta, threshold)
        spikes, last = self.network(current, LIFBoxFeedForwardState(v=state))
        return spikes, last.v


def parameters(beta: Tensor, threshold: Tensor) -> LIFBoxParameters:
    """Norse's parameters for a decay `beta` a step and a reset to zero (time counted in steps).

    1 - beta is exact in float64 for a float32 beta from 2^-29 to 1 and for 0, and so is Norse's decay.
    """
    zero = beta.new_zeros(())
    return LIFBoxParameters(
        tau_mem_inv=(1 - beta.double()) / STEP, v_leak=zero, v_th=threshold, v_reset=zero, alpha=2.0
    )


def _at_rest(current: Tensor) -> LIFBoxFeedForwardState:
    return LIFBoxFeedForwardState(v=current.new_zeros(current.shape[1:]))


class IntegratorParameters(NamedTuple):
    """Of neurons without a leak, which Norse's `LIFBoxParameters` cannot state: tau would be infinite."""

    v_th: Tensor
    v_reset: Tensor
    reset_method: ResetMethod
    slope: float


def integrator_step(
    current: Tensor, state: LIFBoxFeedForwardState, p: IntegratorParameters, dt: float
) -> tuple[Tensor, LIFBoxFeedForwardState]:
    """One step, v = v + I, as an activation of Norse's `SNN`; its reset is Norse's own function."""
    del dt
    charged = state.v + current
    spikes: Tensor = SigmoidSpike.apply(charged - p.v_th, p.slope)  # type: ignore[no-untyped-call]
    return spikes, LIFBoxFeedForwardState(v=p.reset_method(spikes, charged, p.v_reset, p.v_th))


class NorseIntegrator:
    """Steps `integrator_step` in Norse's `SNN`."""

    def __call__(
        self, current: Tensor, threshold: float, slope: float, reset: Reset
    ) -> tuple[Tensor, Tensor]:
        """Run T steps; arguments and results as in `IntegratorLoop`."""
        method = reset_subtract if reset is Reset.SUBTRACT else reset_value
        p = IntegratorParameters(current.new_tensor(threshold), current.new_zeros(()), method, slope)
        network = SNN(integrator_step, state_fallback=_at_rest, p=p, dt=STEP, record_states=True)
        spikes, states = network(current)
        return spikes, states.v

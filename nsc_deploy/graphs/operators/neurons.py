"""Nodes with a membrane (LIF, IF, CubaLIF, LI, CubaLI, I), Threshold, and the equations of all primitives.

Every update equation of the reference simulator, in the order in which it is computed.

Time is cut into steps of dt seconds; x[t] is the sum of a node's inputs at step t and every state is 0
before the first step. Each coefficient is computed in float64 from the float64 parameters and then
rounded once to the arithmetic of the simulation (float32 unless asked otherwise); each product and
each sum is rounded once, nothing is fused. The differential equations of NIR are stepped forward with
Euler's method, as the frameworks do that write NIR files.

```text
LIF      v = (1 - dt/tau) v + i                with i = (r dt/tau) x[t] + (dt/tau) v_leak
         s[t] = 1 if v > v_threshold
         v = v_reset where s[t]                (reset "zero", in the same step)
         v = v - v_threshold where s[t]        (reset "subtract", in the same step)
IF       v = v + (r dt) x[t], then s and the reset as for LIF
CubaLIF  u = (1 - dt/tau_syn) u + (w_in dt/tau_syn) x[t]
         v = (1 - dt/tau_mem) v + i            with i = (r dt/tau_mem) u + (dt/tau_mem) v_leak
         then s and the reset as for LIF
LI       v as for LIF, without spikes; y[t] = v
CubaLI   u and v as for CubaLIF, without spikes; y[t] = v
I        v = v + (r dt) x[t]; y[t] = v
Threshold  s[t] = 1 if x[t] > threshold
Delay    y[t] = x[t - delay/dt], 0 before that; delay/dt must be a whole number, each element has its own
Linear   y = W x                               Affine  y = (W x) + b
Conv1d, Conv2d  cross-correlation as in torch (stride, padding, dilation, groups), then + b
Scale    y = scale * x
SumPool2d  sum over the window, zeros around   AvgPool2d  the same, over the whole window's size
Flatten  x in another shape, counted without the batch
Output   x
```

A spike needs a potential strictly above the threshold. An edge in `Network.back_edges` delivers the
value of the step before, and 0 in the first step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.network import FLOAT_ROUNDING, Network, Node, Reset
from nsc_deploy.graphs.operators import Builder, Operator, Real, Setting
from nsc_deploy.kernels import leaky_forward

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Coefficients:
    """A neuron as `equations` states it; every array is float32 of the neuron's shape.

    Attributes:
        decay: of the potential in one step.
        gain: factor of what arrives (for CubaLIF and CubaLI: of the synaptic current).
        offset: added in every step.
        threshold: a spike needs a potential above it; None for an integrator.
        floor: potential after a spike with reset to zero; None for an integrator.
        subtract: whether a spike takes the threshold off instead.
        synapse: decay and gain of the synaptic current, or None without one.
    """

    decay: Float32
    gain: Float32
    offset: Float32
    threshold: Float32 | None
    floor: Float32 | None
    subtract: bool
    synapse: tuple[Float32, Float32] | None

    @property
    def memoryless(self) -> bool:
        """Whether it compares what arrives in a step with its threshold, and carries nothing to the next."""
        return self.threshold is not None and self.synapse is None and not self.decay.any()


def coefficients(node: Node, network: Network) -> Coefficients:
    """The coefficients of a LIF, IF, CubaLIF, LI, CubaLI, I or Threshold node.

    Raises:
        GraphError: the parameters and the time step do not fit together.
    """
    setting = Setting(network.dt, network.reset, np.dtype(np.float32), 1)
    operator: Any = NEURONS[node.primitive](node, setting)
    if isinstance(operator, Threshold):
        nothing = np.zeros(node.output_shape, np.float32)
        return Coefficients(nothing, nothing + 1, nothing, operator.threshold, nothing, False, None)
    synapse = (operator.synapse.decay, operator.synapse.gain) if isinstance(operator, Synapse) else None
    membrane: Membrane = operator.membrane if isinstance(operator, Synapse) else operator
    spikes = isinstance(membrane, Neuron)
    return Coefficients(
        decay=membrane.decay,
        gain=membrane.gain,
        offset=membrane.offset,
        threshold=membrane.threshold if isinstance(membrane, Neuron) else None,
        floor=membrane.floor if isinstance(membrane, Neuron) else None,
        subtract=spikes and membrane.subtract if isinstance(membrane, Neuron) else False,
        synapse=synapse,
    )


class Threshold:
    """s = 1 if x > threshold."""

    def __init__(self, node: Node, setting: Setting) -> None:
        self.threshold = node.parameters.threshold.astype(setting.dtype)

    def run(self, values: Real) -> Real:
        """[T, N, *shape] to 0 and 1 of the same shape."""
        spikes: Real = np.greater(values, self.threshold).astype(values.dtype)
        return spikes


class Membrane:
    """A leaky or perfect integrator: v = decay v + i, i = gain x + offset.

    Attributes:
        potentials: v [T, N, *shape] of the last `run`, before the reset; kept where `keep_potentials`.
    """

    def __init__(self, node: Node, setting: Setting, decay: Any, gain: Any, offset: Any) -> None:
        self._shape = node.output_shape
        self.decay = _rounded(decay, node, setting)
        self.gain = _rounded(gain, node, setting)
        self.offset = _rounded(offset, node, setting)
        self._state = np.zeros((setting.samples, *self._shape), setting.dtype)
        self.keep_potentials = False
        self.potentials: Real | None = None

    @property
    def finite(self) -> bool:
        """Whether what is kept from step to step is a number: a threshold never meets NaN."""
        return bool(np.isfinite(self._state).all())

    def run(self, values: Real) -> Real:
        """[T, N, *shape] to the potentials of the same shape."""
        current = self._current(values)
        for t in range(len(current)):
            self._state = self.decay * self._state + current[t]
            current[t] = self._state
        self.potentials = current if self.keep_potentials else None
        return current

    def _current(self, values: Real) -> Real:
        """A fresh array i = gain x + offset."""
        current: Real = np.multiply(self.gain, values, order="C")
        if self.offset.any():
            current += self.offset
        return current


class Neuron(Membrane):
    """A membrane that spikes and resets."""

    def __init__(self, node: Node, setting: Setting, decay: Any, gain: Any, offset: Any) -> None:
        super().__init__(node, setting, decay, gain, offset)
        self.threshold = _rounded(node.parameters.v_threshold, node, setting)
        self.floor = _rounded(node.parameters.v_reset, node, setting)
        self.subtract = setting.reset is Reset.SUBTRACT
        if self.subtract and self.floor.any():
            raise GraphError(
                "has a reset potential v_reset and a reset by subtraction, which exclude each other",
                where=f"node '{node.name}'",
            )

    def run(self, values: Real) -> Real:
        """[T, N, *shape] to spikes, 0 and 1, of the same shape."""
        current = self._current(values)
        if self.subtract or self.floor.any():
            return self._loop(current)
        return self._scan(current)

    def _scan(self, current: Real) -> Real:
        """The compiled loop, for a reset to 0."""
        steps, samples = current.shape[:2]
        flat = current.reshape(steps, samples, -1)
        spikes = np.empty_like(flat)
        potentials = np.empty_like(flat) if self.keep_potentials else None
        state = self._state.reshape(samples, -1)
        leaky_forward(flat, self.decay.reshape(-1), self.threshold.reshape(-1), state, spikes, potentials)
        self._state = state.reshape(self._state.shape)
        self.potentials = None if potentials is None else potentials.reshape(current.shape)
        return spikes.reshape(current.shape)

    def _loop(self, current: Real) -> Real:
        """The same step by step in numpy, for every reset."""
        potentials = np.empty_like(current) if self.keep_potentials else None
        for t in range(len(current)):
            potential = self.decay * self._state + current[t]
            if potentials is not None:
                potentials[t] = potential
            fired = potential > self.threshold
            after = potential - self.threshold if self.subtract else self.floor
            self._state = np.where(fired, after, potential)
            current[t] = fired
        self.potentials = potentials
        return current


class Synapse:
    """A current-based neuron: a leaky synaptic current in front of a membrane.

    u = decay u + gain x, and u is the membrane's input in the same step.
    """

    def __init__(self, membrane: Membrane, node: Node, setting: Setting, decay: Any, gain: Any) -> None:
        self.synapse = Membrane(node, setting, decay, gain, np.zeros(node.output_shape))
        self.membrane = membrane

    @property
    def finite(self) -> bool:
        """Whether current and potential are numbers."""
        return self.synapse.finite and self.membrane.finite

    def run(self, values: Real) -> Real:
        """[T, N, *shape] to the membrane's output of the same shape."""
        return self.membrane.run(self.synapse.run(values))


def lif(node: Node, setting: Setting) -> Operator:
    """Leaky integrate-and-fire."""
    return Neuron(node, setting, *_leaky(node, setting, node.parameters.tau))


def li(node: Node, setting: Setting) -> Operator:
    """Leaky integrator."""
    return Membrane(node, setting, *_leaky(node, setting, node.parameters.tau))


def integrate_and_fire(node: Node, setting: Setting) -> Operator:
    """Integrate-and-fire without a leak."""
    return Neuron(node, setting, *_perfect(node, setting))


def integrator(node: Node, setting: Setting) -> Operator:
    """Perfect integrator."""
    return Membrane(node, setting, *_perfect(node, setting))


def cuba_lif(node: Node, setting: Setting) -> Operator:
    """Current-based leaky integrate-and-fire."""
    return _synapse(Neuron(node, setting, *_leaky(node, setting, node.parameters.tau_mem)), node, setting)


def cuba_li(node: Node, setting: Setting) -> Operator:
    """Current-based leaky integrator."""
    return _synapse(Membrane(node, setting, *_leaky(node, setting, node.parameters.tau_mem)), node, setting)


NEURONS: Mapping[str, Builder] = {
    "Threshold": Threshold,
    "LIF": lif,
    "IF": integrate_and_fire,
    "CubaLIF": cuba_lif,
    "LI": li,
    "CubaLI": cuba_li,
    "I": integrator,
}
"""What makes the operator of a primitive with a membrane or a threshold."""


def _synapse(membrane: Membrane, node: Node, setting: Setting) -> Synapse:
    share = _share(node, setting, node.parameters.tau_syn)
    return Synapse(membrane, node, setting, 1 - share, node.parameters.w_in * share)


def _leaky(node: Node, setting: Setting, tau: NDArray[Any]) -> tuple[Any, Any, Any]:
    """Decay, gain and offset in float64."""
    share = _share(node, setting, tau)
    parameters = node.parameters
    return 1 - share, parameters.r.astype(np.float64) * share, parameters.v_leak.astype(np.float64) * share


def _perfect(node: Node, setting: Setting) -> tuple[Any, Any, Any]:
    ones = np.ones(node.output_shape)
    return ones, node.parameters.r.astype(np.float64) * _step(node, setting), 0 * ones


def _share(node: Node, setting: Setting, tau: NDArray[Any]) -> Any:
    """Dt / tau, at most 1: past it Euler's method turns the sign of the potential at each step."""
    share = _step(node, setting) / tau.astype(np.float64)
    if (share > 1 + FLOAT_ROUNDING).any():
        raise GraphError(
            f"has a time constant of {tau.min():g} s, shorter than the time step of {setting.dt:g} s",
            where=f"node '{node.name}'",
            hint="Name a shorter time step (--dt), or check the units of the file: NIR counts in seconds.",
        )
    return np.minimum(share, 1.0)


def _step(node: Node, setting: Setting) -> float:
    if setting.dt is None:
        raise GraphError("needs a time step", where=f"node '{node.name}'", hint="Name it: --dt 0.001")
    return setting.dt


def _rounded(values: Any, node: Node, setting: Setting) -> Real:
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(np.broadcast_to(values, node.output_shape), dtype=setting.dtype)
    if not np.isfinite(rounded).all():
        raise GraphError(
            f"has a coefficient beyond the largest number of {setting.dtype} (a resistance or a weight times "
            "the share of a step)",
            where=f"node '{node.name}'",
            hint="Scale its parameters and its threshold down together.",
        )
    return rounded

"""The numbers a neuron computes with, as the reference simulator rounds them, for building it elsewhere.

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

from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.operators import Builder, Operator, Real, Setting, linear, neurons
from nsc_deploy.graphs.operators.neurons import Membrane, Neuron, Synapse, Threshold

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


def coefficients(node: Node, network: Network) -> Coefficients:
    """The coefficients of a LIF, IF, CubaLIF, LI, CubaLI, I or Threshold node.

    Raises:
        GraphError: the parameters and the time step do not fit together.
    """
    setting = Setting(network.dt, network.reset, np.dtype(np.float32), 1)
    operator: Any = build_operator(node, setting)
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


class Pass:
    """Output: what comes in."""

    def __init__(self, node: Node, setting: Setting) -> None:
        pass

    def run(self, values: Real) -> Real:
        """[T, N, *shape], unchanged."""
        return values


BUILDERS: Mapping[str, Builder] = {
    "Input": Pass,
    "Output": Pass,
    "Linear": linear.Dense,
    "Affine": linear.Dense,
    "Scale": linear.Scale,
    "Conv1d": linear.Convolution,
    "Conv2d": linear.Convolution,
    "SumPool2d": linear.Pool,
    "AvgPool2d": linear.Pool,
    "Flatten": linear.Reshape,
    "Delay": linear.Delay,
    "Threshold": neurons.Threshold,
    "LIF": neurons.lif,
    "IF": neurons.integrate_and_fire,
    "CubaLIF": neurons.cuba_lif,
    "LI": neurons.li,
    "CubaLI": neurons.cuba_li,
    "I": neurons.integrator,
}


def build_operator(node: Node, setting: Setting) -> Operator:
    """The operator of a node."""
    return BUILDERS[node.primitive](node, setting)

"""The numbers a neuron computes with, as the reference simulator rounds them, for building it elsewhere."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.operators.base import Setting
from nsc_deploy.graphs.operators.neurons import Membrane, Neuron, Synapse, Threshold
from nsc_deploy.graphs.operators.registry import build_operator

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

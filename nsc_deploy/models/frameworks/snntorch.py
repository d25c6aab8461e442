"""The neurons in snnTorch: its own `Leaky`, called step by step."""

from functools import partial

import torch
from snntorch import Leaky, surrogate
from torch import Tensor

from nsc_deploy.graphs.network import Reset
from nsc_deploy.models.features.neurons import SigmoidSpike


class SnntorchLoop:
    """Steps a `snntorch.Leaky(reset_mechanism="zero", reset_delay=False)` with the arctangent surrogate."""

    def __init__(self) -> None:
        self.neuron = Leaky(
            beta=0.0,
            threshold=0.0,
            spike_grad=surrogate.atan(alpha=2),
            reset_mechanism="zero",
            reset_delay=False,
        )

    def __reduce__(self) -> tuple[type["SnntorchLoop"], tuple[()]]:
        # Nothing is kept between calls, and snnTorch's surrogate is a closure that cannot be pickled.
        return SnntorchLoop, ()

    def __call__(
        self, current: Tensor, beta: Tensor, threshold: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run T steps; arguments and results as in `FrameworkLoop`."""
        self.neuron.beta, self.neuron.threshold = beta, threshold
        spikes = []
        for step in current:
            spike, state = self.neuron(step, state)
            spikes.append(spike)
        # The neuron keeps its last potential and with it the whole autograd graph; let both go.
        self.neuron.mem = torch.zeros(0)
        return torch.stack(spikes), state


class SnntorchIntegrator:
    """Steps a `snntorch.Leaky(beta=1, reset_mechanism="none")` and resets behind it.

    With `reset_mechanism="subtract", reset_delay=False` snnTorch 1.0 takes the threshold off before it
    compares wherever the last potential was still above it: such a neuron misses spikes that equation (2) of
    the papers has. With "none" it charges and fires as they say, and the reset is a line of ours.
    """

    def __init__(self) -> None:
        self.neuron = Leaky(1.0, 0.0, spike_grad=partial(_spike, slope=1.0), reset_mechanism="none")

    def __call__(
        self, current: Tensor, threshold: float, slope: float, reset: Reset
    ) -> tuple[Tensor, Tensor]:
        """Run T steps; arguments and results as in `IntegratorLoop`."""
        self.neuron.threshold = torch.tensor(threshold)
        self.neuron.spike_grad = partial(_spike, slope=slope)
        state, spikes, potentials = torch.zeros_like(current[0]), [], []
        for step in current:
            spike, charged = self.neuron(step, state)
            state = charged - spike * (threshold if reset is Reset.SUBTRACT else charged)
            spikes.append(spike)
            potentials.append(state)
        self.neuron.mem = torch.zeros(0)
        return torch.stack(spikes), torch.stack(potentials)


def _spike(x: Tensor, slope: float) -> Tensor:
    spikes: Tensor = SigmoidSpike.apply(x, slope)  # type: ignore[no-untyped-call]
    return spikes

"""The neuron in snnTorch: its own `Leaky`, called step by step."""

import torch
from snntorch import Leaky, surrogate
from torch import Tensor


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

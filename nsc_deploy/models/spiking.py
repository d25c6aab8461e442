"""Dense layers of spiking neurons: the body of every spiking transmitter and receiver.

Their inputs are events, and their weights can be put on a dyadic grid, so that sums are exact in any order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nsc_deploy.channels.modulation import straight_through
from nsc_deploy.config.first_spikes import inhibition
from nsc_deploy.deployment import Readout
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.dyadic import snap
from nsc_deploy.graphs.network import Signal
from nsc_deploy.models.dense import dense
from nsc_deploy.models.frameworks import FrameworkName
from nsc_deploy.models.neurons import Leaky
from nsc_deploy.models.stage import Rows, Stage


@dataclass(frozen=True)
class NeuronForm:
    """How the leaky neurons of a layer behave.

    Attributes:
        decay_steps: time constant tau in time steps; beta = 1 - 1 / tau.
        threshold: a spike needs a potential above it.
        framework: the library that runs them in training.
        once_in: each neuron fires at most once in so many steps, those of a sample; None: as often as it may.
    """

    decay_steps: float
    threshold: float
    framework: FrameworkName
    once_in: int | None = None

    @property
    def beta(self) -> float:
        """What a step keeps of the potential."""
        return 1 - 1 / self.decay_steps

    def layer(self, size: int) -> Leaky:
        """A layer of such neurons."""
        return Leaky(self.beta, self.threshold, size, self.framework)


class DenseLayers(nn.Module):
    """Dense -> LIF -> ... -> Dense -> LIF, events [T, B, sizes[0]] to events [T, B, sizes[-1]].

    Args:
        sizes: inputs, then the neurons of each layer.
        form: of the neurons.
        gain: of the first layer's initial weights.
        delays: what enters a layer is late by a learnt number of steps, so many at most; 0: by none.
    """

    def __init__(self, sizes: Sequence[int], form: NeuronForm, *, gain: float = 1.0, delays: int = 0) -> None:
        super().__init__()
        layers = len(sizes) - 1
        self.dense = nn.ModuleList(
            dense(sizes[place], sizes[place + 1], gain=1.0 if place else gain, widens=place == layers - 1)
            for place in range(layers)
        )
        self.neurons = nn.ModuleList(form.layer(size) for size in sizes[1:])
        self.delays = nn.ModuleList(LearntDelays(inputs, delays) for inputs in sizes[:-1] if delays)
        self.once_in = form.once_in

    def forward(self, signal: Tensor) -> Tensor:
        """Spikes of the last layer."""
        for layer, neurons, late in zip_longest(self.dense, self.neurons, self.delays):
            signal = neurons(layer(signal if late is None else late(signal.float())))
            if self.once_in is not None:
                signal = first_spikes(signal)
        return signal

    def layers(self) -> list[tuple[nn.Linear, Leaky]]:
        """Each dense layer with the neurons behind it."""
        pairs = zip(self.dense, self.neurons, strict=True)
        return [(a, b) for a, b in pairs if isinstance(a, nn.Linear) and isinstance(b, Leaky)]

    def _late(self, index: int) -> NDArray[np.int64]:
        late = self.delays[index]
        if not isinstance(late, LearntDelays):
            raise TypeError("delays of another kind")
        return late.steps.numpy()

    def rows(self) -> tuple[Rows, ...]:
        """The weights of each layer's neurons."""
        return tuple(rows_of(layer) for layer, _ in self.layers())

    def _silence(self, layer: nn.Linear, neurons: Leaky) -> float:
        """How strongly a neuron inhibits itself, so as not to fire again in `once_in` steps; 0: not at all.

        Behind a spike in step 0, v[k] = sum_i=1..k beta^(k-i) I[i] - beta^(k-1) W stays below any threshold
        if W is at least I sum_i=0..T-2 beta^-i, where I is the largest current: all events at once. A power
        of two above that is on every grid. Experiments in which it leaves the weights no room are refused.
        """
        if self.once_in is None:
            return 0.0
        with torch.no_grad():
            largest = float((layer.weight.clamp_min(0).sum(1) + layer.bias.clamp_min(0)).max())
        needed = largest * inhibition(float(neurons.beta.min()), self.once_in)
        return 2.0 ** math.ceil(math.log2(max(needed, 1.0)) + 0.1)

    def snap(self) -> None:
        """Put the weights on their dyadic grids."""
        for layer, neurons in self.layers():
            snap_layer(layer, self._silence(layer, neurons))

    def add_to(self, builder: GraphBuilder, readout: Readout | None) -> None:
        """Append the layers and the output to a graph."""
        for index, (layer, neurons) in enumerate(self.layers(), start=1):
            if self.delays:
                steps = self._late(index - 1)
                builder.delay(f"delay{index}", steps, len(steps))
            builder.affine(f"dense{index}", weight_of(layer), bias_of(layer))
            spiking = add_neurons(builder, f"lif{index}", neurons)
            if self.once_in is not None:
                size = neurons.shape[0]
                builder.linear(
                    f"once{index}", -self._silence(layer, neurons) * np.eye(size, dtype=np.float32)
                )
                builder.connect(f"once{index}", spiking)
                builder.continue_from(spiking)
        add_output(builder, self.layers()[-1][1].shape[0], readout)


class LearntDelays(nn.Module):
    """Each line late by a whole number of steps of its own, events [T, B, N] to events [T, B, N].

        y[t, n] = x[t - round(d[n]), n], 0 before the first step

    The gradient of d is that of linear interpolation between the two steps next to it, as in learning delays
    by dilated convolutions with learnable spacings (Hammouamri et al., ICLR 2024), without their smoothing.

    Args:
        lines: N.
        most: longest delay in steps.
    """

    def __init__(self, lines: int, most: int) -> None:
        super().__init__()
        self.most = most
        self.delay = nn.Parameter(most * torch.rand(lines))

    @property
    def steps(self) -> Tensor:
        """The delay of each line in steps, [N] int64."""
        return self.delay.detach().clamp(0, self.most).round().long()

    def forward(self, events: Tensor) -> Tensor:
        """The events, late."""
        places = torch.arange(self.most + 1, device=events.device)[:, None]
        near = (1 - (self.delay.clamp(0, self.most) - places).abs()).clamp_min(0)
        chosen = straight_through(near, (self.steps == places).to(events.dtype))
        late = torch.zeros_like(events)
        for step, share in enumerate(chosen[: len(events)]):
            late[step:] += share * events[: len(events) - step]
        return late


class SpikingLayers(Stage):
    """`DenseLayers` as a whole stage.

    Args:
        sizes: inputs, then the neurons of each layer.
        form: of the neurons.
        gain: of the first layer's initial weights.
        delays: as of `DenseLayers`.
    """

    description = "dense layers of spiking neurons"

    def __init__(self, sizes: Sequence[int], form: NeuronForm, *, gain: float = 1.0, delays: int = 0) -> None:
        super().__init__()
        self.inputs = sizes[0]
        self.body = DenseLayers(sizes, form, gain=gain, delays=delays)

    def forward(self, signal: Tensor) -> Tensor:
        """Spikes [T, B, out] of events [T, B, in]."""
        return self.body(signal)  # type: ignore[no-any-return]

    def finish(self) -> None:
        """Snap the weights."""
        self.body.snap()

    def rows(self) -> tuple[Rows, ...]:
        """All of them."""
        return self.body.rows()

    def graph(self, dt: float, readout: Readout | None) -> object:
        """A chain of Affine and LIF nodes."""
        builder = GraphBuilder(dt)
        builder.input(self.inputs, self.takes)
        self.body.add_to(builder, readout)
        return builder.build()


class SpikingBehindCurrent(Stage):
    """LIF neurons driven by a real-valued current from the host, and dense layers of neurons behind them.

    Args:
        first: neurons that take the current.
        body: the layers behind them.
    """

    description = "spiking neurons behind a current that the host computes"
    takes = Signal.REAL

    def __init__(self, first: Leaky, body: DenseLayers) -> None:
        super().__init__()
        self.first = first
        self.body = body

    def forward(self, signal: Tensor) -> Tensor:
        """Spikes [T, B, out] of a current [T, B, in]."""
        return self.body(self.first(signal))  # type: ignore[no-any-return]

    def finish(self) -> None:
        """Snap the weights."""
        self.body.snap()

    def graph(self, dt: float, readout: Readout | None) -> object:
        """A LIF node, then a chain of Affine and LIF nodes."""
        builder = GraphBuilder(dt)
        builder.input(self.first.shape, self.takes)
        add_neurons(builder, "lif0", self.first)
        self.body.add_to(builder, readout)
        return builder.build()


def rows_of(layer: nn.Linear) -> Rows:
    """The weights of a dense layer."""
    weight, bias = layer.weight, layer.bias
    if not isinstance(weight, nn.Parameter) or not isinstance(bias, nn.Parameter):
        raise TypeError("a dense layer without weights and biases of its own")
    return Rows((weight,), bias)


def add_neurons(
    builder: GraphBuilder, name: str, neurons: Leaky, after: str | list[str] | None = None
) -> str:
    """Append a layer of neurons to a graph."""
    return builder.lif(name, neurons.beta.numpy(), neurons.threshold.numpy(), neurons.shape, after=after)


def add_output(builder: GraphBuilder, size: int, readout: Readout | None) -> None:
    """Append the output, with its readout where there is one."""
    if readout is None:
        builder.output(size)
    else:
        builder.output(size, classes=readout.classes, group=readout.group)


def first_spikes(spikes: Tensor) -> Tensor:
    """Of spikes [T, B, N] the first one of each neuron; what follows it neither counts nor has a gradient."""
    before = spikes.detach().cumsum(0) - spikes.detach()
    return spikes * (before == 0)


@torch.no_grad()
def snap_layer(layer: nn.Linear, beside: float = 0.0) -> None:
    """Round weight and bias to the finest grid on which sums over events are exact in float32.

    Args:
        layer: its weights change.
        beside: a further weight of each neuron, a power of two or 0.
    """
    bias = None if layer.bias is None else layer.bias.numpy()
    further = np.full((len(layer.weight), 1), beside, np.float32)
    snapped = snap(np.concatenate([layer.weight.numpy(), further], 1), bias)
    layer.weight.copy_(torch.from_numpy(snapped.weight[:, :-1].copy()))
    if snapped.bias is not None:
        layer.bias.copy_(torch.from_numpy(snapped.bias))


def weight_of(layer: nn.Linear) -> NDArray[np.float32]:
    """The weight [out, in] as numpy."""
    weight: NDArray[np.float32] = layer.weight.detach().numpy()
    return weight


def bias_of(layer: nn.Linear) -> NDArray[np.float32]:
    """The bias [out] as numpy."""
    bias: NDArray[np.float32] = layer.bias.detach().numpy()
    return bias

"""The event system: transmitter and receiver that handle nothing but events, and the receiver's detectors.

Its Spike Cross Attention is made of spikes alone: causal, without a product, every node a NIR primitive.

    h[t]    = LIF(W1 x[t] + b1)            right path: all lines through a few hidden neurons; their leak
                                           is the temporal context that the poster's convolution gives
    veto[t] = 1 where W2 h[t] + b2 > 0     the gate's spike: this line, now, is not worth attention
    out[t]  = 1 where a x[t] - b veto[t] > 1/2   left path: each line on its own; a veto takes it off

The poster's gate is 1 minus a product of weights and spikes; here that "1 minus" is a spike that
inhibits, so a gate that has learnt nothing is silent, costs nothing and lets every event pass. The
output is a coincidence without memory: a veto on a silent line must not hold back its next event.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from nsc_deploy.deployment import Place, Readout
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.dyadic import snap
from nsc_deploy.graphs.network import Signal
from nsc_deploy.models.dense import dense
from nsc_deploy.models.neurons import arctan_spike, threshold_events
from nsc_deploy.models.spiking import (
    DenseLayers,
    NeuronForm,
    add_neurons,
    bias_of,
    rows_of,
    snap_layer,
    weight_of,
)
from nsc_deploy.models.stage import Rows, Stage, StageLabel

_LEVEL_SCALE = 5.0
"""The level is this times its parameter: at a common learning rate it moves as fast as it must."""
_SPREAD = 0.8
"""Distance between neighbouring levels before training, in units of the lowest."""
_SURROGATE_WIDTH = 0.5
"""Width of the comparators' surrogate derivative in received amplitudes (a symbol's is 1); a power of 2."""
_ANY = 0.5
"""Threshold behind joined comparators: one that fires is enough."""


class FrontEnd(Stage):
    """Detectors: received samples [T, B, 2 N], real parts then imaginary parts, to events on K N lines.

        e[k N + n] = 1 where max(|Re y[n]|, |Im y[n]|) > level[k]

    A symbol arrives with a phase that nobody knows, so its sign tells nothing, and four comparisons that
    share one line leave the layers behind a quarter of the weights to learn. The levels are learnt: they
    follow the noise. No multiplication is needed: as a NIR graph these are a Linear with weights +-1 in front
    of a Threshold at the levels, and a second pair that joins each sample's four comparators.

    Args:
        samples: N complex samples a step.
        level: the lowest level before training, in received amplitudes.
        levels: K.
    """

    label = StageLabel.FRONT_END
    place = Place.HOST
    description = "comparators: received samples that leave a square around 0"
    takes = Signal.REAL

    def __init__(self, samples: int, level: float, levels: int) -> None:
        super().__init__()
        self.samples = samples
        spread = level * (1 + _SPREAD * torch.arange(levels))
        self.scaled_level = nn.Parameter(spread / _LEVEL_SCALE)

    @property
    def level(self) -> Tensor:
        """The levels that are crossed [K], in received amplitudes."""
        return self.scaled_level.abs() * _LEVEL_SCALE

    @property
    def lines(self) -> int:
        """Number of event lines."""
        return self.samples * len(self.scaled_level)

    def forward(self, signal: Tensor) -> Tensor:
        """Events [T, B, K N] of received samples [T, B, 2 N]."""
        real, imaginary = (signal.abs() / _SURROGATE_WIDTH).chunk(2, -1)
        larger = torch.maximum(real, imaginary).unsqueeze(-2)
        # Division by a power of two is exact, so the comparison is the graph's.
        above = larger - (self.level / _SURROGATE_WIDTH).unsqueeze(-1)
        return arctan_spike(above.flatten(-2))

    def graph(self, dt: float, readout: Readout | None) -> object:
        """Linear and Threshold for each comparator, Linear and Threshold to join four of them."""
        del readout
        levels, parts = len(self.level), np.eye(2 * self.samples, dtype=np.float32)
        signs = np.concatenate([parts, -parts] * levels)
        level = np.repeat(self.level.detach().numpy(), len(signs) // levels)
        join = np.kron(np.eye(levels, dtype=np.float32), np.tile(np.eye(self.samples, dtype=np.float32), 4))
        builder = GraphBuilder(dt)
        builder.input(2 * self.samples, self.takes)
        builder.linear("compare", signs)
        builder.threshold("crossing", level, len(signs))
        builder.linear("join", join)
        builder.threshold("detect", _ANY, self.lines)
        builder.output(self.lines)
        return builder.build()


class EventLayers(Stage):
    """Event attention, then dense layers of spiking neurons.

    Args:
        sizes: lines, then the neurons of each layer.
        form: of the neurons.
        gate_form: of the attention's neurons.
        gate_hidden: hidden neurons of the attention.
        gain: of the initial weights that meet the lines.
        delays: as of `DenseLayers`.
    """

    description = "event attention and dense layers, all of spiking neurons"

    def __init__(
        self,
        sizes: Sequence[int],
        form: NeuronForm,
        gate_form: NeuronForm,
        gate_hidden: int,
        *,
        gain: float = 1.0,
        delays: int = 0,
    ) -> None:
        super().__init__()
        self.lines = sizes[0]
        self.attend = EventAttention(sizes[0], gate_hidden, gate_form, gain=gain)
        self.body = DenseLayers(sizes, form, gain=gain, delays=delays)

    def forward(self, signal: Tensor) -> Tensor:
        """Spikes [T, B, out] of events [T, B, lines]."""
        return self.body(self.attend(signal))  # type: ignore[no-any-return]

    def attention(self, signal: Tensor) -> Tensor:
        """1 where a line may pass, 0 where it is vetoed [T, B, lines]."""
        return self.attend.attention(signal)

    def finish(self) -> None:
        """Snap all weights."""
        self.attend.snap()
        self.body.snap()

    def rows(self) -> tuple[Rows, ...]:
        """All of them."""
        return (*self.attend.rows(), *self.body.rows())

    def graph(self, dt: float, readout: Readout | None) -> object:
        """The two paths of the attention joined in a LIF node, then a chain of Affine and LIF nodes."""
        builder = GraphBuilder(dt)
        source = builder.input(self.lines, self.takes)
        self.attend.add_to(builder, source)
        self.body.add_to(builder, readout)
        return builder.build()


_COINCIDENCE = 0.5
"""Threshold of the output: an event passes alone and not beside a veto of its own strength, 1."""
_SILENT = -0.5
"""Initial bias of the gate: below its threshold, so that training starts without a veto."""
_GATE_GAIN = 0.5


class EventAttention(nn.Module):
    """Events [T, B, C] to the events that are worth attention [T, B, C].

    Args:
        channels: C lines.
        hidden: neurons of the right path.
        form: of the right path's neurons.
        gain: of the initial weights of the right path.
    """

    def __init__(self, channels: int, hidden: int, form: NeuronForm, *, gain: float = 1.0) -> None:
        super().__init__()
        self.right = dense(channels, hidden, gain=gain, widens=False)
        self.right_neurons = form.layer(hidden)
        self.gate = dense(hidden, channels, gain=_GATE_GAIN)
        nn.init.constant_(self.gate.bias, _SILENT)
        self.left = nn.Parameter(torch.ones(channels))
        self.inhibition = nn.Parameter(torch.ones(channels))

    def forward(self, events: Tensor) -> Tensor:
        """The events that pass [T, B, C]."""
        return threshold_events(events * self.left - self.veto(events) * self.inhibition, _COINCIDENCE)

    def veto(self, events: Tensor) -> Tensor:
        """The gate's spikes [T, B, C]: 1 where a line is not worth attention."""
        return arctan_spike(self.gate(self.right_neurons(self.right(events))))

    def attention(self, events: Tensor) -> Tensor:
        """1 where a line may pass, 0 where it is vetoed [T, B, C]."""
        return 1 - self.veto(events)

    def rows(self) -> tuple[Rows, ...]:
        """The weights of the right path's neurons, of the gate's, and of those that join the paths."""
        return (rows_of(self.right), rows_of(self.gate), Rows((self.left, self.inhibition)))

    @torch.no_grad()
    def snap(self) -> None:
        """Put all weights on dyadic grids; left path and inhibition share one, as they share a neuron."""
        snap_layer(self.right)
        snap_layer(self.gate)
        pair = snap(torch.stack([self.left, self.inhibition], 1).numpy()).weight
        self.left.copy_(torch.from_numpy(pair[:, 0].copy()))
        self.inhibition.copy_(torch.from_numpy(pair[:, 1].copy()))

    def add_to(self, builder: GraphBuilder, source: str) -> str:
        """Append the two paths behind the node `source`; returns the name of the last node."""
        builder.affine("gate_right", weight_of(self.right), bias_of(self.right), after=source)
        add_neurons(builder, "gate_right_lif", self.right_neurons)
        builder.affine("gate", weight_of(self.gate), bias_of(self.gate))
        builder.threshold("gate_veto", 0.0, len(self.left))
        builder.linear("gate_inhibition", torch.diag(-self.inhibition.detach()).numpy())
        builder.linear("gate_left", torch.diag(self.left.detach()).numpy(), after=source)
        paths = ["gate_left", "gate_inhibition"]
        return builder.threshold("gate_out", _COINCIDENCE, len(self.left), after=paths)

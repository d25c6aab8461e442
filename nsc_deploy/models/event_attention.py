"""Spike Cross Attention made of spikes alone: causal, without a product, every node a NIR primitive.

    h[t]    = LIF(W1 x[t] + b1)            right path: all lines through a few hidden neurons; their leak
                                           is the temporal context that the poster's convolution gives
    veto[t] = 1 where W2 h[t] + b2 > 0     the gate's spike: this line, now, is not worth attention
    out[t]  = 1 where a x[t] - b veto[t] > 1/2   left path: each line on its own; a veto takes it off

The poster's gate is 1 minus a product of weights and spikes; here that "1 minus" is a spike that
inhibits, so a gate that has learnt nothing is silent, costs nothing and lets every event pass. The
output is a coincidence without memory: a veto on a silent line must not hold back its next event.
"""

import torch
from torch import Tensor, nn

from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.dyadic import snap
from nsc_deploy.models.dense import bias_of, dense, snap_layer, weight_of
from nsc_deploy.models.spiking import NeuronForm, add_neurons, rows_of
from nsc_deploy.models.stage import Rows
from nsc_deploy.models.surrogate import arctan_spike, threshold_events

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
        self.right = dense(channels, hidden, gain=gain)
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

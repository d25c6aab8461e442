"""The small networks that keyword spotting uses, in integers: a GRU and depthwise-separable convolutions.

Both take the events of a sample step by step and leave one list of whole numbers for all of it. They are
trained as they compute; see `quantised`. 0 to `top` stands for 0 to 1 in a gate.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from nsc_deploy.channels.modulation import straight_through
from nsc_deploy.deployment import Place, Readout
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_integers import IntegerConvolution, integer_convolutions, integer_gru
from nsc_deploy.models.quantised import integers, layer_of, refuse_inexact
from nsc_deploy.models.stage import Stage

OPEN = 0.7
"""Bias of the update gate before training: a state is remembered for some steps."""


class QuantisedGru(Stage):
    """A gated recurrent unit that gives its last state, events [T, B, C] to whole numbers [1, B, H].

    Its candidate is bounded from 0 to 1 as its gates are: states are activations like those of any layer.

    Args:
        channels: C.
        units: H.
        bits: of an activation.

    Raises:
        ConfigError: sums of a layer might not be exact.
    """

    place = Place.HOST
    description = "a GRU in integers, its last state"
    emits = Signal.REAL

    def __init__(self, channels: int, units: int, bits: int) -> None:
        super().__init__()
        self.top = 2**bits - 1
        refuse_inexact(channels, 1)
        refuse_inexact(units, self.top)
        self.into = nn.Linear(channels, 3 * units)
        self.back = nn.Linear(units, 3 * units, bias=False)
        with torch.no_grad():
            self.into.bias.zero_()
            self.into.bias[:units] = OPEN
            self.into.bias[units : 2 * units] = 0.5

    def forward(self, signal: Tensor) -> Tensor:
        """The state after the last step [1, B, H]."""
        weight, bias, factor = integers(self.into, self.top)
        back, _, back_factor = integers(self.back)
        entering = (functional.linear(signal, weight, bias) * factor).chunk(3, -1)
        state = entering[0].new_zeros(entering[0].shape[1:])
        share = 1 / self.top
        for z_in, r_in, n_in in zip(*entering, strict=True):
            z_of, r_of, n_of = (functional.linear(state, back) * back_factor).chunk(3, -1)
            z, r = self._bounded(z_in + z_of), self._bounded(r_in + r_of)
            n = self._bounded(n_in + (r * n_of) * share)
            state = self._bounded((z * state + (self.top - z) * n) * share)
        return state.unsqueeze(0)

    def _bounded(self, values: Tensor) -> Tensor:
        bounded = values.clamp(0, self.top)
        return straight_through(bounded, bounded.round())

    def graph(self, dt: float, readout: Readout | None) -> object:
        """A Scan over time around MatMulInteger and the gates."""
        del readout
        into, back = layer_of(self.into, self.top), layer_of(self.back)
        return integer_gru(into, back, signal=self.takes, dt=dt, largest=self.top)


FIRST_TAPS, DEPTH_TAPS, STRIDE = 3, 5, 2


class QuantisedConvolutions(Stage):
    """A convolution over time and two depthwise-separable ones, then the largest activation of each channel.

    Events [T, B, C] to whole numbers [1, B, K]. Each halves the number of steps.

    Args:
        channels: C.
        filters: channels in between.
        outputs: K.
        bits: of an activation.

    Raises:
        ConfigError: sums of a layer might not be exact.
    """

    place = Place.HOST
    description = "depthwise-separable convolutions over time in integers"
    emits = Signal.REAL

    def __init__(self, channels: int, filters: int, outputs: int, bits: int) -> None:
        super().__init__()
        self.top = 2**bits - 1
        refuse_inexact(channels * FIRST_TAPS, 1)
        refuse_inexact(filters, self.top)

        def over_time(inputs: int, found: int, taps: int, stride: int, groups: int = 1) -> nn.Conv1d:
            return nn.Conv1d(inputs, found, taps, stride, taps // 2, groups=groups)

        layers = [over_time(channels, filters, FIRST_TAPS, STRIDE)]
        for before, after in pairwise((filters, filters, outputs)):
            layers.append(over_time(before, before, DEPTH_TAPS, STRIDE, before))
            layers.append(over_time(before, after, 1, 1))
        self.layers = nn.ModuleList(layers)
        for layer, _ in self._each():  # at torch's usual weights, what is rounded behind the first would be 0
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def _each(self) -> list[tuple[nn.Conv1d, int]]:
        """The convolutions with what a 1 at their input stands for: the first one is fed with events."""
        layers = [layer for layer in self.layers if isinstance(layer, nn.Conv1d)]
        return [(layer, 1 if index else self.top) for index, layer in enumerate(layers)]

    def forward(self, signal: Tensor) -> Tensor:
        """The largest activations [1, B, K]."""
        signal = signal.permute(1, 2, 0)
        for layer, gain in self._each():
            weight, bias, factor = integers(layer, gain)
            total = functional.conv1d(
                signal,
                weight,
                bias,
                layer.stride,
                layer.padding,
                groups=layer.groups,
            )
            bounded = (total * factor).clamp(0, self.top)
            signal = straight_through(bounded, bounded.round())
        return signal.amax(-1).unsqueeze(0)

    def graph(self, dt: float, readout: Readout | None) -> object:
        """ConvInteger nodes, and a ReduceMax."""
        del readout
        layers = [
            IntegerConvolution(layer_of(layer, gain), layer.stride[0], layer.groups)
            for layer, gain in self._each()
        ]
        return integer_convolutions(layers, signal=self.takes, dt=dt, largest=self.top)

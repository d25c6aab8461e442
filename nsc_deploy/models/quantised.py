"""Conventional networks that compute in integers, trained as they will compute.

Activations are whole numbers 0 to 2^bits - 1, weights whole numbers of 8 bits with one factor a layer:

    y = m (W x + b)              W = round(V / m), b = round(v / m), m = max |V| / 127
    x' = round(min(max(y, 0), 2^bits - 1))

in which V and v are what is trained; rounding passes the gradient as if it were the identity. There is no
scale of activations to learn, for V can grow: a step of an activation is 1 everywhere. All sums are whole
numbers below 2^24, which float32 holds exactly, so that torch and the integers of the ONNX graph agree.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from nsc_deploy.channels.modulation import straight_through
from nsc_deploy.deployment import Place, Readout
from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_build import sum_over_time
from nsc_deploy.graphs.onnx_integers import IntegerLayer, integer_mlp
from nsc_deploy.models.stage import Stage, StageLabel

LARGEST_WEIGHT = 127
_EXACT = 2**24


class EventCounts(Stage):
    """How often each channel fires in a sample: events [T, B, C] to whole numbers [1, B, C]."""

    label = StageLabel.FRONT_END
    place = Place.HOST
    description = "events of each channel counted over all steps"
    emits = Signal.REAL

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, signal: Tensor) -> Tensor:
        """Counts [1, B, C]."""
        return signal.sum(0, keepdim=True)

    def graph(self, dt: float, readout: Readout | None) -> object:
        """A sum over time."""
        del readout
        return sum_over_time(self.channels, signal=self.takes, dt=dt)


class QuantisedLayers(Stage):
    """Dense layers on whole numbers [T, B, sizes[0]] to [T, B, sizes[-1]].

    Args:
        sizes: inputs, then the outputs of each layer.
        bits: of an activation.
        values_last: whether the last layer gives out its sums, as real values, and no activations.

    Raises:
        ConfigError: sums of a layer might not be exact.
    """

    place = Place.HOST
    description = "dense layers in integers"
    takes = Signal.REAL
    emits = Signal.REAL

    def __init__(self, sizes: Sequence[int], bits: int, *, values_last: bool = False) -> None:
        super().__init__()
        self.top = 2**bits - 1
        self.values_last = values_last
        refuse_inexact(max(sizes[:-1]), self.top)
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes))

    def forward(self, signal: Tensor) -> Tensor:
        """Activations, or real values behind the last layer."""
        for place, (layer, gain) in enumerate(self._dense(), start=1):
            weight, bias, factor = integers(layer, gain)
            signal = functional.linear(signal, weight, bias) * factor
            if place < len(self.layers) or not self.values_last:
                signal = _rounded(signal.clamp(0, self.top))
        return signal

    def _dense(self) -> list[tuple[nn.Linear, float]]:
        """The layers with their gains: values at the end count in units of the largest activation."""
        layers = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        gains = [1.0] * (len(layers) - 1) + [1 / self.top if self.values_last else 1.0]
        return list(zip(layers, gains, strict=True))

    def graph(self, dt: float, readout: Readout | None) -> object:
        """MatMulInteger, Add, Mul, Clip and QuantizeLinear nodes."""
        del readout
        layers = [layer_of(layer, gain) for layer, gain in self._dense()]
        return integer_mlp(layers, signal=self.takes, dt=dt, largest=self.top, values_last=self.values_last)


def integers(layer: nn.Linear | nn.Conv1d, gain: float = 1.0) -> tuple[Tensor, Tensor | None, Tensor]:
    """Weights, biases and factor of y = factor (W x + b): whole numbers, differentiable in the layer.

    Args:
        layer: what they are rounded from.
        gain: what a 1 that enters stands for, in steps of an activation.
    """
    step = layer.weight.detach().abs().max().clamp_min(torch.finfo(torch.float32).tiny) / LARGEST_WEIGHT
    weight, bias = _rounded(layer.weight / step), None
    if layer.bias is not None:
        bias = _rounded((layer.bias / step).clamp(-_EXACT // 2, _EXACT // 2))
    return weight, bias, step * gain


def _rounded(values: Tensor) -> Tensor:
    return straight_through(values, values.round())


@torch.no_grad()
def layer_of(layer: nn.Linear | nn.Conv1d, gain: float = 1.0) -> IntegerLayer:
    """The same as numbers for a graph."""
    weight, bias, factor = integers(layer, gain)
    return IntegerLayer(weight.numpy(), None if bias is None else bias.numpy(), float(factor))


def refuse_inexact(products: int, largest: int) -> None:
    """Refuse a layer whose sums float32 might not hold.

    Args:
        products: of each sum.
        largest: value that enters.

    Raises:
        ConfigError: it is too wide.
    """
    if products * largest * LARGEST_WEIGHT >= _EXACT // 2:  # the other half is the bias's
        raise ConfigError(
            f"sums of {products} products of 8 bits with numbers up to {largest} are not exact in float32",
            where="system",
            hint="Choose fewer channels, a smaller system.hidden, system.symbols or system.activation_bits.",
        )

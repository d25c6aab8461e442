"""The graphs of a trained codec: NIR for what a chip runs, ONNX for what an ordinary processor does.

A spiking codec is four graphs. The input of its first neurons is the same in every step, so the device
computes its backbone and the first convolution once. The decoder's last neurons (IHF) give two values, which
NIR has no node for; they are written with plain ones, an integrator whose output is the potential m before
the reset, a threshold that reads it, and a loop that takes the threshold off one step later:

    conv4 -> I -> Output        m[t] = m[t-1] - threshold S[t-1] + I[t]
             I -> Threshold -> Scale(-threshold) -> I (in the next step)

The host forms S[t] = 1 where m[t] > threshold and M[t] = m[t] - threshold S[t] of it. Weights are on grids on
which all of this is exact in float32. Conventional codecs are one ONNX graph for each side.
"""

import io
import warnings
from collections.abc import Sequence

import nir
import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional

import nsc_deploy
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Signal
from nsc_deploy.models.features.codecs import BitOrder, LastNeuron
from nsc_deploy.models.features.layers import KERNEL, PADDING, NormalisedConvolution
from nsc_deploy.models.features.quantised_codec import QuantisedCodec, place_weights
from nsc_deploy.models.features.spiking_codec import SpikingCodec

OPSET = 18


def encoder_graph(codec: SpikingCodec, place: tuple[int, int], dt: float) -> nir.NIRGraph:
    """From the current of the first neurons [C/8, h, w], real, to bits [k, h, w].

    Args:
        codec: finished.
        place: h, w.
        dt: length of a step in seconds.
    """
    form = codec.form
    builder = GraphBuilder(dt, form.reset)
    builder.input((form.hidden, *place), Signal.REAL)
    builder.integrate_and_fire("if1", form.threshold, (form.hidden, *place))
    _convolve(builder, "conv2", codec.conv2, place)
    builder.integrate_and_fire("if2", form.threshold, (form.bits, *place))
    builder.output((form.bits, *place))
    return builder.build()


def decoder_graph(codec: SpikingCodec, place: tuple[int, int], dt: float) -> nir.NIRGraph:
    """From bits [k, h, w] to the spikes S of the last neurons, or to their potentials m where M is wanted.

    Args:
        codec: finished.
        place: h, w.
        dt: length of a step in seconds.
    """
    form = codec.form
    feature = (form.channels, *place)
    builder = GraphBuilder(dt, form.reset)
    builder.input((form.bits, *place), Signal.EVENTS)
    _convolve(builder, "conv3", codec.conv3, place)
    builder.integrate_and_fire("if3", form.threshold, (form.hidden, *place))
    _convolve(builder, "conv4", codec.conv4, place)
    if form.last is LastNeuron.IF:
        builder.integrate_and_fire("if4", form.threshold, feature)
    else:
        builder.add("ihf4", nir.I(r=np.full(feature, 1 / dt)))
        builder.threshold("fire4", form.threshold, feature)
        builder.add("reset4", nir.Scale(np.full(feature, -form.threshold, np.float32)))
        builder.connect("reset4", "ihf4")
    builder.output(feature, after="if4" if form.last is LastNeuron.IF else "ihf4")
    return builder.build()


def _convolve(builder: GraphBuilder, name: str, layer: NormalisedConvolution, place: tuple[int, int]) -> None:
    folded = layer.folded()
    builder.add(
        name,
        nir.Conv2d(
            input_shape=place,
            weight=folded.weight,
            stride=1,
            padding=PADDING,
            dilation=1,
            groups=1,
            bias=folded.bias,
        ),
    )


class AtOnce(nn.Module):
    """A module on [N, ...] as one on [1, N, ...], which takes a sample at once."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, values: Tensor) -> Tensor:
        """What the module gives, with one step."""
        given: Tensor = self.module(values.squeeze(0))
        return given.unsqueeze(0)


class OnDevice(nn.Module):
    """Images [1, N, *image] to what enters the encoder's chip [1, N, C/8, h, w]: once, whatever T is."""

    def __init__(self, device_part: nn.Module, codec: SpikingCodec) -> None:
        super().__init__()
        self.device_part, self.conv1 = device_part, plain(codec.conv1)

    def forward(self, images: Tensor) -> Tensor:
        """The first neurons' current."""
        current: Tensor = self.conv1(self.device_part(images.squeeze(0)))
        return current.unsqueeze(0)


class OnServer(nn.Module):
    """What leaves the decoder's chip [T, N, C, h, w] to scores [1, N, classes].

    The converter's sum over S and M is one over S and m, with a - threshold b for the weights of S.
    """

    def __init__(self, codec: SpikingCodec, server_part: nn.Module) -> None:
        super().__init__()
        self.threshold, self.gain, self.last = codec.form.threshold, codec.form.gain, codec.form.last
        converter, server = codec.converter, server_part
        a, b = converter.spike_weights, converter.potential_weights
        zeros = torch.zeros(codec.form.steps)
        a, b = (zeros if one is None else one.detach() for one in (a, b))
        self.register_buffer("of_spikes", (a - self.threshold * b).view(-1, 1))
        self.register_buffer("of_potentials", b.clone().view(-1, 1))
        self.register_buffer("bias", converter.bias.detach().clone())
        self.server_part = server

    of_spikes: Tensor
    of_potentials: Tensor
    bias: Tensor

    def forward(self, values: Tensor) -> Tensor:
        """Scores of each class."""
        behind = values.permute(1, 2, 3, 4, 0)
        if self.last is LastNeuron.IF:
            weighted = behind @ self.of_spikes
        else:
            spikes = (behind > self.threshold).float()
            weighted = spikes @ self.of_spikes + behind @ self.of_potentials
        features = torch.sigmoid(weighted.squeeze(-1) + self.bias)
        if self.gain is not None:
            features = self.gain * features
        scores: Tensor = self.server_part(features)
        return scores.unsqueeze(0)


class QuantisedSender(nn.Module):
    """Images [1, N, *image] to bits [n, N, k, h, w] of a conventional codec."""

    def __init__(self, device_part: nn.Module, codec: QuantisedCodec) -> None:
        super().__init__()
        self.device_part = device_part
        self.conv1, self.conv2 = plain(codec.conv1), plain(codec.conv2)
        self.places, self.bits, self.order = codec.places, codec.form.bits, codec.form.order
        exponents = torch.arange(codec.places - 1, -1, -1, dtype=torch.float32)
        self.register_buffer("units", (2**exponents).view(-1, 1, 1, 1, 1))

    units: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Bits, the highest place first."""
        return self.bits_of(self.values_of(images))

    def values_of(self, images: Tensor) -> Tensor:
        """What is quantised [1, N, C', h, w], from 0 to 1."""
        hidden = functional.relu(self.conv1(self.device_part(images.squeeze(0))))
        return torch.sigmoid(self.conv2(hidden)).unsqueeze(0)

    def bits_of(self, values: Tensor) -> Tensor:
        """Bits of values, the highest place first."""
        whole = torch.round(values * (2**self.places - 1))
        if self.places == 1:
            shape = whole.shape
            return whole.view(1, shape[1], -1, self.bits, *shape[3:]).transpose(1, 2).flatten(0, 1)
        digits = torch.floor(whole / self.units)
        bits = digits - 2 * torch.floor(digits / 2)
        if self.order is BitOrder.GRAY:
            above = torch.cat([torch.zeros_like(bits[:1]), bits[:-1]])
            bits = (bits - above).abs()
        return bits

    def undecided_of(self, values: Tensor, within: float) -> Tensor:
        """Bits that a value so little larger or smaller has otherwise."""
        return self.bits_of(values - within) != self.bits_of(values + within)


class QuantisedReceiver(nn.Module):
    """Bits [n, N, k, h, w] to scores [1, N, classes] of a conventional codec."""

    def __init__(self, codec: QuantisedCodec, server_part: nn.Module) -> None:
        super().__init__()
        self.places, self.order, self.server_part = codec.places, codec.form.order, server_part
        self.conv3, self.conv4 = plain(codec.conv3), plain(codec.conv4)
        self.register_buffer("weights", place_weights(codec.places, torch.zeros(())).view(-1, 1))

    weights: Tensor

    def forward(self, bits: Tensor) -> Tensor:
        """Scores of each class."""
        if self.places == 1:
            values = bits.transpose(0, 1).flatten(1, 2)
        else:
            if self.order is BitOrder.GRAY:
                bits = torch.cumsum(bits, 0)
                bits = bits - 2 * torch.floor(bits / 2)
            values = (bits.permute(1, 2, 3, 4, 0) @ self.weights).squeeze(-1)
        features = functional.relu(self.conv4(functional.relu(self.conv3(values))))
        scores: Tensor = self.server_part(features)
        return scores.unsqueeze(0)


def plain(layer: NormalisedConvolution) -> nn.Conv2d:
    """The convolution with its normalisation folded in, as torch has it."""
    folded = layer.folded()
    outputs, inputs = folded.weight.shape[:2]
    convolution = nn.Conv2d(inputs, outputs, KERNEL, padding=PADDING)
    with torch.no_grad():
        convolution.weight.copy_(torch.from_numpy(folded.weight))
        convolution.bias.copy_(torch.from_numpy(folded.bias))  # type: ignore[union-attr]
    return convolution


def onnx_graph(
    module: nn.Module, entering: Sequence[int], steps: int, signal: Signal, dt: float
) -> onnx.ModelProto:
    """A module on [steps, N, ...] as an ONNX graph with the input "input", the output "output" and N open.

    Args:
        module: in evaluation mode.
        entering: shape of one sample at one step.
        steps: of what enters.
        signal: what enters.
        dt: length of a step in seconds, kept in the metadata.
    """
    module.eval()
    example = torch.zeros(steps, 2, *entering)
    written = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter of TorchScript: the one that replaces it asks for packages that nothing else needs.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            written,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {1: "N"}, "output": {1: "N"}},
        )
    model = onnx.load_model_from_string(written.getvalue())
    model.producer_name, model.producer_version = "nsc-deploy", nsc_deploy.__version__
    helper.set_model_props(model, {"signal": signal.value, "dt": repr(float(dt)), "units": "s"})
    onnx.checker.check_model(model, full_check=True)
    return model

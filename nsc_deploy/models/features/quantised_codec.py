"""CNN-SC and the 1-bit CNN: four convolutions and a quantiser of the encoder's sigmoid.

    q = round((2^n - 1) x),  n bits of q on the channel,  x' = q' / (2^n - 1)

The 1-bit CNN has n times as many channels of one bit: the same number of bits on the channel, none of
which weighs more than another. To gradients the quantiser and its inverse together are the identity.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from nsc_deploy.models.features.codecs import BitOrder, Codec, CodecForm, CodecName
from nsc_deploy.models.features.layers import NormalisedConvolution


class QuantisedCodec(Codec):
    """Convolutions with ReLU, sigmoid (bits), ReLU and ReLU.

    Args:
        form: name `cnn-sc` or `cnn-1bit`.
    """

    def __init__(self, form: CodecForm) -> None:
        super().__init__(form)
        self.places = 1 if form.name is CodecName.CNN_1BIT else form.steps
        """Bits of one value."""
        values = form.bits * form.steps // self.places
        self.conv1 = NormalisedConvolution(form.channels, form.hidden)
        self.conv2 = NormalisedConvolution(form.hidden, values)
        self.conv3 = NormalisedConvolution(values, form.hidden)
        self.conv4 = NormalisedConvolution(form.hidden, form.channels)

    def encode(self, features: Tensor) -> Tensor:
        """Bits [n, B, k, h, w], the highest place first."""
        values = torch.sigmoid(self.conv2(functional.relu(self.conv1(features))))
        bits = quantise(values, self.places, self.form.order)
        # One bit a value: n groups of k channels stand where else n places do.
        _, samples, channels, *place = bits.shape
        groups = channels // self.form.bits
        split = bits.view(self.places, samples, groups, self.form.bits, *place)
        return split.transpose(1, 2).flatten(0, 1)

    def decode(self, bits: Tensor) -> Tensor:
        """Features of bits."""
        groups = len(bits) // self.places
        grouped = bits.reshape(self.places, groups, *bits.shape[1:]).transpose(1, 2).flatten(2, 3)
        values = dequantise(grouped, self.form.order)
        features: Tensor = functional.relu(self.conv4(functional.relu(self.conv3(values))))
        return features

    def finish(self) -> None:
        """Fold the normalisation."""
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            convolution.finish()


def quantise(values: Tensor, places: int, order: BitOrder = BitOrder.NATURAL) -> Tensor:
    """Bits [n, *S] of values [*S] from 0 to 1; each bit has the gradient 1 (see `dequantise`)."""
    bits: Tensor = _Quantise.apply(values, places, order)  # type: ignore[no-untyped-call]
    return bits


def dequantise(bits: Tensor, order: BitOrder = BitOrder.NATURAL) -> Tensor:
    """Values [*S] of bits [n, *S]; a bit has its weight 2^i / (2^n - 1) as its gradient.

    These weights add up to 1, so the gradient through both is 1: the identity, as the papers have it. Natural
    binary may be given probabilities in place of bits; Gray code takes bits alone.
    """
    values: Tensor = _Dequantise.apply(bits, order)  # type: ignore[no-untyped-call]
    return values


class _Quantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, places: int, order: BitOrder) -> Tensor:
        whole = torch.round(values * (2**places - 1)).int()
        if order is BitOrder.GRAY:
            whole = whole ^ (whole >> 1)
        shifts = torch.arange(places - 1, -1, -1, device=values.device, dtype=torch.int32)
        bits: Tensor = (whole >> shifts.view(-1, *[1] * values.dim())) & 1
        return bits.to(values.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_bits: Tensor) -> tuple[Tensor, None, None]:
        return grad_bits.sum(0), None, None


class _Dequantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bits: Tensor, order: BitOrder) -> Tensor:
        weights = place_weights(len(bits), bits)
        ctx.save_for_backward(weights)
        if order is BitOrder.GRAY:
            bits = bits.cumsum(0) % 2
        values: Tensor = torch.tensordot(weights, bits, dims=1)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_values: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        spread: Tensor = weights.view(-1, *[1] * grad_values.dim())
        return spread * grad_values, None


def place_weights(places: int, like: Tensor) -> Tensor:
    """2^(n-1), ..., 2, 1 over 2^n - 1, in the dtype of `like`."""
    exponents = torch.arange(places - 1, -1, -1, device=like.device, dtype=torch.float64)
    weights: Tensor = 2**exponents / (2**places - 1)
    return weights.to(like.dtype)

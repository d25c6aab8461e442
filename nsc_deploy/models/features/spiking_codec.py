"""SNN-SC and S-JSCC: conv-BN-IF, conv-BN-IF, bits; conv-BN-IF, conv-BN-IHF, converter."""

import torch
from torch import Tensor, nn

from nsc_deploy.models.features.codecs import (
    Codec,
    CodecForm,
    CodecName,
    LastNeuron,
    entropy_penalty,
    rate_penalty,
)
from nsc_deploy.models.features.layers import NormalisedConvolution
from nsc_deploy.models.features.neurons import IntegrateFire, IntegrateHybridFire


class SpikingCodec(Codec):
    """The feature enters every step alike ("direct encoding"), so the first convolution is computed once.

    Args:
        form: name `snn-sc` or `s-jscc`.
    """

    def __init__(self, form: CodecForm) -> None:
        super().__init__(form)
        self.conv1 = NormalisedConvolution(form.channels, form.hidden)
        self.conv2 = NormalisedConvolution(form.hidden, form.bits)
        self.conv3 = NormalisedConvolution(form.bits, form.hidden)
        self.conv4 = NormalisedConvolution(form.hidden, form.channels)
        neuron = form.threshold, form.slope, form.reset, form.framework
        self.if1, self.if2, self.if3 = (IntegrateFire(*neuron) for _ in range(3))
        self.ihf4 = IntegrateHybridFire(*neuron)
        self.converter = Converter(form.steps, form.last, form.gain)

    def encode(self, features: Tensor) -> Tensor:
        """Spikes of the encoder's last neurons [T, B, k, h, w]."""
        current = self.conv1(features)
        return self.bits_of(current.expand(self.form.steps, *current.shape))

    def bits_of(self, current: Tensor) -> Tensor:
        """Bits [T, B, k, h, w] of the current into the first neurons [T, B, C/8, h, w]."""
        bits: Tensor = self.if2(self.conv2.over_time(self.if1(current)))
        return bits

    def decode(self, bits: Tensor) -> Tensor:
        """Features of as many steps as there are bits of, T or fewer.

        The converter weighs the steps that are there; those that have not arrived count nothing.
        """
        current = self.current_of(bits)
        a, b = self.converter.spike_weights, self.converter.potential_weights
        steps = len(bits)
        weighted = self.ihf4.weighted(
            current, None if a is None else a[:steps], None if b is None else b[:steps]
        )
        features: Tensor = self.converter(weighted)
        return features

    def current_of(self, bits: Tensor) -> Tensor:
        """The current into the last neurons [T, B, C, h, w] of bits [T, B, k, h, w]."""
        return self.conv4.over_time(self.if3(self.conv3.over_time(bits)))

    def penalty(self, bits: Tensor) -> Tensor:
        """The entropy's or the firing rate's term, with its weight."""
        if not self.form.target_weight:
            return bits.new_zeros(())
        term = rate_penalty if self.form.name is CodecName.S_JSCC else entropy_penalty
        return self.form.target_weight * term(bits, self.form.target)

    def finish(self) -> None:
        """Fold; what meets events lies on grids exact over all steps."""
        self.conv1.finish()
        for convolution in (self.conv2, self.conv3, self.conv4):
            convolution.finish(self.form.steps)


class Converter(nn.Module):
    """The papers' converter: one weight for each of the outputs S1, M1, ..., ST, MT, a bias, and a sigmoid.

    The same for every position of the feature. It is given the weighted sum (`IntegrateHybridFire.weighted`),
    so nothing in it grows with T.

    Args:
        steps: T.
        last: which of S and M there are.
        gain: factor behind the sigmoid; None for 1.
    """

    def __init__(self, steps: int, last: LastNeuron, gain: float | None) -> None:
        super().__init__()
        self.last = last
        self.gain = gain
        # The initial weights of the one dense layer that this is in the papers.
        layer = nn.Linear(2 * steps if last is LastNeuron.IHF else steps, 1)
        self.weight, self.bias = layer.weight, layer.bias

    @property
    def spike_weights(self) -> Tensor | None:
        """A [T], or None where spikes are not used."""
        return None if self.last is LastNeuron.IHF_M else self._row[:, 0]

    @property
    def potential_weights(self) -> Tensor | None:
        """B [T], or None where potentials are not used."""
        return None if self.last is LastNeuron.IF else self._row[:, -1]

    @property
    def _row(self) -> Tensor:
        return self.weight.view(-1, 2 if self.last is LastNeuron.IHF else 1)

    def forward(self, weighted: Tensor) -> Tensor:
        """sigmoid(sum + bias), times the gain."""
        features = torch.sigmoid(weighted + self.bias)
        return features if self.gain is None else self.gain * features

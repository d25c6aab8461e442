import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.channels.binary import BinaryChannel
from nsc_deploy.channels.config import BinaryChannelConfig
from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.network import Reset
from nsc_deploy.models.features.codecs import (
    BitOrder,
    CodecForm,
    CodecName,
    LastNeuron,
    build_codec,
    entropy,
    entropy_penalty,
    entropy_per_position,
    rate_penalty,
)
from nsc_deploy.models.features.quantised_codec import dequantise, quantise

CLEAN = BinaryChannel(BinaryChannelConfig(p=0.0))
NOISY = BinaryChannel(BinaryChannelConfig(p=0.2))


def features(samples=6, channels=64, seed=0):
    return torch.relu(torch.randn(samples, channels, 2, 3, generator=torch.Generator().manual_seed(seed)))


def built(name, **fields):
    torch.manual_seed(0)
    return build_codec(CodecForm(CodecName(name), **{"channels": 64, "steps": 4, **fields}))


def lively(name, **fields):
    """A codec whose statistics make its neurons fire without training."""
    codec = built(name, **fields).eval()
    with torch.no_grad():
        for norm in (one.norm for one in (codec.conv1, codec.conv2, codec.conv3, codec.conv4)):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.05, 0.2)
            norm.bias.normal_(0.2, 0.2)
    return codec


def generator():
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("name", CodecName)
@pytest.mark.parametrize("steps", [1, 4, 8])
def test_features_become_the_same_number_of_bits_in_every_codec(name, steps):
    codec = built(name, steps=steps, bits=2)
    coded = codec(features(), NOISY, generator())
    assert coded.bits.shape == coded.received.shape == (steps, 6, 2, 2, 3)
    assert coded.bits[:, 0].numel() == codec.form.bits_per_inference(2, 3)
    assert set(coded.bits.unique().tolist()) <= {0.0, 1.0}
    assert coded.features.shape == (6, 64, 2, 3)


def test_the_sizes_of_the_papers():
    assert CodecForm(CodecName.SNN_SC, 2048).bits_per_inference(4, 4) == 4096
    assert CodecForm(CodecName.SNN_SC, 512, steps=4).bits_per_inference(2, 2) == 128
    form = CodecForm(CodecName.CNN_SC, 512)
    assert (form.hidden, form.bits) == (64, 8)
    assert (
        sum(p.numel() for p in built("snn-sc", channels=512, steps=8).parameters() if p.dim() == 4) == 599_040
    )


@pytest.mark.parametrize("name", CodecName)
def test_every_weight_learns_and_the_encoder_through_the_channel(name):
    codec = built(name)
    coded = codec(features(), NOISY, generator())
    (coded.features.square().sum() + codec.penalty(coded.bits)).backward()
    for parameter_name, parameter in codec.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert bool(parameter.grad.isfinite().all()), parameter_name
        assert bool((parameter.grad != 0).any()), parameter_name


@pytest.mark.parametrize("last", LastNeuron)
def test_the_same_spikes_on_snntorch_and_on_norse(last):
    one, other = built("snn-sc", last=last), built("snn-sc", last=last, framework="norse")
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        a, b = (codec(features(), NOISY, generator()) for codec in (one, other))
    assert torch.equal(a.bits, b.bits)
    torch.testing.assert_close(a.features, b.features, rtol=1e-5, atol=1e-6)


def naive_fire(current, steps_of):
    """IF neurons of the papers, step by step."""
    v, spikes, left = np.zeros_like(current[0]), [], []
    for t in range(steps_of):
        m = v + current[t]
        s = (m > 1).astype(np.float32)
        v = m - s
        spikes.append(s)
        left.append(v)
    return np.array(spikes), np.array(left)


@pytest.mark.parametrize("last", LastNeuron)
def test_the_spiking_codec_is_the_papers_computed_step_by_step(last):
    """Each step through each convolution, and the outputs S1, M1, ..., ST, MT through one dense layer."""
    codec = lively("snn-sc", last=last, bits=2)
    with torch.no_grad():
        coded = codec(features(), CLEAN, generator())

        def layer(convolution, signals):
            return np.array([convolution(torch.from_numpy(one)).numpy() for one in signals])

        steps = codec.form.steps
        spikes1, _ = naive_fire(layer(codec.conv1, [features().numpy()] * steps), steps)
        bits, _ = naive_fire(layer(codec.conv2, spikes1), steps)
        spikes3, _ = naive_fire(layer(codec.conv3, bits), steps)
        s, m = naive_fire(layer(codec.conv4, spikes3), steps)
        rows = {LastNeuron.IHF: [s, m], LastNeuron.IF: [s], LastNeuron.IHF_M: [m]}[last]
        stacked = torch.from_numpy(np.stack(rows, 1).reshape(-1, *s.shape[1:]))
        dense = torch.nn.functional.linear(
            stacked.movedim(0, -1), codec.converter.weight, codec.converter.bias
        ).squeeze(-1)
    assert 0.02 < bits.mean() < 0.98
    assert np.array_equal(coded.bits.numpy(), bits)
    torch.testing.assert_close(coded.features, torch.sigmoid(dense), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CodecName)
def test_finishing_folds_the_normalisation_and_keeps_the_names(name):
    codec = built(name)
    for seed in range(3):
        codec(features(seed=seed), CLEAN, generator())
    codec.eval()
    names = set(codec.state_dict())
    convolutions = [codec.conv1, codec.conv2, codec.conv3, codec.conv4]
    inputs = [torch.rand(4, one.convolution.in_channels, 2, 2, generator=generator()) for one in convolutions]
    with torch.no_grad():
        before = [one(values) for one, values in zip(convolutions, inputs, strict=True)]
        codec.finish()
        for one, values, expected in zip(convolutions, inputs, before, strict=True):
            torch.testing.assert_close(one(values), expected, rtol=1e-4, atol=1e-5)
        assert set(codec.state_dict()) == names
        once = codec(features(), CLEAN, generator())
        again = built(name)
        again.load_state_dict(codec.state_dict())
        again.eval()
        assert torch.equal(again(features(), CLEAN, generator()).features, once.features)
        codec.finish()
        assert torch.equal(codec(features(), CLEAN, generator()).features, once.features)


def test_finished_weights_make_sums_of_all_steps_exact_in_any_order():
    codec = built("snn-sc", steps=8)
    codec(features(), CLEAN, generator())
    codec.eval().finish()
    for convolution in (codec.conv2, codec.conv3, codec.conv4):
        folded = convolution.folded()
        rows = np.abs(folded.weight.astype(np.float64)).reshape(len(folded.weight), -1).sum(1)
        largest = 8 * (rows + np.abs(folded.bias.astype(np.float64)))
        values = np.concatenate([folded.weight.ravel(), folded.bias]).astype(np.float64)
        step = next(2.0**e for e in range(10, -60, -1) if (values / 2.0**e == np.rint(values / 2.0**e)).all())
        assert (largest / step <= 2**24).all()
        assert step <= 1, "the threshold lies on the grid too"


@pytest.mark.parametrize("order", BitOrder)
@given(st.integers(1, 10), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_the_quantiser_rounds_to_the_nearest_of_2_to_the_n_values(order, places, value):
    bits = quantise(torch.tensor([value]), places, order)
    assert bits.shape == (places, 1)
    back = float(dequantise(bits, order))
    assert abs(back - value) <= 0.5 / (2**places - 1) + 1e-6


def test_the_bits_of_a_value_by_hand():
    # 0.4 * 15 = 6: 0110 in natural binary, 0101 in Gray code.
    assert quantise(torch.tensor([0.4]), 4).flatten().tolist() == [0, 1, 1, 0]
    assert quantise(torch.tensor([0.4]), 4, BitOrder.GRAY).flatten().tolist() == [0, 1, 0, 1]
    flipped = torch.tensor([1.0, 1, 1, 0]).view(4, 1)
    assert float(dequantise(flipped)) == pytest.approx(14 / 15)
    assert float(dequantise(flipped, BitOrder.GRAY)) == pytest.approx(0b1011 / 15)
    erased = torch.tensor([0.5, 1, 1, 0]).view(4, 1)
    assert float(dequantise(erased)) == pytest.approx((4 + 6) / 15)


@pytest.mark.parametrize("order", BitOrder)
def test_quantiser_and_inverse_are_the_identity_to_gradients(order):
    x = torch.rand(5, 3, generator=generator()).requires_grad_()
    weight = torch.randn(5, 3, generator=generator())
    received = NOISY(quantise(x, 4, order), generator())
    (dequantise(received, order) * weight).sum().backward()
    torch.testing.assert_close(x.grad, weight)


def test_the_terms_of_the_loss_by_hand():
    # Step 1: a quarter of ones; step 2: all ones, in constant positions.
    bits = torch.tensor([[[1.0, 0], [0, 0]], [[1, 1], [1, 1]]]).view(2, 2, 1, 2, 1)
    quarter = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert float(entropy(bits)) == pytest.approx(quarter / 2, abs=2e-3)
    assert float(entropy_per_position(bits)) == pytest.approx(0.25, abs=2e-3)
    assert float(entropy_penalty(bits, 1.0)) == pytest.approx((1 - quarter / 2) ** 2, abs=2e-3)
    assert float(rate_penalty(bits, 0.5)) == pytest.approx((0.25**2 + 0.5**2) / 2)
    constant = torch.tensor([1.0, 0]).expand(1, 9, 1, 1, 2)
    assert float(entropy(constant)) == pytest.approx(1, abs=1e-6)
    assert float(entropy_per_position(constant)) == pytest.approx(0, abs=2e-3)


def test_silent_bits_are_pulled_up():
    bits = torch.zeros(2, 3, 1, 2, 2).requires_grad_()
    entropy_penalty(bits, 1.0).backward()
    assert bool((bits.grad < 0).all())


def test_s_jscc_asks_for_a_rate_and_snn_sc_for_an_entropy():
    bits = features(4)[None, :, :1].gt(0.5).float()
    assert float(built("s-jscc", target=0.5).penalty(bits)) == pytest.approx(float(rate_penalty(bits, 0.5)))
    assert float(built("snn-sc", target_weight=2.0).penalty(bits)) == pytest.approx(
        2 * float(entropy_penalty(bits, 1.0))
    )
    assert float(built("snn-sc", target_weight=0.0).penalty(bits)) == 0
    assert float(built("cnn-sc").penalty(bits)) == 0


def test_fewer_steps_than_were_sent_are_decoded_too():
    codec = lively("snn-sc")
    with torch.no_grad():
        bits = codec.encode(features())
        shortest, all_steps = codec.decode(bits[:1]), codec.decode(bits)
    assert shortest.shape == all_steps.shape
    assert not torch.equal(shortest, all_steps)


def test_a_gain_lifts_the_features_above_one():
    plain, lifted = built("snn-sc").eval(), built("snn-sc", gain=12.0).eval()
    with torch.no_grad():
        a, b = (codec(features(), CLEAN, generator()).features for codec in (plain, lifted))
    assert torch.equal(b, 12 * a)


@pytest.mark.parametrize(
    ("fields", "where"),
    [({"channels": 32}, "system.bits"), ({"channels": 7}, "system.hidden"), ({"steps": 0}, "system")],
)
def test_refuses_sizes_that_leave_nothing(fields, where):
    with pytest.raises(ConfigError) as refused:
        CodecForm(CodecName.SNN_SC, **{"channels": 64, **fields})
    assert refused.value.where == where


def test_what_cannot_be_subtracted_exactly_is_refused_before_it_is_trained():
    with pytest.raises(ConfigError, match=r"is 0\.7, no whole multiple of 1/256") as refused:
        CodecForm(CodecName.SNN_SC, 64, threshold=0.7)
    assert refused.value.where == "system.threshold"
    assert refused.value.hint == "Set it to 0.69921875."
    for fine in ({"threshold": 0.69921875}, {"threshold": 0.7, "reset": Reset.ZERO, "last": LastNeuron.IF}):
        assert CodecForm(CodecName.SNN_SC, 64, **fine).threshold == fine["threshold"]
    assert CodecForm(CodecName.CNN_SC, 64, threshold=0.7).threshold == 0.7


def test_neurons_add_up_in_float32_where_products_are_in_bfloat16():
    codec = build_codec(CodecForm(CodecName.SNN_SC, 64, steps=3))
    features = torch.randn(4, 64, 2, 2, generator=torch.Generator().manual_seed(0))
    kinds = set()
    for neurons in (codec.if1, codec.if3, codec.ihf4):
        neurons.register_forward_pre_hook(lambda _module, values: kinds.add(values[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        bits = codec.encode(features)
        current = codec.current_of(bits)
        given = codec.decode(bits)
    assert kinds | {current.dtype, given.dtype} == {torch.float32}
    exact = codec.conv1.eval()(features)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = codec.conv1(features)
    assert not torch.equal(exact, rounded)
    assert torch.allclose(exact, rounded, atol=0.05)

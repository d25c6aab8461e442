import math

import numpy as np
import pytest
import torch

from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.models.memory.spiking import STEPS, build_spiking_jsc


@pytest.fixture(params=[2, 8])
def codec(request):
    encoder, decoder = build_spiking_jsc(width=16, symbols=16, levels=request.param, seed=0)
    encoder.finish()
    decoder.finish()
    return encoder, decoder


def test_a_message_is_qpsk_of_unit_power(codec):
    symbols = codec[0](4 * torch.randn(5, 16))
    assert symbols.shape == (5, 16, 2)
    assert symbols.abs().unique().tolist() == pytest.approx([1 / math.sqrt(2)])
    assert len(symbols.unique()) == 2


def test_bits_arrive_as_the_spikes_that_were_sent(codec):
    encoder, decoder = codec
    vectors = 4 * torch.randn(5, 16)
    spikes = encoder.spikes(encoder.current(vectors))
    events = decoder.events(encoder(vectors))
    for first in range(0, events.shape[-1] - STEPS, decoder.lines):
        torch.testing.assert_close(events[..., first : first + decoder.lines], spikes)
    assert events[:, 0, -STEPS:].tolist() == torch.eye(STEPS).tolist()


def test_more_levels_tell_how_sure_a_bit_is():
    _, decoder = build_spiking_jsc(width=16, symbols=16, levels=4, seed=0)
    received = torch.linspace(-1.5, 1.5, 32).reshape(1, 16, 2)
    events = decoder.events(received)[:, 0]
    above = events[:, :-STEPS].reshape(STEPS, 3, decoder.lines)
    amplitude = 1 / math.sqrt(2)
    for number, value in enumerate(received.flatten().tolist()):
        step, line = divmod(number, decoder.lines)
        expected = [value > least * amplitude for least in (-0.5, 0, 0.5)]
        assert above[step, :, line].bool().tolist() == expected


def test_both_halves_are_graphs_that_give_the_same(codec, tmp_path):
    encoder, decoder = codec
    current = encoder.current(4 * torch.randn(7, 16))
    events = (torch.rand(STEPS, 7, decoder.first.in_features) < 0.5).float()
    with torch.no_grad():
        expected = encoder.spikes(current), decoder.values(events)
    for graph, entering, leaving in zip(
        (encoder.graph(0.01), decoder.graph(0.01)), (current, events), expected, strict=True
    ):
        write_network(tmp_path / "graph.nir", graph)
        found = simulate(read_network(tmp_path / "graph.nir"), entering.detach().numpy()).outputs["output"]
        np.testing.assert_array_equal(found, leaving.numpy())


def test_gradients_pass_spikes_and_bits(codec):
    encoder, decoder = codec
    decoder(encoder(4 * torch.randn(5, 16))).square().sum().backward()
    for layer in (encoder.drive, encoder.dense, decoder.first, decoder.second, decoder.out):
        assert layer.weight.grad is not None
        assert layer.weight.grad.abs().max() > 0


def test_a_codec_is_fitted_to_the_vectors_before_it_is_trained():
    encoder, decoder = build_spiking_jsc(width=16, symbols=16, levels=8, seed=0)
    vectors = 30 + 0.1 * torch.randn(200, 16)
    assert encoder(vectors).std(0).max() == 0
    for half in (encoder, decoder):
        half.fit(vectors.mean(0), vectors.std(0).mean())
    assert encoder(vectors).std(0).mean() > 0.2
    assert decoder(encoder(vectors)).mean().item() == pytest.approx(30, abs=0.1)

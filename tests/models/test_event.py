"""The event side of att-neurosc: comparators and spiking attention."""

import numpy as np
import pytest
import torch

from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.models.event import EventAttention, EventLayers, FrontEnd
from nsc_deploy.models.spiking import NeuronForm

FORM = NeuronForm(decay_steps=10, threshold=0.3, framework="snntorch")
GATE = NeuronForm(decay_steps=2, threshold=0.3, framework="snntorch")


def events(*shape, rate=0.2, seed=0):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def test_front_end_detects_samples_outside_a_square():
    front_end = FrontEnd(samples=3, level=0.5, levels=2)
    low, high = front_end.level.tolist()
    assert low == pytest.approx(0.5)
    assert high == pytest.approx(0.9)
    y = torch.tensor([[[0.6, 0.1, 0.2, 0.0, -1.0, -0.4]]])  # 0.6, 0.1 - 1.0i, 0.2 - 0.4i
    assert front_end(y)[0, 0].tolist() == [1, 1, 0, 0, 1, 0]


def test_front_end_does_not_see_quarter_turns_of_the_phase():
    front_end = FrontEnd(samples=9, level=0.4, levels=2)
    y = torch.randn(20, 4, 18, generator=torch.Generator().manual_seed(0))
    real, imaginary = y.chunk(2, -1)
    assert 0.1 < front_end(y).mean() < 0.9
    assert torch.equal(front_end(torch.cat([-imaginary, real], -1)), front_end(y))


def test_front_end_level_learns():
    front_end = FrontEnd(samples=8, level=0.5, levels=2)
    front_end(torch.randn(4, 2, 16)).sum().backward()
    assert (front_end.scaled_level.grad != 0).all()


def test_front_end_graph_gives_its_events():
    front_end = FrontEnd(samples=5, level=0.4, levels=3)
    y = torch.randn(20, 4, 10, generator=torch.Generator().manual_seed(1))
    network = assemble(front_end.graph(0.03, None))
    assert np.array_equal(simulate(network, y.numpy()).output, front_end(y).detach().numpy())


def test_untrained_attention_lets_every_event_pass_and_costs_no_veto():
    attention = EventAttention(16, 4, GATE)
    x = events(30, 5, 16)
    assert not attention.veto(x).any()
    assert torch.equal(attention(x), x)


def test_a_veto_stops_an_event_of_the_same_step():
    attention = EventAttention(2, 1, GATE)
    with torch.no_grad():
        attention.right.weight.copy_(torch.tensor([[0.0, 1.0]]))  # line 1 drives the hidden neuron
        attention.right.bias.zero_()
        attention.gate.weight.copy_(torch.tensor([[1.0], [0.0]]))  # which vetoes line 0
    x = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]], [[1.0, 0.0]]])
    assert attention(x)[:, 0].tolist() == [[1, 0], [0, 1], [1, 0]]


def test_every_weight_of_the_attention_learns():
    attention = EventAttention(16, 4, GATE, gain=4.0)
    with torch.no_grad():
        attention.gate.bias.zero_()  # a silent gate has nothing to weigh its inhibition by
    attention(events(30, 5, 16, rate=0.5)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in attention.parameters())


def test_event_layers_and_their_graph_agree_spike_for_spike_with_vetoes():
    torch.manual_seed(3)
    stage = EventLayers((24, 16, 10), FORM, GATE, 8, gain=4.0)
    with torch.no_grad():
        stage.attend.gate.bias.fill_(0.02)  # so that the gate is busy
        stage.attend.gate.weight.mul_(3)
    stage.finish()
    x = events(50, 6, 24)
    with torch.no_grad():
        spikes, vetoes = stage(x), stage.attend.veto(x)
    assert 0.05 < vetoes.mean() < 0.95
    assert spikes.mean() > 0.01
    network = assemble(stage.graph(0.03, None))
    assert np.array_equal(simulate(network, x.numpy()).output, spikes.numpy())


def test_event_layers_are_causal():
    torch.manual_seed(0)
    stage = EventLayers((24, 16, 10), FORM, GATE, 8, gain=4.0)
    x = events(20, 3, 24)
    later = x.clone()
    later[12:] = 1 - later[12:]
    with torch.no_grad():
        assert torch.equal(stage(x)[:12], stage(later)[:12])

import copy

import numpy as np
import pytest
import torch
from torch import nn

from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.models.dense import products_in
from nsc_deploy.models.event import EventLayers
from nsc_deploy.models.spiking import LearntDelays, NeuronForm, SpikingLayers


@pytest.mark.parametrize("framework", ["snntorch", "norse"])
def test_narrow_currents_are_those_of_wide_ones_bit_for_bit(framework):
    torch.manual_seed(1)
    narrow = SpikingLayers((24, 40, 33, 8), NeuronForm(8.0, 0.4, framework), gain=2.0)
    wide = copy.deepcopy(narrow)
    for layer in wide.body.dense:
        layer.widens = True
    events = (torch.rand(17, 5, 24) < 0.3).float()
    gradients = []
    for network in (narrow, wide):
        with products_in(torch.bfloat16, network):
            spikes = network(events)
            ((spikes.mean(0) - 0.3) * torch.arange(1.0, 9)).square().sum().backward()
        assert spikes.dtype is torch.float32 and 0.02 < spikes.mean() < 0.98
        gradients.append([spikes.detach(), *(parameter.grad for parameter in network.parameters())])
    assert narrow.body.dense[0].widens is False
    for mine, theirs in zip(*gradients, strict=True):
        assert mine.abs().sum() > 0 and torch.equal(mine, theirs)


def test_each_line_is_late_by_its_own_steps():
    late = LearntDelays(4, 3)
    with torch.no_grad():
        late.delay.copy_(torch.tensor([0.2, 1.4, 2.6, 9.0]))
    assert late.steps.tolist() == [0, 1, 3, 3]
    events = (torch.rand(6, 5, 4, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    wanted = torch.zeros_like(events)
    for line, steps in enumerate(late.steps.tolist()):
        wanted[steps:, :, line] = events[: 6 - steps, :, line]
    assert torch.equal(late(events), wanted)


@pytest.mark.parametrize("most", [1, 4, 9])
def test_samples_may_be_shorter_than_the_longest_delay(most: int):
    late = LearntDelays(3, most)
    with torch.no_grad():
        late.delay.fill_(most)
    events = torch.ones(4, 2, 3)
    assert late(events).sum() == max(0, 4 - most) * 6


def test_a_delay_moves_towards_the_step_in_which_its_events_are_wanted():
    late = LearntDelays(1, 5)
    with torch.no_grad():
        late.delay.fill_(1.2)
    events, wanted = torch.zeros(8, 1, 1), torch.zeros(8, 1, 1)
    events[1], wanted[5] = 1.0, 1.0
    blur = torch.tensor([1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0]).view(1, 1, -1)

    def smooth(signal: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv1d(signal.view(1, 1, -1), blur, padding=3)

    optimiser = torch.optim.SGD(late.parameters(), lr=0.005)
    for _ in range(300):
        optimiser.zero_grad()
        (smooth(late(events)) - smooth(wanted)).square().sum().backward()
        optimiser.step()
    assert late.steps.item() == 4


@pytest.mark.parametrize("gate_hidden", [0, 6])
def test_delays_of_a_stage_are_nodes_of_its_graph(gate_hidden: int):
    torch.manual_seed(3)
    form = NeuronForm(5.0, 0.3, "snntorch")
    stage = (
        EventLayers((7, 12, 4), form, form, gate_hidden, gain=4.0, delays=3)
        if gate_hidden
        else SpikingLayers((7, 12, 4), form, gain=4.0, delays=3)
    )
    stage.finish()
    events = (torch.rand(11, 6, 7) < 0.4).float()
    with torch.no_grad():
        spikes = stage(events)
    network = assemble(stage.graph(0.01, None))
    assert spikes.any()
    assert [node.primitive for node in network.nodes].count("Delay") == 2
    assert np.array_equal(simulate(network, events.numpy()).output, spikes.numpy())

import math

import numpy as np
import pytest
import torch

from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.models.memory.spiking import STEPS
from nsc_deploy.models.memory.spiking_sender import STEPS_A_WORD, build_spiking_sender

WORDS = torch.tensor([[3, 5, 0, 0, 0], [5, 3, 0, 0, 0], [1, 2, 3, 4, 11], [7, 0, 0, 0, 0]])


@pytest.fixture
def sender():
    made = build_spiking_sender(words=12, longest=5, width=16, symbols=16, seed=0)
    made.finish()
    return made


def test_words_end_where_the_ticks_begin(sender):
    events = sender.events(WORDS)
    assert events.shape == (5 * STEPS_A_WORD + STEPS, 4, 11 + STEPS)
    step, line = events[:, 0].nonzero(as_tuple=True)
    assert step.tolist() == [6, 8, 10, 11, 12, 13]
    assert line.tolist() == [2, 4, 11, 12, 13, 14]
    assert sender.recurrent(events)[:6, 0].sum() == 0  # at rest until the first word


def test_a_message_is_qpsk_of_unit_power_and_knows_the_order_of_words(sender):
    symbols = sender(WORDS)
    assert symbols.shape == (4, 16, 2)
    assert symbols.abs().unique().tolist() == pytest.approx([1 / math.sqrt(2)])
    assert not torch.equal(
        sender.recurrent(sender.events(WORDS))[:, 0], sender.recurrent(sender.events(WORDS))[:, 1]
    )


def test_a_message_does_not_depend_on_padding(sender):
    padded = torch.cat([WORDS[:, :2], torch.zeros(4, 3, dtype=torch.int64)], 1)
    torch.testing.assert_close(sender(padded[:2]), sender(WORDS[:2, :2]))


def test_the_graph_gives_the_same_spikes(sender, tmp_path):
    events = sender.events(torch.randint(1, 12, (40, 5)))
    write_network(tmp_path / "sender.nir", sender.graph(0.001))
    network = read_network(tmp_path / "sender.nir")
    found = simulate(network, events.numpy(), record=["neurons"]).outputs
    with torch.no_grad():
        np.testing.assert_array_equal(found["output"], sender.spikes(events).numpy())
        recurrent = sender.recurrent(events).numpy()
    np.testing.assert_array_equal(found["neurons"], recurrent)
    assert 0.01 < recurrent.mean() < 0.5


def test_gradients_reach_the_words_through_time(sender):
    sender(WORDS).square().sum().backward()
    sender.zero_grad()
    (sender(WORDS) * torch.randn(4, 16, 2)).sum().backward()
    for layer in (sender.read, sender.back, sender.dense):
        assert layer.weight.grad.abs().max() > 0

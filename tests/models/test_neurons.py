import copy
import math
import pickle

import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters, lif_box_feed_forward_step
from norse.torch.module.snn import SNN

from nsc_deploy.errors import ConfigError
from nsc_deploy.models.neurons import Leaky, threshold_events

HARD_BETAS = [0.0, 2.0**-29, 0.5, 0.9, 1 - 2.0**-24, 1.0]
HARD_THRESHOLDS = [0.0, 1e-30, 0.3, 0.5, 1.0, 1e30]


def snntorch_loop(current, beta, threshold, state=None):
    """What a user of snnTorch writes, without a line of ours."""
    neuron = snntorch.Leaky(
        beta,
        threshold,
        spike_grad=snntorch.surrogate.atan(alpha=2),
        reset_mechanism="zero",
        reset_delay=False,
    )
    state = torch.zeros_like(current[0]) if state is None else state
    spikes = []
    for step in current:
        spike, state = neuron(step, state)
        spikes.append(spike)
    return torch.stack(spikes), state


def gradients(run, current, state, seed=0):
    """dL/d(current, state) of a random linear loss of the spikes and the last potentials."""
    current, state = current.clone().requires_grad_(), state.clone().requires_grad_()
    spikes, last = run(current, state)
    generator = torch.Generator().manual_seed(seed)
    loss = (spikes * torch.randn(spikes.shape, generator=generator, dtype=spikes.dtype)).sum()
    loss = loss + (last * torch.randn(last.shape, generator=generator, dtype=last.dtype)).sum()
    loss.backward()
    return spikes.detach(), last.detach(), current.grad, state.grad


def assert_gradients_close(mine, expected):
    assert (mine - expected).norm() <= 1e-5 * expected.norm()
    torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@st.composite
def adversarial_layers(draw):
    """Decays, thresholds and currents that put potentials on, beside and far from the threshold."""
    beta, threshold = draw(st.sampled_from(HARD_BETAS)), draw(st.sampled_from(HARD_THRESHOLDS))
    at = torch.tensor(threshold)
    above, below = torch.nextafter(at, torch.tensor(math.inf)), torch.nextafter(at, torch.tensor(-math.inf))
    hard = [0.0, -0.0, float(at), float(above), float(below), -float(at), 1e30, -1e30, 1e-45, 0.1, -0.1]
    value = st.sampled_from(hard) | st.floats(-2, 2, width=32)
    steps, samples, neurons = draw(st.integers(1, 12)), draw(st.integers(1, 2)), draw(st.integers(1, 9))
    size = steps * samples * neurons
    values = draw(st.lists(value, min_size=size, max_size=size))
    return beta, threshold, torch.tensor(values).view(steps, samples, neurons)


@settings(max_examples=80, deadline=None)
@given(adversarial_layers())
def test_same_spikes_in_the_scan_in_snntorch_and_in_norse(layer):
    beta, threshold, current = layer
    expected, expected_last = snntorch_loop(current, beta, threshold)
    for framework, fused in [("snntorch", True), ("snntorch", False), ("norse", True)]:
        neuron = Leaky(beta, threshold, current.shape[2], framework, fused=fused)
        spikes, last = neuron.run(current)
        assert torch.equal(spikes, expected), (framework, fused)
        assert torch.equal(last, expected_last), (framework, fused)
        assert torch.equal(neuron.run(current.clone().requires_grad_())[0], expected), (framework, fused)


@pytest.mark.parametrize("framework", ["snntorch", "norse"])
@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("scale", [0.2, 1.0, 20.0])
def test_gradients_are_those_of_snntorch(framework, per_neuron, scale):
    generator = torch.Generator().manual_seed(7)
    current = scale * torch.randn(40, 8, 33, generator=generator)
    state = -torch.rand(8, 33, generator=generator)
    beta = torch.rand(33, generator=generator) if per_neuron else torch.tensor(0.9)
    threshold = torch.rand(33, generator=generator) if per_neuron else torch.tensor(0.3)
    neuron = Leaky(beta, threshold, 33, framework)

    mine = gradients(neuron.run, current, state)
    expected = gradients(lambda c, s: snntorch_loop(c, beta, threshold, s), current, state)

    assert 0 < expected[0].mean() < 1
    assert torch.equal(mine[0], expected[0])
    assert torch.equal(mine[1], expected[1])
    assert_gradients_close(mine[2], expected[2])
    assert_gradients_close(mine[3], expected[3])


def test_the_gradient_passes_through_the_reset():
    # One neuron, two steps: I[0] makes a spike, whose reset shuts v[0] out of v[1] but for the surrogate.
    current = torch.tensor([0.5, 0.1]).view(2, 1, 1).requires_grad_()
    spikes = Leaky(0.9, 0.3, 1)(current)
    spikes[1].sum().backward()
    slope = [1 / (1 + (math.pi * (v - 0.3)) ** 2) for v in (0.5, 0.1)]
    assert spikes.flatten().tolist() == [1, 0]
    assert current.grad.flatten().tolist() == pytest.approx(
        [slope[1] * 0.9 * -0.5 * slope[0], slope[1]], rel=1e-6
    )


@pytest.mark.parametrize("framework", ["snntorch", "norse"])
@pytest.mark.parametrize("fused", [True, False])
def test_a_stream_in_pieces_is_the_whole(framework, fused):
    current = torch.randn(20, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    neuron = Leaky(0.8, 0.5, (4, 5), framework, fused=fused)
    whole, last = neuron.run(current)
    first, state = neuron.run(current[:7])
    kept = state.clone()
    second, end = neuron.run(current[7:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(end, last)
    assert torch.equal(state, kept), "an earlier state must not be written over"


def test_inference_and_strided_inputs_give_the_same_spikes():
    current = torch.randn(12, 5, 6, generator=torch.Generator().manual_seed(2))
    neuron = Leaky(0.9, 0.3, 6)
    expected = neuron(current)
    batch_first = current.transpose(0, 1).contiguous().transpose(0, 1)
    with torch.inference_mode():
        assert torch.equal(neuron(current), expected)
        assert torch.equal(neuron(batch_first), expected)
    with torch.no_grad():
        assert torch.equal(neuron(current.clone().requires_grad_()), expected)
    leaf = batch_first.clone().requires_grad_()
    assert torch.equal(neuron(leaf.transpose(0, 1).transpose(0, 1)), expected)


def test_one_state_dict_for_both_frameworks_and_every_copy():
    one, other = Leaky(0.9, 0.3, 4), Leaky(0.5, 1.0, 4, "norse")
    other.load_state_dict(one.state_dict())
    assert set(one.state_dict()) == {"beta", "threshold"}
    current = torch.randn(9, 2, 4, generator=torch.Generator().manual_seed(3))
    pickled = pickle.loads(pickle.dumps(Leaky(0.9, 0.3, 4, fused=False)))  # noqa: S301 - as a worker gets it
    for made in (other, copy.deepcopy(one), pickled):
        assert torch.equal(made(current), one(current))


def test_double_precision_runs_in_double():
    current = torch.randn(9, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    neuron = Leaky(0.9, 0.3, 4).double()
    assert neuron(current).dtype == torch.float64
    assert torch.equal(neuron(current), Leaky(0.9, 0.3, 4, fused=False).double()(current))


def test_norses_stock_step_is_the_same_neuron_but_for_rounding():
    beta, threshold = 0.9, 0.3
    current = torch.randn(100, 64, 128, generator=torch.Generator().manual_seed(5))
    neuron = Leaky(beta, threshold, 128, "norse")
    mine = neuron(current)

    gain = 1 - neuron.beta.double()
    p = LIFBoxParameters(tau_mem_inv=gain.float(), v_th=neuron.threshold)
    state, stock = LIFBoxFeedForwardState(v=torch.zeros(64, 128)), []
    for step in current / gain.float():
        spike, state = lif_box_feed_forward_step(step, state, p, dt=1.0)
        stock.append(spike)
    stock = torch.stack(stock)

    differs = (mine != stock).any(0)
    assert (mine * stock).sum() / mine.sum() > 0.9999
    # And where they part, they part at a potential within rounding of the threshold.
    v = potentials_before_reset(current, beta, threshold)
    first = (mine != stock).float().argmax(0)
    gap = (v.gather(0, first[None])[0] - threshold).abs()
    assert (gap[differs] < 2e-6).all()


def potentials_before_reset(current, beta, threshold):
    v, recorded = torch.zeros_like(current[0]), []
    for step in current:
        v = beta * v + step
        recorded.append(v)
        v = torch.where(v > threshold, 0, v)
    return torch.stack(recorded)


def test_norse_runs_in_norses_own_sequence_module():
    loop = Leaky(0.9, 0.3, 4, "norse")._loop
    assert type(loop.network) is SNN


@pytest.mark.parametrize(
    ("beta", "threshold", "framework", "where"),
    [
        (-0.1, 0.3, "snntorch", "beta"),
        (1.1, 0.3, "snntorch", "beta"),
        (math.nan, 0.3, "snntorch", "beta"),
        (1e-12, 0.3, "norse", "beta"),
        (0.9, -0.3, "snntorch", "threshold"),
        (0.9, math.inf, "snntorch", "threshold"),
        (torch.ones(3), 0.3, "snntorch", "beta"),
        (0.9, 0.3, "nengo", "framework"),
    ],
)
def test_refuses_what_it_cannot_represent(beta, threshold, framework, where):
    with pytest.raises(ConfigError) as refused:
        Leaky(beta, threshold, 4, framework)
    assert refused.value.where == where


@pytest.mark.parametrize(
    ("current", "state"),
    [
        (torch.zeros(5, 4), None),
        (torch.zeros(5, 2, 3), None),
        (torch.zeros(5, 2, 4, dtype=torch.float64), None),
        (torch.zeros(5, 2, 4), torch.zeros(1, 4)),
        (torch.zeros(5, 2, 4), torch.zeros(2, 4, dtype=torch.float64)),
    ],
)
def test_refuses_what_does_not_fit(current, state):
    with pytest.raises(ValueError, match=r"is|computes"):
        Leaky(0.9, 0.3, 4).run(current, state)


def test_threshold_events_are_memoryless_and_differentiable_in_both():
    x = torch.tensor([0.2, 0.5, 0.50001, -3.0, 7.0], requires_grad=True)
    threshold = torch.tensor(0.5, requires_grad=True)
    events = threshold_events(x, threshold)
    weight = torch.arange(1.0, 6.0)
    (events * weight).sum().backward()
    theirs = torch.tensor([0.2, 0.5, 0.50001, -3.0, 7.0], requires_grad=True)
    (snntorch.surrogate.atan(alpha=2)(theirs - 0.5) * weight).sum().backward()
    assert events.tolist() == [0, 0, 1, 0, 1]
    torch.testing.assert_close(x.grad, theirs.grad)
    torch.testing.assert_close(threshold.grad, -theirs.grad.sum())

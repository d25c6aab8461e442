import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.network import Reset
from nsc_deploy.kernels import COMPILES
from nsc_deploy.models.features import neurons as module
from nsc_deploy.models.features.neurons import IntegrateFire, IntegrateHybridFire, sigmoid_derivative

LOOPS = [("snntorch", True), ("snntorch", False), ("norse", True)]


def naive(current, threshold, reset):
    """The equations of the papers, one number after the other."""
    spikes, after = np.zeros_like(current), np.zeros_like(current)
    flat, fired, left = (a.reshape(len(a), -1) for a in (current, spikes, after))
    for n in range(flat.shape[1]):
        v = np.float32(0)
        for t in range(len(flat)):
            m = v + flat[t, n]
            fired[t, n] = m > np.float32(threshold)
            v = (
                (m - np.float32(threshold) if reset is Reset.SUBTRACT else np.float32(0))
                if fired[t, n]
                else m
            )
            left[t, n] = v
    return spikes, after


@st.composite
def adversarial(draw):
    """Currents that put potentials on, beside and far above the threshold, several times it too."""
    threshold = draw(st.sampled_from([1.0, 0.3, 2.0**-20, 1e6]))
    at = np.float32(threshold)
    beside = [
        at,
        np.nextafter(at, np.float32(np.inf)),
        np.nextafter(at, np.float32(0)),
        -at,
        3 * at,
        0.5 * at,
    ]
    value = st.sampled_from([float(one) for one in beside] + [0.0, -0.0, 1e30]) | st.floats(-3, 3, width=32)
    steps, samples, neurons = draw(st.integers(1, 9)), draw(st.integers(1, 2)), draw(st.integers(1, 5))
    size = steps * samples * neurons
    values = np.array(draw(st.lists(value, min_size=size, max_size=size)), np.float32)
    return threshold, draw(st.sampled_from(Reset)), values.reshape(steps, samples, neurons)


@settings(max_examples=50, deadline=None)
@given(adversarial())
def test_every_loop_has_the_spikes_and_potentials_of_the_equations(case):
    threshold, reset, current = case
    expected = naive(current, threshold, reset)
    for framework, fused in LOOPS:
        neurons = IntegrateFire(threshold, 4.0, reset, framework, fused=fused)
        for got, wanted in zip(neurons.run(torch.from_numpy(current)), expected, strict=True):
            np.testing.assert_array_equal(got.numpy(), wanted, err_msg=f"{framework} {fused}")


def lying(current, how):
    """The same currents [T, B, C, h, w], otherwise in memory."""
    if how == "channels last":
        return current.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    if how == "one for all steps":
        return current[:1].expand_as(current)
    if how == "with gaps":
        return torch.stack([current, current], -1)[..., 0]
    if how == "samples first":
        return current.transpose(0, 1).contiguous().transpose(0, 1)
    return current


def outcome(current, a, b, grads, reset, *, compiled):
    """Spikes, potentials and running sum, then their gradients, compiled or in torch's passes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "COMPILES", compiled)
        leaf, a, b = (
            one.clone(memory_format=torch.preserve_format).requires_grad_() for one in (current, a, b)
        )
        given = leaf if current.stride(0) else leaf[:1].expand_as(current)
        spikes, after = IntegrateFire(0.5, 4.0, reset).run(given)
        total = IntegrateHybridFire(0.5, 4.0, reset).weighted(given, a, b)
        both = (spikes * grads).sum() + (after * grads.flip(0)).sum()
        of_outputs = torch.autograd.grad(both, leaf)
        of_spikes = torch.autograd.grad((IntegrateFire(0.5, 4.0, reset)(given) * grads).sum(), leaf)
        return (spikes, after, total), (
            *of_outputs, *of_spikes, *torch.autograd.grad((total * grads[0]).sum(), [leaf, a, b])
        )  # fmt: skip


@pytest.mark.skipif(not COMPILES, reason="numba is not installed")
@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*(st.integers(1, most) for most in (9, 3, 40, 3, 3))),
    st.sampled_from(["", "channels last", "one for all steps", "with gaps", "samples first"]),
    st.sampled_from(Reset),
    st.sampled_from([0.5, 3.0, 100.0]),
    st.integers(0, 2**31),
)
def test_compiled_loops_fire_as_the_passes_do_and_learn_alike(shape, how, reset, scale, seed):
    chance = torch.Generator().manual_seed(seed)
    current = lying(scale * torch.randn(shape, generator=chance), how)
    a, b = torch.randn(2, len(current), generator=chance)
    grads = torch.randn(shape, generator=chance)
    (mine, learnt), (passes, expected) = (
        outcome(current, a, b, grads, reset, compiled=compiled) for compiled in (True, False)
    )
    for one, other in zip(mine[:2], passes[:2], strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(mine[2], passes[2], rtol=1e-5, atol=1e-5 * scale)
    for one, other in zip(learnt, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * max(1.0, float(other.abs().max())))


def test_more_neurons_than_a_piece_holds_are_all_run():
    current = torch.randn(3, 2, 3000, generator=torch.Generator().manual_seed(4))
    for got, wanted in zip(
        IntegrateFire().run(current), naive(current.numpy(), 1.0, Reset.SUBTRACT), strict=True
    ):
        np.testing.assert_array_equal(got.numpy(), wanted)


def test_other_numbers_than_float32_are_run_in_passes():
    current = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    assert torch.equal(IntegrateFire()(current), IntegrateFire()(current.float()).double())


def test_no_number_stays_none_in_the_gradient():
    current = torch.tensor([0.3, math.nan]).view(2, 1, 1).requires_grad_()
    spikes, after = IntegrateFire().run(current)
    (spikes.sum() + after.sum()).backward()
    assert current.grad.isnan().all()


def gradients(neurons, current):
    """Of a random linear loss of spikes and potentials."""
    current = current.clone().requires_grad_()
    chance = torch.Generator().manual_seed(5)
    loss = sum((out * torch.randn(out.shape, generator=chance)).sum() for out in neurons.run(current))
    return torch.autograd.grad(loss, current)[0]


@pytest.mark.parametrize("reset", Reset)
@pytest.mark.parametrize("slope", [1.0, 4.0])
def test_gradients_flow_through_the_reset_as_autograd_has_them(reset, slope):
    # The frameworks' loops leave the gradient to autograd; potentials reach far below the threshold.
    current = 3 * torch.randn(8, 5, 4, 3, generator=torch.Generator().manual_seed(1)) - 1
    mine, snntorch, norse = (
        gradients(IntegrateFire(1.0, slope, reset, framework, fused=fused), current)
        for framework, fused in LOOPS
    )
    assert bool(mine.isfinite().all())
    torch.testing.assert_close(mine, snntorch, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine, norse, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_two_steps_by_hand():
    current = torch.tensor([1.5, 0.2]).view(2, 1, 1).requires_grad_()
    spikes, after = IntegrateFire(1.0, 4.0).run(current)
    assert after.flatten().tolist() == pytest.approx([0.5, 0.7])
    spikes[1].sum().backward()
    first, second = (4 * (p := 1 / (1 + math.exp(-4 * (m - 1)))) * (1 - p) for m in (1.5, 0.7))
    assert current.grad.flatten().tolist() == pytest.approx([second * (1 - first), second], rel=1e-5)


@pytest.mark.parametrize("reset", Reset)
@pytest.mark.parametrize("kept", ["both", "spikes", "potentials"])
def test_the_running_sum_is_that_of_all_outputs_and_so_is_its_gradient(reset, kept):
    chance = torch.Generator().manual_seed(2)
    current = torch.randn(6, 3, 2, 4, generator=chance)
    a = None if kept == "potentials" else torch.randn(6, generator=chance).requires_grad_()
    b = None if kept == "spikes" else torch.randn(6, generator=chance).requires_grad_()
    weight = torch.randn(3, 2, 4, generator=chance)
    wanted = [one for one in (a, b) if one is not None]
    results = []
    for framework, fused in LOOPS:
        leaf = current.clone().requires_grad_()
        total = IntegrateHybridFire(1.0, 4.0, reset, framework, fused=fused).weighted(leaf, a, b)
        results.append((total.detach(), *torch.autograd.grad((total * weight).sum(), [leaf, *wanted])))
    spikes, after = IntegrateFire(reset=reset).run(current)
    plain = sum(
        (0 if a is None else a[t] * spikes[t]) + (0 if b is None else b[t] * after[t]) for t in range(6)
    )
    torch.testing.assert_close(results[0][0], plain.detach(), rtol=1e-5, atol=1e-6)
    for other in results[1:]:
        for mine, theirs in zip(results[0], other, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_the_running_sum_keeps_one_potential_a_step_for_its_gradient():
    steps, current = 16, torch.randn(16, 8, 8).requires_grad_()
    weights = torch.randn(steps).requires_grad_(), torch.randn(steps).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()), lambda x: x):
        IntegrateHybridFire().weighted(current, *weights)
    assert sum(kept) == current.numel() + 2 * steps


def test_the_derivative_is_finite_everywhere():
    x = torch.tensor([-1e30, -100.0, -1.0, 0.0, 1.0, 100.0, 1e30])
    assert sigmoid_derivative(x.clone(), 4.0).tolist() == pytest.approx(
        [0, 0, 0.0706508, 1, 0.0706508, 0, 0], rel=1e-5
    )


def test_every_copy_fires_alike():
    current = torch.randn(9, 2, 4, generator=torch.Generator().manual_seed(3))
    for framework, fused in LOOPS:
        neurons = IntegrateFire(framework=framework, fused=fused)
        for made in (copy.deepcopy(neurons), pickle.loads(pickle.dumps(neurons))):  # noqa: S301 - as a worker gets it
            assert torch.equal(made(current), IntegrateFire()(current))


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": math.inf}, "threshold"),
        ({"slope": -1.0}, "slope"),
        ({"slope": math.nan}, "slope"),
        ({"framework": "nengo"}, "framework"),
    ],
)
def test_refuses_what_it_cannot_represent(settings, where):
    with pytest.raises(ConfigError) as refused:
        IntegrateFire(**settings)
    assert refused.value.where == where

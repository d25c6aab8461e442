import copy
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from nsc_deploy import kernels
from nsc_deploy.models import event_products
from nsc_deploy.models.dense import Dense, dense, products_in

SMALL = event_products._SMALL
ROWS = st.integers(0, 300)
SIZES = st.tuples(ROWS, st.integers(1, 70), st.integers(64, 90))


def drawn(seed, rows, inputs, outputs, *, share=0.1, bias=True):
    """A layer and a signal of whole numbers, nearly all of them zero."""
    torch.manual_seed(seed)
    layer = Dense(inputs, outputs, bias=bias)
    signal = torch.randint(-3, 4, (rows, inputs)) * (torch.rand(rows, inputs) < share)
    return layer, signal.float()


def learnt(result, layer, signal):
    """Result and the gradients of a sum that treats every value of it differently."""
    result.mul(torch.arange(result.numel()).view_as(result) % 7 - 3.0).sum().backward()
    return [result.detach(), signal.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.fixture(autouse=True, scope="module")
def _small_products_too():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_products, "_SMALL", 0)
        yield


@pytest.fixture
def taken(monkeypatch):
    """How often products were formed of events."""
    calls = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(
        event_products, "event_product", lambda *given: (calls.append(1), kernels.event_product(*given))
    )
    return calls


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 9), SIZES, st.booleans(), st.floats(0, 0.2))
def test_a_product_of_events_is_the_dense_one_bit_for_bit_where_sums_are_exact(seed, sizes, bias, share):
    layer, signal = drawn(seed, *sizes, share=share, bias=bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_((parameter * 64).round() / 64)
    theirs, layers = [], (layer, copy.deepcopy(layer))
    for own, product in zip(layers, (Dense.forward, nn.Linear.forward), strict=True):
        events = signal.clone().requires_grad_()
        theirs.append(learnt(product(own, events), own, events))
    for mine, other in zip(*theirs, strict=True):
        assert torch.equal(mine, other)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9), SIZES)
def test_with_any_weights_it_is_within_rounding(seed, sizes):
    layer, signal = drawn(seed, *sizes)
    twin = copy.deepcopy(layer).double()
    events, exact = signal.clone().requires_grad_(), signal.double().requires_grad_()
    mine = learnt(layer(events), layer, events)
    other = learnt(nn.Linear.forward(twin, exact), twin, exact)
    for one, two in zip(mine, other, strict=True):
        torch.testing.assert_close(one.double(), two, rtol=1e-5, atol=2e-4)


def test_few_events_are_taken_one_by_one_and_many_as_a_matrix(taken):
    layer, few = drawn(1, 200, 40, 64)
    assert torch.allclose(layer(few), functional.linear(few, layer.weight, layer.bias), atol=1e-5)
    assert len(taken) == 1
    for many in (torch.ones(200, 40), torch.rand(200, 40)):
        assert torch.equal(layer(many), functional.linear(many, layer.weight, layer.bias))
    narrow = Dense(40, 63)
    assert torch.equal(narrow(few), functional.linear(few, narrow.weight, narrow.bias))
    wide = copy.deepcopy(layer).double()
    assert wide(few.double()).dtype is torch.float64
    assert len(taken) == 1


def test_a_small_product_is_one_of_matrices(taken, monkeypatch):
    monkeypatch.setattr(event_products, "_SMALL", SMALL)
    layer, signal = drawn(8, 512, 65, 64)
    small = SMALL // (65 * 64)
    assert 0 < small < 512
    layer(signal[:small])
    assert not taken
    layer(signal[: small + 1])
    assert len(taken) == 1


def test_signals_of_any_shape_and_layout(taken):
    layer, signal = drawn(2, 12 * 5, 40, 64)
    expected = nn.Linear.forward(layer, signal).view(12, 5, 64)
    for layout in (
        signal.view(12, 5, 40),
        signal.view(12, 5, 40).transpose(0, 1).contiguous().transpose(0, 1),
    ):
        torch.testing.assert_close(layer(layout), expected, rtol=1e-5, atol=1e-5)
    spread = torch.zeros(12, 5, 80)
    spread[..., ::2] = signal.view(12, 5, 40)
    torch.testing.assert_close(layer(spread[..., ::2]), expected, rtol=1e-5, atol=1e-5)
    one = layer(signal[0])
    assert one.shape == (64,)
    torch.testing.assert_close(one, expected[0, 0], rtol=1e-5, atol=1e-5)
    assert len(taken) == 3  # one row is less work than a loop over events takes to begin


def test_a_graph_that_is_recorded_holds_the_product_for_any_signal(taken):
    layer, signal = drawn(4, 30, 40, 64)
    expected = nn.Linear.forward(layer, signal)
    still = torch.zeros(30, 40)
    traced = torch.jit.trace(layer, still, check_trace=False)
    exported = torch.export.export(layer, (still,)).module()
    for recorded in (traced, exported, torch.fx.symbolic_trace(layer)):
        torch.testing.assert_close(recorded(signal), expected)
    assert not taken


def test_inside_transforms_of_torch_products_are_torchs(taken):
    layer, signal = drawn(5, 30, 40, 64)
    expected = nn.Linear.forward(layer, signal)
    torch.testing.assert_close(torch.vmap(layer)(signal.view(3, 10, 40)).flatten(0, 1), expected)
    own = dict(layer.named_parameters())
    of_sum = torch.func.grad(lambda given: torch.func.functional_call(layer, given, signal).sum())(own)
    torch.testing.assert_close(of_sum["weight"], signal.sum(0).expand(64, 40))
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert layer(torch.zeros(30, 40)).shape == (30, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(signal).dtype is torch.bfloat16
    assert not taken


def test_a_bias_alone_is_trained_too(taken):
    layer, signal = drawn(6, 30, 40, 64)
    layer.weight.requires_grad_(False)
    layer(signal).sum().backward()
    assert layer.weight.grad is None and torch.equal(layer.bias.grad, torch.full((64,), 30.0))
    assert len(taken) == 1


def test_a_sign_that_torch_takes_when_it_reads_is_taken(taken):
    layer, signal = drawn(7, 30, 40, 64)
    turned = torch.complex(signal, signal).conj().imag
    assert turned.is_neg()
    torch.testing.assert_close(layer(turned), nn.Linear.forward(layer, -signal), rtol=1e-5, atol=1e-5)
    assert len(taken) == 1


@pytest.mark.parametrize("shape", [(0, 40), (0, 5, 40), (3, 0, 40)])
def test_nothing_comes_of_no_rows(shape):
    assert Dense(40, 64)(torch.zeros(shape)).shape == (*shape[:-1], 64)


@pytest.mark.parametrize("shape", [(40, 41), (0, 41), (80, 20)])
def test_torch_refuses_what_does_not_fit(shape):
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        Dense(40, 64)(torch.zeros(shape))


def test_without_gradients_nothing_is_kept_and_the_result_is_the_same(taken):
    layer, signal = drawn(3, 30, 40, 64)
    expected = layer(signal)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            result = layer(signal)
        assert not result.requires_grad and torch.equal(result, expected.detach())
    frozen = copy.deepcopy(layer).requires_grad_(False)
    assert not frozen(signal).requires_grad
    events = signal.clone().requires_grad_()
    frozen(events).sum().backward()
    torch.testing.assert_close(events.grad, frozen.weight.sum(0).expand_as(signal), rtol=1e-5, atol=1e-5)
    assert len(taken) == 5


def test_a_seed_stands_for_the_same_weights_as_of_torchs_layers():
    torch.manual_seed(5)
    theirs = nn.Linear(40, 64)
    torch.manual_seed(5)
    assert torch.equal(Dense(40, 64).weight, theirs.weight)
    torch.manual_seed(5)
    other = nn.Linear(40, 64)
    nn.init.uniform_(other.weight, -2 / 40**0.5, 2 / 40**0.5)
    torch.manual_seed(5)
    assert torch.equal(dense(40, 64, gain=2.0).weight, other.weight)


def test_weights_lie_in_memory_as_the_rows_that_are_added_up():
    layer = copy.deepcopy(Dense(40, 64))
    layer.load_state_dict(nn.Linear(40, 64).state_dict())
    assert layer.weight.shape == (64, 40) and layer.weight.t().is_contiguous()
    signal = drawn(0, 20, 40, 64)[1]
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.1)
    layer(signal).square().sum().backward()
    optimiser.step()
    assert layer.weight.t().is_contiguous() and layer.weight.grad.t().is_contiguous()


def test_without_the_compiler_products_are_torchs():
    code = """
import sys
sys.modules["numba"] = None
import torch
from nsc_deploy.models.dense import Dense
layer, signal = Dense(40, 64), torch.eye(40)
assert torch.equal(layer(signal), torch.nn.Linear.forward(layer, signal))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_products_in_bfloat16_are_near_and_currents_stay_in_float32():
    torch.manual_seed(0)
    layer = Dense(64, 8)
    spikes = (torch.rand(5, 3, 64) < 0.3).float()
    exact = layer(spikes)
    with products_in(torch.bfloat16, nn.ModuleList([layer])):
        rough = layer(spikes)
        rough.sum().backward()
    assert rough.dtype == layer.weight.grad.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=0.02, rtol=0.02)


def test_the_number_format_ends_with_its_block_even_by_an_error():
    layer = Dense(4, 2)
    spikes = torch.ones(1, 1, 4)
    exact = layer(spikes)
    with pytest.raises(KeyError), products_in(torch.bfloat16, layer):
        raise KeyError
    torch.testing.assert_close(layer(spikes), exact, atol=0, rtol=0)

import pytest
import torch
from torch.nn import functional

from nsc_deploy import kernels
from nsc_deploy.models import event_products
from nsc_deploy.models.features.layers import NormalisedConvolution, convolve


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("place", [(1, 1), (1, 2), (1, 4), (4, 1), (2, 2), (2, 3), (4, 4)])
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_and_its_gradients_are_torchs_on_every_map(place, form):
    given = [drawn(5, 3, *place), drawn(7, 3, 3, 3, seed=1), drawn(7, seed=2)]
    upstream, results = drawn(5, 7, *place, seed=3), []
    for compute in (convolve, lambda *x: functional.conv2d(*x, padding=1)):
        leaves = [one.contiguous(memory_format=form) if one.dim() == 4 else one.clone() for one in given]
        for leaf in leaves:
            leaf.requires_grad_()
        out = compute(*leaves)
        out.backward(upstream)
        # What adds up gradients, and fused Adam, count on it.
        assert leaves[1].grad.stride() == leaves[1].stride()
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("with_bias", [True, False])
def test_few_events_give_what_torch_gives_where_sums_are_exact(with_bias, monkeypatch):
    summed = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(event_products, "_SMALL", 0)
    monkeypatch.setattr(
        event_products, "event_product", lambda *given: (summed.append(1), kernels.event_product(*given))
    )
    events = (drawn(40, 9, 2, 2) > 1.2).float()
    grid = [(one * 16).round().float() / 16 for one in (drawn(20, 9, 3, 3, seed=1), drawn(20, seed=2))]
    upstream, results = (drawn(40, 20, 2, 2, seed=3) * 16).round().float(), []
    for compute in (convolve, lambda *x: functional.conv2d(*x, padding=1)):
        leaves = [one.clone().requires_grad_() for one in (events, *grid[: 1 + with_bias])]
        out = compute(*leaves)
        out.backward(upstream)
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    assert len(summed) == 1
    for mine, theirs in zip(*results, strict=True):
        assert torch.equal(mine, theirs)


def test_torch_refuses_events_of_other_channels(monkeypatch):
    monkeypatch.setattr(event_products, "_SMALL", 0)
    weight, events = drawn(20, 9, 3, 3).float(), torch.zeros(40, 10, 2, 2)
    events[0] = 1
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        convolve(events, weight)


@pytest.mark.filterwarnings("ignore:Converting a tensor")
def test_a_graph_that_is_recorded_holds_the_convolution_of_any_map():
    layer = NormalisedConvolution(3, 70).eval()
    traced = torch.jit.trace(layer, torch.zeros(4, 3, 2, 2))
    assert "aten::_convolution" in str(traced.inlined_graph)
    maps = drawn(4, 3, 2, 2).float()
    torch.testing.assert_close(traced(maps), layer(maps))


def test_nothing_comes_of_no_maps():
    leaves = [one.requires_grad_() for one in (drawn(0, 3, 2, 2), drawn(7, 3, 3, 3), drawn(7))]
    out = convolve(*leaves)
    assert out.shape == (0, 7, 2, 2)
    out.sum().backward()
    assert not leaves[1].grad.any() and not leaves[2].grad.any()


def test_autocast_rounds_products_and_leaves_weights_their_gradient_in_float32():
    values = drawn(6, 4, 2, 2).float().requires_grad_()
    weight = drawn(5, 4, 3, 3, seed=1).float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = convolve(values, weight)
    assert out.dtype is torch.bfloat16
    torch.testing.assert_close(out.float(), convolve(values, weight), rtol=0.05, atol=0.1)
    out.float().square().sum().backward()
    assert values.grad.dtype is weight.grad.dtype is torch.float32


def test_only_what_is_asked_for_has_a_gradient():
    weight = drawn(5, 4, 3, 3, seed=1).requires_grad_()
    convolve(drawn(6, 4, 2, 2), weight).sum().backward()
    assert weight.grad is not None
    values = drawn(6, 4, 2, 2).requires_grad_()
    convolve(values, weight.detach()).sum().backward()
    assert values.grad is not None


def test_folding_leaves_what_evaluation_computes():
    torch.manual_seed(0)
    layer = NormalisedConvolution(8, 6)
    for _ in range(3):
        layer(torch.randn(16, 8, 2, 2))
    layer.eval()
    values = torch.randn(4, 8, 2, 2)
    before = layer(values)
    assert layer.folded().weight.flags.c_contiguous
    layer.finish()
    torch.testing.assert_close(layer(values), before, rtol=1e-4, atol=1e-5)

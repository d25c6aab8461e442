import pytest
import torch
from torch import nn

from nsc_deploy.models.features.backbones import build_backbone
from nsc_deploy.models.features.held import hold, hold_scoring


def lively(name, split=None):
    """The server's part of a backbone whose statistics are those of what it met, and features for it."""
    torch.manual_seed(0)
    backbone = build_backbone(name, 10, split).double()
    backbone(torch.randn(8, *backbone.image, dtype=torch.float64))
    features = backbone.eval().device_part(torch.randn(4, *backbone.image, dtype=torch.float64)).detach()
    return backbone.server_part, features


@pytest.mark.parametrize(("name", "split"), [("vgg16", None), ("cnn8", None), ("resnet10", "block2")])
def test_scores_and_the_gradient_of_features_are_those_of_the_network(name, split):
    server, features = lively(name, split)
    held = hold(server, torch.float64)
    results = []
    for part in (server, held):
        leaf = features.clone().requires_grad_()
        scores = part(leaf)
        results.append((scores.detach(), torch.autograd.grad(scores.square().sum(), leaf)[0]))
    for mine, theirs in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)
    assert not any(isinstance(one, nn.BatchNorm2d) for one in held.modules())


def test_the_network_stays_as_it_is_and_its_copy_takes_no_gradient():
    server, features = lively("cnn8")
    before = {key: value.clone() for key, value in server.state_dict().items()}
    held = hold(server.train(), torch.bfloat16)
    held(features.bfloat16().requires_grad_()).sum().backward()
    assert server.training
    assert all(torch.equal(value, before[key]) for key, value in server.state_dict().items())
    assert all(one.requires_grad and one.grad is None for one in server.parameters())
    assert not any(one.requires_grad for one in held.parameters())


def test_a_map_of_another_size_has_its_own_matrix():
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)).eval().double()
    held = hold(chain, torch.float64)
    for place in ((2, 2), (1, 3), (2, 2), (5, 5)):
        maps = torch.randn(2, 3, *place, dtype=torch.float64)
        torch.testing.assert_close(held(maps), chain(maps), rtol=1e-10, atol=1e-10)


def test_what_is_around_a_map_stays_as_it_is():
    chain = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, padding_mode="circular")).double()
    maps = torch.randn(2, 3, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(hold(chain, torch.float64)(maps), chain(maps), rtol=1e-10, atol=1e-10)


def test_what_was_first_used_in_inference_mode_takes_gradients_later():
    chain = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Flatten(), nn.Linear(20, 4))
    with torch.inference_mode():
        held = hold(chain, torch.float32)
        held(torch.zeros(2, 3, 2, 2))
    maps = torch.ones(2, 3, 2, 2, requires_grad=True)
    held(maps).sum().backward()
    assert maps.grad.any()


def test_weights_are_in_the_format_of_products_once():
    server, features = lively("vgg16")
    held = hold(server.float(), torch.bfloat16)
    assert {one.dtype for one in held.state_dict().values()} == {torch.bfloat16}
    with torch.autocast("cpu", torch.bfloat16):
        mine, theirs = held(features.float()), server(features.float()).detach()
    torch.testing.assert_close(mine, theirs, rtol=0.1, atol=0.1 * float(theirs.abs().max()))


@pytest.mark.parametrize(("name", "split"), [("vgg16", None), ("cnn8", None), ("resnet10", "block2")])
def test_scores_of_reduced_products_are_float32_and_near(name, split):
    server, features = lively(name, split)
    exact = server.float()(features.float()).detach()
    near, same = (
        hold_scoring(server, products)(features.float()) for products in (torch.bfloat16, torch.float32)
    )
    assert near.dtype == torch.float32
    assert not torch.equal(near.bfloat16().float(), near)  # as they would be behind a layer in bfloat16
    torch.testing.assert_close(near, exact, rtol=0.1, atol=0.1 * float(exact.abs().max()))
    torch.testing.assert_close(same, exact, rtol=1e-4, atol=1e-5)

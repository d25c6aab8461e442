import pytest
import torch
from torch import nn

from nsc_deploy.models.spiking import Dense, products_in


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

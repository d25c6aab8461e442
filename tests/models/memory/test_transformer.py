import math

import torch
from torch import nn
from torch.nn import functional

from nsc_deploy.models.memory.transformer import (
    Rows,
    UniversalTransformer,
    attention_weights,
    products_in,
    sinusoids,
)


def _network(steps=3):
    torch.manual_seed(0)
    return UniversalTransformer(width=8, heads=2, hidden=16, steps=steps)


def test_a_step_is_that_of_torchs_own_layer():
    """torch's pre-norm encoder layer with the same weights, taken as often."""
    network = _network(steps=2)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True)
    pairs = {
        layer.self_attn.in_proj_weight: network.projections.weight,
        layer.self_attn.in_proj_bias: network.projections.bias,
        layer.self_attn.out_proj.weight: network.mix.weight,
        layer.self_attn.out_proj.bias: network.mix.bias,
        layer.linear1.weight: network.dense.weight,
        layer.linear1.bias: network.dense.bias,
        layer.linear2.weight: network.back.weight,
        layer.linear2.bias: network.back.bias,
    }
    with torch.no_grad():
        for theirs, ours in pairs.items():
            theirs.copy_(ours)
    x, places = torch.randn(3, 5, 8), sinusoids(5, 8)
    keep = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).bool()
    expected = x
    for step in range(2):
        expected = layer(expected + places + network.step[step], src_key_padding_mask=~keep)
    expected = functional.layer_norm(expected, (8,))
    torch.testing.assert_close(network(x, places, keep)[keep], expected[keep], atol=1e-5, rtol=1e-5)


def test_rows_are_read_as_padded_sequences_are():
    network = _network()
    lengths = [4, 2, 3, 4]
    x = torch.randn(sum(lengths), 8)
    firsts = torch.tensor([0, 4, 6, 9])
    places = torch.cat([sinusoids(length, 8) for length in lengths])
    index = torch.tensor([[4, 5, 0], [6, 7, 8]])
    groups = [
        Rows(torch.tensor([[0, 1, 2, 3], [9, 10, 11, 12]]), None),
        Rows(index, torch.tensor([[True, True, False], [True, True, True]])),
    ]
    read = network.on_rows(x, places, groups)
    for first, length in zip(firsts.tolist(), lengths, strict=True):
        rows = slice(first, first + length)
        expected = network(x[rows].unsqueeze(0), sinusoids(length, 8))[0]
        torch.testing.assert_close(read[rows], expected, atol=1e-5, rtol=1e-5)


def test_reading_the_first_place_alone_changes_nothing_in_it():
    network = _network()
    x, places = torch.randn(2, 4, 8), sinusoids(4, 8)
    whole = network(x, places)
    torch.testing.assert_close(network(x, places, read=1), whole[:, :1])
    rows = torch.cat([x[:, 0], x[:, 1:].flatten(0, 1)])
    codes = torch.cat([places[:1].repeat(2, 1), places[1:].repeat(2, 1)])
    index = Rows(torch.tensor([[0, 2, 3, 4], [1, 5, 6, 7]]), None)
    heads = network.on_rows(rows, codes, [index], heads_only=True)
    torch.testing.assert_close(heads, whole[:, 0], atol=1e-5, rtol=1e-5)


def test_what_the_first_place_heeds_comes_with_the_same_outputs():
    network = _network()
    x, places = torch.randn(2, 5, 8), sinusoids(5, 8).expand(2, 5, 8)
    keep = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    read, heeded = network.heed(x, places, keep)
    torch.testing.assert_close(read[keep], network(x, places, keep)[keep])
    assert heeded.shape == (3, 2, 2, 5)
    torch.testing.assert_close(heeded.sum(-1), torch.ones(3, 2, 2))
    assert heeded[:, 1, :, 2:].abs().max() == 0


def test_weights_of_attention_sum_to_one_and_leave_padding_out():
    q, k = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    keep = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    weights = attention_weights(q, k, 2, keep)
    assert weights.shape == (2, 2, 3, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 3))
    assert weights[1, :, :, 2:].abs().max() == 0


def test_the_product_of_two_places_depends_on_their_distance():
    codes = sinusoids(20, 16)
    products = codes @ codes.T
    for distance in range(5):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=1e-4)
    assert math.isclose(float(products[0, 0]), 8, abs_tol=1e-5)


def test_products_in_bfloat16_are_near_and_end_with_their_block():
    network = _network()
    x, places = torch.randn(6, 8), sinusoids(3, 8).repeat(2, 1)
    groups = [Rows(torch.arange(6).view(2, 3), None)]
    exact = network.on_rows(x, places, groups)
    with products_in(torch.bfloat16, [nn.ModuleList([network])]):
        rough = network.on_rows(x, places, groups)
        rough.sum().backward()
    assert rough.dtype == network.projections.weight.grad.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=0.1, rtol=0.1)
    torch.testing.assert_close(network.on_rows(x, places, groups), exact, atol=0, rtol=0)

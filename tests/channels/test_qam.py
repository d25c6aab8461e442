import itertools

import numpy as np
import pytest
import torch

from nsc_deploy.channels.qam import Constellation, map_bits, soft_bits

POINTS = {one: torch.tensor(list(itertools.product([0, 1], repeat=one.bits))) for one in Constellation}


@pytest.mark.parametrize("constellation", list(Constellation))
def test_points_have_unit_power_and_neighbours_differ_in_a_bit(constellation):
    bits = POINTS[constellation]
    points = torch.view_as_complex(map_bits(bits, constellation)[:, 0].contiguous()).numpy()
    assert np.mean(np.abs(points) ** 2) == pytest.approx(1)
    distance = np.abs(points[:, None] - points)
    nearest = distance[distance > 1e-6].min()
    for one, other in zip(*np.nonzero(np.isclose(distance, nearest)), strict=True):
        assert int((bits[one] != bits[other]).sum()) == 1


@pytest.mark.parametrize("constellation", list(Constellation))
def test_soft_bits_are_the_difference_to_the_nearest_points(constellation):
    """By brute force: the least |y - p|^2 with the bit 1, less that with the bit 0, over the power."""
    generator = torch.Generator().manual_seed(0)
    received = torch.randn(50, 1, 2, generator=generator)
    power = torch.rand(50, generator=generator) + 0.1
    bits = POINTS[constellation]
    points = map_bits(bits, constellation)[:, 0]
    squares = (received - points).square().sum(-1)
    expected = torch.stack(
        [
            squares[:, bits[:, place] == 1].amin(1) - squares[:, bits[:, place] == 0].amin(1)
            for place in range(constellation.bits)
        ],
        1,
    )
    found = soft_bits(received, power, constellation)
    torch.testing.assert_close(found, expected / power[:, None], atol=1e-4, rtol=1e-4)


def test_several_symbols_lie_in_the_order_of_their_bits():
    bits = torch.tensor([[0, 1, 1, 0, 1, 1, 0, 0]])
    symbols = map_bits(bits, Constellation.QAM16)
    assert symbols.shape == (1, 2, 2)
    decided = soft_bits(symbols, torch.ones(1), Constellation.QAM16) < 0
    assert decided.int().tolist() == bits.tolist()


@pytest.mark.parametrize("constellation", list(Constellation))
def test_bits_stay_finite_where_there_is_almost_no_noise(constellation):
    bits = POINTS[constellation]
    for power in (0.0, 1e-40, 1e-30):
        found = soft_bits(map_bits(bits, constellation), torch.full((len(bits),), power), constellation)
        assert bool(found.isfinite().all())
        assert (found < 0).int().tolist() == bits.tolist()

import pytest
import torch

from nsc_deploy.errors import ConfigError
from nsc_deploy.models.memory.masks import (
    ImportanceModel,
    build_importance,
    consecutive_mask,
    largest_mask,
    lengths_to_send,
    random_mask,
    soft_largest,
    symbols_to_send,
)


@pytest.mark.parametrize(
    ("snr_db", "symbols"),
    [(-6, 32), (-3, 32), (-2.6, 32), (0, 25), (3, 21), (6, 19), (9, 18), (12, 17), (18, 17), (200, 16)],
)
def test_the_length_rule_gives_what_the_paper_sends(snr_db, symbols):
    """eq. 15 by hand: 33.0 at -3 dB, 24.6 at 0, 20.3 at 3, 18.2 at 6, 17.1 at 9, 16.5 at 12, 16.1 at 18."""
    assert symbols_to_send(snr_db, 32) == symbols


def test_a_mask_is_not_longer_than_the_signal():
    assert symbols_to_send(-6, 20) == 20
    with pytest.raises(ConfigError, match="needs 16 symbols at least, and a sentence has 8"):
        symbols_to_send(0, 8)
    with pytest.raises(ConfigError, match="keeps 9 symbols of 8"):
        consecutive_mask(torch.tensor([9]), 8)


def test_masks_keep_as_many_as_they_should():
    lengths = lengths_to_send(torch.tensor([0.0, 12.0, -6.0]), 32)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 32)
    for keep in (
        consecutive_mask(lengths, 32),
        random_mask(lengths, 32, generator),
        largest_mask(scores, lengths),
    ):
        assert keep.sum(1).tolist() == [25, 17, 32]
    assert consecutive_mask(lengths, 32)[1].tolist() == [True] * 17 + [False] * 15
    kept = largest_mask(scores, lengths)
    assert scores[0][kept[0]].min() >= scores[0][~kept[0]].max()
    assert not torch.equal(random_mask(lengths, 32, generator), random_mask(lengths, 32, generator))


def test_of_equal_scores_the_first_are_kept():
    assert largest_mask(torch.zeros(1, 4), torch.tensor([2])).tolist() == [[True, True, False, False]]


def test_the_soft_mask_is_hard_forwards_and_teaches_backwards():
    scores = torch.tensor([[0.0, 2.0, 1.0, -1.0]], requires_grad=True)
    mask = soft_largest(scores, torch.tensor([2]), temperature=0.5)
    assert mask.tolist() == [[0, 1, 1, 0]]
    (mask * torch.tensor([[1.0, 0.0, 0.0, 0.0]])).sum().backward()
    assert scores.grad is not None
    assert scores.grad[0, 0] > 0
    assert scores.grad[0, 1:].max() < 0


def test_importance_looks_at_symbols_and_snr():
    torch.manual_seed(0)
    model = ImportanceModel(symbols=8)
    assert 40_000 < sum(weights.numel() for weights in model.parameters()) < 60_000
    symbols = torch.randn(2, 8, 2)
    low, high = model(symbols, torch.tensor([0.0, 0.0])), model(symbols, torch.tensor([0.0, 10.0]))
    assert low.shape == (2, 8)
    torch.testing.assert_close(low[0], high[0])
    assert not torch.allclose(low[1], high[1])


def test_the_seed_alone_decides_the_weights_that_importance_begins_with():
    one, torch_is_elsewhere, again = build_importance(8, 3), torch.rand(5), build_importance(8, 3)
    assert len(torch_is_elsewhere) == 5
    torch.testing.assert_close(one.state_dict(), again.state_dict(), atol=0, rtol=0)
    assert not torch.equal(one.score.weight, build_importance(8, 4).score.weight)

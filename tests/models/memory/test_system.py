from dataclasses import replace

import numpy as np
import pytest
import torch

from nsc_deploy.channels.config import ChannelConfig, ChannelKind
from nsc_deploy.data.toy_stories import make_toy_corpus
from nsc_deploy.models.memory.batches import make_batches
from nsc_deploy.models.memory.jsc import build_jsc
from nsc_deploy.models.memory.masks import ImportanceModel, Mask, build_importance
from nsc_deploy.models.memory.semantic import SemanticCodec, SemanticSizes
from nsc_deploy.models.memory.system import Air, MemDeepSC
from nsc_deploy.models.memory.transformer import products_in
from nsc_deploy.training.memory.codec import CodecPlan, train_codec

CORPUS = make_toy_corpus(60)


def small_system(mask=Mask.NONE, snr_db=10.0, to_db=None, kind=ChannelKind.AWGN):
    sizes = SemanticSizes(
        CORPUS.vocabulary.size,
        len(CORPUS.vocabulary.answers),
        memory=4,
        longest=8,
        width=16,
        heads=2,
        hidden=32,
    )
    air = Air(ChannelConfig(kind=kind, snr_db=snr_db, snr_to_db=to_db), mask=mask, least=4)
    importance = ImportanceModel(8, width=16) if mask is Mask.IMPORTANCE else None
    torch.manual_seed(0)
    return MemDeepSC(SemanticCodec(sizes, seed=0), *build_jsc(16, 8, seed=0), 8, air, importance)


def _batch(system):
    distinct, [batch] = make_batches(CORPUS.train, [np.arange(20)], system.memory)
    return system.send(torch.from_numpy(CORPUS.sentences[distinct])), batch


@pytest.mark.parametrize("mask", list(Mask))
def test_gradients_reach_both_sides_through_the_air(mask):
    system = small_system(mask, snr_db=-6, to_db=18)
    sent, batch = _batch(system)
    system.answer(sent, batch, torch.Generator().manual_seed(0)).square().sum().backward()
    parts = [
        system.semantic.encoder.table,
        system.jsc_encoder,
        system.jsc_decoder,
        system.semantic.decoder.answer,
    ]
    if system.importance is not None:
        parts.append(system.importance.score)
    for part in parts:
        assert all(weights.grad is not None and weights.grad.abs().max() > 0 for weights in part.parameters())


def test_an_importance_mask_learns_to_keep_what_it_leaves_out():
    """The receiver needs the last four of eight symbols, and at first the mask keeps the first four."""

    class Scores(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scores = torch.nn.Parameter(torch.tensor([1.0] * 4 + [0.0] * 4))

        def forward(self, symbols, snr_db):
            return self.scores.expand(len(symbols), 8)

    system = small_system(Mask.IMPORTANCE, snr_db=30.0)
    system.air = replace(system.air, least=3)  # Four at this SNR.
    system.importance, system.jsc_decoder = Scores(), torch.nn.Identity()
    optimiser = torch.optim.Adam(system.importance.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(0)
    symbols, snr_db = torch.randn(64, 8, 2, generator=generator), torch.full((64,), 30.0)
    for _ in range(150):
        found = system.receive(symbols, snr_db, torch.arange(64), generator)
        (found - symbols)[:, 4:].square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    scores = system.importance.scores
    assert scores[4:].min() > scores[:4].max()


def test_importance_is_told_some_messages_at_a_time(monkeypatch):
    system = small_system(Mask.IMPORTANCE, snr_db=0.0)
    generator = torch.Generator().manual_seed(0)
    symbols, snr_db = torch.randn(50, 8, 2, generator=generator), torch.zeros(50)
    sizes = []
    system.importance.register_forward_hook(lambda model, inputs, scores: sizes.append(len(scores)))
    together = system.mask(symbols, snr_db, generator).keep
    monkeypatch.setattr("nsc_deploy.models.memory.system.AT_ONCE", 16)
    for learning in (True, False):
        with torch.set_grad_enabled(learning):
            assert torch.equal(system.mask(symbols, snr_db, generator).keep, together)
            assert not len(system.mask(symbols[:0], snr_db[:0], generator).keep)
    assert sizes == [50, *2 * [16, 16, 16, 2, 0]]


def test_importance_learns_with_bfloat16_products_and_scores_in_float32():
    """A score of 8 bits would have ties, which the order of the symbols would decide."""
    importance = build_importance(8, 0)
    symbols, snr_db = torch.randn(50, 8, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(50)
    exact = importance(symbols, snr_db)
    with products_in(torch.bfloat16, [importance]):
        rounded = importance(symbols, snr_db)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, atol=0.05, rtol=0.05)
    assert len(rounded.unique()) > 390


@pytest.mark.parametrize("mask", list(Mask))
def test_what_is_sent_has_unit_power_and_the_rules_length(mask):
    system = small_system(mask)
    sent, _ = _batch(system)
    snr_db = torch.zeros(len(sent))
    with torch.no_grad():
        message = system.mask(sent, snr_db, torch.Generator().manual_seed(0))
    power = message.symbols.square().sum(-1)
    expected = 8 if mask is Mask.NONE else 7
    assert ((power > 0).sum(1) == expected).all()
    torch.testing.assert_close(power.sum(1) / expected, torch.ones(len(sent)))


def test_positions_are_told_of_where_some_symbols_are_kept_back():
    # Eq. 15 has 7 of 8 do from -1.47 dB. Of 24 coded bits a symbol carries 1, from -0.4 dB 2, from 4.5 dB 4.
    asked = [small_system(Mask.IMPORTANCE, snr_db) for snr_db in (-6.0, -1.6, -1.4, -0.4, 4.4, 4.5, 10.0)]
    assert [one.position_symbols for one in asked] == [0, 0, 24, 12, 12, 6, 6]
    assert small_system(Mask.CONSECUTIVE).position_symbols == 0


@pytest.mark.parametrize("snr_db", [-2.0, -1.0, 0.0, 2.0, 5.0, 12.0])
def test_positions_take_no_fewer_symbols_than_the_channel_has_room_for(snr_db):
    """A bit of each symbol cannot come through faster than Shannon's log2(1 + SNR)."""
    system = small_system(Mask.IMPORTANCE, snr_db)
    room = system.position_symbols * np.log2(1 + 10 ** (snr_db / 10))
    assert system.position_symbols == 0 or room > system.symbols


def test_stories_over_a_range_have_snrs_of_their_own_and_else_that_one():
    ranged = small_system(snr_db=-6.0, to_db=18.0).air.draw_snr(1000, torch.Generator().manual_seed(0))
    assert -6 <= float(ranged.min()) < -5.5
    assert 17.5 < float(ranged.max()) <= 18
    alone = small_system(snr_db=-0.4).air.draw_snr(3, torch.Generator())
    assert alone.tolist() == [-0.4] * 3


def test_the_same_generator_gives_the_same_answers():
    system = small_system(kind=ChannelKind.RAYLEIGH)
    sent, batch = _batch(system)
    one, other, third = (
        system.answer(sent, batch, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    torch.testing.assert_close(one, other, atol=0, rtol=0)
    assert not torch.allclose(one, third)


def test_at_a_high_snr_the_codec_alone_decides():
    system = small_system(snr_db=200)
    sent, _ = _batch(system)
    with torch.no_grad():
        vectors = system.receive(
            sent, torch.full((len(sent),), 200.0), torch.arange(len(sent)), torch.Generator()
        )
        normalised = sent / sent.square().sum(-1).mean(1)[:, None, None].sqrt()
        torch.testing.assert_close(vectors, system.jsc_decoder(normalised), atol=1e-4, rtol=1e-4)


def test_the_codec_learns_to_carry_vectors():
    system = small_system(snr_db=18)
    before = {name: weights.clone() for name, weights in system.semantic.state_dict().items()}
    first, _ = train_codec(CORPUS, system, CodecPlan(steps=20, batch=32))
    later, _ = train_codec(CORPUS, system, CodecPlan(steps=150, batch=32, rate=3e-3))
    assert later < 0.5 * first
    for name, weights in system.semantic.state_dict().items():
        torch.testing.assert_close(weights, before[name], atol=0, rtol=0)

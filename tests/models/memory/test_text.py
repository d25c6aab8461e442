from dataclasses import replace

import numpy as np
import pytest
import torch

from nsc_deploy.channels.config import ChannelConfig, ChannelKind
from nsc_deploy.channels.qam import Constellation
from nsc_deploy.data.toy_stories import make_toy_corpus
from nsc_deploy.models.memory.semantic import SemanticCodec, SemanticSizes
from nsc_deploy.models.memory.system import Air
from nsc_deploy.models.memory.text import Adaptation, SourceCode, TextCode, TextSystem
from nsc_deploy.training.memory.evaluate import symbols_at
from nsc_deploy.training.memory.rounds import by_task_accuracy

CORPUS = make_toy_corpus(60)
SEMANTIC = SemanticCodec(
    SemanticSizes(
        CORPUS.vocabulary.size,
        len(CORPUS.vocabulary.answers),
        memory=4,
        longest=8,
        width=16,
        heads=2,
        hidden=32,
    ),
    seed=0,
)


def _system(source, snr_db, adaptation=Adaptation.AMC, kind=ChannelKind.AWGN):
    air = Air(ChannelConfig(kind=kind, snr_db=snr_db))
    return TextSystem(CORPUS, SEMANTIC, TextCode(CORPUS, source), adaptation, air)


@pytest.mark.parametrize("source", list(SourceCode))
def test_blocks_hold_their_sentence(source):
    code = TextCode(CORPUS, source)
    for row in range(len(CORPUS.texts)):
        first, count = code.firsts[row], code.block_counts[row]
        words = code.read(code.blocks[first : first + count].reshape(-1))
        np.testing.assert_array_equal(words, CORPUS.sentences[row][CORPUS.sentences[row] > 0])


def test_damaged_text_is_read_as_far_as_it_can_be():
    code = TextCode(CORPUS, SourceCode.UTF8)
    text = b"Mxry w\xffnt to the garden.".ljust(32, b"\0")
    found = [
        CORPUS.vocabulary.words[number - 1]
        for number in code.read(np.unpackbits(np.frombuffer(text, np.uint8)))
    ]
    assert found == ["to", "the", "garden"]
    assert TextCode(CORPUS, SourceCode.SENTENCE).read(np.ones(256, np.uint8)) == []


@pytest.mark.parametrize("snr_db", [100, 400])
@pytest.mark.parametrize("source", list(SourceCode))
def test_without_noise_answers_are_those_of_the_semantic_codec(source, snr_db):
    assert by_task_accuracy(_system(source, snr_db), CORPUS, CORPUS.test) == by_task_accuracy(
        SEMANTIC, CORPUS, CORPUS.test
    )


@pytest.mark.parametrize(("sentences", "bits"), [(1, 1), (2, 1), (3, 2), (16, 4), (17, 5)])
def test_numbers_of_sentences_take_as_few_bits_as_they_can(sentences, bits):
    corpus = replace(CORPUS, texts=CORPUS.texts[:sentences], sentences=CORPUS.sentences[:sentences])
    code = TextCode(corpus, SourceCode.SENTENCE)
    assert set(code.lengths.tolist()) == {bits}
    assert len({tuple(code.read(block)) for block in code.blocks}) == sentences


def test_noise_damages_sentences_and_answers_still_come():
    system = _system(SourceCode.UTF8, -10, Adaptation.QAM16, ChannelKind.RAYLEIGH)
    rows = np.arange(len(CORPUS.texts))
    snr_db, generator = torch.full((len(rows),), -10.0), torch.Generator().manual_seed(0)
    wrong, words = system._receive(rows, torch.arange(len(rows)), snr_db, generator)
    assert len(wrong) == len(words) > len(rows) // 2
    assert set(by_task_accuracy(system, CORPUS, CORPUS.test)) == {1, 2}


def test_symbols_are_counted_as_blocks_and_as_bits():
    """31.28 characters of 8 bits at rate 1/3 in 16-QAM are the paper's 190 symbols; a block is 195."""
    code = TextCode(CORPUS, SourceCode.UTF8)
    row = int(np.argmax(code.lengths))
    characters = len(CORPUS.texts[row])
    count = code.symbols([row], Constellation.QAM16)
    assert count.filled == characters * 8 * 3 / 4
    assert count.blocks == 195 * code.block_counts[row]
    words = TextCode(CORPUS, SourceCode.WORDS)
    assert words.symbols([row], Constellation.BPSK).filled == 3 * 8 * (CORPUS.sentences[row] > 0).sum()


@pytest.mark.parametrize("snr_db", [-0.41, -0.4, -0.39, 4.49, 4.5])
def test_what_is_sent_at_a_threshold_is_what_is_counted(snr_db, monkeypatch):
    """-0.4 dB in float32 lies below -0.4 dB."""
    system, sent = _system(SourceCode.SENTENCE, snr_db), []
    before = system._transmit

    def spied(blocks, snrs_db, story, constellation, generator):
        sent.append(constellation)
        return before(blocks, snrs_db, story, constellation, generator)

    monkeypatch.setattr(system, "_transmit", spied)
    by_task_accuracy(system, CORPUS, CORPUS.test)
    [used] = set(sent)
    statements = CORPUS.test.statements.astype(np.int64)
    assert symbols_at(system, CORPUS.test).sent == system.code.symbols(statements, used).filled


@pytest.mark.parametrize(("snr_db", "chosen"), [(-6, "bpsk"), (-0.4, "qpsk"), (4.4, "qpsk"), (4.5, "16-qam")])
def test_amc_takes_what_the_mean_snr_carries(snr_db, chosen):
    assert Adaptation.AMC.at(snr_db) == chosen
    assert Adaptation.QAM16.at(snr_db) == "16-qam"

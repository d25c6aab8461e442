import numpy as np
import torch

from nsc_deploy.data.toy_stories import make_toy_corpus
from nsc_deploy.models.memory.batches import make_batches
from nsc_deploy.models.memory.semantic import (
    SemanticCodec,
    SemanticDecoder,
    SemanticEncoder,
    SemanticSizes,
    push,
)

SIZES = SemanticSizes(words=20, answers=5, memory=6, longest=8, width=16, heads=2, hidden=32)


def _encoder():
    torch.manual_seed(0)
    return SemanticEncoder(SIZES)


def _decoder():
    torch.manual_seed(1)
    return SemanticDecoder(SIZES)


def test_a_sentence_does_not_depend_on_its_padding():
    encoder = _encoder()
    words = torch.tensor([[3, 4, 5, 0, 0, 0], [1, 2, 0, 0, 0, 0]])
    torch.testing.assert_close(encoder(words)[:1], encoder(words[:1, :3]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoder(words)[1:], encoder(words[1:, :2]), atol=1e-5, rtol=1e-5)


def test_sentences_read_by_length_are_the_same():
    encoder = _encoder()
    words = torch.randint(1, 20, (12, 8)) * (torch.arange(8) < torch.randint(1, 9, (12, 1)))
    torch.testing.assert_close(encoder.by_length(words), encoder(words), atol=1e-5, rtol=1e-5)


def test_empty_slots_do_not_matter():
    decoder = _decoder()
    question, queue = torch.randn(2, 16), torch.randn(2, 6, 16)
    filled = torch.tensor([2, 6])
    before = decoder(question, queue, filled)
    queue[0, :4] = 100.0
    torch.testing.assert_close(decoder(question, queue, filled), before)
    queue[1, 0] = 100.0
    assert not torch.allclose(decoder(question, queue, filled)[1], before[1])


def test_the_order_of_the_memory_matters():
    decoder = _decoder()
    question, queue = torch.randn(1, 16), torch.randn(1, 6, 16)
    filled = torch.tensor([6])
    assert not torch.allclose(decoder(question, queue, filled), decoder(question, queue.flip(1), filled))


def test_stories_in_rows_are_read_as_queues_are():
    corpus = make_toy_corpus(60)
    sizes = SemanticSizes(corpus.vocabulary.size, len(corpus.vocabulary.answers), memory=4, width=16, heads=2)
    codec = SemanticCodec(sizes, seed=0)
    encoder, decoder = codec.sides
    distinct, [batch] = make_batches(corpus.train, [np.arange(30)], memory=4)
    sent = codec.send(torch.from_numpy(corpus.sentences[distinct]))
    found = codec.answer(sent, batch, torch.Generator())
    for number in range(30):
        queue = torch.zeros(1, 4, 16)
        told = corpus.train.story(number, memory=99)
        for row in told:
            queue = push(queue, encoder(torch.from_numpy(corpus.sentences[row : row + 1])))
        question = encoder(torch.from_numpy(corpus.sentences[corpus.train.question[number]][None]))
        filled = torch.tensor([min(4, len(told))])
        expected = decoder(question, queue, filled)
        torch.testing.assert_close(found[number : number + 1], expected, atol=1e-4, rtol=1e-4)


def test_the_queue_forgets_the_oldest():
    queue = torch.arange(3.0).view(1, 3, 1)
    assert push(queue, torch.tensor([[9.0]])).flatten().tolist() == [1, 2, 9]


def test_a_queue_of_no_slots_stays_empty():
    assert push(torch.zeros(2, 0, 8), torch.randn(2, 8)).shape == (2, 0, 8)

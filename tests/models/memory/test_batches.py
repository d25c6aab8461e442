import numpy as np
import torch

from nsc_deploy.data.toy_stories import make_toy_corpus
from nsc_deploy.models.memory.batches import in_order, make_batches


def test_batches_tell_the_stories_of_their_questions():
    questions = make_toy_corpus(60).train
    chosen = [np.array([3, 0, 7]), np.array([5, 5])]
    distinct, batches = make_batches(questions, chosen, memory=3)
    assert len(np.unique(distinct)) == len(distinct)
    for batch, rows in zip(batches, chosen, strict=True):
        for number, row in enumerate(rows):
            [asked, *told] = batch.told[batch.story == number].tolist()
            np.testing.assert_array_equal(distinct[told], questions.story(row, memory=3))
            assert batch.ages[batch.story[len(rows) :] == number].tolist() == list(range(len(told), 0, -1))
            assert distinct[asked] == questions.question[row]
        np.testing.assert_array_equal(batch.answer, questions.answer[rows])


def test_each_row_is_in_one_sequence_that_its_question_leads():
    questions = make_toy_corpus(60).train
    _, [batch] = make_batches(questions, [np.arange(20)], memory=130)
    kept = torch.cat([rows.kept() for rows in batch.groups])
    assert sorted(kept.tolist()) == list(range(len(batch.told)))
    for rows in batch.groups:
        for sequence in rows.index[:, 1:].tolist():
            assert all(row >= 20 or row == 0 for row in sequence)
        assert (rows.index[:, 0] < 20).all()


def test_in_order_takes_every_question_once():
    questions = make_toy_corpus(60).train
    taken = [batch for _, batch in in_order(questions, memory=130, size=7)]
    assert sum(map(len, taken)) == len(questions)
    assert sorted(torch.cat([batch.answer for batch in taken]).tolist()) == sorted(questions.answer.tolist())

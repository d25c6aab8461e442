import numpy as np
import pytest

from nsc_deploy.data.stories import MOST_WORDS, Asked, Story, Vocabulary, build_corpus, split_words
from nsc_deploy.data.toy_stories import make_toy_corpus
from nsc_deploy.errors import DataError


def test_words_are_lower_case_without_punctuation():
    assert split_words("Where is Mary?") == ("where", "is", "mary")


@pytest.mark.parametrize(
    ("sentence", "problem"),
    [
        ("", "no word"),
        ("...", "no word"),
        ("Mary has 3 apples.", "signs other"),
        ("Mary\x1b[2J went.", "signs other"),
        (" ".join(["mary"] * (MOST_WORDS + 1)), "33 words"),
    ],
)
def test_a_sentence_of_another_form_is_refused(sentence, problem):
    with pytest.raises(DataError, match=problem):
        split_words(sentence)


def test_unknown_words_are_named_with_the_nearest_known_one():
    vocabulary = Vocabulary(("garden", "is", "mary", "where"), ("garden",))
    with pytest.raises(DataError, match="'marry', 'elvis'; did you mean mary") as raised:
        vocabulary.numbers("Where is Marry, Elvis? Elvis?")
    assert "4 words: garden, is, mary, where" in raised.value.message


def test_each_distinct_sentence_has_one_row_and_stories_name_rows():
    one = Story(
        1,
        ("Mary slept.", "John ran.", "Mary slept."),
        (Asked(1, "Who slept?", "Mary"), Asked(3, "Who ran?", "John")),
    )
    corpus = build_corpus([one], [one], [one])
    assert corpus.texts == ("John ran.", "Mary slept.", "Who ran?", "Who slept?")
    assert corpus.vocabulary.words == ("john", "mary", "ran", "slept", "who")
    np.testing.assert_array_equal(corpus.sentences, [[1, 3], [2, 4], [5, 3], [5, 4]])
    assert corpus.vocabulary.answers == ("John", "Mary")
    np.testing.assert_array_equal(corpus.train.story(1, memory=10), [1, 0, 1])
    np.testing.assert_array_equal(corpus.train.story(1, memory=2), [0, 1])
    np.testing.assert_array_equal(corpus.train.story(0, memory=10), [1])


@pytest.mark.parametrize(
    ("test", "problem"),
    [
        (Story(1, ("Mary woke.",), (Asked(1, "Who slept?", "Mary"),)), "'woke'"),
        (Story(1, ("Mary slept.",), ()), "no question"),
    ],
)
def test_what_training_does_not_know_is_refused(test, problem):
    known = Story(1, ("Mary slept.",), (Asked(1, "Who slept?", "Mary"),))
    with pytest.raises(DataError, match=problem):
        build_corpus([known], [known], [test])


def test_toy_stories_are_the_same_for_a_seed_and_true():
    corpus = make_toy_corpus(100, seed=1)
    again = make_toy_corpus(100, seed=1)
    np.testing.assert_array_equal(corpus.train.statements, again.train.statements)
    questions = corpus.train
    for number in range(len(questions)):
        asked = corpus.texts[questions.question[number]].rstrip("?").split()
        actor = asked[2] if asked[0] == "Where" else asked[1]
        told = [corpus.texts[row] for row in questions.story(number, memory=99)]
        place = next(text for text in reversed(told) if text.startswith(actor)).rstrip(".").split()[-1]
        right = place if asked[0] == "Where" else ("yes" if asked[-1] == place else "no")
        assert corpus.vocabulary.answers[questions.answer[number]] == right


@pytest.mark.parametrize("questions", range(20, 30))
def test_few_toy_stories_ask_something_of_each_task_in_each_part(questions):
    corpus = make_toy_corpus(questions)
    assert [set(part.task.tolist()) for part in corpus.parts.values()] == [{1, 2}] * 3


def test_questions_that_tell_of_some_sentences_are_found():
    corpus = make_toy_corpus(questions=100)
    held = corpus.held_out(0.1, seed=3)
    assert len(held) == round(0.1 * len(corpus.texts)) == len(set(held.tolist()))
    assert held.tolist() == corpus.held_out(0.1, seed=3).tolist()
    among = corpus.train.telling(held)
    for number, told in enumerate(among):
        named = {*corpus.train.story(number, 1000).tolist(), int(corpus.train.question[number])}
        assert told == bool(named & set(held.tolist()))
    assert 0 < among.mean() < 1


def test_an_answer_that_training_does_not_have_is_asked_for_all_the_same():
    known = Story(1, ("Mary slept.",), (Asked(1, "Who slept?", "Mary"),))
    other = Story(1, ("Mary slept.",), (Asked(1, "Who slept?", "Elvis"),))
    corpus = build_corpus([known], [known], [other])
    assert corpus.vocabulary.answers == ("Elvis", "Mary")
    assert (corpus.train.answer.tolist(), corpus.test.answer.tolist()) == ([1], [0])


def test_a_share_that_is_held_out_is_one_sentence_at_least():
    corpus = make_toy_corpus(questions=100)
    assert [len(corpus.held_out(share, seed=0)) for share in (0.0, 0.001)] == [0, 1]

from collections import Counter

import numpy as np
import pytest

from nsc_deploy.data.babi import SMALL, _read_files, parse
from nsc_deploy.data.babi_task3 import PLACES, make_stories, place_before
from tests.data.test_babi import real_folder


def _figures(stories):
    asked = np.array([one.after for story in stories for one in story.asked])
    statements = [text for story in stories for text in story.statements]
    moves = sum(" to the " in text for text in statements) / len(statements)
    first = np.mean([story.asked[0].after for story in stories])
    again = np.mean(
        [
            b.after - a.after == 2
            for story in stories
            for a, b in zip(story.asked, story.asked[1:], strict=False)
        ]
    )
    return {"median": np.median(asked), "mean": asked.mean(), "moves": moves, "first": first, "again": again}


def test_answers_are_those_that_a_reader_finds():
    for story in make_stories(20, seed=5):
        assert len(story.asked) == 5
        for one in story.asked:
            words = one.question.rstrip("?").split()
            assert place_before(story.statements[: one.after], words[3], words[-1]) == one.answer
            assert one.after % 2 == 0


def test_the_same_seed_gives_the_same_stories():
    assert make_stories(5, 1) == make_stories(5, 1) != make_stories(5, 2)


def test_a_place_that_a_thing_never_came_to_has_none_before_it():
    assert place_before(["Mary went to the garden.", "Mary got the milk there."], "milk", "garden") is None
    assert place_before(["Mary got the milk.", "Mary went to the garden."], "milk", "garden") is None


def test_made_stories_are_distributed_as_the_published_ones():
    files = _read_files(real_folder())
    texts = [files[SMALL, 3, part].text for part in ("train", "test")]
    official = [story for text in texts for story in parse(text, 3, "task 3")]
    wrong = 0
    for story in official:
        for one in story.asked:
            words = one.question.rstrip("?").split()
            wrong += place_before(story.statements[: one.after], words[3], words[-1]) != one.answer
    assert wrong == 0
    made = make_stories(400, seed=3)
    published, own = _figures(official), _figures(made)
    # 400 stories: a standard error of 2 statements of the mean, of 1.7 of the first question.
    assert own["mean"] == pytest.approx(published["mean"], abs=6)
    assert own["median"] == pytest.approx(published["median"], abs=6)
    assert own["first"] == pytest.approx(published["first"], abs=6)
    assert own["moves"] == pytest.approx(published["moves"], abs=0.01)
    assert own["again"] == pytest.approx(published["again"], abs=0.06)
    answers = Counter(one.answer for story in made for one in story.asked)
    assert set(answers) == set(PLACES)
    assert min(answers.values()) > 0.12 * sum(answers.values())

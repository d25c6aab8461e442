import pytest

from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.training.memory.ask import ask, write_attention
from nsc_deploy.training.run import train
from tests.training.memory.test_training import small

STORY = ("Mary went to the garden.", "John moved to the kitchen.", "Where is Mary?")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(
        small(system__mask="consecutive"), tmp_path_factory.mktemp("memory") / "run", progress=False
    ).run


def test_an_answer_comes_with_what_was_sent_and_remembered(run):
    reply = ask(run, STORY, snr_db=0.0)
    assert reply == ask(run, STORY, snr_db=0.0)
    assert [message.text for message in reply.messages] == list(STORY)
    assert [message.remembered for message in reply.messages] == [True, True, False]
    assert {message.symbols for message in reply.messages} == {13}
    assert ask(run, STORY, snr_db=18.0).messages[0].symbols == 9
    assert reply.answer == reply.likely[0][0]
    assert reply.likely[0][1] >= reply.likely[1][1]


def test_noise_depends_on_snr_and_seed(run):
    low, high = (ask(run, STORY, snr_db=snr).messages[0].error for snr in (-20.0, 100.0))
    assert low > high
    assert ask(run, STORY, 0.0, seed=1).messages != ask(run, STORY, 0.0, seed=2).messages


def test_more_statements_than_the_memory_holds_push_the_oldest_out(run):
    story = [*["Mary went to the garden."] * 10, "Where is Mary?"]
    remembered = [message.remembered for message in ask(run, story, 10.0).messages]
    assert remembered == [False] * 2 + [True] * 8 + [False]


@pytest.mark.parametrize(
    ("sentences", "problem"),
    [
        (("Where is Mary?",), "an empty story"),
        (("Mary went to the gardn.", "Where is Mary?"), "'gardn'; did you mean garden"),
        (("...", "Where is Mary?"), "holds no word"),
        (("Mary went to the garden " + "Mary " * 9, "Where is Mary?"), "has 14 words, and the longest"),
    ],
)
def test_what_cannot_be_asked_is_refused(run, sentences, problem):
    with pytest.raises((ConfigError, DataError), match=problem):
        ask(run, sentences, 0.0)


def test_a_run_that_sends_text_is_refused(run, tmp_path):
    rival = small(system__name="utf8-turbo", training__start_from=str(run))
    train(rival, tmp_path / "run", progress=False)
    with pytest.raises(ConfigError, match="is a run of utf8-turbo, which sends no vectors"):
        ask(tmp_path / "run", STORY, 0.0)


def test_attention_is_shared_among_what_is_remembered(run, tmp_path):
    story = [*["Mary went to the garden."] * 10, "Where is Mary?"]
    reply = ask(run, story, 10.0)
    assert len(reply.attention) == 2
    for step in reply.attention:
        assert sum(step) == pytest.approx(1, abs=1e-5)
        assert step[:2] == (0, 0)
        assert min(step[2:]) > 0
    write_attention(reply, tmp_path / "attention.svg")
    assert "Where is Mary?" in (tmp_path / "attention.svg").read_text()

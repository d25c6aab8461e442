from dataclasses import replace

import pytest
import torch

from nsc_deploy.data.toy_stories import make_toy_corpus
from nsc_deploy.errors import DataError, UserError
from nsc_deploy.models.memory.semantic import SemanticCodec, SemanticSizes
from nsc_deploy.training.checkpoints import read_tensors, write_tensors
from nsc_deploy.training.memory.rounds import RoundPlan, by_task_accuracy, train_rounds

PLAN = RoundPlan(steps=12, batch=16, round=3, warm_up=4, validate_every=6, validate_on=20)


@pytest.fixture(scope="module")
def corpus():
    return make_toy_corpus(400)


def _sizes(corpus):
    words, answers = corpus.vocabulary.size, len(corpus.vocabulary.answers)
    return SemanticSizes(words, answers, memory=8, longest=6, width=16, heads=2, hidden=32)


def test_a_small_codec_learns_small_stories(corpus, tmp_path):
    codec = SemanticCodec(_sizes(corpus), seed=0)
    plan = replace(PLAN, steps=48, batch=24, warm_up=6, validate_every=24, rate=1e-2)
    history = train_rounds(corpus, codec, plan, tmp_path / "state.safetensors")
    assert [one.step for one in history] == [24, 48]
    assert history[-1].loss < 0.9 * history[0].loss
    assert by_task_accuracy(codec, corpus, corpus.test).keys() == {1, 2}


@pytest.mark.parametrize("products", [torch.float32, torch.bfloat16])
def test_a_killed_training_comes_to_the_same_codec(corpus, tmp_path, products):
    plan = replace(PLAN, products=products)
    whole = SemanticCodec(_sizes(corpus), seed=0)
    told = train_rounds(corpus, whole, plan, tmp_path / "whole.safetensors")

    class KilledError(Exception):
        pass

    def kill(progress):
        if progress.step == 6:
            raise KilledError

    again = SemanticCodec(_sizes(corpus), seed=0)
    with pytest.raises(KilledError):
        train_rounds(corpus, again, plan, tmp_path / "again.safetensors", kill)
    resumed = SemanticCodec(_sizes(corpus), seed=5)
    history = train_rounds(corpus, resumed, plan, tmp_path / "again.safetensors")
    assert [(one.step, one.loss) for one in history] == [(one.step, one.loss) for one in told]
    for name, weights in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weights, atol=0, rtol=0)


def test_a_damaged_state_is_refused(corpus, tmp_path):
    state = tmp_path / "state.safetensors"
    state.write_bytes(b"nothing")
    with pytest.raises(DataError, match="not a readable checkpoint"):
        train_rounds(corpus, SemanticCodec(_sizes(corpus), seed=0), PLAN, state)


class _Heard:
    """A codec that keeps what its channel would have drawn first in each round."""

    def __init__(self, codec):
        self.codec, self.heard = codec, []
        self.sides, self.memory, self.send = codec.sides, codec.memory, codec.send
        self.state_dict, self.load_state_dict = codec.state_dict, codec.load_state_dict

    def answer(self, sent, batch, generator):
        if torch.is_grad_enabled():
            self.heard.append(float(torch.rand((), generator=generator)))
        return self.codec.answer(sent, batch, generator)


def test_the_channel_of_each_seed_and_step_is_another(corpus, tmp_path):
    drawn = []
    for seed in range(3):
        heard = _Heard(SemanticCodec(_sizes(corpus), seed=0))
        plan = replace(PLAN, seed=seed, steps=6)
        train_rounds(corpus, heard, plan, tmp_path / f"{seed}.safetensors")
        drawn += heard.heard
    assert len(set(drawn)) == len(drawn) == 18


def test_a_whole_state_of_another_training_is_refused(corpus, tmp_path):
    state = tmp_path / "state.safetensors"
    for tensors, note in (({"weights.none": torch.zeros(2)}, []), ({}, 7)):
        write_tensors(state, tensors, note)
        with pytest.raises(DataError, match="holds the state of another system"):
            train_rounds(corpus, SemanticCodec(_sizes(corpus), seed=0), PLAN, state)


@pytest.mark.parametrize("record", [[-2, 1.0, {}, 0.0], [None, 1.0, {}, 0.0], [2, "much", {}, 0.0], ["2", 1]])
def test_a_history_that_is_none_is_refused(corpus, tmp_path, record):
    state, codec = tmp_path / "state.safetensors", SemanticCodec(_sizes(corpus), seed=0)
    plan = RoundPlan(steps=4, batch=8, round=2, warm_up=1, validate_every=2, validate_on=4)
    train_rounds(corpus, codec, plan, state)
    write_tensors(state, read_tensors(state)[0], [record])
    with pytest.raises(DataError, match="holds the state of another system"):
        train_rounds(corpus, codec, replace(plan, steps=6), state)


def test_a_training_that_diverges_keeps_the_state_of_before(corpus, tmp_path):
    state = tmp_path / "run" / "checkpoints" / "joint.safetensors"
    codec = SemanticCodec(_sizes(corpus), seed=0)
    (tmp_path / "run").mkdir()

    def break_it(progress):
        with torch.no_grad():
            next(codec.parameters()).fill_(torch.nan)

    with pytest.raises(UserError, match=r"run: training diverged \(the loss is nan\)"):
        train_rounds(corpus, codec, PLAN, state, break_it)
    kept, _ = read_tensors(state)
    assert all(bool(torch.isfinite(weights).all()) for weights in kept.values())

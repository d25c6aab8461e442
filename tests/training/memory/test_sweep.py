import json
import shutil

import numpy as np
import pytest

from nsc_deploy.data.corpora import load_corpus
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.training.memory.sweep import _labels, have_memory, sweep_memory
from nsc_deploy.training.run import train
from nsc_deploy.training.run_directory import read_experiment
from tests.training.memory.test_training import small


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(
        small(system__mask="consecutive"), tmp_path_factory.mktemp("memory") / "run", progress=False
    ).run


def test_a_sweep_has_a_point_for_each_snr(run):
    assert have_memory([run])
    [sweep] = sweep_memory([run], (6.0, -6.0), questions=10)
    assert sweep.label == "mem-deepsc, 16 symbols, consecutive mask, 8 at least, awgn"
    assert [point.snr_db for point in sweep.points] == [-6, 6]
    assert sweep.as_json()["questions"] == 20  # 10 of each of two tasks
    assert [point.symbols.sent for point in sweep.points] == [16, 10]


def test_two_runs_that_their_settings_do_not_tell_apart_are_told_by_their_place(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "again")
    sweeps = sweep_memory([run, other], (6.0,), questions=10)
    assert [one.system.rpartition(", ")[2] for one in sweeps] == ["run", "again"]


def test_other_stories_than_those_of_the_training_are_refused(run, tmp_path):
    told = shutil.copytree(run, tmp_path / "run") / "provenance.json"
    told.write_text(json.dumps(json.loads(told.read_text()) | {"data_sha256": "0" * 64}))
    with pytest.raises(DataError, match="other samples than the data set holds now"):
        sweep_memory([told.parent], (6.0,), questions=10)
    with pytest.raises(DataError, match="other samples than the data set holds now"):
        train(small(training__start_from=str(told.parent)), tmp_path / "variant", progress=False)
    assert not (tmp_path / "variant").exists()
    (told.parent / "metrics.json").unlink()
    with pytest.raises(DataError, match="other samples than the data set holds now"):
        train(small(system__mask="consecutive"), told.parent, resume=True, progress=False)


def test_sentences_that_were_held_out_are_told_apart(tmp_path):
    held = train(small(training__hold_out=0.1), tmp_path / "run", progress=False).run
    [sweep] = sweep_memory([held], (12.0,), questions=50)
    [point] = sweep.points
    assert point.seen.questions + point.unseen.questions == 40
    assert min(point.seen.questions, point.unseen.questions) > 0
    assert point.seen.error > 0
    assert sweep.as_json()["points"][0]["unseen"]["questions"] == point.unseen.questions


def test_what_is_forgotten_makes_no_question_one_of_a_sentence_that_was_held_out(tmp_path):
    held = train(small(training__hold_out=0.1, system__memory=1), tmp_path / "run", progress=False).run
    [sweep] = sweep_memory([held], (12.0,), questions=50)
    experiment = read_experiment(held)
    corpus = load_corpus(experiment.data)
    unmet = set(corpus.held_out(0.1, 0).tolist())
    heard = [
        {int(corpus.test.question[one]), *corpus.test.story(one, 1).tolist()}
        for one in range(len(corpus.test))
    ]
    among = sum(bool(unmet & one) for one in heard)
    assert sweep.points[0].unseen.questions == among < corpus.test.telling(np.array(sorted(unmet))).sum()


@pytest.mark.parametrize(("seed", "tasks"), [(3, "1, 2"), (4, "2")])
def test_a_share_that_leaves_nothing_of_a_task_is_refused_before_step_1(tmp_path, seed, tasks):
    few = small(training__hold_out=0.5, training__seed=seed, data__questions=20)
    with pytest.raises(ConfigError, match=f"no training question of task {tasks} without a sentence that is"):
        train(few, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "provenance.json").exists()


def test_one_sentence_at_least_is_held_out(tmp_path):
    held = train(small(training__hold_out=0.001), tmp_path / "run", progress=False).run
    [sweep] = sweep_memory([held], (12.0,), questions=50)
    assert sweep.points[0].unseen.error > 0


@pytest.mark.parametrize("snr_db", [-5000.0, -100.1, 400.1, 5000.0])
def test_an_snr_that_no_channel_has_is_refused(run, snr_db):
    with pytest.raises(ConfigError, match="out of range"):
        sweep_memory([run], (0.0, snr_db))


@pytest.mark.parametrize(
    ("changes", "system", "channel"),
    [
        ({}, "mem-deepsc", "awgn"),
        ({"system__symbols": 16}, "mem-deepsc, 16 symbols", "awgn"),
        (
            {"system__mask": "random", "system__least_symbols": 8},
            "mem-deepsc, random mask, 8 at least",
            "awgn",
        ),
        (
            {"system__codec": "spiking", "training__freeze_encoder": True},
            "mem-deepsc, spiking, encoder held",
            "awgn",
        ),
        ({"training__joint_steps": 0}, "mem-deepsc, separate", "awgn"),
        ({"training__hold_out": 0.1}, "mem-deepsc, 10% of the sentences held out", "awgn"),
        ({"training__hold_out": 0.004}, "mem-deepsc, 0.4% of the sentences held out", "awgn"),
        (
            {"system__name": "utf8-turbo", "system__modulation": "amc", "system__memory": 1},
            "utf8-turbo, amc, last sentence",
            "awgn",
        ),
        ({"channel__kind": "rician", "channel__knowledge": "pilot"}, "mem-deepsc", "rician with a pilot"),
        ({"channel__kind": "rician", "channel__rician_k": 5.0}, "mem-deepsc", "rician, r = 5"),
    ],
)
def test_systems_that_differ_have_labels_that_differ(changes, system, channel):
    usual = {"system__symbols": 32, "system__least_symbols": 16, "system__memory": 130}
    assert _labels(small(**usual | changes)) == (system, channel)

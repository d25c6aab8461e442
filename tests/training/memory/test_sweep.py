import pytest

from nsc_deploy.errors import ConfigError
from nsc_deploy.training.memory.sweep import have_memory, sweep_memory
from nsc_deploy.training.run import train
from tests.training.memory.test_training import small


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(
        small(system__mask="consecutive"), tmp_path_factory.mktemp("memory") / "run", progress=False
    ).run


def test_a_sweep_has_a_point_for_each_snr(run):
    assert have_memory([run])
    [sweep] = sweep_memory([run], (6.0, -6.0), questions=10)
    assert sweep.label == "mem-deepsc, consecutive mask, awgn"
    assert [point.snr_db for point in sweep.points] == [-6, 6]
    assert [point.symbols.sent for point in sweep.points] == [16, 10]


def test_sentences_that_were_held_out_are_told_apart(tmp_path):
    held = train(small(training__hold_out=0.1), tmp_path / "run", progress=False).run
    [sweep] = sweep_memory([held], (12.0,), questions=50)
    [point] = sweep.points
    assert point.seen.questions + point.unseen.questions == 40
    assert min(point.seen.questions, point.unseen.questions) > 0
    assert point.seen.error > 0
    assert sweep.as_json()["points"][0]["unseen"]["questions"] == point.unseen.questions


def test_too_large_a_share_that_is_held_out_is_refused(tmp_path):
    few = small(training__hold_out=0.5, training__seed=3, data__questions=20)
    with pytest.raises(ConfigError, match="no training question without a sentence that is held out"):
        train(few, tmp_path / "run", progress=False)

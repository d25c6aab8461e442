import pytest

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

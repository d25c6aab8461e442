import json

import pytest

from nsc_deploy.training.memory.sweep import have_memory, sweep_memory, write_sweeps
from nsc_deploy.training.run import train
from tests.training.memory.test_training import small


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(
        small(system__mask="consecutive"), tmp_path_factory.mktemp("memory") / "run", progress=False
    ).run


def test_a_sweep_has_a_point_for_each_snr(run, tmp_path):
    assert have_memory([run])
    [sweep] = sweep_memory([run], (6.0, -6.0), questions=10)
    assert sweep.label == "mem-deepsc, consecutive mask, awgn"
    assert [point.snr_db for point in sweep.points] == [-6, 6]
    assert [point.symbols.sent for point in sweep.points] == [16, 10]
    files = write_sweeps([sweep], tmp_path)
    assert [path.name for path in files] == ["accuracy.png", "accuracy.svg", "evaluation.json"]
    [told] = json.loads(files[2].read_text())
    assert told["points"][0]["accuracy"] == sweep.points[0].accuracy
    assert told["points"][0]["by_task"].keys() == {"1", "2"}

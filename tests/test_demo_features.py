"""The demonstration with features in miniature, on the digits that scikit-learn brings."""

import json
from pathlib import Path

import pytest

from nsc_deploy.cli.demo import print_features
from nsc_deploy.demo.features import FeaturesDemonstration, FeaturesPlan, demonstrate_features

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> FeaturesDemonstration:
    folder = tmp_path_factory.mktemp("demo")
    plan = FeaturesPlan(backbone_epochs=2, epochs=1, tuning_epochs=1, steps=2, lava_samples=3)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        return demonstrate_features(folder / "out", plan, lava=False, progress=False)


def test_three_rivals_meet_the_same_channel(demonstration: FeaturesDemonstration) -> None:
    names = [sweep.name for sweep in demonstration.sweeps]
    assert names == ["snn-sc", "cnn-1bit", "jpeg-conv"]
    spiking, binary, separate = demonstration.sweeps
    assert spiking.bits == binary.bits == 2 * 16
    assert separate.failures[0] == 0
    assert separate.failures[-1] == 1


def test_both_halves_are_exported_as_trained_and_run(demonstration: FeaturesDemonstration) -> None:
    assert [path.name for path in demonstration.deployments] == ["lava-transmitter", "lava-receiver"]
    assert (demonstration.deployments[1] / "subtractive_lif.py").is_file()
    assert demonstration.outcome.backend == "twin"
    assert demonstration.outcome.comparison.samples == 3


def test_it_is_told_to_people_and_machines(
    demonstration: FeaturesDemonstration, capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.loads(json.dumps(demonstration.as_json(), allow_nan=False))
    assert [Path(one).name for one in told["runs"]] == ["backbone", "snn-sc", "cnn-1bit"]
    assert len(told["accuracy"]) == len(told["bits"]) == 3
    assert all(Path(path).is_file() for path in told["files"])
    print_features(demonstration)
    printed = capsys.readouterr().out
    assert "jpeg-conv" in printed
    assert "beside its floating-point graph" in printed

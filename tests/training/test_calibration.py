"""Calibration recordings: of the training part, balanced, a function of the best weights and the seed."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.data import EventSet, load_events
from nsc_deploy.deployment import Place, read_deployment, write_deployment
from nsc_deploy.errors import GraphError
from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.exporters.c.deployment import read_c_deployment
from nsc_deploy.exporters.export import export_all
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.models.export import balanced
from nsc_deploy.training.fit import reproducible, training_and_validation
from nsc_deploy.training.run import RunResult, train
from nsc_deploy.training.speech import record_calibration
from nsc_deploy.training.start import finished_system
from tests.support.c_graphs import needs_compiler

Make = Callable[..., dict[str, object]]


@pytest.fixture(scope="module")
def finished(small_experiment: Make, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    overrides = small_experiment(system__name="vanilla-snn", training__epochs=1)
    return train(load_experiment(None, overrides), tmp_path_factory.mktemp("runs") / "run", progress=False)


@pytest.fixture(scope="module")
def conventional(small_experiment: Make, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    overrides = small_experiment(system__name="fc", training__epochs=1)
    return train(load_experiment(None, overrides), tmp_path_factory.mktemp("runs") / "run", progress=False)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 80), st.integers(0, 2**31))
def test_every_class_gets_its_share(labels: list[int], count: int, seed: int) -> None:
    part = EventSet(
        np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1), np.array(labels, dtype=np.int64)
    )
    chosen = balanced(part, count, seed)
    assert len(chosen) == min(count, len(part))
    assert len(np.unique(chosen.events)) == len(chosen)  # none of them twice
    assert (part.labels[chosen.events.ravel()] == chosen.labels).all()
    share = {label: int((chosen.labels == label).sum()) for label in set(labels)}
    for label, taken in share.items():
        assert taken == labels.count(label) or taken >= max(share.values()) - 1


def test_the_first_so_many_are_balanced_too() -> None:
    part = EventSet(np.zeros((40, 1, 1), np.uint8), np.repeat(np.arange(4), 10))
    assert np.bincount(balanced(part, 40, 3).labels[:12]).tolist() == [3, 3, 3, 3]


def test_every_chip_part_has_a_recording_of_the_training_part(finished: RunResult) -> None:
    data = load_events(finished.experiment.data)
    training, _ = training_and_validation(data, finished.experiment)
    deployment = read_deployment(finished.run)
    for part in deployment.parts:
        wanted = part.place is Place.CHIP or part.graph.endswith(".onnx")
        assert part.calibration == (f"{part.name}.calibration.npz" if wanted else None)
    recording = read_recording(finished.run / "transmitter.calibration.npz")
    known = {sample.tobytes() for sample in training.events}
    held_out = {sample.tobytes() for sample in data.test.events} - known
    recorded = [sample.tobytes() for sample in recording.values.transpose(1, 0, 2)]
    assert len(recorded) == len(training)  # fewer than 200 here: all of them
    assert held_out
    assert set(recorded) <= known
    assert recording.labels is not None
    assert sorted(recording.labels) == sorted(training.labels)


def test_a_conventional_network_has_one_too(conventional: RunResult) -> None:
    deployment = read_deployment(conventional.run)
    training, _ = training_and_validation(load_events(conventional.experiment.data), conventional.experiment)
    assert [part.place for part in deployment.parts] == [Place.HOST, Place.HOST]
    for part in deployment.parts:
        assert part.calibration is not None
        recorded, test = (
            read_recording(conventional.run / name) for name in (part.calibration, part.recording)
        )
        assert recorded.samples == len(training)
        assert recorded.shape == test.shape


def test_a_sample_that_enters_at_once_lasts_as_long_in_either_recording(
    small_experiment: Make, tmp_path: Path
) -> None:
    overrides = small_experiment(system__name="qnn", training__epochs=1)
    run = train(load_experiment(None, overrides), tmp_path / "run", progress=False).run
    deployment, steps = read_deployment(run), []
    for part in deployment.parts:
        assert part.calibration is not None
        recorded, test = (read_recording(run / name) for name in (part.calibration, part.recording))
        assert recorded.dt == test.dt
        steps.append(len(recorded.values) * recorded.dt)
    assert steps == pytest.approx([8 * deployment.dt] * len(steps))
    assert len(read_recording(run / "receiver.calibration.npz").values) == 1


@needs_compiler
def test_its_export_to_c_chooses_ranges_on_them(conventional: RunResult, tmp_path: Path) -> None:
    (out,) = export_all(conventional.run, "c", tmp_path / "out")
    found = read_c_deployment(out)
    part = read_deployment(conventional.run).parts[-1]
    assert part.calibration is not None
    told = found.manifest.calibration
    assert (told.path, told.samples) == (
        str(conventional.run / part.calibration),
        read_recording(conventional.run / part.calibration).samples,
    )
    kept = read_recording(out / "inputs.npz")
    np.testing.assert_array_equal(kept.values, read_recording(conventional.run / part.recording).values)


def digests(run: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in run.iterdir() if path.is_file()
    }


def test_recorded_again_they_are_the_same(finished: RunResult) -> None:
    before, run = digests(finished.run), finished.run
    forget(run)
    assert digests(run) != before
    record_again(finished)
    assert digests(run) == before


def test_they_are_never_recorded_beside_graphs_of_other_weights(
    finished: RunResult, small_experiment: Make, tmp_path: Path
) -> None:
    overrides = small_experiment(system__name="vanilla-snn", training__epochs=1, training__seed=5)
    other = train(load_experiment(None, overrides), tmp_path / "other", progress=False)
    (other.run / "transmitter.nir").write_bytes((finished.run / "transmitter.nir").read_bytes())
    with pytest.raises(GraphError, match=r"transmitter\.nir.*differ from torch"):
        record_again(other)


def record_again(finished: RunResult) -> None:
    experiment, data = finished.experiment, load_events(finished.experiment.data)
    with reproducible(experiment.training.threads):
        system = finished_system(experiment, data, finished.run)
        record_calibration(experiment, data, finished.run, system)


def forget(run: Path) -> None:
    """Take the calibration recordings out of a run."""
    deployment = read_deployment(run)
    parts = tuple(part.model_copy(update={"calibration": None}) for part in deployment.parts)
    write_deployment(run, deployment.model_copy(update={"parts": parts}))
    for path in run.glob("*.calibration.npz"):
        path.unlink()

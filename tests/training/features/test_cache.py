import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nsc_deploy.errors import DataError
from nsc_deploy.experiment_file import FILE_NAME, write_experiment
from nsc_deploy.io.files import write_json
from nsc_deploy.io.npz import load_npz, save_npz
from nsc_deploy.training.checkpoints import HINT
from nsc_deploy.training.features import cache
from nsc_deploy.training.features.augmentation import normalised
from nsc_deploy.training.features.cache import FeatureSource, load_features
from nsc_deploy.training.run_directory import read_experiment, read_provenance
from tests.support.feature_runs import train_bars, use_bars


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    with pytest.MonkeyPatch.context() as patch:
        use_bars(patch, folder)
        return train_bars(folder / "run")


@pytest.fixture(autouse=True)
def _bars(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_bars(monkeypatch, tmp_path)


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("computed anew")


def test_features_are_what_the_device_part_gives_and_are_computed_once(
    run: Path, monkeypatch: pytest.MonkeyPatch
):
    source = FeatureSource(run)
    features = load_features(source)
    images = source.images
    with torch.no_grad():
        expected = source.backbone.device_part(
            normalised(torch.from_numpy(images.test.pixels), images.mean, images.deviation)
        )
    assert np.array_equal(features.test, expected.numpy().astype(np.float16))
    assert (features.shape, len(features.clean), features.class_names) == ((64, 4, 4), 200, tuple("abcd"))
    assert np.array_equal(features.train_labels, images.train.labels)
    assert features.train[0] is features.clean

    monkeypatch.setattr(cache, "compute", refuse)
    monkeypatch.setattr(cache, "load_images", refuse)
    assert np.array_equal(load_features(FeatureSource(run)).clean, features.clean)


def test_augmented_passes_differ_from_one_another_and_keep_the_test_part(run: Path):
    features = load_features(FeatureSource(run), augmented_passes=2)
    first, second = features.train
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, features.clean)
    assert np.array_equal(features.test, load_features(FeatureSource(run)).test)


@pytest.mark.parametrize("damage", ["cut short", "another type", "no array", "empty"])
def test_a_damaged_file_of_the_cache_is_made_anew(run: Path, damage: str):
    source = FeatureSource(run)
    before = np.array(load_features(source).test)
    path = cache.feature_folder() / source.key() / "test.npy"
    content = path.read_bytes()
    if damage == "another type":
        np.save(path, before.astype(np.float64))
    else:
        path.write_bytes({"cut short": content[:-1000], "no array": b"no array", "empty": b""}[damage])
    assert np.array_equal(load_features(source).test, before)


def test_arrays_of_other_samples_are_refused(run: Path):
    source = FeatureSource(run)
    test = np.array(load_features(source).test)
    np.save(cache.feature_folder() / source.key() / "test.npy", test[:-1])
    with pytest.raises(DataError, match="do not fit"):
        load_features(source)


def test_a_kill_leaves_no_half_file(run: Path, monkeypatch: pytest.MonkeyPatch):
    source = FeatureSource(run)
    real = cache.normalised
    calls = iter(range(1))

    def killed(*arguments: object) -> torch.Tensor:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(cache, "EVALUATION_BATCH", 50)
    monkeypatch.setattr(cache, "normalised", killed)
    with pytest.raises(KeyboardInterrupt):
        load_features(source)
    assert not list((cache.feature_folder() / source.key()).glob("*.npy"))


def test_augmented_features_of_the_same_weights_differ_with_the_settings_of_their_augmentation(
    run: Path, tmp_path: Path
):
    """Weights of others are the same in two runs, whose images are augmented as either asks."""
    still = shutil.copytree(run, tmp_path / "still")
    experiment = read_experiment(run)
    training = experiment.training.model_copy(update={"crop_padding": 0, "flip": False})
    write_experiment(still / FILE_NAME, experiment.model_copy(update={"training": training}))
    moved, unmoved = (load_features(FeatureSource(one), augmented_passes=1) for one in (run, still))
    assert np.array_equal(unmoved.clean, moved.clean)
    assert not np.array_equal(moved.train[0], moved.clean)
    assert np.array_equal(unmoved.train[0], unmoved.clean)
    assert moved.key != unmoved.key
    assert load_features(FeatureSource(run)).key == load_features(FeatureSource(still)).key


def test_other_images_than_those_of_the_training_are_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    use_bars(monkeypatch, tmp_path, seed=1)
    with pytest.raises(DataError, match="other images"):
        load_features(FeatureSource(run))


def test_what_is_no_backbone_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="holds no run"):
        FeatureSource(tmp_path / "nothing")


def test_a_backbone_that_has_lost_its_weights_is_named(run: Path, tmp_path: Path):
    lost = shutil.copytree(run, tmp_path / "lost")
    provenance = read_provenance(run).model_copy(update={"start_sha256": "0" * 64})
    write_json(tmp_path / "codec" / "provenance.json", provenance.model_dump(mode="json"))
    (lost / "checkpoints" / "best.safetensors").unlink()
    source = FeatureSource(lost)
    for ask in (source.key, lambda: source.require_behind(tmp_path / "codec")):
        with pytest.raises(DataError, match=r"best\.safetensors: cannot be read") as raised:
            ask()
        assert raised.value.hint == HINT


def test_the_key_tells_weights_apart(run: Path, tmp_path: Path):
    other = train_bars(tmp_path / "other", seed=1)
    assert FeatureSource(run).key() != FeatureSource(other).key()


@pytest.mark.parametrize(
    "damage",
    [
        {"train": np.zeros(200)},
        {"test": np.full(40, 9)},
        {"test": np.full(40, -1)},
        {"class_names": np.array("a")},
    ],
)
def test_labels_that_are_none_are_made_anew(run: Path, damage: dict[str, np.ndarray]):
    source = FeatureSource(run)
    features = load_features(source)
    labels = cache.feature_folder() / source.key() / "labels.npz"
    save_npz(labels, load_npz(labels) | damage)
    again = load_features(FeatureSource(run))
    assert np.array_equal(again.train_labels, features.train_labels)
    assert np.array_equal(again.test_labels, features.test_labels)
    assert again.class_names == features.class_names


_ON_A_FULL_DISK = """
import sys
from pathlib import Path
from nsc_deploy.errors import UserError
from nsc_deploy.training.checkpoints import HINT
from nsc_deploy.training.features import cache
from tests.support.images import bar_data

cache.load_images = lambda *_, **__: bar_data(200, 60)
try:
    cache.compute(Path(sys.argv[2]) / "train.npy", cache.FeatureSource(Path(sys.argv[1])), "train", None)
except UserError as error:
    print(error.problem, sum(one.is_file() for one in Path(sys.argv[2]).iterdir()))
"""


def test_a_full_disk_ends_with_an_error_and_no_signal(run: Path, tmp_path: Path):
    apart = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=64k none "$0" && exec "$@"', str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("no small disk can be made here")
    words = [sys.executable, "-c", _ON_A_FULL_DISK, str(run), str(tmp_path)]
    done = subprocess.run([*apart, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "cannot be written (No space left on device) 0\n"), (
        done.stderr
    )

"""Features of all images behind the split of a finished backbone, computed once and kept between runs.

A cached array is a .npy file of its own, float16, written whole or not at all and mapped into memory when it
is read. Its folder is named after everything that it depends on.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from nsc_deploy.config.features import BackboneExperiment
from nsc_deploy.data.images import ImageData, ImageSet, load_images
from nsc_deploy.errors import DataError
from nsc_deploy.io.files import replacing, unreadable
from nsc_deploy.io.npz import load_npz, save_npz
from nsc_deploy.io.progress import progress_bar
from nsc_deploy.models.features.backbones import Backbone
from nsc_deploy.training.batches import stream
from nsc_deploy.training.checkpoints import weights_sha256
from nsc_deploy.training.features.augmentation import crop_and_flip, normalised
from nsc_deploy.training.features.backbone import EVALUATION_BATCH, best_backbone
from nsc_deploy.training.run_directory import read_experiment_of, read_provenance
from nsc_deploy.training.start import require_finished

# Raise it with every change to the code that alters what is computed.
_CODE_VERSION = 1
_LABELS = "labels.npz"


@dataclass(frozen=True, eq=False)
class Features:
    """The features of a data set behind one split.

    Attributes:
        train: of the training part, one array [N, C, h, w] float16 for each augmented pass, or one alone.
        test: of the test part, without augmentation, likewise.
        clean: of the training part without augmentation.
        train_labels: [N] int64.
        test_labels: [N] int64.
        class_names: in the order of the labels.
        key: names everything these depend on.
    """

    train: tuple[NDArray[np.float16], ...]
    test: NDArray[np.float16]
    clean: NDArray[np.float16]
    train_labels: NDArray[np.int64]
    test_labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    key: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a feature."""
        channels, height, width = self.test.shape[1:]
        return channels, height, width


class FeatureSource:
    """A finished backbone and its images, loaded when they are needed.

    Args:
        run: the run of the backbone.
        path: where the images are, if it is not where the run found them.
        progress: show progress bars on stderr.

    Raises:
        DataError: `run` is no finished run of a backbone.
    """

    def __init__(self, run: Path, path: Path | None = None, *, progress: bool = False) -> None:
        require_finished(run, "--backbone")
        self.run = run
        self.experiment = read_experiment_of(BackboneExperiment, run)
        self._progress = progress
        self._path = path
        self._images: ImageData | None = None
        self._backbone: Backbone | None = None

    @property
    def images(self) -> ImageData:
        """The images that the backbone was trained on.

        Raises:
            DataError: they are missing, damaged, or others.
        """
        if self._images is None:
            config = self.experiment.data
            if self._path is not None:
                config = config.model_copy(update={"path": self._path})
            self._images = load_images(config, progress=self._progress)
            if self._images.sha256() != read_provenance(self.run).data_sha256:
                raise DataError(
                    f"other images of {config.dataset} are here than the backbone was trained on",
                    where=self.run,
                    hint="Name those with --data-path, or train the backbone anew.",
                )
        return self._images

    def require_images(self) -> None:
        """Refuse a backbone whose images are not there.

        Raises:
            DataError: they are missing, damaged, or others.
        """
        _ = self.images

    @property
    def backbone(self) -> Backbone:
        """The backbone with its best weights, for evaluation."""
        if self._backbone is None:
            self._backbone = best_backbone(self.experiment, self.run)
        return self._backbone

    def require_behind(self, codec: Path) -> None:
        """Refuse a backbone other than the one that a codec was trained behind: other features.

        Args:
            codec: its run.

        Raises:
            DataError: it was trained anew since, is another, or has lost its weights.
        """
        trained_behind = read_provenance(codec).start_sha256
        if trained_behind is not None and trained_behind != weights_sha256(self.run):
            raise DataError(
                f"has other weights than {codec} was trained behind",
                where=self.run,
                hint="Restore the backbone, or train the codec anew with --overwrite.",
            )

    def key(self, *, augmented: bool = False) -> str:
        """Digest of what features depend on: weights, images, split and this code; if augmented, how.

        Weights alone do not tell how images were augmented: those of others come with settings of ours.

        Raises:
            DataError: the backbone has lost its weights.
        """
        config, data = self.experiment.training, read_provenance(self.run).data_sha256
        depends: list[object] = [_CODE_VERSION, weights_sha256(self.run), data, self.experiment.system.split]
        if augmented:
            depends += [config.seed, config.crop_padding, config.flip]
        return hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:32]


def load_features(source: FeatureSource, augmented_passes: int = 0, *, progress: bool = False) -> Features:
    """The features of a backbone, from the cache where they are there.

    Args:
        source: the backbone and its images.
        augmented_passes: passes over the training part, each augmented anew as in the backbone's training.
        progress: show a progress bar on stderr while they are computed.

    Raises:
        DataError: the images or the backbone are missing or damaged.
        UserError: the cache cannot be written.
    """
    folder, key = feature_folder() / source.key(), source.key(augmented=augmented_passes > 0)

    def cached(path: Path, part: str, augmented: int | None = None) -> NDArray[np.float16]:
        found = _mapped(path)
        if found is None:
            compute(path, source, part, augmented, progress=progress)
            found = _mapped(path)
        if found is None:
            raise DataError("cannot be read back", where=path, hint="Check its disk.")
        return found

    clean = cached(folder / "train.npy", "train")
    labels = _labels(folder / _LABELS, source)
    passes = [feature_folder() / key / f"train-{number}.npy" for number in range(augmented_passes)]
    features = Features(
        train=tuple(cached(path, "train", number) for number, path in enumerate(passes)) or (clean,),
        test=cached(folder / "test.npy", "test"),
        clean=clean,
        train_labels=labels["train"],
        test_labels=labels["test"],
        class_names=tuple(map(str, labels["class_names"])),
        key=f"{key}-{augmented_passes}",
    )
    _require_fitting(features, folder)
    return features


def _require_fitting(features: Features, folder: Path) -> None:
    parts = [(one, features.train_labels) for one in (*features.train, features.clean)]
    for one, labels in (*parts, (features.test, features.test_labels)):
        if len(one) != len(labels) or one.shape[1:] != features.test.shape[1:]:
            raise DataError(
                "holds arrays that do not fit each other", where=folder, hint="Delete it; it is made anew."
            )


def feature_folder() -> Path:
    """Where features are kept; deleting it loses only time."""
    return platformdirs.user_cache_path("nsc-deploy") / "features"


def _mapped(path: Path) -> NDArray[np.float16] | None:
    """The array in a cached file; None where there is none, or one that is made anew.

    That is one with a damaged header or of another length; a digest of gigabytes before every run would cost
    more than it tells.
    """
    try:
        found = np.load(path, mmap_mode="c", allow_pickle=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, EOFError, SyntaxError, TypeError, OverflowError):
        return None
    fits = isinstance(found, np.memmap) and found.dtype == np.float16 and found.ndim == 4 and found.size
    return found if fits else None


def _labels(path: Path, source: FeatureSource) -> dict[str, NDArray[np.int64]]:
    if path.is_file():
        try:
            arrays = load_npz(path, max_bytes=64 * 1024**2)
            if _are_labels(arrays):
                return arrays
        except DataError:
            pass
    images = source.images
    arrays = {
        "train": images.train.labels,
        "test": images.test.labels,
        "class_names": np.array(images.class_names),
    }
    save_npz(path, arrays)
    return arrays


def _are_labels(arrays: dict[str, NDArray[Any]]) -> bool:
    """Whether these are labels of two parts, each a class that has a name."""
    if not {"train", "test", "class_names"} <= arrays.keys():
        return False
    parts, classes = (arrays["train"], arrays["test"]), arrays["class_names"]
    return classes.ndim == 1 and all(
        one.dtype == np.int64 and one.ndim == 1 and one.size and 0 <= one.min() <= one.max() < len(classes)
        for one in parts
    )


@torch.no_grad()
def compute(
    path: Path, source: FeatureSource, part: str, augmented: int | None, *, progress: bool = False
) -> None:
    """Write the features of a part into a file, whole or not at all.

    Args:
        path: the file.
        source: the backbone and its images.
        part: train or test.
        augmented: which augmented pass; None for the images as they are.
        progress: show a progress bar on stderr.

    Raises:
        DataError: a feature is beyond what float16 holds.
        UserError: the cache cannot be written.
    """
    images = source.images
    samples: ImageSet = getattr(images, part)
    device, config = source.backbone.device_part, source.experiment.training
    shape = (len(samples), *source.backbone.feature_shape())
    # Written and not mapped: where the disk is full, a page that is mapped ends the process.
    with replacing(path) as temporary, temporary.open("wb") as kept, progress_bar(shown=progress) as bar:
        task = bar.add_task(f"features of the {part} images", total=len(samples))
        header = {"descr": npy.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(kept, header)
        for start in range(0, len(samples), EVALUATION_BATCH):
            pixels = torch.from_numpy(samples.pixels[start : start + EVALUATION_BATCH])
            if augmented is not None:
                chance = stream(config.seed, "augmented features", augmented, start)
                pixels = crop_and_flip(pixels, config.crop_padding, chance, flip=config.flip)
            found = device(normalised(pixels, images.mean, images.deviation)).numpy()
            if not np.abs(found).max() < np.finfo(np.float16).max:
                raise DataError(
                    "has features beyond what float16 holds", where=source.run, hint="Train another backbone."
                )
            kept.write(found.astype(np.float16).tobytes())
            bar.advance(task, len(found))

"""The data sets: what a person wants to know before using one, and where its files are found."""

import hashlib
import os
from pathlib import Path
from typing import Literal, Protocol, get_args

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nsc_deploy.data.config import DataConfig
from nsc_deploy.data.image_config import ImageDataConfig, ImageDataset
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.io.files import sha256, unreadable
from nsc_deploy.io.records import Record, faults

Name = Literal["spoken-digits", "fsdd", "shd", "cifar100", "digits", "babi"]
BABI_ARCHIVE = "tasks_1-20_v1-2.tar.gz"
IMAGES = frozenset(get_args(ImageDataset))


class DataSetFacts(BaseModel):
    """One data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    summary: str
    classes: int
    samples: str = Field(description="training and test samples")
    splits: tuple[str, ...]
    licence: str
    source: str


CATALOGUE: tuple[DataSetFacts, ...] = (
    DataSetFacts(
        name="spoken-digits",
        summary="English digits synthesised on the spot: 7 accents x 26 voices, seeded",
        classes=10,
        samples="1000 + 300, configurable",
        splits=("official",),
        licence="none on the sound; the synthesiser espeak-ng is GPL-3.0",
        source="espeak-ng, from the package espeakng-loader (pip install nsc-deploy[speech])",
    ),
    DataSetFacts(
        name="fsdd",
        summary="Free Spoken Digit Dataset: real recordings at 8 kHz, 6 speakers",
        classes=10,
        samples="2700 + 300 (official), 2500 + 500 (leave one speaker out), 2400 + 300 (selection)",
        splits=("official", "leave-one-speaker-out", "selection"),
        licence="CC BY-SA 4.0",
        source="https://github.com/Jakobovski/free-spoken-digit-dataset",
    ),
    DataSetFacts(
        name="shd",
        summary="Spiking Heidelberg Digits: English and German digits as spikes of 700 units",
        classes=20,
        samples="8156 + 2264",
        splits=("official",),
        licence="CC BY 4.0",
        source="https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/",
    ),
    DataSetFacts(
        name="cifar100",
        summary="CIFAR-100: colour images of 32 x 32 pixels, 100 classes",
        classes=100,
        samples="50000 + 10000",
        splits=("official",),
        licence="none stated",
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
    DataSetFacts(
        name="digits",
        summary="handwritten digits as grey images of 8 x 8 pixels, for tests and a first try",
        classes=10,
        samples="1438 + 359",
        splits=("official",),
        licence="CC BY 4.0",
        source="UCI, Optical Recognition of Handwritten Digits; from scikit-learn "
        "(pip install nsc-deploy[images])",
    ),
    DataSetFacts(
        name="babi",
        summary="bAbI tasks 1 to 20: stories with questions, for systems with memory",
        classes=60,
        samples="160000 + 20000 questions, 20000 more for validation",
        splits=("official",),
        licence="CC BY 3.0",
        source="https://research.facebook.com/downloads/babi/ (Weston et al. 2015)",
    ),
)


class StoryDataConfig(Record):
    """Where a data set of stories is."""

    dataset: Literal["babi"] = "babi"
    path: Path | None = None


AnyDataConfig = DataConfig | ImageDataConfig | StoryDataConfig


class Availability(BaseModel):
    """Whether a data set can be used now, and if not, what to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    place: Path | None = Field(description="the file or folder found, or the synthesiser; null if none")
    hint: str | None = Field(description="what to do if there is none")


def facts(name: str) -> DataSetFacts:
    """The facts of one data set.

    Raises:
        ConfigError: there is no such set.
    """
    for entry in CATALOGUE:
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in CATALOGUE)
    raise ConfigError("there is no such data set", where=name, hint=f"Choose one of: {names}.")


def located(name: str, path: Path | None = None) -> AnyDataConfig:
    """The configuration of a data set at a path; None for the usual places.

    Raises:
        ConfigError: there is no such set, it is read from no path, or this is none.
    """
    facts(name)
    form: type[AnyDataConfig] = DataConfig
    if name in IMAGES:
        form = ImageDataConfig
    elif name == "babi":
        form = StoryDataConfig
    try:
        return form.model_validate({"dataset": name, "path": path})
    except ValidationError as error:
        fault = faults(error, form, "a data set")[0]
        spelt = fault.problem if fault.misfit is None else fault.misfit.spell(fault.misfit.problem)
        hint = "Name the file or folder of the set." if fault.misfit is None else "Leave it out."
        raise ConfigError(spelt.removeprefix("path "), where="--path", hint=hint) from error


def availability(config: AnyDataConfig) -> Availability:
    """Look for the files (or the synthesiser) of a data set without reading them."""
    try:
        if config.dataset == "spoken-digits":
            from nsc_deploy.data.speech import library_paths

            return Availability(place=library_paths().library, hint=None)
        if config.dataset == "digits":
            return _digits()
        return Availability(place=find_source(config), hint=None)
    except DataError as error:
        return Availability(place=None, hint=error.hint)


class Description(DataSetFacts):
    """A data set as it is here, with the form of its events."""

    place: Path | None = Field(description="where it is; null if it is not here")
    hint: str | None = Field(description="what to do if it is not here")
    channels: int | None = Field(default=None, description="event channels; null of images")
    steps: int | None = Field(default=None, description="steps per sample, likewise")
    dt: float | None = Field(default=None, description="length of a step in seconds, likewise")
    shape: tuple[int, int, int] | None = Field(
        default=None, description="channels, height and width of an image; null of sound"
    )
    train_samples: int | None = Field(default=None, description="samples of the training part")
    test_samples: int | None = Field(default=None, description="samples of the test part")
    train_rate: float | None = Field(default=None, description="events per channel and step, training part")
    words: int | None = Field(default=None, description="of stories: distinct words")
    sentences: int | None = Field(default=None, description="of stories: distinct sentences")


def _digits() -> Availability:
    from importlib.util import find_spec

    found = find_spec("sklearn")
    if found is None or found.origin is None:
        return Availability(place=None, hint="Install scikit-learn: pip install 'nsc-deploy[images]'.")
    return Availability(place=Path(found.origin).parent, hint=None)


_IMAGE_SHAPES: dict[str, tuple[int, int, int]] = {"cifar100": (3, 32, 32), "digits": (1, 8, 8)}


def describe(config: AnyDataConfig, *, encode: bool = False) -> Description:
    """Describe a data set; with `encode` it is loaded and counted too.

    Raises:
        DataError: `encode` is asked for and the set is missing or damaged, or not at its named path.
    """
    if config.path is not None:
        _check_named(config)
    if isinstance(config, ImageDataConfig):
        return _described_images(config, load=encode)
    if isinstance(config, StoryDataConfig):
        return _described_stories(config, load=encode)
    counts: dict[str, float] = {}
    if encode:
        from nsc_deploy.data.load import load_events

        data = load_events(config, progress=True)
        counts = {
            "train_samples": len(data.train),
            "test_samples": len(data.test),
            "train_rate": data.train.rate,
        }
    return Description.model_validate(
        {
            **facts(config.dataset).model_dump(),
            **availability(config).model_dump(),
            **counts,
            "channels": config.channels,
            "steps": config.steps,
            "dt": config.dt,
        }
    )


def _described_images(config: ImageDataConfig, *, load: bool) -> Description:
    counts: dict[str, int] = {}
    if load:
        from nsc_deploy.data.images import load_images

        data = load_images(config, progress=True)
        counts = {"train_samples": len(data.train), "test_samples": len(data.test)}
    return Description.model_validate(
        {
            **facts(config.dataset).model_dump(),
            **availability(config).model_dump(),
            **counts,
            "shape": _IMAGE_SHAPES[config.dataset],
        }
    )


def _described_stories(config: StoryDataConfig, *, load: bool) -> Description:
    counts: dict[str, int] = {}
    if load:
        from nsc_deploy.data.babi import read_babi

        corpus = read_babi(find_source(config))
        counts = {
            "train_samples": len(corpus.train),
            "test_samples": len(corpus.test),
            "words": len(corpus.vocabulary.words),
            "sentences": len(corpus.texts),
        }
    return Description.model_validate(
        {**facts(config.dataset).model_dump(), **availability(config).model_dump(), **counts}
    )


def _check_named(config: AnyDataConfig) -> None:
    """Refuse a named path that is not there or, as far as names tell, is not of the set."""
    source = find_source(config)
    if config.dataset == "shd":
        from nsc_deploy.data.shd import find_parts

        find_parts(source)


FOLDER_VARIABLE = "NSC_DEPLOY_DATA"
RECORDINGS = "recordings"
"""The folder of the wav files in a clone of FSDD."""
# What may hold each set inside a data folder, first found first served.
NAMES = {
    "fsdd": ("fsdd_8k_int16.npz", "fsdd/fsdd_8k_int16.npz", f"fsdd/{RECORDINGS}", "fsdd"),
    "shd": ("shd_train.h5", "shd/shd_train.h5"),
    "babi": ("babi", BABI_ARCHIVE, "tasks_1-20_v1-2"),
    "cifar100": (
        "cifar100_webp.npz", "cifar-100-binary.tar.gz", "cifar100/cifar-100-binary.tar.gz",
        "cifar-100-binary",
    ),
}  # fmt: skip


def data_folder() -> Path:
    """Where `nsc-deploy data fetch` puts data sets."""
    return platformdirs.user_data_path("nsc-deploy") / "data"


class Sought(Protocol):
    """What says which data set is wanted and maybe where it is: the `[data]` table of any family."""

    @property
    def dataset(self) -> str:
        """Its name."""
        ...

    @property
    def path(self) -> Path | None:
        """Its file or folder; None for the usual places."""
        ...


def find_source(config: Sought) -> Path:
    """The file or folder of `config.dataset`: `config.path` or in it, in $NSC_DEPLOY_DATA, or as fetched.

    Raises:
        DataError: it is in none of them.
    """
    if config.path is not None:
        if not config.path.exists():
            raise DataError("does not exist", where=config.path, hint=_hint(config.dataset))
        return _inside(config.path, config.dataset) or config.path
    folders = [data_folder()]
    if own_folder := os.environ.get(FOLDER_VARIABLE):
        folders.insert(0, Path(own_folder))
    for folder in folders:
        if (found := _inside(folder, config.dataset)) is not None:
            return found
    looked = " and ".join(str(folder) for folder in folders)
    raise DataError(f"the data set is not in {looked}", where=config.dataset, hint=_hint(config.dataset))


def _inside(folder: Path, dataset: str) -> Path | None:
    """What holds the set in a data folder."""
    return next((folder / name for name in NAMES[dataset] if (folder / name).exists()), None)


def _hint(dataset: str) -> str:
    return (
        f"Fetch it with `nsc-deploy data fetch {dataset}`, name its file or folder as data path, "
        f"or set ${FOLDER_VARIABLE} to the folder that holds it."
    )


def digest(source: Path) -> str:
    """Identifies the content of a file, or of the files directly in a folder, by SHA-256.

    Raises:
        DataError: unreadable.
    """
    try:
        if source.is_file():
            return sha256(source)
        lines = [f"{path.name} {sha256(path)}" for path in sorted(source.iterdir()) if path.is_file()]
    except OSError as error:
        raise unreadable(source, error) from error
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()

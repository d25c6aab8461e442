"""Where the files of a data set are found, and what identifies their content."""

import hashlib
import os
from pathlib import Path

import platformdirs

from nsc_deploy.data.config import DataConfig
from nsc_deploy.errors import DataError
from nsc_deploy.io.files import sha256, unreadable

FOLDER_VARIABLE = "NSC_DEPLOY_DATA"
# What may hold each set inside a data folder, first found first served.
NAMES = {
    "fsdd": ("fsdd_8k_int16.npz", "fsdd/fsdd_8k_int16.npz", "fsdd/recordings", "fsdd"),
    "shd": ("shd_train.h5", "shd/shd_train.h5"),
}


def data_folder() -> Path:
    """Where `nsc-deploy data fetch` puts data sets."""
    return platformdirs.user_data_path("nsc-deploy") / "data"


def find_source(config: DataConfig) -> Path:
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

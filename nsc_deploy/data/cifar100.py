"""CIFAR-100: its published binary archive, the files in it, or all images as lossless WebP in one .npz.

A. Krizhevsky, Learning multiple layers of features from tiny images, 2009. 60,000 colour images of 32 x 32
pixels, 100 classes; 50,000 are the training part and 10,000 the test part.
"""

import io
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.data.images import ImageData, ImageSet
from nsc_deploy.errors import DataError
from nsc_deploy.io.archives import TarLimits, read_tar
from nsc_deploy.io.files import REPLACE, open_regular, unreadable
from nsc_deploy.io.npz import load_npz
from nsc_deploy.io.progress import progress_bar

CLASSES = 100
SHAPE = (3, 32, 32)
ARCHIVE = "cifar-100-binary.tar.gz"
FOLDER = "cifar-100-binary"
PARTS = {"train": 50_000, "test": 10_000}
MEAN = (0.5071, 0.4865, 0.4409)
DEVIATION = (0.2673, 0.2564, 0.2762)
"""Of the training part, as public code for CIFAR-100 quotes them."""

_NAMES = "fine_label_names.txt"
_RECORD = 2 + 3072
"""Bytes of an image in the binary form: coarse label, fine label, red, green and blue plane."""
_MOST_NAME_BYTES = 64 * 1024
_MOST_MEMBERS = 64
_MOST_UNPACKED = 256 * 1024**2
"""The archive holds 185 MB."""


def read_cifar100(source: Path, *, progress: bool = False) -> ImageData:
    """Read CIFAR-100.

    Args:
        source: the archive `cifar-100-binary.tar.gz`, the folder it unpacks to, or a .npz with the images as
            lossless WebP (`train_webp` and `test_webp` uint8, files end to end; `train_offsets`,
            `train_labels` and so on; `class_names`).
        progress: show a progress bar on stderr while WebP files are decoded.

    Raises:
        DataError: missing, damaged, or something else.
    """
    if source.is_dir():
        return _from_binary(_folder_files(source), source)
    if source.suffix == ".npz":
        return _from_webp(source, progress=progress)
    return _from_binary(_archive_files(source), source)


def _archive_files(path: Path) -> dict[str, bytes]:
    """The three files of the archive that are read; nothing is unpacked to disk."""
    limits = TarLimits("CIFAR-100", _MOST_UNPACKED, _MOST_MEMBERS)
    sizes = _sizes()
    found = read_tar(path, limits, lambda name: sizes.get(PurePosixPath(name).name))
    return {PurePosixPath(name).name: content for name, content in found}


def _folder_files(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name in _sizes():
        path = folder / name
        try:
            with open_regular(path) as stream:
                found[name] = _read(stream, name)
        except OSError as error:
            raise unreadable(path, error) from error
        except ValueError as error:
            raise DataError(f"is not part of CIFAR-100 ({error})", where=path, hint=REPLACE) from error
    return found


def _sizes() -> dict[str, int]:
    """The most bytes that each file may have."""
    return {f"{part}.bin": count * _RECORD for part, count in PARTS.items()} | {_NAMES: _MOST_NAME_BYTES}


def _read(stream: IO[bytes], name: str) -> bytes:
    most = _sizes()[name]
    content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{name} is larger than {most} bytes")
    return content


def _from_binary(files: dict[str, bytes], source: Path) -> ImageData:
    missing = next((name for name in _sizes() if name not in files), None)
    if missing is not None:
        raise DataError(f"holds no {missing}, so no CIFAR-100 in binary form", where=source, hint=REPLACE)
    parts = {part: _binary_part(files[f"{part}.bin"], part, source) for part in PARTS}
    names = files[_NAMES].decode("ascii", errors="replace").split()
    return _assembled(parts, names, source)


def _binary_part(content: bytes, part: str, source: Path) -> ImageSet:
    if len(content) != PARTS[part] * _RECORD:
        raise DataError(
            f"{part}.bin has {len(content)} bytes, not {PARTS[part] * _RECORD}", where=source, hint=REPLACE
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, _RECORD)
    return ImageSet(np.ascontiguousarray(records[:, 2:]).reshape(-1, *SHAPE), records[:, 1].astype(np.int64))


def _from_webp(path: Path, *, progress: bool) -> ImageData:
    arrays = load_npz(path)
    wanted = [f"{part}_{kind}" for part in PARTS for kind in ("webp", "offsets", "labels")]
    missing = next((name for name in (*wanted, "class_names") if name not in arrays), None)
    if missing is not None:
        raise DataError(f"holds no array {missing}, so no CIFAR-100 as WebP", where=path, hint=REPLACE)
    parts = {part: _webp_part(arrays, part, path, progress=progress) for part in PARTS}
    return _assembled(parts, [str(name) for name in arrays["class_names"].reshape(-1)], path)


def _webp_part(arrays: dict[str, NDArray[Any]], part: str, path: Path, *, progress: bool) -> ImageSet:
    packed, offsets, labels = (arrays[f"{part}_{kind}"] for kind in ("webp", "offsets", "labels"))
    if packed.dtype != np.uint8 or packed.ndim != 1 or offsets.dtype.kind not in "iu":
        raise DataError(f"{part}_webp and {part}_offsets are of the wrong type", where=path, hint=REPLACE)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DataError(f"{part}_labels are no whole numbers in a row", where=path, hint=REPLACE)
    edges = offsets.astype(np.int64)
    if edges.shape != (len(labels) + 1,) or edges[0] != 0 or edges[-1] != len(packed):
        raise DataError(f"{part}_offsets do not fit the images and labels", where=path, hint=REPLACE)
    if (np.diff(edges) <= 0).any():
        raise DataError(f"{part}_offsets do not rise", where=path, hint=REPLACE)
    if len(labels) != PARTS[part]:  # of a subset, accuracies would stand as those of CIFAR-100
        raise DataError(
            f"has {len(labels)} {part} images, not the {PARTS[part]} of CIFAR-100", where=path, hint=REPLACE
        )
    pixels = np.empty((len(labels), *SHAPE), dtype=np.uint8)
    with progress_bar(shown=progress) as bar:
        task = bar.add_task(f"unpacking the {part} images", total=len(labels))
        for number, (start, end) in enumerate(pairwise(edges.tolist())):
            pixels[number] = _decoded(packed[start:end].tobytes(), f"image {number} of {part}_webp", path)
            bar.advance(task)
    return ImageSet(pixels, labels.astype(np.int64))


def _decoded(content: bytes, what: str, path: Path) -> NDArray[np.uint8]:
    """One WebP file as [3, 32, 32]."""
    from PIL import Image, UnidentifiedImageError

    undecoded = (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError)
    try:
        with Image.open(io.BytesIO(content), formats=("WEBP",)) as image:
            if image.size == SHAPE[1:]:
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
            found = f"{image.width} x {image.height} pixels"
    except undecoded as error:
        raise DataError(f"{what} cannot be decoded ({error})", where=path, hint=REPLACE) from error
    raise DataError(f"{what} has {found}, not 32 x 32", where=path, hint=REPLACE)


def _assembled(parts: dict[str, ImageSet], names: list[str], source: Path) -> ImageData:
    if len(names) != CLASSES:
        raise DataError(f"names {len(names)} classes, not {CLASSES}", where=source, hint=REPLACE)
    try:
        return ImageData(parts["train"], parts["test"], tuple(names), MEAN, DEVIATION)
    except DataError as error:
        raise DataError(error.problem, where=source, hint=REPLACE) from error

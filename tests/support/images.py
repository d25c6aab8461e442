"""Images to learn from in seconds, and CIFAR-100 in small."""

import io
import tarfile
from pathlib import Path

import numpy as np

from nsc_deploy.data.images import ImageData, ImageSet

NAMES = tuple(f"class{number}" for number in range(100))


def bars(samples: int, seed: int = 0) -> ImageSet:
    """Noise of 8 x 8 pixels with a bright bar, in one of four places by its class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(samples, dtype=np.int64) % 4
    pixels = generator.integers(0, 90, (samples, 1, 8, 8), dtype=np.uint8)
    pixels[np.arange(samples), 0, 2 * labels] += 120
    return ImageSet(pixels, labels)


def bar_data(train: int = 200, test: int = 60) -> ImageData:
    """Bars as a data set that `cnn8` takes."""
    return ImageData(bars(train), bars(test, seed=1), tuple("abcd"), (0.25,), (0.2,))


def small_cifar(seed: int = 0, train: int = 40, test: int = 10) -> dict[str, ImageSet]:
    """Parts as CIFAR-100 has them, but small: smooth images of 32 x 32, random classes."""
    generator = np.random.default_rng(seed)

    def part(count: int) -> ImageSet:
        coarse = generator.integers(0, 256, (count, 3, 4, 4), dtype=np.uint8)
        labels = generator.integers(0, 100, count).astype(np.int64)
        return ImageSet(coarse.repeat(8, axis=2).repeat(8, axis=3), labels)

    return {"train": part(train), "test": part(test)}


def binary_files(parts: dict[str, ImageSet]) -> dict[str, bytes]:
    """The files of the binary form, by name."""
    files = {f"{name}.bin": _records(part) for name, part in parts.items()}
    return files | {"fine_label_names.txt": "\n".join(NAMES).encode()}


def _records(part: ImageSet) -> bytes:
    coarse = np.zeros((len(part), 1), dtype=np.uint8)
    fine = part.labels.astype(np.uint8).reshape(-1, 1)
    return np.concatenate([coarse, fine, part.pixels.reshape(len(part), -1)], axis=1).tobytes()


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    """The published form: a packed tar with one folder."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-100-binary/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def webp_arrays(parts: dict[str, ImageSet]) -> dict[str, np.ndarray]:
    """The same images as lossless WebP files, end to end."""
    from PIL import Image

    arrays: dict[str, np.ndarray] = {"class_names": np.array(NAMES)}
    for name, part in parts.items():
        files = []
        for pixels in part.pixels:
            stream = io.BytesIO()
            Image.fromarray(pixels.transpose(1, 2, 0)).save(stream, "WEBP", lossless=True, exact=True)
            files.append(stream.getvalue())
        arrays[f"{name}_webp"] = np.frombuffer(b"".join(files), dtype=np.uint8)
        arrays[f"{name}_offsets"] = np.cumsum([0, *map(len, files)])
        arrays[f"{name}_labels"] = part.labels.astype(np.uint8)
    return arrays

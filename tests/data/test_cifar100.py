import gzip
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.data import cifar100
from nsc_deploy.data.cifar100 import read_cifar100
from nsc_deploy.errors import DataError
from nsc_deploy.io.npz import save_npz
from tests.support.images import NAMES, binary_files, small_cifar, webp_arrays, write_archive


@pytest.fixture(autouse=True)
def _few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar100, "PARTS", {"train": 40, "test": 10})


def test_archive_folder_and_webp_hold_the_same_images(tmp_path: Path):
    parts = small_cifar()
    files = binary_files(parts)
    archive = write_archive(tmp_path / cifar100.ARCHIVE, files)
    folder = tmp_path / cifar100.FOLDER
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    npz = tmp_path / "cifar100_webp.npz"
    save_npz(npz, webp_arrays(parts))
    for source in (archive, folder, npz):
        data = read_cifar100(source)
        assert data.class_names == NAMES
        assert data.shape == (3, 32, 32)
        for name, part in (("train", data.train), ("test", data.test)):
            assert np.array_equal(part.pixels, parts[name].pixels)
            assert np.array_equal(part.labels, parts[name].labels)


def without(name: str) -> Callable[[dict[str, bytes]], None]:
    return lambda files: files.pop(name)


def longer(files: dict[str, bytes]) -> None:
    files["test.bin"] += b"\0"


def shorter(files: dict[str, bytes]) -> None:
    files["train.bin"] = files["train.bin"][:-1]


def another_class(files: dict[str, bytes]) -> None:
    files["test.bin"] = b"\0\xff" + files["test.bin"][2:]


def fewer_names(files: dict[str, bytes]) -> None:
    files["fine_label_names.txt"] = b"apple\nbear\n"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (without("train.bin"), "no train.bin"),
        (without("fine_label_names.txt"), "no fine_label_names.txt"),
        (longer, "larger than 30740 bytes"),
        (shorter, "train.bin has 122959 bytes, not 122960"),
        (another_class, "labels other than 0 to 99"),
        (fewer_names, "names 2 classes"),
    ],
)
def test_what_is_wrong_with_an_archive_is_named(
    tmp_path: Path, damage: Callable[[dict[str, bytes]], None], problem: str
):
    files = binary_files(small_cifar())
    damage(files)
    with pytest.raises(DataError, match=problem) as found:
        read_cifar100(write_archive(tmp_path / cifar100.ARCHIVE, files))
    assert found.value.where == str(tmp_path / cifar100.ARCHIVE)
    assert found.value.hint


def test_a_truncated_archive_is_refused(tmp_path: Path):
    archive = write_archive(tmp_path / cifar100.ARCHIVE, binary_files(small_cifar()))
    whole = archive.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 4):
        archive.write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_cifar100(archive)


def test_a_flipped_bit_in_an_archive_is_noticed(tmp_path: Path):
    archive = write_archive(tmp_path / cifar100.ARCHIVE, binary_files(small_cifar()))
    content = bytearray(archive.read_bytes())
    unpacked = gzip.decompress(content)
    for place in range(200, len(content), len(content) // 9):
        content[place] ^= 8
        archive.write_bytes(content)
        if not _unpacks_to(content, unpacked):  # a few bits of a packed file mean nothing
            with pytest.raises(DataError):
                read_cifar100(archive)
        content[place] ^= 8


def _unpacks_to(content: bytearray, expected: bytes) -> bool:
    try:
        return gzip.decompress(content) == expected
    except (OSError, EOFError, zlib.error):
        return False


def test_links_and_devices_in_an_archive_are_not_followed(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"\0" * 122_960)
    archive = tmp_path / cifar100.ARCHIVE
    with tarfile.open(archive, "w:gz") as members:
        for name in ("train.bin", "test.bin", "fine_label_names.txt"):
            link = tarfile.TarInfo(f"cifar-100-binary/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, str(secret)
            members.addfile(link)
    with pytest.raises(DataError, match=r"no train.bin"):
        read_cifar100(archive)


def test_an_archive_that_claims_far_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cifar100, "_MOST_UNPACKED", 1000)
    archive = write_archive(tmp_path / cifar100.ARCHIVE, {"other": b"\0" * 2000})
    with pytest.raises(DataError, match="more than an archive of CIFAR-100 holds"):
        read_cifar100(archive)


def other_size(arrays: dict[str, np.ndarray]) -> None:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (16, 32)).save(stream, "WEBP", lossless=True)
    _replace_first(arrays, stream.getvalue())


def other_kind(arrays: dict[str, np.ndarray]) -> None:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (32, 32)).save(stream, "PNG")
    _replace_first(arrays, stream.getvalue())


def _replace_first(arrays: dict[str, np.ndarray], content: bytes) -> None:
    rest = arrays["test_webp"][arrays["test_offsets"][1] :]
    moved = len(content) - arrays["test_offsets"][1]
    arrays["test_webp"] = np.concatenate([np.frombuffer(content, dtype=np.uint8), rest])
    arrays["test_offsets"][1:] += moved


def falling(arrays: dict[str, np.ndarray]) -> None:
    arrays["train_offsets"][3] = arrays["train_offsets"][2]


def past_the_end(arrays: dict[str, np.ndarray]) -> None:
    arrays["train_offsets"][-1] += 1


def fewer_labels(arrays: dict[str, np.ndarray]) -> None:
    arrays["train_labels"] = arrays["train_labels"][1:]


def fewer_images(arrays: dict[str, np.ndarray]) -> None:
    arrays["test_labels"] = arrays["test_labels"][:-1]
    arrays["test_offsets"] = arrays["test_offsets"][:-1]
    arrays["test_webp"] = arrays["test_webp"][: arrays["test_offsets"][-1]]


def no_labels(arrays: dict[str, np.ndarray]) -> None:
    del arrays["test_labels"]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (other_size, "image 0 of test_webp has 16 x 32 pixels"),
        (other_kind, "image 0 of test_webp cannot be decoded"),
        (falling, "train_offsets do not rise"),
        (past_the_end, "train_offsets do not fit"),
        (fewer_labels, "train_offsets do not fit"),
        (fewer_images, "has 9 test images, not the 10 of CIFAR-100"),
        (no_labels, "no array test_labels"),
    ],
)
def test_what_is_wrong_with_webp_files_is_named(
    tmp_path: Path, damage: Callable[[dict[str, np.ndarray]], None], problem: str
):
    arrays = webp_arrays(small_cifar())
    damage(arrays)
    save_npz(tmp_path / "cifar.npz", arrays)
    with pytest.raises(DataError, match=problem):
        read_cifar100(tmp_path / "cifar.npz")


@pytest.mark.slow
def test_the_real_set_has_the_mean_and_deviation_that_are_stated(monkeypatch: pytest.MonkeyPatch):
    place = Path(os.environ.get("NSC_DEPLOY_DATA", "/nowhere")) / "cifar100_webp.npz"
    if not place.is_file():
        pytest.skip(f"{place} is not here")
    monkeypatch.setattr(cifar100, "PARTS", {"train": 50_000, "test": 10_000})
    data = read_cifar100(place)
    pixels = data.train.pixels / 255
    assert np.allclose(pixels.mean((0, 2, 3)), data.mean, atol=1e-4)
    assert np.allclose(pixels.std((0, 2, 3)), data.deviation, atol=1e-4)

"""Tar archives read member by member, and what is refused before there is room for it."""

import io
import lzma
import random
import tarfile
from pathlib import Path

import pytest

from nsc_deploy.errors import DataError
from nsc_deploy.io.archives import TarLimits, read_tar

LIMITS = TarLimits("tests", most_bytes=200_000, most_members=5)


def archive(path: Path, kind: str, files: dict[str, bytes], header: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, kind, format=tarfile.PAX_FORMAT) as members:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = len(content), header or {}
            members.addfile(member, io.BytesIO(content))
    return path


def read(path: Path, limits: TarLimits = LIMITS, most: int | None = 1000) -> dict[str, bytes]:
    return dict(read_tar(path, limits, lambda name: most if name.endswith(".txt") else None))


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz"])
def test_files_that_are_wanted_are_read_however_they_are_packed(tmp_path: Path, kind: str):
    files = {"a/one.txt": b"1", "two.bin": b"2" * 5000, "../three.txt": b"3" * 1000}
    assert read(archive(tmp_path / "a", kind, files)) == {"a/one.txt": b"1", "../three.txt": b"3" * 1000}


def test_links_are_passed_over(tmp_path: Path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as members:
        link = tarfile.TarInfo("one.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        members.addfile(link)
    assert read(path) == {}


@pytest.mark.parametrize("cut", [1, 300, 700])
@pytest.mark.parametrize("kind", ["w:gz", "w:bz2", "w:xz"])
def test_an_archive_that_ends_early_or_was_changed_is_refused(tmp_path: Path, kind: str, cut: int):
    files = {"one.txt": random.Random(0).randbytes(1000), "two.bin": random.Random(1).randbytes(5000)}
    path = archive(tmp_path / "a", kind, files)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with pytest.raises(DataError, match="is not a valid archive"):
        read(path)
    path.write_bytes(whole[: -cut - 1] + bytes([whole[-cut - 1] ^ 0x55]) + whole[-cut:])
    try:
        assert read(path)["one.txt"] == files["one.txt"]  # a changed byte may mean nothing
    except DataError as error:
        assert "is not a valid archive" in error.problem


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"one.txt": b"1" * 1001}, "one.txt is larger than 1000 bytes"),
        ({"one.bin": b"1" * 250_000}, "unpacks to more than an archive of tests holds"),
        ({f"{n}.txt": b"" for n in range(6)}, "unpacks to more than an archive of tests holds"),
    ],
)
def test_more_than_it_may_hold_is_refused(tmp_path: Path, files: dict[str, bytes], problem: str):
    with pytest.raises(DataError, match=problem):
        read(archive(tmp_path / "a", "w:xz", files))


def test_a_name_of_gigabytes_is_not_read(tmp_path: Path):
    path = archive(tmp_path / "a", "w:xz", {"one.txt": b"1"}, {"comment": "x" * (2 << 20)})
    with pytest.raises(DataError, match="a name of more than a megabyte"):
        read(path, TarLimits("tests", most_bytes=1 << 30, most_members=5))


def test_bytes_behind_the_last_member_count_too(tmp_path: Path):
    plain = archive(tmp_path / "plain", "w", {"one.txt": b"1"}).read_bytes()
    path = tmp_path / "a"
    path.write_bytes(lzma.compress(plain + bytes(300_000)))
    with pytest.raises(DataError, match="unpacks to more"):
        read(path)


def test_a_place_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "nothing")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path)

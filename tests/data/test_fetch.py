"""Downloads, from a real web server on this machine."""

import gzip
import hashlib
import io
import tarfile
import threading
import wave
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.data import DataConfig, load_events
from nsc_deploy.data.babi import read_babi
from nsc_deploy.data.catalogue import BABI_ARCHIVE, StoryDataConfig, find_source
from nsc_deploy.data.fetch import (
    BabiSource,
    CifarSource,
    FsddSource,
    ShdSource,
    fetch_babi,
    fetch_cifar100,
    fetch_fsdd,
    fetch_shd,
)
from nsc_deploy.data.fsdd import content_digest, read_folder
from nsc_deploy.errors import DataError, UserError


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and folder of a web server."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


def wav_bytes(seed: int) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(8000)
        samples = np.random.default_rng(seed).normal(0, 3000, 900).astype("<i2")
        stream.writeframes(samples.tobytes())
    return out.getvalue()


def recordings() -> dict[str, bytes]:
    return {
        f"{digit}_ada_{index}.wav": wav_bytes(10 * digit + index) for digit in range(10) for index in (0, 9)
    }


def write_archive(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def fsdd(site: tuple[str, Path], tmp_path: Path) -> FsddSource:
    """A small archive laid out like the real one, on the server."""
    address, folder = site
    files = {
        f"free-spoken-digit-dataset-1.0.10/recordings/{name}": data for name, data in recordings().items()
    }
    write_archive(folder / "fsdd.tar.gz", {"free-spoken-digit-dataset-1.0.10/README.md": b"text", **files})
    plain = tmp_path / "plain"
    plain.mkdir()
    for name, content in recordings().items():
        (plain / name).write_bytes(content)
    return FsddSource(url=f"{address}/fsdd.tar.gz", content=content_digest(read_folder(plain)))


def test_fsdd_is_fetched_checked_and_then_found(
    fsdd: FsddSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    place = fetch_fsdd(fsdd, tmp_path / "data", progress=True)
    assert capfd.readouterr() == ("", "")  # no bar where nobody watches
    assert place.is_file()
    monkeypatch.setenv("NSC_DEPLOY_DATA", str(tmp_path / "data"))
    data = load_events(DataConfig(dataset="fsdd"))
    assert (len(data.train), len(data.test)) == (10, 10)


def test_other_recordings_than_expected_are_not_kept(fsdd: FsddSource, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"content digest {fsdd.content}, not 00"):
        fetch_fsdd(FsddSource(url=fsdd.url, content="00"), tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.npz"))


def test_names_that_leave_the_folder_are_flattened_or_left_out(
    fsdd: FsddSource, site: tuple[str, Path], tmp_path: Path
) -> None:
    files = {f"../../recordings/{name}": content for name, content in recordings().items()}
    files["../evil.wav"] = b"x"
    write_archive(site[1] / "fsdd.tar.gz", files)
    fetch_fsdd(fsdd, tmp_path / "data")
    assert not list(tmp_path.parent.rglob("evil.wav"))


@pytest.mark.parametrize("kept", [0, 100, -200])
def test_a_truncated_archive_is_refused(
    fsdd: FsddSource, site: tuple[str, Path], tmp_path: Path, kept: int
) -> None:
    archive = site[1] / "fsdd.tar.gz"
    archive.write_bytes(archive.read_bytes()[:kept])
    with pytest.raises(DataError):
        fetch_fsdd(fsdd, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_offline_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no connection") as caught:
        fetch_fsdd(FsddSource(url="http://127.0.0.1:1/fsdd.tar.gz"), tmp_path)
    assert caught.value.hint is not None


def test_a_missing_page_says_so(site: tuple[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="404"):
        fetch_fsdd(FsddSource(url=f"{site[0]}/gone.tar.gz"), tmp_path)


@pytest.fixture
def shd(site: tuple[str, Path]) -> ShdSource:
    """Two small gzip files on the server, with their checksums."""
    address, folder = site
    md5 = {}
    for name in ("shd_train.h5.gz", "shd_test.h5.gz"):
        (folder / name).write_bytes(gzip.compress(name.encode() * 1000))
        md5[name] = hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest()
    return ShdSource(url=address, md5=md5)


def test_shd_is_fetched_unpacked_and_not_fetched_again(
    shd: ShdSource, site: tuple[str, Path], tmp_path: Path
) -> None:
    folder = fetch_shd(shd, tmp_path / "data")
    assert (folder / "shd_test.h5").read_bytes() == b"shd_test.h5.gz" * 1000
    (site[1] / "shd_train.h5.gz").unlink()
    (folder / "shd_test.h5").unlink()
    # Goes on where it stopped: only the part that is missing is asked for.
    assert fetch_shd(shd, tmp_path / "data") == folder
    assert (folder / "shd_test.h5").is_file()


def test_a_wrong_checksum_leaves_nothing_behind(
    shd: ShdSource, site: tuple[str, Path], tmp_path: Path
) -> None:
    (site[1] / "shd_test.h5.gz").write_bytes(gzip.compress(b"forged"))
    with pytest.raises(DataError, match=r"shd_test\.h5\.gz: was damaged on the way or has changed"):
        fetch_shd(shd, tmp_path / "data")
    assert sorted(path.name for path in (tmp_path / "data" / "shd").iterdir()) == ["shd_train.h5"]


def test_a_data_folder_that_cannot_be_made_is_named(shd: ShdSource, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        fetch_shd(shd, tmp_path / "data")


def test_a_place_that_cannot_be_written_is_refused_before_the_download(tmp_path: Path) -> None:
    """Nothing listens at this address: whoever asks it first tells of that."""
    occupied = tmp_path / "file"
    occupied.write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        fetch_fsdd(FsddSource(url="http://127.0.0.1:1/fsdd.tar.gz"), occupied)
    with pytest.raises(UserError, match="cannot be written"):
        fetch_shd(ShdSource(url="http://127.0.0.1:1"), occupied)


def test_cifar100_is_fetched_checked_and_found(site: tuple[str, Path], tmp_path: Path) -> None:
    from nsc_deploy.data.catalogue import find_source
    from nsc_deploy.data.image_config import ImageDataConfig

    address, served = site
    name = "cifar-100-binary.tar.gz"
    write_archive(served / name, {"train.bin": b"pixels"})
    md5 = hashlib.md5((served / name).read_bytes(), usedforsecurity=False).hexdigest()
    place = fetch_cifar100(CifarSource(f"{address}/{name}", md5), tmp_path / "data")
    assert place.read_bytes() == (served / name).read_bytes()
    assert find_source(ImageDataConfig(path=tmp_path / "data")) == place
    with pytest.raises(DataError, match="damaged on the way"):
        fetch_cifar100(CifarSource(f"{address}/{name}", "0" * 32), tmp_path / "other")
    assert not list((tmp_path / "other").rglob("*.tar.gz"))


def test_babi_is_fetched_checked_and_found(
    site: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = site
    story = "".join(
        f"{2 * n + 1} Mary went to the hall.\n{2 * n + 2} Where is Mary?\thall\t1\n" for n in range(20)
    )
    files = {
        f"tasks_1-20_v1-2/en/qa1_single-supporting-fact_{part}.txt": story * 10 for part in ("train", "test")
    }
    write_archive(folder / BABI_ARCHIVE, {name: text.encode() for name, text in files.items()})
    digest = hashlib.sha256((folder / BABI_ARCHIVE).read_bytes()).hexdigest()
    source = BabiSource(f"{address}/{BABI_ARCHIVE}", digest)
    place = fetch_babi(source, tmp_path / "data")
    monkeypatch.setenv("NSC_DEPLOY_DATA", str(tmp_path / "data"))
    found = find_source(StoryDataConfig())
    assert found == place.parent
    assert len(read_babi(found, [1], size="en").test) == 200
    with pytest.raises(DataError, match="damaged on the way or has changed"):
        fetch_babi(BabiSource(source.url, "0" * 64), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_an_archive_that_was_damaged_since_is_fetched_again(site: tuple[str, Path], tmp_path: Path) -> None:
    address, served = site
    name = "cifar-100-binary.tar.gz"
    write_archive(served / name, {"train.bin": b"pixels"})
    md5 = hashlib.md5((served / name).read_bytes(), usedforsecurity=False).hexdigest()
    source = CifarSource(f"{address}/{name}", md5)
    place = fetch_cifar100(source, tmp_path / "data")
    place.write_bytes(place.read_bytes()[:-9])
    left_by_a_kill = place.parent / ".nsc-deploy-scratch-abcdefgh-fetch"
    left_by_a_kill.mkdir()
    fetch_cifar100(source, tmp_path / "data")
    assert place.read_bytes() == (served / name).read_bytes()
    assert list(place.parent.iterdir()) == [place]
    (served / name).unlink()
    assert fetch_cifar100(source, tmp_path / "data") == place

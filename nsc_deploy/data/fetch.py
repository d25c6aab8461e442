"""Downloads of the data sets that may be downloaded: checked, and put in place whole or not at all."""

import gzip
import hashlib
import logging
import shutil
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from nsc_deploy.data.catalogue import BABI_ARCHIVE, data_folder
from nsc_deploy.data.cifar100 import ARCHIVE
from nsc_deploy.data.fsdd import content_digest, read_folder, write_npz
from nsc_deploy.errors import DataError
from nsc_deploy.io.archives import TarLimits, read_tar
from nsc_deploy.io.files import open_regular, replacing, require_writable, unreadable, unwritable
from nsc_deploy.io.scratch import scratch_folder

TIMEOUT_S = 30
MAX_UNPACKED_BYTES = 4 * 1024**3
_MOST_WAV_BYTES = 16 * 1024**2
_MOST_MEMBERS = 100_000
CHUNK = 1 << 20
SHD_MD5 = {
    "shd_train.h5.gz": "d47c9825dee33347913e8ce0f2be08b0",
    "shd_test.h5.gz": "3062a80ec0c5719404d5b02e166543b1",
}


@dataclass(frozen=True)
class FsddSource:
    """Where FSDD comes from.

    Attributes:
        url: archive of one tagged version. GitHub packs it on demand and publishes no checksum of it.
        content: SHA-256 of what matters inside, the samples of every recording (`fsdd.content_digest`). No
            such figure is published; this one was computed by this project from a copy of the 3000
            recordings that it had obtained earlier, not from the archive.
    """

    url: str = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz"
    content: str = "fbf77c5e2e80e5dacab77db4063117dc77b573a60babb054408d7d40fc993eb4"


@dataclass(frozen=True)
class ShdSource:
    """Where SHD comes from.

    Attributes:
        url: folder of the archives on its authors' site.
        md5: MD5 of each archive, as its authors publish them in `md5sums.txt` beside the archives; taken
            from public loaders of the set that quote the same figures. MD5 finds a damaged download; it does
            not stop a forger.
    """

    url: str = "https://zenkelab.org/datasets"
    md5: Mapping[str, str] = field(default_factory=lambda: MappingProxyType(SHD_MD5))


@dataclass(frozen=True)
class CifarSource:
    """Where CIFAR-100 comes from.

    Attributes:
        url: the binary form on its author's site.
        md5: of the archive, as its author publishes it on the page that links it; taken from public loaders
            that quote the same figure. MD5 finds a damaged download; it does not stop a forger.
    """

    url: str = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
    md5: str = "03b5dce01913d631647c71ecec9e9cb8"


@dataclass(frozen=True)
class BabiSource:
    """Where bAbI comes from.

    Attributes:
        url: the archive of version 1.2 on its author's site.
        sha256: of the archive, as Hugging Face's loader of the set recorded it with this address
            (`datasets/babi_qa/dataset_infos.json`, 15,719,851 bytes); its author publishes none. Copies on
            other servers are packed differently and are not fetched.
    """

    url: str = f"http://www.thespermwhale.com/jaseweston/babi/{BABI_ARCHIVE}"
    sha256: str = "0364ebde659f14d11bc21744516c5ec49d3d06cb692733f66680771244998898"


FSDD = FsddSource()
SHD = ShdSource()
CIFAR100 = CifarSource()
BABI = BabiSource()


def fetch_fsdd(source: FsddSource = FSDD, folder: Path | None = None, *, progress: bool = False) -> Path:
    """Download FSDD and write it as one .npz file.

    Args:
        source: where from and what to expect.
        folder: data folder; None for the user's own.
        progress: show a progress bar on stderr.

    Returns:
        The file that was written.

    Raises:
        DataError: no connection, a damaged archive, or other samples than expected.
    """
    target = (folder or data_folder()) / "fsdd" / "fsdd_8k_int16.npz"
    require_writable(target)
    with _place_for(target) as folder_of_download:
        archive = _download(source.url, None, folder_of_download, progress=progress)
        recordings = folder_of_download / "recordings"
        recordings.mkdir()
        _unpack_wavs(archive, recordings)
        spoken = read_folder(recordings)
    found = content_digest(spoken)
    if found != source.content:
        raise DataError(
            f"holds other recordings than expected (content digest {found}, not {source.content})",
            where=source.url,
            hint="Fetch again; if the digest stays and you trust it, accept it with --expect DIGEST.",
        )
    write_npz(target, spoken)
    return target


def fetch_shd(source: ShdSource = SHD, folder: Path | None = None, *, progress: bool = False) -> Path:
    """Download SHD and unpack both its files.

    A part that is already there is kept: an interrupted fetch goes on with the part it stopped at.

    Args:
        source: where from and what to expect.
        folder: data folder; None for the user's own.
        progress: show a progress bar on stderr.

    Returns:
        The folder of the two files.

    Raises:
        DataError: no connection, or a download whose checksum does not match.
    """
    target = (folder or data_folder()) / "shd"
    for archive_name, md5 in source.md5.items():
        unpacked = target / archive_name.removesuffix(".gz")
        if unpacked.is_file():
            continue
        require_writable(unpacked)
        with _place_for(unpacked) as place:
            archive = _download(f"{source.url}/{archive_name}", f"md5:{md5}", place, progress=progress)
            _gunzip(archive, unpacked)
    return target


def fetch_cifar100(
    source: CifarSource = CIFAR100, folder: Path | None = None, *, progress: bool = False
) -> Path:
    """Download CIFAR-100 in its binary form and keep the archive as it is, which is read without unpacking.

    Args:
        source: where from and what to expect.
        folder: data folder; None for the user's own.
        progress: show a progress bar on stderr.

    Returns:
        The archive.

    Raises:
        DataError: no connection, or a download whose checksum does not match.
    """
    target = (folder or data_folder()) / "cifar100" / ARCHIVE
    return _fetch_archive(source.url, f"md5:{source.md5}", target, progress=progress)


def fetch_babi(source: BabiSource = BABI, folder: Path | None = None, *, progress: bool = False) -> Path:
    """Download bAbI and keep the archive as it is, which is read without unpacking.

    Args:
        source: where from and what to expect.
        folder: data folder; None for the user's own.
        progress: show a progress bar on stderr.

    Returns:
        The archive.

    Raises:
        DataError: no connection, or a download whose checksum does not match.
    """
    target = (folder or data_folder()) / "babi" / BABI_ARCHIVE
    return _fetch_archive(source.url, f"sha256:{source.sha256}", target, progress=progress)


def _fetch_archive(url: str, known_hash: str, target: Path, *, progress: bool) -> Path:
    """Download an archive that is kept as it is; one that is there already, and whole, is not again."""
    if target.is_file() and _digest(target, known_hash.partition(":")[0]) == known_hash:
        return target
    require_writable(target)
    with _place_for(target) as folder:
        archive = _download(url, known_hash, folder, progress=progress)
        with replacing(target) as temporary:
            shutil.copyfile(archive, temporary)
    return target


def _digest(path: Path, kind: str) -> str:
    """A checksum in the form in which sources state theirs."""
    try:
        with open_regular(path) as stream:
            return f"{kind}:{hashlib.file_digest(stream, kind).hexdigest()}"
    except OSError as error:
        raise unreadable(path, error) from error


@contextmanager
def _place_for(target: Path) -> Iterator[Path]:
    """A folder for a download, on the disk of its target; what a killed one left there goes.

    Raises:
        UserError: it cannot be made.
    """
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder("fetch", target.parent) as folder:
            yield folder
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        with suppress(OSError):  # those that hold something stay
            for folder in made:
                folder.rmdir()


def _download(url: str, known_hash: str | None, folder: Path, *, progress: bool) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    shown = progress and sys.stderr.isatty()
    downloader = pooch.HTTPDownloader(progressbar=shown, timeout=TIMEOUT_S)
    try:
        file_name = url.rsplit("/", 1)[-1]
        path = pooch.retrieve(url, known_hash, fname=file_name, path=folder, downloader=downloader)
    except requests.HTTPError as error:
        raise _not_downloaded(url, f"the server answers {error}") from error
    except requests.Timeout as error:
        raise _not_downloaded(url, f"no answer within {TIMEOUT_S} seconds") from error
    except requests.RequestException as error:
        raise _not_downloaded(url, f"no connection, {type(error).__name__}") from error
    except ValueError as error:
        raise DataError(
            f"was damaged on the way or has changed ({error})", where=url, hint="Fetch it again."
        ) from error
    except OSError as error:
        raise unwritable(folder, error) from error
    return Path(path)


def _not_downloaded(url: str, reason: str) -> DataError:
    return DataError(
        f"cannot be downloaded ({reason})",
        where=url,
        hint="Check the connection and try again, or download it elsewhere and name its folder.",
    )


def _unpack_wavs(archive: Path, folder: Path) -> None:
    """Unpack the wav files of a tar archive flat into `folder`; nothing in it can name a place outside."""
    limits = TarLimits("the Free Spoken Digit Dataset", MAX_UNPACKED_BYTES, _MOST_MEMBERS)
    for name, content in read_tar(archive, limits, _most_of_a_wav):
        target = folder / Path(name).name
        try:
            target.write_bytes(content)
        except OSError as error:
            raise unwritable(target, error) from error


def _most_of_a_wav(name: str) -> int | None:
    path = Path(name)
    return _MOST_WAV_BYTES if (path.suffix, path.parent.name) == (".wav", "recordings") else None


def _gunzip(archive: Path, target: Path) -> None:
    try:
        with gzip.open(archive, "rb") as packed, replacing(target) as temporary, temporary.open("wb") as out:
            left = MAX_UNPACKED_BYTES
            while chunk := packed.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise DataError(f"unpacks to more than {MAX_UNPACKED_BYTES} bytes", where=archive.name)
                out.write(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _bad_archive(archive, error) from error


def _bad_archive(archive: Path, error: Exception) -> DataError:
    return DataError(f"is not a valid archive ({error})", where=archive.name, hint="Fetch it again.")

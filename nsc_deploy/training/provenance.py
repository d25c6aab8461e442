"""What a run was made from and with: enough to repeat it."""

import hashlib
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

import nsc_deploy
from nsc_deploy.data import EventData
from nsc_deploy.io.files import sha256, write_json
from nsc_deploy.training.checkpoints import BEST, DIRECTORY

_PACKAGES = (
    "nsc-deploy", "torch", "lightning", "snntorch", "norse", "nir", "numpy", "numba", "scipy", "onnx",
    "onnxruntime", "safetensors",
)  # fmt: skip


class Provenance(BaseModel):
    """RUN/provenance.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: tuple[str, ...]
    started: str = Field(description="UTC, ISO 8601")
    git_revision: str | None = Field(
        description="of the source tree, '+changes' where it was edited; None: installed"
    )
    python: str
    platform: str
    processor: str
    processors: int | None
    packages: dict[str, str]
    data_sha256: str = Field(description="of the encoded events and labels, training part then test part")
    start_sha256: str | None = Field(
        default=None, description="of the weights file that training started from; None: drawn from the seed"
    )


def provenance(data: EventData, start_from: str | None = None) -> Provenance:
    """The provenance of a run that this process starts now on `data`, maybe from another run's weights."""
    return Provenance(
        command=tuple(sys.argv),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        git_revision=git_revision(),
        python=platform.python_version(),
        platform=platform.platform(),
        processor=platform.processor() or platform.machine(),
        processors=os.cpu_count(),
        packages={name: found for name in _PACKAGES if (found := _version(name)) is not None},
        data_sha256=_digest(data),
        start_sha256=None if start_from is None else sha256(Path(start_from) / DIRECTORY / BEST),
    )


def write_provenance(path: Path, record: Provenance) -> None:
    """Write a provenance as JSON."""
    write_json(path, record.model_dump(mode="json"))


def git_revision() -> str | None:
    """The revision of the source tree this package runs from, or None if it is not in one."""
    root = Path(nsc_deploy.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    revision = _git(root, "rev-parse", "HEAD")
    if revision is None:
        return None
    return f"{revision}+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else revision


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _digest(data: EventData) -> str:
    digest = hashlib.sha256()
    for part in (data.train, data.test):
        for array in (part.events, part.labels):
            digest.update(str((array.dtype.str, array.shape)).encode())
            digest.update(array.tobytes())
    return digest.hexdigest()

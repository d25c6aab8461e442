"""Weights and training state as safetensors: whole or not at all, checked by digest, never unpickled."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nsc_deploy.errors import DataError, UserError
from nsc_deploy.io.files import sha256, unreadable, write_bytes

DIRECTORY = "checkpoints"
BEST = "best.safetensors"
LAST = "last.safetensors"
SECONDS = "seconds.json"
STEPS = ("semantic.safetensors", "codec.safetensors", "joint.safetensors", "mask.safetensors")
"""What each step of the training of a system with memory has come to."""
_FORMAT = "nsc-deploy checkpoint 1"
HINT = "Restore the file from a copy, or train anew with --overwrite."


def write_tensors(path: Path, tensors: Mapping[str, Tensor], note: object) -> None:
    """Write tensors and a JSON value as one safetensors file.

    Args:
        path: the file; it takes the place of an older one only when it is complete on disk.
        tensors: by name, on any device.
        note: anything `json` can write; it travels in the file's header.

    Raises:
        UserError: it cannot be written, or the run that it belongs to was moved away or removed.
    """
    require_run(path)
    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(note)
    header = {"format": _FORMAT, "note": text, "sha256": _digest(stored, text)}
    write_bytes(path, _in_order(save(stored, metadata=header)))


def require_run(path: Path) -> None:
    """Refuse to make the folder of a run anew: what the run began with would be missing there.

    Args:
        path: of a checkpoint.

    Raises:
        UserError: the folder of the run is gone.
    """
    if path.parent.name == DIRECTORY and not path.parent.parent.is_dir():
        raise UserError(
            "is gone: it was moved or removed while it was trained",
            where=path.parent.parent,
            hint="Put it back and go on with --resume, or train anew.",
        )


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what `write_tensors` wrote: the tensors and the JSON value.

    Raises:
        DataError: missing, cut short, changed since it was written, or not of this tool.
    """
    if not path.is_file():
        raise DataError("does not exist", where=path, hint=HINT)
    try:
        with safe_open(path, framework="pt") as stored:
            header = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise DataError(f"is not a readable checkpoint ({error})", where=path, hint=HINT) from error
    text = header.get("note", "")
    if header.get("format") != _FORMAT or header.get("sha256") != _digest(tensors, text):
        raise DataError("is damaged: its content does not match its digest", where=path, hint=HINT)
    try:
        return tensors, json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"holds a note that is not JSON ({error})", where=path, hint=HINT) from error


def weights_sha256(run: Path, name: str = BEST) -> str:
    """The SHA-256 of a file of a run's weights, by which runs know what they were made from.

    Args:
        run: the run directory.
        name: of the file; the best weights where nothing else is said.

    Raises:
        DataError: the run has lost it, or it cannot be read.
    """
    path = run / DIRECTORY / name
    try:
        return sha256(path)
    except OSError as error:
        raise unreadable(path, error, hint=HINT) from error


@contextmanager
def that_fits(path: Path) -> Iterator[None]:
    """Tell what torch makes of a whole file with the tensors or the note of another system as what it is.

    Args:
        path: the file, read already; the block takes in what it held.

    Raises:
        DataError: the block could not.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise DataError("holds the state of another system", where=path, hint=HINT) from error


def _in_order(content: bytes) -> bytes:
    """The same file with its own words sorted, which safetensors puts down in an order of chance."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(content)[end:]))


def _digest(tensors: Mapping[str, Tensor], note: str) -> str:
    digest = hashlib.sha256(note.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class StateIO(CheckpointIO):
    """How Lightning's training state (weights, optimiser, loops, callbacks) is kept in one file.

    Tensors are stored as tensors, everything else as JSON in the header; loading runs no code from
    the file.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write Lightning's checkpoint; `storage_options` are not supported."""
        tensors: dict[str, Tensor] = {}
        note = _pack(checkpoint, tensors)
        write_tensors(Path(path), tensors, note)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read Lightning's checkpoint, onto the CPU.

        Raises:
            DataError: missing, damaged, or not of this tool.
        """
        tensors, note = read_tensors(Path(path))
        if not isinstance(note, dict) or note.keys() != {"dict"}:
            raise DataError("holds no training state", where=path, hint=HINT)
        try:
            checkpoint: dict[str, Any] = _unpack(note, tensors)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError("holds no training state", where=path, hint=HINT) from error
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)


def _pack(value: object, tensors: dict[str, Tensor]) -> object:
    """JSON for `value`, its tensors set aside; a container JSON lacks becomes a one-item object."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        name = f"{len(tensors):05d}"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": [[_pack(key, tensors), _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list):
        return [_pack(item, tensors) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_pack(item, tensors) for item in value]}
    raise TypeError(f"training state holds a {type(value).__name__}, which has no form in a checkpoint")


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(_unpack(item, tensors) for item in content)
    return {_unpack(key, tensors): _unpack(item, tensors) for key, item in content}

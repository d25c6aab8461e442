"""Weights of a backbone that somebody else trained, taken from a safetensors file as they are."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nsc_deploy.errors import DataError
from nsc_deploy.io.files import sha256, unreadable
from nsc_deploy.models.features.backbones import Backbone
from nsc_deploy.training.checkpoints import BEST, DIRECTORY, HINT, read_tensors, write_tensors

_COUNTER = "num_batches_tracked"
"""What batch norm counts in training and no evaluation reads: a file may leave it out."""
_VARIANCE = "running_var"
"""What batch norm divides by the root of."""
_MOST_BYTES = 4 * 1024**3
_ANOTHER = "Name another file."
_DIGEST = "weights_sha256"


def take_weights(path: Path, licence: str, backbone: Backbone, run: Path) -> str:
    """Check weights against a backbone, and keep them as the best ones of its run.

    Args:
        path: safetensors file; its names are those of the backbone, its floating-point numbers of any width.
        licence: of the weights, in the words of their author.
        backbone: what they are for; it takes them.
        run: where RUN/checkpoints/best.safetensors is written, with the digest and the licence.

    Returns:
        SHA-256 of the file.

    Raises:
        DataError: missing, damaged, of a backbone with other names or shapes, or of numbers that it cannot
            compute with: integers, complex ones, infinity, a variance below 0.
        UserError: the run directory cannot be written.
    """
    weights = _read(path)
    expected = backbone.state_dict()
    _require_the_same(weights, expected, path)
    backbone.load_state_dict(expected | weights)
    if not all(bool(torch.isfinite(value).all()) for value in backbone.state_dict().values()):
        raise DataError("holds numbers that are not finite", where=path, hint=_ANOTHER)
    digest = sha256(path)
    note = {_DIGEST: digest, "weights_licence": licence}
    write_tensors(run / DIRECTORY / BEST, backbone.state_dict(), note)
    return digest


def taken_digest(run: Path) -> str:
    """SHA-256 of the file whose weights a run has taken, whatever lies under its name by now.

    Raises:
        DataError: the weights of the run are missing, damaged or its own.
    """
    path = run / DIRECTORY / BEST
    _, note = read_tensors(path)
    digest = note.get(_DIGEST) if isinstance(note, dict) else None
    if not isinstance(digest, str):
        raise DataError("holds no weights of others", where=path, hint=HINT)
    return digest


def _read(path: Path) -> dict[str, Tensor]:
    hint = "Name a safetensors file; pickled weights (.pt, .pth) can run code when they are read."
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"has more than {_MOST_BYTES} bytes", where=path, hint=hint)
        with safe_open(path, framework="pt") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a dict)
    except OSError as error:
        raise unreadable(path, error) from error
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise DataError(f"is no safetensors file ({error})", where=path, hint=hint) from error


def _require_the_same(weights: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    missing = sorted(name for name in expected.keys() - weights.keys() if not name.endswith(_COUNTER))
    unknown = sorted(weights.keys() - expected.keys())
    hint = "Rename and reshape them: a run of this backbone has the names in checkpoints/best.safetensors."
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"holds no {missing[0]}{more}", where=path, hint=hint)
    if unknown:
        raise DataError(f"holds {unknown[0]}, which the backbone has not", where=path, hint=hint)
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            found, wanted = (" x ".join(map(str, one.shape)) for one in (tensor, expected[name]))
            raise DataError(f"{name} has the shape {found}, and the backbone {wanted}", where=path, hint=hint)
        if not name.endswith(_COUNTER):
            _require_numbers(name, tensor, path)


def _require_numbers(name: str, tensor: Tensor, path: Path) -> None:
    """Refuse what torch would convert without a word: integers without their scale, complex numbers."""
    if not tensor.is_floating_point():
        kind = f"{tensor.dtype}".removeprefix("torch.")
        hint = "Write it in floating point; integers of a quantised network need their scales multiplied in."
        raise DataError(f"{name} is of {kind}, and weights are floating-point", where=path, hint=hint)
    if name.endswith(_VARIANCE) and bool((tensor.float() < 0).any()):
        raise DataError(f"{name} is a variance and holds numbers below 0", where=path, hint=_ANOTHER)

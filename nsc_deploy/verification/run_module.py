"""A written snnTorch or Norse module at work; nothing of ours is imported here.

`module_runner` calls `load` and `record` for a module that this tool itself has just written, and runs this
file as a script, `python run_module.py FOLDER`, for one out of a folder that may be anybody's. The script
reads the numbers of batches from its standard input, for each of them inputs-N.npz in FOLDER, and writes
answer-N.npz beside it. It prints a dot where it has loaded the module, and one for each answer; what the
module prints, and why it failed, goes to the standard error.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Hook = Callable[["torch.nn.Module", tuple[Any, ...], Any], None]


def load(path: Path) -> tuple["torch.nn.Module", Mapping[str, str]]:
    """Execute the module at a path, and load the weights beside it.

    Returns:
        The network, and where each node of the graph is found in it.
    """
    found = ModuleType("exported_network")
    found.__file__ = str(path)
    _Uncached("exported_network", str(path)).exec_module(found)
    return found.Network.load(), found.NODES


def record(
    module: "torch.nn.Module", places: Mapping[str, str], nodes: Sequence[str], values: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Run a batch from rest.

    Args:
        module: the network.
        places: where each node of the graph is found in it.
        nodes: those to be shown.
        values: [T, N, *shape] what enters.

    Returns:
        `outputs` and, of the node with index i, `given{i}` (the first of what it gave) and `entering{i}.{k}`
        (its argument k), each [T, N, *shape].
    """
    import torch

    calls: list[list[tuple[tuple[Any, ...], Any]]] = [[] for _ in nodes]
    hooks = [
        module.get_submodule(places[name]).register_forward_hook(_keeping(kept))
        for name, kept in zip(nodes, calls, strict=True)
    ]
    try:
        with torch.no_grad():
            outputs, _ = module(torch.from_numpy(np.array(values, np.float32)))
    finally:
        for hook in hooks:
            hook.remove()
    arrays = {"outputs": outputs.numpy()}
    for index, kept in enumerate(calls):
        arrays[f"given{index}"] = _stack(given[0] if isinstance(given, tuple) else given for _, given in kept)
        for place, arguments in enumerate(zip(*(entering for entering, _ in kept), strict=True)):
            arrays[f"entering{index}.{place}"] = _stack(arguments)
    return arrays


def _keeping(calls: list[tuple[tuple[Any, ...], Any]]) -> Hook:
    def hook(_module: "torch.nn.Module", entering: tuple[Any, ...], given: Any) -> None:
        calls.append((entering, given))

    return hook


def _stack(tensors: Any) -> NDArray[Any]:
    return np.stack([tensor.detach().numpy() for tensor in tensors])


class _Uncached(SourceFileLoader):
    """Leaves no compiled copy in the folder it loads from."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Keep nothing."""


def main(folder: Path) -> None:
    """Answer batches until there are no more."""
    with contextlib.suppress(AttributeError):  # Linux: whoever waits for the answers may be killed
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answered = os.dup(1)
    os.dup2(2, 1)  # what the module prints is no answer
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    module, places = load(Path(job["module"]))
    os.write(answered, b".")
    for line in sys.stdin:
        number = int(line)
        with np.load(folder / f"inputs-{number}.npz", allow_pickle=False) as inputs:
            values = inputs["values"]
        arrays: dict[str, Any] = record(module, places, job["nodes"], values)
        np.savez(folder / f"answer-{number}.npz", **arrays)
        os.write(answered, b".")


_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")

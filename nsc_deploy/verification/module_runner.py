"""Modules of snnTorch and Norse as backends, every layer shown.

A module is Python code. `ModuleRunner` runs one that this tool itself has just written; `ModuleProcess` one
that may be anybody's, in a process of its own that has no say in what is made of its answer: that process
gets the inputs and gives arrays, and whatever else it does is a failed run.
"""

import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import BackendError, DataError, missing_package
from nsc_deploy.graphs.network import SPIKING, Network
from nsc_deploy.graphs.operators.neurons import coefficients
from nsc_deploy.io.files import replacing, write_json
from nsc_deploy.io.npz import load_npz
from nsc_deploy.io.scratch import scratch_folder
from nsc_deploy.io.text import printable
from nsc_deploy.verification import run_module
from nsc_deploy.verification.runner import LayerTrace, RunTrace, layer_names

WORKER = Path(run_module.__file__)
_MEND = "Install the framework it names (pip install 'nsc-deploy[train]'), or export it again."
# What a process of somebody else's code is told of ours; a home, for frameworks keep their caches there.
_ENVIRONMENT = frozenset({"HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TZ"})
_THREADS = "_NUM_THREADS"
_LONGEST_LOG = 4096
_LONGEST_SAID = 600
_HEADER = 4096


class ModuleRunner:
    """Runs a module in this process: for one that this tool has just written.

    Args:
        path: the module, with its weights beside it.
        network: the graph it was made from.
        name: of the framework.

    Raises:
        BackendError: the framework is missing, or the file is no such module.
    """

    def __init__(self, path: Path, network: Network, name: str) -> None:
        self.name = name
        self._path = path
        self._network = network
        self._nodes = layer_names(network)
        try:
            self._module, self._places = run_module.load(path)
        except ModuleNotFoundError as error:
            raise missing_package(error) or _unloadable(path, error) from error
        except (ImportError, AttributeError, SyntaxError, RuntimeError, KeyError, OSError) as error:
            raise _unloadable(path, error) from error

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest."""
        arrays = run_module.record(self._module, self._places, self._nodes, values)
        return _Answer(arrays, values.shape[:2], self._path).trace(self._network, self._nodes)


def _unloadable(path: Path, error: Exception) -> BackendError:
    return BackendError(f"cannot be loaded ({error})", where=path, hint=_MEND)


class ModuleProcess:
    """Runs a module in a process of its own.

    Args:
        path: the module, with its weights beside it.
        network: the graph it was made from.
        name: of the framework.
        layers: whether each layer is shown, or the outputs alone.
        silence_s: seconds that a batch may take.
        closing: ends the process, and all that it has started and written.

    Raises:
        BackendError: the framework is missing, or the file is no such module.
    """

    def __init__(
        self, path: Path, network: Network, name: str, *, layers: bool, silence_s: float, closing: ExitStack
    ) -> None:
        self.name = name
        self._path = path
        self._network = network
        self._nodes = layer_names(network) if layers else ()
        self._silence_s = silence_s
        self._batches = 0
        self._folder = closing.enter_context(scratch_folder("module"))
        self._log = closing.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        write_json(self._folder / "job.json", {"module": str(path.absolute()), "nodes": self._nodes})
        self._process = _start(self._folder, self._log)
        closing.callback(_end, self._process)
        self._await_dot("loaded")

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest.

        Raises:
            BackendError: the module failed, ended, took too long, or answered with something else than the
                arrays of this graph.
        """
        number, self._batches = self._batches, self._batches + 1
        inputs, answer = (self._folder / f"{what}-{number}.npz" for what in ("inputs", "answer"))
        # Not into whatever the module may have put there, such as a pipe.
        with replacing(inputs) as temporary, temporary.open("wb") as stream:
            np.savez(stream, values=values)
        with suppress(BrokenPipeError):
            _pipe(self._process.stdin).write(f"{number}\n".encode())
        self._await_dot("answered")
        try:
            arrays = load_npz(answer, max_bytes=self._most(values.shape[0] * values.shape[1]))
        except DataError as error:
            raise self._failure(f"gave no answer that can be read ({error.problem})") from error
        for file in (inputs, answer):
            with suppress(OSError):
                file.unlink()
        return _Answer(arrays, values.shape[:2], self._path).trace(self._network, self._nodes)

    def _most(self, frames: int) -> int:
        """Bytes of an answer: the outputs and three arrays a layer, each with a header."""
        sizes = [math.prod(self._network.node(name).output_shape) for name in self._nodes]
        outputs = math.prod(self._network.output_node.output_shape)
        return 4 * frames * (outputs + 3 * sum(sizes)) + _HEADER * (1 + 3 * len(sizes))

    def _await_dot(self, done: str) -> None:
        process, deadline = self._process, time.monotonic() + self._silence_s
        dots = _pipe(process.stdout)
        while True:
            heard = select.select([dots], [], [], 0.05)[0]
            if heard and dots.read(1):
                return
            if process.poll() is not None:
                code = process.returncode
                how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
                raise self._failure(f"{how} before it had {done}")
            if time.monotonic() > deadline:
                raise self._failure(
                    f"had not {done} after {self._silence_s:g} s and was ended",
                    "Allow it more time with --timeout, or run fewer samples; nothing is left running.",
                )
            if heard:  # the end of the pipe, and the process is still there
                time.sleep(0.05)

    def _failure(self, how: str, hint: str = _MEND) -> BackendError:
        start = max(0, self._log.seek(0, os.SEEK_END) - _LONGEST_LOG)
        self._log.seek(start)
        tail = self._log.read(_LONGEST_LOG).decode("utf-8", "replace").splitlines()
        said = " | ".join([line.strip() for line in tail if line.strip()][-3:])
        told = f"; it said: {printable(said, _LONGEST_SAID)}" if said else ""
        return BackendError(f"{how}{told}", where=self._path, hint=hint)


def _start(folder: Path, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    kept = {
        name: value for name, value in os.environ.items() if name in _ENVIRONMENT or name.endswith(_THREADS)
    }
    # Neither what lies beside the worker (-P) nor in the working folder is a module for it.
    places = [place for place in sys.path if Path(place).resolve() != Path.cwd()]
    return subprocess.Popen(
        [sys.executable, "-P", "-B", str(WORKER), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        bufsize=0,
        start_new_session=True,
        env=kept | {"PYTHONPATH": os.pathsep.join(places), "TMPDIR": str(folder)},
        cwd=folder,
    )


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("the process was started without pipes")
    return stream


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the process with its group, before its number can be another's."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


class _Answer:
    """What `run_module.record` gave, held against the graph: float32 in the shape of each node."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], ahead: tuple[int, ...], where: Path) -> None:
        self._arrays = arrays
        self._ahead = ahead
        self._where = where

    def trace(self, network: Network, nodes: tuple[str, ...]) -> RunTrace:
        """The arrays as a run of the graph."""
        layers = {name: self._layer(network, name, index) for index, name in enumerate(nodes)}
        output = network.output_node
        return RunTrace(self._take("outputs", output.name, output.output_shape), layers)

    def _layer(self, network: Network, name: str, index: int) -> LayerTrace:
        """Spikes and potentials before the reset, from what a neuron was called with and what it gave."""
        node = network.node(name)
        numbers = coefficients(node, network)
        given = self._take(f"given{index}", name, node.output_shape)
        if node.primitive != "Threshold" and node.primitive not in SPIKING:
            return LayerTrace(None, given)
        current = self._take(f"entering{index}.0", name, node.output_shape)
        if node.primitive == "Threshold":
            return LayerTrace(given, current, numbers.threshold)
        before = self._take(f"entering{index}.1", name, node.output_shape)
        with np.errstate(over="ignore", invalid="ignore"):  # the comparison looks for what is not finite
            return LayerTrace(given, numbers.decay * before + current, numbers.threshold)

    def _take(self, key: str, node: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        wanted, array = (*self._ahead, *shape), self._arrays.get(key)
        if array is None or array.dtype != np.float32 or array.shape != wanted:
            given = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
            raise BackendError(
                f"gave {given} for node '{node}' where float32 {list(wanted)} is wanted",
                where=self._where,
                hint="It is not the module of this graph: export it again.",
            )
        return array

"""One run of the worker: started, watched and cleared away, whatever happens.

Lava starts several operating-system processes that talk through shared memory. An exception in one of
them, or its death, makes all others wait for ever and prints nothing. So the worker leads a process group
of its own, must report progress in time, and its group is ended before this module returns or raises.
"""

import contextlib
import errno
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.lava.arithmetic import LayerTrace, at_graph_steps
from nsc_deploy.exporters.lava.environment import require_environment
from nsc_deploy.exporters.lava.integers import IntegerNetwork, validate, write_integers
from nsc_deploy.io.files import MENDABLE, write_json
from nsc_deploy.io.npz import load_npz
from nsc_deploy.io.scratch import scratch_folder

WORKER = Path(__file__).parent / "run_chain.py"
SILENCE_S = 120.0
TERM_GRACE_S = 2.0
KILL_GRACE_S = 3.0
# The path of a socket has at most 107 bytes, and Lava adds 32 of its own.
_LONGEST_PLACE = 75
_OUT_OF_FILES = "Too many open files"

Advance = Callable[[int], None]
Report = Callable[[int], None]


@dataclass(frozen=True)
class LavaRun:
    """What the real Lava answered, aligned to the steps of the graph.

    Attributes:
        spikes: [steps, samples, outputs] uint8 of the last layer.
        layers: with `probe`, what every layer did; else empty.
    """

    spikes: NDArray[np.uint8]
    layers: tuple[LayerTrace, ...]


def run_in_lava(
    network: IntegerNetwork,
    events: NDArray[np.uint8],
    *,
    probe: bool = False,
    sink: bool = False,
    silence_s: float = SILENCE_S,
    advance: Advance = lambda _samples: None,
) -> LavaRun:
    """Run samples through the real Lava, end to end in one runtime.

    Args:
        network: the integers to run.
        events: [steps, samples, inputs] of 0 and 1.
        probe: also read back spikes, u and v of every layer at every step.
        sink: also send output spikes to a sink that nobody reads, to take the time that users of Lava see.
        silence_s: seconds without a sign of life after which the run is given up.
        advance: called with the number of samples finished since the last call.

    Raises:
        BackendError: Lava is not installed, failed, died or fell silent.
        DataError: the network or the events are not what Lava can take.
    """
    validate(network)
    if events.ndim != 3 or events.shape[2] != network.inputs or events.size == 0 or events.max() > 1:
        raise BackendError(
            f"events of shape {events.shape} do not fit a network with {network.inputs} inputs"
        )
    steps, samples, _ = events.shape
    interval = steps + network.layers[0].max_delay + network.late
    with scratch_folder("lava") as directory:
        write_job(directory, network, events, interval, probe=probe, sink=sink)
        watch_worker(directory, silence_s, _by_sample(advance, interval, samples))
        answer = load_npz(directory / "answer.npz")
    return _align(answer, network, steps, samples, interval, probe=probe)


def write_job(
    directory: Path,
    network: IntegerNetwork,
    events: NDArray[np.uint8],
    interval: int,
    *,
    probe: bool,
    sink: bool = False,
) -> None:
    """Write what the worker reads: job.json, network.npz, events.npy."""
    write_integers(directory / "network.npz", network)
    np.save(directory / "events.npy", events.astype(np.uint8))
    job = {
        "layers": len(network.layers),
        "interval": interval,
        "samples": events.shape[1],
        "probe": probe,
        "sink": sink,
    }
    write_json(directory / "job.json", job)


def watch_worker(
    directory: Path,
    silence_s: float,
    on_report: Report = lambda _steps: None,
    worker: Path = WORKER,
) -> None:
    """Run a worker on a job directory until it has written its answer; leave no process behind.

    Raises:
        BackendError: the worker failed, died, or printed nothing for `silence_s` seconds.
    """
    environment = require_environment()
    with _place_for_sockets(directory) as place:
        _watch_in(place, directory, silence_s, on_report, [str(environment.python), "-I", str(worker)])


@contextlib.contextmanager
def _place_for_sockets(directory: Path) -> Iterator[Path]:
    """A folder for what Lava's processes meet at: the job's, where the paths of sockets are not too long."""
    if len(os.fsencode(directory)) <= _LONGEST_PLACE:
        yield directory
        return
    try:
        with scratch_folder("lava", Path("/tmp")) as place:  # noqa: S108 - a locked folder of its own
            yield place
    except OSError as error:
        raise BackendError(
            f"Lava needs a place for temporary files whose path has at most {_LONGEST_PLACE - 35} bytes",
            where=directory.parent,
            hint="Name a shorter one with TMPDIR.",
        ) from error


def _watch_in(place: Path, directory: Path, silence_s: float, on_report: Report, command: list[str]) -> None:
    log = directory / "worker.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*command, str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            env=_worker_environment() | {"TMPDIR": str(place)},
            cwd=directory,
        )
    ended_well = False
    try:
        silent = not _listen(process, silence_s, on_report)
        ended_well = not silent and process.returncode == 0 and (directory / "answer.npz").exists()
        if not ended_well:
            raise _failure(process, log, silence_s if silent else None)
    finally:
        if not ended_well:
            end_group(process)
        if process.stdout is not None:
            process.stdout.close()


def _listen(process: "subprocess.Popen[bytes]", silence_s: float, on_report: Report) -> bool:
    """Pass reports on until the worker ends; False if it fell silent first.

    The worker's own end is what counts, not the end of the pipe: Lava's processes hold that open.
    """
    stdout = process.stdout
    if stdout is None:
        raise ValueError("the worker was started without a pipe")
    os.set_blocking(stdout.fileno(), False)
    last = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        running = True
        while running:
            running = process.poll() is None  # before reading: what was printed last is read as well
            if selector.select(timeout=0.05):
                reported = (stdout.read() or b"").split()
                if reported and reported[-1].isdigit():
                    on_report(int(reported[-1]))
                    last = time.monotonic()
                time.sleep(0.05)
            if running and time.monotonic() - last > silence_s:
                return False
    return True


def _failure(process: "subprocess.Popen[bytes]", log: Path, silence_s: float | None) -> BackendError:
    tail = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    said = f"; it said: {' | '.join(tail[-3:])}" if tail else ""
    if silence_s is not None:
        return BackendError(
            f"Lava gave no sign of life for {silence_s:g} s and was ended{said}",
            hint="Allow it more time with --timeout, or run fewer samples; nothing is left running.",
        )
    if any(_OUT_OF_FILES in line for line in tail):
        return BackendError(f"the Lava worker could not open enough files{said}", hint=MENDABLE[errno.EMFILE])
    code = process.returncode
    how = f"was killed by signal {-code}" if code < 0 else f"failed with exit code {code}"
    return BackendError(
        f"the Lava worker {how}{said}",
        hint="Nothing is left running. If it repeats, rebuild it: nsc-deploy lava install --force",
    )


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """End every process of the worker's group and let its shared memory be removed.

    SIGTERM first: Python's resource tracker ignores it and removes the shared-memory segments when the
    processes that used them are gone. What has not gone after two seconds is killed, the tracker last.
    """
    _signal_group(process.pid, signal.SIGTERM)
    if _gone(process, TERM_GRACE_S):
        return
    for member in group_members(process.pid):
        if b"resource_tracker" not in _command_line(member):
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
    if not _gone(process, KILL_GRACE_S):
        _signal_group(process.pid, signal.SIGKILL)
        _gone(process, KILL_GRACE_S)


def group_members(group: int) -> tuple[int, ...]:
    """Process ids of a process group (Linux)."""
    members = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if os.getpgid(int(entry.name)) == group:
                members.append(int(entry.name))
    return tuple(members)


def _command_line(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _gone(process: "subprocess.Popen[bytes]", within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        process.poll()
        if not group_members(process.pid):
            return True
        time.sleep(0.02)
    return False


def _worker_environment() -> dict[str, str]:
    """The caller's environment without what would lead the worker's Python astray."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _by_sample(advance: Advance, interval: int, samples: int) -> Report:
    told = 0

    def on_report(steps: int) -> None:
        nonlocal told
        finished = min(steps // interval, samples)
        if finished > told:
            advance(finished - told)
            told = finished

    return on_report


def _align(
    answer: dict[str, NDArray[Any]],
    network: IntegerNetwork,
    steps: int,
    samples: int,
    interval: int,
    *,
    probe: bool,
) -> LavaRun:
    """Cut Lava's time into samples: layer i is i + 1 steps late, and gaps are dropped."""

    def cut(late: NDArray[Any], index: int) -> NDArray[Any]:
        window = late[index + 1 : index + 1 + interval * samples]
        by_step = window.reshape(samples, interval, -1).transpose(1, 0, 2)
        return at_graph_steps(network.layers[index], by_step, steps)

    last = len(network.layers) - 1
    spikes = cut(answer[f"s{last}"], last).astype(np.uint8)
    probed = tuple(
        LayerTrace(*(cut(answer[f"{name}{index}"], index) for name in "suv"))
        for index in range(last + 1 if probe else 0)
    )
    return LavaRun(spikes, probed)

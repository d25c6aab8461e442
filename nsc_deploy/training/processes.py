"""The processes of a data-parallel run: the first one starts those beside it, and none outlives it."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO

import torch
from pydantic import BaseModel, ConfigDict

from nsc_deploy.config.speech import SpeechExperiment
from nsc_deploy.errors import ConfigError, UserError
from nsc_deploy.io.text import shown

WORKER = Path(__file__).with_name("worker.py")
"""Started as a file: as a module it would begin with its package, which imports torch."""
_NAME = "nsc_deploy.training.worker"
"""For lists of processes."""
READY = "ready"
"""What a worker says on its standard output before it meets the others, which may have to wait for it."""
_PATIENCE_WITH_OTHERS = timedelta(minutes=5)
"""How long a process waits for those of other machines, and for the answers of any."""
_LOCAL_RANK, _NODE_RANK = "LOCAL_RANK", "NODE_RANK"
_ADDRESS, _PORT = "MASTER_ADDR", "MASTER_PORT"
_LOST = re.compile(r"(closed|reset) by peer|[Tt]imed out|[Bb]roken pipe")
_SETTLING_S = 5.0
"""Within which a process whose connection broke has ended, or is still there."""
_LOOK_S = 0.1


class Job(BaseModel):
    """What a worker is told on its standard input, as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: SpeechExperiment
    resume: bool


@dataclass
class _Worker:
    process: "subprocess.Popen[bytes]"
    messages: IO[bytes]
    answers: IO[bytes]

    def await_ready(self) -> None:
        """Wait until the worker is ready, or gone."""
        if self.answers.readline().strip() != READY.encode():
            self.process.wait()

    def complaint(self) -> str:
        self.messages.seek(0)
        lines = self.messages.read().decode(errors="replace").strip().splitlines()
        code = self.process.returncode
        if code < 0:
            return f"killed by signal {-code}"
        return lines[-1] if lines else f"exit code {code}"


def node_rank() -> int:
    """Which machine this is, from the environment variable NODE_RANK (0 where it is not set).

    Raises:
        ConfigError: NODE_RANK is not a number.
    """
    value = os.environ.get(_NODE_RANK, "0")
    if not value.isdecimal():
        raise ConfigError(
            f"must be a number from 0 on, not {value!r}", where=f"environment variable {_NODE_RANK}"
        )
    return int(value)


@contextmanager
def workers_beside(job: str, run: Path, devices: int, nodes: int) -> Iterator[None]:
    """Start the other `devices - 1` processes of this machine; inside, this process is local rank 0.

    Args:
        job: what a worker reads from its standard input, one line.
        run: the run directory.
        devices: processes on this machine.
        nodes: machines; with more than one, MASTER_ADDR, MASTER_PORT and NODE_RANK must be set.

    Raises:
        ConfigError: several machines, but the environment does not say where they meet.
        UserError: a worker failed.
    """
    if devices * nodes == 1:
        yield
        return
    with ExitStack() as cleanup:
        cleanup.enter_context(_environment(_meeting_point(nodes) | {_LOCAL_RANK: "0"}))
        workers = [cleanup.enter_context(_worker(job, run, rank)) for rank in range(1, devices)]
        for worker in workers:
            worker.await_ready()
        try:
            with group(devices, nodes, lambda: _require_all(workers)):
                yield
        except RuntimeError as error:  # what torch raises when the process at the other end is gone
            _settle(workers)
            _require_all(workers)
            if is_connection_lost(error):
                raise _others_missing(error) from error
            raise
        for worker in workers:
            worker.process.wait()
        _require_all(workers)


@contextmanager
def group(devices: int, nodes: int, require_all: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Meet the other processes, which do the same; they are a group of torch's until the block ends.

    That happens in a thread of its own: while torch waits, neither a signal nor the end of another process
    comes through to it.

    Args:
        devices: processes on each machine.
        nodes: machines.
        require_all: called again and again while the others are waited for; raises where one is gone.

    Raises:
        UserError: they do not come.
    """
    given_up = threading.Event()
    ended: list[Exception | None] = []

    def meet() -> None:
        try:
            _meet(devices, nodes, given_up)
            ended.append(None)
        except Exception as error:
            ended.append(error)

    meeting = threading.Thread(target=meet, daemon=True)
    meeting.start()
    try:
        while not ended:
            require_all()
            meeting.join(_LOOK_S)
    finally:
        given_up.set()
    if isinstance(ended[0], RuntimeError | TimeoutError):
        raise _others_missing(ended[0]) from ended[0]
    if ended[0] is not None:
        raise ended[0]
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def _meet(devices: int, nodes: int, given_up: threading.Event) -> None:
    """Form the group once all are there: then torch, which cannot be called back, has nothing to wait for."""
    world, rank = devices * nodes, node_rank() * devices + int(os.environ[_LOCAL_RANK])
    store = torch.distributed.TCPStore(  # type: ignore[attr-defined]
        os.environ[_ADDRESS],
        int(os.environ[_PORT]),
        world,
        is_master=rank == 0,
        timeout=_PATIENCE_WITH_OTHERS,
        wait_for_workers=False,
    )
    store.set(f"here {rank}", "")
    deadline = time.monotonic() + _PATIENCE_WITH_OTHERS.total_seconds()
    while not store.check([f"here {one}" for one in range(world)]):
        if given_up.wait(_LOOK_S):
            return
        if time.monotonic() > deadline:
            raise TimeoutError("not all have come")
    torch.distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=world, timeout=_PATIENCE_WITH_OTHERS
    )


def is_connection_lost(error: Exception) -> bool:
    """Whether this is what torch raises where another process is gone, or does not answer."""
    lost = isinstance(error, RuntimeError) and _LOST.search(str(error))
    return bool(lost) or isinstance(error, torch.distributed.DistError)


def _others_missing(error: Exception) -> UserError:
    return UserError(
        f"a process of the data-parallel run is gone or does not answer ({shown(error, 200)})",
        where=f"meeting point {os.environ[_ADDRESS]}:{os.environ[_PORT]}",
        hint="Look at every machine of the run, then go on with --resume; nothing finished is lost.",
    )


def _settle(workers: list[_Worker]) -> None:
    """Wait until one has failed: a connection breaks before the process at its other end has ended."""
    deadline = time.monotonic() + _SETTLING_S
    while not any(worker.process.poll() for worker in workers) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)


def _meeting_point(nodes: int) -> dict[str, str]:
    if nodes == 1:
        return {_ADDRESS: "127.0.0.1", _PORT: str(_free_port()), _NODE_RANK: "0"}
    missing = [name for name in (_ADDRESS, _PORT, _NODE_RANK) if name not in os.environ]
    if missing:
        raise ConfigError(
            f"training on {nodes} machines needs the environment variables {', '.join(missing)}",
            where="nodes",
            hint="Set MASTER_ADDR and MASTER_PORT to machine 0's, and NODE_RANK to 0, 1, ... on each.",
        )
    return {}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _worker(job: str, run: Path, rank: int) -> Iterator[_Worker]:
    # Isolated from the working folder: a torch.py that lies there is not the user's torch.
    command = [sys.executable, "-P", str(WORKER), _NAME, str(run)]
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            env=os.environ | {_LOCAL_RANK: str(rank)},
        )
        try:
            yield _Worker(process, messages, _told(process, job))
        finally:
            process.kill()
            process.communicate()


def _told(process: "subprocess.Popen[bytes]", job: str) -> IO[bytes]:
    """Hand a worker its job; its standard input stays open, for it ends when that does."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a worker without pipes")
    with suppress(BrokenPipeError):  # it is gone, which its exit code tells
        process.stdin.write(f"{job}\n".encode())
        process.stdin.flush()
    return process.stdout


def _require_all(workers: list[_Worker]) -> None:
    """Raise where a worker failed; one that was killed first, for the others failed for that.

    Raises:
        UserError: with what the worker said last.
    """
    codes = {rank: worker.process.poll() or 0 for rank, worker in enumerate(workers, start=1)}
    rank = min(codes, key=lambda rank: (codes[rank] >= 0, not codes[rank], rank), default=0)
    if codes.get(rank):
        raise UserError(
            f"process {rank} of the data-parallel run failed: {workers[rank - 1].complaint()}",
            hint="Mend the cause, then go on with --resume; nothing finished is lost.",
        )

"""The processes of a data-parallel run: the first one starts those beside it, and none outlives it."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nsc_deploy.errors import ConfigError, UserError

WORKER = "nsc_deploy.training.worker"
READY = "ready"
"""What a worker says on its standard output before it meets the others; one that does not is told at once,
where torch would wait for it for minutes."""
_LOCAL_RANK, _NODE_RANK = "LOCAL_RANK", "NODE_RANK"
_ADDRESS, _PORT = "MASTER_ADDR", "MASTER_PORT"


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
        return lines[-1] if lines else f"exit code {self.process.returncode}"


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
        if lost := _lost(workers):
            raise lost
        try:
            yield
        except RuntimeError as error:  # what torch raises when the process at the other end is gone
            raise _lost(workers) or error from error
        for worker in workers:
            worker.process.wait()
        if lost := _lost(workers):
            raise lost


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
    command = [sys.executable, "-P", "-m", WORKER, str(run)]
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


def _lost(workers: list[_Worker]) -> UserError | None:
    for rank, worker in enumerate(workers, start=1):
        if worker.process.poll():
            return UserError(
                f"process {rank} of the data-parallel run failed: {worker.complaint()}",
                hint="Mend the cause, then go on with --resume; nothing finished is lost.",
            )
    return None

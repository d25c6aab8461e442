"""Running what a sweep lacks: as processes of this machine, or as jobs of Slurm.

Either way a run is the command `nsc-deploy train EXPERIMENT --out RUN --resume`, which begins, goes on or
finds the run finished. Nothing comes back but what lies in folders.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from nsc_deploy.errors import BackendError, missing_package
from nsc_deploy.experiment_file import write_experiment
from nsc_deploy.sweep.grid import EXPERIMENTS, LOGS, SLURM, Point, Value

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 30


def command(point: Point, out: Path) -> list[str]:
    """The command that trains a run, or goes on with it; its experiment is written for it."""
    experiment = out / EXPERIMENTS / f"{point.name}.toml"
    write_experiment(experiment, point.experiment)
    program = [sys.executable, "-P", "-m", "nsc_deploy", "train", str(experiment.absolute())]
    return [*program, "--out", str((out / point.name).absolute()), "--resume", "--quiet"]


def run_here(
    points: Sequence[Point], out: Path, jobs: int, tell: Callable[[Point, int], None] = lambda *_: None
) -> None:
    """Train runs as processes of this machine.

    Args:
        points: in the order in which they are begun.
        out: the folder of the sweep.
        jobs: how many at a time.
        tell: called with each run that has ended, and its exit code.
    """
    waiting, running = list(points), dict[subprocess.Popen[bytes], Point]()
    share = max(1, (os.cpu_count() or 1) // jobs)
    environment = {"OMP_NUM_THREADS": str(share)} | os.environ
    (out / LOGS).mkdir(parents=True, exist_ok=True)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                point = waiting.pop(0)
                with log_of(point, out).open("wb") as log:
                    running[_begin(command(point, out), log, environment)] = point
            ended = [process for process in running if process.poll() is not None]
            for process in ended:
                tell(running.pop(process), process.returncode)
            if not ended:
                time.sleep(_POLL_SECONDS)
    finally:
        _end(list(running))


def log_of(point: Point, out: Path) -> Path:
    """What a run of this machine wrote."""
    return out / LOGS / f"{point.name}.log"


def _begin(words: list[str], log: IO[bytes], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        preexec_fn=_end_with_the_sweep,  # noqa: PLW1509 (one system call)
    )


# Looked up before any fork: what runs between fork and exec is one system call, and takes no lock that a
# thread of the progress bar may hold.
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _end_with_the_sweep() -> None:
    """Let a run be ended where its sweep was killed: it would go on unseen, and the next sweep meet it."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End what still runs: a run keeps every epoch that it has finished."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def submit(
    points: Sequence[Point], out: Path, jobs: int, parameters: Mapping[str, Value], *, cluster: str = "slurm"
) -> dict[str, str]:
    """Hand runs to Slurm, through submitit, as one array of jobs; they are not waited for.

    Args:
        points: the runs.
        out: the folder of the sweep, on a file system that all machines share.
        jobs: how many run at a time.
        parameters: of submitit.
        cluster: submitit's name of what runs them; "local" are processes of this machine.

    Returns:
        The number of the job of each run, by the name of its folder.

    Raises:
        BackendError: submitit or Slurm is not there, or takes none of it.
    """
    try:
        from submitit import AutoExecutor
        from submitit.helpers import CommandFunction
    except ImportError as error:
        raise missing_package(error) or error from error
    try:
        own: dict[str, Value] = {"slurm_array_parallelism": jobs, "name": "nsc-deploy"}
        executor = AutoExecutor(folder=out.absolute() / SLURM, cluster=cluster)
        executor.update_parameters(**own | dict(parameters))
        with executor.batch():
            submitted = [executor.submit(CommandFunction(command(point, out))) for point in points]
    except (RuntimeError, OSError, ValueError, TypeError, NameError, subprocess.SubprocessError) as error:
        reason = str(error).strip().splitlines()
        raise BackendError(
            f"Slurm takes no jobs ({reason[0] if reason else type(error).__name__})",
            hint="Look whether sbatch works, and at [slurm] in the grid file; --executor local needs none.",
        ) from error
    return {point.name: str(job.job_id) for point, job in zip(points, submitted, strict=True)}

"""Whatever happens to the worker: an error in time, no process and no shared memory left behind.

Nothing here depends on how fast the machine is. The worker is held at a stated moment of its life until the
deed is done, and the clock that measures Lava's silence stands still until then.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.errors import BackendError, DataError
from nsc_deploy.exporters.lava import worker
from nsc_deploy.exporters.lava.integers import IntegerNetwork
from nsc_deploy.exporters.lava.worker import WORKER, run_in_lava, watch_worker, write_job
from nsc_deploy.io.scratch import MARK, scratch_folder
from tests.support.lava import random_layer

pytestmark = [pytest.mark.lava, pytest.mark.usefixtures("lava_environment")]


SHARED_MEMORY = "/dev/shm/"  # noqa: S108 - only looked at
SILENCE_S = 4.0  # after the deed
HUNG_S = 600.0  # no machine is so slow
HELD_WORKER = Path(__file__).parents[1] / "support" / "worker" / "held_chain.py"
Moment = tuple[str, int]
BEGUN = ("report", 1)


@dataclass
class Clock:
    """Takes the place of `time` in the worker's module: stands still until it is started."""

    started: float | None = None
    sleep = staticmethod(time.sleep)

    def monotonic(self) -> float:
        return 0.0 if self.started is None else time.monotonic() - self.started

    def start(self) -> None:
        self.started = time.monotonic()


@dataclass
class Witness:
    """Sees the processes that were started with a directory on their command line, and their memory."""

    directory: Path
    segments: set[str] = field(default_factory=set)

    def processes(self) -> list[int]:
        """Living processes of the worker; remembers the shared memory they map."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                process = int(entry.name)
                command = (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                maps = (entry / "maps").read_text()
            except (OSError, ValueError):
                continue
            if b"_chain.py" in command and str(self.directory).encode() in command and state != "Z":
                found.append(process)
                self.segments |= {line.split()[-1] for line in maps.splitlines() if SHARED_MEMORY in line}
        return sorted(found)

    def wait_for(self, condition: Callable[[], bool], seconds: float = HUNG_S) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.05)
        return condition()

    def running(self) -> bool:
        """Whether Lava's own processes run, with shared memory."""
        return len(self.processes()) > 4 and len(self.segments) > 2

    def assert_clean(self, seconds: float = 0.0) -> None:
        self.wait_for(lambda: not self.processes() and not self.left(), seconds)
        assert not self.processes()
        assert not self.left()

    @contextmanager
    def held(self, ending: Callable[[], bool]) -> Iterator[list[int]]:
        """Wait until the worker comes to its moment, and hold it there; yield its processes."""
        pipes: list[int] = []

        def opened() -> bool:
            try:
                pipes.append(os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:  # nobody reads
                return ending()
            return True

        assert self.wait_for(opened)
        assert pipes, "the worker ended before its moment"
        try:
            yield self.processes()
        finally:
            os.close(pipes[0])

    @property
    def pipe(self) -> Path:
        return self.directory / "pipe"

    def left(self) -> list[str]:
        return [name for name in self.segments if Path(name).exists()]


@pytest.fixture
def witness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Witness]:
    """The worker's directories lie under this test's own, so that its processes can be told apart."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    witness = Witness(tmp_path)
    yield witness
    for process in witness.processes():
        os.kill(process, signal.SIGKILL)


Hold = Callable[[str, int], None]


@pytest.fixture
def hold(witness: Witness, monkeypatch: pytest.MonkeyPatch) -> Hold:
    """Has the worker held at an event (see `held_chain.py`), counted from 1."""
    os.mkfifo(witness.pipe)
    monkeypatch.setattr(worker, "watch_worker", partial(watch_worker, worker=HELD_WORKER))

    def hold(event: str, number: int) -> None:
        moment = {"worker": str(WORKER), "event": event, "number": number, "pipe": str(witness.pipe)}
        monkeypatch.setenv("HELD_WORKER", json.dumps(moment))

    return hold


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(worker, "time", clock)
    return clock


def network() -> IntegerNetwork:
    chance = np.random.default_rng(0)
    return IntegerNetwork((random_layer(chance, 6, 5), random_layer(chance, 4, 6)), 1e-3)


SHORT = np.ones((5, 1, 5), np.uint8)
THREE = np.ones((5, 3, 5), np.uint8)  # samples, and a report after each


def in_background(errors: list[BaseException], run: Callable[[], object]) -> threading.Thread:
    def run_to_its_end() -> None:
        try:
            run()
        except BackendError as error:
            errors.append(error)

    thread = threading.Thread(target=run_to_its_end)
    thread.start()
    return thread


def errors_after(witness: Witness, clock: Clock, deed: Callable[[list[int]], object]) -> list[BaseException]:
    """Do `deed` to the processes of a run that is held, let it go on, and wait for its end."""
    errors: list[BaseException] = []
    thread = in_background(errors, lambda: run_in_lava(network(), THREE, silence_s=SILENCE_S))
    with witness.held(lambda: not thread.is_alive()) as processes:
        deed(processes)
    clock.start()
    thread.join(HUNG_S)
    assert not thread.is_alive()
    return errors


def test_a_run_that_goes_well_leaves_nothing(witness: Witness) -> None:
    finished: list[int] = []
    run_in_lava(network(), THREE, advance=finished.append)
    witness.assert_clean()
    assert sum(finished) == 3  # what the worker printed last was read too


def test_code_in_the_working_folder_is_not_run(
    witness: Witness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lava", "numpy", "json", "multiprocessing"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('code of the working folder was run')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run_in_lava(network(), SHORT)
    witness.assert_clean()


def test_a_worker_that_raises(witness: Witness) -> None:
    job = witness.directory / "job"
    job.mkdir()
    write_job(job, network(), SHORT, 5, probe=False)
    (job / "events.npy").write_bytes(b"no array")
    with pytest.raises(BackendError, match="exit code 1"):
        watch_worker(job, HUNG_S)
    witness.assert_clean()


def test_an_exception_inside_a_lava_process(witness: Witness, clock: Clock) -> None:
    """It hangs Lava for ever; the silence ends it."""
    broken = network()
    layer = replace(broken.layers[1], delay=np.full(4, 70, np.int32))
    errors: list[BaseException] = []

    def run() -> None:
        with scratch_folder("job") as job:
            write_job(job, IntegerNetwork((broken.layers[0], layer), 1e-3), SHORT, 5, probe=False)
            watch_worker(job, SILENCE_S)

    thread = in_background(errors, run)
    assert witness.wait_for(lambda: witness.running() or not thread.is_alive())
    assert thread.is_alive()
    clock.start()
    thread.join(HUNG_S)
    assert "no sign of life" in str(errors[0])
    witness.assert_clean()


def test_a_record_that_cannot_be_written(witness: Witness) -> None:
    """A disk that is full, for example: neurons go on, and the worker says so at the end."""
    job = witness.directory / "job"
    (job / "layer1" / "s").mkdir(parents=True)
    write_job(job, network(), SHORT, 5, probe=False)
    with pytest.raises(BackendError, match="layer1/s was not recorded whole"):
        watch_worker(job, HUNG_S)
    witness.assert_clean()


def test_a_worker_killed_by_the_system(witness: Witness, clock: Clock, hold: Hold) -> None:
    hold(*BEGUN)
    (error,) = errors_after(witness, clock, lambda processes: os.kill(processes[0], signal.SIGKILL))
    assert "killed by signal 9" in str(error)
    witness.assert_clean()


def test_one_of_lavas_processes_killed(witness: Witness, clock: Clock, hold: Hold) -> None:
    hold(*BEGUN)
    (error,) = errors_after(witness, clock, lambda processes: os.kill(processes[-1], signal.SIGKILL))
    assert "no sign of life" in str(error) or "failed" in str(error)
    witness.assert_clean()


# While Python starts and while Lava is loaded, before each kind of its processes, at work, at the end.
MOMENTS = [
    ("open", 1), ("import", 100), ("import", 400), *(("os.fork", number) for number in range(1, 7)),
    *(("report", number) for number in range(1, 5)), ("os.rename", 1),
]  # fmt: skip
SIGNALS = (signal.SIGKILL, signal.SIGTERM)
KILLS = [(moment, how, victim) for moment in MOMENTS for how in SIGNALS for victim in (0, 1, -1)]
USUAL = [(("os.fork", 4), signal.SIGKILL, 1), (("report", 2), signal.SIGTERM, -1)]


def kill(
    moment: Moment, how: signal.Signals, victim: int, witness: Witness, clock: Clock, hold: Hold
) -> None:
    """The worker (victim 0) or one of Lava's processes: an error or the answer, and nothing left."""
    hold(*moment)

    def deed(processes: list[int]) -> None:
        os.kill(processes[victim % len(processes)], how)

    errors = errors_after(witness, clock, deed)
    assert all(isinstance(error, BackendError) for error in errors)
    witness.assert_clean(seconds=HUNG_S)
    assert not list(witness.directory.glob(f"{MARK}*-lava"))


@pytest.mark.parametrize(("moment", "how", "victim"), USUAL)
def test_kills(
    moment: Moment, how: signal.Signals, victim: int, witness: Witness, clock: Clock, hold: Hold
) -> None:
    kill(moment, how, victim, witness, clock, hold)


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "how", "victim"), KILLS)
def test_kills_at_any_moment(
    moment: Moment, how: signal.Signals, victim: int, witness: Witness, clock: Clock, hold: Hold
) -> None:
    kill(moment, how, victim, witness, clock, hold)


def test_silence_from_the_start(witness: Witness, hold: Hold) -> None:
    hold("open", 1)  # and never let go
    with pytest.raises(BackendError, match=r"no sign of life for 0\.3 s"):
        run_in_lava(network(), SHORT, silence_s=0.3)
    witness.assert_clean()


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_command_interrupted_or_killed(
    witness: Witness, hold: Hold, how: signal.Signals, code: int
) -> None:
    script = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        f"sys.path[:0] = [{str(Path(__file__).parents[2])!r}]\n"
        "from functools import partial\n"
        "from tests.robustness.test_lava_worker import HELD_WORKER, THREE, network\n"
        "from nsc_deploy.exporters.lava import worker\n"
        "from nsc_deploy.cli.exit_codes import run_to_exit_code\n"
        "worker.watch_worker = partial(worker.watch_worker, worker=HELD_WORKER)\n"
        "sys.exit(run_to_exit_code(lambda: worker.run_in_lava(network(), THREE, silence_s=1e6)))\n"
    )
    command = [sys.executable, "-c", script, str(witness.directory)]
    hold(*BEGUN)
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
        witness.held(lambda: process.poll() is not None) as processes,  # it cannot end by itself
    ):
        assert len(processes) > 4
        process.send_signal(how)
        output, _ = process.communicate(timeout=HUNG_S)
        witness.assert_clean(seconds=0.0 if how is signal.SIGINT else HUNG_S)
    assert process.returncode == code, output
    assert "Traceback" not in output
    assert bool(list(witness.directory.glob(f"{MARK}*-lava"))) is (how is signal.SIGKILL)
    with scratch_folder("lava"):  # as the next command begins
        assert len(list(witness.directory.glob(f"{MARK}*-lava"))) == 1
    assert not list(witness.directory.glob(f"{MARK}*-lava"))


def test_numbers_out_of_range_never_reach_lava(witness: Witness) -> None:
    good = network()
    bad = replace(good.layers[0], vth=np.full(6, 2**17, np.int32))
    with pytest.raises(DataError, match="layer 0, vth"):
        run_in_lava(IntegerNetwork((bad, good.layers[1]), 1e-3), SHORT)
    assert not witness.segments


@pytest.mark.parametrize("length", [0, 150])
def test_lavas_own_temporaries_go_with_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """Also where the place for temporary files is too long for the paths of sockets."""
    place = tmp_path / ("x" * length)
    place.mkdir(exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    run_in_lava(network(), SHORT, silence_s=HUNG_S)
    assert not list(place.iterdir())

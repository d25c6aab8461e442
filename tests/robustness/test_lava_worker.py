"""Whatever happens to the worker: an error in time, no process and no shared memory left behind.

A machine with much else to do may leave Lava silent before it has begun. Where a test is about what happens
after that, it begins again with more patience, and never takes the one silence for the other.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.errors import BackendError, DataError
from nsc_deploy.exporters.lava.integers import IntegerNetwork
from nsc_deploy.exporters.lava.worker import run_in_lava, watch_worker, write_job
from nsc_deploy.io.scratch import MARK, scratch_folder
from tests.support.lava import random_layer

pytestmark = [pytest.mark.lava, pytest.mark.usefixtures("lava_environment")]


SHARED_MEMORY = "/dev/shm/"  # noqa: S108 - only looked at
PATIENCE = (4.0, 16.0, 64.0)  # seconds of silence
END_S = 60.0  # for everything to be gone, on a busy machine


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
            if b"run_chain.py" in command and str(self.directory).encode() in command and state != "Z":
                found.append(process)
                self.segments |= {line.split()[-1] for line in maps.splitlines() if SHARED_MEMORY in line}
        return sorted(found)

    def wait_for(self, condition: Callable[[], bool], seconds: float = END_S) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.05)
        return condition()

    def running(self) -> bool:
        """Whether Lava's own processes run, with shared memory."""
        return len(self.processes()) > 4 and len(self.segments) > 2

    def started(self) -> list[int]:
        """Wait until they do."""
        assert self.wait_for(self.running)
        return self.processes()

    def assert_clean(self, seconds: float = 0.0) -> None:
        self.wait_for(lambda: not self.processes() and not self.left(), seconds)
        assert not self.processes()
        assert not self.left()

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


def network() -> IntegerNetwork:
    chance = np.random.default_rng(0)
    return IntegerNetwork((random_layer(chance, 6, 5), random_layer(chance, 4, 6)), 1e-3)


LONG = np.ones((200, 100, 5), np.uint8)
SOME_SECONDS = LONG[:, :30]
SHORT = np.ones((5, 1, 5), np.uint8)


def in_background(errors: list[BaseException], run: Callable[[], object]) -> threading.Thread:
    def run_to_its_end() -> None:
        try:
            run()
        except BackendError as error:
            errors.append(error)

    thread = threading.Thread(target=run_to_its_end)
    thread.start()
    return thread


def error_once_begun(
    witness: Witness, run: Callable[[float], object], deed: Callable[[], object] = lambda: None
) -> str:
    """Do `deed` as soon as Lava's processes run; how `run`, given seconds of silence, ends then."""
    for silence_s in PATIENCE:
        witness.segments.clear()
        errors: list[BaseException] = []
        thread = in_background(errors, lambda patience=silence_s: run(patience))
        witness.wait_for(lambda running=thread: witness.running() or not running.is_alive())
        begun = thread.is_alive()
        if begun:
            with contextlib.suppress(ProcessLookupError, IndexError):
                deed()
        thread.join(END_S + silence_s)
        assert not thread.is_alive()
        witness.assert_clean()
        if begun:
            return str(errors[0])
    raise AssertionError("the machine is too busy for Lava to begin")


def test_a_run_that_goes_well_leaves_nothing(witness: Witness) -> None:
    finished: list[int] = []
    run_in_lava(network(), np.repeat(SHORT, 3, axis=1), advance=finished.append)
    witness.assert_clean()
    assert sum(finished) == 3  # what the worker printed last was read too


def test_a_worker_that_raises(witness: Witness) -> None:
    job = witness.directory / "job"
    job.mkdir()
    write_job(job, network(), SHORT, 5, probe=False)
    (job / "events.npy").write_bytes(b"no array")
    with pytest.raises(BackendError, match="exit code 1"):
        watch_worker(job, 60.0)
    witness.assert_clean()


def test_an_exception_inside_a_lava_process(witness: Witness) -> None:
    """It hangs Lava for ever; the silence ends it."""
    broken = network()
    layer = replace(broken.layers[1], delay=np.full(4, 70, np.int32))

    def run(silence_s: float) -> None:
        with scratch_folder("job") as job:
            write_job(job, IntegerNetwork((broken.layers[0], layer), 1e-3), SHORT, 5, probe=False)
            watch_worker(job, silence_s)

    assert "no sign of life" in error_once_begun(witness, run)


def test_a_record_that_cannot_be_written(witness: Witness) -> None:
    """A disk that is full, for example: neurons go on, and the worker says so at the end."""
    job = witness.directory / "job"
    (job / "layer1" / "s").mkdir(parents=True)
    write_job(job, network(), SHORT, 5, probe=False)
    with pytest.raises(BackendError, match="layer1/s was not recorded whole"):
        watch_worker(job, 60.0)
    witness.assert_clean()


def test_a_worker_killed_by_the_system(witness: Witness) -> None:
    error = error_once_begun(
        witness,
        lambda _: run_in_lava(network(), LONG),
        lambda: os.kill(witness.processes()[0], signal.SIGKILL),
    )
    assert "killed by signal 9" in error


def test_one_of_lavas_processes_killed(witness: Witness) -> None:
    error = error_once_begun(
        witness,
        lambda silence_s: run_in_lava(network(), LONG, silence_s=silence_s),
        lambda: os.kill(witness.processes()[-1], signal.SIGKILL),
    )
    assert "no sign of life" in error or "failed" in error


def kill_at_a_random_moment(witness: Witness, seed: int) -> None:
    """The worker or one of Lava's processes: an error or the answer, and nothing left."""
    chance = random.Random(seed)
    errors: list[BaseException] = []
    thread = in_background(errors, lambda: run_in_lava(network(), SOME_SECONDS, silence_s=6.0))
    witness.wait_for(lambda: bool(witness.processes()))
    time.sleep(chance.uniform(0, 4))
    there = witness.processes()
    if there:
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(there), chance.choice([signal.SIGKILL, signal.SIGTERM]))
    thread.join(5 * END_S)
    assert not thread.is_alive()
    assert all(isinstance(error, BackendError) for error in errors)
    witness.assert_clean(seconds=END_S / 3)
    assert not list(witness.directory.glob(f"{MARK}*-lava"))


@pytest.mark.parametrize("seed", range(2))
def test_kills_at_random_moments(witness: Witness, seed: int) -> None:
    kill_at_a_random_moment(witness, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 32))
def test_many_kills_at_random_moments(witness: Witness, seed: int) -> None:
    kill_at_a_random_moment(witness, seed)


def test_silence_from_the_start(witness: Witness) -> None:
    with pytest.raises(BackendError, match=r"no sign of life for 0\.3 s"):
        run_in_lava(network(), LONG, silence_s=0.3)
    witness.assert_clean()


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_command_interrupted_or_killed(witness: Witness, how: signal.Signals, code: int) -> None:
    script = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        f"sys.path[:0] = [{str(Path(__file__).parents[2])!r}]\n"
        "from tests.robustness.test_lava_worker import network, LONG\n"
        "from nsc_deploy.exporters.lava.worker import run_in_lava\n"
        "from nsc_deploy.cli.exit_codes import run_to_exit_code\n"
        "sys.exit(run_to_exit_code(lambda: run_in_lava(network(), LONG)))\n"
    )
    command = [sys.executable, "-c", script, str(witness.directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        witness.started()
        process.send_signal(how)
        output, _ = process.communicate(timeout=END_S)
    assert process.returncode == code, output
    assert "Traceback" not in output
    witness.assert_clean(seconds=0.0 if how is signal.SIGINT else END_S)
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
    run_in_lava(network(), SHORT, silence_s=PATIENCE[-1])
    assert not list(place.iterdir())

"""A module in a process of its own: whatever its code does, only arrays of the graph's form are an answer."""

import os
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.errors import BackendError, UserError
from nsc_deploy.exporters.export import export_all
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.verification.module_runner import ModuleProcess, ModuleRunner
from nsc_deploy.verification.runner import ReferenceRunner, RunTrace
from tests.support.lava import random_events, receiver

NETWORK = assemble(receiver())
EVENTS = random_events(np.random.default_rng(0), 12, 7, 24)

# A module that gives what it is told to, in place of what the graph computes.
GIVING = """
import torch
class Network(torch.nn.Module):
    @classmethod
    def load(cls):
        return cls()
    def forward(self, values):
        return torch.{}, {{}}
NODES = {{}}
"""
# Answers before it is asked, with a pipe where the inputs or the answer should lie.
FORGED = """
import os, sys, time
os.mkfifo(os.path.join(sys.argv[1], PLACE))
for descriptor in range(3, 20):
    try:
        os.write(descriptor, b"......")
    except OSError:
        pass
time.sleep(600)
"""
# Starts a process that would stay, and never comes to an end.
ENDLESS = """
import pathlib, subprocess, time
left = subprocess.Popen(["sleep", "600"])
pathlib.Path(__file__).with_name("left").write_text(str(left.pid))
time.sleep(600)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("module")
    write_network(made / "receiver.nir", receiver())
    export_all(made / "receiver.nir", "snntorch", made / "out")
    return made / "out"


def run_apart(
    module: Path, *batches: np.ndarray, silence_s: float = 60.0, layers: bool = True
) -> list[RunTrace]:
    with ExitStack() as closing:
        runner = ModuleProcess(
            module, NETWORK, "snntorch", layers=layers, silence_s=silence_s, closing=closing
        )
        return [runner.run(batch) for batch in batches]


def module(folder: Path, code: str) -> Path:
    path = folder / "network.py"
    path.write_text(code)
    return path


def test_each_batch_gives_every_layer_of_the_reference(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "numpy", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('code of the working folder')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    held = sorted(exported.rglob("*"))
    batches = EVENTS[:, :4], EVENTS[:, 4:]
    for found, batch in zip(run_apart(exported / "network.py", *batches), batches, strict=True):
        wanted = ReferenceRunner(NETWORK).run(batch)
        np.testing.assert_array_equal(found.output, wanted.output)
        assert found.layers.keys() == wanted.layers.keys()
        for name, layer in wanted.layers.items():
            np.testing.assert_array_equal(found.layers[name].spikes, layer.spikes)
            np.testing.assert_array_equal(found.layers[name].potentials, layer.potentials)
    assert sorted(exported.rglob("*")) == held


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("raise SystemExit(0)", "ended with exit code 0 before it had loaded"),
        ("import os; os._exit(0)", "ended with exit code 0 before it had loaded"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by signal 9"),
        ("raise TypeError('no\\x1b[2J')", r"exit code 1 .*; it said: TypeError: no\\x1b\[2J"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import no_such_framework", "No module named 'no_such_framework'"),
        ("nonsense (", "SyntaxError"),
        ("", "AttributeError: .*no attribute 'Network'"),
        (FORGED.replace("PLACE", "'answer-0.npz'"), "gave no answer that can be read"),
    ],
)
def test_code_that_does_something_else_is_a_failed_run(code: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=problem) as told:
        run_apart(module(tmp_path, code), EVENTS)
    assert told.value.where == str(tmp_path / "network.py")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("zeros(12, 7, 3)", r"gave float32 \[12, 7, 3\] for node 'output' where float32 \[12, 7, 12\]"),
        ("zeros(12, 7, 12, dtype=torch.float64)", r"gave float64 \[12, 7, 12\]"),
        ("zeros(12, 7, 12, dtype=torch.bool)", r"gave bool \[12, 7, 12\]"),
    ],
)
def test_outputs_of_another_form_are_refused(given: str, problem: str, tmp_path: Path) -> None:
    runner = ModuleRunner(module(tmp_path, GIVING.format(given)), NETWORK, "snntorch")
    runner._nodes = ()
    with pytest.raises(BackendError, match=problem):
        runner.run(EVENTS)


def test_nothing_is_written_into_a_pipe_of_the_module(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is a pipe and no regular file"):
        run_apart(module(tmp_path, FORGED.replace("PLACE", "'inputs-0.npz'")), EVENTS)


def test_an_answer_larger_than_the_graph_can_give_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"gave no answer that can be read .*more than the"):
        run_apart(module(tmp_path, GIVING.format("zeros(12, 7, 400)")), EVENTS, layers=False)


def test_an_error_in_the_middle_of_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"before it had answered; it said: .*no_such_function"):
        run_apart(module(tmp_path, GIVING.format("no_such_function()")), EVENTS, layers=False)


def test_damaged_weights_are_told(exported: Path, tmp_path: Path) -> None:
    here = module(tmp_path, (exported / "network.py").read_text())
    (tmp_path / "weights.safetensors").write_bytes(b"\x10" + bytes(7) + b'{"a":1}         ')
    with pytest.raises(BackendError, match="SafetensorError"):
        run_apart(here, EVENTS)


def test_what_never_answers_is_ended_with_all_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with pytest.raises(BackendError, match=r"had not loaded after 2 s and was ended"):
        run_apart(module(tmp_path, ENDLESS), EVENTS, silence_s=2.0)
    left = int((tmp_path / "left").read_text())
    deadline = time.monotonic() + 5
    while running(left) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running(left)
    assert list(scratch.iterdir()) == []


def running(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return ") Z " not in Path(f"/proc/{process}/stat").read_text()

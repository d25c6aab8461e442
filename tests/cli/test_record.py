"""`nsc-deploy record`, and plain arrays given to the commands that take recordings."""

import json
from pathlib import Path

import nir
import numpy as np
import pytest

from nsc_deploy.cli.app import app
from nsc_deploy.cli.exit_codes import run_to_exit_code
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.graphs.network import Signal


def tool(*words: object) -> int:
    return run_to_exit_code(lambda: app([str(word) for word in words], prog_name="nsc-deploy"))


@pytest.fixture
def events(tmp_path: Path) -> Path:
    np.save(tmp_path / "events.npy", np.random.default_rng(0).integers(0, 2, (12, 6, 4)))
    np.save(tmp_path / "labels.npy", np.arange(6) % 3)
    return tmp_path / "events.npy"


def test_a_recording_holds_what_the_options_say(
    events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, out = tmp_path / "labels.npy", tmp_path / "recording.npz"
    assert tool("record", events, "--labels", labels, "--dt", "1e-3", "--signal", "events", "--out", out) == 0
    assert "12 steps, 6 samples, events of shape [4], labels 0 to 2" in capsys.readouterr().out
    recording = read_recording(out)
    np.testing.assert_array_equal(recording.values, np.load(events))
    assert recording.labels is not None
    assert (recording.dt, recording.signal, recording.labels.tolist()) == (1e-3, Signal.EVENTS, [0, 1, 2] * 2)


def test_samples_may_come_first(events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "turned.npy", np.load(events).swapaxes(0, 1))
    labels, out = tmp_path / "labels.npy", tmp_path / "recording.npz"
    words = ("--samples-first", "--labels", labels, "--dt", "1e-3", "--signal", "events", "--out", out)
    assert tool("record", tmp_path / "turned.npy", *words) == 0
    assert "12 steps, 6 samples" in capsys.readouterr().out
    np.testing.assert_array_equal(read_recording(out).values, np.load(events))


def test_the_first_screen_says_how_an_array_was_read_and_takes_the_other_order(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = np.random.default_rng(0)
    rates = 0.9 * chance.random((40, 4))
    np.save(tmp_path / "turned.npy", chance.random((40, 25, 4)) < rates[:, None])
    np.save(tmp_path / "right.npy", np.load(tmp_path / "turned.npy").swapaxes(0, 1))
    budget = tmp_path / "budget.toml"
    budget.write_text("[limits]\nsynops_per_inference = 1e9\n")
    for verb in (["report", "--json"], ["report"], ["check", "--budget", budget]):
        words = ["energy", verb[0], graph, *verb[1:], "--dt", "1e-3", "--signal", "events", "--inputs"]
        asked = {}
        for name, more in (("right", ()), ("turned", ()), ("turned", ("--samples-first",))):
            assert tool(*words, tmp_path / f"{name}.npy", *more) == 0
            asked[name, *more] = capsys.readouterr()
        right, wrong, said = asked.values()
        if "--json" in verb:
            synops = [
                json.loads(one.out)["systems"][0]["headline"]["figures"]["synops_per_inference"]["mean"]
                for one in asked.values()
            ]
            assert synops[0] == synops[2] != synops[1]
        else:
            first, second, third = (" ".join(one.out.split()) for one in asked.values())
            assert "steps first (else: --samples-first): 25 steps of 40 samples, 4 channels" in first
            assert "steps first (else: --samples-first): 40 steps of 25 samples" in second
            assert "read samples first: 25 steps of 40 samples" in third
        assert "swapped" in wrong.err
        assert "--samples-first" in wrong.err
        assert "swapped" not in right.err + said.err


def test_the_order_of_axes_is_not_for_recordings(
    graph: Path, events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "recording.npz"
    assert tool("record", events, "--dt", "1e-3", "--signal", "events", "--out", out) == 0
    assert tool("energy", "report", graph, "--inputs", out, "--samples-first") == 2
    assert "is a recording, which has its steps first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--dt", "5e-3", "--signal", "events"), "states --dt 0.001"),
        (("--dt", "1e-3", "--signal", "real"), "states --signal events"),
        (("--dt", "1e-3", "--signal", "events", "--samples-first"), "has its steps first"),
    ],
)
def test_a_recording_is_not_recorded_as_something_else(
    events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    first, again = tmp_path / "first.npz", tmp_path / "again.npz"
    assert tool("record", events, "--dt", "1e-3", "--signal", "events", "--out", first) == 0
    assert tool("record", first, *words, "--out", again) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not again.exists()


def test_a_recording_is_given_labels_once(
    events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, again, stated = (
        tmp_path / "first.npz",
        tmp_path / "again.npz",
        ("--dt", "1e-3", "--signal", "events"),
    )
    labels = ("--labels", tmp_path / "labels.npy")
    assert tool("record", events, *stated, "--out", first) == 0
    assert tool("record", first, *stated, *labels, "--out", again) == 0
    made = read_recording(again)
    np.testing.assert_array_equal(made.values, np.load(events))
    assert made.labels is not None
    assert made.labels.tolist() == [0, 1, 2] * 2
    np.savez(tmp_path / "both.npz", inputs=np.load(events), labels=np.zeros(6))
    for source in (again, tmp_path / "both.npz"):
        assert tool("record", source, *stated, *labels, "--out", tmp_path / "third.npz") == 2
        assert "holds labels of its own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ([0, 1, 2], "6 samples"),
        ([0.5] * 6, "no classes"),
        ([-1] * 6, "no classes"),
        ([float("inf")] * 6, "no classes"),
    ],
)
def test_labels_are_looked_at(
    events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], labels: list[float], problem: str
) -> None:
    np.save(tmp_path / "labels.npy", np.array(labels))
    words = ("--labels", tmp_path / "labels.npy", "--dt", "1e-3", "--signal", "events")
    assert tool("record", events, *words, "--out", tmp_path / "recording.npz") == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "recording.npz").exists()


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    build = GraphBuilder(dt=1e-3)
    build.input(4, Signal.EVENTS)
    build.linear("dense", np.ones((3, 4)) / 2)
    build.lif("lif", 0.5, 1.0, 3)
    build.output(3, classes=3, group=1)
    write_network(tmp_path / "it.nir", build.build())
    return tmp_path / "it.nir"


def test_commands_take_plain_arrays(graph: Path, events: Path, tmp_path: Path) -> None:
    plain = ("--inputs", events, "--signal", "events")
    assert tool("verify", graph, *plain, "--against", "onnx", "--exact") == 0
    out = tmp_path / "out"
    assert tool("export", graph, *plain, "--target", "nir", "--out", out) == 0
    np.testing.assert_array_equal(read_recording(out / "inputs.npz").values, np.load(events))
    assert tool("run", out, "--inputs", events) == 0


def test_a_recording_says_what_enters_a_graph_that_does_not(events: Path, tmp_path: Path) -> None:
    recording, silent = tmp_path / "recording.npz", tmp_path / "silent.nir"
    nodes = {
        "input": nir.Input(np.array([4])),
        "dense": nir.Linear(np.ones((3, 4)) / 2),
        "lif": nir.LIF(*(np.full(3, value) for value in (2e-3, 2.0, 0.0, 1.0, 0.0))),
        "output": nir.Output(np.array([3])),
    }
    nir.write(silent, nir.NIRGraph.from_list(*nodes.values()))
    assert tool("record", events, "--dt", "1e-3", "--signal", "events", "--out", recording) == 0
    words = (silent, "--inputs", recording, "--dt", "1e-3", "--reset", "zero")
    assert tool("verify", *words, "--against", "onnx") == 0
    assert tool("export", *words, "--target", "lava", "--out", tmp_path / "lava") == 0


def test_arrays_that_are_left_out_are_named(
    events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "both.npz", inputs=np.load(events), targets=np.arange(6))
    words = ("record", tmp_path / "both.npz", "--dt", "1e-3", "--signal", "events", "--out")
    assert tool(*words, tmp_path / "a.npz") == 0
    told = capsys.readouterr().out
    assert "events of shape [4], no labels" in told
    assert "left out: targets" in told
    assert tool(*words, tmp_path / "b.npz", "--json") == 0
    assert json.loads(capsys.readouterr().out)["left_out"] == ["targets"]

"""`check` and `inspect` on files, runs and deployment folders; the answer first, in eighty columns."""

import json
from dataclasses import replace
from pathlib import Path

import nir
import numpy as np
import pytest
from typer.testing import CliRunner

from nsc_deploy.cli.app import app
from nsc_deploy.deployment import Place, read_deployment, write_deployment
from nsc_deploy.errors import UserError
from nsc_deploy.exporters.check import graphs_of
from nsc_deploy.exporters.registry import load_target
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import GraphOptions, write_network
from nsc_deploy.graphs.formats.recording import read_recording, write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import dense_graph, dense_run, event_run, reals


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return event_run(tmp_path_factory.mktemp("check") / "event")


def answer(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if code == 2:
        assert isinstance(done.exception, UserError)
    else:
        assert done.exit_code == code, done.output
    return done.stdout


@pytest.mark.parametrize("target", ["lava", "loihi1", "c:stm32l432"])
def test_the_answer_stands_in_the_second_line_and_all_in_one_screen(run: Path, target: str) -> None:
    lines = answer("check", run / "receiver.nir", "--target", target).splitlines()
    assert lines[0].startswith(f"{run}/receiver.nir on ") or lines[0].startswith(str(run)[:40])
    assert f"fits {target}" in lines[:4]
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_details_have_each_node_core_and_source(run: Path) -> None:
    short = answer("check", run / "receiver.nir", "--target", "loihi1")
    whole = answer("check", run / "receiver.nir", "--target", "loihi1", "--details")
    for told in ("Because", "axons in", "Limits from:"):
        assert told not in short
        assert told in whole


def test_a_run_is_checked_part_by_part(run: Path) -> None:
    told = json.loads(answer("check", run, "--target", "loihi1", "--json"))
    assert told["accepted"] is True
    assert [Path(one["graph"]).name for one in told["graphs"]] == ["transmitter.nir", "receiver.nir"]
    assert told["told"] == ["not checked, for a host: receiver-front-end (check one with --part NAME)"]
    one = json.loads(answer("check", run, "--part", "receiver", "--target", "loihi1", "--json"))
    assert one == told["graphs"][1] | {"told": []}


def test_parts_of_a_run_that_are_not_checked_are_named(run: Path, tmp_path: Path) -> None:
    def told(subject: Path, target: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["check", str(subject), "--target", target])
        assert done.exit_code == code
        return " ".join(done.stderr.split())

    assert "not checked, for a host: receiver-front-end (check one with --part NAME)" in told(run, "loihi1")
    along = told(run, "c")
    assert "receiver-front-end goes along" in along
    assert "not checked" not in along
    mixed = tmp_path / "mixed"
    event_run(mixed)
    dense_graph(mixed / "sender.onnx", [6, 4])
    whole = read_deployment(mixed)
    sender = whole.parts[0].model_copy(
        update={"name": "sender", "place": Place.HOST, "graph": "sender.onnx", "recording": "sender.npz"}
    )
    write_recording(mixed / "sender.npz", reals(6))
    write_deployment(mixed, whole.model_copy(update={"parts": (sender, *whole.parts)}))
    assert "sender (ONNX graphs, to be checked for --target c)" in told(mixed, "loihi1")
    both = json.loads(answer("check", mixed, "--target", "c", "--json"))
    assert [Path(one["graph"]).name for one in both["graphs"]] == [
        "sender.onnx", "transmitter.nir", "receiver.nir",
    ]  # fmt: skip
    with pytest.raises(UserError) as caught:
        graphs_of(dense_run(tmp_path / "fc"), GraphOptions(), target=load_target("loihi1"))
    assert "Its ONNX graphs (transmitter, receiver) can be checked for --target c" in (
        caught.value.hint or ""
    )


@pytest.mark.parametrize("classes", [None, 4])
def test_c_code_takes_as_much_as_when_it_is_exported(run: Path, tmp_path: Path, classes: int | None) -> None:
    undecided = nir.read(run / "receiver.nir")
    undecided.nodes["output"].metadata.clear()
    nir.write(tmp_path / "it.nir", undecided)
    told = [] if classes is None else ["--classes", classes]
    words = (tmp_path / "it.nir", *told, "--target", "c:stm32l432", "--json")
    pools = json.loads(answer("check", *words))["pools"]
    exported = json.loads(answer("export", *words, "--out", tmp_path / "c"))
    memory = exported["deployments"][0]["manifest"]["memory"]
    assert {one["pool"]: one["used"] for one in pools} == {
        "flash": sum(piece["bytes"] for piece in memory["flash"]),
        "RAM": sum(piece["bytes"] for piece in memory["ram"]),
    }
    details = answer("check", *words[:-1], "--details")
    assert ("no code that decides is counted" in details) is (classes is None)


def test_what_goes_along_in_an_export_is_checked_too(run: Path, tmp_path: Path) -> None:
    words = (run, "--part", "receiver", "--target", "c:stm32l432", "--json")
    told = json.loads(answer("check", *words))
    exported = json.loads(answer("export", *words, "--out", tmp_path / "c"))
    assert "compare" in {one["node"] for one in told["nodes"]}
    used = {one["pool"]: one["used"] for one in told["pools"]}
    memory = exported["deployments"][0]["manifest"]["memory"]
    assert used["flash"] == sum(piece["bytes"] for piece in memory["flash"])


def test_recorded_inputs_are_read_and_of_this_graph(run: Path, tmp_path: Path) -> None:
    words = ("check", run / "receiver.nir", "--target", "loihi1", "--inputs")
    plain, foreign, slow = (tmp_path / f"{name}.npz" for name in ("plain", "foreign", "slow"))
    foreign.write_bytes(b"no archive")
    own = read_recording(run / "receiver.npz")
    write_recording(slow, replace(own, dt=2 * own.dt))
    np.savez(plain, inputs=own.values)
    for recording in (run / "receiver.npz", plain):
        assert "fits loihi1" in answer(*words, recording)
    for other in (tmp_path / "none.npz", foreign, run / "transmitter.npz", slow):
        answer(*words, other, code=2)
    with pytest.raises(UserError, match="are those of one graph, and 2 are checked"):
        app(["check", str(run), "--target", "loihi1", "--inputs", str(plain)], standalone_mode=False)
    assert "fits loihi1" in answer("check", run, "--part", "receiver", *words[2:], plain)


@pytest.mark.parametrize(
    "command",
    [
        ("check", "--target", "loihi1"),
        ("inspect",),
        ("verify", "--against", "snntorch"),
        ("energy", "report"),
    ],
    ids=" ".join,
)
def test_a_graph_a_run_and_a_deployment_are_taken_alike(
    run: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    answer("export", run, "--target", "lava", "--out", tmp_path / "lava")
    for subject in (run / "receiver.nir", run, tmp_path / "lava"):
        assert answer(*command, subject)
        json.loads(answer(*command, subject, "--json"))


def test_a_run_is_verified_part_by_part(run: Path) -> None:
    words = ("--against", "snntorch", "--exact", "--json")
    named = {
        part: json.loads(answer("verify", run, "--part", part, *words))["subject"]
        for part in ("transmitter", "receiver")
    }
    assert {part: Path(file).name for part, file in named.items()} == {
        "transmitter": "transmitter.nir",
        "receiver": "receiver.nir",
    }
    answer("verify", run / "receiver.nir", "--part", "receiver", *words, code=2)
    answer("verify", run, "--part", "nobody", *words, code=2)


def test_a_deployment_is_checked_by_the_graph_it_was_made_from(run: Path, tmp_path: Path) -> None:
    answer("export", run, "--target", "lava", "--out", tmp_path / "lava")
    mine = json.loads(answer("check", tmp_path / "lava", "--target", "loihi1", "--json"))
    graph = json.loads(answer("check", run / "receiver.nir", "--target", "loihi1", "--json"))
    assert mine.pop("graph") == str(tmp_path / "lava")
    graph.pop("graph")
    assert mine == graph
    assert "source.nir" in answer("inspect", tmp_path / "lava")


def test_inspect_shows_each_graph_of_a_run(run: Path) -> None:
    told = json.loads(answer("inspect", run, "--json"))
    assert [Path(one["file"]).name for one in told["graphs"]] == [
        "transmitter.nir", "receiver-front-end.nir", "receiver.nir",
    ]  # fmt: skip
    answer("inspect", run, "--picture", "a.svg", code=2)


def test_what_is_neither_is_refused(tmp_path: Path, run: Path) -> None:
    for command in (["check", tmp_path, "--target", "lava"], ["inspect", tmp_path]):
        answer(*command, code=2)
    answer("check", run / "receiver.nir", "--part", "receiver", "--target", "lava", code=2)
    answer("check", run, "--part", "nobody", "--target", "lava", code=2)


def test_what_enters_is_asked_for_where_the_answer_depends_on_it(tmp_path: Path) -> None:
    """Not the no of a chip, which exit code 1 says."""
    builder = GraphBuilder(1e-3)
    builder.input(4, Signal.REAL)
    builder.linear("weights", np.eye(4, dtype=np.float32))
    builder.lif("lif", 0.9, 1.0, 4)
    builder.output(4)
    path, graph = tmp_path / "silent.nir", builder.build()
    graph.nodes["input"].metadata.clear()
    nir.write(path, graph)
    done = CliRunner().invoke(app, ["check", str(path), "--target", "loihi2"])
    assert isinstance(done.exception, UserError)
    assert "does not state what enters" in done.exception.message
    assert "\nfits loihi2" in answer("check", path, "--target", "loihi2", "--signal", "events")
    answer("check", path, "--target", "loihi2", "--signal", "real", code=1)


def wrapping_graph(path: Path) -> Path:
    """A neuron whose synaptic current wraps with the smallest weights that there are."""
    build = GraphBuilder(1e-3)
    build.input(25, Signal.EVENTS)
    build.linear("w", np.full((1, 25), 0.3))
    one = np.ones(1)
    tau_syn = np.array([4.096 / 1.4])
    build.add("n", nir.CubaLIF(tau_syn, 0.01 * one, one, 0 * one, one, v_reset=0 * one, w_in=one))
    build.output(1)
    nir.write(path, build.build())
    return path


@pytest.mark.parametrize("target", ["lava", "c", "c:stm32l432"])
def test_what_only_lowering_refuses_does_not_fit(tmp_path: Path, target: str) -> None:
    path = wrapping_graph(tmp_path / "wraps.nir")
    found = json.loads(answer("check", path, "--target", target, "--json", code=1))
    assert not found["accepted"]
    assert [one["node"] for one in found["nodes"] if one["status"] == "refused"] == ["n"]


def test_of_delays_in_a_row_the_last_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "late.nir"
    build = GraphBuilder(0.01)
    build.input(1, Signal.EVENTS)
    build.delay("d", 40, 1)
    build.delay("e", 40, 1)
    build.threshold("n", 0.5, 1)
    build.output(1)
    write_network(path, build.build())
    found = json.loads(answer("check", path, "--target", "lava", "--json", code=1))
    assert [one["node"] for one in found["nodes"] if one["status"] == "refused"] == ["e"]


@pytest.mark.parametrize("command", ["check", "export"])
@pytest.mark.parametrize("target", ["lava", "c"])
def test_a_graph_without_a_time_step_is_named(tmp_path: Path, target: str, command: str) -> None:
    path = tmp_path / "timeless.nir"
    nodes = {
        "input": nir.Input({"input": np.array([1])}),
        "w": nir.Linear(np.ones((1, 1))),
        "n": nir.Threshold(np.array([0.5])),
        "output": nir.Output({"output": np.array([1])}),
    }
    nir.write(path, nir.NIRGraph(nodes, [("input", "w"), ("w", "n"), ("n", "output")]))
    options = [path, "--target", target, "--signal", "events"]
    options += ["--out", tmp_path / "out"] if command == "export" else []
    done = CliRunner().invoke(app, [str(argument) for argument in (command, *options)])
    assert isinstance(done.exception, UserError)
    assert (done.exception.where, done.exception.problem) == (str(path), "has no time step")

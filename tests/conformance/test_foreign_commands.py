"""What every command tells of a graph that another framework wrote."""

import json

import nir
import numpy as np
import pytest

from nsc_deploy.cli.app import app
from nsc_deploy.cli.exit_codes import run_to_exit_code
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.foreign import events, read, seeded
from tests.support.snntorch_models import chain, exported

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def files(tmp_path):
    """A graph that snnTorch wrote, and inputs for it."""
    graph, inputs = tmp_path / "it.nir", tmp_path / "inputs.npz"
    nir.write(graph, exported(seeded(chain), (10,)))
    values = events((10,), steps=6, samples=4).astype(np.uint8)
    write_recording(inputs, Recording(values, Signal.EVENTS, 1e-4, np.arange(4) % 2))
    return str(graph), ["--inputs", str(inputs)]


def run(*arguments):
    return run_to_exit_code(lambda: app([*arguments], prog_name="nsc-deploy"))


COMMANDS = {
    "inspect": (["inspect"], False),
    "check": (["check", "--target", "lava", "--signal", "events"], False),
    "check, a chip": (["check", "--target", "loihi2", "--signal", "events"], False),
    "verify": (["verify", "--against", "onnx", "--signal", "events"], True),
    "export": (["export", "--target", "nir", "--signal", "events"], True),
    "energy report": (["energy", "report"], True),
    "energy advise": (["energy", "advise"], True),
    "energy compare": (["energy", "compare"], True),
    "energy check": (["energy", "check"], True),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_each_warning_once_and_json_holds_them(name, files, tmp_path, capsys):
    graph, inputs = files
    command, recorded = COMMANDS[name]
    arguments = [*command, graph, "--dt", "1e-4", "--reset", "zero", *(inputs if recorded else [])]
    if name == "energy compare":
        arguments.append(graph)
    if name == "energy check":
        (tmp_path / "budget.toml").write_text("[limits]\nneurons = 5000\n")
        arguments += ["--budget", str(tmp_path / "budget.toml"), "--json"]
    else:
        arguments.append("--json")
    if name == "export":
        arguments += ["--out", str(tmp_path / "out")]
    code = run(*arguments)
    printed, told = capsys.readouterr()
    assert code in {0, 1}, told  # real values at the input do not go into Lava
    if command[0] in {"inspect", "check"}:
        assert told.count("warning: ") == told.count("Evidence: ") == 2
    else:
        assert told.count("warning: ") == 1
        assert f"in full: nsc-deploy inspect {graph}" in told
    warnings = json.loads(printed)["warnings"]
    assert [one["name"] for one in warnings] == ["snntorch-time-step", "snntorch-reset"]
    assert all(one["where"] == graph and one["way_out"] for one in warnings)


WRITTEN = ["snntorch-time-step", "snntorch-reset"]


@pytest.mark.parametrize("target", ["nir", "onnx", "snntorch", "norse", "lava", "split"])
def test_a_deployment_keeps_the_warnings_of_the_file_it_was_made_from(target, files, tmp_path, capsys):
    graph, inputs = files
    out, page = tmp_path / "out", tmp_path / "page"
    split = ["--target", "lava", "--split", "--signal", "real"]
    how = split if target == "split" else ["--target", target, "--signal", "events"]
    if target == "split":
        values = np.random.default_rng(0).normal(size=(6, 4, 10)).astype(np.float32)
        write_recording(tmp_path / "real.npz", Recording(values, Signal.REAL, 1e-4))
        inputs = ["--inputs", str(tmp_path / "real.npz")]
    assert run("export", graph, *how, "--dt", "1e-4", "--reset", "zero", *inputs, "--out", str(out)) == 0
    folders = [out, out / "chip"] if target == "split" else [out]
    for folder in folders:
        held = json.loads((folder / "manifest.json").read_text())["warnings"]
        assert [one["name"] for one in held] == WRITTEN
    capsys.readouterr()
    against = "twin" if target == "nir" else "reference"
    code = ["--run-code"] if target in {"snntorch", "norse"} else []
    assert run("verify", str(out), "--against", against, "--json", "--out", str(page), *code) == 0
    printed, told = capsys.readouterr()
    assert told.count("warning: ") == 1
    assert [one["name"] for one in json.loads(printed)["warnings"]] == WRITTEN
    html = (page / "verification.html").read_text()
    assert all(f"<strong>{name}</strong>" in html for name in WRITTEN)
    if target in {"lava", "split"}:
        assert run("run", str(out), "--backend", "twin", "--json") == 0
        printed, told = capsys.readouterr()
        assert told.count("warning: ") == 1
        assert [one["name"] for one in json.loads(printed)["warnings"]] == WRITTEN


def test_classes_that_no_framework_writes_give_accuracy_and_confusion(files, tmp_path, capsys):
    graph, inputs = files
    foreign = ["--dt", "1e-4", "--reset", "zero", "--signal", "events", *inputs]
    limit = ["--max-accuracy-drop", "100"]
    assert run("verify", graph, *foreign, "--against", "twin", *limit) == 2
    assert "--classes N" in capsys.readouterr().err
    assert run("verify", graph, *foreign, "--against", "twin", *limit, "--classes", "3", "--json") == 0
    decisions = json.loads(capsys.readouterr().out)["comparison"]["decisions"]
    assert np.array(decisions["confusion"]).shape == (3, 3)
    assert decisions["reference_accuracy"] is not None
    out = tmp_path / "out"
    exported_to = ["--target", "lava", "--classes", "3", "--out", str(out)]
    assert run("export", graph, *foreign, *exported_to) == 0
    assert json.loads((out / "manifest.json").read_text())["verification"]["accuracy"] is not None
    assert run("run", str(out), "--backend", "twin") == 0
    assert "equal decisions" in capsys.readouterr().out


def test_a_manifest_without_warnings_has_no_such_field(tmp_path):
    build = GraphBuilder(1e-4)
    build.input(3, Signal.EVENTS)
    build.linear("w", np.eye(3))
    build.lif("lif", 0.9, 0.5, 3)
    build.output(3)
    write_network(tmp_path / "own.nir", build.build())
    for target in ("lava", "nir"):
        out = tmp_path / target
        assert run("export", str(tmp_path / "own.nir"), "--target", target, "--out", str(out)) == 0
        assert "warnings" not in json.loads((out / "manifest.json").read_text())


def test_a_command_without_the_step_says_whose_file_it_looks_like(files, capsys):
    assert run("inspect", files[0]) == 2
    assert "looks like a file of snnTorch's export_to_nir" in capsys.readouterr().err


def test_a_graph_by_hand_is_not_taken_for_anybody_s(tmp_path):
    shape = (8,)
    lif = nir.LIF(np.full(shape, 0.02), np.ones(shape), np.zeros(shape), np.ones(shape))
    graph = nir.NIRGraph.from_list(nir.Affine(np.eye(8), np.zeros(8)), lif)
    assert read(graph, tmp_path / "it.nir", dt=1e-3)[1] == []

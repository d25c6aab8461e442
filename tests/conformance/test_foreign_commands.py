"""What every command tells of a graph that another framework wrote."""

import json

import nir
import numpy as np
import pytest
from foreign import events, read, seeded
from snntorch_models import chain, exported

from nsc_deploy.cli.app import app
from nsc_deploy.cli.ending import run_to_exit_code
from nsc_deploy.graphs.recording import Recording, write_recording
from nsc_deploy.graphs.signal import Signal

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def files(tmp_path):
    """A graph that snnTorch wrote, and inputs for it."""
    graph, inputs = tmp_path / "it.nir", tmp_path / "inputs.npz"
    nir.write(graph, exported(seeded(chain), (10,)))
    values = events((10,), steps=6, samples=4).astype(np.uint8)
    write_recording(inputs, Recording(values, Signal.EVENTS, 1e-4, np.arange(4)))
    return str(graph), ["--inputs", str(inputs)]


def run(*arguments):
    return run_to_exit_code(lambda: app([*arguments], prog_name="nsc-deploy"))


COMMANDS = {
    "inspect": (["inspect"], False),
    "check": (["check", "--target", "lava"], False),
    "check, a chip": (["check", "--target", "loihi2"], False),
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
        arguments += ["--budget", str(tmp_path / "budget.toml"), "--format", "json"]
    else:
        arguments.append("--json")
    if name == "export":
        arguments += ["--out", str(tmp_path / "out")]
    code = run(*arguments)
    printed, told = capsys.readouterr()
    assert code in {0, 1}, told  # real values at the input do not go into Lava
    assert told.count("warning: ") == 2
    warnings = json.loads(printed)["warnings"]
    assert [one["name"] for one in warnings] == ["snntorch-time-step", "snntorch-reset"]
    assert all(one["where"] == graph and one["way_out"] for one in warnings)


def test_a_command_without_the_step_says_whose_file_it_looks_like(files, capsys):
    assert run("inspect", files[0]) == 2
    assert "looks like a file of snnTorch's export_to_nir" in capsys.readouterr().err


def test_a_graph_by_hand_is_not_taken_for_anybody_s(tmp_path):
    shape = (8,)
    lif = nir.LIF(np.full(shape, 0.02), np.ones(shape), np.zeros(shape), np.ones(shape))
    graph = nir.NIRGraph.from_list(nir.Affine(np.eye(8), np.zeros(8)), lif)
    assert read(graph, tmp_path / "it.nir", dt=1e-3)[1] == []

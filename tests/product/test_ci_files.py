"""The action and the hook at the root do in a shell what they say."""

import os
import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

import nsc_deploy

ROOT = Path(__file__).parents[2]
STEPS = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a graph, its inputs and the command on the path."""
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "patterns.py"), run_name="__main__")
    command = tmp_path / "bin" / "nsc-deploy"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable} -P\nfrom nsc_deploy.__main__ import main\nmain()\n")
    command.chmod(0o755)
    return tmp_path


def in_a_shell(place: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(nsc_deploy.__file__).parents[1]),
        **variables,
    }
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


def checked(place: Path, **given: str) -> int:
    """The exit code of the action's step with some of its inputs, the others as they are by default."""
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    values = {name: one.get("default", "") for name, one in inputs.items()} | given
    step = STEPS[1]
    variables = {
        name: values[re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", text)[1]]
        for name, text in step["env"].items()
    }
    done = in_a_shell(place, step["run"], **variables)
    assert done.returncode in {0, 1}, done.stderr
    return done.returncode


def test_the_action_holds_a_graph_to_a_budget_and_to_a_baseline(place: Path) -> None:
    graph = {"system": "patterns.nir", "inputs": "patterns.npz"}
    (place / "budget.toml").write_text("[limits]\nneurons = 50\n")
    assert checked(place, **graph, budget="budget.toml") == 0
    assert ET.parse(place / "energy.xml").getroot().get("failures") == "0"  # noqa: S314
    (place / "budget.toml").write_text("[limits]\nneurons = 49\n")
    assert checked(place, **graph, budget="budget.toml") == 1
    report = in_a_shell(place, "nsc-deploy energy report patterns.nir --inputs patterns.npz --out before")
    assert report.returncode == 0, report.stderr
    assert checked(place, **graph, baseline="before/report.json", tolerance="0.01") == 0


def test_no_input_of_the_action_is_part_of_a_script() -> None:
    assert all("${{" not in step["run"] for step in STEPS)
    assert (ROOT / "constraints.txt").is_file()
    assert (
        STEPS[0]["run"] == 'pip install "$GITHUB_ACTION_PATH[fast]" -c "$GITHUB_ACTION_PATH/constraints.txt"'
    )


def test_the_hook_ends_with_the_answer_of_the_budget(place: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert re.search(hook["files"], "nets/patterns.nir")
    assert not re.search(hook["files"], "README.md")
    arguments = " patterns.nir --inputs patterns.npz --budget budget.toml"
    for most, code in (50, 0), (49, 1):
        (place / "budget.toml").write_text(f"[limits]\nneurons = {most}\n")
        assert in_a_shell(place, hook["entry"] + arguments).returncode == code

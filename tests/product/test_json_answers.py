"""What the reference says of each command's JSON is what the command prints."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from nsc_deploy.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"
ROW = re.compile(r"^\| (`[^|]+`) \| (`[^|]+`) \|", re.MULTILINE)
SMALL = {"system.name": "att-neurosc", "system.receiver": "event", "training.epochs": 1}

Words = list[str]


def documented() -> Iterator[tuple[str, list[str]]]:
    for commands, fields in ROW.findall(PAGE.read_text(encoding="utf-8")):
        for command in re.findall(r"`([^`]+)`", commands):
            yield command, re.findall(r"`([^`]+)`", fields)


DOCUMENTED = dict(documented())


def answer(words: Words, capsys: pytest.CaptureFixture[str]) -> Any:
    """The one JSON value that a command prints; a check may say no."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        app(words, prog_name="nsc-deploy")
    assert end.value.code in {0, 1}

    def refuse(word: str) -> None:
        pytest.fail(f"{word} is no JSON")

    return json.loads(capsys.readouterr().out, parse_constant=refuse)


@pytest.fixture(scope="module")
def train_words(small_experiment: Callable[..., dict[str, object]]) -> Words:
    values = small_experiment() | SMALL
    return [
        "train",
        "--quiet",
        *(word for name, value in values.items() for word in ("--set", f"{name}={value}")),
    ]


@pytest.fixture(scope="module")
def place(train_words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, its report and its deployment."""
    folder = tmp_path_factory.mktemp("answers")
    run = str(folder / "run")
    for words in (
        [*train_words, "--out", run],
        ["energy", "report", run, "--samples", "5", "--out", str(folder / "report")],
        ["export", run, "--target", "lava", "--out", str(folder / "deployed")],
    ):
        with pytest.raises(SystemExit) as end:
            app(words, prog_name="nsc-deploy")
        assert end.value.code == 0
    np.save(folder / "events.npy", np.eye(4)[:, None])
    cells = nir.LIF(*(np.full(3, value) for value in (1e-3, 10.0, 0.0, 1.0)))
    nodes = {"input": nir.Input(np.array([3])), "0": cells, "output": nir.Output(np.array([3]))}
    nir.write(folder / "other.nir", nir.NIRGraph(nodes, [("input", "0"), ("0", "output")]))
    return folder


def calls(folder: Path) -> dict[str, Words]:
    run, graph, deployed = str(folder / "run"), str(folder / "run" / "receiver.nir"), str(folder / "deployed")
    few = ["--samples", "5"]
    return {
        "evaluate": ["evaluate", run, "--json"],
        "attention": ["attention", run, "--json"],
        "inspect": ["inspect", graph, "--json"],
        "check --target lava": ["check", graph, "--target", "lava", "--json"],
        "check --target loihi1": ["check", graph, "--target", "loihi1", "--json"],
        "export": ["export", run, "--target", "nir", "--out", str(folder / "normal"), "--json"],
        "run": ["run", deployed, "--backend", "twin", *few, "--json"],
        "verify": ["verify", deployed, "--against", "reference", *few, "--json"],
        "lava status": ["lava", "status", "--json"],
        "data list": ["data", "list", "--json"],
        "data info": ["data", "info", "spoken-digits", "--json"],
        "energy report": ["energy", "report", run, *few, "--json"],
        "energy check": [
            *("energy", "check", run, *few, "--json"),
            *("--baseline", str(folder / "report" / "report.json")),
        ],
        "energy compare": ["energy", "compare", run, run, *few, "--json"],
        "energy advise": ["energy", "advise", run, *few, "--json"],
        "record": [
            *("record", str(folder / "events.npy"), "--dt", "1e-3", "--signal", "events", "--json"),
            *("--out", str(folder / "recorded.npz")),
        ],
        "mend": [
            *("mend", str(folder / "other.nir"), "--from", "snntorch", "--dt", "1e-4", "--reset", "zero"),
            *("--json", "--out", str(folder / "mended.nir")),
        ],
        "energy profiles": ["energy", "profiles", "--json"],
    }


ELSEWHERE = {"train", "sweep", "demo", "lava install", "ask"}


def test_every_command_with_json_is_documented() -> None:
    assert set(DOCUMENTED) == set(calls(Path())) | ELSEWHERE


@pytest.mark.parametrize("command", sorted(calls(Path())))
def test_the_fields_are_those_of_the_reference(
    command: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = answer(calls(place)[command], capsys)
    fields = DOCUMENTED[command]
    for entry in value if isinstance(value, list) else [value]:
        assert list(entry) == fields[: len(entry)] if command == "lava status" else list(entry) == fields


def test_the_fields_of_training(place: Path, train_words: Words, capsys: pytest.CaptureFixture[str]) -> None:
    again = answer([*train_words, "--out", str(place / "run"), "--resume", "--json"], capsys)
    assert list(again) == DOCUMENTED["train"]
    assert again == json.loads((place / "run" / "metrics.json").read_text())


@pytest.mark.parametrize(
    "words",
    [["inspect", "gone.nir", "--json"], ["run", "gone", "--json"], ["energy", "report", "gone", "--json"]],
)
def test_a_failure_prints_nothing_for_a_machine(
    words: Words, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["nsc-deploy", *words])
    from nsc_deploy.cli.app import main

    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, capsys.readouterr().out) == (2, "")

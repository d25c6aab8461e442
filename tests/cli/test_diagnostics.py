"""Warnings and progress bars on a real terminal: told once, below the answer, and nothing left of a bar."""

from pathlib import Path

import nir
import numpy as np
import pytest

from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.terminal import on_terminal, screen

FOREIGN = ("--dt", "1e-4", "--reset", "zero")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A graph as snnTorch writes it, and recorded events."""
    cells = nir.LIF(*(np.full(6, value) for value in (1e-3, 10.0, 0.0, 1.0)))
    nodes = {
        "input": nir.Input(np.array([8])),
        "0": nir.Affine(np.full((6, 8), 0.4, np.float32), np.zeros(6, np.float32)),
        "1": cells,
        "output": nir.Output(np.array([6])),
    }
    graph = nir.NIRGraph(nodes, [("input", "0"), ("0", "1"), ("1", "output")])
    nir.write(tmp_path / "it.nir", graph)
    values = (np.random.default_rng(0).random((20, 300, 8)) < 0.3).astype(np.uint8)
    write_recording(tmp_path / "it.npz", Recording(values, Signal.EVENTS, 1e-4))
    return [tmp_path / "it.nir", tmp_path / "it.npz"]


def test_a_warning_stands_below_the_answer_and_nothing_is_left_of_the_bar(files: list[Path]) -> None:
    graph, inputs = files
    code, lines = on_terminal(["energy", "report", graph, "--inputs", inputs, *FOREIGN])
    assert code == 0, lines
    answer = next(index for index, line in enumerate(lines) if "SynOps, mean" in line)
    (told,) = [index for index, line in enumerate(lines) if line.startswith("warning")]
    assert told > answer
    assert lines[told].startswith("warning:")
    assert "nsc-deploy inspect" in "".join(lines[told:])
    assert not [line for line in lines if "counting" in line or "━" in line]


@pytest.mark.parametrize(
    "command", ["energy report {} --inputs {} --details", "inspect {}", "export {} --inputs {} --target lava"]
)
def test_what_is_said_is_folded_between_words(files: list[Path], command: str, tmp_path: Path) -> None:
    words = command.format(*files).split() + ["--out", str(tmp_path / "out")] * ("export" in command)
    code, lines = on_terminal([*words, *FOREIGN])
    assert code == 0, lines
    said = [line for line in lines if str(tmp_path)[:8] not in line]
    assert max(map(len, said)) <= 80
    told = next(index for index, line in enumerate(said) if "Evidence" in line or "verified" in line)
    assert said[told + 1].startswith("  ")
    assert not said[told].endswith("-")


def test_a_step_that_the_writer_never_writes_is_told_in_full_by_every_command(files: list[Path]) -> None:
    graph, inputs = files
    values = np.zeros((10, 2, 8), np.uint8)
    write_recording(inputs, Recording(values, Signal.EVENTS, 1e-3))
    words = ["energy", "report", graph, "--inputs", inputs, "--reset", "zero"]
    _, lines = on_terminal([*words, "--dt", "1e-3"])
    assert any("read with 0.001 s, as another" in line for line in lines)
    assert "--step-seconds" in " ".join(lines)
    _, lines = on_terminal([*words, "--dt", "1e-4", "--step-seconds", "1e-3"])
    assert not [line for line in lines if "another network" in line]


def test_the_command_about_a_file_and_details_tell_the_whole(files: list[Path]) -> None:
    graph, inputs = files
    for arguments in (["inspect", graph], ["energy", "report", graph, "--inputs", inputs, "--details"]):
        code, lines = on_terminal([*arguments, *FOREIGN])
        assert code == 0
        assert sum(line.startswith("Evidence: ") for line in lines) == sum(
            line.startswith("warning:") for line in lines
        )


def test_a_command_that_fails_tells_the_whole_before_its_error(files: list[Path]) -> None:
    graph, inputs = files
    arguments = ["energy", "report", graph, "--inputs", inputs, *FOREIGN, "--classes", "7"]
    code, lines = on_terminal(arguments)
    assert code == 2
    error = next(index for index, line in enumerate(lines) if line.startswith("error: "))
    assert any(line.startswith("Evidence: ") for line in lines[:error])
    assert not [line for line in lines if "━" in line]


def test_an_interrupt_stands_on_a_line_of_its_own(files: list[Path]) -> None:
    graph, inputs = files
    code, lines = on_terminal(
        ["verify", graph, "--against", "twin", "--inputs", inputs, "--signal", "events", *FOREIGN],
        interrupt_at=lambda written: "samples against" in written,
    )
    assert code in {0, 130}, lines
    assert not [line for line in lines if "━" in line]
    if code == 130:
        assert "interrupted" in lines


def test_the_screen_keeps_what_is_not_erased() -> None:
    assert screen("a bar ━━\r\x1b[2Kdone\r\nnext\r\n\x1b[1A\x1b[2Klast\r\n") == ["done", "last", ""]

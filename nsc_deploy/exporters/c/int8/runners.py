"""A network in 8 bits compiled and run: on this machine, and on a Cortex-M in QEMU, instructions counted."""

import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.c.compilers import Compiler, arm_compiler, host_compiler
from nsc_deploy.exporters.c.int8.network import Int8Network
from nsc_deploy.exporters.c.int8.write import harness_text, header_text, source_text
from nsc_deploy.exporters.c.qemu import Board, find_board, instructions_of, link_options, run_board
from nsc_deploy.exporters.c.write import linker_text
from nsc_deploy.io.files import write_bytes, write_text
from nsc_deploy.io.scratch import scratch_folder
from nsc_deploy.io.text import printable

NAME = "network"


@dataclass(frozen=True, eq=False)
class Int8Run:
    """What compiled code did.

    Attributes:
        outputs: [steps, samples, outputs].
        decisions: [samples].
        instructions: [steps, samples]; None on this machine.
    """

    outputs: NDArray[np.int16]
    decisions: NDArray[np.int64]
    instructions: NDArray[np.int64] | None = None


def run_on_host(
    network: Int8Network, values: NDArray[np.int8], options: tuple[str, ...], compiler: Compiler | None = None
) -> Int8Run:
    """Compile for this machine and run samples [steps, samples, inputs], each from rest.

    Raises:
        BackendError: there is no compiler, or it or the program failed.
    """
    with scratch_folder("int8") as folder:
        sources = _write(folder, network, "host.c.jinja")
        program = folder / "harness"
        (host_compiler() if compiler is None else compiler).build(sources, program, options, folder)
        done = subprocess.run([str(program)], input=_input(values), capture_output=True, check=False)
    if done.returncode != 0:
        said = printable(done.stderr.decode("utf-8", "replace").strip(), 400)
        raise BackendError(f"the compiled code ended with status {done.returncode}: {said}")
    return _answer(done.stdout, values, network, None)


def run_in_qemu(network: Int8Network, values: NDArray[np.int8], cpu: str | None = None) -> Int8Run:
    """Compile for a Cortex-M and run samples in QEMU.

    Raises:
        BackendError: a tool is missing or failed.
        ConfigError: no board has the core.
    """
    board = find_board(cpu)
    with ExitStack() as closing:
        folder = closing.enter_context(scratch_folder("int8"))
        sources = _write(folder, network, "board.c.jinja", board=board)
        write_text(folder / "board.ld", linker_text(board))
        arm_compiler().build(
            sources, folder / "program.elf", link_options(board, folder), folder, libraries=("-lgcc",)
        )
        write_bytes(folder / "in.bin", _input(values))
        run_board(board, folder)
        return _answer((folder / "out.bin").read_bytes(), values, network, board)


def _write(folder: Path, network: Int8Network, template: str, **values: object) -> list[Path]:
    write_text(folder / f"{NAME}.h", header_text(network, NAME))
    write_text(folder / f"{NAME}.c", source_text(network, NAME))
    write_text(folder / "harness.c", harness_text(network, NAME, template, **values))
    return [folder / "harness.c", folder / f"{NAME}.c"]


def _input(values: NDArray[np.int8]) -> bytes:
    """Samples as a harness reads them, each step filled up to whole words."""
    steps, samples, inputs = values.shape
    full = np.zeros((samples, steps, -(-inputs // 4) * 4), np.int8)
    full[..., :inputs] = values.transpose(1, 0, 2)
    return np.array([steps, samples], "<u4").tobytes() + full.tobytes()


def _answer(answer: bytes, values: NDArray[np.int8], network: Int8Network, board: Board | None) -> Int8Run:
    steps, samples = values.shape[:2]
    outputs = network.layers[-1].outputs
    width = -(-outputs // 2) + (board is not None)
    words = np.frombuffer(answer, "<u4")
    if words.size != samples * (steps * width + 1):
        raise BackendError(f"the compiled code wrote {words.size} words, others were expected")
    rows = words.reshape(samples, -1)
    each = rows[:, :-1].reshape(samples, steps, width).transpose(1, 0, 2)
    shown = np.ascontiguousarray(each[..., : -(-outputs // 2)]).view("<i2")[..., :outputs]
    ticks = None if board is None else instructions_of(board, each[..., -1])
    return Int8Run(shown, rows[:, -1].view("<i4").astype(np.int64), ticks)

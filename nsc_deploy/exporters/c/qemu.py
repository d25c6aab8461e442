"""The compiled C code on a Cortex-M in QEMU: the same bits, and how many instructions each step takes.

QEMU lets every instruction last equally long (`-icount`), so a timer of the board counts them. It knows
nothing of wait states, caches or two instructions at a time: what comes out is instructions, not cycles.
"""

import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import BackendError, ConfigError
from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.code import Code
from nsc_deploy.exporters.c.compilers import ARM_HINT, STANDARD, arm_compiler
from nsc_deploy.exporters.c.runners import harness_input, write_sources
from nsc_deploy.exporters.c.write import linker_text
from nsc_deploy.io.files import write_bytes, write_text
from nsc_deploy.io.scratch import scratch_folder
from nsc_deploy.io.text import printable
from nsc_deploy.verification.runner import RunTrace

DEFAULT_CPU = "cortex-m4"
_LINK = ("-nostdlib", "-Wl,--gc-sections", "-ffunction-sections")


@dataclass(frozen=True)
class Board:
    """A machine of QEMU.

    Attributes:
        cpu: the core that code is compiled for.
        machine: its name.
        flash: where code lies.
        flash_bytes: and how much of it fits.
        ram: where data lies.
        ram_bytes: and how much of it fits.
        tick_ns: period of the clock that counts.
        insn_shift: an instruction lasts 2^insn_shift nanoseconds.
        timer: address of a CMSDK timer; None for the timer of the core.
        note: what is not as it seems.
    """

    cpu: str
    machine: str
    flash: int
    flash_bytes: int
    ram: int
    ram_bytes: int
    tick_ns: float
    insn_shift: int
    timer: int | None = None
    note: str | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """Of the compiler, for code that is measured."""
        return (f"-mcpu={self.cpu}", "-mthumb", *STANDARD, "-O2")


@cache
def boards() -> dict[str, Board]:
    """The boards, by the core."""
    text = resources.files("nsc_deploy.exporters.c").joinpath("boards.toml").read_text("utf-8")
    return {cpu: Board(cpu, **fields) for cpu, fields in tomllib.loads(text).items()}


def find_board(cpu: str | None) -> Board:
    """The board for a core, called "cortex-m4" or "m4".

    Raises:
        ConfigError: there is none.
    """
    name = DEFAULT_CPU if cpu is None else cpu.lower()
    name = name if name.startswith("cortex-") else f"cortex-{name}"
    if name not in boards():
        raise ConfigError(
            f"there is no board with a '{cpu}'", where="--cpu", hint=f"Choose one of: {', '.join(boards())}."
        )
    return boards()[name]


class QemuRunner:
    """Compiles the C code for a Cortex-M and runs it in QEMU, instructions counted.

    Args:
        code: what is run.
        source: the text of NAME.c.
        settings: how; the core is among them, and what is compiled ends with them.

    Raises:
        BackendError: a tool is missing, or refuses the code.
        ConfigError: no board has the core.
    """

    name = "qemu"

    def __init__(self, code: Code, source: str, settings: RunSettings) -> None:
        self.board = find_board(settings.cpu)
        self.code = code
        self._settings = settings
        find_qemu()
        self.folder = settings.closing.enter_context(scratch_folder("qemu"))
        sources = write_sources(self.folder, code, source, "board.c.jinja", board=self.board)
        write_text(self.folder / "board.ld", linker_text(self.board))
        link = link_options(self.board, self.folder)
        arm_compiler().build(sources, self.folder / "program.elf", link, self.folder, libraries=("-lgcc",))

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest.

        Raises:
            BackendError: QEMU or the program failed, or fell silent.
        """
        entering = self.code.entering(values)
        write_bytes(self.folder / "in.bin", harness_input(self.code, entering))
        self.start()
        self._settings.advance(values.shape[1])
        answer = (self.folder / "out.bin").read_bytes()
        trace, ticks = self.code.trace(answer, entering, timed=True)
        return RunTrace(trace.output, trace.layers, instructions=instructions_of(self.board, ticks))

    def start(self, *options: str) -> None:
        """Run what is compiled on what lies in in.bin."""
        run_board(self.board, self.folder, *options, silence_s=self._settings.silence_s)


def run_board(board: Board, folder: Path, *options: str, silence_s: float = RunSettings().silence_s) -> None:
    """Run program.elf of a folder in QEMU, from in.bin to out.bin.

    Raises:
        BackendError: QEMU is missing, it or the program failed, or fell silent.
    """
    out = folder / "out.bin"
    out.unlink(missing_ok=True)
    command = [
        find_qemu(),
        *("-M", board.machine, "-nographic", "-monitor", "none", "-serial", "none"),
        *("-semihosting-config", "enable=on,target=native"),
        *("-icount", f"shift={board.insn_shift},sleep=off", *options, "-kernel", "program.elf"),
    ]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        _watch(process, out, silence_s)
        said = process.stdout.read().decode("utf-8", "replace") if process.stdout is not None else ""
    if process.returncode != 0:
        raise BackendError(
            f"the code ended with status {process.returncode} in QEMU: {printable(said.strip(), 400)}"
        )


def _watch(process: "subprocess.Popen[bytes]", out: Path, silence_s: float) -> None:
    """Wait for the end as long as what is written grows."""
    size, since, pause = -1, monotonic(), 0.01
    while process.poll() is None:
        sleep(pause)
        pause = min(0.2, 2 * pause)
        now = out.stat().st_size if out.exists() else 0
        if now != size:
            size, since = now, monotonic()
        elif monotonic() - since > silence_s:
            process.kill()
            raise BackendError(
                f"QEMU wrote nothing for {silence_s:g} s and was ended", hint="Give it longer: --timeout"
            )


def link_options(board: Board, folder: Path) -> tuple[str, ...]:
    """Of the compiler, to link for a board with the board.ld of a folder."""
    return (*board.options, *_LINK, f"-Wl,-T{folder / 'board.ld'}")


def instructions_of(board: Board, ticks: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Instructions from ticks of a board's clock."""
    counts: NDArray[np.int64] = np.rint(ticks * board.tick_ns / 2**board.insn_shift).astype(np.int64)
    return counts


def find_qemu() -> str:
    """QEMU for Arm.

    Raises:
        BackendError: there is none.
    """
    path = shutil.which("qemu-system-arm")
    if path is None:
        raise BackendError("there is no qemu-system-arm here", hint=ARM_HINT)
    return path

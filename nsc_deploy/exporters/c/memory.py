"""A map of the memory that a program takes: flash by layer, RAM by layer, stack.

Tables and state are known from the layout. Code and stack are what the cross compiler makes of it for a core:
sizes of functions as they are linked, and the deepest chain of calls with the frames that GCC states
(-fcallgraph-info=su). Without that compiler they are missing and the sums are lower bounds.
"""

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.c.code import HERE, SHARED, Code, Piece
from nsc_deploy.exporters.c.compilers import STANDARD, arm_compiler
from nsc_deploy.io.files import write_text
from nsc_deploy.io.scratch import scratch_folder
from nsc_deploy.io.text import printable

STACK = "stack"
"""What a piece of RAM is called that nobody keeps anything in."""


@dataclass(frozen=True)
class MemoryMap:
    """What a program takes on a core.

    Attributes:
        core: as GCC calls it.
        compiler: with its version; None where there was none, and code and stack are missing.
        flash: constants and code.
        ram: state and stack.
    """

    core: str
    compiler: str | None
    flash: tuple[Piece, ...]
    ram: tuple[Piece, ...]

    @property
    def flash_bytes(self) -> int:
        """All of it."""
        return sum(one.bytes for one in self.flash)

    @property
    def ram_bytes(self) -> int:
        """All of it."""
        return sum(one.bytes for one in self.ram)

    def lines(self) -> list[str]:
        """As a table for the terminal."""
        rows = [("flash", one) for one in self.flash] + [("RAM", one) for one in self.ram]
        width = max(len(one.layer) for _, one in rows)
        table = [f"{place:<6}{one.layer:<{width}}  {one.holds:<24}{one.bytes:>10,}" for place, one in rows]
        least = "" if self.compiler else "at least "
        total = f"{least}{self.flash_bytes:,} bytes of flash and {self.ram_bytes:,} of RAM on {self.core}"
        missing = "" if self.compiler else ": code and stack are not measured without arm-none-eabi-gcc"
        return [*table, total + missing]


def map_memory(code: Code, core: str) -> MemoryMap:
    """The memory of a program on a core.

    Args:
        code: the program.
        core: as GCC calls it, for example "cortex-m4".

    Raises:
        BackendError: the compiler is there and failed.
    """
    tables = [Piece(table.layer, table.holds, table.bytes) for table in code.tables]
    states = [one for one in code.state if one.bytes]
    try:
        compiler = arm_compiler()
    except BackendError:
        return MemoryMap(core, None, tuple(tables), tuple(states))
    with scratch_folder("map") as folder:
        functions, stack = _compiled(code, core, folder)
    return MemoryMap(core, compiler.version, (*tables, *functions), (*states, Piece(SHARED, STACK, stack)))


def _compiled(code: Code, core: str, folder: Path) -> tuple[list[Piece], int]:
    """Sizes of the functions by layer, and the deepest stack."""
    source = folder / f"{code.name}.c"
    write_text(folder / f"{code.name}.h", code.header(HERE))
    write_text(source, code.source(HERE))
    options = (f"-mcpu={core}", "-mthumb", *STANDARD, "-O2", "-fcallgraph-info=su", "-ffunction-sections")
    out = folder / "linked.elf"
    doors = [f"{code.name}_{name}" for name in ("reset", "step", "step_list", "receive", "decide")]
    link = [f"-Wl,-u,{name}" for name in doors] + ["-nostdlib", f"-Wl,-e,{code.name}_step"]
    arm_compiler().build([source], out, (*options, *link), folder, libraries=("-lgcc", *_NO_START))
    listed = _sizes(Path(arm_compiler().command[0]).with_name("arm-none-eabi-nm"), out)
    sizes: dict[str, int] = {}
    for line in listed.splitlines():
        parts = line.split()
        if len(parts) == 4 and parts[2] in "tT":
            layer = code.layer_of(parts[3])
            sizes[layer] = sizes.get(layer, 0) + int(parts[1], 16)
    graphs = sorted(folder.glob("*.ci"))
    stack = max((_deepest(path.read_text("utf-8", "replace")) for path in graphs), default=0)
    return [Piece(layer, "code", size) for layer, size in sizes.items()], stack


_NO_START = ("-Wl,--unresolved-symbols=ignore-all",)


def _sizes(tool: Path, file: Path) -> str:
    """The symbols of a linked file with their sizes."""
    done = subprocess.run([str(tool), "--print-size", str(file)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BackendError(f"failed: {printable(done.stderr.strip(), 200)}", where=tool)
    return done.stdout


_NODE = re.compile(r'node: \{ title: "([^"]*)" label: "[^"]*?(?:\\n(\d+) bytes \((\w+)[^"]*)?"')
_EDGE = re.compile(r'edge: \{ sourcename: "([^"]*)" targetname: "([^"]*)"')


def _deepest(text: str) -> int:
    """Bytes of stack of the deepest chain of calls in GCC's call graph; nothing calls itself."""
    frames = {name: int(size or 0) for name, size, _ in _NODE.findall(text)}
    calls: dict[str, set[str]] = {name: set() for name in frames}
    for caller, called in _EDGE.findall(text):
        calls.setdefault(caller, set()).add(called)
    depth: dict[str, int] = {}
    return max((_depth(name, frames, calls, depth) for name in frames), default=0)


def _depth(
    name: str, frames: Mapping[str, int], calls: Mapping[str, Iterable[str]], known: dict[str, int]
) -> int:
    if name not in known:
        below = [_depth(one, frames, calls, known) for one in calls.get(name, ())]
        known[name] = frames.get(name, 0) + max(below, default=0)
    return known[name]

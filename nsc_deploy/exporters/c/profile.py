"""Where the instructions of a sample go, function by function, and between which cycles they lie.

QEMU writes down every instruction of one sample (`-singlestep -d exec`); their addresses, looked up in the
disassembled program, are priced with the fewest and the most cycles that Arm has published for the core.
"""

import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.compilers import arm_compiler
from nsc_deploy.exporters.c.deployment import read_c_deployment
from nsc_deploy.exporters.c.layout import Layout
from nsc_deploy.exporters.c.qemu import QemuRunner
from nsc_deploy.exporters.c.runners import flat_events, harness_input
from nsc_deploy.exporters.inputs import choose_samples
from nsc_deploy.io.files import write_bytes

MOST_STEPS = 32
Bounds = tuple[int, int]


@dataclass(frozen=True)
class FunctionCost:
    """One function of the code.

    Attributes:
        function: its name.
        instructions: a step, on average.
    """

    function: str
    instructions: float


@dataclass(frozen=True)
class Profile:
    """One sample, instruction by instruction.

    Attributes:
        steps: how many of it.
        functions: the costliest first.
        cycles: the fewest and the most a step, on average; None where the core has no published timings.
        source: of the timings.
    """

    steps: int
    functions: tuple[FunctionCost, ...]
    cycles: tuple[float, float] | None
    source: str | None

    def lines(self) -> list[str]:
        """For the terminal."""
        rows = [f"  {one.function:<40}{one.instructions:>12,.0f}" for one in self.functions]
        head = f"{'instructions a step by function, of the first sample':<42}"
        if self.cycles is None:
            return [head, *rows, "no bounds in cycles: no timings are published for this core"]
        low, high = self.cycles
        return [head, *rows, f"bounds: {low:,.0f} to {high:,.0f} cycles a step without wait states"]

    def as_json(self) -> dict[str, Any]:
        """As a value `json` can write."""
        return {
            "steps": self.steps,
            "instructions_per_step": {one.function: one.instructions for one in self.functions},
            "cycles_per_step": None if self.cycles is None else list(self.cycles),
            "source": self.source,
        }


def profile_folder(
    folder: Path, *, cpu: str | None = None, inputs: Path | None = None, run_code: bool = False
) -> Profile:
    """Profile the first recorded sample of a folder of C code.

    Args:
        folder: the deployment.
        cpu: the core; a Cortex-M4 by default.
        inputs: a recording other than the one in the folder.
        run_code: whether code in the folder may run that is not what this tool writes.

    Raises:
        ConfigError: another core or no inputs.
        DataError: no such folder, or a damaged recording.
        BackendError: a tool is missing or failed.
    """
    found = read_c_deployment(folder)
    sample = choose_samples(found.opened(), inputs, 1)
    with ExitStack() as closing:
        settings = RunSettings(cpu=cpu, run_code=run_code, closing=closing)
        runner = QemuRunner(found.layout, found.source(settings), found.network, settings)
        return profile(runner, found.layout, sample.values)


def profile(runner: QemuRunner, layout: Layout, values: NDArray[Any]) -> Profile:
    """Run the first sample once more, with every instruction written down.

    Args:
        runner: the compiled code on its board.
        layout: what it computes.
        values: recorded inputs [steps, samples, *shape]; at most 32 steps are taken.

    Raises:
        BackendError: QEMU or objdump failed.
    """
    events = flat_events(values[:MOST_STEPS, :1])
    write_bytes(runner.folder / "in.bin", harness_input(events))
    log = runner.folder / "instructions.txt"
    runner.start("-singlestep", "-d", "exec,nochain", "-D", log.name)
    lines = log.read_text("utf-8", "replace").splitlines()
    trace = [(int(one[1], 16), one[2]) for one in map(_TRACE.match, lines) if one is not None]
    ours = _within_steps(trace, layout.name)
    counts = Counter(function for _, function in ours)
    steps = len(events)
    found = timings().get(runner.board.cpu)
    cycles = None
    if found is not None:
        low, high = _cycles(ours, disassembled(runner.folder / "program.elf"), found)
        cycles = (low / steps, high / steps)
    return Profile(
        steps=steps,
        functions=tuple(FunctionCost(name, count / steps) for name, count in counts.most_common()),
        cycles=cycles,
        source=None if found is None else found.source,
    )


_TRACE = re.compile(r"Trace \d+: \S+ \[\w+/(\w+)/\w+/\w+\] (\S+)")
_HARNESS = frozenset({"reset_handler", "semihost", "get", "put", "leave", "open_file", "fault"})


def _within_steps(trace: Iterable[tuple[int, str]], name: str) -> list[tuple[int, str]]:
    """The instructions of the network's steps; the harness, the reset and the decision are left out."""
    left_out = _HARNESS | {f"{name}_reset", f"{name}_decide"}
    return [one for one in trace if one[1] not in left_out]


@dataclass(frozen=True)
class Timings:
    """The fewest and the most cycles of each kind of instruction on a core (see timings.toml)."""

    source: str
    load: Bounds
    store: Bounds
    several_once: Bounds
    several: Bounds
    taken: Bounds
    multiply: Bounds
    accumulate: Bounds
    long: Bounds
    long_accumulate: Bounds
    divide: Bounds

    def of(self, text: str) -> Bounds:
        """Of an instruction that is not a taken branch."""
        mnemonic, _, operands = text.partition("\t")
        word = mnemonic.split(".", 1)[0]
        registers = _registers(operands) if word.startswith(_SEVERAL) else 0
        if word.startswith(("ldrd", "strd")):
            registers = 2
        if registers:
            once, each = self.several_once, self.several
            return once[0] + registers * each[0], once[1] + registers * each[1]
        for start, bounds in self._kinds:
            if word.startswith(start):
                return bounds
        return 1, 1

    @property
    def _kinds(self) -> tuple[tuple[tuple[str, ...], Bounds], ...]:
        """By the beginning of the mnemonic, the first that fits."""
        return (
            (("ldr",), self.load),
            (("str",), self.store),
            (("umlal", "smlal"), self.long_accumulate),
            (("umull", "smull"), self.long),
            (("mla", "mls"), self.accumulate),
            (("mul",), self.multiply),
            (("udiv", "sdiv"), self.divide),
        )


_SEVERAL = ("ldm", "stm", "push", "pop")


@cache
def timings() -> Mapping[str, Timings]:
    """What is published, by the core."""
    text = resources.files("nsc_deploy.exporters.c").joinpath("timings.toml").read_text("utf-8")
    return {cpu: Timings(**_tuples(fields)) for cpu, fields in tomllib.loads(text).items()}


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def disassembled(program: Path) -> dict[int, tuple[int, str]]:
    """Size and text of the instruction at each address.

    Raises:
        BackendError: objdump failed.
    """
    tool = Path(arm_compiler().command[0]).with_name("arm-none-eabi-objdump")
    done = subprocess.run([str(tool), "-d", str(program)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BackendError("cannot take the program apart", where=tool)
    found = {}
    for line in done.stdout.splitlines():
        match = _INSTRUCTION.match(line)
        if match is not None:
            found[int(match[1], 16)] = (2 * len(match[2].split()), match[3])
    return found


_INSTRUCTION = re.compile(r"\s*([0-9a-f]+):\t((?:[0-9a-f]{4} ?)+)\s*\t(.*)")


def _cycles(
    trace: Sequence[tuple[int, str]], program: Mapping[int, tuple[int, str]], found: Timings
) -> tuple[int, int]:
    """The fewest and the most cycles of a sequence; what does not go on behind itself was a taken branch."""
    low, high = 0, 0
    for (address, _), (following, _) in pairwise([*trace, (-1, "")]):
        size, text = program.get(address, (0, ""))
        least, most = found.of(text)
        if following not in {address + size, -1}:
            extra = found.taken[0] - 1, found.taken[1] - 1
            least, most = least + extra[0], most + extra[1]
        low, high = low + least, high + most
    return low, high


def _registers(operands: str) -> int:
    """How many registers a list in braces names; objdump writes each one."""
    listed = operands.partition("{")[2].partition("}")[0]
    return sum(_span(one.strip()) for one in listed.split(",") if one.strip())


def _span(text: str) -> int:
    first, _, last = text.partition("-")
    return int(last.strip("r")) - int(first.strip("r")) + 1 if last else 1

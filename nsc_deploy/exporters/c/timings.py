"""What instructions take on a core: the fewest and the most cycles that Arm has published."""

import re
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.c.compilers import arm_compiler

Bounds = tuple[int, int]


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
        """Of an instruction, as objdump writes it, that is not a taken branch."""
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
    def slowest(self) -> int:
        """The most cycles that any instruction takes."""
        several = self.several_once[1] + _REGISTERS * self.several[1]
        return self.taken[1] + max(several, *(bounds[1] for _, bounds in self._kinds))

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
_REGISTERS = 16


def published(core: str) -> Timings:
    """The timings of a core.

    Raises:
        BackendError: Arm has published none.
    """
    if core not in timings():
        raise BackendError(
            f"Arm has published no cycles of instructions for {core}",
            hint=f"There are some for {', '.join(timings())}; run --backend qemu counts on all.",
        )
    return timings()[core]


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


def _registers(operands: str) -> int:
    """How many registers a list in braces names; objdump writes each one."""
    listed = operands.partition("{")[2].partition("}")[0]
    return sum(_span(one.strip()) for one in listed.split(",") if one.strip())


def _span(text: str) -> int:
    first, _, last = text.partition("-")
    return int(last.strip("r")) - int(first.strip("r")) + 1 if last else 1

"""What QEMU executed, block by block: instructions by step and function, and between which cycles they lie.

QEMU writes down every block of instructions that it runs (`-d in_asm,exec,nochain`). A block goes on to the
one behind it or has ended in a taken branch; both are priced with the fewest and the most cycles that Arm has
published for the core (see `timings`). Wait states of memory are in neither bound.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.c.code import Code
from nsc_deploy.exporters.c.qemu import QemuRunner
from nsc_deploy.exporters.c.runners import harness_input
from nsc_deploy.exporters.c.timings import Timings, disassembled, published
from nsc_deploy.io.files import write_bytes

MOST_INSTRUCTIONS = 8_000_000
"""That are written down at a time: some 100 MB."""
Counts = NDArray[np.int64]
_LOG = "blocks.txt"


@dataclass(frozen=True)
class StepCycles:
    """What every step of recorded samples takes on a core.

    Attributes:
        low: [steps, samples], the fewest cycles.
        high: [steps, samples], the most, without wait states.
        functions: the share of `high` of each function, [steps, samples].
    """

    low: Counts
    high: Counts
    functions: dict[str, Counts]


@dataclass(frozen=True)
class Trace:
    """A run, block by block.

    Attributes:
        blocks: what was run, each once.
        order: numbers of blocks as they were run, [blocks run].
        step: to which step each of them belongs, counted over all samples; -1 for what is not of a step.
        taken: whether each of them ended in a taken branch.
    """

    blocks: tuple["Block", ...]
    order: NDArray[np.int32]
    step: NDArray[np.int32]
    taken: NDArray[np.bool_]

    def instructions(self) -> dict[str, int]:
        """Instructions of the steps by function."""
        runs = np.bincount(self.order[self.step >= 0], minlength=len(self.blocks))
        found: dict[str, int] = {}
        for block, times in zip(self.blocks, runs.tolist(), strict=True):
            if times:
                found[block.function] = found.get(block.function, 0) + times * len(block.addresses)
        return found

    def cycles(
        self, steps: int, program: dict[int, tuple[int, str]], prices: Timings
    ) -> tuple[Counts, Counts, dict[str, Counts]]:
        """The fewest and the most cycles of each step [steps], and the most by function."""
        bounds = np.array([block.cycles(program, prices) for block in self.blocks], np.int64).reshape(-1, 2)
        ours = self.step >= 0
        order, step, taken = self.order[ours], self.step[ours], self.taken[ours]
        least = bounds[order, 0] + taken * (prices.taken[0] - 1)
        most = bounds[order, 1] + taken * (prices.taken[1] - 1)
        names = sorted({block.function for block in self.blocks})
        of_block = np.array([names.index(block.function) for block in self.blocks])
        by_name = np.bincount(of_block[order] * steps + step, most, len(names) * steps).astype(np.int64)
        shares = dict(zip(names, by_name.reshape(len(names), steps), strict=True))
        low, high = (np.bincount(step, values, steps).astype(np.int64) for values in (least, most))
        return low, high, {name: share for name, share in shares.items() if share.any()}


@dataclass(frozen=True)
class Block:
    """Instructions that run one behind the other.

    Attributes:
        addresses: of each.
        end: the address behind the last.
        function: they belong to.
    """

    addresses: tuple[int, ...]
    end: int
    function: str

    def cycles(self, program: dict[int, tuple[int, str]], prices: Timings) -> tuple[int, int]:
        """The fewest and the most, where the last one is no taken branch."""
        each = [prices.of(program[address][1]) for address in self.addresses if address in program]
        return sum(low for low, _ in each), sum(high for _, high in each)


def count_cycles(runner: QemuRunner, values: NDArray[Any], instructions: Counts) -> StepCycles:
    """Run recorded samples once more, with every block written down.

    Args:
        runner: the compiled code on its board.
        values: recorded inputs [steps, samples, *shape].
        instructions: of each step [steps, samples], as they were counted.

    Raises:
        BackendError: no timings are published for the core, or QEMU or objdump failed.
    """
    prices = published(runner.board.cpu)
    entering = runner.code.entering(values)
    program = disassembled(runner.folder / "program.elf")
    steps = len(entering)
    found: list[tuple[Counts, Counts, dict[str, Counts]]] = []
    for some in _portions(instructions):
        trace = traced(runner, entering[:, some])
        found.append(trace.cycles(steps * (some.stop - some.start), program, prices))
    names = sorted({name for _, _, functions in found for name in functions})
    shares = {
        name: _joined([functions.get(name, np.zeros_like(high)) for _, high, functions in found], steps)
        for name in names
    }
    low, high = (
        _joined(list(ends), steps) for ends in zip(*((one[0], one[1]) for one in found), strict=True)
    )
    return StepCycles(low, high, shares)


def _joined(portions: Sequence[Counts], steps: int) -> Counts:
    """Counts of steps, sample after sample, as [steps, samples]."""
    return np.concatenate(portions).reshape(-1, steps).T


def _portions(instructions: Counts) -> Iterator[slice]:
    """Samples that are written down together."""
    start, total = 0, 0
    for sample, count in enumerate(instructions.sum(axis=0).tolist()):
        if sample > start and total + count > MOST_INSTRUCTIONS:
            yield slice(start, sample)
            start, total = sample, 0
        total += count
    yield slice(start, instructions.shape[1])


def traced(runner: QemuRunner, entering: NDArray[Any]) -> Trace:
    """Run what enters [steps, samples, numbers] with every block written down.

    Raises:
        BackendError: QEMU failed, or what it wrote is not what was run.
    """
    write_bytes(runner.folder / "in.bin", harness_input(runner.code, entering))
    runner.start("-d", "in_asm,exec,nochain", "-D", _LOG)
    blocks, order = _read(runner.folder / _LOG, disassembled(runner.folder / "program.elf"))
    step = _steps(blocks, order, runner.code)
    if step.max(initial=-1) + 1 != entering.shape[0] * entering.shape[1]:
        raise BackendError("QEMU has not written down every step", where=_LOG)
    first = np.array([block.addresses[0] for block in blocks])
    end = np.array([block.end for block in blocks])
    taken = np.ones(len(order), bool)
    taken[:-1] = first[order[1:]] != end[order[:-1]]
    return Trace(tuple(blocks), order, step, taken)


_RUN = re.compile(rb"Trace \d+: 0x[0-9a-f]+ \[\w+/([0-9a-f]+)/[^\]]*\] ?(\S*)")
_STOPPED, _IN, _ADDRESS = b"Stopped execution of TB chain", b"IN:", b"0x"
_HARNESS = frozenset({"reset_handler", "semihost", "get", "put", "leave", "open_file", "fault"})


def _read(file: Path, program: dict[int, tuple[int, str]]) -> tuple[list[Block], NDArray[np.int32]]:
    """The blocks of a log, and the order in which they ran.

    A block is listed when QEMU translates it, right before it runs; one that it stops at has not run.
    """
    numbers: dict[bytes, int] = {}
    blocks: list[Block] = []
    order: list[int] = []
    listed: list[int] = []
    last: dict[int, list[int]] = {}
    with file.open("rb") as lines:
        for line in lines:
            number = numbers.get(line)
            if number is not None:
                order.append(number)
            elif line.startswith(_IN):
                listed = []
            elif line.startswith(_ADDRESS):
                listed.append(int(line[2:10], 16))
                last[listed[0]] = listed
            elif line.startswith(_STOPPED):
                order.pop()
            elif (run := _RUN.match(line)) is not None:
                numbers[line] = len(blocks)
                order.append(len(blocks))
                blocks.append(_block(int(run[1], 16), run[2].decode(), last, program))
    return blocks, np.array(order, np.int32)


def _block(
    start: int, function: str, listed: dict[int, list[int]], program: dict[int, tuple[int, str]]
) -> Block:
    addresses = listed.get(start)
    if addresses is None:
        raise BackendError("QEMU runs what it has not listed", where=_LOG)
    size, _ = program.get(addresses[-1], (0, ""))
    return Block(tuple(addresses), addresses[-1] + size, function)


def _steps(blocks: Sequence[Block], order: NDArray[np.int32], code: Code) -> NDArray[np.int32]:
    """The step of each block that ran; -1 for the harness, the reset and the decision."""
    left_out = _HARNESS | {f"{code.name}_reset", f"{code.name}_decide"}
    ours = np.array([block.function not in left_out for block in blocks])[order]
    entry = min(block.addresses[0] for block in blocks if block.function == f"{code.name}_{code.entry}")
    begins = np.array([block.addresses[0] == entry for block in blocks])[order]
    step = np.cumsum(begins, dtype=np.int32) - 1
    return np.where(ours, step, -1).astype(np.int32)

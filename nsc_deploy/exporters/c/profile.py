"""Where the instructions of a sample go, function by function, and between which cycles they lie."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.deployment import read_c_deployment
from nsc_deploy.exporters.c.qemu import QemuRunner
from nsc_deploy.exporters.c.timings import disassembled, timings
from nsc_deploy.exporters.c.trace import traced
from nsc_deploy.exporters.inputs import choose_samples

MOST_STEPS = 32


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
        steps: how many of it, from the first one on.
        recorded: how many it has.
        functions: the costliest first.
        cycles: the fewest and the most a step, on average; None where the core has no published timings.
        source: of the timings.
    """

    steps: int
    recorded: int
    functions: tuple[FunctionCost, ...]
    cycles: tuple[float, float] | None
    source: str | None

    def lines(self) -> list[str]:
        """For the terminal."""
        rows = [f"  {one.function:<40}{one.instructions:>12,.0f}" for one in self.functions]
        first = (
            "" if self.steps == self.recorded else f"the first {self.steps} of {self.recorded:,} steps of "
        )
        head = f"instructions a step by function, of {first}the first sample"
        if self.cycles is None:
            return [head, *rows, "no bounds in cycles: no timings are published for this core"]
        low, high = self.cycles
        return [
            head,
            *rows,
            f"bounds of its mean step: {low:,.0f} to {high:,.0f} cycles a step without wait states",
        ]

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
        return profile(QemuRunner(found.code, found.source(settings), settings), sample.values)


def profile(runner: QemuRunner, values: NDArray[Any]) -> Profile:
    """Run the first sample once more, with every instruction written down.

    Args:
        runner: the compiled code on its board.
        values: recorded inputs [steps, samples, *shape]; at most 32 steps are taken, but of a sample that
            enters whole all that enters.

    Raises:
        BackendError: QEMU or objdump failed.
    """
    whole = runner.code.entering(values[:, :1])
    entering = whole[:MOST_STEPS]
    trace = traced(runner, entering)
    steps = len(entering)
    found = timings().get(runner.board.cpu)
    cycles = None
    if found is not None:
        low, high, _ = trace.cycles(steps, disassembled(runner.folder / "program.elf"), found)
        cycles = (float(low.mean()), float(high.mean()))
    counts = Counter(trace.instructions())
    return Profile(
        steps=steps,
        recorded=len(whole),
        functions=tuple(FunctionCost(name, count / steps) for name, count in counts.most_common()),
        cycles=cycles,
        source=None if found is None else found.source,
    )

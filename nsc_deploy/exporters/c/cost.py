"""What a step of C code costs: instructions as they were counted, and the time they take at a clock."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.c.qemu import find_board


@dataclass(frozen=True)
class Spread:
    """Mean, 95th percentile and worst of counts."""

    mean: float
    percentile_95: float
    worst: float

    @classmethod
    def of(cls, counts: NDArray[np.int64]) -> Self:
        """Of any number of counts."""
        return cls(float(counts.mean()), float(np.percentile(counts, 95)), float(counts.max()))


@dataclass(frozen=True)
class StepCost:
    """Instructions of recorded samples on a core.

    Attributes:
        cpu: the core.
        note: what is not as it seems with its board; None where all is.
        step: instructions a step.
        sample: instructions a sample.
        clock_mhz: clock of the core, or None.
        dt: length of a step in seconds, or None.
    """

    cpu: str
    note: str | None
    step: Spread
    sample: Spread
    clock_mhz: float | None = None
    dt: float | None = None

    @classmethod
    def of(
        cls,
        instructions: NDArray[np.int64],
        *,
        cpu: str | None = None,
        clock_mhz: float | None = None,
        dt: float | None = None,
    ) -> Self:
        """The cost of a run.

        Args:
            instructions: [steps, samples].
            cpu: the core they were counted on.
            clock_mhz: its clock.
            dt: length of a step in seconds.
        """
        board = find_board(cpu)
        sample = Spread.of(instructions.sum(axis=0))
        return cls(board.cpu, board.note, Spread.of(instructions), sample, clock_mhz, dt)

    @property
    def microseconds(self) -> float | None:
        """Of the worst step at one cycle an instruction; None without a clock."""
        return None if self.clock_mhz is None else self.step.worst / self.clock_mhz

    @property
    def share(self) -> float | None:
        """Of a step that the worst one takes so; None without a clock or a step."""
        if self.microseconds is None or self.dt is None:
            return None
        return self.microseconds / (self.dt * 1e6)

    def lines(self) -> list[str]:
        """For the terminal."""
        lines = [f"{'instructions':<20}{'mean':>12}{'95 %':>12}{'worst':>12}"]
        lines += [
            f"{name:<20}{one.mean:>12,.0f}{one.percentile_95:>12,.0f}{one.worst:>12,.0f}"
            for name, one in (("a step", self.step), ("a sample", self.sample))
        ]
        where = f"counted by QEMU on {self.cpu}, which knows no wait states"
        lines.append(where + (f"; {self.note}" if self.note else ""))
        if self.microseconds is not None:
            share = "" if self.share is None else f", {self.share:.2%} of a step of {self.dt:g} s"
            lines.append(
                f"worst step at {self.clock_mhz:g} MHz: {self.microseconds:,.1f} microseconds at one cycle "
                f"an instruction{share}"
            )
        return lines

    def as_json(self) -> dict[str, Any]:
        """As a value `json` can write."""
        return {
            "cpu": self.cpu,
            "note": self.note,
            "instructions_per_step": vars(self.step),
            "instructions_per_sample": vars(self.sample),
            "clock_mhz": self.clock_mhz,
            "worst_step_microseconds": self.microseconds,
            "worst_step_share": self.share,
        }

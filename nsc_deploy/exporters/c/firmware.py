"""A graph as firmware of a microcontroller: its memory there, and what recorded samples take."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.code import HERE, Code
from nsc_deploy.exporters.c.controllers import Controller
from nsc_deploy.exporters.c.memory import MemoryMap
from nsc_deploy.exporters.c.qemu import QemuRunner
from nsc_deploy.exporters.c.timings import published
from nsc_deploy.exporters.c.trace import Counts, StepCycles, count_cycles

_MEGAHERTZ = 1e6


@dataclass(frozen=True, eq=False)
class Firmware:
    """A graph in C on a core.

    Attributes:
        code: the integers, as they are written.
        memory: flash and RAM on its core.
        controller: the part it is for; None where only the core is known, and no clock.
    """

    code: Code
    memory: MemoryMap
    controller: Controller | None = None


@dataclass(frozen=True, eq=False)
class FirmwareRun:
    """Recorded samples on a firmware; QEMU runs them at the first look.

    Attributes:
        firmware: what runs.
        values: recorded inputs [steps, samples, *shape].
    """

    firmware: Firmware
    values: NDArray[Any]

    @cached_property
    def instructions(self) -> Counts:
        """Of each step, [steps, samples].

        Raises:
            BackendError: a tool is missing or failed.
        """
        with ExitStack() as closing:
            return _instructions(self._runner(closing), self.values)

    @cached_property
    def cycles(self) -> StepCycles:
        """Between which cycles each step lies.

        Raises:
            BackendError: a tool is missing or failed, or no timings are published for the core.
        """
        published(self.firmware.memory.core)
        with ExitStack() as closing:
            runner = self._runner(closing)
            return count_cycles(runner, self.values, _instructions(runner, self.values))

    @cached_property
    def layers(self) -> dict[str, Counts]:
        """The most cycles by node, [steps, samples]; "all layers" for what serves all."""
        shares: dict[str, Counts] = {}
        for function, cycles in self.cycles.functions.items():
            name = self.firmware.code.layer_of(function)
            shares[name] = shares.get(name, 0) + cycles
        return shares

    def first(self, samples: int) -> "FirmwareRun":
        """The same on the first so many samples."""
        whole = samples == self.values.shape[1]
        return self if whole else FirmwareRun(self.firmware, self.values[:, :samples])

    def seconds(self, dt: float) -> NDArray[np.float64]:
        """How long each step takes, [steps, samples]: as long as in the recording, or as the core needs.

        Raises:
            BackendError: a tool is missing or failed, or no timings or no clock are known.
        """
        clock = self.clock_hz
        # Where no step could last longer even if all of its instructions were the slowest, none is priced.
        slowest = published(self.firmware.memory.core).slowest
        if (self.instructions * slowest <= dt * clock).all():
            return np.full(self.instructions.shape, dt)
        return np.maximum(dt, self.cycles.high / clock)

    @property
    def clock_hz(self) -> float:
        """The fastest clock of the microcontroller.

        Raises:
            BackendError: none was named.
        """
        if self.firmware.controller is None:
            raise BackendError(
                "no microcontroller is named, and so no clock", hint="Name one: --target c:stm32l432"
            )
        return self.firmware.controller.clock_mhz * _MEGAHERTZ

    def _runner(self, closing: ExitStack) -> QemuRunner:
        firmware = self.firmware
        settings = RunSettings(layers=False, cpu=firmware.memory.core, closing=closing)
        return QemuRunner(firmware.code, firmware.code.source(HERE), settings)


def _instructions(runner: QemuRunner, values: NDArray[Any]) -> Counts:
    counts = runner.run(values).instructions
    if counts is None:
        raise BackendError("QEMU has counted no instructions")
    return counts

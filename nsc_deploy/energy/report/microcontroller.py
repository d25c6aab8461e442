"""What parts take on a microcontroller: bytes, cycles of a step, and energy.

Energy lies between bounds, those of the cycles of each step: a step takes its cycles at the current of the
core at work, and what is left of it at the current at rest. Wait states of memory are in neither bound.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.pricing.price import MICROJOULE
from nsc_deploy.energy.pricing.profile import Core, Profile, core_profile, load_profiles
from nsc_deploy.energy.report.quantity import Answer, Measured, Unanswered, Values, added
from nsc_deploy.errors import BackendError

if TYPE_CHECKING:
    from nsc_deploy.deployment import Side
    from nsc_deploy.energy.counting.operations import PartCount
    from nsc_deploy.exporters.c.code import Piece
    from nsc_deploy.exporters.c.firmware import FirmwareRun
    from nsc_deploy.exporters.c.memory import MemoryMap

MOST_INSTRUCTIONS = 16_000_000
"""Of which a report writes down the cycles: those of the first samples, at least of one."""
AT_REST = "at rest"
_MEGAHERTZ = 1e6


def pieces(
    parts: "Sequence[tuple[PartCount, FirmwareRun]]", of: "Callable[[MemoryMap], tuple[Piece, ...]]"
) -> tuple[tuple[tuple[str, str, Values], ...], str]:
    """Bytes of C code by part and layer, and what makes them a lower bound.

    Args:
        parts: with their runs.
        of: which bytes of the map of memory.
    """
    layers: dict[tuple[str, str], Values] = {}
    bound = ""
    for part, run in parts:
        memory = run.firmware.memory
        if memory.compiler is None:
            bound = "code and stack are not measured: there is no arm-none-eabi-gcc here"
        for piece in of(memory):
            key = part.name, piece.layer
            layers[key] = layers.get(key, np.zeros(1)) + piece.bytes
    return tuple((*key, size) for key, size in layers.items()), bound


def costliest_step(
    parts: "Sequence[tuple[PartCount, FirmwareRun]]",
    cycles_in_unit: "Callable[[FirmwareRun], float]",
    longest: int,
) -> Answer:
    """The step of each sample that takes the most, in all parts together.

    Args:
        parts: with their runs.
        cycles_in_unit: of the unit that is answered in.
        longest: steps of the longest part.
    """
    courses = []
    try:
        for part, run in parts:
            unit = cycles_in_unit(run)
            courses += [
                (part.name, layer, np.pad(cycles / unit, ((0, longest - len(cycles)), (0, 0))))
                for layer, cycles in run.layers.items()
            ]
    except BackendError as error:
        return Unanswered(error.problem, error.hint or "")
    total = added(courses)
    steps, samples = total.argmax(axis=0), np.arange(total.shape[1])
    shares = tuple((part, layer, course[steps, samples]) for part, layer, course in courses)
    return Measured(total[steps, samples], shares, steps=steps)


@dataclass(frozen=True)
class CoreEnergy:
    """Bounds of the energy of samples, in uJ.

    Attributes:
        low: with the fewest cycles, [samples].
        high: with the most, [samples].
        layers: part, layer and its share of `high`; "at rest" for what is left of the steps.
    """

    low: Values
    high: Values
    layers: tuple[tuple[str, str, Values], ...]


def core_energy(
    parts: "Sequence[tuple[PartCount, FirmwareRun]]", core: Core, samples: int | None = None
) -> CoreEnergy:
    """Bounds of what recorded samples take; several parts share no step, each has a core of its own.

    Args:
        parts: with their runs, all of the same samples.
        core: its currents.
        samples: only so many of them, the first ones.

    Raises:
        BackendError: a tool is missing or failed, or no timings are published for the core.
    """
    lows: list[Values] = []
    layers: list[tuple[str, str, Values]] = []
    for part, whole in parts:
        run = whole if samples is None else whole.first(samples)
        rest_low, rest_high = (_rest(one, part.dt, core) for one in (run.cycles.high, run.cycles.low))
        lows.append(run.cycles.low.sum(axis=0) * core.cycle_picojoules * MICROJOULE + rest_high)
        shares = {
            name: cycles.sum(axis=0) * core.cycle_picojoules * MICROJOULE
            for name, cycles in run.layers.items()
        }
        layers += [(part.name, name, share) for name, share in (shares | {AT_REST: rest_low}).items()]
    return CoreEnergy(np.sum(lows, axis=0), added(layers), tuple(layers))


def _rest(cycles: NDArray[np.int64], dt: float, core: Core) -> Values:
    """Energy between the steps of each sample, in uJ [samples].

    Args:
        cycles: of each step, [steps, samples].
        dt: length of a step in seconds.
        core: its currents.
    """
    left: Values = np.maximum(dt - cycles / (core.clock_mhz * _MEGAHERTZ), 0.0).sum(axis=0)
    return left * core.rest_watts / MICROJOULE


def affordable(parts: "Sequence[tuple[PartCount, FirmwareRun]]", most: int | None) -> int | None:
    """How many of the first samples take at most so many instructions in each part; None for all of them.

    Raises:
        BackendError: a tool is missing or failed.
    """
    if most is None:
        return None
    each = [np.cumsum(run.instructions.sum(axis=0)) for _, run in parts]
    count = min(max(1, int((total <= most).sum())) for total in each)
    return None if count == len(each[0]) else count


def measure_energy(
    target: str, parts: "Sequence[tuple[PartCount, FirmwareRun]]", given: Profile, most: int | None
) -> Measured | Unanswered:
    """Bounds of what samples take on a microcontroller; why they are not known.

    Args:
        target: its name, as "c:nrf52840".
        parts: with their runs on it.
        given: prices of the report, which may have the currents.
        most: instructions of a part that are written down: those of the first samples; None for all.
    """
    profile = core_profile(target, given)
    if profile is None or profile.core is None:
        known = ", ".join(one.chip or "" for one in load_profiles() if one.core is not None)
        return Unanswered(
            f"what {target} draws is not known: no data sheet of it could be read with current, voltage and "
            "mode",
            f"There are currents of {known}; a profile of your own may have [core] and chip = '{target}'",
        )
    try:
        samples = affordable(parts, most)
        found = core_energy(parts, profile.core, samples)
    except BackendError as error:
        return Unanswered(error.problem, error.hint or "")
    basis = (
        f"bounds on {target}, from the fewest to the most cycles without wait states, {profile.core.words}; "
        f"{profile.name}, {profile.basis}"
    )
    return Measured(found.high, found.layers, low=found.low, basis=basis)


def too_large(parts: "Sequence[tuple[PartCount, FirmwareRun]]") -> tuple[str, ...]:
    """What the parts at one end of the link need together, where their microcontroller has less.

    They run one after the other: each keeps its state, and the deepest stack serves all.
    """
    from nsc_deploy.exporters.c.memory import STACK

    ends: dict[Side | None, list[tuple[str, FirmwareRun]]] = {}
    for part, run in parts:
        ends.setdefault(part.side, []).append((part.name, run))
    problems = []
    for several in ends.values():
        controller = several[0][1].firmware.controller
        if controller is None:
            continue
        maps = [run.firmware.memory for _, run in several]
        stacks = [sum(one.bytes for one in memory.ram if one.holds == STACK) for memory in maps]
        lacking = controller.lacks(
            sum(memory.flash_bytes for memory in maps),
            sum(memory.ram_bytes for memory in maps) - sum(stacks) + max(stacks),
        )
        names = ", ".join(name for name, _ in several)
        need = "together need" if len(several) > 1 else "needs"
        problems += [
            f"{names} {need} {one.used:,} bytes of {one.memory}, and {controller.target} has {one.there:,}"
            for one in lacking
        ]
    return tuple(problems)

"""What a system takes of each quantity, sample by sample: what budgets limit and what a report says first.

A quantity that the profile or the target cannot tell is `Unanswered`, with the reason and the way out, and
never 0. One that lacks a part is a lower bound.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nsc_deploy.energy.counting.on_chip import PlacedPart
from nsc_deploy.energy.counting.operations import LayerCount, PartCount, Store
from nsc_deploy.energy.pricing.price import MICROJOULE, Accounting, PriceBook, price_layer
from nsc_deploy.energy.report.microcontroller import (
    costliest_step,
    measure_energy,
    pieces,
    too_large,
)
from nsc_deploy.energy.report.quantity import Answer, Measured, Quantity, Unanswered, Values, added
from nsc_deploy.energy.systems import CountedSystem
from nsc_deploy.errors import BackendError

if TYPE_CHECKING:
    from nsc_deploy.exporters.c.code import Piece
    from nsc_deploy.exporters.c.firmware import FirmwareRun
    from nsc_deploy.exporters.c.memory import MemoryMap

_MILLISECONDS, _MICROSECOND, _NANOSECOND = 1e3, 1e-6, 1e-9


@dataclass(frozen=True)
class Meter:
    """Measures some parts of a system.

    Attributes:
        system: counted.
        parts: the numbers of those that are measured.
        prices: of the operations.
        accounting: of the energy.
        most: instructions that are written down for the energy of a microcontroller; None for all.
    """

    system: CountedSystem
    parts: tuple[int, ...]
    prices: PriceBook
    accounting: Accounting
    most: int | None = None

    def measure(self, quantity: Quantity) -> Answer:
        """One quantity of the parts together."""
        rules: dict[Quantity, Callable[[], Answer]] = {
            Quantity.SYNOPS_PER_INFERENCE: lambda: self._of_layers(
                lambda _, layer: layer.per_sample.synaptic.astype(float)
            ),
            Quantity.SYNOPS_PER_STEP: self._busiest_step,
            Quantity.SYNOPS_PER_SECOND: self._rate,
            Quantity.ENERGY: self._energy,
            Quantity.SPIKES: lambda: self._told(
                "spikes", lambda _, layer: layer.per_sample.spikes.astype(float)
            ),
            Quantity.NEURONS: lambda: self._told(
                "neurons", lambda _, layer: np.array([float(layer.neurons)])
            ),
            Quantity.MEMORY: self._memory,
            Quantity.LATENCY_STEPS: self._latency_steps,
            Quantity.LATENCY_MS: self._latency_ms,
            Quantity.CORES: self._cores,
            Quantity.FLASH: lambda: self._bytes(lambda memory: memory.flash),
            Quantity.RAM: lambda: self._bytes(lambda memory: memory.ram),
            Quantity.CYCLES: self._cycles,
            Quantity.MICROSECONDS: self._microseconds,
            Quantity.ACCURACY: self._accuracy,
            Quantity.FITS: self._fits,
        }
        return rules[quantity]()

    @property
    def counts(self) -> list[PartCount]:
        """The parts that are measured."""
        return [self.system.parts[index] for index in self.parts]

    @property
    def placed(self) -> list[tuple[PartCount, PlacedPart]]:
        """Those of them that are on the target."""
        every = self.system.placed or (None,) * len(self.system.parts)
        both = ((self.system.parts[index], every[index]) for index in self.parts)
        return [(part, placed) for part, placed in both if placed is not None]

    @property
    def _elsewhere(self) -> list[PartCount]:
        """Those of them that are not: they run on a host."""
        if self.system.exported is not None:
            return []
        there = {name for part, one in self.placed for name in (part.name, one.along)}
        return [part for part in self.counts if part.name not in there]

    def _of_layers(
        self,
        measure: Callable[[PartCount, LayerCount], Values],
        bound: str = "",
        parts: Sequence[PartCount] | None = None,
    ) -> Measured:
        layers = tuple(
            (part.name, layer.name, measure(part, layer))
            for part in (self.counts if parts is None else parts)
            for layer in part.layers
        )
        return Measured(added(layers), layers, bound=bound)

    def _rate(self) -> Answer:
        """Synaptic operations a second while a sample lasts: as long as the longest of its parts."""
        seconds = max(part.seconds for part in self.counts)
        return self._of_layers(lambda _, layer: layer.per_sample.synaptic / seconds)

    def _told(self, field: str, measure: Callable[[PartCount, LayerCount], Values]) -> Answer:
        """What an ONNX graph may not tell: then the other parts have at least as much."""
        untold = [part.name for part in self.counts if field in part.unknown]
        why = f"ONNX graphs ({', '.join(untold)}) do not tell their {field}"
        if len(untold) == len(self.counts):
            return Unanswered(why, "Limit synops, or count the NIR graph")
        return self._of_layers(measure, bound=why if untold else "")

    def _busiest_step(self) -> Answer:
        """The step of each sample in which most synaptic operations happen, in all parts together."""
        counts = self.counts
        without = [part.name for part in counts if part.synops is None]
        if without:
            return Unanswered(
                f"steps of {', '.join(without)} cannot be told apart: an operator takes several at once"
            )
        # All parts start with the first step; one with a pipeline behind it goes on for longer.
        longest = max(part.steps for part in counts)
        courses = [
            (part.name, layer.name, np.pad(layer.synops, ((0, longest - part.steps), (0, 0))))
            for part in counts
            for layer in part.layers
            if layer.synops is not None
        ]
        total = np.sum([np.zeros((longest, self.system.samples)), *(one for _, _, one in courses)], axis=0)
        steps = total.argmax(axis=0)
        samples = np.arange(self.system.samples)
        shares = tuple((part, layer, course[steps, samples].astype(float)) for part, layer, course in courses)
        return Measured(total[steps, samples].astype(float), shares, steps=steps)

    def _energy(self) -> Answer:
        target = self._microcontroller
        return self._of_operations(self.counts) if target is None else self._of_core(target)

    @property
    def _microcontroller(self) -> str | None:
        """The target, where it is a microcontroller that parts are on."""
        named = self.system.target or ""
        there = self.placed or self.system.exported is not None
        return named if named.startswith("c:") and there else None

    def _of_core(self, target: str) -> Answer:
        """Energy of the cycles of a microcontroller, and of what it takes at rest: bounds."""
        found = self._codeless() or measure_energy(target, self.firmware, self.prices.profile, self.most)
        if isinstance(found, Unanswered):
            return found
        others = self._elsewhere
        names = ", ".join(part.name for part in others)
        if not others:
            return found
        if self.prices.host is None or found.low is None:
            return replace(found, bound=f"{names}: on a host, and --host-profile names no prices of one")
        host, some = self._of_operations(others), slice(len(found.values))
        return Measured(
            found.values + host.values[some],
            (*found.layers, *((part, layer, values[some]) for part, layer, values in host.layers)),
            bound=host.bound,
            not_published=host.not_published,
            low=found.low + host.values[some],
            basis=f"{found.basis}; {names} on a host: {self.prices.host.name}",
        )

    def _of_operations(self, parts: Sequence[PartCount]) -> Measured:
        """Energy of the operations at their prices."""
        unpriced: dict[str, None] = {}

        def energy(part: PartCount, layer: LayerCount) -> Values:
            profile = self.prices.of(part)
            priced = price_layer(layer, profile, self.accounting, spiking=self.system.spiking)
            for kind in priced.unpriced:
                lacking = f"profile {profile.name} has no price for {kind} of {part.name}/{layer.name}"
                unpriced[f"{lacking}: {profile.why_without(kind)}"] = None
            return priced.total * MICROJOULE

        found = self._of_layers(energy, parts=parts)
        bound = next(iter(unpriced), "")
        return Measured(found.values, found.layers, bound=bound, not_published=bool(bound))

    def _memory(self) -> Answer:
        """Bytes: of C code its flash and RAM; else of what is kept, as wide as the profile says.

        Of a profile without widths it is what the target counts.
        """
        firmware = {part.name for part, _ in self.firmware} | {one.along for _, one in self.placed}
        others = [part for part in self.counts if part.name not in firmware]
        wordless = [part for part in others if self.prices.of(part).operand_bits is None]
        if not wordless:
            every = self.firmware
            code, bound = pieces(every, lambda memory: (*memory.flash, *memory.ram)) if every else ((), "")
            stored = (
                (part.name, layer.name, self._stored(part, layer)) for part in others for layer in part.layers
            )
            layers = (*code, *stored)
            return Measured(added(layers), layers, bound=bound)
        on_target = {id(part): placed.bytes for part, placed in self.placed}
        known = [on_target.get(id(part)) for part in self.counts]
        if all(size is not None for size in known):
            return Measured(np.array([float(sum(size for size in known if size is not None))]))
        profile = self.prices.of(wordless[0])
        return Unanswered(
            f"profile {profile.name} does not say how wide a value is, so bytes cannot be counted",
            "Give it operand_bits, name a profile that has them, or a target that counts bytes",
        )

    def _stored(self, part: PartCount, layer: LayerCount) -> Values:
        """Bytes of what a layer keeps, each value as wide as the profile says."""
        values = sum(layer.footprint.of(store) for store in Store)
        return np.array([float(-(-values * (self.prices.of(part).operand_bits or 0) // 8))])

    def _latency_steps(self) -> Answer:
        """Steps from the first input to the last output, those of the target's pipeline included."""
        late = self._late()
        if isinstance(late, Unanswered):
            return late
        steps = max(part.steps + late.get(part.name, 0) for part in self.counts)
        return Measured(np.array([float(steps)]))

    def _latency_ms(self) -> Answer:
        """The same in milliseconds: a step takes as long as in the recording, or as the target needs."""
        late = self._late()
        if isinstance(late, Unanswered):
            return late
        longest, bound = np.zeros(self.system.samples), ""
        activities = {part.name: placed.activity for part, placed in self.placed}
        # Without a microcontroller there is no clock that could be too slow.
        runs = {part.name: run for part, run in self.firmware if run.firmware.controller is not None}
        for part in self.counts:
            activity, run = activities.get(part.name), runs.get(part.name)
            times = None if activity is None else activity.times
            took = np.full(self.system.samples, (part.steps + late.get(part.name, 0)) * part.dt)
            if times is not None:
                took = np.maximum(part.dt, times.high * _NANOSECOND).sum(axis=0)
            elif run is not None:
                try:
                    steps = run.seconds(part.dt)
                    # Where a sample enters whole its last step is the only one, and the others come first.
                    took = steps.sum(axis=0) + (part.steps - len(steps)) * part.dt
                except BackendError as error:
                    bound = f"how long a step of {part.name} takes cannot be told: {error.problem}"
            longest = np.maximum(longest, took)
        return Measured(longest * _MILLISECONDS, bound=bound)

    def _late(self) -> dict[str, int] | Unanswered:
        """By part, the steps that the pipeline of its target adds."""
        late = {}
        for part, placed in self.placed:
            found, name = placed.found, placed.target.name
            if placed.activity is not None:
                late[part.name] = placed.activity.late
            elif found.placement is not None:
                late[part.name] = max(found.placement.latency.values(), default=0)
            elif not found.fits:
                return Unanswered(
                    f"{part.name} does not fit {name}, so the steps of its pipeline are not known"
                )
            elif found.pipeline_steps is not None:
                late[part.name] = found.pipeline_steps
            elif not found.keeps_weights:
                return Unanswered(
                    f"what {name} adds to the steps of {part.name} shows when it is exported",
                    f"Export it (export --target {name}) and name the folder",
                )
        return late

    def _cores(self) -> Answer:
        if self.system.exported is not None:
            return Unanswered(
                f"an export to {self.system.target} says nothing of cores",
                "Place the graph it was made from on a chip: --target loihi1",
            )
        counts = []
        for part, placed in self.placed:
            if placed.found.placement is None:
                reason = "does not fit" if not placed.found.fits else "is placed on no cores of"
                return Unanswered(f"{part.name} {reason} {placed.target.name}")
            counts.append(len(placed.found.placement.cores))
        return Measured(np.array([float(sum(counts))])) if counts else self._placeless()

    @property
    def firmware(self) -> list[tuple[PartCount, "FirmwareRun"]]:
        """The parts that are code of a microcontroller, on the recorded samples."""
        if self.system.firmware is not None:
            return [(self.counts[0], self.system.firmware)]
        return [(part, placed.run) for part, placed in self.placed if placed.run is not None]

    def _codeless(self) -> Unanswered | None:
        """Why parts are no code of a microcontroller; None where all that are on the target are."""
        if self.system.exported is not None:
            if self.firmware:
                return None
            return Unanswered(
                f"an export to {self.system.target} is for no microcontroller", _MICROCONTROLLER
            )
        if not self.placed:
            return self._placeless()
        for part, placed in self.placed:
            if placed.run is None and placed.found.refused:
                return Unanswered(f"{part.name} does not fit {placed.target.name}: {placed.refusal}")
            if placed.run is None:
                return Unanswered(f"{placed.target.name} is no microcontroller", _MICROCONTROLLER)
        return None

    def _bytes(self, pieces_of: "Callable[[MemoryMap], tuple[Piece, ...]]") -> Answer:
        """Flash or RAM of the microcontroller, by layer."""
        missing = self._codeless()
        if missing is not None:
            return missing
        listed, bound = pieces(self.firmware, pieces_of)
        return Measured(added(listed), listed, bound=bound)

    def _cycles(self) -> Answer:
        """The most cycles of the costliest step of each sample, without wait states of memory."""
        return self._of_steps(lambda run: 1.0)

    def _microseconds(self) -> Answer:
        """The same at the clock of the microcontroller."""
        return self._of_steps(lambda run: run.clock_hz * _MICROSECOND)

    def _of_steps(self, cycles_in_unit: "Callable[[FirmwareRun], float]") -> Answer:
        missing = self._codeless()
        if missing is not None:
            return missing
        return costliest_step(self.firmware, cycles_in_unit, max(part.steps for part in self.counts))

    def _accuracy(self) -> Answer:
        labelled, classes = self.system.labelled, self.system.classes
        if self.system.accuracy is not None:
            return Measured(np.array([self.system.accuracy]))
        if classes is None:
            return Unanswered(
                "no outputs vote for classes: potentials leave, or values, or spikes that have places",
                "The run that it comes from knows its accuracy",
            )
        if labelled is None:
            return Unanswered(
                "no decisions could be held against labels",
                "Record labels, and name the number of classes (--classes) where the graph does not",
            )
        return Unanswered(
            f"there are labels up to {labelled - 1}, and nothing says between how many classes the graph "
            "decides",
            f"Say it: --classes {classes}",
        )

    def _placeless(self) -> Unanswered:
        """Why nothing is placed: no target is named, or nothing is for one."""
        return _NO_TARGET if self.system.target is None else _ON_HOST

    def _fits(self) -> Answer:
        placed = self.placed
        # What a folder holds has been taken by its target, but for the memory of a microcontroller.
        if self.system.exported is None and not placed:
            return self._placeless()
        problems = tuple(
            f"{part.name} does not fit {one.target.name}: {problem}"
            for part, one in placed
            for problem in one.problems
        )
        fitting = [part.name for part, one in placed if not one.problems]
        if problems and fitting:
            problems += (f"{', '.join(fitting)}: {'fits' if len(fitting) == 1 else 'fit'}",)
        problems = problems or too_large(self.firmware)
        left_out = tuple(part.name for part in self._elsewhere)
        if problems:
            return Measured(np.zeros(1), problems=problems, left_out=left_out)
        unknown = (_open(part, one) for part, one in placed if one.found.not_published)
        return next(unknown, Measured(np.ones(1), left_out=left_out))


_ON_HOST = Unanswered("all parts run on a host", "Hold those to a limit on energy or latency")
_NO_TARGET = Unanswered(
    "no part is on a target", "Name one: --target, target in the budget, or a profile of a chip"
)


_MICROCONTROLLER = "Name one: --target c:stm32l432 (docs/microcontrollers.md lists them)"


def _open(part: PartCount, placed: PlacedPart) -> Unanswered:
    """The first node of which nothing says whether the target takes it."""
    first = placed.found.not_published[0]
    why = f"not published of {placed.target.name}: {part.name}, node '{first.node}' {first.reason}"
    return Unanswered(why, first.hint, not_published=True)

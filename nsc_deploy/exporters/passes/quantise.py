"""Pass: levels of populations become the integers Lava computes with.

Every population gets one scale: weights, threshold and bias are multiplied by it and rounded. Where inputs
were recorded, the scale is the one of a few candidates whose spikes disagree least with the reference, layer
by layer, each on what the integer layers before it really deliver; otherwise the one with the
smallest rounding error. Every layer gets one weight exponent, as large as its sums allow: weights stay at
their 8 bits, but thresholds, biases and potentials are finer by that many bits, at no cost on the chip.

Requires: leaks that are zero or at least 1/8192 of the state a step.
Promises: integers within Lava's ranges, and no synaptic current that can wrap around.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError, ExportError
from nsc_deploy.exporters.lava.arithmetic import run_layer
from nsc_deploy.exporters.lava.integer import DECAY_UNITY, IntegerLayer, IntegerNetwork, validate
from nsc_deploy.exporters.passes.base import Lowered, Note
from nsc_deploy.exporters.passes.headroom import can_wrap, largest_scale
from nsc_deploy.exporters.passes.levelise import Levels, Slot
from nsc_deploy.exporters.passes.populations import Population, Reals
from nsc_deploy.exporters.passes.quantise_notes import notes_on
from nsc_deploy.exporters.passes.rows import Rows, neuron_rows, relay_rows, side_by_side, stacked
from nsc_deploy.exporters.passes.scales import best, candidates, round_to

FINEST_WEIGHT_EXP = 4

Spikes = NDArray[np.uint8]


@dataclass(frozen=True)
class Calibration:
    """What was recorded for choosing scales.

    Attributes:
        events: [steps, samples, inputs].
        reference: spikes of each population in the reference simulator, [steps, samples, size].
    """

    events: Spikes
    reference: Mapping[str, Spikes]


class Quantise:
    """The pass.

    Args:
        bits: bits of a weight, its sign included, 2..8.
        calibration: recorded inputs, or None.
    """

    name = "quantise"

    def __init__(self, bits: int = 8, calibration: Calibration | None = None) -> None:
        self.limit = 2 ** (bits - 1) - 1
        self.calibration = calibration

    def requires(self, levels: Levels, /) -> None:
        """A leak may not vanish in rounding."""
        for population in levels.graph.populations:
            for leak in (population.leak_v, population.leak_u):
                if leak is not None and ((leak > 0) & (np.rint(leak * DECAY_UNITY) == 0)).any():
                    raise ExportError(
                        f"leaks {leak[leak > 0].min():.1e} of its state a step, which rounds to no leak",
                        where=f"node '{population.name}'",
                        remedy="Use an IF neuron, or a longer time step.",
                    )

    def apply(self, levels: Levels, /) -> Lowered[IntegerNetwork]:
        """Round layer after layer, front to back."""
        layers: list[IntegerLayer] = []
        notes: list[Note] = []
        before = levels.entrance
        delivered = None if self.calibration is None else self.calibration.events
        for slots in levels.layers:
            layer, made = self._layer(slots, before, delivered)
            layers.append(layer)
            notes.extend(made)
            before = slots
            delivered = None if delivered is None else run_layer(layer, delivered).spikes
        return Lowered(IntegerNetwork(tuple(layers), levels.graph.dt), tuple(notes))

    def broken_promise(self, network: object, /) -> str | None:
        """A number out of range, or a current that can wrap."""
        if not isinstance(network, IntegerNetwork):
            return "no integer network"
        try:
            validate(network)
        except DataError as error:
            return error.message
        wrapping = [index for index, layer in enumerate(network.layers) if can_wrap(layer)]
        return f"a synaptic current of layer {wrapping[0]} can leave its 24 bits" if wrapping else None

    def _layer(
        self, slots: tuple[Slot, ...], before: tuple[Slot, ...], delivered: Spikes | None
    ) -> tuple[IntegerLayer, list[Note]]:
        exponent = self._weight_exp(slots, before)
        rows: list[Rows] = []
        notes: list[Note] = []
        for slot in slots:
            start = sum(one.group.size for one in rows)
            if slot.population is None:
                rows.append(relay_rows(slot, before, start, exponent))
            else:
                weights = side_by_side(slot.population, before)
                chosen, made = self._best(slot.population, weights, start, exponent, delivered)
                rows.append(chosen)
                notes.extend(made)
        return stacked(rows, exponent), notes

    def _best(
        self, population: Population, weights: Reals, start: int, exponent: int, delivered: Spikes | None
    ) -> tuple[Rows, list[Note]]:
        """The population under the best of its candidate scales."""
        tries = [
            round_to(population, weights, scale, self.limit, exponent)
            for scale in self._scales(population, weights)
        ]
        rows = {one.scale: neuron_rows(population, one, start, exponent) for one in tries}
        disagreement = None
        if delivered is not None:
            disagreement = [self._disagreement(rows[one.scale], delivered) for one in tries]
        rounded = best(tries, disagreement)
        chosen = rows[rounded.scale]
        return chosen, notes_on(population, rounded, chosen.layer)

    def _scales(self, population: Population, weights: Reals) -> tuple[float, ...]:
        """Candidates at which everything stays within its bits."""
        return candidates(population, weights, self.limit, largest_scale(population, weights))

    def _weight_exp(self, slots: tuple[Slot, ...], before: tuple[Slot, ...]) -> int:
        """The largest exponent, up to 4, at which nothing in the layer leaves its range."""
        exponents = [FINEST_WEIGHT_EXP]
        for population in (slot.population for slot in slots if slot.population is not None):
            weights = side_by_side(population, before)
            room = largest_scale(population, weights) / max(self._scales(population, weights))
            exponents.append(int(np.floor(np.log2(max(room, 1.0)))))
        return min(exponents)

    def _disagreement(self, rows: Rows, delivered: Spikes) -> float:
        """Share of (step, sample, neuron) whose spike differs from the reference."""
        if self.calibration is None:
            return 0.0
        spikes = run_layer(rows.layer, delivered).spikes
        return float((spikes != self.calibration.reference[rows.group.node]).mean())

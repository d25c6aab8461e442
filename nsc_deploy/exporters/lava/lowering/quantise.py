"""Pass: levels of populations become the integers Lava computes with.

Every neuron gets one scale: weights, threshold and bias are multiplied by it and rounded. Where inputs
were recorded, the scale is the one of a few candidates whose spikes disagree least with the reference, layer
by layer, each on what the integer layers before it really deliver; otherwise the one with the
smallest rounding error. The neurons of a population may be held to one scale, so that equal thresholds stay
equal. Every layer gets one weight exponent, as large as its sums allow: weights stay at
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
from nsc_deploy.exporters.lava.lowering.scales import best, candidates, common_scale, round_to
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.exporters.passes.headroom import can_wrap, largest_scales
from nsc_deploy.exporters.passes.levels import Levels, Slot, recurrent
from nsc_deploy.exporters.passes.populations import Population
from nsc_deploy.exporters.passes.quantise_notes import notes_on
from nsc_deploy.exporters.passes.rows import Rows, arriving_weights, as_layer, neuron_rows, relay_rows
from nsc_deploy.exporters.sharing import Sharing
from nsc_deploy.passes.base import Lowered, Note

FINEST_WEIGHT_EXP = 4

Spikes = NDArray[np.uint8]


@dataclass(frozen=True)
class Calibration:
    """What was recorded for choosing scales.

    Attributes:
        events: [steps, samples, inputs].
        reference: spikes of each population in the reference simulator, [steps, samples, size]; of one
            that is late (see `Population`) as late.
    """

    events: Spikes
    reference: Mapping[str, Spikes]


class Quantise:
    """The pass.

    Args:
        bits: bits of a weight, its sign included, 2..8.
        calibration: recorded inputs, or None.
        sharing: whether each neuron has a scale of its own, or all of a population one.
    """

    name = "quantise"

    def __init__(
        self,
        bits: int = 8,
        calibration: Calibration | None = None,
        sharing: Sharing = Sharing.NEURON,
    ) -> None:
        self.limit = 2 ** (bits - 1) - 1
        self.calibration = calibration
        self.sharing = sharing

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
        own = slots if recurrent(slots) else ()
        exponent = self._weight_exp(slots, before, own)
        heard = None if delivered is None else self._heard(delivered, own)
        rows: list[Rows] = []
        notes: list[Note] = []
        for slot in slots:
            start = sum(one.group.size for one in rows)
            if slot.population is None:
                rows.append(relay_rows(slot, before, own, start, exponent))
            else:
                weights = arriving_weights(slot.population, before, own)
                chosen, made = self._best(slot.population, weights, start, exponent, heard)
                rows.append(chosen)
                notes.extend(made)
        inputs = sum(slot.size for slot in before)
        return as_layer(rows, inputs, exponent), notes

    def _best(
        self, population: Population, weights: Matrix, start: int, exponent: int, heard: Spikes | None
    ) -> tuple[Rows, list[Note]]:
        """The population under the best of its candidate scales."""
        room = largest_scales(population, weights) / 2.0**exponent
        scales = candidates(population, weights, self.limit, room, exponent, self.sharing)
        tries = [round_to(population, weights, scale, self.limit, exponent) for scale in scales]
        disagreement = None
        if heard is not None and len(tries) > 1:
            rows = [neuron_rows(population, one, start, exponent) for one in tries]
            disagreement = np.stack([self._disagreement(one, heard) for one in rows])
        rounded = best(tries, disagreement, self.sharing)
        chosen = neuron_rows(population, rounded, start, exponent)
        return chosen, notes_on(population, rounded, chosen.layer, self.limit)

    def _weight_exp(self, slots: tuple[Slot, ...], before: tuple[Slot, ...], own: tuple[Slot, ...]) -> int:
        """The largest exponent, up to 4, at which the layer could have one scale and stay in all ranges."""
        exponents = [FINEST_WEIGHT_EXP]
        for population in (slot.population for slot in slots if slot.population is not None):
            weights = arriving_weights(population, before, own)
            room = largest_scales(population, weights).min() / common_scale(weights, self.limit)
            exponents.append(int(np.floor(np.log2(max(room, 1.0)))))
        return min(exponents)

    def _heard(self, delivered: Spikes, own: tuple[Slot, ...]) -> Spikes:
        """All lines a row may read: those of the layer before, and its own layer's as in the reference."""
        if self.calibration is None or not own:
            return delivered
        reference = self.calibration.reference
        lines = [
            delayed(reference[slot.carries.source][..., slot.lines], slot.carries.delay + 1)
            if slot.carries.source in reference
            else np.zeros((*delivered.shape[:2], slot.size), np.uint8)
            for slot in own
        ]
        return np.concatenate([delivered, *lines], axis=2)

    def _disagreement(self, rows: Rows, heard: Spikes) -> NDArray[np.int64]:
        """For each neuron, in how many (step, sample) its spike differs from the reference."""
        if self.calibration is None:
            return np.zeros(rows.group.size, np.int64)
        spikes = run_layer(rows.layer, heard).spikes
        differing: NDArray[np.int64] = (spikes != self.calibration.reference[rows.group.node]).sum((0, 1))
        return differing


def delayed(spikes: Spikes, steps: int) -> Spikes:
    """Spikes [T, ...] some steps later, nothing before."""
    late = np.zeros_like(spikes)
    late[steps:] = spikes[: len(spikes) - steps]
    return late

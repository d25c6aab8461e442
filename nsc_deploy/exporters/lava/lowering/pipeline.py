"""The way from a graph to integers: which passes run, in which order, and what the graph takes on Lava."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.base import ScaleGranularity
from nsc_deploy.exporters.chips.placement import Usage
from nsc_deploy.exporters.lava.integers import MAX_DELAY, IntegerNetwork
from nsc_deploy.exporters.lava.lowering.extract import ExtractPopulations
from nsc_deploy.exporters.lava.lowering.levelise import Levelise, Levels
from nsc_deploy.exporters.lava.lowering.populations import RemoveDead
from nsc_deploy.exporters.lava.lowering.quantise import Calibration, Quantise, delayed
from nsc_deploy.exporters.lava.lowering.recurrence import CloseCycles
from nsc_deploy.exporters.lava.lowering.synapses import LARGEST_MATRIX, most_synapses
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.passes.base import Outcome, Pass, Step, run_passes
from nsc_deploy.passes.dead_code import DropDeadNodes
from nsc_deploy.passes.fold_pooling import FoldPooling, PoolingToConvolution
from nsc_deploy.passes.fold_scales import FoldScales

__all__ = ["PIPELINE", "Lowering", "Step", "flat_events", "lava_resources", "lower"]

PIPELINE: tuple[Pass[Any, Any], ...] = (
    # Folds need not be exact: weights will be rounded anyway.
    DropDeadNodes(),
    FoldScales(exactly=False),
    FoldPooling(exactly=False),
    PoolingToConvolution(),
    ExtractPopulations(),
    RemoveDead(),
    CloseCycles(),
    Levelise(MAX_DELAY),
)
"""From a graph to layers of populations; `Quantise`, with the bits and recordings of an export, ends it."""


class Lowering(Outcome[IntegerNetwork]):
    """A graph in integers and how it got there."""

    @property
    def network(self) -> IntegerNetwork:
        """The integers."""
        return self.graph


def lower(
    network: Network,
    *,
    bits: int = 8,
    inputs: NDArray[np.uint8] | None = None,
    granularity: ScaleGranularity = ScaleGranularity.NEURON,
    alike: frozenset[str] = frozenset(),
) -> Lowering:
    """Lower a graph that the rules of Lava accepted (`raise_first_refusal(verdicts(network))`) to integers.

    Args:
        network: the graph.
        bits: bits of a weight, 2..8.
        inputs: recorded inputs [steps, samples, *shape] to choose scales on, or None.
        granularity: whether each neuron has a scale of its own, or all of a population one.
        alike: nodes whose neurons share one scale in any case.

    Raises:
        ExportError: a limit that shows on the populations alone; it names the node and a way out.
    """
    calibrate = None if inputs is None else partial(_calibration, network, inputs)
    outcome = run_passes(network, (*PIPELINE, Quantise(bits, granularity, calibrate, alike)))
    return Lowering(outcome.graph, outcome.steps)


def flat_events(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Events [steps, samples, *shape] as [steps, samples, lines] uint8."""
    return values.reshape(*values.shape[:2], -1).astype(np.uint8)


def _calibration(network: Network, inputs: NDArray[np.uint8], levels: Levels) -> Calibration:
    late = {population.name: population.late for population in levels.graph.populations}
    recorded = simulate(network, inputs, record=late).outputs
    reference = {name: delayed(flat_events(recorded[name]), steps) for name, steps in late.items()}
    return Calibration(flat_events(inputs), reference)


def lava_resources(network: Network) -> tuple[Usage, ...]:
    """Neurons, relays, synapses, layers and delays; only delays and the synapses of a node have a limit.

    Args:
        network: a graph that Lava takes.

    Raises:
        ExportError: Lava does not take it.
    """
    levels = run_passes(network, PIPELINE).graph
    slots = [slot for layer in levels.layers for slot in layer]
    if any(slot.population is not None and slot.population.leak_u is not None for slot in slots):
        Quantise().rewrite(levels)  # Of what rounding can refuse, currents are all that is left to see.
    relays = [slot for slot in slots if slot.population is None]
    return (
        Usage("neurons", sum(slot.size for slot in slots), None),
        Usage("of them relays", sum(slot.size for slot in relays), None),
        Usage("synapses", _synapses(levels), None),
        Usage("of one node, at most", max(map(most_synapses, network.nodes), default=0), LARGEST_MATRIX),
        Usage("layers", len(levels.layers), None),
        Usage("delay steps", max((slot.delay for slot in slots), default=0), MAX_DELAY),
    )


def _synapses(levels: Levels) -> int:
    return sum(
        slot.size
        if slot.population is None
        else sum(
            weight.synapses
            for weight in (*slot.population.drive.values(), *slot.population.recurrent.values())
        )
        for layer in levels.layers
        for slot in layer
    )

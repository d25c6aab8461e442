"""The way from a graph to integers: which passes run, in which order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.lava.integer import MAX_DELAY, IntegerNetwork
from nsc_deploy.exporters.lava.rules import verdicts
from nsc_deploy.exporters.passes.base import Lowered, Note, run_pass
from nsc_deploy.exporters.passes.drop_dead_nodes import DropDeadNodes
from nsc_deploy.exporters.passes.extract_populations import ExtractPopulations
from nsc_deploy.exporters.passes.fold_pooling import FoldPooling
from nsc_deploy.exporters.passes.fold_scales import FoldScales
from nsc_deploy.exporters.passes.levelise import Levelise, Levels
from nsc_deploy.exporters.passes.pooling_to_convolution import PoolingToConvolution
from nsc_deploy.exporters.passes.quantise import Calibration, Quantise
from nsc_deploy.exporters.passes.remove_dead import RemoveDead
from nsc_deploy.exporters.sharing import Sharing
from nsc_deploy.exporters.verdict import raise_first_refusal
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.simulate import simulate


@dataclass(frozen=True)
class Lowering:
    """A graph in integers and how it got there.

    Attributes:
        network: the integers.
        notes: what each pass did, with the name of the pass.
    """

    network: IntegerNetwork
    notes: tuple[tuple[str, Note], ...]


def lower(
    network: Network,
    *,
    bits: int = 8,
    inputs: NDArray[np.uint8] | None = None,
    sharing: Sharing = Sharing.NEURON,
) -> Lowering:
    """Lower a graph to the integers Lava computes with.

    Args:
        network: the graph.
        bits: bits of a weight, 2..8.
        inputs: recorded inputs [steps, samples, *shape] to choose scales on, or None.
        sharing: whether each neuron has a scale of its own, or all of a population one.

    Raises:
        ExportError: a node cannot be represented; it names the node, the reason and a way out.
    """
    raise_first_refusal(verdicts(network))
    extract, remove, levelise = ExtractPopulations(), RemoveDead(), Levelise(MAX_DELAY)
    simplified = simplify(network)
    populations = run_pass(extract, simplified.graph)
    alive = run_pass(remove, populations.graph)
    levels = run_pass(levelise, alive.graph)
    quantise = Quantise(
        bits, None if inputs is None else _calibration(network, levels.graph, inputs), sharing
    )
    integers = run_pass(quantise, levels.graph)
    done = ((extract, populations), (remove, alive), (levelise, levels), (quantise, integers))
    notes = [(step.name, note) for step, lowered in done for note in lowered.notes]
    return Lowering(integers.graph, (*simplified.notes, *notes))


@dataclass(frozen=True)
class Simplified:
    """A graph without what stands in the way of populations.

    Attributes:
        graph: without Scales beside weights, and without poolings; its neurons are those of the graph given.
        notes: what each pass did, with the name of the pass.
    """

    graph: Network
    notes: tuple[tuple[str, Note], ...]


def simplify(network: Network) -> Simplified:
    """Drop dead nodes, and fold Scales and poolings, exactly or not: weights will be rounded anyway."""
    notes: list[tuple[str, Note]] = []
    for step in (
        DropDeadNodes(),
        FoldScales(exactly=False),
        FoldPooling(exactly=False),
        PoolingToConvolution(),
    ):
        lowered: Lowered[Network] = run_pass(step, network)
        notes.extend((step.name, note) for note in lowered.notes)
        network = lowered.graph
    return Simplified(network, tuple(notes))


def flat_events(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Events [steps, samples, *shape] as [steps, samples, lines] uint8."""
    return values.reshape(*values.shape[:2], -1).astype(np.uint8)


def _calibration(network: Network, levels: Levels, inputs: NDArray[np.uint8]) -> Calibration:
    names = [population.name for population in levels.graph.populations]
    recorded: Mapping[str, NDArray[Any]] = simulate(network, inputs, record=names).outputs
    return Calibration(flat_events(inputs), {name: flat_events(recorded[name]) for name in names})

"""The way from a graph to integers: which passes run, in which order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.base import ScaleGranularity, raise_first_refusal
from nsc_deploy.exporters.lava.integers import MAX_DELAY, IntegerNetwork
from nsc_deploy.exporters.lava.lowering.levelise import Levelise, Levels
from nsc_deploy.exporters.lava.lowering.populations import ExtractPopulations, RemoveDead
from nsc_deploy.exporters.lava.lowering.quantise import Calibration, Quantise, delayed
from nsc_deploy.exporters.lava.lowering.recurrence import CloseCycles
from nsc_deploy.exporters.lava.rules import verdicts
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.passes.base import Lowered, Note, run_pass
from nsc_deploy.passes.dead_code import DropDeadNodes
from nsc_deploy.passes.fold_pooling import FoldPooling, PoolingToConvolution
from nsc_deploy.passes.fold_scales import FoldScales


@dataclass(frozen=True)
class Step:
    """A pass that ran.

    Attributes:
        name: of the pass.
        notes: what it did; nothing where there are none.
        graph: what it left, where that is still a graph in floating point.
    """

    name: str
    notes: tuple[Note, ...]
    graph: Network | None = None

    @property
    def exact(self) -> bool:
        """Whether the spikes stay the same."""
        return all(note.exact for note in self.notes)


@dataclass(frozen=True)
class Lowering:
    """A graph in integers and how it got there.

    Attributes:
        network: the integers.
        steps: the passes, in order.
    """

    network: IntegerNetwork
    steps: tuple[Step, ...]

    @property
    def notes(self) -> tuple[tuple[str, Note], ...]:
        """What each pass did, with the name of the pass."""
        return tuple((step.name, note) for step in self.steps for note in step.notes)


def lower(
    network: Network,
    *,
    bits: int = 8,
    inputs: NDArray[np.uint8] | None = None,
    granularity: ScaleGranularity = ScaleGranularity.NEURON,
) -> Lowering:
    """Lower a graph to the integers Lava computes with.

    Args:
        network: the graph.
        bits: bits of a weight, 2..8.
        inputs: recorded inputs [steps, samples, *shape] to choose scales on, or None.
        granularity: whether each neuron has a scale of its own, or all of a population one.

    Raises:
        ExportError: a node cannot be represented; it names the node, the reason and a way out.
    """
    raise_first_refusal(verdicts(network))
    extract, remove, close, levelise = ExtractPopulations(), RemoveDead(), CloseCycles(), Levelise(MAX_DELAY)
    simplified = simplify(network)
    populations = run_pass(extract, simplified.graph)
    alive = run_pass(remove, populations.graph)
    closed = run_pass(close, alive.graph)
    levels = run_pass(levelise, closed.graph)
    quantise = Quantise(
        bits, None if inputs is None else _calibration(network, levels.graph, inputs), granularity
    )
    integers = run_pass(quantise, levels.graph)
    done = (
        (extract, populations),
        (remove, alive),
        (close, closed),
        (levelise, levels),
        (quantise, integers),
    )
    steps = [Step(step.name, lowered.notes) for step, lowered in done]
    return Lowering(integers.graph, (*simplified.steps, *steps))


@dataclass(frozen=True)
class Simplified:
    """A graph without what stands in the way of populations.

    Attributes:
        graph: without Scales beside weights, and without poolings; its neurons are those of the graph given.
        steps: the passes, in order.
    """

    graph: Network
    steps: tuple[Step, ...]


def simplify(network: Network) -> Simplified:
    """Drop dead nodes, and fold Scales and poolings, exactly or not: weights will be rounded anyway."""
    steps: list[Step] = []
    for step in (
        DropDeadNodes(),
        FoldScales(exactly=False),
        FoldPooling(exactly=False),
        PoolingToConvolution(),
    ):
        lowered: Lowered[Network] = run_pass(step, network)
        steps.append(Step(step.name, lowered.notes, lowered.graph))
        network = lowered.graph
    return Simplified(network, tuple(steps))


def flat_events(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Events [steps, samples, *shape] as [steps, samples, lines] uint8."""
    return values.reshape(*values.shape[:2], -1).astype(np.uint8)


def _calibration(network: Network, levels: Levels, inputs: NDArray[np.uint8]) -> Calibration:
    late = {population.name: population.late for population in levels.graph.populations}
    recorded: Mapping[str, NDArray[Any]] = simulate(network, inputs, record=late).outputs
    reference = {name: delayed(flat_events(recorded[name]), steps) for name, steps in late.items()}
    return Calibration(flat_events(inputs), reference)

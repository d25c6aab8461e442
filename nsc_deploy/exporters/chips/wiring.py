"""A graph as populations and projections: what has to find a place on a chip."""

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from nsc_deploy.exporters.chips.connectivity import CutPattern, Pattern
from nsc_deploy.exporters.chips.placement import Share
from nsc_deploy.graphs.network import Shape


class Obstacle(Exception):  # noqa: N818 - caught where it becomes a verdict, never shown as an error
    """A node that stands in the way of the mapping.

    Args:
        node: its name.
        reason: why.
        remedy: the way out.
    """

    def __init__(self, node: str, reason: str, remedy: str) -> None:
        self.node, self.reason, self.remedy = node, reason, remedy
        super().__init__(f"{node}: {reason}")


@dataclass(frozen=True)
class Population:
    """Neurons of one graph node.

    Attributes:
        name: of the node.
        primitive: LIF, IF, CubaLIF or Threshold.
        shape: for one sample at one step.
        states: state variables a neuron keeps.
    """

    name: str
    primitive: str
    shape: Shape
    states: int

    def share(self, start: int, stop: int) -> Share:
        """Some of its neurons in the order of placement: at each place of a feature map all channels."""
        order = np.arange(self.size).reshape(self.shape[0], -1).T.reshape(-1)
        return Share(self.name, start, stop, order[start:stop])

    @property
    def size(self) -> int:
        """Number of neurons."""
        return prod(self.shape)


@dataclass(frozen=True, eq=False)
class Projection:
    """Synapses from a source to a population.

    Attributes:
        source: an input or a population.
        target: a population.
        weights: the node with the weights; None where a neuron follows its line without one.
        through: the nodes on the way, from the source to the target.
        pattern: which line reaches which neuron.
        shortest: steps the graph itself delays by, the least of all lines.
        longest: the same, the most.
        back: edges on the way that carry the value of the step before.
        largest: the largest weight by magnitude, scales included.
    """

    source: str
    target: str
    weights: str | None
    through: tuple[str, ...]
    pattern: Pattern
    shortest: int
    longest: int
    back: int
    largest: float


@dataclass(frozen=True)
class Wiring:
    """A whole graph.

    Attributes:
        inputs: number of lines of each input.
        populations: in the order of the graph.
        projections: grouped by target, in the order of the graph.
        outputs: the populations whose spikes leave, in order.
    """

    inputs: dict[str, int]
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    outputs: tuple[str, ...]

    def into(self, target: str) -> tuple[Projection, ...]:
        """The projections that end in a population."""
        return tuple(one for one in self.projections if one.target == target)

    def population(self, name: str) -> Population:
        """The population called `name`."""
        return next(one for one in self.populations if one.name == name)

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return sum(one.size for one in self.populations)

    @property
    def synapses(self) -> int:
        """Number of synapses, those of neurons that follow a line without weights included."""
        return sum(int(one.pattern.fan_in().sum()) for one in self.projections)


def shrunk(wiring: Wiring, name: str, size: int) -> Wiring:
    """The same graph with only the first so many neurons of one population, as a vector."""

    def cut(one: Projection) -> Projection:
        lines = size if one.source == name else one.pattern.lines
        neurons = size if one.target == name else one.pattern.neurons
        return replace(one, pattern=CutPattern(one.pattern, lines, neurons))

    return replace(
        wiring,
        populations=tuple(
            replace(one, shape=(size,)) if one.name == name else one for one in wiring.populations
        ),
        projections=tuple(
            cut(one) if name in {one.source, one.target} else one for one in wiring.projections
        ),
    )

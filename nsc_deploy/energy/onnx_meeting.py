"""What the operators of an ONNX graph meet when it runs: shapes, events, and from them the counts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counts import Integers, Kind, LayerCount, Operations
from nsc_deploy.energy.onnx_plan import SHAPE, Plan, wanted_shapes
from nsc_deploy.energy.onnx_rules import cost
from nsc_deploy.energy.onnx_site import Cost, Shape, Site
from nsc_deploy.energy.onnx_traffic import Accesses, accesses, footprint
from nsc_deploy.energy.traffic import Traffic
from nsc_deploy.graphs.recording import Recording
from nsc_deploy.graphs.signal import Signal


class Met(NamedTuple):
    """Of each sample at one operator: events that arrive, and accumulates they cause."""

    events: Integers
    acs: Integers


@dataclass(frozen=True)
class Meeting:
    """What one operator met in the first run.

    Attributes:
        site: the operator.
        shapes: of its inputs and its first output.
        price: of one execution.
        runs: executions in one sample, the turns of the scans around it.
    """

    site: Site
    shapes: Mapping[str, Shape]
    price: Cost
    runs: int

    @property
    def at_most(self) -> int:
        """More than any one sample can cost, of operations and accesses of all kinds together."""
        values = sum(prod(shape) for shape in self.shapes.values())
        return 4 * self.runs * (sum(self.price.operations.values()) + values)


def meeting(plan: Plan, index: int, values: Mapping[str, NDArray[Any]]) -> Meeting:
    """What an operator meets.

    Args:
        plan: the instrumented graph.
        index: of the operator.
        values: what a run gave out.

    Raises:
        GraphError: there is no rule for it.
    """
    site = plan.places[index].site
    shapes: dict[str, Shape] = {
        name: tuple(site.constants[name].shape) for name in site.node.input if name in site.constants
    }
    runs = 1
    for name in wanted_shapes(site):
        found = values[plan.outputs[index, name + SHAPE]]
        shapes[name] = _one_of_equals(found)
        runs = int(np.prod(found.shape[:-1]))
    return Meeting(site, shapes, cost(site, shapes), runs)


def layer_count(one: Meeting, met: Met | None, recording: Recording) -> LayerCount:
    """The counts of an operator over a recording.

    Args:
        one: what it met.
        met: events and accumulates of each sample; None where it takes in real values.
        recording: what was run.
    """
    site, shapes, price, runs = one.site, one.shapes, one.price, one.runs
    samples = recording.samples
    totals = {
        kind: np.full(samples, number * runs, dtype=np.int64) for kind, number in price.operations.items()
    }
    dense = price.operations.get(Kind.MAC, 0) * runs
    moved = _traffic(accesses(site, shapes, price), runs, samples)
    if met is not None:
        totals[Kind.AC] = met.acs
        totals[Kind.MAC] = np.zeros(samples, dtype=np.int64)
        biases = price.operations.get(Kind.ADDITION, 0) * runs
        moved = _with_events(
            moved, met, biases, streamed=not any(n in site.constants for n in site.node.input[:2])
        )
    return LayerCount(
        name=site.path,
        primitive=site.node.op_type,
        arrives=Signal.REAL if met is None else Signal.EVENTS,
        neurons=price.neurons,
        synapses=price.weights,
        dense=dense,
        per_sample=_operations(totals, samples),
        traffic=moved,
        footprint=footprint(site, shapes, price, recording.steps),
        steps=recording.steps,
    )


def _traffic(one: Accesses, runs: int, samples: int) -> Traffic:
    return Traffic(
        **{name: np.full(samples, number * runs, dtype=np.int64) for name, number in vars(one).items()}
    )


def _with_events(dense: Traffic, met: Met, biases: int, *, streamed: bool) -> Traffic:
    """The traffic of an operator that events enter: they alone are read, and only the weights they meet.

    Args:
        dense: its traffic if every value were real.
        met: for each sample.
        biases: additions of a bias.
        streamed: whether a changing tensor takes the place of the weights.
    """
    events, acs = met
    return replace(
        dense,
        weight_reads=biases + (0 if streamed else 1) * acs,
        # An event is added to the sums of its targets, as in a spiking layer.
        state_reads=acs,
        state_writes=acs,
        activation_reads=events + (acs if streamed else 0),
    )


def _one_of_equals(shapes: NDArray[Any]) -> Shape:
    """The shape that every turn of a scan met, from the stacked shapes [..., rank]."""
    turns = shapes.reshape(int(np.prod(shapes.shape[:-1])), shapes.shape[-1])
    return tuple(int(size) for size in turns[0])


def _operations(totals: Mapping[Kind, Integers], samples: int) -> Operations:
    none = np.zeros(samples, dtype=np.int64)
    return Operations(**{kind.value: totals.get(kind, none) for kind in Kind})

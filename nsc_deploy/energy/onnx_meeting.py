"""What the operators of an ONNX graph meet when it runs: shapes, events, and from them the counts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.onnx.instrument import SHAPE, Plan, wanted_shapes
from nsc_deploy.energy.counting.onnx.memory import accesses, footprint
from nsc_deploy.energy.counting.onnx.operator_costs import cost
from nsc_deploy.energy.counting.onnx.operators import Cost, Shape, Site
from nsc_deploy.energy.counting.operations import Integers, Kind, LayerCount, Operations, Traffic
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal


class Met(NamedTuple):
    """At one operator, events that arrive and accumulates they cause: of each sample, or of each step."""

    events: Integers
    acs: Integers


class Fed(NamedTuple):
    """What events do at one operator; `steps` is None where they cannot be told apart."""

    samples: Met
    steps: Met | None


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


def layer_count(one: Meeting, fed: Fed | None, recording: Recording, *, stepwise: bool) -> LayerCount:
    """The counts of an operator over a recording.

    Args:
        one: what it met.
        fed: the events that entered it; None where it takes in real values.
        recording: what was run.
        stepwise: whether it does the same in every step, events aside.
    """
    site, price, samples = one.site, one.price, recording.samples
    moved = vars(accesses(site, one.shapes, price))
    operations, traffic = _along(one, moved, None if fed is None else fed.samples, samples, one.runs)
    per_step = None if fed is None else fed.steps
    each = Fraction(one.runs * samples, recording.steps)
    whole = all((number * each).denominator == 1 for number in (*price.operations.values(), *moved.values()))
    known = stepwise and whole and (fed is None or per_step is not None)
    steps = _along(one, moved, per_step, recording.steps, each) if known else (None, None)
    return LayerCount(
        name=site.path,
        primitive=site.node.op_type,
        arrives=Signal.REAL if fed is None else Signal.EVENTS,
        neurons=price.neurons,
        synapses=price.weights,
        dense=price.operations.get(Kind.MAC, 0) * one.runs,
        per_sample=operations,
        traffic=traffic,
        footprint=footprint(site, one.shapes, price, recording.steps),
        steps=recording.steps,
        per_step=steps[0],
        traffic_per_step=steps[1],
    )


def _along(
    one: Meeting, moved: Mapping[str, int], met: Met | None, length: int, each: int | Fraction
) -> tuple[Operations, Traffic]:
    """Operations and accesses along the samples or the steps.

    Args:
        one: what the operator met in one execution.
        moved: accesses of one execution, by their names.
        met: events, along the same; None where it takes in real values.
        length: number of samples or steps.
        each: executions in each of them.
    """

    def everywhere(number: int) -> Integers:
        return np.full(length, int(number * each), dtype=np.int64)

    totals = {kind: everywhere(number) for kind, number in one.price.operations.items()}
    traffic = Traffic(**{name: everywhere(number) for name, number in moved.items()})
    if met is not None:
        totals[Kind.AC], totals[Kind.MAC] = met.acs, everywhere(0)
        biases = everywhere(one.price.operations.get(Kind.ADDITION, 0))
        streamed = not any(name in one.site.constants for name in one.site.node.input[:2])
        traffic = _with_events(traffic, met, biases, streamed=streamed)
    return Operations(**{kind.value: totals.get(kind, everywhere(0)) for kind in Kind}), traffic


def _with_events(dense: Traffic, met: Met, biases: Integers, *, streamed: bool) -> Traffic:
    """The traffic of an operator that events enter: they alone are read, and only the weights they meet.

    Args:
        dense: its traffic if every value were real.
        met: the events, along the same axis.
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

"""What events cause at one operator of an ONNX graph, read from the values of a run.

`EventMeter` counts those that meet weights, `JoinMeter` the additions of values that are joined without any.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.onnx.instrument import Plan, wanted_values
from nsc_deploy.energy.counting.onnx.operators import OPERATORS, Axis, Shape
from nsc_deploy.energy.counting.onnx.products import meetings
from nsc_deploy.energy.counting.operations import Integers
from nsc_deploy.graphs.network import Signal

Values = NDArray[Any]
# Sums of integers below it are exact in float32, in any order.
_EXACT = 2**24


class Met(NamedTuple):
    """At one operator, values that arrive, what they cause and what leaves: [N], [T] or [T, N].

    Attributes:
        events: values that are read.
        operations: synapses that they meet, or additions where values are joined.
        results: of a join, values that are written.
    """

    events: Integers
    operations: Integers
    results: Integers


class Fed(NamedTuple):
    """What events do at one operator, [N], and in each step, [T, N]: None where they cannot be told apart."""

    samples: Met
    each: Met | None


def meter_of(plan: Plan, index: int, steps: int) -> "EventMeter | JoinMeter":
    """What counts the events at an operator.

    Args:
        plan: the instrumented graph.
        index: of the operator in it.
        steps: of the recording.
    """
    return (JoinMeter if plan.places[index].site.joined else EventMeter)(plan, index, steps)


class _Meter(ABC):
    """Where one operator's inputs come out of the instrumented graph."""

    def __init__(self, plan: Plan, index: int, steps: int) -> None:
        """Take the instrumented graph, the number of the operator in it and that of the steps."""
        place = plan.places[index]
        self._site, self._depth = place.site, len(place.scans)
        self._sources = {name: plan.outputs[index, name] for name in wanted_values(place.site)}
        self._length = steps

    @abstractmethod
    def __call__(
        self, values: Mapping[str, Values], axes: Mapping[str, Axis], steps: Mapping[str, Axis], samples: int
    ) -> Fed:
        """What happens in a batch.

        Args:
            values: what the run of the batch gave out.
            axes: where each source holds the samples; not looked at for a single sample.
            steps: where a single sample of a source holds the steps, of those that do.
            samples: of the batch.
        """

    @property
    def sources(self) -> tuple[str, ...]:
        """The outputs of the instrumented graph that it reads."""
        return tuple(self._sources.values())

    def _held(
        self, values: Mapping[str, Values], axes: Mapping[str, Axis], samples: int
    ) -> dict[str, Values]:
        """The inputs of the operator, [samples, ...]."""
        return {
            name: values[source][None] if samples == 1 else _apart(values[source], axes[source], samples)
            for name, source in self._sources.items()
        }


class JoinMeter(_Meter):
    """Counts the additions of values that arrive without weights: k of them at a place take k - 1.

    Events are there where they are not zero, real values everywhere. A constant is a bias: each place takes
    one more addition of it.
    """

    def __call__(
        self, values: Mapping[str, Values], axes: Mapping[str, Axis], steps: Mapping[str, Axis], samples: int
    ) -> Fed:
        """As every meter."""
        there = {
            name: value != 0 if name in self._site.joined else np.ones(value.shape, np.bool_)
            for name, value in self._held(values, axes, samples).items()
        }
        # What is added to itself arrives twice.
        read = [name for name in self._site.node.input if name in there]
        biases = [name for name in self._site.node.input if name not in there]
        number = self._added_up([there[name] for name in read], [self._site.constants[one] for one in biases])
        added = np.maximum(number - 1, 0) + len(biases)
        results = np.ones_like(number) if biases else number > 0
        axes_of = {name: steps.get(self._sources[name]) for name in read}
        columns = [*((there[name], axes_of[name]) for name in read)]
        # Steps lie in the sum as in an input that has all of them.
        columns += [(one, self._axis(axes_of, there, number)) for one in (added, results)]
        of_samples = [column.reshape(samples, -1).sum(axis=1, dtype=np.int64) for column, _ in columns]
        of_steps = [self._of_steps(column, axis) for column, axis in columns if axis is not None]
        return Fed(_joined(of_samples), _joined(of_steps) if len(of_steps) == len(columns) else None)

    def _axis(
        self, axes: Mapping[str, Axis | None], there: Mapping[str, Values], number: Integers
    ) -> Axis | None:
        for name, axis in axes.items():
            alike = axis is not None and there[name].ndim == number.ndim
            if alike and axis and there[name].shape[axis.index] == number.shape[axis.index]:
                return axis
        return None

    def _of_steps(self, column: Values, axis: Axis) -> Integers:
        """The sums of each step and sample, [T, N]."""
        around = _around_steps(column.shape[1:], axis, self._length)
        by_step = _by_step(column.reshape(len(column), -1), around)
        return np.asarray(by_step.sum(axis=2, dtype=np.int64).T)

    def _added_up(self, arriving: Sequence[Values], biases: Sequence[Values]) -> Integers:
        """How many of the values are there at each place, [samples, *turns of scans, ...].

        Constants spread the others to their shape.
        """
        front = 1 + self._depth
        arriving = [*arriving, *(np.zeros_like(one)[(None,) * front] for one in biases)]
        rank = max(one.ndim for one in arriving)
        spread = [
            one.reshape(*one.shape[:front], *[1] * (rank - one.ndim), *one.shape[front:]) for one in arriving
        ]
        number = np.zeros(np.broadcast_shapes(*(one.shape for one in spread)), dtype=np.int64)
        for one in spread:
            number += one != 0
        return number


def _joined(columns: list[Integers]) -> Met:
    """What is read of each input, the additions and the results, of samples or steps."""
    *read, added, results = columns
    return Met(np.sum(read, axis=0), added, results)


class EventMeter(_Meter):
    """Counts the events that arrive at one operator, and the accumulates they cause."""

    def __init__(self, plan: Plan, index: int, steps: int) -> None:
        """As every meter."""
        super().__init__(plan, index, steps)
        self._weights: Values | None = None
        self._steps: tuple[int, int, int] | None = None

    def __call__(
        self, values: Mapping[str, Values], axes: Mapping[str, Axis], steps: Mapping[str, Axis], samples: int
    ) -> Fed:
        """As every meter."""
        held = self._held(values, axes, samples)
        if len(held) == 1:
            [(name, apart)] = held.items()
            weights = self._of_each(name, apart.shape[1:], steps.get(self._sources[name]))
            if weights is not None:
                there = apart if self._site.arrives is Signal.EVENTS else self._site.there(0, apart)
                return self._weighed(there.reshape(samples, -1), weights)
        return Fed(self._one_by_one(held, samples), None)

    def _of_each(self, name: str, shape: Shape, steps: Axis | None) -> Values | None:
        """For each value of one sample, in scans of all turns: [values, 2], 1 and the synapses it meets."""
        weight = self._site.constants.get(self._site.node.input[1])
        fan_out = OPERATORS[self._site.node.op_type].fan_out
        if self._weights is None and weight is not None and name == self._site.node.input[0] and fan_out:
            found = fan_out(self._site, self._site.there(1, weight), shape[self._depth :])
            if np.broadcast_shapes(found.shape, shape) != shape:
                return None
            one = np.broadcast_to(found, shape).ravel()
            # A product of matrices is fastest on floats, and exact where no sum can be rounded.
            exact = np.float32 if max(one.size, int(one.sum())) < _EXACT else np.float64
            self._weights = np.stack([np.ones(one.shape), one], axis=-1).astype(exact)
            if steps is not None:
                self._steps = _around_steps(shape, steps, self._length)
        return self._weights

    def _weighed(self, rows: Values, weights: Values) -> Fed:
        """Events and what they meet, of each sample and, where steps are known, of each step.

        Args:
            rows: [samples, values], 1 where there are events and else 0.
            weights: [values, 2].
        """
        rows = rows.astype(weights.dtype, copy=False)
        if self._steps is None:
            return Fed(_met(*np.asarray(rows @ weights, dtype=np.int64).T), None)
        # A product of matrices a step: [T, samples, values of a step] by [T, values of a step, 2].
        weighed = _by_step(rows, self._steps).transpose(1, 0, 2) @ _by_step(weights.T, self._steps).transpose(
            1, 2, 0
        )
        found = np.asarray(weighed, dtype=np.int64)
        return Fed(_met(*found.sum(axis=0).T), _met(found[..., 0], found[..., 1]))

    def _one_by_one(self, held: Mapping[str, Values], samples: int) -> Met:
        met = _met(np.zeros(samples, dtype=np.int64), np.zeros(samples, dtype=np.int64))
        for sample in range(samples):
            one = {name: apart[sample] for name, apart in held.items()}
            carrying = ((list(self._site.node.input).index(name), name) for name in self._site.events)
            there = (self._site.there(index, one[name]) for index, name in dict(carrying).items())
            met.events[sample] = sum(int(np.count_nonzero(values)) for values in there)
            met.operations[sample] = sum(meetings(self._site, turn) for turn in self._turns(one))
        return met

    def _turns(self, one: Mapping[str, Values]) -> Iterator[dict[str, Values]]:
        known = self._site.constants
        constant = {name: known[name] for name in self._site.node.input[:2] if name in known}
        flat = {name: value.reshape(-1, *value.shape[self._depth :]) for name, value in one.items()}
        for turn in range(len(next(iter(flat.values())))):
            yield constant | {name: value[turn] for name, value in flat.items()}


def _met(events: Integers, operations: Integers) -> Met:
    """What meets weights; what leaves is real."""
    return Met(events, operations, np.zeros_like(events))


def _apart(tensor: Values, axis: Axis, samples: int) -> Values:
    """The tensors of single samples, [samples, ...]."""
    at = tensor.ndim + axis.index
    before, behind = tensor.shape[:at], tensor.shape[at + 1 :]
    split = tensor.reshape(*before, -1, samples, axis.block, *behind)
    return np.moveaxis(split, at + 1, 0).reshape(samples, *before, -1, *behind)


def _around_steps(shape: Shape, axis: Axis, steps: int) -> tuple[int, int, int]:
    """How a flat tensor is divided by the steps: what lies outside them, the steps, what lies within one."""
    inside = axis.block * prod(shape[len(shape) + axis.index + 1 :])
    return prod(shape) // (steps * inside), steps, inside


def _by_step(values: Values, around: tuple[int, int, int]) -> Values:
    """The values [n, values] of flat tensors as [n, T, values of a step]."""
    outside, steps, inside = around
    apart = values.reshape(len(values), outside, steps, inside).transpose(0, 2, 1, 3)
    return apart.reshape(len(values), steps, outside * inside)

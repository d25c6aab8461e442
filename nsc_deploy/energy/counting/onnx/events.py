"""Events at one operator of an ONNX graph: how many arrive in each sample and step, and what they meet."""

from collections.abc import Iterator, Mapping
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
    """At one operator, events that arrive and synapses they meet: [N], [T] or [T, N]."""

    events: Integers
    synops: Integers


class Fed(NamedTuple):
    """What events do at one operator, [N], and in each step, [T, N]: None where they cannot be told apart."""

    samples: Met
    each: Met | None


class EventMeter:
    """Counts the events that arrive at one operator, and the accumulates they cause."""

    def __init__(self, plan: Plan, index: int, steps: int) -> None:
        """Take the instrumented graph, the number of the operator in it and that of the steps."""
        place = plan.places[index]
        self._site, self._depth = place.site, len(place.scans)
        self._sources = {name: plan.outputs[index, name] for name in wanted_values(place.site)}
        self._length = steps
        self._weights: Values | None = None
        self._steps: tuple[int, int, int] | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The outputs of the instrumented graph that it reads."""
        return tuple(self._sources.values())

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
        held = {
            name: values[source][None] if samples == 1 else _apart(values[source], axes[source], samples)
            for name, source in self._sources.items()
        }
        if len(held) == 1:
            [(name, apart)] = held.items()
            weights = self._of_each(name, apart.shape[1:], steps.get(self._sources[name]))
            if weights is not None:
                return self._weighed(apart.reshape(samples, -1), weights)
        return Fed(self._one_by_one(held, samples), None)

    def _of_each(self, name: str, shape: Shape, steps: Axis | None) -> Values | None:
        """For each value of one sample, in scans of all turns: [values, 2], 1 and the synapses it meets."""
        weight = self._site.constants.get(self._site.node.input[1])
        fan_out = OPERATORS[self._site.node.op_type].fan_out
        if self._weights is None and weight is not None and name == self._site.node.input[0] and fan_out:
            found = fan_out(self._site, weight != 0, shape[self._depth :])
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
            rows: [samples, values], events where they are not 0.
            weights: [values, 2].
        """
        if self._site.arrives is Signal.GRADED:
            rows = rows != 0
        rows = rows.astype(weights.dtype, copy=False)
        if self._steps is None:
            return Fed(Met(*np.asarray(rows @ weights, dtype=np.int64).T), None)
        # A product of matrices a step: [T, samples, values of a step] by [T, values of a step, 2].
        weighed = _by_step(rows, self._steps).transpose(1, 0, 2) @ _by_step(weights.T, self._steps).transpose(
            1, 2, 0
        )
        found = np.asarray(weighed, dtype=np.int64)
        return Fed(Met(*found.sum(axis=0).T), Met(found[..., 0], found[..., 1]))

    def _one_by_one(self, held: Mapping[str, Values], samples: int) -> Met:
        met = Met(np.zeros(samples, dtype=np.int64), np.zeros(samples, dtype=np.int64))
        for sample in range(samples):
            one = {name: apart[sample] for name, apart in held.items()}
            carrying = (name for name in one if name in self._site.events)
            met.events[sample] = sum(int(np.count_nonzero(one[name])) for name in carrying)
            met.synops[sample] = sum(meetings(self._site, turn) for turn in self._turns(one))
        return met

    def _turns(self, one: Mapping[str, Values]) -> Iterator[dict[str, Values]]:
        known = self._site.constants
        constant = {name: known[name] for name in self._site.node.input[:2] if name in known}
        flat = {name: value.reshape(-1, *value.shape[self._depth :]) for name, value in one.items()}
        for turn in range(len(next(iter(flat.values())))):
            yield constant | {name: value[turn] for name, value in flat.items()}


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

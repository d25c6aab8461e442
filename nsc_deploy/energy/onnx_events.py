"""Counting the events that meet weights in an ONNX graph, in a batch of samples at a time."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.onnx.instrument import Plan, wanted_values
from nsc_deploy.energy.counting.operations import Integers
from nsc_deploy.energy.onnx_meeting import Fed, Met
from nsc_deploy.energy.onnx_products import accumulates, fan_out

Values = NDArray[Any]

# Sums of integers below it are exact in float32, in any order.
_EXACT = 2**24


class EventMeter:
    """Counts the events that arrive at one operator, and the accumulates they cause."""

    def __init__(self, plan: Plan, index: int) -> None:
        """Take the instrumented graph and the number of the operator in it."""
        place = plan.places[index]
        self._site, self._depth = place.site, len(place.scans)
        self._sources = {name: plan.outputs[index, name] for name in wanted_values(place.site)}
        self._weights: Values | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The outputs of the instrumented graph that it reads."""
        return tuple(self._sources.values())

    def __call__(
        self,
        values: Mapping[str, Values],
        axes: Mapping[str, int],
        samples: int,
        steps: Mapping[str, int] | None = None,
    ) -> Fed:
        """What happens in a batch.

        Args:
            values: what the run of the batch gave out.
            axes: along which each source holds the samples, from the end; empty for a single sample.
            samples: of the batch.
            steps: along which the sources hold the steps, of those that do.
        """
        held = {
            name: (values[source], axes[source] if axes else None) for name, source in self._sources.items()
        }
        if len(held) == 1:
            ((name, (tensor, axis)),) = held.items()
            weights = self._of_each(name, tensor, axis)
            if weights is not None:
                over = (steps or {}).get(self._sources[name])
                return _weighed(tensor, weights, samples, axis, over)
        return Fed(self._one_by_one(held, samples), None)

    def _of_each(self, name: str, tensor: Values, axis: int | None) -> Values | None:
        """For each value of one sample, in scans of all turns: [*shape, 2], 1 and the synapses it meets."""
        if self._weights is None:
            found = fan_out(self._site, name, tensor.shape[self._depth :])
            if found is None:
                return None
            everywhere = np.broadcast_to(found, tensor.shape)
            one = everywhere if axis is None else np.moveaxis(everywhere, axis, 0)[0]
            # A product of matrices is fastest on floats, and exact where no sum can be rounded.
            exact = np.float32 if max(one.size, int(one.sum())) < _EXACT else np.float64
            self._weights = np.stack([np.ones(one.shape), one], axis=-1).astype(exact)
        return self._weights

    def _one_by_one(self, held: Mapping[str, tuple[Values, int | None]], samples: int) -> Met:
        met = Met(np.zeros(samples, dtype=np.int64), np.zeros(samples, dtype=np.int64))
        for sample in range(samples):
            one = {
                name: tensor if axis is None else np.take(tensor, [sample], axis=axis)
                for name, (tensor, axis) in held.items()
            }
            binary = (name for name in one if name in self._site.binary)
            met.events[sample] = sum(int(np.count_nonzero(one[name])) for name in binary)
            met.acs[sample] = sum(accumulates(self._site, turn) for turn in self._turns(one))
        return met

    def _turns(self, one: Mapping[str, Values]) -> Iterator[dict[str, Values]]:
        known = self._site.constants
        constant = {name: known[name] for name in self._site.node.input[:2] if name in known}
        flat = {name: value.reshape(-1, *value.shape[self._depth :]) for name, value in one.items()}
        for turn in range(len(next(iter(flat.values())))):
            yield constant | {name: value[turn] for name, value in flat.items()}


def _weighed(tensor: Values, weights: Values, samples: int, axis: int | None, over: int | None) -> Fed:
    """Events and what they meet, of each sample and of each step.

    Args:
        tensor: of 0 and 1.
        weights: of its values in one sample, [*shape, 2].
        samples: their number.
        axis: of the samples, from the end; None for a single one.
        over: of the steps, from the end; None where they cannot be told apart.
    """
    apart = tensor[None] if axis is None else np.moveaxis(tensor, axis, 0)
    if over is None:
        found = _sums(apart.reshape(samples, -1), weights.reshape(-1, 2))
        return Fed(Met(*found.T), None)
    # Samples are first now, and what stood before them has moved by one.
    at = over if axis is None or over > axis else over + 1
    rows, each = np.moveaxis(apart, at, 0), np.moveaxis(weights, at - 1, 0)
    found = _sums(rows.reshape(len(rows), samples, -1), each.reshape(len(rows), -1, 2))
    return Fed(Met(*found.sum(axis=0).T), Met(*found.sum(axis=1).T))


def _sums(rows: Values, weights: Values) -> Integers:
    return np.asarray(rows.astype(weights.dtype, copy=False) @ weights, dtype=np.int64)

"""Counting the events that meet weights in an ONNX graph, in a batch of samples at a time."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.onnx_meeting import Met
from nsc_deploy.energy.onnx_plan import Plan, wanted_values
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

    def __call__(self, values: Mapping[str, Values], axes: Mapping[str, int], samples: int) -> Met:
        """Of each sample of a batch.

        Args:
            values: what the run of the batch gave out.
            axes: along which each source holds the samples, from the end; empty for a single sample.
            samples: of the batch.
        """
        held = {
            name: (values[source], axes[source] if axes else None) for name, source in self._sources.items()
        }
        if len(held) == 1:
            ((name, (tensor, axis)),) = held.items()
            weights = self._of_each(name, tensor, axis)
            if weights is not None:
                apart = tensor if axis is None else np.moveaxis(tensor, axis, 0)
                rows = apart.reshape(samples, -1).astype(weights.dtype, copy=False)
                events, acs = (rows @ weights).astype(np.int64).T
                return Met(events, acs)
        return self._one_by_one(held, samples)

    def _of_each(self, name: str, tensor: Values, axis: int | None) -> Values | None:
        """For each value of one sample, in scans of all turns: [values, 2], 1 and the synapses it meets."""
        if self._weights is None:
            found = fan_out(self._site, name, tensor.shape[self._depth :])
            if found is None:
                return None
            everywhere = np.broadcast_to(found, tensor.shape)
            one = (everywhere if axis is None else np.moveaxis(everywhere, axis, 0)[0]).ravel()
            # A product of matrices is fastest on floats, and exact where no sum can be rounded.
            exact = np.float32 if max(one.size, int(one.sum())) < _EXACT else np.float64
            self._weights = np.stack([np.ones(one.size), one], axis=1).astype(exact)
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

"""The neuron at which two runs first part, over all steps of its sample."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.verification.divergence import LayerDivergence
from nsc_deploy.verification.runner import LayerTrace, RunTrace


@dataclass(frozen=True)
class Side:
    """One run of the neuron.

    Attributes:
        spikes: [T], whether it fired.
        potentials: [T] before the reset, in units of the graph, or None.
        threshold: what a potential is compared with, or None.
    """

    spikes: tuple[bool, ...]
    potentials: tuple[float, ...] | None
    threshold: float | None


@dataclass(frozen=True)
class Course:
    """Both runs of the neuron.

    Attributes:
        step: where they part.
        reference: the first run.
        other: the second run.
    """

    step: int
    reference: Side
    other: Side


def course_of(divergence: LayerDivergence, reference: RunTrace, other: RunTrace, sample: int) -> Course:
    """Both runs of the neuron of a divergence.

    Args:
        divergence: where the runs part.
        reference: the first run, of a batch.
        other: the second run, of the same batch.
        sample: place of the divergence's sample in the batch.
    """
    name, neuron = divergence.layer, divergence.neuron
    return Course(
        divergence.step,
        _side(reference.layers[name], sample, neuron),
        _side(other.layers[name], sample, neuron),
    )


def _side(layer: LayerTrace, sample: int, neuron: int) -> Side:
    fired: NDArray[Any] = np.zeros(0, bool)
    if layer.spikes is not None:
        fired = _of(np.asarray(layer.spikes), sample, neuron) > 0
    potentials = None if layer.potentials is None else _of(layer.potentials, sample, neuron)
    return Side(
        spikes=tuple(bool(value) for value in fired),
        potentials=None if potentials is None else tuple(float(value) for value in potentials),
        threshold=None if layer.threshold is None else float(layer.threshold.reshape(-1)[neuron]),
    )


def _of(values: NDArray[Any], sample: int, neuron: int) -> NDArray[Any]:
    """[T] of one neuron, from [T, N, *shape]."""
    picked: NDArray[Any] = values.reshape(*values.shape[:2], -1)[:, sample, neuron]
    return picked

"""What two runs of one graph can differ in, layer by layer, and where they first part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.verification.runner import LayerTrace, RunTrace


@dataclass(frozen=True)
class LayerParity:
    """How one layer compares.

    Attributes:
        node: name in the graph.
        primitive: the NIR class name.
        neurons: number of neurons.
        reference_spikes: spikes of the first run in all samples together; None for an integrator.
        other_spikes: of the second run.
        coincidence: share of coinciding (sample, step, neuron) spikes; None for an integrator, or of none.
        rmse: root of the mean squared difference of the potentials before the reset, in units of the
            graph; None where one side does not show them.
        largest_error: largest difference of a potential, or None.
        threshold: mean threshold of the first run; None for an integrator.
        largest_potential: largest magnitude of a potential of the first run; None where one side shows none.
        relative_rmse: the RMSE with the error of each neuron in units of its own threshold; where that is 0
            or there is none, of the layer's largest potential in the first run. None as for `rmse`.
    """

    node: str
    primitive: str
    neurons: int
    reference_spikes: int | None
    other_spikes: int | None
    coincidence: float | None
    rmse: float | None
    largest_error: float | None
    threshold: float | None
    largest_potential: float | None = None
    relative_rmse: float | None = None


@dataclass(frozen=True)
class LayerDivergence:
    """Where two runs part in one sample: the earliest step, in it the first layer, in it the first neuron.

    Attributes:
        sample: index of the sample.
        step: time step.
        layer: node of the graph.
        neuron: index in the layer, flattened.
        reference: whether it fired in the first run.
        other: whether it fired in the second.
        reference_potential: potential of the first run in that step, before the reset, or None.
        other_potential: of the second run.
        reference_threshold: what the potential was compared with, or None.
        other_threshold: in the second run, in units of the graph.
    """

    sample: int
    step: int
    layer: str
    neuron: int
    reference: bool
    other: bool
    reference_potential: float | None
    other_potential: float | None
    reference_threshold: float | None
    other_threshold: float | None


def divergences(
    layers: Sequence[str], reference: RunTrace, other: RunTrace, *, first_sample: int = 0
) -> tuple[LayerDivergence, ...]:
    """The first divergence of each sample that has one, by the spikes of the layers both runs show.

    Args:
        layers: names in the order of the graph.
        reference: the first run.
        other: the second run, of the same samples.
        first_sample: number of the first sample of the two.
    """
    shown = _spiking(layers, reference, other)
    if not shown:
        return ()
    differs = np.stack([_differing(one, two) for _, one, two in shown])  # [layers, T, N]
    return tuple(
        _divergence(shown, int(sample), differs[:, :, sample], first_sample)
        for sample in np.flatnonzero(differs.any(axis=(0, 1)))
    )


def _spiking(
    layers: Sequence[str], reference: RunTrace, other: RunTrace
) -> list[tuple[str, LayerTrace, LayerTrace]]:
    pairs = [
        (name, reference.layers[name], other.layers[name])
        for name in layers
        if name in reference.layers and name in other.layers
    ]
    return [pair for pair in pairs if pair[1].spikes is not None and pair[2].spikes is not None]


def _differing(one: LayerTrace, two: LayerTrace) -> NDArray[np.bool_]:
    """[T, N], whether any neuron differs."""
    unequal = _flat(one.spikes) != _flat(two.spikes)
    found: NDArray[np.bool_] = unequal.any(axis=2)
    return found


def _divergence(
    shown: list[tuple[str, LayerTrace, LayerTrace]], sample: int, differs: NDArray[np.bool_], first: int
) -> LayerDivergence:
    step = int(differs.any(axis=0).argmax())
    name, one, two = shown[int(differs[:, step].argmax())]
    fired, other = _flat(one.spikes)[step, sample] > 0, _flat(two.spikes)[step, sample] > 0
    neuron = int((fired != other).argmax())
    return LayerDivergence(
        sample=first + sample,
        step=step,
        layer=name,
        neuron=neuron,
        reference=bool(fired[neuron]),
        other=bool(other[neuron]),
        reference_potential=_potential(one, step, sample, neuron),
        other_potential=_potential(two, step, sample, neuron),
        reference_threshold=_threshold(one, neuron),
        other_threshold=_threshold(two, neuron),
    )


def _potential(layer: LayerTrace, step: int, sample: int, neuron: int) -> float | None:
    return None if layer.potentials is None else float(_flat(layer.potentials)[step, sample, neuron])


def _threshold(layer: LayerTrace, neuron: int) -> float | None:
    return None if layer.threshold is None else float(layer.threshold.reshape(-1)[neuron])


def _flat(values: Any) -> NDArray[Any]:
    array = np.asarray(values)
    return array.reshape(*array.shape[:2], -1)


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

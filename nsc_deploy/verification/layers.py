"""Two runs of one graph side by side, layer by layer, added up batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.network import Network
from nsc_deploy.verification.trace import LayerTrace, RunTrace, layer_names


@dataclass(frozen=True)
class LayerParity:
    """How one layer compares.

    Attributes:
        node: name in the graph.
        primitive: the NIR class name.
        neurons: number of neurons.
        reference_spikes: spikes of the first run in all samples together; None for an integrator.
        other_spikes: of the second run.
        coincidence: share of coinciding (sample, step, neuron) spikes; None for an integrator.
        rmse: root of the mean squared difference of the potentials before the reset, in units of the
            graph; None where one side does not show them.
        largest_error: largest difference of a potential, or None.
        threshold: mean threshold of the first run, as a yardstick for the errors; None for an integrator.
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


class LayerTally:
    """Adds up one layer over batches."""

    def __init__(self, network: Network, name: str) -> None:
        self._node = network.node(name)
        self._counts = np.zeros(4, np.int64)  # spikes of the first, of the second, in both, in either
        self._squares, self._values, self._largest = 0.0, 0, 0.0
        self._threshold: float | None = None
        self._seen_spikes = False

    def add(self, one: LayerTrace, two: LayerTrace) -> None:
        """Take in a batch."""
        if one.threshold is not None:
            self._threshold = float(np.mean(one.threshold, dtype=np.float64))
        if one.spikes is not None and two.spikes is not None:
            self._seen_spikes = True
            first, second = np.asarray(one.spikes) > 0, np.asarray(two.spikes) > 0
            self._counts += [first.sum(), second.sum(), (first & second).sum(), (first | second).sum()]
        if one.potentials is not None and two.potentials is not None:
            error = np.abs(one.potentials.astype(np.float64) - two.potentials)
            self._squares += float((error**2).sum())
            self._values += error.size
            self._largest = max(self._largest, float(error.max(initial=0.0)))

    def parity(self) -> LayerParity:
        """What the batches add up to."""
        first, second, both, either = (int(count) for count in self._counts)
        spikes, shown = self._seen_spikes, self._values > 0
        return LayerParity(
            node=self._node.name,
            primitive=self._node.primitive,
            neurons=int(np.prod(self._node.output_shape)),
            reference_spikes=first if spikes else None,
            other_spikes=second if spikes else None,
            coincidence=(both / either if either else 1.0) if spikes else None,
            rmse=float(np.sqrt(self._squares / self._values)) if shown else None,
            largest_error=self._largest if shown else None,
            threshold=self._threshold,
        )


class LayersTally:
    """Adds up all layers over batches, and keeps the first divergence.

    Args:
        network: the graph both runs are about.

    Attributes:
        first_divergence: None where no spike of a layer differs.
        diverging: number of samples in which one does.
    """

    def __init__(self, network: Network) -> None:
        self._names = layer_names(network)
        self._network = network
        self._tallies: dict[str, LayerTally] = {}
        self.first_divergence: LayerDivergence | None = None
        self.diverging = 0

    def add(self, reference: RunTrace, other: RunTrace, first_sample: int) -> None:
        """Take in a batch."""
        for name in self._names:
            if name in reference.layers and name in other.layers:
                tally = self._tallies.setdefault(name, LayerTally(self._network, name))
                tally.add(reference.layers[name], other.layers[name])
        found = divergences(self._names, reference, other, first_sample=first_sample)
        self.diverging += len(found)
        if self.first_divergence is None and found:
            self.first_divergence = found[0]

    def parities(self) -> tuple[LayerParity, ...]:
        """The layers both runs show, in the order of the graph."""
        return tuple(self._tallies[name].parity() for name in self._names if name in self._tallies)


def _flat(values: Any) -> NDArray[Any]:
    array = np.asarray(values)
    return array.reshape(*array.shape[:2], -1)

"""Two runs of one graph, layer by layer, added up batch by batch."""

import numpy as np

from nsc_deploy.graphs.network import Network
from nsc_deploy.verification.course import Course, course_of
from nsc_deploy.verification.divergence import LayerDivergence, LayerParity, divergences
from nsc_deploy.verification.runner import LayerTrace, RunTrace, layer_names


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
        first_course: the neuron of the first divergence over all steps, or None.
        diverging: number of samples in which one does.
    """

    def __init__(self, network: Network) -> None:
        self._names = layer_names(network)
        self._network = network
        self._tallies: dict[str, LayerTally] = {}
        self.first_divergence: LayerDivergence | None = None
        self.first_course: Course | None = None
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
            self.first_course = course_of(found[0], reference, other, found[0].sample - first_sample)

    def parities(self) -> tuple[LayerParity, ...]:
        """The layers both runs show, in the order of the graph."""
        return tuple(self._tallies[name].parity() for name in self._names if name in self._tallies)

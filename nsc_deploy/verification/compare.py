"""Two backends run one graph on the same inputs, batch by batch; everything that can be said about it.

`run`, `verify` and the check at the end of an export are all `compare_runs`, each with runners of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import BackendError, DataError
from nsc_deploy.graphs.network import Network, Node, Signal
from nsc_deploy.graphs.readout import decide, readout_of, require_classes
from nsc_deploy.graphs.simulate import samples_at_once
from nsc_deploy.verification.divergence import Course, LayerDivergence, LayerParity, course_of, divergences
from nsc_deploy.verification.runner import LayerTrace, Runner, RunTrace, layer_names

BATCH = 50
REAL_TOLERANCE = 1e-5
"""Of the largest output: what float32 sums of some thousand terms differ by in another order."""
Judge = Callable[[RunTrace, RunTrace, tuple[LayerDivergence, ...], int], None]


@dataclass(frozen=True)
class OutputParity:
    """How the outputs compare.

    Attributes:
        equal: whether every value is equal.
        reference_spikes: output spikes of the first run; None where the outputs are no spikes.
        other_spikes: of the second run.
        rate_cosine: cosine between the firing rates, mean over the samples that fire on a side, or None.
        coincidence: share of coinciding (sample, step, neuron) spikes, or None.
        rmse: root of the mean squared difference where the outputs are no spikes, else None.
        compared: number of outputs: of samples, steps and neurons.
        differing: how many of them are not equal.
        largest: largest difference of an output.
        range: largest magnitude of an output.
    """

    equal: bool
    reference_spikes: int | None
    other_spikes: int | None
    rate_cosine: float | None
    coincidence: float | None
    rmse: float | None
    compared: int = 0
    differing: int = 0
    largest: float = 0.0
    range: float = 0.0

    @property
    def silent(self) -> bool:
        """Whether no output fires, or is other than 0, on either side, which says nothing of either."""
        return self.range == 0

    @property
    def told(self) -> Self:
        """What is shown to a reader: figures of spikes that say nothing, 1 where none fired, are left out."""
        return replace(self, rate_cosine=None, coincidence=None) if self.silent else self

    @property
    def agrees(self) -> bool:
        """Whether spikes are equal, or real values up to rounding of float32."""
        if self.reference_spikes is not None:
            return self.equal
        return self.largest <= REAL_TOLERANCE * self.range


@dataclass(frozen=True)
class DecisionParity:
    """How the decisions compare, read from the outputs as the graph says.

    Attributes:
        agreement: share of equal decisions.
        confusion: [classes, classes] samples by the decision of the first run (row) and of the second.
        reference_accuracy: of the first run, or None without labels.
        other_accuracy: of the second.
    """

    agreement: float
    confusion: tuple[tuple[int, ...], ...]
    reference_accuracy: float | None
    other_accuracy: float | None


@dataclass(frozen=True)
class Comparison:
    """Two runs of one graph side by side.

    Attributes:
        reference: name of the first backend.
        other: name of the second.
        steps: time steps of a sample.
        samples: samples compared.
        output: the outputs.
        decisions: None where the graph has no readout.
        layers: the layers that both backends show, in the order of the graph.
        first_divergence: None where no spike differs; its sample counts from the first one compared.
        first_course: the neuron of the first divergence over all steps; None where no layer differs.
        diverging_samples: samples in which a spike differs.
        reference_seconds: time the first backend took.
        other_seconds: time the second took.
    """

    reference: str
    other: str
    steps: int
    samples: int
    output: OutputParity
    decisions: DecisionParity | None
    layers: tuple[LayerParity, ...]
    first_divergence: LayerDivergence | None
    first_course: Course | None
    diverging_samples: int
    reference_seconds: float
    other_seconds: float

    @property
    def equal(self) -> bool:
        """Whether every spike and every output compared is equal."""
        return self.output.equal and self.first_divergence is None

    @property
    def reference_spikes(self) -> int:
        """Spikes of the first run in all layers compared; those of the outputs where no layer fires."""
        of_layers = sum(layer.reference_spikes or 0 for layer in self.layers)
        return of_layers or self.output.reference_spikes or 0


def compare_runs(
    network: Network,
    reference: Runner,
    other: Runner,
    values: NDArray[Any],
    *,
    labels: NDArray[np.int64] | None = None,
    at: str | None = None,
    judge: Judge = lambda _one, _two, _divergences, _first_sample: None,
    advance: Callable[[int], None] = lambda _samples: None,
) -> Comparison:
    """Run both on the same inputs and compare.

    Args:
        network: the graph.
        reference: the first backend.
        other: the second.
        values: what enters, [T, N, *shape].
        labels: [N], the true classes.
        at: a node whose spikes, which both show, are compared in place of the outputs; decisions are read
            from the outputs all the same.
        judge: called for each batch with both runs, the first divergence of each sample that has one, and
            the number of the first sample; it raises where that is not good enough.
        advance: called with the number of samples finished since the last call.

    Raises:
        DataError: outputs or labels of shapes that do not fit.
        BackendError: a backend is missing, failed, or gave NaN or infinity.
    """
    if labels is not None and labels.shape != (values.shape[1],):
        raise DataError(f"{labels.shape} labels for {values.shape[1]} samples")
    tally, parts, seconds = LayersTally(network), [], [0.0, 0.0]
    batch = samples_at_once(network, len(values), BATCH)
    for start in range(0, values.shape[1], batch):
        part = values[:, start : start + batch]
        one, two = _timed(reference, part, seconds, 0), _timed(other, part, seconds, 1)
        if one.output.shape != two.output.shape:
            raise DataError(f"outputs of shapes {one.output.shape} and {two.output.shape} cannot be compared")
        judge(one, two, tally.add(one, two, start), start)
        parts.append((one.output, two.output, spikes_at(one, at), spikes_at(two, at)))
        advance(part.shape[1])
    first, second, left, right = (np.concatenate(sides, axis=1) for sides in zip(*parts, strict=True))
    place = network.output_node if at is None else network.node(at)
    # Not every backend shows each layer that parts, so outputs may part where no layer shown does.
    found = sorted((*tally.divergences, *_output_divergences(place, left, right)), key=_time)
    earliest = found[0] if found else None
    return Comparison(
        reference=reference.name,
        other=other.name,
        steps=int(values.shape[0]),
        samples=int(values.shape[1]),
        output=_outputs(place, left, right),
        decisions=_decisions(network, first, second, labels),
        layers=tally.parities(),
        first_divergence=earliest,
        first_course=tally.first_course if earliest in tally.divergences[:1] else None,
        diverging_samples=len({one.sample for one in found}),
        reference_seconds=seconds[0],
        other_seconds=seconds[1],
    )


def _time(divergence: LayerDivergence) -> tuple[int, int]:
    return divergence.sample, divergence.step


def spikes_at(trace: RunTrace, node: str | None) -> NDArray[Any]:
    """The spikes of a node that a run shows; the output where none is named."""
    spikes = trace.output if node is None else trace.layers[node].spikes
    if spikes is None:
        raise TypeError(f"'{node}' has no spikes")
    return spikes


def _timed(runner: Runner, part: NDArray[Any], seconds: list[float], side: int) -> RunTrace:
    started = perf_counter()
    trace = runner.run(part)
    seconds[side] += perf_counter() - started
    _require_finite(runner.name, trace)
    return trace


def _require_finite(backend: str, trace: RunTrace) -> None:
    """Refuse values that no figure can be made of, and that are neither equal nor unequal to any other."""
    shown = [("outputs", trace.output)]
    for name, layer in trace.layers.items():
        of_layer = (("spikes", layer.spikes), ("potentials", layer.potentials))
        shown += [(f"{what} of layer '{name}'", values) for what, values in of_layer if values is not None]
    for what, values in shown:
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise BackendError(
                f"{backend} gave NaN or infinity among its {what}",
                hint="That is equal to nothing: its numbers are damaged, or too large for float32.",
            )


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    return values.reshape(*values.shape[:2], -1)


def _outputs(place: Node, one: NDArray[Any], two: NDArray[Any]) -> OutputParity:
    differing = int((one != two).sum())
    equal, error = not differing, np.abs(one.astype(np.float64) - two)
    size = max(float(np.abs(side).max(initial=0)) for side in (one, two))
    extent = (one.size, differing, float(error.max(initial=0)), size)
    if place.emits is not Signal.EVENTS:
        return OutputParity(equal, None, None, None, None, float(np.sqrt((error**2).mean())), *extent)
    first, second = _flat(one) > 0, _flat(two) > 0
    return OutputParity(
        equal,
        int(first.sum()),
        int(second.sum()),
        rate_cosine(first, second),
        coincidence(first, second),
        None,
        *extent,
    )


def rate_cosine(reference: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Mean over samples of the cosine between firing rates: of those that fire on a side; 1 where none does.

    A sample that is silent on one side counts as 0; those silent on both would hide what the others do.
    """
    one, two = reference.sum(axis=0, dtype=np.float64), other.sum(axis=0, dtype=np.float64)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    fires = one.any(axis=1) | two.any(axis=1)
    cosine = np.divide((one * two).sum(axis=1), norms, out=np.zeros_like(norms), where=norms > 0)
    return float(np.minimum(cosine, 1.0).mean(where=fires)) if fires.any() else 1.0


def coincidence(reference: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Spikes at the same (sample, step, neuron) in both, of those in at least one; 1 where neither fires."""
    either = int((reference | other).sum())
    return 1.0 if either == 0 else int((reference & other).sum()) / either


def _output_divergences(place: Node, one: NDArray[Any], two: NDArray[Any]) -> tuple[LayerDivergence, ...]:
    """Where outputs part that no layer shown explains: a backend that shows no layers."""
    if place.emits is not Signal.EVENTS:
        return ()
    traces = [RunTrace(side, {place.name: LayerTrace(side)}) for side in (one, two)]
    return divergences([place.name], traces[0], traces[1])


def _decisions(
    network: Network, one: NDArray[Any], two: NDArray[Any], labels: NDArray[np.int64] | None
) -> DecisionParity | None:
    readout = readout_of(network)
    if readout is None:
        return None
    require_classes(labels, readout[0])
    first, second = decide(_flat(one), *readout), decide(_flat(two), *readout)
    confusion = np.zeros((readout[0], readout[0]), np.int64)
    np.add.at(confusion, (first, second), 1)
    return DecisionParity(
        agreement=float((first == second).mean()),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        reference_accuracy=None if labels is None else float((first == labels).mean()),
        other_accuracy=None if labels is None else float((second == labels).mean()),
    )


class LayerTally:
    """Adds up one layer over batches."""

    def __init__(self, network: Network, name: str) -> None:
        self._node = network.node(name)
        self._counts = np.zeros(4, np.int64)  # spikes of the first, of the second, in both, in either
        self._squares, self._values, self._largest, self._range = 0.0, 0, 0.0, 0.0
        self._squares_of: NDArray[np.float64] = np.zeros(self._node.output_shape)
        self._thresholds: NDArray[np.float64] | None = None
        self._seen_spikes = False

    def add(self, one: LayerTrace, two: LayerTrace) -> None:
        """Take in a batch."""
        if one.threshold is not None:
            self._thresholds = one.threshold.astype(np.float64)
        if one.spikes is not None and two.spikes is not None:
            self._seen_spikes = True
            first, second = np.asarray(one.spikes) > 0, np.asarray(two.spikes) > 0
            self._counts += [first.sum(), second.sum(), (first & second).sum(), (first | second).sum()]
        if one.potentials is not None and two.potentials is not None:
            error = np.abs(one.potentials.astype(np.float64) - two.potentials)
            self._squares += float((error**2).sum())
            self._squares_of += (error**2).sum(axis=(0, 1)).reshape(self._squares_of.shape)
            self._values += error.size
            self._largest = max(self._largest, float(error.max(initial=0.0)))
            self._range = max(self._range, float(np.abs(one.potentials).max(initial=0.0)))

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
            coincidence=both / either if spikes and either else None,
            rmse=float(np.sqrt(self._squares / self._values)) if shown else None,
            largest_error=self._largest if shown else None,
            threshold=None if self._thresholds is None else float(self._thresholds.mean()),
            largest_potential=self._range if shown else None,
            relative_rmse=self._relative_rmse() if shown else None,
        )

    def _relative_rmse(self) -> float:
        """In a mean of thresholds, a single one that is very large would hide the errors of all neurons."""
        shape, wrong = self._squares_of.shape, self._squares_of > 0
        own = np.zeros(shape) if self._thresholds is None else np.abs(self._thresholds).reshape(shape)
        # Potentials that should all be 0 are wholly off.
        other = self._range or float(np.sqrt(self._squares / self._values))
        unit = np.where(own > 0, own, other)
        relative = np.divide(self._squares_of, unit**2, out=np.zeros(shape), where=wrong)
        return float(np.sqrt(relative.sum() / self._values))


class LayersTally:
    """Adds up all layers over batches, and keeps the first divergence.

    Args:
        network: the graph both runs are about.

    Attributes:
        divergences: the first one of each sample in which a spike of a layer differs.
        first_course: the neuron of the first of them over all steps, or None.
    """

    def __init__(self, network: Network) -> None:
        self._names = layer_names(network)
        self._network = network
        self._tallies: dict[str, LayerTally] = {}
        self.divergences: list[LayerDivergence] = []
        self.first_course: Course | None = None

    def add(self, reference: RunTrace, other: RunTrace, first_sample: int) -> tuple[LayerDivergence, ...]:
        """Take in a batch; the first divergence of each of its samples that has one."""
        for name in self._names:
            if name in reference.layers and name in other.layers:
                tally = self._tallies.setdefault(name, LayerTally(self._network, name))
                tally.add(reference.layers[name], other.layers[name])
        found = divergences(self._names, reference, other, first_sample=first_sample)
        if found and not self.divergences:
            self.first_course = course_of(found[0], reference, other, found[0].sample - first_sample)
        self.divergences += found
        return found

    def parities(self) -> tuple[LayerParity, ...]:
        """The layers both runs show, in the order of the graph."""
        return tuple(self._tallies[name].parity() for name in self._names if name in self._tallies)

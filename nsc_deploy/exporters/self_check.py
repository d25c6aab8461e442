"""The check every export of an exact target ends with: its artefact beside the reference simulator."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.inputs import SEED, CheckInputs
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.verification.divergence import LayerDivergence, divergences
from nsc_deploy.verification.record import VerificationRecord
from nsc_deploy.verification.runner import ReferenceRunner, Runner, RunTrace, layer_names

TOLERANCE = 1e-4
_BATCH = 64
_REMEDY = (
    "Nothing was written. Please report this with the graph: it is a fault of the exporter or its backend."
)


@dataclass
class _Found:
    """What the batches add up to."""

    spikes: int = 0
    equal: bool = True
    diverging: set[int] = field(default_factory=set)


def check_artefact(
    network: Network, runners: Sequence[Runner], inputs: CheckInputs, backend: str
) -> VerificationRecord:
    """Run an artefact and the reference simulator on the same inputs, and compare every layer shown.

    Where both sums and products are exact, as with weights on a dyadic grid, everything must be equal. Else
    another order of summation may round a potential to the other side of its threshold; such a sample passes
    where its first divergence is that close (see `TOLERANCE`), and what follows from it cannot be judged.

    Args:
        network: the graph.
        runners: each runs the artefact, or one of its files; all must be right.
        inputs: what enters.
        backend: name and version for the record.

    Raises:
        ExportError: the artefact computes something else.
    """
    reference, found = ReferenceRunner(network), _Found()
    samples = inputs.values.shape[1]
    for start in range(0, samples, _BATCH):
        part = inputs.values[:, start : start + _BATCH]
        right = reference.run(part)
        found.spikes += _spikes(right)
        for runner in runners:
            _compare(network, right, runner.run(part), start, found)
    return VerificationRecord(
        backend=backend,
        inputs=inputs.kind,
        seed=SEED if inputs.kind == "random" else None,
        samples=samples,
        steps=inputs.values.shape[0],
        spikes=found.spikes,
        equal=found.equal,
        diverging_samples=len(found.diverging),
        tolerance=None if found.equal else TOLERANCE,
    )


def _compare(network: Network, one: RunTrace, two: RunTrace, start: int, found: _Found) -> None:
    if one.output.shape != two.output.shape:
        raise ExportError(
            f"the artefact gives outputs of shape {two.output.shape} where {one.output.shape} is right",
            remedy=_REMEDY,
        )
    parted = divergences(layer_names(network), one, two, first_sample=start)
    for divergence in parted:
        _refuse_unexplained(divergence, one)
    found.diverging |= {divergence.sample for divergence in parted}
    whole = np.ones(one.output.shape[1], bool)
    whole[[divergence.sample - start for divergence in parted]] = False
    _refuse_other_outputs(network, one.output[:, whole], two.output[:, whole])
    found.equal &= not parted and bool((one.output == two.output).all())


def _spikes(trace: RunTrace) -> int:
    return sum(int(layer.spikes.sum()) for layer in trace.layers.values() if layer.spikes is not None)


def _refuse_unexplained(divergence: LayerDivergence, trace: RunTrace) -> None:
    """A spike that differs although its potential is nowhere near the threshold is a wrong artefact."""
    layer = trace.layers[divergence.layer]
    one, two = divergence.reference_potential, divergence.other_potential
    threshold = divergence.reference_threshold
    if layer.potentials is None or one is None or threshold is None:
        raise TypeError("the reference shows potentials and thresholds")
    near = TOLERANCE * float(np.abs(layer.potentials).max())
    if two is not None and abs(one - two) <= near and abs(one - threshold) <= near:
        return
    fired = "the reference fires" if divergence.reference else "the artefact fires"
    shown = "unknown" if two is None else f"{two:g}"
    raise ExportError(
        f"the artefact computes something else: in sample {divergence.sample}, step {divergence.step}, "
        f"neuron {divergence.neuron} only {fired} (potentials {one:g} and {shown}, "
        f"threshold {threshold:g})",
        where=f"node '{divergence.layer}'",
        remedy=_REMEDY,
    )


def _refuse_other_outputs(network: Network, one: NDArray[Any], two: NDArray[Any]) -> None:
    if network.output_node.emits is Signal.EVENTS:
        wrong = bool((one != two).any())
        error = 1.0
    else:
        error = float(np.abs(one.astype(np.float64) - two).max(initial=0.0))
        wrong = not error <= TOLERANCE * float(np.abs(one).max(initial=0.0))
    if wrong:
        raise ExportError(
            f"the artefact computes something else: outputs differ by up to {error:g} where no spike does",
            where=f"node '{network.output_node.name}'",
            remedy=_REMEDY,
        )

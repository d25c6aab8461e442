"""How two runs of one graph compare: accuracy, firing rates, coinciding spikes, first divergence."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.graphs.readout import decide


@dataclass(frozen=True)
class Divergence:
    """The first place where two runs differ: the earliest step of the first sample that differs.

    Attributes:
        sample: index of the sample.
        step: time step.
        neuron: index of the neuron, the lowest of those that differ in that step.
        reference: whether it fired in the reference.
        other: whether it fired in the other run.
    """

    sample: int
    step: int
    neuron: int
    reference: bool
    other: bool


@dataclass(frozen=True)
class Parity:
    """Two runs of one graph on the same inputs, side by side.

    Attributes:
        samples: samples compared.
        reference_spikes: spikes of the reference in all samples together.
        other_spikes: spikes of the other run.
        rate_cosine: cosine between the two firing-rate vectors of a sample, averaged over samples; two
            silent samples count as 1, one silent of two as 0.
        coincidence: share of coinciding spikes: those at the same (sample, step, neuron) in both runs, of
            those in at least one (1 where neither fired).
        agreement: share of equal decisions, or None without a readout.
        reference_accuracy: of the reference, or None without labels.
        other_accuracy: of the other run, or None without labels.
        first_divergence: None where all spikes are equal.
    """

    samples: int
    reference_spikes: int
    other_spikes: int
    rate_cosine: float
    coincidence: float
    agreement: float | None
    reference_accuracy: float | None
    other_accuracy: float | None
    first_divergence: Divergence | None


def measure_parity(
    reference: NDArray[Any],
    other: NDArray[Any],
    *,
    readout: tuple[int, int] | None = None,
    labels: NDArray[np.int64] | None = None,
) -> Parity:
    """Compare output spikes of two runs.

    Args:
        reference: [steps, samples, neurons], 0 or 1.
        other: of the same shape.
        readout: classes and group, to turn spikes into decisions.
        labels: [samples], the true classes.

    Raises:
        DataError: shapes that do not fit.
    """
    if reference.shape != other.shape or reference.ndim != 3:
        raise DataError(f"runs of shapes {reference.shape} and {other.shape} cannot be compared")
    if labels is not None and labels.shape != (reference.shape[1],):
        raise DataError(f"{labels.shape} labels for {reference.shape[1]} samples")
    one, two = reference.astype(bool), other.astype(bool)
    decisions = None if readout is None else (decide(one, *readout), decide(two, *readout))
    return Parity(
        samples=int(one.shape[1]),
        reference_spikes=int(one.sum()),
        other_spikes=int(two.sum()),
        rate_cosine=rate_cosine(one, two),
        coincidence=coincidence(one, two),
        agreement=None if decisions is None else _share(decisions[0], decisions[1]),
        reference_accuracy=None if decisions is None or labels is None else _share(decisions[0], labels),
        other_accuracy=None if decisions is None or labels is None else _share(decisions[1], labels),
        first_divergence=first_divergence(one, two),
    )


def rate_cosine(reference: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Mean over samples of the cosine between firing-rate vectors (see `Parity`)."""
    one, two = reference.sum(axis=0, dtype=np.float64), other.sum(axis=0, dtype=np.float64)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    both_silent = ~one.any(axis=1) & ~two.any(axis=1)
    cosine = np.divide((one * two).sum(axis=1), norms, out=both_silent.astype(np.float64), where=norms > 0)
    return float(np.minimum(cosine, 1.0).mean())


def coincidence(reference: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Share of coinciding spikes (see `Parity`)."""
    either = int((reference | other).sum())
    return 1.0 if either == 0 else int((reference & other).sum()) / either


def first_divergence(reference: NDArray[np.bool_], other: NDArray[np.bool_]) -> Divergence | None:
    """The earliest difference in the first sample that has one."""
    differs = (reference != other).transpose(1, 0, 2)
    if not differs.any():
        return None
    sample, step, neuron = (int(index) for index in np.unravel_index(differs.argmax(), differs.shape))
    fired = bool(reference[step, sample, neuron])
    return Divergence(sample, step, neuron, fired, not fired)


def _share(one: NDArray[Any], two: NDArray[Any]) -> float:
    return float((one == two).mean())

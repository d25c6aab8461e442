"""Runs a deployment folder on recorded inputs, and its floating-point graph beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.exporters.inputs import named_or_own
from nsc_deploy.exporters.lava.arithmetic import output_spikes
from nsc_deploy.exporters.lava.deployment import LavaDeployment
from nsc_deploy.exporters.lava.lowering.pipeline import flat_events
from nsc_deploy.exporters.lava.worker import SILENCE_S, run_in_lava
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.readout import decide
from nsc_deploy.graphs.simulate import simulate_batches
from nsc_deploy.io.text import counted
from nsc_deploy.verification import Parity, measure_parity

CHUNK = 50

Advance = Callable[[int], None]


class Backend(StrEnum):
    """What executes a deployment."""

    LAVA = "lava"
    EMULATOR = "twin"
    REFERENCE = "reference"


@dataclass(frozen=True)
class Outcome:
    """A run of a deployment beside the floating-point reference.

    Attributes:
        backend: what ran it.
        samples: [samples] indices in the recording of the samples run.
        spikes: [steps, samples, outputs] uint8 of the backend.
        decisions: [samples] of the backend, or None without a readout.
        reference_decisions: [samples] of the reference, or None without a readout.
        labels: [samples], or None where none were recorded.
        parity: the comparison.
        seconds: time the backend took, start included.
        output_error: largest difference of an output behind a read-out on the host; None without one.
    """

    backend: Backend
    samples: NDArray[np.int64]
    spikes: NDArray[np.uint8]
    decisions: NDArray[np.int64] | None
    reference_decisions: NDArray[np.int64] | None
    labels: NDArray[np.int64] | None
    parity: Parity
    seconds: float
    output_error: float | None = None


def run_deployment(
    deployment: LavaDeployment,
    backend: Backend,
    *,
    samples: int | None = None,
    inputs: Path | None = None,
    silence_s: float = SILENCE_S,
    advance: Advance = lambda _samples: None,
) -> Outcome:
    """Run recorded samples and compare with the floating-point graph.

    Fewer samples than there are lie evenly over the recording, which may be sorted by class.

    Args:
        deployment: the folder.
        backend: what runs it.
        samples: how many; all when None.
        inputs: a recording other than the one in the folder.
        silence_s: seconds without a sign of life after which Lava is given up.
        advance: called with the number of samples finished since the last call.

    Raises:
        ConfigError: no inputs, or inputs that do not fit.
        BackendError: Lava is missing or failed.
    """
    recording = _recording(deployment, inputs)
    chosen = chosen_samples(recording, samples)
    events = recording.values[:, chosen]
    labels = None if recording.labels is None else recording.labels[chosen]
    graph = deployment.graph()
    reference = flat_events(simulate_batches(graph, events)[graph.output_node.name])
    started = perf_counter()
    spikes = reference
    if backend is not Backend.REFERENCE:
        spikes = chip_spikes(deployment, backend, flat_events(events), silence_s, advance)
    seconds = perf_counter() - started
    readout = _readout(deployment)
    return Outcome(
        backend=backend,
        samples=chosen,
        spikes=spikes,
        decisions=None if readout is None else decide(spikes, *readout),
        reference_decisions=None if readout is None else decide(reference, *readout),
        labels=labels,
        parity=measure_parity(reference, spikes, readout=readout, labels=labels),
        seconds=seconds,
    )


def chip_spikes(
    deployment: LavaDeployment,
    backend: Backend,
    events: NDArray[np.uint8],
    silence_s: float,
    advance: Advance,
) -> NDArray[np.uint8]:
    """Run the integers of a deployment chunk by chunk, so that the memory of one Lava runtime stays bounded.

    Args:
        deployment: the folder.
        backend: Lava or the emulator.
        events: [steps, samples, lines].
        silence_s: seconds without a sign of life after which Lava is given up.
        advance: called with the number of samples finished since the last call.

    Returns:
        [steps, samples, outputs].
    """
    parts = []
    for start in range(0, events.shape[1], CHUNK):
        part = events[:, start : start + CHUNK]
        if backend is Backend.LAVA:
            parts.append(run_in_lava(deployment.integers, part, silence_s=silence_s, advance=advance).spikes)
        else:
            parts.append(output_spikes(deployment.integers, part))
            advance(part.shape[1])
    return np.concatenate(parts, axis=1)


def _recording(deployment: LavaDeployment, inputs: Path | None) -> Recording:
    recording = named_or_own(inputs, deployment.recording, deployment.folder)
    lines = int(np.prod(recording.shape))
    if recording.signal is not Signal.EVENTS or lines != deployment.integers.inputs:
        raise DataError(
            f"holds {recording.signal.value} of shape {recording.shape}, "
            f"where {deployment.integers.inputs} event lines are wanted",
            where=deployment.folder if inputs is None else inputs,
        )
    if not np.isclose(recording.dt, deployment.manifest.dt, rtol=1e-6):
        raise DataError(
            f"was recorded with steps of {recording.dt:g} s, the graph has {deployment.manifest.dt:g} s",
            where=deployment.folder if inputs is None else inputs,
        )
    return recording


def chosen_samples(recording: Recording, samples: int | None) -> NDArray[np.int64]:
    """Indices that lie evenly over a recording, which may be sorted by class; all of them when None.

    Raises:
        ConfigError: more are wanted than there are.
    """
    available = recording.samples
    count = available if samples is None else samples
    if not 1 <= count <= available:
        wanted, there = counted(count, "sample is", "samples are"), counted(available, "is", "are")
        raise ConfigError(
            f"{wanted} wanted and {there} there",
            where="--samples",
            hint="Ask for no more than there are, or leave it out for all of them.",
        )
    return np.arange(count, dtype=np.int64) * available // count


def _readout(deployment: LavaDeployment) -> tuple[int, int] | None:
    classes, group = deployment.manifest.classes, deployment.manifest.group
    if classes is None or classes * (group or 1) != deployment.integers.outputs:
        return None
    return classes, group or 1

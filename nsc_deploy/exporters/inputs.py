"""The inputs that artefacts are compared on: recorded ones, or random ones where there are none."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.base import Deployment, ExportRequest
from nsc_deploy.graphs.formats.recording import (
    Recording,
    is_plain,
    read_inputs,
    require_step,
    write_recording,
)
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.io.files import sha256
from nsc_deploy.io.npz import load_npz
from nsc_deploy.io.text import counted

MOST_SAMPLES = 256
SEED = 0
_RANDOM_STEPS, _RANDOM_SAMPLES, _RATE = 32, 8, 0.3


@dataclass(frozen=True)
class Samples:
    """Inputs chosen for a comparison.

    Attributes:
        values: [T, N, *shape].
        labels: [N], or None.
        indices: [N], their places in the recording.
        recorded: samples of the recording.
        seed: of random ones; None where they were recorded.
    """

    values: NDArray[Any]
    labels: NDArray[np.int64] | None
    indices: NDArray[np.int64]
    recorded: int
    seed: int | None = None


def choose_samples(deployment: Deployment, inputs: Path | None, count: int | None) -> Samples:
    """Recorded inputs of a deployment; fewer than there are lie evenly over the recording.

    Args:
        deployment: whose graph they enter.
        inputs: a recording other than its own.
        count: how many; None for all.

    Raises:
        ConfigError: there are no inputs, or fewer than wanted, or they were recorded for another graph.
        DataError: the recording is damaged.
    """
    file = inputs or deployment.recording_file
    if file is None:
        raise ConfigError(
            "has no recorded inputs", where=deployment.path, hint="Name a recording with --inputs FILE.npz."
        )
    recording = recording_for(deployment.network, file)
    fits(recording, deployment.network, deployment.path if inputs is None else inputs)
    return spread(recording, recording.samples if count is None else count)


def check_inputs(request: ExportRequest) -> Samples:
    """What an export is checked on: at most 256 recorded samples, or random ones where there are none.

    Raises:
        ConfigError: the recording is not of this graph.
        DataError: the recording is damaged.
    """
    if request.recording_file is None:
        values = random_inputs(request.network)
        return Samples(values, None, np.arange(values.shape[1]), values.shape[1], SEED)
    recording = recording_for(request.network, request.recording_file)
    fits(recording, request.network, request.recording_file)
    return spread(recording, min(recording.samples, MOST_SAMPLES))


def calibration_inputs(request: ExportRequest) -> Recording | None:
    """What scales are chosen on, or None.

    Raises:
        ConfigError: fewer samples than asked for, of another graph, or those the artefact is checked on.
        DataError: the recording is damaged.
    """
    source = request.calibration
    if source is None:
        return None
    recording = recording_for(request.network, source.file)
    fits(recording, request.network, source.told)
    if request.recording_file is not None and sha256(source.file) == sha256(request.recording_file):
        raise ConfigError(
            "holds the very inputs that the export is checked on: figures measured there would flatter",
            where=source.told,
            hint="Record other samples to choose the scales on, best of the training part.",
        )
    wanted = recording.samples if source.samples is None else source.samples
    if wanted > recording.samples:
        raise ConfigError(
            f"{wanted} samples are wanted and {recording.samples} are in {source.told}",
            where="--calibrate",
            hint="Ask for no more than there are, or leave it out for all of them.",
        )
    return recording.first(wanted)


def recording_for(network: Network, file: Path) -> Recording:
    """A recording; or plain arrays, taken for what the graph takes in.

    Raises:
        DataError: damaged, or values other than those the graph takes in.
    """
    return read_inputs(file, signal=network.input_node.emits, dt=network.dt or 1.0)


def copy_recording(network: Network, file: Path, to: Path) -> None:
    """Put recorded inputs into a folder: a recording as it is, plain arrays as a recording.

    Raises:
        DataError: as `recording_for`.
        UserError: the place cannot be written.
    """
    if file.suffix == ".npy" or is_plain(load_npz(file)):
        write_recording(to, recording_for(network, file))
    else:
        shutil.copyfile(file, to)


def fits(recording: Recording, network: Network, where: object) -> None:
    """Refuse a recording of another graph.

    Raises:
        ConfigError: shape, signal or time step differ.
    """
    node = network.input_node
    if recording.signal is not node.emits or recording.shape != node.output_shape:
        raise ConfigError(
            f"the recording ({recording.signal.value} of shape {recording.shape}) is not this graph's input "
            f"({node.emits.value} of shape {node.output_shape})",
            where=where,
            hint=_hint(recording, network),
        )
    require_step(recording, network.dt, where)


def spread(recording: Recording, count: int) -> Samples:
    """Samples that lie evenly over a recording, which may be sorted by class.

    Raises:
        ConfigError: more are wanted than there are.
    """
    available = recording.samples
    if not 1 <= count <= available:
        wanted, there = counted(count, "sample is", "samples are"), counted(available, "is", "are")
        raise ConfigError(
            f"{wanted} wanted and {there} there",
            where="--samples",
            hint="Ask for no more than there are, or leave it out for all of them.",
        )
    chosen = np.arange(count, dtype=np.int64) * available // count
    labels = None if recording.labels is None else recording.labels[chosen]
    return Samples(recording.values[:, chosen], labels, chosen, available)


def random_inputs(network: Network) -> NDArray[Any]:
    """Seeded inputs of the kind the graph takes; real ones lie on a grid of 1/64, so that sums stay exact."""
    node = network.input_node
    chance = np.random.default_rng(SEED)
    shape = (_RANDOM_STEPS, _RANDOM_SAMPLES, *node.output_shape)
    if node.emits is Signal.EVENTS:
        return (chance.random(shape) < _RATE).astype(np.uint8)
    if node.emits is Signal.GRADED:
        return chance.integers(0, 4, shape).astype(np.float32)
    return (np.round(chance.normal(0.25, 1, shape) * 64) / 64).astype(np.float32)


def _hint(recording: Recording, network: Network) -> str:
    node = network.input_node
    if recording.shape == node.output_shape and "signal" not in node.parameters.metadata:
        return f"The graph does not say what enters; --signal {recording.signal.value} says it."
    return "Name inputs that were recorded for this graph."

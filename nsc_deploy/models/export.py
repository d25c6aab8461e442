"""From a trained system to graphs, recorded inputs and deployment.json; every graph is checked on the way.

Two kinds of inputs are recorded: those of the test part, which artefacts are judged by, and calibration
inputs from training samples, which choose scales.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nsc_deploy.channels.separate import CodedLink
from nsc_deploy.config.speech import SpeechExperiment, SystemName
from nsc_deploy.data import EventData, EventSet
from nsc_deploy.deployment import (
    ChannelUse,
    Deployment,
    Part,
    Place,
    SeparateCoding,
    Side,
    write_deployment,
)
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_run import run_onnx
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.models.stage import Stage, StageLabel
from nsc_deploy.models.system import System

CALIBRATION = ".calibration.npz"
_ENDINGS = (".nir", ".onnx", ".npz", CALIBRATION)
BATCH = 256
"""Samples run at once. The channel draws its noise sample by sample: the results do not depend on it."""
ONNX_TOLERANCE = 1e-3
"""Largest difference between an ONNX graph and torch, relative to the largest output: both round."""
_NOTHING = 1e-6
"""What is allowed where every output is so small that only the rounding of what they are made of is left."""


@dataclass(frozen=True)
class StageRun:
    """A stage of a system with what went through it.

    Attributes:
        stage: the stage.
        side: the end of the link it is at.
        inputs: [T, N, in].
        outputs: [T, N, out].
    """

    stage: Stage
    side: Side
    inputs: NDArray[Any]
    outputs: NDArray[Any]

    @property
    def name(self) -> str:
        """Name of the part: the side, and the stage's label if it has one."""
        return part_name(self.side, self.stage.label)


def part_name(side: Side, label: StageLabel) -> str:
    """How deployment.json calls a stage at an end of the link."""
    return f"{side}-{label}" if label else str(side)


def graph_files() -> frozenset[str]:
    """Every name that a run can give its graphs and recordings."""
    names = [part_name(side, label) for side in Side for label in StageLabel]
    return frozenset(f"{name}{ending}" for name in names for ending in _ENDINGS) | {
        "stream-memory.onnx",
        "stream-answer.onnx",
    }


def write_run_graphs(
    system: System,
    run: Path,
    data: EventData,
    experiment: SpeechExperiment,
    test_accuracy: float,
    noise: torch.Generator,
) -> Deployment:
    """Write each stage as a graph with its recorded inputs on the test set, and deployment.json.

    Every NIR graph is read back and must give torch's spikes exactly in the reference simulator; every
    ONNX graph must give torch's values within rounding.

    Args:
        system: a finished system.
        run: the run directory.
        data: its test set is recorded.
        experiment: what was trained.
        test_accuracy: of the torch model under the same noise.
        noise: the channel's generator, in the state in which the test began.

    Raises:
        GraphError: a graph does not compute what the torch model computed.
        UserError: the run directory cannot be written.
    """
    parts = []
    for stage_run in record_stages(system, data.test, noise):
        parts.append(_write(stage_run, run, data, system))
    deployment = Deployment(
        system=experiment.system.name.value,
        receiver=experiment.system.receiver.value
        if experiment.system.name is SystemName.ATT_NEUROSC
        else None,
        dataset=experiment.data.dataset,
        class_names=data.class_names,
        dt=data.dt,
        channel=ChannelUse(
            kind=experiment.channel.kind.value,
            snr_db=experiment.channel.snr_db,
            snr_to_db=experiment.channel.snr_to_db,
            taps=experiment.channel.delay_spread + 1,
            uses_per_step=uses_per_step(system, experiment, data.test),
            steps=1 if experiment.system.name.at_once else data.test.steps,
        ),
        readout=system.readout,
        parts=tuple(parts),
        coding=_coding(system, data.test),
        test_accuracy=test_accuracy,
    )
    write_deployment(run, deployment)
    return deployment


def uses_per_step(system: System, experiment: SpeechExperiment, part: EventSet) -> int:
    """Channel uses of a step; of coded messages, which differ in length, of a whole sample, the mean."""
    link = system.link
    if not isinstance(link, CodedLink):
        return link.uses_per_step(experiment.system.symbols)
    return round(float(np.mean([link.uses(bits) for bits in link.message_bits(_signal(part.events))])))


def _coding(system: System, part: EventSet) -> SeparateCoding | None:
    if not isinstance(system.link, CodedLink):
        return None
    return SeparateCoding(source="deflate", message_bits=system.link.message_bits(_signal(part.events)))


def _signal(events: NDArray[np.uint8]) -> Tensor:
    """Events [T, B, C] as a system takes them, of [B, T, C]."""
    return torch.from_numpy(events).transpose(0, 1).float()


@torch.no_grad()
def record_stages(system: System, part: EventSet, noise: torch.Generator) -> Iterator[StageRun]:
    """Run a system over samples and give each stage with its inputs and outputs, transmitter first."""
    system.eval()
    sides = {Side.TRANSMITTER: system.transmitter, Side.RECEIVER: system.receiver}
    traces: dict[Side, list[list[Tensor]]] = {side: [] for side in sides}
    for start in range(0, len(part.labels), BATCH):
        sent = system.transmitter.trace(_signal(part.events[start : start + BATCH]))
        traces[Side.TRANSMITTER].append(sent)
        traces[Side.RECEIVER].append(system.receiver.trace(system.link(sent[-1], noise)))
    for side, module in sides.items():
        signals = [torch.cat(pieces, 1).numpy() for pieces in zip(*traces[side], strict=True)]
        for index, stage in enumerate(module.stages):
            yield StageRun(stage, side, signals[index], signals[index + 1])


def _write(run_of: StageRun, run: Path, data: EventData, system: System) -> Part:
    last = run_of.side is Side.RECEIVER and run_of.stage is system.receiver.stages[-1]
    dt = _step_of(run_of, data.dt, data.test)
    graph = run_of.stage.graph(dt, system.readout if last else None)
    if isinstance(graph, nir.NIRGraph):
        path = run / f"{run_of.name}.nir"
        write_network(path, graph)
    else:
        path = run / f"{run_of.name}.onnx"
        write_onnx(path, graph)
    flipped = check_stage(path, run_of)
    recording = f"{run_of.name}.npz"
    write_stage_recording(run / recording, run_of, dt, data.test.labels)
    return Part(
        name=run_of.name,
        side=run_of.side,
        place=run_of.stage.place,
        graph=path.name,
        recording=recording,
        description=run_of.stage.description,
        flipped_samples=flipped,
    )


def _step_of(run_of: StageRun, dt: float, part: EventSet) -> float:
    """Seconds of a step of a stage: of one that takes a sample at once, all of the sample."""
    return dt * part.steps / len(run_of.inputs)


def write_stage_recording(path: Path, run_of: StageRun, dt: float, labels: NDArray[np.int64]) -> None:
    """Write what entered a stage, with the class of each sample."""
    dtype = np.uint8 if run_of.stage.takes is Signal.EVENTS else np.float32
    write_recording(path, Recording(run_of.inputs.astype(dtype), run_of.stage.takes, dt, labels))


def check_stage(path: Path, run_of: StageRun) -> int:
    """Run a graph on what entered its stage: it must give what left the stage.

    Returns:
        Samples in which neurons inside an ONNX graph fire otherwise, since rounding decides there.

    Raises:
        GraphError: a NIR graph gives another spike, or an ONNX graph a value beyond rounding.
    """
    return check_graph(path, run_of.inputs, run_of.outputs, undecided=_undecided(run_of))


def _undecided(run_of: StageRun) -> NDArray[np.bool_] | None:
    """Outputs of a stage that rounding may decide otherwise, or None."""
    found = []
    for start in range(0, run_of.inputs.shape[1], BATCH):
        part = torch.from_numpy(run_of.inputs[:, start : start + BATCH]).float()
        where = run_of.stage.undecided(part)
        if where is None:
            return None
        found.append(where.numpy())
    return np.concatenate(found, axis=1)


def check_graph(
    path: Path,
    inputs: NDArray[Any],
    outputs: NDArray[Any],
    *,
    undecided: NDArray[np.bool_] | None = None,
) -> int:
    """Run a graph: it must give what torch gave, a NIR graph to the last bit.

    Args:
        path: of the graph.
        inputs: [T, N, *shape].
        outputs: what torch made of them [T', N, *shape].
        undecided: those outputs, of a shape that broadcasts to theirs, that the rounding of real values may
            decide otherwise in an ONNX graph; None for none.

    Returns:
        Samples in which rounding decided otherwise in an ONNX graph.

    Raises:
        GraphError: as `check_stage`, or torch gave what is not finite.
    """
    require_finite(outputs, path)
    if path.suffix == ".nir":
        _check_exactly(path, inputs, outputs)
        return 0
    return _check_values(path, inputs, outputs, undecided)


def require_finite(outputs: NDArray[Any], where: Path | str) -> None:
    """Refuse outputs of torch that no graph can be held against.

    Raises:
        GraphError: one is NaN or infinite.
    """
    if not np.isfinite(outputs).all():
        raise GraphError(
            "has nothing to be held against: torch's own outputs are not finite",
            where=where,
            hint="Its training diverged: train anew with a smaller training.learning_rate.",
        )


def tolerance_of(outputs: NDArray[Any]) -> float:
    """How far values of an ONNX graph may lie from what torch gave."""
    return max(ONNX_TOLERANCE * float(np.abs(outputs).max(initial=0.0)), _NOTHING)


def _check_exactly(path: Path, inputs: NDArray[Any], outputs: NDArray[Any]) -> None:
    network = read_network(path)
    what = "spikes" if network.output_node.emits is Signal.EVENTS else "values"
    for start in range(0, inputs.shape[1], BATCH):
        wanted = outputs[:, start : start + BATCH]
        got = simulate(network, inputs[:, start : start + BATCH]).output
        if not np.array_equal(got, wanted):
            raise GraphError(
                f"gives {int((got != wanted).sum())} {what} that differ from torch's", where=path
            )


def _check_values(
    path: Path,
    inputs: NDArray[Any],
    outputs: NDArray[Any],
    undecided: NDArray[np.bool_] | None,
) -> int:
    apart = np.abs(run_onnx(path, inputs) - outputs)
    beyond = apart > tolerance_of(outputs)
    wrong = _samples_with(beyond if undecided is None else beyond & ~undecided)
    if wrong:
        raise GraphError(
            f"gives values that differ from torch's by up to {apart.max()} in {wrong} of {apart.shape[1]} "
            "samples",
            where=path,
        )
    return _samples_with(beyond)


def _samples_with(which: NDArray[np.bool_]) -> int:
    """In how many samples [T, N, *shape] there is one of these."""
    return int(which.any(axis=tuple(axis for axis in range(which.ndim) if axis != 1)).sum())


def write_calibration(
    system: System, run: Path, deployment: Deployment, samples: EventSet, noise: torch.Generator
) -> Deployment:
    """Record what enters each part whose scales an export may choose, and name it in deployment.json.

    Those are the parts for a chip, and conventional networks (ONNX), which C in 8 bits takes.

    The graphs that are there must give what the system gives on these samples: weights and graphs of
    different trainings are never mixed.

    Args:
        system: the finished system of the run.
        run: the run directory, its graphs written.
        deployment: what its deployment.json says.
        samples: of the training part.
        noise: the channel's generator.

    Raises:
        GraphError: a graph of the run does not compute what the system computes.
        UserError: the run directory cannot be written.
    """
    recorded: dict[str, str] = {}
    places = {
        part.name: part
        for part in deployment.parts
        if part.place is Place.CHIP or part.graph.endswith(".onnx")
    }
    for stage_run in record_stages(system, samples, noise):
        part = places.get(stage_run.name)
        if part is None:
            continue
        check_stage(run / part.graph, stage_run)
        recorded[part.name] = f"{part.name}{CALIBRATION}"
        dt = _step_of(stage_run, deployment.dt, samples)
        write_stage_recording(run / recorded[part.name], stage_run, dt, samples.labels)
    parts = tuple(
        part.model_copy(update={"calibration": recorded.get(part.name)}) for part in deployment.parts
    )
    complete = deployment.model_copy(update={"parts": parts})
    write_deployment(run, complete)
    return complete


def balanced(part: EventSet, count: int, seed: int) -> EventSet:
    """At most `count` samples, of every class as many as of any other as far as there are so many.

    One sample of each class follows another, so that the first so many are balanced too.

    Args:
        part: what to choose from.
        count: how many.
        seed: the same seed gives the same choice.
    """
    chance, rank = np.random.default_rng(seed), np.empty(len(part), np.int64)
    for label in np.unique(part.labels):
        members = np.flatnonzero(part.labels == label)
        rank[chance.permutation(members)] = np.arange(len(members))
    return part.take(np.lexsort((part.labels, rank))[:count])

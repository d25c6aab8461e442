"""What is verified: a NIR file, or the folder of a deployment; and the backends that can run it."""

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.exporters.base import raise_first_refusal
from nsc_deploy.exporters.inputs import fits, spread
from nsc_deploy.exporters.lava.deployment import LavaDeployment, read_lava_deployment
from nsc_deploy.exporters.lava.integers import IntegerNetwork
from nsc_deploy.exporters.lava.lowering.pipeline import lower
from nsc_deploy.exporters.lava.runners import EmulatorRunner, LavaRunner
from nsc_deploy.exporters.lava.worker import SILENCE_S
from nsc_deploy.exporters.manifest import exported_graph, exported_recording, read_exact_manifest, target_of
from nsc_deploy.exporters.nir import NETWORK
from nsc_deploy.exporters.onnx.runner import SequenceRunner
from nsc_deploy.exporters.onnx.target import SEQUENCE, OnnxTarget
from nsc_deploy.exporters.partitioned.read import SplitDeployment, read_split_deployment
from nsc_deploy.exporters.partitioned.run import PartsRunner
from nsc_deploy.exporters.registry import load_target
from nsc_deploy.exporters.torch_module.target import MODULE, ModuleTarget
from nsc_deploy.graphs.formats.nir import GraphOptions, read_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.readout import with_readout
from nsc_deploy.verification.runner import ReferenceRunner, Runner, RunTrace


class Backend(StrEnum):
    """What can run a graph."""

    REFERENCE = "reference"
    SNNTORCH = "snntorch"
    NORSE = "norse"
    ONNX = "onnx"
    EMULATOR = "twin"
    LAVA = "lava"


@dataclass(frozen=True)
class Subject:
    """A graph, and the artefact made from it where there is one.

    Attributes:
        path: the file or folder.
        network: the graph.
        target: what the folder was exported to; None for a NIR file.
        recording: the recorded inputs in the folder, or None.
        lava: the deployment, for the target lava.
        split: the deployment, for one in parts.
        class_names: where the folder names them, else empty.
    """

    path: Path
    network: Network
    target: str | None = None
    recording: Recording | None = None
    lava: LavaDeployment | None = None
    split: SplitDeployment | None = None
    class_names: tuple[str, ...] = ()

    @property
    def own(self) -> str:
        """What runs the artefact itself: a target or, for the integers of Lava, the emulator."""
        return {None: "reference", "lava": "twin", "split": "twin"}.get(self.target, str(self.target))


@dataclass(frozen=True)
class Samples:
    """Inputs chosen for a comparison.

    Attributes:
        values: [T, N, *shape].
        labels: [N], or None.
        indices: [N], their places in the recording.
    """

    values: NDArray[Any]
    labels: NDArray[np.int64] | None
    indices: NDArray[np.int64]


@dataclass(frozen=True)
class Bench:
    """Where and how backends are set up.

    Attributes:
        folder: an empty folder for artefacts that are made on the way.
        bits: bits of a weight where a NIR file is lowered for Lava.
        silence_s: seconds without a sign of life after which Lava is given up.
    """

    folder: Path
    bits: int = 8
    silence_s: float = SILENCE_S


def open_subject(path: Path, options: GraphOptions) -> Subject:
    """Read a NIR file or a deployment folder.

    Raises:
        DataError: no deployment, damaged, or of a target this tool cannot run.
        GraphError: no graph, or one that leaves open what `options` do not say.
        ConfigError: another number of classes than the graph has.
    """
    if not path.is_dir():
        return Subject(path, options.read(path))
    subject = _open_folder(path)
    return replace(subject, network=with_readout(subject.network, options.classes))


def _open_folder(path: Path) -> Subject:
    target = target_of(path)
    if target == "lava":
        deployment = read_lava_deployment(path)
        names = deployment.manifest.source.class_names
        return Subject(
            path, deployment.graph(), target, deployment.recording(), deployment, class_names=names
        )
    if target == "split":
        parts = read_split_deployment(path)
        names = parts.manifest.source.class_names
        return Subject(path, parts.whole, target, parts.recording(), split=parts, class_names=names)
    if target not in {"nir", Backend.ONNX, Backend.SNNTORCH, Backend.NORSE}:
        raise DataError(
            f"was exported to '{target}', which this tool cannot run",
            where=path,
            hint="Verify the NIR file it was made from.",
        )
    manifest = read_exact_manifest(path)
    graph, names = exported_graph(path, manifest), manifest.source.class_names
    return Subject(path, graph, target, exported_recording(path), class_names=names)


def choose_samples(subject: Subject, inputs: Path | None, count: int | None) -> Samples:
    """Inputs to compare on; fewer than there are lie evenly over the recording, which may be sorted by class.

    Raises:
        ConfigError: there are no inputs, or fewer than wanted, or they were recorded for another graph.
        DataError: the recording is damaged.
    """
    recording = subject.recording if inputs is None else read_recording(inputs)
    if recording is None:
        raise ConfigError(
            "has no recorded inputs", where=subject.path, hint="Name a recording with --inputs FILE.npz."
        )
    fits(recording, subject.network, subject.path if inputs is None else inputs)
    available = recording.samples
    wanted = available if count is None else count
    if not 1 <= wanted <= available:
        raise ConfigError(
            f"{wanted} samples are wanted and {available} are there",
            where="--samples",
            hint="Ask for no more than there are, or leave it out for all of them.",
        )
    chosen = spread(available, wanted)
    labels = None if recording.labels is None else recording.labels[chosen]
    return Samples(recording.values[:, chosen], labels, chosen)


def open_runner(subject: Subject, backend: str, bench: Bench) -> Runner:
    """A backend for the graph of a subject: its own artefact where it has one for that backend.

    Raises:
        ExportError: the graph cannot be represented there.
        BackendError: the backend is missing.
    """
    if backend == "nir":
        return Named("nir", ReferenceRunner(read_network(subject.path / NETWORK)))
    if backend == Backend.REFERENCE:
        return ReferenceRunner(subject.network)
    if backend in {Backend.EMULATOR, Backend.LAVA}:
        return _lava(subject, backend, bench)
    if subject.target != backend:
        return _written(subject, backend, bench)
    if backend == Backend.ONNX:
        return SequenceRunner(subject.path / SEQUENCE, subject.network)
    # Here and not above: only whoever compares with a framework needs it.
    from nsc_deploy.verification.torch_runner import ModuleRunner

    return ModuleRunner(subject.path / MODULE, subject.network, backend)


class Named:
    """A backend under another name.

    Args:
        name: the name.
        runner: the backend.
    """

    def __init__(self, name: str, runner: Runner) -> None:
        self.name = name
        self._runner = runner

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest."""
        return self._runner.run(values)


def _lava(subject: Subject, backend: str, bench: Bench) -> Runner:
    if subject.split is not None:
        chip = subject.split.chip
        return _in_parts(subject.split, _integers(chip.integers, chip.graph(), backend, bench))
    integers = (
        lower(subject.network, bits=bench.bits).network if subject.lava is None else subject.lava.integers
    )
    return _integers(integers, subject.network, backend, bench)


def _integers(integers: IntegerNetwork, network: Network, backend: str, bench: Bench) -> Runner:
    if backend == Backend.EMULATOR:
        return EmulatorRunner(integers, network)
    return LavaRunner(integers, network, silence_s=bench.silence_s)


def _in_parts(split: SplitDeployment, chip: Runner) -> Runner:
    """The parts on the host run in the reference simulator."""
    before, behind = (
        [] if network is None else [ReferenceRunner(network)] for network in (split.front_end, split.read_out)
    )
    return PartsRunner(chip.name, [*before, chip, *behind])


def _written(subject: Subject, backend: str, bench: Bench) -> Runner:
    """An artefact made on the way, for this comparison alone."""
    target = load_target(backend)
    raise_first_refusal(target.check(subject.network), where=subject.path)
    if not isinstance(target, OnnxTarget | ModuleTarget):
        raise TypeError(f"{backend} is no target that writes what it can run")
    return target.write(bench.folder, subject.network).runners[0]

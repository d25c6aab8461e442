"""Runs a deployment, or a NIR file, and compares: with the reference simulator, or any two backends.

`run` shows what the artefact answers beside the graph it was made from; `verify` looks into each layer and
holds the comparison against limits. Both are `verification.compare` with runners that the target opened.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.deployment import FILE_NAME
from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.base import (
    Deployment,
    ExportRequest,
    RunSettings,
    Target,
    naming,
    raise_first_refusal,
)
from nsc_deploy.exporters.export import items_of
from nsc_deploy.exporters.inputs import Samples, choose_samples
from nsc_deploy.exporters.manifest import FILE_NAME as MANIFEST
from nsc_deploy.exporters.manifest import target_of
from nsc_deploy.exporters.registry import BACKENDS, NO_BACKENDS, load_opener, load_target, target_names
from nsc_deploy.graphs.formats.nir import GraphOptions, write_network
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.readout import decide, readout_of, with_readout
from nsc_deploy.io.scratch import scratch_folder
from nsc_deploy.verification.compare import Comparison, compare_runs, spikes_at
from nsc_deploy.verification.limits import Limits, Verification, findings
from nsc_deploy.verification.recorded import RecordedRunner
from nsc_deploy.verification.runner import ReferenceRunner, Runner, RunTrace

REFERENCE = "reference"


def open_deployment(folder: Path) -> Deployment:
    """Read a deployment folder of any target, those of other packages included.

    Raises:
        DataError: no deployment, damaged, or of a target that is not there.
    """
    return load_opener(target_of(folder), folder)(folder)


def open_subject(
    path: Path, options: GraphOptions, inputs: Path | None = None, part: str | None = None
) -> Deployment:
    """Read a NIR file, a part of a run, or a deployment folder.

    Args:
        path: the file or folder.
        options: what a file may leave open.
        inputs: a recording, which says what enters where neither the file nor the options do.
        part: of a run; by default the one that is for a chip at the receiver.

    Raises:
        DataError: no deployment, damaged, or of a target that is not there.
        GraphError: no graph, or one that leaves open what `options` do not say.
        ConfigError: another number of classes than the graph has; no such part, or none named of several;
            an option for a file that leaves something open, of a folder.
    """
    run = (path / FILE_NAME).is_file() and not (path / MANIFEST).is_file()
    if part is not None and not run:
        raise ConfigError("only a run has parts", where="--part", hint="Leave it out, or name a run.")
    if run:
        return _open_part(path, options, inputs, part)
    if not path.is_dir():
        return Deployment(path, None, options.read(path, inputs), {})
    _refuse_stated(options)
    deployment = open_deployment(path)
    return replace(deployment, network=with_readout(deployment.network, options.classes))


def _refuse_stated(options: GraphOptions) -> None:
    """A deployment says of its graph whatever a file may leave open, and nothing would be read anew."""
    for option in ("dt", "reset", "signal"):
        if getattr(options, option) is not None:
            raise ConfigError(
                "is for a graph file that does not say it, and a deployment does",
                where=f"--{option}",
                hint="Leave it out, or export the graph anew with it.",
            )


def _open_part(run: Path, options: GraphOptions, inputs: Path | None, part: str | None) -> Deployment:
    """One part of a run, with its recording."""
    items = items_of(run, run, part, inputs)
    if len(items) > 1:
        names = ", ".join(str(item.part) for item in items)
        raise ConfigError("has several parts for a chip", where=run, hint=f"Choose one: --part ({names}).")
    file, recording = items[0].graph_file, items[0].recording_file
    return Deployment(file, None, options.read(file, recording), {}, recording_file=recording)


@dataclass(frozen=True)
class Run:
    """A deployment on a backend, beside the reference simulator.

    Attributes:
        backend: what ran it.
        samples: [samples] their places in the recording.
        spikes: [steps, samples, outputs] of the backend, where spikes leave the chip.
        decisions: [samples] of the backend, or None without a readout.
        reference_decisions: [samples] of the reference, or None without a readout.
        labels: [samples], or None where none were recorded.
        comparison: both runs; the first divergence counts the samples that ran.
        output_error: largest difference of an output that is no spike of the chip; else None.
        output_range: largest magnitude of such an output, on either side; else None.
        instructions: [steps, samples] that the backend took, where it counts them; else None.
    """

    backend: str
    samples: NDArray[np.int64]
    spikes: NDArray[Any]
    decisions: NDArray[np.int64] | None
    reference_decisions: NDArray[np.int64] | None
    labels: NDArray[np.int64] | None
    comparison: Comparison
    output_error: float | None
    instructions: NDArray[np.int64] | None = None
    output_range: float | None = None

    def parity(self) -> dict[str, object]:
        """The figures of the comparison in one table, as a value `json` can write.

        Where nothing fired on either side, there is no cosine and no coincidence: silence is no agreement.
        """
        one, told = self.comparison, self.comparison.output.told
        first, decisions = one.first_divergence, one.decisions
        where = ("sample", "step", "neuron", "reference", "other")
        return {
            "samples": one.samples,
            "reference_spikes": one.output.reference_spikes,
            "other_spikes": one.output.other_spikes,
            "rate_cosine": told.rate_cosine,
            "coincidence": told.coincidence,
            "silent": told.silent,
            "agreement": None if decisions is None else decisions.agreement,
            "reference_accuracy": None if decisions is None else decisions.reference_accuracy,
            "other_accuracy": None if decisions is None else decisions.other_accuracy,
            "first_divergence": None if first is None else {name: getattr(first, name) for name in where},
        }


def run(
    deployment: Deployment,
    backend: str | None = None,
    *,
    samples: int | None = None,
    inputs: Path | None = None,
    silence_s: float = RunSettings.silence_s,
    run_code: bool = False,
    cpu: str | None = None,
    advance: Callable[[int], None] = lambda _samples: None,
) -> Run:
    """Run recorded samples on a backend, and the graph in the reference simulator.

    Args:
        deployment: the folder.
        backend: what runs it; None for the platform it was exported to.
        samples: how many, evenly spread over the recording; all when None.
        inputs: a recording other than the one in the folder.
        silence_s: seconds without a sign of life after which a process of its own is given up.
        run_code: whether code in the folder may be executed, in a process of its own.
        cpu: the core that a backend with several of them runs code on.
        advance: called by slow runners with the number of samples finished since the last call.

    Raises:
        ConfigError: another backend, no inputs, inputs that do not fit, or code that may not run.
        BackendError: the backend is missing or failed.
    """
    network, leaving = deployment.network, deployment.leaving
    chosen = choose_samples(deployment, inputs, samples)
    name = list(deployment.runners)[-1] if backend is None else backend
    nodes = () if leaving is None else (leaving,)
    reference = _Kept(_reference(deployment, nodes), leaving)
    with ExitStack() as closing:
        settings = RunSettings(
            layers=False, silence_s=silence_s, advance=advance, run_code=run_code, cpu=cpu, closing=closing
        )
        if name == REFERENCE:
            other = _Kept(_reference(deployment, nodes), leaving)
        else:
            other = _Kept(_own_runner(deployment, name, settings), leaving)
        comparison = compare_runs(network, reference, other, chosen.values, labels=chosen.labels, at=leaving)
    wanted, given, spikes = reference.outputs, other.outputs, other.spikes
    readout = readout_of(network)
    events = network.output_node.emits is Signal.EVENTS
    real = not events or leaving is not None
    return Run(
        backend=name,
        samples=chosen.indices,
        spikes=spikes.astype(np.uint8) if leaving or events else spikes,
        decisions=None if readout is None else decide(given, *readout),
        reference_decisions=None if readout is None else decide(wanted, *readout),
        labels=chosen.labels,
        comparison=comparison,
        output_error=_largest_difference(wanted, given) if real else None,
        instructions=other.instructions,
        output_range=max(_largest(wanted), _largest(given)) if real else None,
    )


class _Kept:
    """A backend whose outputs, and the spikes of one node, are kept; each sample flattened."""

    def __init__(self, runner: Runner, node: str | None) -> None:
        self.name = runner.name
        self._runner = runner
        self._node = node
        self._kept: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._instructions: list[NDArray[np.int64]] = []

    def run(self, values: NDArray[Any]) -> RunTrace:
        trace = self._runner.run(values)
        self._kept.append((trace.output, spikes_at(trace, self._node)))
        if trace.instructions is not None:
            self._instructions.append(trace.instructions)
        return trace

    @property
    def outputs(self) -> NDArray[Any]:
        return self._flat(0)

    @property
    def spikes(self) -> NDArray[Any]:
        return self._flat(1)

    @property
    def instructions(self) -> NDArray[np.int64] | None:
        """[steps, samples], where the backend counts them."""
        return np.concatenate(self._instructions, axis=1) if self._instructions else None

    def _flat(self, index: int) -> NDArray[Any]:
        values = np.concatenate([kept[index] for kept in self._kept], axis=1)
        return values.reshape(*values.shape[:2], -1)


def _largest_difference(one: NDArray[Any], two: NDArray[Any]) -> float:
    return _largest(one.astype(np.float64) - two)


def _largest(values: NDArray[Any]) -> float:
    return float(np.abs(values).max())


def verify(
    subject: Deployment,
    against: str,
    samples: Samples,
    limits: Limits,
    *,
    on: str | None = None,
    bits: int | None = None,
    silence_s: float = RunSettings.silence_s,
    run_code: bool = False,
    advance: Callable[[int], None] = lambda _samples: None,
) -> Verification:
    """Run a subject on its own backend and the same graph on another, and compare.

    Recorded outputs are the first of the two, and so is the reference simulator wherever it takes part, else
    the subject is.

    Args:
        subject: what is verified.
        against: the backend to compare with, or a file of recorded outputs (.npz, .npy).
        samples: the inputs.
        limits: what has to be reached.
        on: the backend of the subject, where it is not its own.
        bits: bits of a weight where a graph is exported on the way to a target that quantises; None for as
            many as an export has by default.
        silence_s: seconds without a sign of life after which a process of its own is given up.
        run_code: whether code in the folder may be executed, in a process of its own.
        advance: called with the number of samples finished since the last call.

    Raises:
        ConfigError: both sides are the same, a limit asks for a figure that there is none of, or code of the
            folder would run that may not, or bits for sides that nothing is quantised for.
        ExportError: the graph cannot be represented on a backend.
        BackendError: a backend is missing or failed.
    """
    own = on or next(iter(subject.runners), REFERENCE)
    recorded = recorded_outputs(against)
    if own == against:
        raise ConfigError(
            f"both sides would be {own}, which is equal to itself",
            where="--against",
            hint="Name another backend, or another one for the left side with --on.",
        )
    first, second = (against, own) if against == REFERENCE or recorded else (own, against)
    if bits is not None:
        _require_quantised(subject, (own,) if recorded else (own, against))
    with scratch_folder("verify") as folder, ExitStack() as closing:
        settings = RunSettings(silence_s=silence_s, run_code=run_code, closing=closing)
        comparison = compare_runs(
            subject.network,
            RecordedRunner(recorded, subject.network, samples.recorded, samples.indices)
            if recorded
            else _runner(subject, first, folder, bits, settings),
            _runner(subject, second, folder, bits, settings),
            samples.values,
            labels=samples.labels,
            advance=advance,
        )
    divergence = comparison.first_divergence
    if divergence is not None:
        place = int(samples.indices[divergence.sample])
        comparison = replace(comparison, first_divergence=replace(divergence, sample=place))
    return Verification(
        subject=str(subject.path),
        target=subject.target,
        comparison=comparison,
        findings=findings(comparison, limits),
        class_names=subject.class_names,
        warnings=subject.network.diagnostics,
    )


def recorded_outputs(against: str) -> Path | None:
    """The file that is meant where no backend is."""
    return Path(against) if Path(against).suffix in {".npz", ".npy"} else None


def backend_names() -> tuple[str, ...]:
    """What can run a graph: chips, which are checked for alone, cannot."""
    return tuple(dict.fromkeys((REFERENCE, *BACKENDS, *(n for n in target_names() if n not in NO_BACKENDS))))


def _require_quantised(subject: Deployment, sides: Sequence[str]) -> None:
    """Refuse bits where every side runs what is there, or keeps the weights as they are."""
    exported = [side for side in sides if side != REFERENCE and side not in subject.runners]
    if all(_target_of(side).check(subject.network).keeps_weights for side in exported):
        raise ConfigError(
            "no weight is quantised on the way to this comparison",
            where="--bits",
            hint="Leave it out. Integers of a deployment have the bits that they were exported with; other "
            "bits are another export.",
        )


def _runner(
    subject: Deployment, backend: str, folder: Path, bits: int | None, settings: RunSettings
) -> Runner:
    """A backend for the graph of a subject: its own artefact where it has one for that backend."""
    if backend == REFERENCE:
        return _reference(subject)
    if backend in subject.runners:
        return subject.runners[backend](settings)
    # Written by this tool in this moment: nobody else's code.
    ours = replace(settings, run_code=True)
    return _own_runner(_exported(subject, backend, folder, bits), backend, ours)


def _reference(subject: Deployment, nodes: Sequence[str] | None = None) -> Runner:
    """What runs the graph in floating point, showing `nodes` alone; None: every layer."""
    if subject.reference is not None:
        return subject.reference(nodes)
    return ReferenceRunner(subject.network, nodes=nodes)


def _own_runner(deployment: Deployment, backend: str, settings: RunSettings) -> Runner:
    if backend not in deployment.runners:
        known = ", ".join((*deployment.runners, REFERENCE))
        raise ConfigError(
            f"is not run by '{backend}'", where=deployment.path, hint=f"Choose one of: {known}."
        )
    return deployment.runners[backend](settings)


def _target_of(backend: str) -> Target:
    """The target whose artefact a backend runs."""
    if backend not in backend_names():
        known = ", ".join(backend_names())
        raise ConfigError(
            f"there is no backend '{backend}'",
            hint=f"Choose one of: {known}; or a file of recorded outputs (.npz, .npy).",
        )
    return load_target(BACKENDS.get(backend, backend))


def _exported(subject: Deployment, backend: str, folder: Path, bits: int | None) -> Deployment:
    """An artefact made on the way, for this comparison alone."""
    target = _target_of(backend)
    result = target.check(subject.network)
    raise_first_refusal(result.verdicts, where=subject.path)
    source = folder / f"{backend}.nir"
    write_network(source, subject.network)
    out = folder / backend
    if bits is None or result.keeps_weights:
        bits = ExportRequest.bits
    with naming(subject.path):
        made = target.export(ExportRequest(subject.network, source, out, bits=bits))
    return target.open(made)

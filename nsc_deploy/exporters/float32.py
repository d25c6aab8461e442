"""Targets that compute a graph in float32 exactly as it stands: what they refuse, write, check and open.

The check every such export ends with runs the artefact beside the reference simulator; the folder appears
only where it computes the same.
"""

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nsc_deploy
from nsc_deploy.errors import ConfigError, DataError, ExportError, GraphError
from nsc_deploy.exporters.base import (
    CheckResult,
    DeployedPart,
    Deployment,
    ExportRequest,
    RunSettings,
    Status,
)
from nsc_deploy.exporters.inputs import Samples, check_inputs, copy_recording
from nsc_deploy.exporters.manifest import (
    GRAPH,
    RECORDING,
    ExactManifest,
    StateRecord,
    VerificationRecord,
    exported_graph,
    read_manifest,
    recorded_files,
    write_manifest,
)
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.network import Network, Node, Signal
from nsc_deploy.graphs.operators import Setting
from nsc_deploy.graphs.simulate import build_operator
from nsc_deploy.io.folders import replacing_folder, require_folder
from nsc_deploy.passes.exactness import Grids, joined
from nsc_deploy.passes.verdict import Refusal, Rule, judge
from nsc_deploy.verification.compare import compare_runs
from nsc_deploy.verification.divergence import LayerDivergence
from nsc_deploy.verification.runner import ReferenceRunner, Runner, RunTrace, layer_names


@dataclass(frozen=True)
class Written:
    """What a target wrote into its folder.

    Attributes:
        files: name and content in a few words of each file.
        runners: run what was written, one a file that can be run.
        notes: what was done to the graph on its way.
        states: states of a single-step model.
        rounds: whether something done to the graph on its way may round otherwise than the graph.
    """

    files: tuple[tuple[str, str], ...]
    runners: tuple[Runner, ...]
    notes: tuple[str, ...] = ()
    states: tuple[StateRecord, ...] = ()
    rounds: bool = False


def write_exact_deployment(
    request: ExportRequest, target: str, packages: Iterable[str], write: Callable[[Path], Written]
) -> Path:
    """Write a folder, run it beside the reference simulator, and let it appear only where it is right.

    Args:
        request: what is asked for.
        target: name of the target.
        packages: whose versions the manifest states; the first one runs the artefact.
        write: fills the folder.

    Raises:
        ExportError: the artefact computes something else than the graph.
        ConfigError: options that do not fit, or a folder that is no deployment.
    """
    _refuse_quantisation(request, target)
    require_folder(request.out)
    inputs = check_inputs(request)
    versions = {name: importlib.metadata.version(name) for name in packages}
    with replacing_folder(request.out) as folder:
        request.notify("writing")
        write_network(folder / GRAPH, request.network)
        if request.recording_file is not None:
            copy_recording(request.network, request.recording_file, folder / RECORDING)
        written = write(folder)
        request.notify("checking")
        backend = " ".join(next(iter(versions.items()), ("nsc-deploy", nsc_deploy.__version__)))
        record = check_artefact(request.network, written.runners, inputs, backend, rounds=written.rounds)
        held = [(GRAPH, "the graph as it was"), *written.files]
        if request.recording_file is not None:
            held.append((RECORDING, "recorded inputs"))
        manifest = ExactManifest.of(
            request,
            target=target,
            versions=versions,
            files=recorded_files(folder, held),
            reset=None if request.network.reset is None else request.network.reset.value,
            states=written.states,
            notes=written.notes,
            verification=record,
        )
        write_manifest(folder, manifest)
    for note in written.notes:
        request.notify(note)
    request.notify(f"verified: {record.sentence}")
    return request.out


def open_exact_deployment(
    folder: Path, backend: str, open_runner: Callable[[Network, RunSettings], Runner]
) -> Deployment:
    """Read a folder that `write_exact_deployment` wrote.

    Args:
        folder: the deployment.
        backend: name of what runs it.
        open_runner: opens the artefact, given the graph it was made from and how it is run.

    Raises:
        DataError: no deployment, damaged, or changed since it was written.
    """
    manifest = read_manifest(ExactManifest, folder)
    network = exported_graph(folder / GRAPH, manifest)
    recording = folder / RECORDING

    def runner(settings: RunSettings) -> Runner:
        return open_runner(network, settings)

    return Deployment(
        path=folder,
        target=manifest.target,
        network=network,
        runners={backend: runner},
        recording_file=recording if recording.is_file() else None,
        class_names=manifest.source.class_names,
        parts=(
            DeployedPart(
                name=manifest.source.part or Path(manifest.source.path).stem,
                place=None,
                file=folder / GRAPH,
                network=network,
            ),
        ),
    )


def _refuse_quantisation(request: ExportRequest, target: str) -> None:
    calibration = request.calibration
    if calibration is not None and calibration.asked:
        raise ConfigError(
            f"the target {target} keeps float32 weights, there is nothing to calibrate",
            where="--calibration" if calibration.samples is None else "--calibrate",
            hint="Leave it out.",
        )
    if request.granularity is not ExportRequest.granularity:
        raise ConfigError(
            f"the target {target} keeps float32 weights, there are no scales",
            where="--scales",
            hint="Leave it out.",
        )
    if request.bits != ExportRequest.bits:
        raise ConfigError(f"the target {target} keeps float32 weights", where="--bits", hint="Leave it out.")


_ONE = {"Input": "inputs", "Output": "outputs"}


def check_exact(
    network: Network, becomes: Mapping[str, tuple[Status, str]], rules: Iterable[Rule] = ()
) -> CheckResult:
    """A verdict on each node: what it becomes, or why it cannot be taken.

    Args:
        network: the graph.
        becomes: for each primitive how the target takes it and what it becomes.
        rules: of this target alone, asked last.
    """

    def known(node: Node, _network: Network) -> Refusal | None:
        if node.primitive in becomes:
            return None
        return f"{node.primitive} has no counterpart", "Run this node on the host, or train without it."

    return CheckResult(judge(network, (known, one_of_many, untimely, *rules), becomes), keeps_weights=True)


def one_of_many(node: Node, network: Network) -> Refusal | None:
    """Why a node is one Input or Output too many, or None."""
    ends = {"Input": network.input_nodes, "Output": network.output_nodes}.get(node.primitive, ())
    if len(ends) <= 1:
        return None
    return (
        f"is one of {len(ends)} {_ONE[node.primitive]}, and a module with one of each is written",
        "Join them into one before the graph is written, or export each path as a graph of its own.",
    )


def untimely(node: Node, network: Network) -> Refusal | None:
    """Why a node cannot be computed with the time step and the reset of its graph, or None."""
    try:
        build_operator(node, Setting(network.dt, network.reset, np.dtype(np.float32), 1))
    except GraphError as error:
        return error.problem, error.hint or "Correct the parameters of this node."
    return None


TOLERANCE = 1e-4
_HINT = (
    "Nothing was written. Please report this with the graph: it is a fault of the exporter or its backend."
)


def check_artefact(
    network: Network, runners: Sequence[Runner], inputs: Samples, backend: str, *, rounds: bool = False
) -> VerificationRecord:
    """Run an artefact and the reference simulator on the same inputs, and compare every layer shown.

    Where sums are exact, as with weights on a dyadic grid that events meet, everything must be equal: what
    rounds behind them, such as a decay, does so element by element and therefore alike. Else another order
    of summation may round a potential to the other side of its threshold; such a sample passes where its
    first divergence is that close (see `TOLERANCE`), and what follows from it cannot be judged.

    Args:
        network: the graph.
        runners: each runs the artefact, or one of its files; all must be right.
        inputs: what enters.
        backend: name and version for the record.
        rounds: whether the artefact is of another form of the graph, which may round anywhere.

    Raises:
        ExportError: the artefact computes something else.
    """
    exact = frozenset[str]() if rounds else _exact_nodes(network)
    reference, judge = ReferenceRunner(network), partial(_refuse_other_results, network, exact)
    try:
        found = [
            compare_runs(network, reference, runner, inputs.values, labels=inputs.labels, judge=judge)
            for runner in runners
        ]
    except DataError as error:
        raise ExportError(f"the artefact computes something else: {error.problem}", hint=_HINT) from error
    worst = max(found, key=lambda one: (not one.equal, one.diverging_samples))
    return VerificationRecord.of(worst, backend=backend, seed=inputs.seed, tolerance=TOLERANCE)


def _exact_nodes(network: Network) -> frozenset[str]:
    """The layers and the output to which a sum arrives that no order of summation rounds."""
    grids = Grids(network)

    def exact(name: str) -> bool:
        return joined([grids.of(source) for source in network.node(name).inputs]) is not None

    found = {name for name in layer_names(network) if exact(name)}
    output = network.output_node
    if exact(output.name) or (len(output.inputs) == 1 and output.inputs[0] in found):
        found.add(output.name)
    return frozenset(found)


def _refuse_other_results(
    network: Network,
    exact: frozenset[str],
    one: RunTrace,
    two: RunTrace,
    parted: tuple[LayerDivergence, ...],
    first_sample: int,
) -> None:
    for divergence in parted:
        _refuse_unexplained(divergence, one, exact)
    judged = np.ones(one.output.shape[:2], bool)
    for divergence in parted:
        judged[divergence.step :, divergence.sample - first_sample] = False
    _refuse_other_outputs(network.output_node, exact, one.output[judged], two.output[judged])


def _refuse_unexplained(divergence: LayerDivergence, trace: RunTrace, exact: frozenset[str]) -> None:
    """A spike that differs where nothing rounds, or with its potential far from the threshold, is a fault."""
    layer = trace.layers[divergence.layer]
    one, two = divergence.reference_potential, divergence.other_potential
    threshold = divergence.reference_threshold
    if layer.potentials is None or one is None or threshold is None:
        raise TypeError("the reference shows potentials and thresholds")
    rounded = divergence.layer not in exact
    near = TOLERANCE * float(np.abs(layer.potentials).max())
    if rounded and two is not None and abs(one - two) <= near and abs(one - threshold) <= near:
        return
    fired = "the reference fires" if divergence.reference else "the artefact fires"
    shown = "unknown" if two is None else f"{two:g}"
    why = "" if rounded else "; its sums are exact, so rounding is no reason"
    raise ExportError(
        f"the artefact computes something else: in sample {divergence.sample}, step {divergence.step}, "
        f"neuron {divergence.neuron} only {fired} (potentials {one:g} and {shown}, "
        f"threshold {threshold:g}{why})",
        where=f"node '{divergence.layer}'",
        hint=_HINT,
    )


def _refuse_other_outputs(output: Node, exact: frozenset[str], one: NDArray[Any], two: NDArray[Any]) -> None:
    error = float(np.abs(one.astype(np.float64) - two).max(initial=0.0))
    alike = output.emits is Signal.EVENTS or output.name in exact
    allowed = 0.0 if alike else TOLERANCE * float(np.abs(one).max(initial=0.0))
    if not error <= allowed:
        raise ExportError(
            f"the artefact computes something else: outputs differ by up to {error:g} where no spike does",
            where=f"node '{output.name}'",
            hint=_HINT,
        )

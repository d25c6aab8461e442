"""Which graphs an export is about: the parts of a training run, or one file."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nsc_deploy.deployment import FILE_NAME, Deployment, Part, Place, Side, read_deployment
from nsc_deploy.errors import ConfigError, ExportError, UserError
from nsc_deploy.exporters.base import (
    CalibrationSource,
    ExportRequest,
    ScaleGranularity,
    Target,
    naming,
    raise_first_refusal,
)
from nsc_deploy.exporters.partitioned.target import PartitionedTarget, split_hint
from nsc_deploy.exporters.registry import load_target
from nsc_deploy.graphs.formats.nir import GraphOptions
from nsc_deploy.graphs.network import Network
from nsc_deploy.io.files import read_json
from nsc_deploy.passes.partition import joined


@dataclass(frozen=True)
class Item:
    """One graph to export.

    Attributes:
        graph_file: the NIR file.
        recording_file: its recorded inputs, or None.
        out: the folder to write.
        part: name of the part of a run, or None.
        calibration_file: inputs recorded on training samples, or None.
        readout: classes, and consecutive outputs that vote for each, where a run decides by its outputs.
    """

    graph_file: Path
    recording_file: Path | None
    out: Path
    part: str | None = None
    calibration_file: Path | None = None
    readout: tuple[int, int] | None = None


def export_all(
    source: Path,
    target: str,
    out: Path,
    *,
    part: str | None = None,
    inputs: Path | None = None,
    calibration: Path | None = None,
    calibrate: int | None = None,
    bits: int = 8,
    granularity: ScaleGranularity = ScaleGranularity.NEURON,
    graph: GraphOptions | None = None,
    split: bool = False,
    notify: Callable[[str], None] = lambda _message: None,
    describe: Callable[[Path, str, bool], None] = lambda _folder, _line, _detail: None,
) -> tuple[Path, ...]:
    """Export a NIR file, or the parts of a training run that belong onto a chip.

    Args:
        source: a NIR file or a run.
        target: name of the target.
        out: the folder to write; several parts get a folder each inside it.
        part: the one part wanted; None means every chip part of the receiver.
        inputs: recorded inputs, for a NIR file.
        calibration: recorded inputs to choose scales on; by default those of the run, if it has some.
        calibrate: the first so many of them; None for all, 0 for none.
        bits: bits of a weight.
        granularity: whose scales must be alike.
        graph: what the file leaves open.
        split: run on the host what the target cannot hold before and behind what it can.
        notify: called with one line for every step.
        describe: called with lines that say what was written: the folder, a line, and whether it is only
            for those who want everything explained.

    Returns:
        The folders written.

    Raises:
        ExportError: a node the target refuses; nothing has been written then.
        ConfigError: an unknown target or part, or no recordings for a calibration that was asked for.
    """
    found = load_target(target)
    options = GraphOptions() if graph is None else graph
    onnx = getattr(found, "takes_onnx", False)
    items = items_of(source, out, part, inputs, onnx=onnx)
    choices = [_calibration(item, source, calibration, calibrate) for item in items]
    requests = []
    for item, chosen in zip(items, choices, strict=True):
        if item.graph_file.suffix == ".onnx":
            if split:
                raise ConfigError("cuts NIR graphs only", where="--split", hint="Leave it out.")
            recording_file = item.recording_file
            network = read_conventional(item.graph_file, found, options, recording_file, item.readout)
        else:
            network, recording_file = _whole(item, source, inputs, found, options, notify)
        requests.append(
            ExportRequest(
                network=network,
                graph_file=item.graph_file,
                out=item.out,
                recording_file=recording_file,
                bits=bits,
                granularity=granularity,
                calibration=chosen,
                run=source if source.is_dir() else None,
                part=item.part,
                notify=notify,
                describe=partial(describe, item.out),
            )
        )
    for request in requests:
        _require_accepted(found, request, split=split)
    return tuple(_export(found, request, split=split) for request in requests)


def read_conventional(
    file: Path,
    target: Target,
    options: GraphOptions,
    inputs: Path | None,
    readout: tuple[int, int] | None = None,
) -> Network:
    """An ONNX graph, for a target that takes them.

    Args:
        file: the graph.
        target: it is for.
        options: what the file may leave open.
        inputs: a recording, which says how long a sample is.
        readout: classes, and consecutive outputs that vote for each, where a run says so.

    Raises:
        ConfigError: the target takes none.
    """
    if not getattr(target, "takes_onnx", False):
        raise ConfigError(
            f"is an ONNX graph, which '{target.name}' does not take",
            where=file,
            hint="Conventional networks have C for microcontrollers: --target c",
        )
    from nsc_deploy.graphs.onnx_network import read_onnx_network

    return read_onnx_network(
        file,
        inputs=inputs,
        signal=options.signal,
        dt=options.dt,
        reset=options.reset,
        readout=readout,
        classes=options.classes,
    )


def readout_of_part(deployment: Deployment, part: Part) -> tuple[int, int] | None:
    """Classes, and outputs that vote for each, of the part that a run decides by; None of another."""
    readout = deployment.readout
    return (readout.classes, readout.group) if part.name == deployment.parts[-1].name else None


def _whole(
    item: Item,
    source: Path,
    inputs: Path | None,
    target: Target,
    options: GraphOptions,
    notify: Callable[[str], None],
) -> tuple[Network, Path | None]:
    """The graph of an item and its recording, with the part in front of it where the target takes both."""
    network = options.read(item.graph_file, item.recording_file)
    if inputs is not None or item.part is None:
        return network, item.recording_file
    whole, front = with_front_end(network, source, item.part, target, options, notify)
    return whole, item.recording_file if front is None else source / front.recording


def with_front_end(
    network: Network,
    run: Path,
    part: str,
    target: Target,
    options: GraphOptions,
    notify: Callable[[str], None],
) -> tuple[Network, Part | None]:
    """A part of a run, with the part in front of it where the target takes both; and which part that is."""
    front = _front_end(run, part) if getattr(target, "takes_samples", False) else None
    if front is None:
        return network, None
    before = options.read(run / front.graph, run / front.recording)
    try:
        both = joined(before, network)
    except ExportError:
        return network, None
    refused = target.check(both).refused
    if refused:
        notify(f"{front.name} stays on the host: '{refused[0].node}' {refused[0].reason}")
        return network, None
    notify(f"{front.name} goes along: received samples come in")
    return both, front


def _front_end(run: Path, part: str) -> Part | None:
    """The NIR part on the host that stands right before a part, at the same end; None without one."""
    parts = read_deployment(run).parts
    at = next(index for index, one in enumerate(parts) if one.name == part)
    if at == 0 or parts[at - 1].side is not parts[at].side or parts[at - 1].place is not Place.HOST:
        return None
    return parts[at - 1] if parts[at - 1].graph.endswith(".nir") else None


def items_of(
    source: Path, out: Path, part: str | None, inputs: Path | None, *, onnx: bool = False
) -> tuple[Item, ...]:
    """What `source` holds that can be exported.

    Args:
        source: a graph file or a run.
        out: the folder to write.
        part: the one part wanted.
        inputs: recorded inputs.
        onnx: whether the target takes ONNX graphs: then a receiver that has nothing for a chip goes too.

    Raises:
        ConfigError: no such part, or nothing for a chip.
        DataError: a folder that is no finished run.
    """
    if not source.is_dir():
        if part is not None:
            raise ConfigError("a single graph has no parts", where="--part")
        return (Item(source, inputs, out),)
    deployment = read_deployment(source)
    parts = chosen_parts(source, deployment, part, onnx=onnx)
    several = len(parts) > 1
    return tuple(
        Item(
            graph_file=source / one.graph,
            recording_file=inputs or source / one.recording,
            out=out / one.name if several else out,
            part=one.name,
            calibration_file=None if one.calibration is None else source / one.calibration,
            readout=readout_of_part(deployment, one),
        )
        for one in parts
    )


def chosen_parts(run: Path, deployment: Deployment, name: str | None, *, onnx: bool) -> tuple[Part, ...]:
    """The part of a name; without one those of the receiver for a chip, or all of a conventional receiver.

    Raises:
        ConfigError: there are none, or ONNX graphs that the target does not take.
    """
    if name is None:
        receiver = [part for part in deployment.parts if part.side is Side.RECEIVER]
        parts = tuple(part for part in receiver if part.place is Place.CHIP)
        if onnx and not parts:
            parts = tuple(part for part in receiver if part.graph.endswith(".onnx"))
    else:
        parts = tuple(part for part in deployment.parts if part.name == name)
    chip = [part.name for part in deployment.parts if part.place is Place.CHIP]
    hint = (
        f"Parts for a chip: {', '.join(chip)}; choose with --part."
        if chip
        else "It is a conventional network and has no part for a chip; --target c takes ONNX graphs."
    )
    if not parts:
        wanted = "receiver part for a chip" if name is None else f"part called '{name}'"
        raise ConfigError(
            f"has no {wanted}",
            where=run / FILE_NAME,
            hint=hint,
        )
    for part in parts:
        if not part.graph.endswith(".nir") and not onnx:
            raise ConfigError(
                f"part '{part.name}' is {part.graph}, which runs on the host",
                where=run / FILE_NAME,
                hint=hint,
            )
    return parts


def _calibration(
    item: Item, source: Path, named: Path | None, samples: int | None
) -> CalibrationSource | None:
    if samples == 0:
        if named is not None:
            raise ConfigError("asks for none of the samples of --calibration", where="--calibrate 0")
        return None
    file = named or item.calibration_file
    if file is not None:
        return CalibrationSource(file, samples, asked=named is not None or samples is not None)
    if samples is None:
        return None
    hint = "Name a recording of other samples than those of --inputs: --calibration FILE.npz"
    if source.is_dir():
        hint = f"Record some of its training part, without training: nsc-deploy train --resume --out {source}"
    raise ConfigError("there are no recordings to choose scales on", where=source, hint=hint)


def _require_accepted(target: Target, request: ExportRequest, *, split: bool) -> None:
    """Refuse a graph that the target cannot hold, or of which it can hold no middle."""
    result = (PartitionedTarget(target) if split else target).check(request.network)
    if result.chip is not None:
        target.export(request)  # Refused: it says itself what to do instead.
    try:
        raise_first_refusal(result.verdicts)
    except ExportError as error:
        hint = None if split else split_hint(request.network, target)
        hint = " ".join(part for part in (error.hint, hint) if part) or None
        raise ExportError(error.problem, where=f"{request.graph_file}: {error.where}", hint=hint) from error


def _export(target: Target, request: ExportRequest, *, split: bool) -> Path:
    label = request.part or request.graph_file.name
    request.notify(f"exporting {label} to {target.name}")
    with naming(request.graph_file):
        out = (PartitionedTarget(target) if split else target).export(request)
    if not _says_how_it_was_checked(out):
        request.notify(
            f"{target.name} did not check what it wrote: its manifest says nothing of a verification"
        )
    return out


def _says_how_it_was_checked(out: Path) -> bool:
    """Whether its manifest holds a verification; targets of other packages may write what they like."""
    try:
        manifest = read_json(out / "manifest.json")
    except UserError:
        return False
    return isinstance(manifest, dict) and isinstance(manifest.get("verification"), dict)

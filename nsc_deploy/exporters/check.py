"""Which graphs a check is about: a file, the parts of a run, or what a deployment was made from."""

from collections.abc import Callable
from pathlib import Path

from nsc_deploy.deployment import FILE_NAME, Part, Place, read_deployment
from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.base import Target
from nsc_deploy.graphs.formats.nir import GraphOptions
from nsc_deploy.graphs.network import Network

MANIFEST = "manifest.json"


def graphs_of(
    source: Path,
    options: GraphOptions,
    part: str | None = None,
    inputs: Path | None = None,
    *,
    target: Target,
    notify: Callable[[str], None] = lambda _message: None,
) -> tuple[tuple[str, Network], ...]:
    """The graphs that `source` holds for a target, each with the name of its file.

    Args:
        source: a NIR file, a run (all its NIR parts for a chip, at both ends) or a deployment folder (the
            graph it was made from); for a target that takes them an ONNX file, and the ONNX parts of a run.
        options: what a file may leave open.
        part: the one part of a run.
        inputs: a recording, which says what enters where neither the file nor the options do.
        target: which the graphs are for: with a part of a run may go the one in front of it, as in an export.
        notify: called with a line where it does, or why it does not, and which parts are not looked at.

    Raises:
        ConfigError: no such part, nothing for a chip, an ONNX graph for a target that takes none, or an
            option for a file that leaves something open, of a deployment folder.
        DataError: a folder that is neither a finished run nor a deployment.
    """
    run = source.is_dir() and not (source / MANIFEST).is_file()
    if part is not None and not run:
        raise ConfigError("only a run has parts", where="--part", hint="Leave it out, or name a run.")
    if run:
        return _of_run(source, options, part, inputs, target, notify)
    if source.is_dir():
        from nsc_deploy.exporters.verify import open_subject

        return ((str(source), open_subject(source, options).network),)
    if source.suffix == ".onnx":
        from nsc_deploy.exporters.export import read_conventional

        return ((str(source), read_conventional(source, target, options, inputs)),)
    return ((str(source), options.read(source, inputs)),)


def _of_run(
    run: Path,
    options: GraphOptions,
    name: str | None,
    inputs: Path | None,
    target: Target,
    notify: Callable[[str], None],
) -> tuple[tuple[str, Network], ...]:
    onnx = getattr(target, "takes_onnx", False)
    found, seen = [], set()
    for part in _parts(run, name, onnx=onnx):
        network, front = _network(run, part, options, inputs, target, notify)
        found.append((str(run / part.graph), network))
        seen |= {part.name} if front is None else {part.name, front.name}
    left = [one for one in read_deployment(run).parts if one.name not in seen]
    for words, some in (
        ("check one with --part NAME", [one.name for one in left if one.graph.endswith(".nir")]),
        (
            "ONNX graphs, to be checked for --target c",
            [one.name for one in left if one.graph.endswith(".onnx")],
        ),
    ):
        if name is None and some:
            notify(f"not checked, for a host: {', '.join(some)} ({words})")
    return tuple(found)


def _network(
    run: Path,
    part: Part,
    options: GraphOptions,
    inputs: Path | None,
    target: Target,
    notify: Callable[[str], None],
) -> tuple[Network, Part | None]:
    """A part of a run, with the part in front of it where the target takes both; and which part that is."""
    if part.graph.endswith(".onnx"):
        from nsc_deploy.exporters.export import read_conventional, readout_of_part

        readout = readout_of_part(read_deployment(run), part)
        recording = inputs or run / part.recording
        return read_conventional(run / part.graph, target, options, recording, readout), None
    network = options.read(run / part.graph, inputs)
    if inputs is not None or not getattr(target, "takes_samples", False):
        return network, None
    from nsc_deploy.exporters.export import with_front_end

    return with_front_end(network, run, part.name, target, options, notify)


def _parts(run: Path, name: str | None, *, onnx: bool) -> list[Part]:
    """The part of a name; without one those for a chip, and each ONNX graph where the target takes them."""
    every = read_deployment(run).parts
    graphs = [one for one in every if onnx or one.graph.endswith(".nir")]
    found = [
        one
        for one in graphs
        if (one.name == name if name is not None else one.place is Place.CHIP or one.graph.endswith(".onnx"))
    ]
    if not found:
        kind = "part" if onnx else "NIR part"
        wanted = f"{kind} for a chip" if name is None else f"{kind} '{name}'"
        names = ", ".join(one.name for one in graphs) or "none"
        others = ", ".join(one.name for one in every if one not in graphs)
        conventional = f" Its ONNX graphs ({others}) can be checked for --target c." if others else ""
        raise ConfigError(
            f"has no {wanted}", where=run / FILE_NAME, hint=f"Its {kind}s: {names}.{conventional}"
        )
    return found

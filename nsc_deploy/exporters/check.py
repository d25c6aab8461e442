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
            graph it was made from); for a target that takes them an ONNX file, or a run of nothing else.
        options: what a file may leave open.
        part: the one part of a run.
        inputs: a recording, which says what enters where neither the file nor the options do.
        target: which the graphs are for: with a part of a run may go the one in front of it, as in an export.
        notify: called with a line where it does, or why it does not.

    Raises:
        ConfigError: no such part, nothing for a chip, or an ONNX graph for a target that takes none.
        DataError: a folder that is neither a finished run nor a deployment.
    """
    run = source.is_dir() and not (source / MANIFEST).is_file()
    if part is not None and not run:
        raise ConfigError("only a run has parts", where="--part", hint="Leave it out, or name a run.")
    if run:
        return tuple(
            (str(source / one.graph), _of_run(source, one, options, inputs, target, notify))
            for one in _parts(source, part, onnx=getattr(target, "takes_onnx", False))
        )
    if source.is_dir():
        from nsc_deploy.exporters.verify import open_deployment

        return ((str(source), open_deployment(source).network),)
    if source.suffix == ".onnx":
        from nsc_deploy.exporters.export import read_conventional

        return ((str(source), read_conventional(source, target, options, inputs)),)
    return ((str(source), options.read(source, inputs)),)


def _of_run(
    run: Path,
    part: Part,
    options: GraphOptions,
    inputs: Path | None,
    target: Target,
    notify: Callable[[str], None],
) -> Network:
    if part.graph.endswith(".onnx"):
        from nsc_deploy.exporters.export import read_conventional, readout_of_part

        readout = readout_of_part(read_deployment(run), part)
        return read_conventional(run / part.graph, target, options, inputs or run / part.recording, readout)
    network = options.read(run / part.graph, inputs)
    if inputs is not None or not getattr(target, "takes_samples", False):
        return network
    from nsc_deploy.exporters.export import with_front_end

    return with_front_end(network, run, part.name, target, options, notify)[0]


def _parts(run: Path, name: str | None, *, onnx: bool) -> list[Part]:
    deployment = read_deployment(run)
    graphs = [one for one in deployment.parts if onnx or one.graph.endswith(".nir")]
    found = [one for one in graphs if (one.name == name if name is not None else one.place is Place.CHIP)]
    if onnx and name is None and not found:
        found = [one for one in graphs if one.graph.endswith(".onnx")]
    if not found:
        wanted = "NIR part for a chip" if name is None else f"NIR part '{name}'"
        names = ", ".join(one.name for one in graphs) or "none"
        raise ConfigError(f"has no {wanted}", where=run / FILE_NAME, hint=f"Its NIR parts: {names}.")
    return found

"""Mends the file of another framework and checks what it wrote."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.inputs import fits, random_inputs, recording_for
from nsc_deploy.graphs.assemble import in_file
from nsc_deploy.graphs.formats.nir import read_graph, read_network, write_network
from nsc_deploy.graphs.formats.writers.mend import mend
from nsc_deploy.graphs.formats.writers.statement import Maker, Statement
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.io.outputs import FileKind, require_output
from nsc_deploy.verification.compare import Comparison, compare_runs
from nsc_deploy.verification.recorded import RecordedRunner
from nsc_deploy.verification.runner import ReferenceRunner


@dataclass(frozen=True)
class MendedFile:
    """A file that says what its model does.

    Attributes:
        network: as it is read from the file.
        assumed: what was taken for granted.
        unsaid: what no file of the framework can say.
        comparison: with the outputs that the framework recorded; None without them.
        outputs: how many outputs are not 0 on the inputs that it was tried with.
    """

    network: Network
    assumed: tuple[str, ...]
    unsaid: str
    comparison: Comparison | None
    outputs: int


def mend_file(
    path: Path,
    maker: Maker,
    statement: Statement,
    out: Path,
    *,
    inputs: Path | None = None,
    outputs: Path | None = None,
) -> MendedFile:
    """Write the graph that a framework's exporter meant; nothing is written where it is another.

    Args:
        path: the file, one that nir.read itself cannot open included.
        maker: the framework.
        statement: what its files cannot say.
        out: the file to write.
        inputs: what entered the model; random inputs without them.
        outputs: what the model gave, in the framework itself.

    Raises:
        ConfigError: what is stated does not fit the framework; `out` is one of the files that are read, or
            has the name or the content of something else than a graph.
        GraphError: no graph can hold the model, or its outputs are other than those recorded.
        DataError: inputs or outputs of another graph.
    """
    # What the framework wrote may be there once, and what is read back later is too late for it.
    require_output(out, FileKind.GRAPH, (path, inputs, outputs))
    with in_file(path):
        mended = mend(read_graph(path), maker, statement)
        network, comparison = mended.network, None
        values = random_inputs(network)
        if inputs is not None:
            recording = recording_for(network, inputs)
            fits(recording, network, inputs)
            values = recording.values
        if outputs is not None:
            recorded = RecordedRunner(outputs, network, values.shape[1])
            comparison = compare_runs(network, recorded, ReferenceRunner(network), values)
            _require_equal(comparison, path, outputs, mended.unsaid)
        wanted = simulate(network, values).output
    write_network(out, network)
    found = read_network(out)
    if not np.array_equal(simulate(found, values).output, wanted):
        raise AssertionError("a written graph computes something else")
    return MendedFile(found, mended.assumed, mended.unsaid, comparison, int(np.count_nonzero(wanted)))


def _require_equal(comparison: Comparison, path: Path, outputs: Path, unsaid: str) -> None:
    if comparison.output.agrees:
        return
    raise GraphError(
        f"its outputs are not those in {outputs}: {comparison.output.differing} of "
        f"{comparison.output.compared} differ, so the model is another network",
        where=path,
        hint=f"What no file of this framework can say: {unsaid}. Say it with --set NAME=VALUE, if a graph "
        "can hold it; else train without.",
    )

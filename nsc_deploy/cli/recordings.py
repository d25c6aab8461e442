"""A recording that lies beside a graph under its name: receiver.npz beside receiver.nir, as in a run."""

from collections.abc import Sequence
from pathlib import Path

import typer

_GRAPHS = frozenset({".nir", ".onnx"})


def beside(graphs: Sequence[Path], inputs: Sequence[Path] | None) -> list[Path]:
    """The recordings of graph files, in their order: those that are named, else those beside all of them.

    What is found is said on the standard error.

    Args:
        graphs: what a command was given; runs and deployment folders hold recordings of their own.
        inputs: the recordings that it was given.
    """
    if inputs:
        return list(inputs)
    files = [graph for graph in graphs if graph.suffix in _GRAPHS and graph.is_file()]
    found = [graph.with_suffix(".npz") for graph in files]
    if not all(recording.is_file() for recording in found):
        return []
    for recording in found:
        typer.echo(f"inputs: {recording}, which lies beside the graph", err=True)
    return found

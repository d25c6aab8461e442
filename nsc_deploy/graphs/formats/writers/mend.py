"""Graphs of other makers as they were meant: what their exporters get wrong, put right.

What a file cannot say is stated by whoever asks, in the framework's own words (`Statement`); what nobody
states has the framework's default where a graph can hold that, else it is assumed away, and said. Every
mend is counted in the step that the framework counts in, and then written for the real one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import nir

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.assemble import assemble, flatten
from nsc_deploy.graphs.flow import Edge, FlatGraph, is_own
from nsc_deploy.graphs.formats.writers.draft import Draft, add_sums, editable, stretch
from nsc_deploy.graphs.formats.writers.makers import RULES
from nsc_deploy.graphs.formats.writers.recognise import Sign, Writer, sign_of
from nsc_deploy.graphs.formats.writers.statement import Maker, Statement
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.primitives import normalise


@dataclass(frozen=True)
class Mended:
    """A graph as it was meant.

    Attributes:
        network: with its step and reset in the metadata.
        assumed: what was taken for granted, each with what the framework's default is.
        unsaid: what no file of this framework can say, as the end of a sentence.
    """

    network: Network
    assumed: tuple[str, ...]
    unsaid: str


def mend(graph: nir.NIRGraph, maker: Maker, statement: Statement) -> Mended:
    """What the framework's exporter meant by a graph.

    Args:
        graph: as it was exported.
        maker: the framework.
        statement: what its files cannot say.

    Raises:
        ConfigError: an argument that its neurons do not have, or that is missing.
        GraphError: no graph can hold what is stated, or this is no such file.
    """
    rule = RULES[maker]
    if is_own(graph.metadata):
        raise GraphError(
            "was written by this tool, and says its step and its reset itself",
            hint="Read it as it is; mend the file that the framework wrote.",
        )
    read, edges = flatten(graph)
    rule.arguments.require(statement, maker, read)
    draft = Draft({name: editable(node) for name, node in read.items()}, edges, statement, maker)
    sign = _sign_of_another(read, edges, maker)
    if sign is not None:
        draft.assumed.append(f"that {maker} wrote the file ({sign.claim.rstrip('.')})")
    add_sums(draft)
    dt, reset = rule.mend(draft)
    wanted = statement.step_seconds or statement.dt or dt
    for node in draft.nodes.values():
        stretch(node, wanted / dt)
    if statement.signal is not None:
        for node in draft.nodes.values():
            if isinstance(node, nir.Input):
                node.metadata = {**node.metadata, "signal": statement.signal.value}
    # As this tool's own, which no recogniser looks at: its faults are mended.
    own = {"generator": "nsc-deploy mend", "mended": str(maker)}
    metadata = {**own, "dt": wanted, "reset": reset.value}
    made = nir.NIRGraph(draft.nodes, draft.edges, metadata=metadata, type_check=False)
    return Mended(assemble(made), tuple(draft.assumed), rule.unsaid)


def _sign_of_another(nodes: Mapping[str, Any], edges: Iterable[Edge], maker: Maker) -> Sign | None:
    """The traces of a framework that is not the one named; a guess, so it is told and refuses nothing.

    Only of those whose exporters leave numbers of their own: the traces of Norse and sinabs others leave too.
    """
    inputs: dict[str, tuple[str, ...]] = dict.fromkeys(nodes, ())
    for source, target in edges:
        inputs[target] += (source,)
    try:
        sign = sign_of(FlatGraph({name: normalise(node) for name, node in nodes.items()}, inputs))
    except GraphError:  # What the mending does not put right is told by what reads the result.
        return None
    return None if sign is None or _TELLING.get(sign.writer, maker) is maker else sign


_TELLING = {
    Writer.SNNTORCH: Maker.SNNTORCH,
    Writer.SPIKINGJELLY: Maker.SPIKINGJELLY,
    Writer.ROCKPOOL: Maker.ROCKPOOL,
}

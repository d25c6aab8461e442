"""Pass: drop populations whose spikes never reach the output, and synapses of weight zero between layers.

Requires: a valid population graph.
Promises: every population left is read by another one or by the output. Exact.
"""

from dataclasses import replace

from nsc_deploy.exporters.passes.populations import PopulationGraph, used_lines
from nsc_deploy.io.text import counted
from nsc_deploy.passes.base import Lowered, Note


class RemoveDead:
    """The pass."""

    name = "remove-dead"

    def requires(self, graph: PopulationGraph, /) -> None:
        """Nothing beyond the type."""

    def apply(self, graph: PopulationGraph, /) -> Lowered[PopulationGraph]:
        """Walk backwards from the output."""
        alive = _alive(graph)
        kept = tuple(
            replace(one, drive={tap: weight for tap, weight in one.drive.items() if weight.synapses})
            for one in graph.populations
            if one.name in alive
        )
        notes = tuple(
            Note(
                "removed",
                one.name,
                f"{counted(one.size, 'neuron')} removed: no spike of it reaches the output",
            )
            for one in graph.populations
            if one.name not in alive
        )
        return Lowered(replace(graph, populations=kept), notes)

    def broken_promise(self, graph: object, /) -> str | None:
        """A population that nothing reads."""
        if not isinstance(graph, PopulationGraph):
            return "no population graph"
        read = {tap.source for tap in used_lines(graph)}
        unread = [one.name for one in graph.populations if one.name not in read]
        return f"'{unread[0]}' is read by nothing" if unread else None


def _alive(graph: PopulationGraph) -> set[str]:
    """The output's source and every source it depends on; cycles make no difference."""
    sources = {
        one.name: {tap.source for tap, weight in one.drive.items() if weight.synapses}
        for one in graph.populations
    }
    alive: set[str] = set()
    open_names = [graph.output.source]
    while open_names:
        name = open_names.pop()
        if name not in alive:
            alive.add(name)
            open_names.extend(sources.get(name, ()))
    return alive

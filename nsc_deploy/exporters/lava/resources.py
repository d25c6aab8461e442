"""What a graph takes on Lava: counted on the chain of layers that an export would write."""

from nsc_deploy.exporters.chips.placement import Usage
from nsc_deploy.exporters.lava.integers import MAX_DELAY
from nsc_deploy.exporters.lava.lowering.levelise import Levels
from nsc_deploy.exporters.lava.lowering.pipeline import PIPELINE
from nsc_deploy.exporters.lava.lowering.synapses import LARGEST_MATRIX, most_synapses
from nsc_deploy.graphs.network import Network
from nsc_deploy.passes.base import run_passes


def lava_resources(network: Network) -> tuple[Usage, ...]:
    """Neurons, relays, synapses, layers and delays; only delays and the synapses of a node have a limit.

    Args:
        network: a graph that Lava takes.

    Raises:
        ExportError: Lava does not take it.
    """
    levels = run_passes(network, PIPELINE).graph
    slots = [slot for layer in levels.layers for slot in layer]
    relays = [slot for slot in slots if slot.population is None]
    return (
        Usage("neurons", sum(slot.size for slot in slots), None),
        Usage("of them relays", sum(slot.size for slot in relays), None),
        Usage("synapses", _synapses(levels), None),
        Usage("of one node, at most", max(map(most_synapses, network.nodes), default=0), LARGEST_MATRIX),
        Usage("layers", len(levels.layers), None),
        Usage("delay steps", max((slot.delay for slot in slots), default=0), MAX_DELAY),
    )


def _synapses(levels: Levels) -> int:
    return sum(
        slot.size
        if slot.population is None
        else sum(
            weight.synapses
            for weight in (*slot.population.drive.values(), *slot.population.recurrent.values())
        )
        for layer in levels.layers
        for slot in layer
    )

"""Resets by subtraction that a graph writes out: an integrator, a threshold, and a loop between them.

    x -> I -> Threshold,  Threshold -> Scale(-threshold) -> I (one step later)

are neurons that reset by subtraction, and what the integrator gives is their potential before the reset. The
graphs of SNN-SC's decoder state their last neurons so, since NIR has no node with both (`passes.plain_reset`
writes the same).
"""

from dataclasses import dataclass

import numpy as np

from nsc_deploy.graphs.network import Network, Node


@dataclass(frozen=True)
class SoftReset:
    """The names of the nodes of such neurons.

    Attributes:
        integrator: gives the potential before the reset.
        threshold: gives the spikes; the neurons are called so.
        reset: the Scale of the loop.
    """

    integrator: str
    threshold: str
    reset: str


def soft_resets(network: Network) -> dict[str, SoftReset]:
    """The written-out neurons of a graph by the name of their integrator."""
    found = (_at(node, network) for node in network.nodes if node.primitive == "I")
    return {one.integrator: one for one in found if one is not None}


def potentials_leave(network: Network) -> SoftReset | None:
    """The neurons whose potentials before the reset are the output of a graph; None where spikes leave."""
    outputs = network.output_nodes
    if len(outputs) != 1 or len(outputs[0].inputs) != 1:
        return None
    return soft_resets(network).get(outputs[0].inputs[0])


def _at(integrator: Node, network: Network) -> SoftReset | None:
    readers = network.successors(integrator.name)
    thresholds = [one for one in readers if one.primitive == "Threshold" and len(one.inputs) == 1]
    others = [one for one in readers if one.primitive not in {"Threshold", "Output"}]
    if len(thresholds) != 1 or others or not _adds_up(integrator, network):
        return None
    (threshold,) = thresholds
    for reset in network.successors(threshold.name):
        if (
            reset.primitive == "Scale"
            and [one.name for one in network.successors(reset.name)] == [integrator.name]
            and len(reset.inputs) == 1
            and (reset.name, integrator.name) in network.back_edges
            and _takes_off(reset, threshold)
        ):
            return SoftReset(integrator.name, threshold.name, reset.name)
    return None


def _adds_up(integrator: Node, network: Network) -> bool:
    """Whether it adds what arrives as it is."""
    if network.dt is None:
        return False
    gain = np.asarray(integrator.parameters.r, np.float64) * network.dt
    return bool((gain.astype(np.float32) == 1).all())


def _takes_off(reset: Node, threshold: Node) -> bool:
    level = np.asarray(threshold.parameters.threshold, np.float32)
    return bool((level >= 0).all() and (np.asarray(reset.parameters.scale, np.float32) == -level).all())

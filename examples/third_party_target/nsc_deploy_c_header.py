"""A target of one's own: dense layers of leaky neurons as arrays in a C header, for bare firmware.

It takes a chain of Linear and LIF nodes and refuses everything else by name, as a target should.
"""

import re
from pathlib import Path

import numpy as np

from nsc_deploy.exporters.folder import replacing_folder
from nsc_deploy.exporters.registry import ExportRequest
from nsc_deploy.exporters.verdict import Status, Verdict
from nsc_deploy.files import write_json, write_text
from nsc_deploy.graphs.network import Network, Node, Reset
from nsc_deploy.graphs.operators.coefficients import coefficients

HEADER = "network.h"
MANIFEST = "manifest.json"
TAKEN = {"Input": "the argument", "Linear": "an array", "LIF": "two arrays", "Output": "the result"}


class CHeaderTarget:
    """Weights, decays and thresholds in float32."""

    name = "c-header"
    summary = "a C header of weights, decays and thresholds, for a chain of Linear and LIF"

    def check(self, network: Network) -> tuple[Verdict, ...]:
        """A verdict on each node."""
        return tuple(self._verdict(node, network) for node in network.nodes)

    def export(self, request: ExportRequest) -> Path:
        """Write the header; the folder appears whole or not at all."""
        with replacing_folder(request.out, MANIFEST) as folder:
            write_text(folder / HEADER, header(request.network))
            write_json(folder / MANIFEST, {"target": self.name, "graph": str(request.graph_file)})
        return request.out

    def _verdict(self, node: Node, network: Network) -> Verdict:
        if node.primitive not in TAKEN:
            reason, remedy = f"there is no {node.primitive} in the header", "Train with Linear and LIF alone."
        elif len(node.inputs) > 1 or len(network.successors(node.name)) > 1:
            reason, remedy = "branches and joins are not written", "Train a chain of layers."
        elif node.primitive == "LIF" and not plain(node, network):
            reason, remedy = (
                "has a gain, a leak or a reset of its own",
                "Train with reset to zero and gain 1.",
            )
        else:
            return Verdict(node.name, node.primitive, Status.NATIVE, TAKEN[node.primitive])
        return Verdict(node.name, node.primitive, Status.REFUSED, reason, remedy)


def plain(node: Node, network: Network) -> bool:
    """Whether a neuron is v = decay v + i with a reset to 0, and nothing more."""
    numbers = coefficients(node, network)
    floor = numbers.floor
    at_zero = network.reset is Reset.ZERO and floor is not None and not floor.any()
    return at_zero and bool((numbers.gain == 1).all()) and not numbers.offset.any()


def header(network: Network) -> str:
    """The text of the header."""
    lines = ["#pragma once", ""]
    for index, node in enumerate(network.nodes):
        if node.primitive == "Linear":
            lines.append(array(index, node.name, "weight", node.parameters.weight))
        elif node.primitive == "LIF":
            numbers = coefficients(node, network)
            lines.append(array(index, node.name, "decay", numbers.decay))
            lines.append(array(index, node.name, "threshold", numbers.threshold))
    return "\n".join(lines) + "\n"


def array(index: int, node: str, what: str, values: np.ndarray) -> str:
    """One array; hexadecimal floats lose nothing."""
    name = f"n{index}_{re.sub(r'[^A-Za-z0-9_]', '_', node)}_{what}"
    numbers = ", ".join(f"{float(value).hex()}f" for value in np.ravel(values))
    return f"static const float {name}[{values.size}] = {{{numbers}}};"


TARGET = CHeaderTarget()

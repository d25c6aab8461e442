"""A target of one's own: dense layers of leaky neurons as arrays in a C header, for bare firmware.

It takes a chain of Linear and LIF nodes and refuses everything else by name, as a target should. What it
wrote is read back and run beside the reference simulator before the folder appears: `write_exact_deployment`
asks for that, refuses an artefact that computes something else, and writes the manifest.
"""

import re
from pathlib import Path

import numpy as np

from nsc_deploy.exporters.base import CheckResult, Deployment, ExportRequest, Status, Verdict
from nsc_deploy.exporters.float32 import Written, open_exact_deployment, write_exact_deployment
from nsc_deploy.graphs.network import Network, Node, Reset
from nsc_deploy.graphs.operators.neurons import coefficients
from nsc_deploy.io.files import write_text
from nsc_deploy.verification.runner import LayerTrace, RunTrace

HEADER = "network.h"
PACKAGE = "nsc-deploy-c-header"
TAKEN = {"Input": "the argument", "Linear": "an array", "LIF": "two arrays", "Output": "the result"}


class CHeaderTarget:
    """Weights, decays and thresholds in float32."""

    name = "c-header"
    summary = "a C header of weights, decays and thresholds, for a chain of Linear and LIF"

    def check(self, network: Network, _weight_bits: int | None = None) -> CheckResult:
        """A verdict on each node; weights stay in float32, so bits do not matter."""
        verdicts = tuple(self._verdict(node, network) for node in network.nodes)
        return CheckResult(verdicts, keeps_weights=True)

    def export(self, request: ExportRequest) -> Path:
        """Write the header; the folder appears whole and checked, or not at all."""

        def write(folder: Path) -> Written:
            write_text(folder / HEADER, header(request.network))
            held = ((HEADER, "weights, decays and thresholds"),)
            return Written(held, (HeaderRunner(folder / HEADER, request.network),))

        return write_exact_deployment(request, self.name, (PACKAGE,), write)

    def open(self, folder: Path) -> Deployment:
        """Read a folder back, for `run` and `verify`."""
        return open_exact_deployment(
            folder, self.name, lambda graph, _settings: HeaderRunner(folder / HEADER, graph)
        )

    def _verdict(self, node: Node, network: Network) -> Verdict:
        if node.primitive not in TAKEN:
            reason, hint = f"there is no {node.primitive} in the header", "Train with Linear and LIF alone."
        elif len(node.inputs) > 1 or len(network.successors(node.name)) > 1:
            reason, hint = "branches and joins are not written", "Train a chain of layers."
        elif node.primitive == "LIF" and not plain(node, network):
            reason, hint = (
                "has a gain, a leak or a reset of its own",
                "Train with reset to zero and gain 1.",
            )
        else:
            return Verdict(node.name, node.primitive, Status.NATIVE, TAKEN[node.primitive])
        return Verdict(node.name, node.primitive, Status.REFUSED, reason, hint)


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


class HeaderRunner:
    """What firmware would compute with the arrays of a header, in numpy.

    Args:
        path: the header.
        network: the graph it was made from, for the names of its neurons.
    """

    name = "c-header"

    def __init__(self, path: Path, network: Network) -> None:
        found = re.findall(r"float n\d+_\w+_(\w+)\[\d+\] = \{(.*)\};", path.read_text(encoding="utf-8"))
        self._arrays = [
            (what, np.array([float.fromhex(number.rstrip("f")) for number in text.split(", ")], np.float32))
            for what, text in found
        ]
        self._neurons = [node.name for node in network.nodes if node.primitive == "LIF"]

    def run(self, values: np.ndarray) -> RunTrace:
        """Run [T, N, inputs] from rest."""
        signal, decay = values.astype(np.float32), np.zeros(0, np.float32)
        layers: dict[str, LayerTrace] = {}
        for what, array in self._arrays:
            if what == "weight":
                signal = signal @ array.reshape(-1, signal.shape[2]).T
            elif what == "decay":
                decay = array
            else:
                layer = fire(signal, decay, array)
                layers[self._neurons[len(layers)]] = layer
                signal = layer.spikes.astype(np.float32)
        return RunTrace(signal, layers)


def fire(current: np.ndarray, decay: np.ndarray, threshold: np.ndarray) -> LayerTrace:
    """Leaky neurons: v = decay v + i, a spike where v is above the threshold, and then v = 0."""
    potential = np.zeros(current.shape[1:], np.float32)
    potentials, spikes = np.empty_like(current), np.empty(current.shape, np.uint8)
    for step, arriving in enumerate(current):
        potential = decay * potential + arriving
        fired = potential > threshold
        potentials[step], spikes[step] = potential, fired
        potential = np.where(fired, np.float32(0), potential)
    return LayerTrace(spikes, potentials, threshold)


TARGET = CHeaderTarget()

"""Counting as slowly and plainly as it can be done: event by event, synapse by synapse."""

from collections import Counter
from itertools import product

import numpy as np

from nsc_deploy.energy.counts import Kind
from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.signal import Signal
from nsc_deploy.graphs.simulate import simulate


def count(network: Network, values: np.ndarray) -> dict[str, Counter[tuple[Kind, int]]]:
    """Operations by node, kind and sample."""
    outputs = simulate(network, values, record="all").outputs
    steps, samples = values.shape[:2]
    found = {node.name: Counter() for node in network.nodes}
    for node in network.nodes:
        for t, n in product(range(steps), range(samples)):
            arriving = [_arriving(network, outputs, source, node, t, n) for source in node.inputs]
            _visit(network, node, arriving, outputs[node.name][t, n], found[node.name], n)
    return found


def _arriving(network: Network, outputs, source: str, node: Node, t: int, n: int):
    late = (source, node.name) in network.back_edges
    if late and t == 0:
        return np.zeros(node.input_shape, dtype=np.float32)
    return outputs[source][t - 1 if late else t, n]


def _visit(network: Network, node: Node, arriving, output, found, n: int) -> None:
    emitted = [network.node(source).emits for source in node.inputs]
    always = Signal.REAL in emitted
    if len(arriving) > 1:
        for source, values in zip(node.inputs, arriving, strict=True):
            if not network.node(source).synaptic:
                real = network.node(source).emits is Signal.REAL
                found[Kind.ADDITION, n] += values.size if real else sum(1 for v in values.flat if v != 0)
    if node.primitive in {"LIF", "IF", "LI", "I", "CubaLIF", "CubaLI", "Threshold"}:
        found[Kind.NEURON_UPDATE, n] += output.size
    if node.spiking:
        found[Kind.SPIKE, n] += sum(1 for spike in output.flat if spike == 1)
    if not arriving:
        return
    value = sum(arriving[1:], arriving[0])
    kind = Kind.AC if emitted == [Signal.EVENTS] else Kind.MAC
    if node.primitive in {"Linear", "Affine"}:
        for i, j in np.ndindex(*node.parameters.weight.shape):
            if node.parameters.weight[i, j] != 0 and (always or value[j] != 0):
                found[kind, n] += 1
    if node.primitive == "Conv1d":
        found[kind, n] += _convolution(node, value, output.shape, always)
    if node.primitive in {"Affine", "Conv1d"}:
        positions = output.size // node.parameters.bias.size
        found[Kind.ADDITION, n] += positions * sum(1 for bias in node.parameters.bias if bias != 0)
    if node.primitive == "Scale":
        found[Kind.PRODUCT, n] += sum(1 for v in value.flat if always or v != 0)


def _convolution(node: Node, value, room: tuple[int, ...], always: bool) -> int:
    form, met = node.parameters, 0
    outputs, per_group, taps = form.weight.shape
    for o, c, k, y in product(range(outputs), range(per_group), range(taps), range(room[1])):
        channel = (o // (outputs // form.groups)) * per_group + c
        p = y * form.stride[0] + k * form.dilation[0] - form.padding[0]
        inside = 0 <= p < value.shape[1]
        if inside and form.weight[o, c, k] != 0 and (always or value[channel, p] != 0):
            met += 1
    return met

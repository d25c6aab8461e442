"""Counting as slowly and plainly as it can be done: event by event, synapse by synapse."""

from collections import Counter
from itertools import product

import numpy as np

from nsc_deploy.energy.counting.operations import Kind
from nsc_deploy.graphs.network import Network, Node, Signal
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


def moved(network: Network, values: np.ndarray) -> dict[str, dict[str, int]]:
    """Accesses by node and kind, all samples together: value by value, from the rules of `traffic`."""
    outputs = simulate(network, values, record="all").outputs
    operations = count(network, values)
    found = {node.name: Counter() for node in network.nodes}
    for node in network.nodes:
        mine = found[node.name]
        total = Counter()
        for (kind, _), number in operations[node.name].items():
            total[kind] += number
        for t, n in product(range(values.shape[0]), range(values.shape[1])):
            for source in node.inputs:
                _read(network, node, source, _arriving(network, outputs, source, node, t, n), mine)
            _write(network, node, outputs[node.name][t, n], mine)
        real = Signal.REAL in [network.node(source).emits for source in node.inputs]
        if node.synaptic:
            synops = total[Kind.AC] + total[Kind.MAC]
            mine["weight_reads"] += synops
            if node.primitive != "Linear":
                positions = int(np.prod(node.output_shape)) // node.parameters.bias.size
                biases = sum(1 for bias in node.parameters.bias if bias != 0)
                mine["weight_reads"] += biases * positions * values.shape[0] * values.shape[1]
            for access in ("state_reads", "state_writes"):
                mine[access] += 0 if real else synops
        if node.primitive == "Scale":
            mine["weight_reads"] += total[Kind.PRODUCT]
        variables = {"LIF": 1, "IF": 1, "LI": 1, "I": 1, "CubaLIF": 2, "CubaLI": 2}.get(node.primitive, 0)
        for access in ("state_reads", "state_writes"):
            mine[access] += variables * total[Kind.NEURON_UPDATE]
    return {name: {key: number for key, number in one.items() if number} for name, one in found.items()}


_NEURONS = {"LIF", "IF", "LI", "I", "CubaLIF", "CubaLI", "Threshold"}
_WEIGHTED = {"Linear", "Affine", "Conv1d", "Conv2d"}
_ELEMENTWISE = {"Scale", "SumPool2d", "AvgPool2d"}


def _carried(emits: Signal, values) -> int:
    return values.size if emits is Signal.REAL else sum(1 for value in values.flat if value != 0)


def _weights_behind(network: Network, name: str) -> bool:
    node = network.node(name)
    if node.primitive == "Flatten":
        return any(_weights_behind(network, source) for source in node.inputs)
    return node.synaptic


def _only_neurons_read(network: Network, node: Node) -> bool:
    return all(
        _only_neurons_read(network, one) if one.primitive == "Flatten" else one.primitive in _NEURONS
        for one in network.nodes
        if node.name in one.inputs
    )


def _read(network: Network, node: Node, source: str, values, mine) -> None:
    number = _carried(network.node(source).emits, values)
    if node.primitive == "Delay":
        mine["state_writes"] += number
        return
    in_place = node.primitive in _NEURONS and _weights_behind(network, source)
    if node.primitive in _NEURONS | _WEIGHTED | _ELEMENTWISE and not in_place:
        mine["activation_reads"] += number


def _write(network: Network, node: Node, values, mine) -> None:
    if node.primitive == "Delay":
        mine["state_reads"] += _carried(node.emits, values)
    real = Signal.REAL in [network.node(source).emits for source in node.inputs]
    leaves = node.synaptic and real and not _only_neurons_read(network, node)
    if node.primitive in _NEURONS | _ELEMENTWISE or leaves:
        mine["activation_writes"] += _carried(node.emits, values)


def _arriving(network: Network, outputs, source: str, node: Node, t: int, n: int):
    late = (source, node.name) in network.back_edges
    if late and t == 0:
        return np.zeros(node.input_shape, dtype=np.float32)
    return outputs[source][t - 1 if late else t, n]


def _visit(network: Network, node: Node, arriving, output, found, n: int) -> None:
    emitted = [network.node(source).emits for source in node.inputs]
    if len(arriving) > 1:
        found[Kind.ADDITION, n] += _joined(network, node, arriving)
    if node.primitive in {"LIF", "IF", "LI", "I", "CubaLIF", "CubaLI", "Threshold"}:
        found[Kind.NEURON_UPDATE, n] += output.size
    if node.spiking:
        found[Kind.SPIKE, n] += sum(1 for spike in output.flat if spike == 1)
    if not arriving:
        return
    _meet(node, sum(arriving[1:], arriving[0]), emitted, output, found, n)


def _joined(network: Network, node: Node, arriving) -> int:
    """Place by place, one addition less than there are values to join, weighted ones together being one."""
    sources = [(network.node(name), _weights_behind(network, name)) for name in node.inputs]
    additions = 0
    for place in np.ndindex(*arriving[0].shape):
        values = 0
        for (source, weighted), array in zip(sources, arriving, strict=True):
            values += not weighted and (source.emits is Signal.REAL or array[place] != 0)
        values += any(weighted for _, weighted in sources)
        additions += max(0, values - 1)
    return additions


def _meet(node: Node, value, emitted, output, found, n: int) -> None:
    always = Signal.REAL in emitted
    kind = Kind.AC if emitted == [Signal.EVENTS] else Kind.MAC
    if node.primitive in {"Linear", "Affine"}:
        for i, j in np.ndindex(*node.parameters.weight.shape):
            if node.parameters.weight[i, j] != 0 and (always or value[j] != 0):
                found[kind, n] += 1
    if node.primitive in {"Conv1d", "Conv2d"}:
        found[kind, n] += _convolution(node, value, output.shape, always)
    if node.primitive in {"SumPool2d", "AvgPool2d"}:
        found[Kind.ADDITION, n] += _pool(node, value, output.shape, always)
    if node.primitive == "AvgPool2d":
        found[Kind.PRODUCT, n] += output.size
    if node.primitive in {"Affine", "Conv1d", "Conv2d"}:
        positions = output.size // node.parameters.bias.size
        found[Kind.ADDITION, n] += positions * sum(1 for bias in node.parameters.bias if bias != 0)
    if node.primitive == "Scale":
        found[Kind.PRODUCT, n] += sum(1 for v in value.flat if always or v != 0)


def _convolution(node: Node, value, room: tuple[int, ...], always: bool) -> int:
    form, met = node.parameters, 0
    outputs, per_group, *kernel = form.weight.shape
    for o, c in product(range(outputs), range(per_group)):
        channel = (o // (outputs // form.groups)) * per_group + c
        for tap, at in _inside(kernel, room[1:], value.shape[1:], form.stride, form.padding, form.dilation):
            if form.weight[(o, c, *tap)] != 0 and (always or value[(channel, *at)] != 0):
                met += 1
    return met


def _pool(node: Node, value, room: tuple[int, ...], always: bool) -> int:
    """Window by window, one addition less than there are values in it."""
    form, additions = node.parameters, 0
    for channel, *place in product(*map(range, room)):
        values = 0
        for tap in product(*map(range, form.kernel_size)):
            at = tuple(
                y * s + k - p for y, k, s, p in zip(place, tap, form.stride, form.padding, strict=True)
            )
            inside = all(0 <= p < length for p, length in zip(at, value.shape[1:], strict=True))
            values += inside and (always or value[(channel, *at)] != 0)
        additions += max(0, values - 1)
    return additions


def _inside(kernel, room, size, stride, padding, dilation):
    """Each tap of each output that falls inside the input, and where."""
    for place in product(*map(range, room)):
        for tap in product(*map(range, kernel)):
            axes = zip(place, tap, stride, padding, dilation, strict=True)
            at = tuple(y * step + k * apart - zeros for y, k, step, zeros, apart in axes)
            if all(0 <= p < length for p, length in zip(at, size, strict=True)):
                yield tap, at

"""The memory accesses of one ONNX operator, by the model of `traffic`.

An operator reads what arrives and writes its result. One that takes a single changing tensor, element
by element (a bias, a scale, a function, a comparison with a constant), works on the values on their way
and costs no access of its own beyond its constants. Where no operand of a product is constant, the
second takes the place of the weights: it is read once for each multiply-accumulate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from nsc_deploy.energy.counting.onnx.operator_costs import NORMALISATIONS, REDUCTIONS
from nsc_deploy.energy.counting.onnx.operators import FREE, WEIGHTED, Cost, Shape, Site
from nsc_deploy.energy.counting.operations import Footprint, Kind

_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
# These need all values of a line before the first result is there.
_GATHERING = frozenset(REDUCTIONS) | frozenset(NORMALISATIONS) - {"BatchNormalization"}
_FOLDED = {"BatchNormalization": 2}


@dataclass(frozen=True)
class Accesses:
    """Accesses of one execution, every value taken for real."""

    weight_reads: int = 0
    state_reads: int = 0
    state_writes: int = 0
    activation_reads: int = 0
    activation_writes: int = 0


def accesses(site: Site, shapes: Mapping[str, Shape], price: Cost) -> Accesses:
    """Accesses of one execution of an operator."""
    kind = site.node.op_type
    if kind in FREE:
        return Accesses()
    if kind in _RECURRENT:
        return _recurrent(site, shapes, price)
    changing = _changing(site)
    written = prod(shapes[site.node.output[0]])
    if kind in WEIGHTED:
        macs, biases = price.operations.get(Kind.MAC, 0), price.operations.get(Kind.ADDITION, 0)
        read = [prod(shapes[name]) for name in site.node.input[:2] if name in changing]
        streamed = len(read) == 2
        return Accesses(
            weight_reads=biases + (0 if streamed else macs),
            activation_reads=read[0] + macs if streamed else sum(read),
            activation_writes=written,
        )
    constants = _constants(site) * written
    if len(changing) <= 1 and kind not in _GATHERING:
        return Accesses(weight_reads=constants)
    return Accesses(
        weight_reads=constants,
        activation_reads=sum(prod(shapes[name]) for name in changing),
        activation_writes=written,
    )


def _constants(site: Site) -> int:
    """Constants that each result takes one value of: no axes of a reduction, no single numbers."""
    if site.node.op_type in REDUCTIONS:
        return 0
    found = sum(1 for name in site.node.input if name in site.constants and site.constants[name].size > 1)
    return min(found, _FOLDED.get(site.node.op_type, found))


def _changing(site: Site) -> list[str]:
    return [name for name in site.node.input if name and name not in site.constants]


def _recurrent(site: Site, shapes: Mapping[str, Shape], price: Cost) -> Accesses:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[site.node.op_type]
    directions, rows, _ = shapes[site.node.input[1]]
    entering = prod(shapes[site.node.input[0]])
    steps_and_samples = entering // max(1, shapes[site.node.input[0]][-1])
    units = steps_and_samples * directions * (rows // gates)
    cells = units if site.node.op_type == "LSTM" else 0
    biases = gates * units if site.given(3) else 0
    return Accesses(
        weight_reads=price.operations[Kind.MAC] + biases,
        # The cell state is read and written; the hidden state is read here and written as the output.
        state_reads=units + cells,
        state_writes=cells,
        activation_reads=entering * directions,
        activation_writes=units,
    )


def footprint(site: Site, shapes: Mapping[str, Shape], price: Cost, steps: int) -> Footprint:
    """The values an operator keeps; of a sequence, those of one step."""
    known = (site.constants[name] for name in site.node.input if name in site.constants)
    weights = sum(int(np.count_nonzero(values)) for values in known)
    if site.node.op_type in FREE:
        return Footprint()
    arriving = 0
    for name in _changing(site):
        shape = shapes[name]
        arriving += prod(shape) // (steps if len(shape) == 3 and shape[0] == steps else 1)
    cells = 2 if site.node.op_type == "LSTM" else 1
    return Footprint(weights, cells * price.neurons, arriving)

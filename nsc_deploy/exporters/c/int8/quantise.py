"""From an ONNX graph of dense layers and LSTMs to 8 bits: a factor a row, ranges from recorded inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from nsc_deploy.errors import ConfigError, GraphError
from nsc_deploy.exporters.c.int8.network import GATE_BITS, HIDDEN_BITS, Dense, Int8Network, Lstm, Product
from nsc_deploy.graphs.formats.onnx import read_onnx

Reals = NDArray[np.float64]
LARGEST, LARGEST_OUTPUT = 127, 2**15 - 1
_HINT = "Dense layers (MatMul, Add), Relu and LSTM one behind the other, the last one dense, have a form."


@dataclass(frozen=True, eq=False)
class _Layer:
    """Floating-point weights of a layer: a dense one, or gates with weights of their own output."""

    name: str
    weight: Reals
    bias: Reals
    relu: bool = False
    recurrent: Reals | None = None


def quantise(graph: Path, calibration: NDArray[Any], *, classes: int, group: int) -> Int8Network:
    """Choose ranges and round.

    Args:
        graph: an ONNX file.
        calibration: recorded inputs [steps, samples, inputs], none of those that accuracy is measured on.
        classes: that outputs vote for.
        group: consecutive outputs that vote for a class.

    Raises:
        GraphError: an operator that has no form, with its name; or sums that could leave 32 bits.
        ConfigError: inputs or classes that do not fit.
    """
    layers = _layers(read_onnx(graph).graph, graph)
    if calibration.shape[-1] != layers[0].weight.shape[1] or not calibration.any():
        raise ConfigError("the recorded inputs are none of this graph", where=graph)
    if len(layers[-1].weight) != classes * group:
        raise ConfigError(f"gives out {len(layers[-1].weight)} values, not {classes * group}", where=graph)
    values = calibration.astype(np.float64)
    input_scale = scale = float(np.abs(values).max()) / LARGEST
    rounded: list[Dense | Lstm] = []
    for layer in layers:
        values = _run(layer, values)
        if layer.recurrent is not None:
            gate, hidden = 2.0**-GATE_BITS, 2.0**-HIDDEN_BITS
            none = np.zeros(len(layer.bias))
            entering = _product(layer.name, layer.weight, layer.bias, scale, gate)
            rounded.append(
                Lstm(layer.name, entering, _product(layer.name, layer.recurrent, none, hidden, gate))
            )
            scale = hidden
            continue
        high = LARGEST_OUTPUT if layer is layers[-1] else LARGEST
        after = max(float(np.abs(values).max()), 1e-9) / high
        product = _product(layer.name, layer.weight, layer.bias, scale, after)
        rounded.append(Dense(layer.name, product, 0 if layer.relu else -high, high))
        scale = after
    return Int8Network(calibration.shape[-1], input_scale, tuple(rounded), scale, classes, group)


def _product(name: str, weight: Reals, bias: Reals, before: float, after: float) -> Product:
    """A matrix with a factor a row; `before` and `after` are what 1 of its inputs and outputs stands for."""
    factor = np.maximum(np.abs(weight).max(axis=1), 1e-9) / LARGEST
    whole = np.rint(weight / factor[:, None])
    added = np.rint(bias / (factor * before))
    if (np.abs(whole).sum(axis=1) * 128 + np.abs(added)).max() >= 2**31:
        raise GraphError("has sums that could leave 32 bits", where=f"node '{name}'")
    fraction, exponent = np.frexp(before * factor / after)
    multiplier = np.minimum(np.rint(fraction * 2**31), 2**31 - 1)
    shift = 31 - exponent
    if shift.min() < 1 or shift.max() > 62:
        raise GraphError("has values of impossible ranges", where=f"node '{name}'")
    return Product(
        whole.astype(np.int8), added.astype(np.int32), multiplier.astype(np.int32), shift.astype(np.uint8)
    )


def _layers(graph: onnx.GraphProto, file: Path) -> list[_Layer]:
    """The layers of a chain."""
    known = {one.name: onnx.numpy_helper.to_array(one).astype(np.float64) for one in graph.initializer}
    layers: list[_Layer] = []
    flowing = graph.input[0].name
    for node in graph.node:
        if node.input[0] != flowing or len(node.output) < 1:
            raise _foreign(node, file, "is not one of a chain")
        flowing = node.output[0]
        constants = [known.get(name) for name in node.input[1:] if name]
        layers = _with(layers, node, constants, file)
    if not layers or layers[-1].recurrent is not None:
        raise GraphError("does not end in a dense layer", where=file, hint=_HINT)
    return layers


def _with(
    layers: list[_Layer], node: onnx.NodeProto, constants: Sequence[Reals | None], file: Path
) -> list[_Layer]:
    """The layers and what one node makes of them."""
    constant = constants[0] if constants else None
    last = layers[-1] if layers else None
    if node.op_type == "MatMul" and constant is not None and constant.ndim == 2:
        return [*layers, _Layer(node.name or node.output[0], constant.T, np.zeros(constant.shape[1]))]
    if node.op_type == "Add" and last is not None and last.recurrent is None and constant is not None:
        return [*layers[:-1], _Layer(last.name, last.weight, last.bias + constant.reshape(-1), last.relu)]
    if node.op_type == "Relu" and last is not None and last.recurrent is None:
        return [*layers[:-1], _Layer(last.name, last.weight, last.bias, relu=True)]
    if node.op_type == "Squeeze" and last is not None and last.recurrent is not None:
        return layers
    if node.op_type == "LSTM" and len(constants) in {2, 3} and all(one is not None for one in constants):
        if any(one.name not in {"hidden_size"} for one in node.attribute):
            raise _foreign(node, file, "has settings of its own")
        weight, recurrent, *bias = (one[0] for one in constants if one is not None)
        both = bias[0].reshape(2, -1).sum(axis=0) if bias else np.zeros(len(weight))
        return [*layers, _Layer(node.name or node.output[0], weight, both, recurrent=recurrent)]
    raise _foreign(node, file, "has no form in 8 bits")


def _foreign(node: onnx.NodeProto, file: Path, problem: str) -> GraphError:
    return GraphError(problem, where=f"{file}: node '{node.name}' ({node.op_type})", hint=_HINT)


def _run(layer: _Layer, values: Reals) -> Reals:
    """Floating-point values [steps, samples, inputs] through a layer."""
    arriving = values @ layer.weight.T + layer.bias
    if layer.recurrent is None:
        return np.maximum(arriving, 0) if layer.relu else arriving
    cells = layer.recurrent.shape[1]
    shown, cell = np.zeros((2, values.shape[1], cells))
    given = []
    for step in arriving:
        let_in, let_out, keep, new = np.split(step + shown @ layer.recurrent.T, 4, axis=1)
        let_in, let_out, keep = (1 / (1 + np.exp(-gate)) for gate in (let_in, let_out, keep))
        cell = keep * cell + let_in * np.tanh(new)
        shown = let_out * np.tanh(cell)
        given.append(shown)
    return np.stack(given)

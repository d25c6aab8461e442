"""An ONNX graph in floating point taken apart into layers one behind the other.

What has no form is refused by its name. Graphs that compute in integers have a reader of their own:
`integers`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray

from nsc_deploy.errors import ExportError, GraphError
from nsc_deploy.exporters.c.int8.geometry import Windows
from nsc_deploy.exporters.c.int8.layers import (
    Chain,
    FloatConvolution,
    FloatDense,
    FloatGru,
    FloatLayer,
    FloatLstm,
    FloatMaximum,
    Reals,
)
from nsc_deploy.exporters.c.int8.reader import WINDOW, Reader
from nsc_deploy.graphs.onnx_network import OnnxNetwork

HINT = (
    "A chain of dense layers (MatMul or Gemm, Add), Conv, MaxPool, AveragePool, Relu, LSTM and GRU "
    "(linear_before_reset = 1) has a form."
)

COUNTING_HINT = (
    "Where it counts the events of a sample, let the firmware count them, and export the graph behind it "
    "(of a run of qnn: --part transmitter)."
)
_CLOSE, _ROUNDING = 1e-3, 1e-6


def read_chain(network: OnnxNetwork, where: object) -> Chain:
    """Take an ONNX graph apart.

    Args:
        network: the graph; of one that convolves over time the steps of a sample are known.
        where: it was read from, for errors.

    Raises:
        GraphError: an operator without a form, by name.
    """
    reader = ChainReader(network, where)
    for node in network.model.graph.node:
        reader.take(node)
    return reader.read_end(network)


def require_what_runs(chain: Chain, network: OnnxNetwork, values: NDArray[Any], where: object) -> None:
    """Refuse layers that compute something else than onnxruntime.

    Args:
        chain: the layers.
        network: the graph they were read from.
        values: recorded inputs [steps, samples, *shape].
        where: the graph was read from, for errors.

    Raises:
        ExportError: they do.
        BackendError: onnxruntime cannot run the graph.
    """
    flowing = chain.entering(values).astype(np.float64)
    largest = float(np.abs(flowing).max())
    for layer in chain.layers:
        flowing = layer.run(flowing)
        largest = max(largest, float(np.abs(flowing).max()))
    expected = network.run(values)
    expected = expected.reshape(*expected.shape[:2], -1)
    # Single precision rounds every layer by 6e-8 of its values.
    close = _CLOSE * float(np.abs(expected).max()) + _ROUNDING * largest
    if flowing.shape != expected.shape or not np.abs(flowing - expected).max() <= close:
        raise ExportError(
            "was read as layers that compute something else than onnxruntime",
            where=where,
            hint="Nothing was written. Please report this with the graph: it is a fault of the exporter.",
        )


class ChainReader(Reader):
    """A chain as far as it was read.

    Args:
        network: the graph.
        where: it was read from, for errors.
    """

    hint, unknown = HINT, "has no form in 8 bits"
    hints: ClassVar[Mapping[str, str]] = {"ReduceSum": COUNTING_HINT}

    def __init__(self, network: OnnxNetwork, where: object) -> None:
        super().__init__(network, where)
        self.layers: list[FloatLayer] = []
        self._closed = False  # behind an activation or a pool nothing can be added to a layer

    def read_end(self, network: OnnxNetwork) -> Chain:
        """The layers.

        Raises:
            GraphError: none, or an end that is not the graph's.
        """
        self.require_output(network)
        if not self.layers:
            raise GraphError("holds no layer", where=self._where, hint=HINT)
        return Chain(tuple(self.layers), self.whole)

    def _add_layer(self, layer: FloatLayer, shape: tuple[int, ...], node: onnx.NodeProto) -> None:
        if layer.inputs != int(np.prod(self._shape)):
            raise self._foreign(node, f"takes {layer.inputs} numbers and {int(np.prod(self._shape))} arrive")
        self.layers.append(layer)
        self._shape, self._closed, self._begun = shape, False, True

    def _open(self, node: onnx.NodeProto) -> FloatDense | FloatConvolution:
        """The last layer, if something may be added to its sums."""
        last = self.layers[-1] if self.layers else None
        if self._closed or not isinstance(last, FloatDense | FloatConvolution):
            raise self._foreign(node, "stands behind no sums that it could be a part of")
        return last

    # Operators, by their names.

    def _dropout(self, node: onnx.NodeProto) -> None:
        """Nothing when a network runs."""

    def _matmul(self, node: onnx.NodeProto) -> None:
        weight = self._needed(node, 1)
        if weight.ndim != 2 or len(self._shape) != 1 or node.input[0] != self._flowing:
            raise self._foreign(node, "is no product of a vector and a matrix")
        self._dense(node, weight.T, np.zeros(weight.shape[1]))

    def _gemm(self, node: onnx.NodeProto) -> None:
        given = self._settings(node, alpha=1.0, beta=1.0, transA=0, transB=0)
        weight, bias = self._needed(node, 1), self._constant(node, 2)
        if given["transA"] or len(self._shape) != 1 or node.input[0] != self._flowing:
            raise self._foreign(node, "is no product of a vector and a matrix")
        weight = given["alpha"] * (weight if given["transB"] else weight.T)
        added = np.zeros(1) if bias is None else given["beta"] * bias
        self._dense(node, weight, self._bias(node, added, len(weight)))

    def _dense(self, node: onnx.NodeProto, weight: Reals, bias: Reals) -> None:
        name = node.name or node.output[0]
        self._add_layer(FloatDense(name, np.ascontiguousarray(weight), bias), (len(weight),), node)

    def _add(self, node: onnx.NodeProto) -> None:
        last = self._open(node)
        place = 1 if node.input[0] == self._flowing else 0
        bias = self._needed(node, place)
        rows, behind = len(last.bias), [1] * (len(self._shape) - 1)
        of_channels = bias.size == 1 or list(bias.shape[-len(self._shape) :]) == [rows, *behind]
        if last.relu or (behind and not of_channels):
            raise self._foreign(node, "adds something else than a bias")
        if behind and bias.size > 1:
            bias = bias.reshape(bias.shape[: -len(behind)])
        self.layers[-1] = replace(last, bias=last.bias + self._bias(node, bias, rows))

    def _batchnormalization(self, node: onnx.NodeProto) -> None:
        last = self._open(node)
        if self._in_front > 1:
            raise self._foreign(node, "normalises the axis of samples, which is the second one here")
        given = self._settings(node, epsilon=1e-5, momentum=None, training_mode=0)
        scale, shift, mean, variance = (self._needed(node, place) for place in range(1, 5))
        if given["training_mode"] or last.relu or len(scale) != len(last.bias):
            raise self._foreign(node, "does not stand behind the sums of a layer")
        spread = variance + given["epsilon"]
        if not (spread > 0).all():
            raise self._foreign(node, f"has a variance of {variance.min():.3g}, which has no square root")
        factor = scale / np.sqrt(spread)
        weight, bias = last.weight * factor[:, None], (last.bias - mean) * factor + shift
        self.layers[-1] = replace(last, weight=weight, bias=bias)

    def _relu(self, node: onnx.NodeProto) -> None:
        self.layers[-1:] = [replace(self._open(node), relu=True)]
        self._closed = True

    def _conv(self, node: onnx.NodeProto) -> None:
        weight, bias = self._needed(node, 1), self._constant(node, 2)
        rank = weight.ndim - 2
        if rank not in {1, 2} or len(self._shape) != rank + 1:
            raise self._foreign(node, "is no convolution over a sequence or an image")
        given = self._settings(node, **WINDOW, dilations=[1] * rank, group=1, kernel_shape=None)
        windows = self._windows(node, weight.shape[2:], given)
        groups = int(given["group"])
        if weight.shape[1] * groups != self._shape[0] or len(weight) % groups:
            raise self._foreign(node, "has weights for another number of channels")
        rows = weight.reshape(len(weight), -1)
        name = node.name or node.output[0]
        layer = FloatConvolution(name, rows, np.zeros(len(rows)) if bias is None else bias, windows, groups)
        self._add_layer(layer, (len(rows), *windows.places[2 - rank :]), node)

    def _maxpool(self, node: onnx.NodeProto) -> None:
        given = self._settings(
            node, **WINDOW, dilations=None, kernel_shape=None, ceil_mode=0, storage_order=0
        )
        if given["ceil_mode"] or given["storage_order"] or len(node.output) > 1:
            raise self._foreign(node, "has settings without a form")
        self._maximum(node, self._windows(node, given["kernel_shape"], given))

    def _globalmaxpool(self, node: onnx.NodeProto) -> None:
        self._maximum(node, self._windows(node, self._shape[1:], dict(WINDOW)))

    def _maximum(self, node: onnx.NodeProto, windows: Windows) -> None:
        shape = (self._shape[0], *windows.places[3 - len(self._shape) :])
        self._add_layer(FloatMaximum(node.name or node.output[0], windows), shape, node)
        self._closed = True

    def _averagepool(self, node: onnx.NodeProto) -> None:
        given = self._settings(
            node, **WINDOW, dilations=None, kernel_shape=None, ceil_mode=0, count_include_pad=0
        )
        if given["ceil_mode"] or (given["pads"] and any(given["pads"]) and not given["count_include_pad"]):
            raise self._foreign(node, "has settings without a form")
        self._mean(node, self._windows(node, given["kernel_shape"], given))

    def _globalaveragepool(self, node: onnx.NodeProto) -> None:
        self._mean(node, self._windows(node, self._shape[1:], dict(WINDOW)))

    def _mean(self, node: onnx.NodeProto, windows: Windows) -> None:
        """A convolution of each channel with equal weights."""
        channels = self._shape[0]
        weight = np.full((channels, windows.taps), 1 / windows.taps)
        layer = FloatConvolution(
            node.name or node.output[0], weight, np.zeros(channels), windows, groups=channels
        )
        self._add_layer(layer, (channels, *windows.places[3 - len(self._shape) :]), node)
        self._closed = True

    def _reducemax(self, node: onnx.NodeProto) -> None:
        self._reduced(node)
        self._maximum(node, self._windows(node, self._shape[1:], dict(WINDOW)))
        self._shape = self._shape[:1]

    def _reducemean(self, node: onnx.NodeProto) -> None:
        self._reduced(node)
        self._mean(node, self._windows(node, self._shape[1:], dict(WINDOW)))
        self._shape = self._shape[:1]

    def _flatten(self, node: onnx.NodeProto) -> None:
        if self._settings(node, axis=1)["axis"] != 1 or self._in_front > 1:
            raise self._foreign(node, "joins other axes than those of an image")
        self._shape = (int(np.prod(self._shape)),)

    def _reshape(self, node: onnx.NodeProto) -> None:
        """An image as a vector."""
        size = int(np.prod(self._shape))
        wanted = [int(one) for one in self._needed(node, 1)]
        if self._steps_first or len(wanted) != 2 or wanted[1] not in {size, -1} or wanted == [-1, -1]:
            raise self._foreign(node, "makes something else than a vector of an image")
        self._shape = (size,)

    def _squeeze(self, node: onnx.NodeProto) -> None:
        """The single step, the directions of a recurrent layer, or places of which there is one."""
        axes = self._axes(node)
        if self._single and self._steps_first and axes == [0]:
            self._steps_first, self._in_front = False, 1
            return
        last = self.layers[-1] if self.layers else None
        if isinstance(last, FloatLstm | FloatGru) and axes == [1]:
            return
        kept = self._shape[1:]
        first = self._in_front + 1
        if kept and axes == list(range(first, first + len(kept))) and set(kept) == {1}:
            self._shape = self._shape[:1]
            return
        raise self._foreign(node, "takes away other axes than those of one value")

    def _lstm(self, node: onnx.NodeProto) -> None:
        self._settings(node, hidden_size=None, direction=b"forward", layout=0)
        weight, recurrent, bias = self._recurrent(node, 4)
        layer = FloatLstm(node.name or node.output[0], weight, recurrent, bias.sum(axis=0))
        self._add_layer(layer, (layer.outputs,), node)
        self._closed = True

    def _gru(self, node: onnx.NodeProto) -> None:
        given = self._settings(node, hidden_size=None, direction=b"forward", layout=0, linear_before_reset=0)
        weight, recurrent, bias = self._recurrent(node, 3)
        if not given["linear_before_reset"]:
            raise self._foreign(node, "resets its state before the product (linear_before_reset = 0)")
        units = recurrent.shape[1]
        own = np.concatenate([np.zeros(2 * units), bias[1, 2 * units :]])
        into = bias[0] + np.concatenate([bias[1, : 2 * units], np.zeros(units)])
        layer = FloatGru(node.name or node.output[0], weight, recurrent, into, own)
        self._add_layer(layer, (units,), node)
        self._closed = True

    def _recurrent(self, node: onnx.NodeProto, gates: int) -> tuple[Reals, Reals, Reals]:
        """Weights, weights of its own output, and both biases [2, rows] of the one direction."""
        given = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        if given.get("direction", b"forward") != b"forward" or given.get("layout", 0):
            raise self._foreign(node, "runs backwards, or batch first")
        outside = [name for name in node.input[4:] if name and self._known.get(name, np.ones(1)).any()]
        if self._turned:
            raise self._foreign(node, "runs over samples, which stand first here")
        if outside or not self._steps_first or self.whole is not None:
            raise self._foreign(node, "has a state from outside, or no steps")
        weight, recurrent = self._needed(node, 1)[0], self._needed(node, 2)[0]
        bias = self._constant(node, 3)
        both = np.zeros((2, len(weight))) if bias is None else bias[0].reshape(2, -1)
        if len(weight) != gates * recurrent.shape[1]:
            raise self._foreign(node, "has weights of another number of gates")
        return weight, recurrent, both


ChainReader.forms = {
    "Identity": ChainReader._identity,
    "Dropout": ChainReader._dropout,
    "MatMul": ChainReader._matmul,
    "Gemm": ChainReader._gemm,
    "Add": ChainReader._add,
    "BatchNormalization": ChainReader._batchnormalization,
    "Relu": ChainReader._relu,
    "Conv": ChainReader._conv,
    "MaxPool": ChainReader._maxpool,
    "GlobalMaxPool": ChainReader._globalmaxpool,
    "AveragePool": ChainReader._averagepool,
    "GlobalAveragePool": ChainReader._globalaveragepool,
    "ReduceMax": ChainReader._reducemax,
    "ReduceMean": ChainReader._reducemean,
    "Transpose": ChainReader._transpose,
    "Flatten": ChainReader._flatten,
    "Reshape": ChainReader._reshape,
    "Squeeze": ChainReader._squeeze,
    "Unsqueeze": ChainReader._unsqueeze,
    "LSTM": ChainReader._lstm,
    "GRU": ChainReader._gru,
}

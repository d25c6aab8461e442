"""ONNX graphs that compute in integers themselves, read into the layers of the C code: nothing is chosen.

    Cast(uint8)  MatMulInteger or ConvInteger  Add  Cast  Mul  Clip  QuantizeLinear  ...  Cast

Weights, biases and factors are the graph's. A rescaling (Mul, Clip, QuantizeLinear) becomes a multiplier and
a shift that round as the graph does for every sum, or where there are none (see `rounding`) the product is
rounded to single precision in integers. Sums that leave as real values keep their bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.c.int8.geometry import Windows
from nsc_deploy.exporters.c.int8.network import (
    LARGEST,
    Convolution,
    Dense,
    HardGru,
    Int8Network,
    Layer,
    Maximum,
    Product,
    products_of,
)
from nsc_deploy.exporters.c.int8.reader import WINDOW, Reader
from nsc_deploy.exporters.c.int8.rounding import MOST_SUM, Factor, exact_factor, nearest_factor
from nsc_deploy.graphs.onnx_integers import read_gru_step
from nsc_deploy.graphs.onnx_network import OnnxNetwork

HINT = (
    "In a graph that computes in integers products (MatMulInteger, ConvInteger) of activations 0 to 127, "
    "each with Add, Cast, Mul, Clip and QuantizeLinear behind it, ReduceMax, and the Scan of a run of gru "
    "have a form. Export the graph in floating point instead: it is rounded to 8 bits then."
)
PRODUCTS = frozenset({"MatMulInteger", "ConvInteger"})
_AS_IT_IS = Factor(2**30, 30)


def computes_in_integers(network: OnnxNetwork) -> bool:
    """Whether an ONNX graph multiplies whole numbers."""
    return any(node.op_type in PRODUCTS for node in network.model.graph.node)


def read_integers(
    network: OnnxNetwork, where: object, *, classes: int | None = None, group: int = 1
) -> Int8Network:
    """Take a graph in integers apart.

    Args:
        network: the graph; of one that convolves over time the steps of a sample are known.
        where: it was read from, for errors.
        classes: that outputs vote for, or None.
        group: consecutive outputs that vote for a class.

    Returns:
        Its layers; what they compute is what the graph computes, whatever enters.

    Raises:
        GraphError: an operator without a form, by name.
    """
    reader = IntegerReader(network, where)
    for node in network.model.graph.node:
        reader.take(node)
    return reader.read_end(network, classes, group)


@dataclass(eq=False)
class _Sums:
    """A product whose sums are not activations yet.

    Attributes:
        node: of the product, for errors.
        weight: [rows, width].
        bias: [rows].
        windows: of a convolution.
        groups: of a convolution.
        most: the largest value that enters.
        factor: that its sums are multiplied with [rows]; 1 until they are.
    """

    node: onnx.NodeProto
    weight: NDArray[np.int8]
    bias: NDArray[np.int64]
    windows: Windows | None
    groups: int
    most: int
    factor: NDArray[np.float32]

    def product(self, factors: Sequence[Factor], *, single: bool = False) -> Product:
        """As the code has it."""
        multiplier, shift = np.array([(one.multiplier, one.shift) for one in factors]).T
        bias = self.bias.astype(np.int32)
        return Product(self.weight, bias, multiplier.astype(np.int32), shift.astype(np.uint8), single)

    def single(self) -> Product:
        """With its factors as they are, in single precision; each has a shift that reaches it."""
        near = [nearest_factor(value) for value in self.factor.tolist()]
        return self.product([one for one in near if one is not None], single=True)

    def layer(self, product: Product, low: int, high: int) -> Layer:
        """A dense layer or a convolution."""
        name = self.node.name or self.node.output[0]
        if self.windows is None:
            return Dense(name, product, low, high)
        return Convolution(name, product, self.windows, self.groups, low, high)


class IntegerReader(Reader):
    """A graph as far as it was read.

    Args:
        network: the graph.
        where: it was read from, for errors.
    """

    hint, unknown = HINT, "has no form in a graph that computes in integers"

    def __init__(self, network: OnnxNetwork, where: object) -> None:
        super().__init__(network, where)
        self.layers: list[Layer] = []
        self._input, self._sizes = self._flowing, set[str]()
        self._is = "input"  # then whole, sums, reals, scaled, bounded, whole, numbers
        self._most = LARGEST
        self._sums: _Sums | None = None

    def take(self, node: onnx.NodeProto) -> None:
        """One operator; those that make a state of zeros stand beside the chain."""
        if node.op_type in _SIZES and self._is_size(node):
            return
        super().take(node)

    def read_end(self, network: OnnxNetwork, classes: int | None = None, group: int = 1) -> Int8Network:
        """The layers.

        Raises:
            GraphError: none, or an end that has no form or is not the graph's.
        """
        self.require_output(network)
        if self._is == "scaled" and self._sums is not None:
            scale = self._given_out(self._sums)
        elif self._is == "numbers" and self.layers:
            scale = 1.0
        else:
            raise GraphError("does not end in activations or scaled sums", where=self._where, hint=HINT)
        first = self.layers[0]
        if isinstance(first, Convolution | Maximum):
            inputs = first.windows.inputs
        else:
            inputs = next(products_of(first))[1].weight.shape[1]
        return Int8Network(inputs, 1.0, tuple(self.layers), scale, classes, group, self.whole, integer=True)

    def _given_out(self, sums: _Sums) -> float:
        """Add the last layer, whose sums leave with 32 bits; what 1 of them stands for."""
        if len(set(sums.factor.tolist())) > 1:
            raise self._foreign(sums.node, "gives out sums with a factor for each row, which have no unit")
        self.layers.append(sums.layer(sums.product([_AS_IT_IS] * len(sums.weight)), -MOST_SUM, MOST_SUM))
        return float(sums.factor[0])

    def _is_size(self, node: onnx.NodeProto) -> bool:
        """Whether a node only makes the shape of a state, or a state of zeros; which is written down."""
        beside = self._sizes | self._known.keys()
        if node.op_type == "Shape" and node.input[0] == self._input:
            self._sizes.add(node.output[0])
            return True
        if node.op_type == "Shape" or not beside.issuperset(node.input):
            return False
        if node.op_type == "ConstantOfShape":
            given = self._settings(node, value=None)["value"]
            self._known[node.output[0]] = np.zeros(1) if given is None else onnx.numpy_helper.to_array(given)
        else:
            self._sizes.add(node.output[0])
        return True

    def _needs(self, node: onnx.NodeProto, *wanted: str) -> None:
        if self._is not in wanted:
            raise self._foreign(node, f"stands behind {_SAID[self._is]} in place of {_SAID[wanted[0]]}")

    def _read_sums(self, node: onnx.NodeProto) -> _Sums:
        if self._sums is None:
            raise self._foreign(node, "stands behind no sums")
        return self._sums

    # Operators, by their names.

    def _cast(self, node: onnx.NodeProto) -> None:
        to = self._settings(node, to=None, saturate=None)["to"]
        turns = {
            ("input", TensorProto.UINT8): "whole",
            ("numbers", TensorProto.UINT8): "whole",
            ("whole", TensorProto.UINT8): "whole",
            ("whole", TensorProto.FLOAT): "numbers",
            ("numbers", TensorProto.FLOAT): "numbers",
            ("sums", TensorProto.FLOAT): "reals",
        }
        if (self._is, to) not in turns:
            raise self._foreign(node, f"makes {TensorProto.DataType.Name(to)} of {_SAID[self._is]}")
        self._is = turns[self._is, to]

    def _weights(self, node: onnx.NodeProto) -> NDArray[np.int8]:
        self._needs(node, "whole")
        if node.input[0] != self._flowing:
            raise self._foreign(node, "is no product of activations and weights")
        for place in (2, 3):
            zero = self._constant(node, place)
            if zero is not None and zero.any():
                raise self._foreign(node, "has a zero point")
        weight: NDArray[Any] = self._known[node.input[1]]
        if weight.dtype != np.int8:
            raise self._foreign(node, f"has weights of {weight.dtype}, not int8")
        return weight

    def _matmul(self, node: onnx.NodeProto) -> None:
        weight = self._weights(node)
        if weight.ndim != 2 or self._shape != (len(weight),):
            raise self._foreign(node, "is no product of a vector and a matrix")
        self._open(
            _Sums(
                node,
                np.ascontiguousarray(weight.T),
                _zeros(weight.shape[1]),
                None,
                1,
                self._most,
                _ones(weight.shape[1]),
            )
        )
        self._shape = (weight.shape[1],)

    def _conv(self, node: onnx.NodeProto) -> None:
        weight = self._weights(node)
        rank = weight.ndim - 2
        if rank not in {1, 2} or len(self._shape) != rank + 1:
            raise self._foreign(node, "is no convolution over a sequence or an image")
        given = self._settings(node, **WINDOW, dilations=[1] * rank, group=1, kernel_shape=None)
        windows, groups = self._windows(node, weight.shape[2:], given), int(given["group"])
        if weight.shape[1] * groups != self._shape[0] or len(weight) % groups:
            raise self._foreign(node, "has weights for another number of channels")
        rows = weight.reshape(len(weight), -1)
        self._open(_Sums(node, rows, _zeros(len(rows)), windows, groups, self._most, _ones(len(rows))))
        self._shape = (len(rows), *windows.places[2 - rank :])

    def _open(self, sums: _Sums) -> None:
        self._require_sums(sums)
        self._sums, self._is, self._begun = sums, "sums", True

    def _require_sums(self, sums: _Sums) -> None:
        """Refuse sums that could leave 32 bits, whatever enters."""
        size = np.abs(sums.weight.astype(np.int64)).sum(axis=1) * 128 + np.abs(sums.bias)
        if size.max() > MOST_SUM:
            raise self._foreign(sums.node, "has sums that could leave 32 bits")

    def _add(self, node: onnx.NodeProto) -> None:
        self._needs(node, "sums")
        sums = self._read_sums(node)
        bias = self._known[node.input[1 if node.input[0] == self._flowing else 0]]
        sums.bias = sums.bias + self._by_row(node, bias, sums).astype(np.int64)
        self._require_sums(sums)

    def _mul(self, node: onnx.NodeProto) -> None:
        self._needs(node, "reals")
        sums = self._read_sums(node)
        given = self._known[node.input[1 if node.input[0] == self._flowing else 0]]
        factor = self._by_row(node, given, sums)
        if not (factor > 0).all() or not np.isfinite(factor).all():
            raise self._foreign(node, "multiplies with a number that is not above 0")
        sums.factor, self._is = factor.astype(np.float32), "scaled"

    def _by_row(self, node: onnx.NodeProto, given: NDArray[Any], sums: _Sums) -> NDArray[Any]:
        """A number for each row, or one for all."""
        rows, behind = len(sums.weight), [1] * (len(self._shape) - 1)
        by_row = given.size == rows and list(given.shape[-len(self._shape) :]) == [rows, *behind]
        if given.size != 1 and not by_row:
            raise self._foreign(node, "has another number than one for each row of weights, or one for all")
        return np.broadcast_to(given.reshape(-1), rows)

    def _clip(self, node: onnx.NodeProto) -> None:
        self._needs(node, "scaled")
        low, high = (self._constant(node, place) for place in (1, 2))
        if low is None or high is None or low != 0 or high % 1 or not 1 <= high <= LARGEST:
            raise self._foreign(node, "cuts off elsewhere than at 0 and a whole number up to 127")
        self._most, self._is = int(high), "bounded"

    def _quantise(self, node: onnx.NodeProto) -> None:
        self._needs(node, "bounded")
        self._settings(node, axis=None, saturate=None)
        step, zero = self._constant(node, 1), self._constant(node, 2)
        if step is None or step.size != 1 or step != 1 or (zero is not None and zero.any()):
            raise self._foreign(node, "rounds to other than whole numbers 0, 1, 2, ...")
        if zero is not None and self._known[node.input[2]].dtype != np.uint8:
            raise self._foreign(node, "rounds to other numbers than of uint8")
        sums = self._read_sums(node)
        self.layers.append(sums.layer(self._product(node, sums), 0, self._most))
        self._sums, self._is = None, "whole"

    def _product(self, node: onnx.NodeProto, sums: _Sums) -> Product:
        """Multipliers and shifts that round as the graph does; else its factors in single precision."""
        sizes = np.maximum(sums.weight.astype(np.int64), 0).sum(axis=1) * sums.most + sums.bias
        reach = max(int(sizes.max()), 1)
        values = sums.factor.tolist()
        for value in values:
            if nearest_factor(value) is None:
                raise self._out_of_reach(node, value)
        exact = {value: exact_factor(value, self._most, reach) for value in set(values)}
        found = [one for one in (exact[value] for value in values) if one is not None]
        return sums.product(found) if len(found) == len(values) else sums.single()

    def _out_of_reach(self, node: onnx.NodeProto, factor: float) -> GraphError:
        return self._foreign(node, f"stands behind a factor of {factor:.3g}, which no shift reaches")

    def _reducemax(self, node: onnx.NodeProto) -> None:
        self._needs(node, "numbers", "whole")
        self._reduced(node)
        windows = self._windows(node, self._shape[1:], dict(WINDOW))
        self.layers.append(Maximum(node.name or node.output[0], windows))
        self._shape = self._shape[:1]

    def _scan(self, node: onnx.NodeProto) -> None:
        """The recurrent unit of a run of gru; its last state alone leaves."""
        self._needs(node, "scaled")
        sums = self._read_sums(node)
        given = self._settings(node, body=None, num_scan_inputs=None)
        step = read_gru_step(given["body"])
        zeros = self._known.get(node.input[0], np.ones(1))
        if step is None or given["num_scan_inputs"] != 1 or zeros.any() or list(node.output[1:]):
            raise self._foreign(node, "computes something else than the recurrent unit of a run of gru")
        back = np.asarray(step.back.weight, np.int8)
        foreign = len(set(sums.factor.tolist())) > 1 or sums.windows is not None
        if foreign or len(back) != len(sums.weight) or self.whole is not None or not self._steps_first:
            raise self._foreign(node, "is fed by something else than its own sums, step by step")
        factors = np.full(len(back), step.back.factor, np.float32)
        own = _Sums(node, back, _zeros(len(back)), None, 1, step.largest, factors)
        self._require_sums(own)
        for value in (float(sums.factor[0]), step.back.factor):
            if nearest_factor(value) is None:
                raise self._out_of_reach(node, value)
        name = node.name or node.output[0]
        self.layers.append(HardGru(name, sums.single(), own.single(), largest=step.largest))
        self._sums, self._most, self._is = None, step.largest, "numbers"
        self._shape = (len(back) // 3,)

    def _unsqueeze(self, node: onnx.NodeProto) -> None:
        """The one step that a sample leaves."""
        last = bool(self.layers) and isinstance(self.layers[-1], HardGru)
        if not last or self._axes(node) != [0]:
            super()._unsqueeze(node)


def _ones(rows: int) -> NDArray[np.float32]:
    return np.ones(rows, np.float32)


def _zeros(rows: int) -> NDArray[np.int64]:
    return np.zeros(rows, np.int64)


_SIZES = frozenset({"Shape", "Concat", "ConstantOfShape"})
_SAID = {
    "input": "the input",
    "whole": "whole numbers of 8 bits",
    "sums": "sums of products",
    "reals": "sums as real numbers",
    "scaled": "scaled sums",
    "bounded": "sums that were cut off",
    "numbers": "whole numbers as real ones",
}
IntegerReader.forms = {
    "Identity": IntegerReader._identity,
    "Cast": IntegerReader._cast,
    "MatMulInteger": IntegerReader._matmul,
    "ConvInteger": IntegerReader._conv,
    "Add": IntegerReader._add,
    "Mul": IntegerReader._mul,
    "Clip": IntegerReader._clip,
    "QuantizeLinear": IntegerReader._quantise,
    "ReduceMax": IntegerReader._reducemax,
    "Scan": IntegerReader._scan,
    "Transpose": IntegerReader._transpose,
    "Unsqueeze": IntegerReader._unsqueeze,
}

"""Conventional networks in integers as ONNX graphs: products of 8 bits, sums of 32, activations of up to 7.

A layer's sums are scaled by its factor, bounded to 0..`largest` and rounded to an activation. Activations are
whole numbers 0 to 127 and weights -127 to 127: sums of two products then fit 16 bits, in which onnxruntime
adds pairs on processors without VNNI.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_build import Draft


@dataclass(frozen=True)
class IntegerLayer:
    """y = factor (W x + b) with whole numbers W [out, in] of 8 bits and b [out] of 32, or None."""

    weight: ArrayLike
    bias: ArrayLike | None
    factor: float


@dataclass(frozen=True)
class IntegerConvolution:
    """The same over time, W [out, in / groups, taps], zeros around."""

    layer: IntegerLayer
    stride: int
    groups: int


def integer_mlp(
    layers: Sequence[IntegerLayer], *, signal: Signal, dt: float, largest: int, values_last: bool
) -> onnx.ModelProto:
    """A multilayer perceptron in integers, applied to each step apart.

    Args:
        layers: dense layers.
        signal: what enters: whole numbers 0 to 127.
        dt: length of a step in seconds, kept in the metadata.
        largest: activation.
        values_last: whether the last layer gives out its scaled sums, and no activations.
    """
    draft = IntegerDraft(largest)
    name = draft.node("Cast", ["input"], "whole", to=TensorProto.UINT8)
    for index, layer in enumerate(layers, start=1):
        name = draft.integer_dense(f"dense{index}", layer, name)
        if index < len(layers) or not values_last:
            name = draft.activation(f"relu{index}", name)
    if not values_last:
        name = draft.node("Cast", [name], "values", to=TensorProto.FLOAT)
    inputs, outputs = np.shape(layers[0].weight)[1], np.shape(layers[-1].weight)[0]
    return draft.model(name, inputs, outputs, signal, dt)


def integer_gru(
    into: IntegerLayer, back: IntegerLayer, *, signal: Signal, dt: float, largest: int
) -> onnx.ModelProto:
    """A gated recurrent unit in integers that gives its last state, [T, N, C] to [1, N, H].

    With 0..L for 0..1, L = `largest`, and gates [z, r] and candidate n that are bounded and rounded,

        [z, r]' = into(x) + back(h)       n' = into(x) + r back(h) / L       h = (z h + (L - z) n) / L

    Args:
        into: W [3 H, C] and b, in the order z, r, n.
        back: U [3 H, H].
        signal: what enters.
        dt: length of a step in seconds, kept in the metadata.
        largest: activation, L.
    """
    units = np.shape(back.weight)[1]
    draft = IntegerDraft(largest)
    entering = draft.integer_dense("into", into, draft.node("Cast", ["input"], "whole", to=TensorProto.UINT8))
    size = draft.constant("units", np.array([units], np.int64))
    samples = draft.node("Shape", ["input"], "samples", start=1, end=2)
    shape = draft.node("Concat", [samples, size], "shape", axis=0)
    body = _gru_body(back, units, largest)
    [last] = draft.scan("gru", draft.rest("gru", shape), entering, body, gives=["state"])
    axis = draft.constant("time", np.array([0], np.int64))
    return draft.model(
        draft.node("Unsqueeze", [last, axis], "last"), np.shape(into.weight)[1], units, signal, dt, 1
    )


def _gru_body(back: IntegerLayer, units: int, largest: int) -> onnx.GraphProto:
    draft = IntegerDraft(largest)
    fed = draft.integer_dense("back", back, draft.node("Cast", ["h"], "h_whole", to=TensorProto.UINT8))
    of_x, of_h = draft.split("x", "x", 3), draft.split("h", fed, 3)
    z, r = (
        draft.number(name, draft.node("Add", [of_x[index], of_h[index]], f"{name}_sum"))
        for index, name in enumerate(("z", "r"))
    )
    one, share = draft.constant("one", np.float32(largest)), draft.constant("share", np.float32(1 / largest))
    remembered = draft.node("Mul", [draft.node("Mul", [r, of_h[2]], "reset"), share], "share_reset")
    n = draft.number("n", draft.node("Add", [of_x[2], remembered], "n_sum"))
    kept = draft.node("Mul", [z, "h"], "kept")
    taken = draft.node("Mul", [draft.node("Sub", [one, z], "rest_of_z"), n], "taken")
    mixed = draft.node("Mul", [draft.node("Add", [kept, taken], "mixed"), share], "share_mixed")
    state = draft.number("state", mixed)
    return draft.body({"h": ["N", units], "x": ["N", 3 * units]}, {state: ["N", units]})


@dataclass(frozen=True)
class GruStep:
    """What a Scan of `integer_gru` does in a step.

    Attributes:
        back: U [3 H, H] and its factor.
        largest: activation, L.
    """

    back: IntegerLayer
    largest: int


def read_gru_step(body: onnx.GraphProto) -> GruStep | None:
    """The body of a Scan as `integer_gru` writes it; None where it computes anything else.

    The body is written once more from its own constants: what is not node for node the same is another one.
    """
    known = {one.name: numpy_helper.to_array(one) for one in body.initializer}
    try:
        weight, factor = known["back_weight"], float(known["back_factor"])
        largest, units = float(known["one"]), len(weight)
        found = GruStep(IntegerLayer(weight.T, None, factor), int(largest))
        again = _gru_body(found.back, units, found.largest)
    except (KeyError, TypeError, ValueError):
        return None
    same = [_computes(one) for one in (body, again)]
    return found if same[0] == same[1] and 1 <= found.largest <= 127 else None


def _computes(body: onnx.GraphProto) -> tuple[object, ...]:
    """All that decides what a body computes."""
    nodes = [one.SerializeToString(deterministic=True) for one in body.node]
    constants = {
        one.name: (one.data_type, tuple(one.dims), numpy_helper.to_array(one).tobytes())
        for one in body.initializer
    }
    ends = [[one.name for one in ends] for ends in (body.input, body.output)]
    return nodes, constants, ends


def integer_convolutions(
    layers: Sequence[IntegerConvolution], *, signal: Signal, dt: float, largest: int
) -> onnx.ModelProto:
    """Convolutions over time in integers, the largest activation of each channel at the end: to [1, N, K].

    Args:
        layers: one behind the other, an odd number of taps each.
        signal: what enters [T, N, C].
        dt: length of a step in seconds, kept in the metadata.
        largest: activation.
    """
    draft = IntegerDraft(largest)
    turned = draft.node("Transpose", ["input"], "time_last", perm=[1, 2, 0])
    name = draft.node("Cast", [turned], "whole", to=TensorProto.UINT8)
    for index, one in enumerate(layers, start=1):
        name = draft.activation(f"relu{index}", draft.integer_convolution(f"conv{index}", one, name))
    values = draft.node("Cast", [name], "values", to=TensorProto.FLOAT)
    last = draft.constant("last", np.array([2], np.int64))
    pooled = draft.node("ReduceMax", [values, last], "pool", keepdims=0)
    first = draft.constant("first", np.array([0], np.int64))
    inputs, outputs = np.shape(layers[0].layer.weight)[1], np.shape(layers[-1].layer.weight)[0]
    return draft.model(draft.node("Unsqueeze", [pooled, first], "step"), inputs, outputs, signal, dt, 1)


class IntegerDraft(Draft):
    """A graph of integer layers under construction.

    Args:
        largest: activation.
    """

    def __init__(self, largest: int) -> None:
        super().__init__()
        self._largest = largest

    def integer_dense(self, name: str, layer: IntegerLayer, source: str) -> str:
        """Sums of whole numbers [.., in], scaled."""
        weight = np.ascontiguousarray(np.asarray(layer.weight, np.int8).T)
        product = self.node("MatMulInteger", [source, self.constant(f"{name}_weight", weight)], name)
        return self._scaled(name, layer, product, ())

    def integer_convolution(self, name: str, one: IntegerConvolution, source: str) -> str:
        """Sums over windows of whole numbers [N, in, T], scaled."""
        weight = np.asarray(one.layer.weight, np.int8)
        taps = weight.shape[2]
        product = self.node(
            "ConvInteger",
            [source, self.constant(f"{name}_weight", weight)],
            name,
            group=one.groups,
            strides=[one.stride],
            pads=[taps // 2, taps // 2],
        )
        return self._scaled(name, one.layer, product, (1,))

    def _scaled(self, name: str, layer: IntegerLayer, total: str, behind: tuple[int, ...]) -> str:
        if layer.bias is not None:
            bias = np.asarray(layer.bias, np.int32).reshape(-1, *behind)
            total = self.node("Add", [total, self.constant(f"{name}_bias", bias)], f"{name}_add")
        real = self.node("Cast", [total], f"{name}_real", to=TensorProto.FLOAT)
        factor = self.constant(f"{name}_factor", np.float32(layer.factor))
        return self.node("Mul", [real, factor], f"{name}_scale")

    def activation(self, name: str, source: str) -> str:
        """Bounded and rounded, as 8 bits."""
        low = self.constant(f"{name}_low", np.float32(0))
        high = self.constant(f"{name}_high", np.float32(self._largest))
        bounded = self.node("Clip", [source, low, high], name)
        one, zero = self.constant(f"{name}_one", np.float32(1)), self.constant(f"{name}_zero", np.uint8(0))
        return self.node("QuantizeLinear", [bounded, one, zero], f"{name}_round")

    def number(self, name: str, source: str) -> str:
        """Bounded and rounded, as a number to go on with."""
        return self.node("Cast", [self.activation(name, source)], f"{name}_value", to=TensorProto.FLOAT)

    def split(self, name: str, source: str, parts: int) -> list[str]:
        """Equal parts along the last axis."""
        names = [f"{name}{index}" for index in range(parts)]
        self._nodes.append(
            helper.make_node("Split", [source], names, name=f"{name}_split", axis=-1, num_outputs=parts)
        )
        return names

    def body(
        self, inputs: dict[str, list[str | int]], outputs: dict[str, list[str | int]]
    ) -> onnx.GraphProto:
        """The whole as what a Scan does in each step."""

        def info(shapes: dict[str, list[str | int]]) -> list[onnx.ValueInfoProto]:
            make = helper.make_tensor_value_info
            return [make(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

        return helper.make_graph(self._nodes, "step", info(inputs), info(outputs), self._constants)

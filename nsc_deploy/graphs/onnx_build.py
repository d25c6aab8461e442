"""Conventional networks, and the host part of the analog receiver, as ONNX graphs built from plain arrays.

Every model is float32 with one input "input" [T, N, C] and one output "output" [T, N, K], T (steps)
and N (samples) left open, so that one file serves a single utterance and a whole test set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

import nsc_deploy
from nsc_deploy.graphs.network import Signal

OPSET = 18
IR_VERSION = 9


@dataclass(frozen=True)
class DenseLayer:
    """y = W x + b, with W [out, in] and b [out] or None."""

    weight: ArrayLike
    bias: ArrayLike | None = None


@dataclass(frozen=True)
class LstmLayer:
    """One LSTM layer in torch's form: gates in the order input, forget, cell, output.

    Attributes:
        weight_ih: [4 hidden, in].
        weight_hh: [4 hidden, hidden].
        bias_ih: [4 hidden].
        bias_hh: [4 hidden].
    """

    weight_ih: ArrayLike
    weight_hh: ArrayLike
    bias_ih: ArrayLike
    bias_hh: ArrayLike


@dataclass(frozen=True)
class CrossAttention:
    """The poster's Spike Cross Attention up to the product of its two paths.

    Attributes:
        left: kernel of the depthwise convolution over time [C, 1, width], centred, zeros around, no bias.
        right: kernel of the convolution over time from all channels to all [C, C, width], likewise.
        beta: decay of the gate's neurons in one step.
        threshold: of the gate's neurons.
        gate: weights [C, C] from the gate's spikes to what is taken off 1, no bias.
    """

    left: ArrayLike
    right: ArrayLike
    beta: ArrayLike
    threshold: ArrayLike
    gate: ArrayLike


def mlp(
    layers: Sequence[DenseLayer], *, signal: Signal, dt: float, relu_last: bool = True
) -> onnx.ModelProto:
    """A multilayer perceptron applied to each step apart.

    Args:
        layers: dense layers, a ReLU after each.
        signal: what enters.
        dt: length of a step in seconds, kept in the metadata.
        relu_last: whether the last layer has a ReLU too.
    """
    draft = Draft()
    name = "input"
    for index, layer in enumerate(layers):
        last = index == len(layers) - 1
        name = draft.dense(f"dense{index + 1}", layer, name)
        if relu_last or not last:
            name = draft.node("Relu", [name], f"relu{index + 1}")
    return draft.model(name, _columns(layers[0].weight), len(_float32(layers[-1].weight)), signal, dt)


def sum_over_time(columns: int, *, signal: Signal, dt: float) -> onnx.ModelProto:
    """What arrives in all steps, added up: [T, N, C] to [1, N, C].

    Args:
        columns: C.
        signal: what enters.
        dt: length of a step in seconds, kept in the metadata.
    """
    draft = Draft()
    axis = draft.constant("time", np.array([0], np.int64))
    return draft.model(draft.node("ReduceSum", ["input", axis], "count"), columns, columns, signal, dt, 1)


def lstm(
    layers: Sequence[LstmLayer], head: DenseLayer | None, *, signal: Signal, dt: float
) -> onnx.ModelProto:
    """A stack of LSTM layers, from a state of zeros, and a dense layer on every step.

    Args:
        layers: in torch's form.
        head: the dense layer behind them, or None.
        signal: what enters.
        dt: length of a step in seconds, kept in the metadata.
    """
    draft = Draft()
    name = "input"
    for index, layer in enumerate(layers):
        name = draft.lstm(f"lstm{index + 1}", layer, name)
    size = _columns(layers[-1].weight_hh)
    if head is not None:
        name, size = draft.dense("head", head, name), len(_float32(head.weight))
    return draft.model(name, _columns(layers[0].weight_ih), size, signal, dt)


def cross_attention(block: CrossAttention, *, signal: Signal, dt: float) -> onnx.ModelProto:
    """left(x) * (1 - gate LIF(right(x))): the current that the LIF behind the product takes in.

    The gate's neurons are a Scan over time whose output is a Cast of a comparison: a reader can tell
    from the graph alone that these values are events.

    Args:
        block: its weights.
        signal: what enters.
        dt: length of a step in seconds, kept in the metadata.
    """
    draft = Draft()
    channels = len(_float32(block.left))
    channel_first = draft.node("Transpose", ["input"], "time_last", perm=[1, 2, 0])
    left = draft.convolution("left", block.left, channel_first, groups=channels)
    right = draft.convolution("right", block.right, channel_first, groups=1)
    spikes = draft.leaky("gate_lif", block.beta, block.threshold, right, channels)
    taken_off = draft.dense("gate", DenseLayer(block.gate), spikes)
    one = draft.constant("one", np.float32(1))
    weight = draft.node("Sub", [one, taken_off], "attention")
    product = draft.node("Mul", [left, weight], "product")
    return draft.model(product, channels, channels, signal, dt)


class Draft:
    """Nodes and constants of a graph under construction; each method returns the name of its result."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append an operator."""
        self._nodes.append(helper.make_node(operator, list(inputs), [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def constant(self, name: str, value: ArrayLike) -> str:
        """Write a value down."""
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def dense(self, name: str, layer: DenseLayer, source: str) -> str:
        """W x + b for each [.., in]."""
        weight = self.constant(f"{name}_weight", np.ascontiguousarray(_float32(layer.weight).T))
        product = self.node("MatMul", [source, weight], name)
        if layer.bias is None:
            return product
        return self.node("Add", [product, self.constant(f"{name}_bias", _float32(layer.bias))], f"{name}_add")

    def lstm(self, name: str, layer: LstmLayer, source: str) -> str:
        """An LSTM layer over [T, N, in], from rest."""
        weights = self.constant(f"{name}_W", _gates(layer.weight_ih)[None])
        recurrent = self.constant(f"{name}_R", _gates(layer.weight_hh)[None])
        bias = self.constant(
            f"{name}_B", np.concatenate([_gates(layer.bias_ih), _gates(layer.bias_hh)])[None]
        )
        hidden = self.node(
            "LSTM", [source, weights, recurrent, bias], name, hidden_size=_columns(layer.weight_hh)
        )
        axis = self.constant(f"{name}_axis", np.array([1], np.int64))
        return self.node("Squeeze", [hidden, axis], f"{name}_squeeze")

    def convolution(self, name: str, kernel: ArrayLike, source: str, *, groups: int) -> str:
        """A centred convolution over time of [N, in, T], as [T, N, out]."""
        weight = _float32(kernel)
        reach = weight.shape[2] - 1
        pads = [reach // 2, reach - reach // 2]
        result = self.node(
            "Conv", [source, self.constant(f"{name}_weight", weight)], name, group=groups, pads=pads
        )
        return self.node("Transpose", [result], f"{name}_time_first", perm=[2, 0, 1])

    def leaky(self, name: str, beta: ArrayLike, threshold: ArrayLike, source: str, size: int) -> str:
        """Spikes of leaky neurons over currents [T, N, size], from rest."""
        shape = self.node("Shape", [source], f"{name}_shape", start=1, end=3)
        rest = self.rest(name, shape)
        body = _leaky_body(_spread(beta, size), _spread(threshold, size), size)
        return self.scan(name, rest, source, body, gives=["state", "spikes"])[1]

    def rest(self, name: str, shape: str) -> str:
        """Zeros of a shape: the state that a scan begins with."""
        zero = helper.make_tensor("rest", TensorProto.FLOAT, [1], [0.0])
        return self.node("ConstantOfShape", [shape], f"{name}_rest", value=zero)

    def scan(
        self, name: str, state: str, source: str, body: onnx.GraphProto, *, gives: Sequence[str]
    ) -> list[str]:
        """Run a body over time; gives the last state, and what the body puts out in each step."""
        outputs = [f"{name}_{what}" for what in gives]
        self._nodes.append(
            helper.make_node("Scan", [state, source], outputs, name=name, num_scan_inputs=1, body=body)
        )
        return outputs

    def model(
        self, result: str, columns: int, outputs: int, signal: Signal, dt: float, steps: int | str = "T"
    ) -> onnx.ModelProto:
        """The whole as a model whose output is `result`, [steps, N, outputs]."""
        self._nodes[-1].output[0] = "output"
        if result == "input":
            raise ValueError("a model without layers")
        graph = helper.make_graph(
            self._nodes,
            "nsc-deploy",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["T", "N", columns])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [steps, "N", outputs])],
            self._constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="nsc-deploy",
            producer_version=nsc_deploy.__version__,
        )
        helper.set_model_props(model, {"signal": signal.value, "dt": repr(float(dt)), "units": "s"})
        onnx.checker.check_model(model, full_check=True)
        return model


def _leaky_body(beta: NDArray[np.float32], threshold: NDArray[np.float32], size: int) -> onnx.GraphProto:
    """One step of the leaky neuron with reset to zero, in the order of the reference simulator."""

    def info(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])

    constants = {"beta": beta, "threshold": threshold, "zero": np.zeros((), np.float32)}
    nodes = [
        helper.make_node("Mul", ["beta", "v"], ["decayed"]),
        helper.make_node("Add", ["decayed", "current"], ["charged"]),
        helper.make_node("Greater", ["charged", "threshold"], ["fired"]),
        helper.make_node("Where", ["fired", "zero", "charged"], ["v_next"]),
        helper.make_node("Cast", ["fired"], ["spikes"], to=TensorProto.FLOAT),
    ]
    return helper.make_graph(
        nodes,
        "leaky",
        [info("v"), info("current")],
        [info("v_next"), info("spikes")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )


def _gates(stacked: ArrayLike) -> NDArray[np.float32]:
    """Torch's gate order (input, forget, cell, output) turned into ONNX's (input, output, forget, cell)."""
    into, forget, cell, out = np.split(_float32(stacked), 4)
    return np.concatenate([into, out, forget, cell])


def _spread(values: ArrayLike, size: int) -> NDArray[np.float32]:
    return np.broadcast_to(_float32(values), (size,)).copy()


def _columns(weight: ArrayLike) -> int:
    return int(_float32(weight).shape[1])


def _float32(values: ArrayLike) -> NDArray[np.float32]:
    return np.asarray(values, dtype=np.float32)

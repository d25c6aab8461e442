"""A graph as ONNX operators: nodes without a state on [M, *shape], M rows of any meaning, and a whole step.

The states of a step are values that come in and go out. The order of operations is that of the reference
simulator (`nsc_deploy.graphs.operators.neurons`). A layer shows its potential before the reset as
"<node>/charged" and its spikes as "<node>/spikes".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from nsc_deploy.exporters.manifest import StateRecord
from nsc_deploy.exporters.stepwise import Stage
from nsc_deploy.graphs.connectivity import padding_pairs
from nsc_deploy.graphs.network import Network, Node, Shape
from nsc_deploy.graphs.operators.linear import delay_steps
from nsc_deploy.graphs.operators.neurons import Coefficients, Float32, coefficients


def charged_name(node: str) -> str:
    """The value that holds a layer's potential before the reset."""
    return f"{node}/charged"


def spikes_name(node: str) -> str:
    """The value that holds a layer's spikes."""
    return f"{node}/spikes"


class Draft:
    """Collects nodes and constants; every value is named after the node of the graph it belongs to.

    Args:
        lead: symbolic sizes in front of the shape of every input and output, for example T and N.
    """

    def __init__(self, lead: Sequence[str]) -> None:
        self._lead = list(lead)
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node with one output, and return its name."""
        self.nodes(operator, inputs, [output], **attributes)
        return output

    def nodes(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Add a node with several outputs."""
        made = helper.make_node(
            operator, list(inputs), list(outputs), name=f"{outputs[0]}:{operator}", **attributes
        )
        self._nodes.append(made)

    def constant(self, name: str, value: ArrayLike, dtype: Any = np.float32) -> str:
        """Add a constant, once a name."""
        self._constants.setdefault(name, numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def integers(self, name: str, value: ArrayLike) -> str:
        """Add a constant of 64-bit integers: shapes, axes, places."""
        return self.constant(name, value, np.int64)

    def take(self, name: str, shape: Shape) -> str:
        """Declare an input [*lead, *shape]."""
        self._inputs.append(self._info(name, shape))
        return name

    def give(self, name: str, shape: Shape) -> str:
        """Declare an output [*lead, *shape]."""
        self._outputs.append(self._info(name, shape))
        return name

    def graph(self, name: str) -> onnx.GraphProto:
        """What was collected."""
        return helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, list(self._constants.values())
        )

    def _info(self, name: str, shape: Shape) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [*self._lead, *shape])


class StepWriter:
    """Writes the stages of one step into a draft.

    Args:
        draft: where to.
        network: the graph.
        known: values that are there already, by node.

    Attributes:
        values: the value of each node written or known.
        states: what lives from step to step, in order.
    """

    def __init__(self, draft: Draft, network: Network, known: Mapping[str, str]) -> None:
        self._draft = draft
        self._network = network
        self.values = dict(known)
        self.states: list[StateRecord] = []

    def write(self, stages: tuple[Stage, ...], late: tuple[str, ...]) -> None:
        """Write all stages; `late` names the nodes whose output is read one step later."""
        for name in late:
            self._state(name, "last", self._network.node(name).output_shape, "output of the step before")
        for stage in stages:
            self._stage(stage)
        for stage in stages:
            if stage.early:
                self._shift(stage.node, self._arriving(stage))
        for name in late:
            self._draft.node("Identity", [self.values[name]], f"{name}.last.next")

    def _state(self, node: str, part: str, shape: Shape, holds: str) -> str:
        name = f"{node}.{part}"
        self.states.append(StateRecord(input=name, output=f"{name}.next", shape=shape, holds=holds))
        return name

    def _stage(self, stage: Stage) -> None:
        node = stage.node
        if stage.early:
            self.values[node.name] = self._taps(node, self._past(node))
            return
        arriving = self._arriving(stage)
        if node.primitive in STATELESS:
            self.values[node.name] = STATELESS[node.primitive](self._draft, node, arriving)
        else:
            self.values[node.name] = _WITH_STATE[node.primitive](self, node, arriving)

    def _arriving(self, stage: Stage) -> str:
        names = [f"{one.name}.last" if one.late else self.values[one.name] for one in stage.sources]
        total = names[0]
        for index, name in enumerate(names[1:], 1):
            total = self._draft.node("Add", [total, name], f"{stage.node.name}/arriving{index}")
        return total

    def output(self, node: Node, arriving: str) -> str:
        """Output: what comes in, under a name of its own."""
        return self._draft.node("Identity", [arriving], f"{node.name}/value")

    def threshold(self, node: Node, arriving: str) -> str:
        """Threshold: s = 1 if x > threshold."""
        charged = self._draft.node("Identity", [arriving], charged_name(node.name))
        limit = self._draft.constant(f"{node.name}/threshold", node.parameters.threshold)
        return self._compare(node, charged, limit)[0]

    def neuron(self, node: Node, arriving: str) -> str:
        """LIF, IF, CubaLIF, LI, CubaLI, I."""
        numbers = coefficients(node, self._network)
        if numbers.synapse is not None:
            arriving = self._leak(
                node, "u", "synaptic current", numbers.synapse[0], numbers.synapse[1], arriving
            )
            self._draft.node("Identity", [arriving], f"{node.name}.u.next")
        current = self._affine(node, numbers, arriving)
        charged = self._leak(node, "v", "membrane potential", numbers.decay, None, current)
        if numbers.threshold is None:
            self._draft.node("Identity", [charged], f"{node.name}.v.next")
            return charged
        limit = self._draft.constant(f"{node.name}/threshold", numbers.threshold)
        spikes, fired = self._compare(node, charged, limit)
        self._draft.node(
            "Where", [fired, self._after_spike(node, numbers, charged), charged], f"{node.name}.v.next"
        )
        return spikes

    def delay(self, node: Node, arriving: str) -> str:
        """Delay: what came in some steps ago."""
        if not self._steps(node).any():
            return self._draft.node("Identity", [arriving], f"{node.name}/value")
        self._past(node)
        return self._taps(node, self._shift(node, arriving))

    def _leak(
        self, node: Node, part: str, holds: str, decay: Float32, gain: Float32 | None, arriving: str
    ) -> str:
        """The state times its decay, plus gain times what arrives."""
        state = self._state(node.name, part, node.output_shape, holds)
        entering = arriving if gain is None else self._times(node, f"{part}_gain", gain, arriving)
        name = charged_name(node.name) if part == "v" else f"{node.name}/current"
        kept = self._draft.node(
            "Mul",
            [self._draft.constant(f"{node.name}/{part}_decay", decay), state],
            f"{node.name}/{part}_kept",
        )
        return self._draft.node("Add", [kept, entering], name)

    def _affine(self, node: Node, numbers: Coefficients, arriving: str) -> str:
        current = self._times(node, "v_gain", numbers.gain, arriving)
        if not numbers.offset.any():
            return current
        offset = self._draft.constant(f"{node.name}/offset", numbers.offset)
        return self._draft.node("Add", [current, offset], f"{node.name}/driven")

    def _times(self, node: Node, part: str, gain: Float32, arriving: str) -> str:
        if (gain == 1).all():
            return arriving
        factor = self._draft.constant(f"{node.name}/{part}", gain)
        return self._draft.node("Mul", [factor, arriving], f"{node.name}/{part}_applied")

    def _compare(self, node: Node, charged: str, limit: str) -> tuple[str, str]:
        fired = self._draft.node("Greater", [charged, limit], f"{node.name}/fired")
        spikes = self._draft.node("Cast", [fired], spikes_name(node.name), to=TensorProto.FLOAT)
        return spikes, fired

    def _after_spike(self, node: Node, numbers: Coefficients, charged: str) -> str:
        if numbers.subtract:
            return self._draft.node("Sub", [charged, f"{node.name}/threshold"], f"{node.name}/less")
        return self._draft.constant(f"{node.name}/floor", numbers.floor if numbers.floor is not None else 0.0)

    def _steps(self, node: Node) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
        return delay_steps(node, self._network.dt)

    def _past(self, node: Node) -> str:
        longest = int(self._steps(node).max())
        return self._state(node.name, "past", (longest, *node.output_shape), "what came in, the oldest first")

    def _shift(self, node: Node, arriving: str) -> str:
        """The line [N, longest + 1, *shape], the newest last; all but the oldest are the next state."""
        draft, one = self._draft, self._draft.integers(f"{node.name}/one", [1])
        newest = draft.node("Unsqueeze", [arriving, one], f"{node.name}/newest")
        line = draft.node("Concat", [f"{node.name}.past", newest], f"{node.name}/line", axis=1)
        end = draft.integers(f"{node.name}/end", [np.iinfo(np.int64).max])
        draft.node("Slice", [line, one, end, one], f"{node.name}.past.next")
        return line

    def _taps(self, node: Node, line: str) -> str:
        """Each element from its own place in the line; an early line lacks the newest."""
        draft, steps = self._draft, self._steps(node)
        longest = int(steps.max())
        chosen = ""
        for back in np.unique(steps):
            place = draft.integers(f"{node.name}/place{back}", longest - back)
            tap = draft.node("Gather", [line, place], f"{node.name}/tap{back}", axis=1)
            if chosen:
                mask = draft.constant(f"{node.name}/mask{back}", steps == back, np.bool_)
                tap = draft.node("Where", [mask, tap, chosen], f"{node.name}/chosen{back}")
            chosen = tap
        return chosen


_WITH_STATE: Mapping[str, Callable[[StepWriter, Node, str], str]] = {
    "Output": StepWriter.output,
    "Threshold": StepWriter.threshold,
    "Delay": StepWriter.delay,
    "LIF": StepWriter.neuron,
    "IF": StepWriter.neuron,
    "CubaLIF": StepWriter.neuron,
    "LI": StepWriter.neuron,
    "CubaLI": StepWriter.neuron,
    "I": StepWriter.neuron,
}
Write = Callable[[Draft, Node, str], str]


def dense(draft: Draft, node: Node, source: str) -> str:
    """Linear and Affine: y = W x, then + b; weights of more than two dimensions act on each slice apart."""
    weight = draft.constant(
        f"{node.name}/weight", np.ascontiguousarray(node.parameters.weight.swapaxes(-1, -2))
    )
    if node.parameters.weight.ndim > 2:
        axis = draft.integers(f"{node.name}/axis", [-2])
        row = draft.node("Unsqueeze", [source, axis], f"{node.name}/row")
        product = draft.node("MatMul", [row, weight], f"{node.name}/products")
        result = draft.node("Squeeze", [product, axis], f"{node.name}/product")
    else:
        result = draft.node("MatMul", [source, weight], f"{node.name}/product")
    if node.primitive == "Linear":
        return result
    bias = draft.constant(f"{node.name}/bias", node.parameters.bias)
    return draft.node("Add", [result, bias], f"{node.name}/sum")


def convolution(draft: Draft, node: Node, source: str) -> str:
    """Conv1d and Conv2d, then + b."""
    parameters = node.parameters
    kernel = parameters.weight.shape[2:]
    padding = padding_pairs(parameters.padding, kernel, parameters.dilation)
    result = draft.node(
        "Conv",
        [source, draft.constant(f"{node.name}/weight", parameters.weight)],
        f"{node.name}/product",
        group=parameters.groups,
        strides=list(parameters.stride),
        dilations=list(parameters.dilation),
        pads=[low for low, _ in padding] + [high for _, high in padding],
    )
    bias = parameters.bias.reshape(-1, *([1] * len(kernel)))
    return draft.node("Add", [result, draft.constant(f"{node.name}/bias", bias)], f"{node.name}/sum")


def pool(draft: Draft, node: Node, source: str) -> str:
    """SumPool2d as a convolution of each channel with ones; AvgPool2d divides it by the window's size."""
    parameters, channels = node.parameters, node.input_shape[0]
    ones = np.ones((channels, 1, *parameters.kernel_size))
    total = draft.node(
        "Conv",
        [source, draft.constant(f"{node.name}/window", ones)],
        f"{node.name}/total",
        group=channels,
        strides=list(parameters.stride),
        pads=[*parameters.padding, *parameters.padding],
    )
    if node.primitive == "SumPool2d":
        return total
    size = draft.constant(f"{node.name}/size", float(np.prod(parameters.kernel_size)))
    return draft.node("Div", [total, size], f"{node.name}/mean")


def scale(draft: Draft, node: Node, source: str) -> str:
    """Scale: y = scale * x."""
    factor = draft.constant(f"{node.name}/scale", node.parameters.scale)
    return draft.node("Mul", [factor, source], f"{node.name}/scaled")


def flatten(draft: Draft, node: Node, source: str) -> str:
    """Flatten: another shape, the rows kept."""
    shape = draft.integers(f"{node.name}/shape", [-1, *node.output_shape])
    return draft.node("Reshape", [source, shape], f"{node.name}/flat")


STATELESS: Mapping[str, Write] = {
    "Linear": dense,
    "Affine": dense,
    "Conv1d": convolution,
    "Conv2d": convolution,
    "SumPool2d": pool,
    "AvgPool2d": pool,
    "Scale": scale,
    "Flatten": flatten,
}

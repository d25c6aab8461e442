"""The values of an ONNX graph that no input changes, worked out by onnxruntime before anything is counted.

Operators on constants run in a model of their own, those inside the body of a Scan among them, and only
what something changing takes in is kept. The shapes that the graph asks for are filled in for one sample;
where inference does not tell them, the graph runs once. What a graph may take was held to the limits before
(`graphs.onnx_limits`), constants that stay to the end included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.onnx.instrument import declare, lead_out
from nsc_deploy.energy.counting.onnx.operators import Known, Shape, Values, attribute_of, body_of, written
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.onnx_constants import Constants, find_constants, kept_constants
from nsc_deploy.graphs.onnx_run import reason_of, start_session
from nsc_deploy.graphs.onnx_shapes import infer_shapes, shapes_of


def work_out_constants(model: Any, values: NDArray[np.float32]) -> Known:
    """Work out every constant that something changing takes in.

    Args:
        model: a checked ModelProto, held to the limits.
        values: [steps, 1, ...], one sample of what enters.

    Raises:
        GraphError: onnxruntime cannot run the graph.
    """
    graph = model.graph
    constants = find_constants(graph)
    sheet = _Sheet()
    sheet.collect(graph, constants, {}, "")
    if sheet.asked:
        sheet.fill_in(_known_sizes(model, sheet.asked, values))
    found = sheet.compute(model)
    return _known(graph, constants, found, {}, "")


@dataclass(frozen=True)
class _Asked:
    """A node that asks for the shape of a changing value, and where it stands.

    Attributes:
        node: Shape or Size.
        path: indices of the Scans around it.
    """

    node: Any
    path: tuple[int, ...]

    @property
    def name(self) -> str:
        """Unique in the model: bodies may use the same names."""
        return _prefix(self.path) + str(self.node.output[0])

    def of(self, shape: Shape) -> NDArray[np.int64]:
        """Its value for a shape."""
        if self.node.op_type == "Size":
            return np.array(prod(shape), np.int64)
        start, end = attribute_of(self.node, "start", 0), attribute_of(self.node, "end", None)
        return np.array(shape[start:end], np.int64)


def _prefix(path: Sequence[int]) -> str:
    # No name of a file holds a control character.
    return "".join(f"{index}\x1f" for index in path)


@dataclass
class _Sheet:
    """The operators on constants of a whole model, in one list under unique names.

    Attributes:
        asked: the shapes it depends on.
        nodes: copies, in their order.
        written: constants that the file holds, as TensorProto.
        wanted: constants that are to be computed.
    """

    asked: list[_Asked] = field(default_factory=list)
    nodes: list[Any] = field(default_factory=list)
    written: dict[str, Any] = field(default_factory=dict)
    wanted: list[str] = field(default_factory=list)

    def collect(
        self,
        graph: Any,
        constants: Constants,
        around: Mapping[str, str],
        prefix: str,
        path: tuple[int, ...] = (),
    ) -> None:
        """Take in a graph and the bodies in it.

        Args:
            graph: whose.
            constants: of it.
            around: unique names of the constants around it.
            prefix: of its own names.
            path: indices of the Scans around it.
        """
        scope = dict(around)
        for tensor in graph.initializer:
            scope[tensor.name] = prefix + tensor.name
            self.written[prefix + tensor.name] = tensor
        computed = set()
        for index, node in enumerate(graph.node):
            outputs = [name for name in node.output if name]
            if index in constants.bodies:
                inner = (*path, index)
                self.collect(body_of(node), constants.bodies[index], scope, _prefix(inner), inner)
            if not outputs or not constants.names.issuperset(outputs):
                continue
            scope.update((name, prefix + name) for name in outputs)
            if node.op_type in {"Shape", "Size"} and node.input[0] not in constants.names:
                self.asked.append(_Asked(node, path))
                continue
            copy = type(node)()
            copy.CopyFrom(node)
            copy.ClearField("name")
            copy.input[:] = [scope[name] if name else "" for name in node.input]
            copy.output[:] = [prefix + name if name else "" for name in node.output]
            self.nodes.append(copy)
            if node.op_type != "Constant":
                computed.update(outputs)
        self.wanted += [prefix + name for name in sorted(kept_constants(graph, constants) & computed)]

    def fill_in(self, sizes: Values) -> None:
        """Take the shapes that are asked for as if the file held them."""
        from onnx import numpy_helper

        self.written.update((name, numpy_helper.from_array(value, name)) for name, value in sizes.items())

    def compute(self, model: Any) -> dict[str, NDArray[Any]]:
        """Everything that is wanted, and the shapes, by unique name."""
        from onnx import numpy_helper

        found = {one.name: numpy_helper.to_array(self.written[one.name]) for one in self.asked}
        if not self.wanted:
            return found
        return found | _run(self._model(model), self.wanted)

    def _model(self, model: Any) -> Any:
        from onnx import ModelProto, helper

        taken = {name for node in self.nodes for name in node.input}
        own = ModelProto(ir_version=model.ir_version)
        own.opset_import.extend(model.opset_import)
        own.graph.name = "constants"
        own.graph.node.extend(self.nodes)
        for name in sorted(taken & self.written.keys()):
            tensor = own.graph.initializer.add()
            tensor.CopyFrom(self.written[name])
            tensor.name = name
        own.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in self.wanted)
        return own


def _known_sizes(model: Any, asked: Sequence[_Asked], values: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    inferred = infer_shapes(model, values.shape)
    found: dict[str, NDArray[Any]] = {}
    for one in asked:
        shape = _inferred_shape(inferred, one)
        if shape is not None:
            found[one.name] = one.of(shape)
    missing = [one for one in asked if one.name not in found]
    return found | (_measured(model, missing, values) if missing else {})


def _inferred_shape(graph: Any, one: _Asked) -> Shape | None:
    shapes = dict(shapes_of(graph))
    for index in one.path:
        graph = body_of(graph.node[index])
        shapes |= shapes_of(graph)
    shape = shapes.get(one.node.input[0])
    return None if shape is None or None in shape else tuple(size or 0 for size in shape)


def _measured(model: Any, asked: Sequence[_Asked], values: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """The sizes that a run gives out; in a Scan those of its first turn, as of every other."""
    watched = type(model).FromString(model.SerializeToString())
    outside = {}
    for one in asked:
        graphs, scans = [watched.graph], []
        for index in one.path:
            scans.append(graphs[-1].node[index])
            graphs.append(body_of(scans[-1]))
        outside[one.name] = lead_out(scans, graphs, one.node.output[0])
    declare(watched.graph, sorted(set(outside.values())))
    results = _run(watched, sorted(set(outside.values())), values)
    return {one.name: results[outside[one.name]][(0,) * len(one.path)] for one in asked}


def _run(model: Any, names: Sequence[str], *entering: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    try:
        session = start_session(model)
        fed = zip((one.name for one in session.get_inputs()), entering, strict=True)
        results = session.run(names, dict(fed))
    except Exception as error:
        raise GraphError(f"cannot be run by onnxruntime ({reason_of(error)})") from error
    return dict(zip(names, results, strict=True))


def _known(
    graph: Any, constants: Constants, found: Values, around: Values, prefix: str, path: tuple[int, ...] = ()
) -> Known:
    values = dict(around) | written(graph)
    values.update((name, found[prefix + name]) for name in constants.names if prefix + name in found)
    bodies = {
        index: _known(
            body_of(graph.node[index]), inner, found, values, _prefix((*path, index)), (*path, index)
        )
        for index, inner in constants.bodies.items()
    }
    return Known(values, constants.names, constants.sized, bodies)

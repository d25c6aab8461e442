"""Edits of an ONNX model: graphs within graphs, sizes, types and data that nobody should write."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from tests.robustness.fuzz.byte_edits import NASTY_TEXTS

Edit = Callable[[random.Random, Any], str]
_OPERATORS = (
    "Loop", "If", "Scan", "ConstantOfShape", "Expand", "Tile", "Range", "Identity", "Relu", "MatMul", "Gemm",
    "Conv", "LSTM", "Custom", "", "Add", "RandomNormal", "Cast", "Reshape", "Concat", "Softmax", "Einsum",
)  # fmt: skip


def edit_model(chance: random.Random, model: Any) -> str:
    """Edit a model in place; says what was done."""
    labels = []
    for _ in range(chance.choice([1, 1, 1, 2])):
        edit = chance.choice(EDITS)
        try:
            labels.append(f"{edit.__name__}: {edit(chance, model)}")
        except (ValueError, TypeError, IndexError, DecodeError) as error:
            labels.append(f"{edit.__name__} failed ({error!s:.40})")
    return "; ".join(labels)


def _graphs(graph: Any) -> list[Any]:
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found += _graphs(attribute.g)
    return found


def _node(chance: random.Random, model: Any) -> Any:
    return chance.choice([node for graph in _graphs(model.graph) for node in graph.node])


def _tensor(chance: random.Random, model: Any) -> Any:
    return chance.choice([tensor for graph in _graphs(model.graph) for tensor in graph.initializer])


def _attribute(chance: random.Random, model: Any) -> Any:
    return chance.choice(
        [one for graph in _graphs(model.graph) for node in graph.node for one in node.attribute]
        or [onnx.AttributeProto()]
    )


def take_out(chance: random.Random, model: Any) -> str:
    graph = chance.choice(_graphs(model.graph))
    field = chance.choice(["node", "initializer", "input", "output"])
    items = getattr(graph, field)
    at = chance.randrange(len(items))
    del items[at]
    return f"{field} {at}"


def twice(chance: random.Random, model: Any) -> str:
    graph = chance.choice(_graphs(model.graph))
    field = chance.choice(["node", "initializer", "input", "output"])
    items = getattr(graph, field)
    items.append(chance.choice(items))
    return field


def shuffle(chance: random.Random, model: Any) -> str:
    nodes = list(model.graph.node)
    chance.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return str(len(nodes))


def rewire(chance: random.Random, model: Any) -> str:
    """Also onto itself, which makes a cycle."""
    node = _node(chance, model)
    names = [name for other in model.graph.node for name in (*other.input, *other.output)] + ["nowhere", ""]
    at = chance.randrange(len(node.input))
    node.input[at] = chance.choice([*names, *node.output])
    return f"{node.op_type} takes in {node.input[at]!r:.30}"


def change_operator(chance: random.Random, model: Any) -> str:
    node = _node(chance, model)
    node.op_type = chance.choice(_OPERATORS)
    return str(node.op_type)


def change_domain(chance: random.Random, model: Any) -> str:
    node = _node(chance, model)
    node.domain = chance.choice(["com.microsoft", "evil", "ai.onnx.ml", "x" * 10_000, "ai.onnx"])
    if chance.random() < 0.5:
        model.opset_import.add(domain=node.domain, version=1)
    return str(node.domain[:20])


def change_shape(chance: random.Random, model: Any) -> str:
    tensor = _tensor(chance, model)
    old = list(tensor.dims)
    dims = chance.choice(
        [[-1], [2**40], [2**62, 2**62], [], [0], old[::-1], [*old, 1], [-d for d in old], [3]]
    )
    del tensor.dims[:]
    tensor.dims.extend(dims)
    return f"{tensor.name} {old} is {dims}"


def change_data(chance: random.Random, model: Any) -> str:
    tensor = _tensor(chance, model)
    kind = chance.randrange(6)
    raw = bytearray(tensor.raw_data)
    if kind == 0:
        tensor.raw_data = bytes(raw[:-1])
    elif kind == 1:
        tensor.raw_data = b""
    elif kind == 2:
        tensor.data_type = chance.choice([0, 2, 3, 5, 7, 8, 9, 10, 11, 14, 16, 17, 22, 23, 99, -1])
    elif kind == 3 and len(raw) >= 4:
        at = 4 * chance.randrange(len(raw) // 4)
        raw[at : at + 4] = np.float32(chance.choice([np.nan, np.inf, 3e38, 0, -1])).tobytes()
        tensor.raw_data = bytes(raw)
    elif kind == 4:
        tensor.float_data.extend([1.0, 2.0])
    else:
        tensor.raw_data = bytes(raw) * 2
    return f"{tensor.name} ({kind})"


def data_elsewhere(chance: random.Random, model: Any) -> str:
    tensor = _tensor(chance, model)
    goal = chance.choice(["/etc/passwd", "../../../etc/passwd", "weights.bin"])
    if chance.random() < 0.3:
        node = helper.make_node("Constant", [], ["elsewhere"], value=numpy_helper.from_array(np.ones(3)))
        model.graph.node.insert(0, node)
        tensor = model.graph.node[0].attribute[0].t
    for key, value in (("location", goal), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    if chance.random() < 0.8:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.ClearField("raw_data")
    return goal


def change_versions(chance: random.Random, model: Any) -> str:
    version = chance.choice([0, 1, 7, 13, 99, 2**40, -1])
    kind = chance.randrange(4)
    if kind == 0:
        model.ir_version = version
    elif kind == 1:
        model.opset_import[0].version = version
    elif kind == 2:
        del model.opset_import[:]
    else:
        model.opset_import.add(domain="", version=version)
    return f"{kind}: {version}"


def change_attribute(chance: random.Random, model: Any) -> str:
    one = _attribute(chance, model)
    kind = chance.randrange(5)
    if kind == 0:
        one.i = chance.choice([-1, 0, 2**31, 2**62, -(2**63)])
    elif kind == 1:
        del one.ints[:]
        one.ints.extend([chance.choice([-1, 0, 2**40])] * chance.choice([1, 2, 3, 1000]))
    elif kind == 2:
        one.type = chance.randrange(20)
    elif kind == 3:
        one.name = chance.choice([text for text in NASTY_TEXTS if text.isprintable()])
    else:
        one.ClearField("g")
    return f"{one.name:.20} ({kind})"


def change_terminal(chance: random.Random, model: Any) -> str:
    one = chance.choice([*model.graph.input, *model.graph.output])
    kind = chance.randrange(6)
    shape = one.type.tensor_type.shape
    if kind == 0:
        shape.dim[-1].dim_value = chance.choice([-1, 0, 2**40, 7])
    elif kind == 1:
        one.type.tensor_type.ClearField("shape")
    elif kind == 2:
        one.type.tensor_type.elem_type = chance.choice([0, 6, 7, 8, 9, 11, 99])
    elif kind == 3:
        one.ClearField("type")
    elif kind == 4:
        one.type.sequence_type.elem_type.tensor_type.elem_type = 1
    else:
        shape.dim.extend([shape.dim[-1]] * chance.choice([1, 5000]))
    return f"{one.name} ({kind})"


def odd_names(chance: random.Random, model: Any) -> str:
    text = chance.choice([text for text in NASTY_TEXTS if text != "\ud800"])
    old = chance.choice([name for node in model.graph.node for name in node.output])
    for graph in _graphs(model.graph):
        for one in (*graph.input, *graph.output, *graph.initializer):
            one.name = text if one.name == old else one.name
        for node in graph.node:
            node.name = text if chance.random() < 0.3 else node.name
            for names in (node.input, node.output):
                names[:] = [text if name == old else name for name in names]
    return repr(text[:20])


def odd_metadata(chance: random.Random, model: Any) -> str:
    key, value = (
        chance.choice(["dt", "signal", "digest", "x"]),
        chance.choice(["nan", "1e999", "", "\x1b[2J", "0"]),
    )
    model.metadata_props.add(key=key, value=value)
    if chance.random() < 0.3:
        model.producer_name = chance.choice([text for text in NASTY_TEXTS if text != "\ud800"])
    return f"{key}={value!r}"


def _in_front(model: Any, nodes: list[Any], name: str) -> None:
    """Add nodes whose last output, a scalar, is added onto what enters the first node."""
    first = model.graph.node[0]
    added = helper.make_node("Add", [first.input[0], name], ["with_more"])
    first.input[0] = "with_more"
    for node in reversed([*nodes, added]):
        model.graph.node.insert(0, node)


def _constant(name: str, value: Any) -> Any:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value)))


def make_huge(chance: random.Random, model: Any) -> str:
    """An operator that makes much of little, folded away or at run time."""
    size = chance.choice([2**30, 2**33, 2**40])
    kind = chance.choice(["ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "late"])
    one = _constant("one", np.ones(1, np.float32))
    if kind == "ConstantOfShape":
        nodes = [_constant("size", [size]), helper.make_node(kind, ["size"], ["much"])]
    elif kind in {"Expand", "Tile"}:
        nodes = [one, _constant("size", [size]), helper.make_node(kind, ["one", "size"], ["much"])]
    elif kind == "Range":
        ends = [_constant(name, np.float32(value)) for name, value in (("a", 0), ("b", size), ("c", 1))]
        nodes = [*ends, helper.make_node(kind, ["a", "b", "c"], ["much"])]
    elif kind == "Pad":
        nodes = [one, _constant("size", [0, size]), helper.make_node(kind, ["one", "size"], ["much"])]
    elif kind == "Resize":
        image = _constant("image", np.ones((1, 1, 2), np.float32))
        sizes = _constant("size", [1, 1, size])
        nodes = [image, sizes, helper.make_node(kind, ["image", "", "", "size"], ["much"])]
    else:  # by way of the shape of the input, which nothing folds
        shape = helper.make_node("Shape", [model.graph.node[0].input[0]], ["shape"])
        grown = helper.make_node("Mul", ["shape", "factor"], ["size"])
        nodes = [
            shape,
            _constant("factor", [size]),
            grown,
            helper.make_node("ConstantOfShape", ["size"], ["much"]),
        ]
    _in_front(model, [*nodes, helper.make_node("ReduceMax", ["much"], ["little"], keepdims=0)], "little")
    return f"{kind}, {size}"


def loop_for_ever(chance: random.Random, model: Any) -> str:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, []),
        ],
    )
    nodes = [
        _constant("turns", np.int64(2**62)), _constant("true", np.array(True)),
        _constant("zero", np.float32(0)),
        helper.make_node("Loop", ["turns", "true", "zero"], ["little"], body=body),
    ]  # fmt: skip
    _in_front(model, nodes, "little")
    return "2^62 turns"


def nest_deep(chance: random.Random, model: Any) -> str:
    depth = chance.choice([3, 12, 25])
    value = helper.make_tensor_value_info("v", TensorProto.FLOAT, [])
    graph = helper.make_graph([_constant("v", np.float32(0))], "leaf", [], [value])
    for level in range(depth):
        inner = helper.make_node(
            "If", ["truth"], ["v"], then_branch=graph, else_branch=graph if level < 8 else _leaf()
        )
        graph = helper.make_graph([inner], f"level{level}", [], [value])
    nodes = [_constant("truth", np.array(True)), *graph.node, helper.make_node("Identity", ["v"], ["little"])]
    _in_front(model, nodes, "little")
    return f"{depth} deep"


def _leaf() -> Any:
    value = helper.make_tensor_value_info("v", TensorProto.FLOAT, [])
    return helper.make_graph([_constant("v", np.float32(0))], "leaf", [], [value])


def own_functions(chance: random.Random, model: Any) -> str:
    """A function of the file's own, which may call itself, under a foreign name or a standard one."""
    domain, name = chance.choice([("own", "F"), ("", "Relu"), ("", "MatMul"), ("ai.onnx", "Add")])
    inner = chance.choice([("own", "F"), ("", "Identity"), (domain, name)])
    node = helper.make_node(inner[1], ["a"], ["b"], domain=inner[0])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    model.functions.append(helper.make_function(domain, name, ["a"], ["b"], [node], imports))
    if chance.random() < 0.5:
        call = helper.make_node(name, [model.graph.node[0].input[0]], ["called"], domain=domain)
        model.graph.node.insert(0, call)
        model.opset_import.append(helper.make_opsetid("own", 1))
    return f"{domain}.{name} calls {inner}"


def sparse(chance: random.Random, model: Any) -> str:
    size = chance.choice([8, 2**33, 2**50])
    values = helper.make_tensor("thin", TensorProto.FLOAT, [1], [1.0])
    places = helper.make_tensor("places", TensorProto.INT64, [1], [0])
    thin = helper.make_sparse_tensor(values, places, [size])
    if chance.random() < 0.5:
        model.graph.sparse_initializer.append(thin)
        nodes = [helper.make_node("ReduceMax", ["thin"], ["little"], keepdims=0)]
    else:
        constant = helper.make_node("Constant", [], ["thin2"], sparse_value=thin)
        nodes = [constant, helper.make_node("ReduceMax", ["thin2"], ["little"], keepdims=0)]
    _in_front(model, nodes, "little")
    return str(size)


def many_nodes(chance: random.Random, model: Any) -> str:
    count = chance.choice([300, 1000])
    first = model.graph.node[0].input[0]
    names = [first, *(f"more{index}" for index in range(count))]
    for index in range(count):
        model.graph.node.insert(index, helper.make_node("Identity", [names[index]], [names[index + 1]]))
    return str(count)


def training_info(chance: random.Random, model: Any) -> str:
    info = model.training_info.add()
    info.algorithm.CopyFrom(model.graph)
    return "a second graph"


EDITS: tuple[Edit, ...] = (
    take_out, take_out, twice, shuffle, rewire, rewire, change_operator, change_operator, change_domain,
    change_shape, change_shape, change_data, change_data, change_data, data_elsewhere, change_versions,
    change_attribute, change_attribute, change_terminal, change_terminal, odd_names, odd_metadata, make_huge,
    make_huge, loop_for_ever, nest_deep, own_functions, sparse, many_nodes, training_info,
)  # fmt: skip

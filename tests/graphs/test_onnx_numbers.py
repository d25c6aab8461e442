"""Sizes that follow from few numbers are known before a graph runs, in the body of a Scan too."""

import resource
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_limits import refuse_unbounded

node = helper.make_node
WIDTH = 24
NUMBERS = {
    "zero": np.array(0), "one": np.array(1), "axis": np.array([1]), "many": np.array([WIDTH]),
    "much": np.array(10**10), "minus": np.array([-1]), "step": np.array(-1),
}  # fmt: skip
SIZE = node("Shape", ["r"], ["s"])
LAST = node("Gather", ["s", "one"], ["m"])
WRITTEN = node("Squeeze", ["many"], ["m"])
RANGE = node("Range", ["zero", "m", "one"], ["q"])
ONES = numpy_helper.from_array(np.ones(1, np.int64))
FLOATS = node("Cast", ["q"], ["c"], to=TensorProto.FLOAT)
INSIDE = {
    "a range of a constant": [WRITTEN, RANGE, FLOATS],
    "a range of a shape": [SIZE, LAST, RANGE, FLOATS],
    "a range that goes down": [SIZE, LAST, node("Range", ["m", "zero", "step"], ["q"]), FLOATS],
    "a fill as long as a range": [
        SIZE, LAST, RANGE, node("Shape", ["q"], ["k"]),
        node("ConstantOfShape", ["k"], ["c"]),
    ],
    "a spread as PyTorch writes it": [
        SIZE, node("Equal", ["s", "minus"], ["e"]), node("ConstantOfShape", ["e2"], ["o"], value=ONES),
        node("Where", ["e", "o", "s"], ["w"]), node("Cast", ["one"], ["f"], to=TensorProto.FLOAT),
        node("Expand", ["f", "w"], ["c"]),
    ],
    "tiles of a spread": [
        SIZE, node("ConstantOfShape", ["e2"], ["o"], value=ONES), node("Mul", ["s", "o"], ["w"]),
        node("Cast", ["one"], ["f"], to=TensorProto.FLOAT), node("Expand", ["f", "w"], ["p"]),
        node("Tile", ["p", "o"], ["c"]),
    ],
}  # fmt: skip


def model(inside: list[Any], *, scan: bool = True) -> onnx.ModelProto:
    """What the nodes make of a row r [N, 24] is added to it: in each turn of a scan, or to all rows."""
    numbers = [numpy_helper.from_array(value, name) for name, value in NUMBERS.items()]
    numbers.append(numpy_helper.from_array(np.array([2]), "e2"))
    inner = [*inside, node("Add", ["v", "c"], ["next"], name="added"), node("Identity", ["next"], ["y"])]
    names = [helper.make_empty_tensor_value_info(name) for name in ("v", "r", "next", "y")]
    body = helper.make_graph(inner, "body", names[:2], names[2:], numbers)
    nodes = [
        node("Shape", ["x"], ["size"], start=1),
        node("ConstantOfShape", ["size"], ["rest"]),
        node("Scan", ["rest", "x"], ["last", "out"], body=body, num_scan_inputs=1),
    ]
    if not scan:
        nodes = [node("Identity", ["x"], ["r"]), *inside, node("Add", ["r", "c"], ["out"], name="added")]
    value = helper.make_tensor_value_info
    ends = ([value("x", 1, ["T", "N", WIDTH])], [value("out", 1, ["T", "N", WIDTH])])
    graph = helper.make_graph(nodes, "graph", *ends, numbers if not scan else [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("case", INSIDE)
def test_a_size_made_of_few_numbers_is_known_inside_a_scan(case: str, tmp_path: Any) -> None:
    made = model(INSIDE[case])
    refuse_unbounded(made, (5, 2, WIDTH))
    onnx.save(made, tmp_path / "graph.onnx")
    recording = Recording(np.ones((5, 2, WIDTH), np.float32), Signal.REAL, 1e-3)
    part = count_onnx(tmp_path / "graph.onnx", recording)
    (added,) = [one for one in part.layers if one.name.endswith("added")]
    assert added.per_sample.additions.tolist() == [5 * WIDTH] * 2


def test_a_range_in_the_graph_itself_is_known_too() -> None:
    refuse_unbounded(
        model(
            [node("Squeeze", ["many"], ["m"]), node("Range", ["zero", "m", "one"], ["q"]), FLOATS], scan=False
        )
    )


def test_a_size_that_values_decide_is_refused() -> None:
    top = [node("ReduceMax", ["r"], ["top"], keepdims=0), node("Cast", ["top"], ["m"], to=TensorProto.INT64)]
    with pytest.raises(GraphError, match="is a Range whose size only a run can tell"):
        refuse_unbounded(model([*top, RANGE, FLOATS]), (5, 2, WIDTH))


def test_a_chain_without_an_end_is_not_followed() -> None:
    chain = [node("Add", [f"n{index}", "one"], [f"n{index + 1}"]) for index in range(5000)]
    first = node("Squeeze", ["many"], ["n0"])
    inside = [first, *chain, node("Range", ["zero", "n5000", "one"], ["q"]), FLOATS]
    with pytest.raises(GraphError, match="is a Range whose size only a run can tell"):
        refuse_unbounded(model(inside), (5, 2, WIDTH))


@pytest.mark.parametrize("scan", [False, True])
def test_a_range_of_ten_billion_is_not_written_out_to_follow_it(*, scan: bool) -> None:
    """Shape inference that follows values holds each of them: a file of a few bytes took all memory."""
    made = model([node("Range", ["zero", "much", "one"], ["q"]), FLOATS], scan=scan)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(GraphError, match=r"gives the shape \(10000000000,\)"):
        refuse_unbounded(made, (5, 2, WIDTH))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000

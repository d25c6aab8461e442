"""What a run of an ONNX graph would take is worked out before it, and refused where it is too much."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nsc_deploy.errors import ConfigError, GraphError
from nsc_deploy.exporters.onnx.models import sequence_model
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.onnx import read_onnx
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_limits import (
    MEMORY_VARIABLE,
    OPERATIONS_VARIABLE,
    Limits,
    refuse_unbounded,
)
from nsc_deploy.graphs.onnx_shapes import infer_shapes, shapes_of
from tests.support.small_runs import DT, weights

ENTERING = (5, 2, 24)


def graph(nodes: Sequence[Any], constants: dict[str, Any] | None = None, last: str = "much") -> Any:
    """What the nodes make of "x" [T, N, 24] is brought to one number and added to it."""
    whole = [
        *nodes,
        helper.make_node("ReduceMax", [last], ["little"], keepdims=0, name="largest"),
        helper.make_node("Cast", ["little"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "number"], ["y"]),
    ]
    sizes = ["T", "N", 24]
    inner = helper.make_graph(
        whole,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    return helper.make_model(inner, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


node = helper.make_node
ones = np.ones(25_000, np.float32)
side = np.array([8192, 8192])
FOUND = [node("NonZero", ["ones"], ["places"], name="places"), node("Cast", ["places"], ["row"], to=1)]
OUTER = [*FOUND, node("Transpose", ["row"], ["column"])]
PLANE = [node("ConstantOfShape", ["side"], ["p0"], value=numpy_helper.from_array(np.ones(1, np.float32)))]
SCAN = helper.make_graph(
    [node("MatMul", ["row_in", "square"], ["row_out"], name="inside")],
    "body",
    [helper.make_empty_tensor_value_info("row_in")],
    [helper.make_empty_tensor_value_info("row_out")],
)
TOO_MUCH: dict[str, tuple[Any, str]] = {
    "an outer product of values that are found": (
        graph([*OUTER, node("Mul", ["column", "row"], ["much"], name="outer")], {"ones": ones}),
        r"node 'outer': .*625,000,000 values, and 268,435,456 are allowed\n.*NSC_DEPLOY_MAX_MEMORY",
    ),
    "a matrix product of values that are found": (
        graph([*OUTER, node("MatMul", ["column", "row"], ["much"], name="outer")], {"ones": ones}),
        r"node 'outer': .*625,000,000 values",
    ),
    "rows for each value that is found": (
        graph([*FOUND, node("Gather", ["table", "places"], ["much"], name="rows")],
              {"ones": ones, "table": np.ones((9, 30_000), np.float32)}),
        r"node 'rows': .* allowed\n.*NSC_DEPLOY_MAX_MEMORY",
    ),
    "a range as long as a value says": (
        graph([node("Range", ["zero", "ones", "one"], ["much"], name="range")],
              {"ones": np.float32(1e9), "zero": np.float32(0), "one": np.float32(1)}),
        "node 'range'",
    ),
    "tiles as many as a value says": (
        graph([node("Cast", ["x"], ["many"], to=7), node("ReduceMax", ["many"], ["most"], keepdims=0),
               node("Reshape", ["most", "single"], ["repeats"]),
               node("Tile", ["ones", "repeats"], ["much"], name="tiles")],
              {"ones": ones, "single": np.array([1])}),
        "node 'tiles': is a Tile whose size only a run can tell",
    ),
    "many values at once": (
        graph([*PLANE, *[node("Mul", ["p0", "p0"], [f"p{i}"], name=f"copy{i}") for i in range(1, 18)],
               node("Sum", [f"p{i}" for i in range(18)], ["much"])], {"side": side}),
        r"node 'copy\d+': needs 4,.* bytes .* 4,294,967,296 are allowed\n.*NSC_DEPLOY_MAX_MEMORY",
    ),
    "many products": (
        graph([*PLANE, node("MatMul", ["p0", "p0"], ["much"], name="product")], {"side": side}),
        r"node 'product': .* 100,000,000,000 are allowed\n.*NSC_DEPLOY_MAX_OPERATIONS",
    ),
    "a convolution as long as its kernel": (
        graph([node("ConstantOfShape", ["length"], ["data"]), node("ConstantOfShape", ["taps"], ["kernel"]),
               node("Conv", ["data", "kernel"], ["much"], name="conv", pads=[2**18, 2**18])],
              {"length": np.array([1, 1, 2**20]), "taps": np.array([1, 1, 2**19])}),
        "node 'conv': brings the operations",
    ),
    "products in each turn of a scan": (
        graph([*PLANE, node("Slice", ["p0", "zero", "few"], ["square0"]),
               node("Slice", ["square0", "zero", "few", "one"], ["square"]),
               node("Slice", ["p0", "zero", "few", "one"], ["rows"]),
               node("Unsqueeze", ["rows", "one"], ["turns"]),
               node("Expand", ["turns", "wide"], ["turned"]),
               node("Scan", ["turned"], ["much"], body=SCAN, num_scan_inputs=1)],
              {"side": side, "zero": np.array([0]), "few": np.array([64]), "one": np.array([1]),
               "wide": np.array([1, 64, 1])}, last="much"),
        r"node 'inside': brings the operations|node '.*' needs",
    ),
    "a sequence": (
        graph([node("SplitToSequence", ["x"], ["parts"], name="parts"),
               node("ConcatFromSequence", ["parts"], ["much"], axis=0)]),
        "node 'parts': has the operator SplitToSequence",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TOO_MUCH)
def test_a_graph_that_takes_too_much_is_refused_with_the_node_and_the_way_out(case: str) -> None:
    model, problem = TOO_MUCH[case]
    with pytest.raises(GraphError) as caught:
        refuse_unbounded(model, ENTERING, Limits(operations=10**9) if "scan" in case else None)
    assert re.search(problem, caught.value.message), caught.value.message


def test_values_that_are_not_needed_any_more_are_not_held() -> None:
    chain = [node("Mul", [f"p{i}", f"p{i}"], [f"p{i + 1}"]) for i in range(40)]
    refuse_unbounded(graph([*PLANE, *chain], {"side": side}, last="p40"), ENTERING)


def test_limits_can_be_raised_and_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    product = TOO_MUCH["many products"][0]
    monkeypatch.setenv(OPERATIONS_VARIABLE, str(10**12))
    refuse_unbounded(product, ENTERING)
    monkeypatch.setenv(MEMORY_VARIABLE, "1000000")
    with pytest.raises(GraphError, match="more than this tool lets a graph compute"):
        refuse_unbounded(product, ENTERING)
    for text in ("0", "-1", "1e9", "9" * 5000, "²"):
        monkeypatch.setenv(MEMORY_VARIABLE, text)
        with pytest.raises(ConfigError, match="whole number above 0"):
            Limits.from_environment()


def test_a_batch_may_take_more_operations_than_a_sample() -> None:
    wide = np.ones((24, 2**20), np.float32)
    model = graph([node("MatMul", ["x", "w"], ["much"])], {"w": wide})
    limit = Limits(operations=2 * 10**8)
    refuse_unbounded(model, (3, 8, 24), limit)
    with pytest.raises(GraphError, match="operations of one sample"):
        refuse_unbounded(model, (12, 1, 24), limit)


def test_a_split_into_more_parts_than_it_names_is_not_read(tmp_path: Any) -> None:
    path = tmp_path / "split.onnx"
    path.write_bytes(graph([node("Split", ["x"], ["much"], num_outputs=2**27)]).SerializeToString())
    with pytest.raises(GraphError, match="134,217,728 parts"):
        read_onnx(path)


def test_integers_that_grow_are_not_followed() -> None:
    """Inference would write out each of them: gigabytes, from a file of some hundred bytes."""
    doubled = [node("Concat", [f"s{i}", f"s{i}"], [f"s{i + 1}"], axis=0) for i in range(24)]
    model = graph([node("Shape", ["x"], ["s0"]), *doubled], last="s24")
    assert shapes_of(infer_shapes(model, ENTERING))["s24"] == (3 * 2**24,)
    one = numpy_helper.from_array(np.array([1]))
    made = [node("ConstantOfShape", ["n"], ["i"], value=one), node("Slice", ["x", "i", "i", "i"], ["much"])]
    infer_shapes(graph(made, {"n": np.array([2**25])}), ENTERING)


def test_shapes_are_known_of_what_this_tool_exports_to_the_last_value() -> None:
    build = GraphBuilder(DT)
    build.input(6, Signal.EVENTS)
    build.linear("linear", weights(100, 6))
    build.lif("lif", 0.9, 0.3, 100)
    build.linear("readout", weights(100, 100))
    build.lif("last", 0.9, 0.3, 100)
    build.output(100)
    model = sequence_model(assemble(build.build()))
    inferred = infer_shapes(model, (5, 7, 6))
    shapes = shapes_of(inferred)
    assert shapes["output"] == (5, 7, 100)
    scan = next(one for one in inferred.node if one.op_type == "Scan")
    inside = shapes_of(scan.attribute[0].g if scan.attribute[0].HasField("g") else scan.attribute[1].g)
    assert inside["readout/product"] == (7, 100)
    # Weights are left out of the copy that shapes are inferred on.
    assert inferred.ByteSize() < 10_000 < model.ByteSize()
    refuse_unbounded(model, (100, 256, 6))
    onnx.checker.check_model(model)

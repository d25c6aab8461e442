"""Faults that mutations of ONNX files brought to light, each in its smallest form."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nsc_deploy.errors import GraphError, UserError
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.onnx.target import SequenceRunner
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.formats.onnx import read_onnx
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_build import DenseLayer, mlp
from nsc_deploy.graphs.onnx_limits import refuse_unbounded
from nsc_deploy.graphs.onnx_run import run_onnx
from tests.robustness.fuzz import onnx_edits
from tests.robustness.fuzz.worker import run_command
from tests.support.lava import receiver


def model() -> Any:
    grid = np.arange(24, dtype=np.float32).reshape(4, 6) / 8
    return mlp([DenseLayer(grid, np.ones(4, np.float32))], signal=Signal.EVENTS, dt=0.03)


def written(tmp_path: Path, changed: Any) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(changed.SerializeToString())
    return path


def _short_data(changed: Any) -> None:
    changed.graph.initializer[0].raw_data = changed.graph.initializer[0].raw_data[:-4]


def _huge_dims(changed: Any) -> None:
    changed.graph.initializer[0].dims[:] = [2**40, 2**20]


def _no_data(changed: Any) -> None:
    changed.graph.initializer[0].ClearField("raw_data")


def _negative(changed: Any) -> None:
    changed.graph.initializer[0].dims[:] = [-6, -4]


def _untyped(changed: Any) -> None:
    changed.graph.initializer[0].ClearField("data_type")


def _untyped_number(changed: Any) -> None:
    changed.graph.initializer.append(TensorProto(name="one", float_data=[1.0]))


def _untyped_constant(changed: Any) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=TensorProto(name="c"))
    changed.graph.node.insert(0, constant)


def _elsewhere(changed: Any) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=TensorProto(data_type=1, dims=[3]))
    constant.attribute[0].t.external_data.add(key="location", value="/etc/passwd")
    changed.graph.node.insert(0, constant)


def _function(changed: Any) -> None:
    node = helper.make_node("Relu", ["a"], ["b"])
    changed.functions.append(helper.make_function("", "Relu", ["a"], ["b"], [node], changed.opset_import))


def _sparse(changed: Any) -> None:
    values, places = helper.make_tensor("thin", 1, [1], [1.0]), helper.make_tensor("at", 7, [1], [0])
    changed.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [2**40]))


def _control(changed: Any) -> None:
    changed.graph.node[0].name = "\x1b[2J"


def _metadata(changed: Any) -> None:
    changed.metadata_props.add(key="title", value="\x1b]0;x\x07")


def _not_a_number(changed: Any) -> None:
    changed.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.full((4, 6), np.nan, np.float32), changed.graph.initializer[0].name)
    )


def _endless(changed: Any) -> None:
    weight = changed.graph.initializer[0].name
    user = next(node for node in changed.graph.node if weight in node.input)
    values = helper.make_tensor("c", TensorProto.BFLOAT16, [1], [np.inf])
    made = [
        helper.make_node("Constant", [], ["c"], value=values),
        helper.make_node("Cast", ["c"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Expand", ["wide", "shape"], ["endless"]),
    ]
    changed.graph.initializer.append(onnx.numpy_helper.from_array(np.array([4, 6]), "shape"))
    user.input[list(user.input).index(weight)] = "endless"
    for index, node in enumerate(made):
        changed.graph.node.insert(index, node)


REFUSED: dict[str, tuple[Callable[[Any], None], str]] = {
    "short data": (_short_data, "does not hold that much"),
    "huge dims": (_huge_dims, "does not hold that much"),
    "no data": (_no_data, "does not hold that much"),
    "negative dims": (_negative, "does not hold that much"),
    "weights of no type": (_untyped, "of what type '.+' is"),
    "a number of no type": (_untyped_number, "of what type 'one' is"),
    "a constant of no type": (_untyped_constant, "of what type"),
    "a constant elsewhere": (_elsewhere, "in another file"),
    "a function of its own": (_function, "functions of its own"),
    "a huge sparse one": (_sparse, "for the sparse 'thin'"),
    "weights that are no numbers": (_not_a_number, "NaN"),
    "an endless weight": (_endless, "holds infinity in 'endless', with which MatMul"),
    "a name with control characters": (_control, "no text that can be shown"),
    "metadata with control characters": (_metadata, "no text that can be shown"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_onnx_files_that_are_refused(tmp_path: Path, case: str) -> None:
    edit, problem = REFUSED[case]
    changed = model()
    edit(changed)
    with pytest.raises(GraphError, match=problem):
        read_onnx(written(tmp_path, changed))


def _named(changed: Any) -> None:
    changed.graph.node[0].name = "abcdefgh"


def _sized(changed: Any) -> None:
    changed.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "abcdefgh"


def _produced(changed: Any) -> None:
    changed.producer_name = "abcdefgh"


@pytest.mark.parametrize("place", [_named, _sized, _produced])
def test_onnx_texts_that_are_not_utf_8(tmp_path: Path, place: Callable[[Any], None]) -> None:
    changed = model()
    place(changed)
    path = written(tmp_path, changed)
    path.write_bytes(path.read_bytes().replace(b"abcdefgh", b"abc\xff\xfefgh"))
    with pytest.raises(GraphError, match="no text that can be shown"):
        read_onnx(path)


def test_an_onnx_comment_may_have_any_signs(tmp_path: Path) -> None:
    changed = model()
    changed.graph.node[0].doc_string = "File \x1b[1mmodule.py\x1b[0m"
    assert read_onnx(written(tmp_path, changed)).graph.node[0].doc_string.startswith("File")


@pytest.mark.parametrize("seed", range(12))
def test_operators_that_make_much_of_little_are_not_run(tmp_path: Path, seed: int) -> None:
    changed = model()
    onnx_edits.make_huge(random.Random(seed), changed)
    with pytest.raises(UserError):
        run_onnx(written(tmp_path, changed), np.zeros((5, 2, 6), np.float32))


def test_a_loop_without_end_is_not_run(tmp_path: Path) -> None:
    changed = model()
    onnx_edits.loop_for_ever(random.Random(0), changed)
    with pytest.raises(GraphError, match="any number of times"):
        run_onnx(written(tmp_path, changed), np.zeros((5, 2, 6), np.float32))


def _scan(body: Any, name: str) -> Any:
    return helper.make_node("Scan", ["rows"], [name], body=body, num_scan_inputs=1)


def test_scans_within_scans_are_bounded() -> None:
    """Each walks along a few megabytes; together they would turn 10^12 times."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "inner", [value], [out])
    outer_value = helper.make_tensor_value_info("x2", TensorProto.FLOAT, [1])
    outer_out = helper.make_tensor_value_info("y2", TensorProto.FLOAT, None)
    body = helper.make_graph([_scan(inner, "y2")], "outer", [outer_value], [outer_out])
    rows = helper.make_tensor("rows", TensorProto.FLOAT, [10**6, 1], np.zeros(10**6, np.float32))
    result = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    graph = helper.make_graph([_scan(body, "z")], "graph", [], [result], initializer=[rows])
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    with pytest.raises(GraphError, match=r"Scan within a Scan|more than this tool lets"):
        refuse_unbounded(whole)


def test_what_this_tool_writes_is_not_refused() -> None:
    for entering in (None, (100, 256, 6)):
        refuse_unbounded(model(), entering)


def test_a_deployed_onnx_graph_without_its_output(tmp_path: Path) -> None:
    write_network(tmp_path / "own.nir", receiver(6, 5, 4))
    [folder] = export_all(tmp_path / "own.nir", "onnx", tmp_path / "out")
    changed = onnx.load(folder / "sequence.onnx")
    output = changed.graph.output[0]
    changed.graph.node.append(helper.make_node("Identity", [output.name], ["renamed"]))
    output.name = "renamed"
    path = written(tmp_path, without_digest(changed))
    network = read_network(tmp_path / "own.nir")
    with pytest.raises(UserError, match="has no output 'output'"):
        SequenceRunner(path, network).run(np.zeros((3, 2, 6), np.float32))


def without_digest(changed: Any) -> Any:
    kept = [prop for prop in changed.metadata_props if prop.key != "digest"]
    del changed.metadata_props[:]
    changed.metadata_props.extend(kept)
    return changed


def test_an_onnx_name_may_look_like_the_end_of_markup(tmp_path: Path) -> None:
    changed = model()
    changed.graph.node[0].name = "[/]"
    code, out, err = run_command(["inspect", str(written(tmp_path, changed))])
    assert (code, err) == (0, "")
    assert "[/]" in out


def test_onnx_itself_accepts_what_is_refused_here(tmp_path: Path) -> None:
    """Else the guard would guard nothing."""
    changed = model()
    onnx_edits.loop_for_ever(random.Random(0), changed)
    onnx.checker.check_model(changed, full_check=True)

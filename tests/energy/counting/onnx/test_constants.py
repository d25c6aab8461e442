"""What is constant is known through any depth: counts are those of the matrix written down."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.energy.counting.operations import PartCount
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import DT, STEPS, events, onnx_graph, reals

ROWS, COLUMNS = 6, 4


@dataclass
class Folded:
    """A matrix behind operators on constants: their nodes, what they start from, and the value now."""

    draw: Any
    value: np.ndarray
    last: str = "u0"
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def constant(self, value: Any, kind: type = np.float32) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype=kind)
        return name

    def add(self, kind: str, *inputs: str, **form: Any) -> str:
        self.last = f"u{len(self.nodes) + 1}"
        self.nodes.append(helper.make_node(kind, list(inputs), [self.last], **form))
        return self.last


def identity(one: Folded) -> None:
    one.add("Identity", one.last)


def turned(one: Folded) -> None:
    one.add("Transpose", one.last, perm=[1, 0])
    one.value = one.value.T


def regrouped(one: Folded) -> None:
    rows = one.draw(st.sampled_from([size for size in range(1, 25) if one.value.size % size == 0]))
    one.value = one.value.reshape(rows, -1)
    one.add("Reshape", one.last, one.constant(one.value.shape, np.int64))


def narrowed(one: Folded) -> None:
    one.add("Cast", one.add("Cast", one.last, to=TensorProto.FLOAT16), to=TensorProto.FLOAT)


def dequantised(one: Folded) -> None:
    zero = one.constant(1, np.int8)
    one.add("DequantizeLinear", one.add("Cast", one.last, to=TensorProto.INT8), one.constant(0.5), zero)
    one.value = (one.value - 1) / 2


def joined(one: Folded) -> None:
    more = one.draw(st.integers(0, 1))
    one.add("Concat", one.last, one.constant(np.full((more, one.value.shape[1]), 3)), axis=0)
    one.value = np.concatenate([one.value, np.full((more, one.value.shape[1]), 3)])


def normalised(one: Folded) -> None:
    """Weight normalisation with an infinite norm, so that values stay whole."""
    weight = one.last
    peak = one.add("ReduceMax", one.add("Abs", weight), keepdims=1)
    one.add("Mul", weight, one.add("Div", peak, peak))


def rectified(one: Folded) -> None:
    weight = one.last
    positive = one.add("Greater", weight, one.constant(0))
    one.add("Where", positive, weight, one.constant(0))
    one.value = np.where(one.value > 0, one.value, 0)


def raised(one: Folded) -> None:
    weight = one.last
    shape = one.add("Constant", value_ints=one.value.shape)
    value = numpy_helper.from_array(np.array([-1], np.float32))
    one.add("Sub", weight, one.add("ConstantOfShape", shape, value=value))
    one.value = one.value + 1


STEPS_OF_FOLDING: list[Callable[[Folded], None]] = [
    identity, turned, regrouped, narrowed, dequantised, joined, normalised, rectified, raised,
]  # fmt: skip


@st.composite
def folded(draw: Any) -> Folded:
    start = np.random.default_rng(draw(st.integers(0, 2**31))).integers(-2, 3, size=(ROWS, COLUMNS))
    one = Folded(draw, (start * draw(st.integers(1, 2))).astype(np.float32))
    if not one.value.any():
        one.value[0, 0] = 1
    one.constants["u0"] = one.value
    for step in draw(st.lists(st.sampled_from(STEPS_OF_FOLDING), min_size=1, max_size=5)):
        if one.value.any() and np.abs(one.value).max() < 60 and (one.value % 1 == 0).all():
            step(one)
    return one


PLACES = ("no scan", "before a scan", "in a scan")


def product(weight: str, folding: list[Any], place: str) -> list[Any]:
    """What enters times a weight, in the main graph or in the body of a Scan over time.

    Args:
        weight: its name.
        folding: nodes that make it.
        place: where they stand.
    """
    if place == "no scan":
        return [*folding, helper.make_node("MatMul", ["input", weight], ["output"], name="product")]
    body = helper.make_graph(
        [
            *(folding if place == "in a scan" else []),
            helper.make_node("MatMul", ["x", weight], ["row"], name="product"),
            helper.make_node("Identity", ["v"], ["next"]),
        ],
        "body",
        [helper.make_empty_tensor_value_info(name) for name in ("v", "x")],
        [helper.make_empty_tensor_value_info(name) for name in ("next", "row")],
    )
    return [
        *(folding if place == "before a scan" else []),
        helper.make_node("Shape", ["input"], ["size"], start=1),
        helper.make_node("ConstantOfShape", ["size"], ["rest"]),
        helper.make_node(
            "Scan", ["rest", "input"], ["end", "output"], name="scan", num_scan_inputs=1, body=body
        ),
    ]


def seen(part: PartCount) -> list[Any]:
    """Everything that is counted of the layers, but for their names."""
    return [
        [one.primitive, one.synapses, one.dense, one.arrives, one.footprint]
        + [numbers.tolist() for numbers in (*one.per_sample.arrays(), *one.traffic.arrays())]
        for one in part.layers
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=folded(), eventful=st.booleans(), place=st.sampled_from(PLACES))
def test_counts_are_those_of_the_matrix_written_down(
    one: Folded, eventful: bool, place: str, tmp_path: Path
) -> None:
    rows, columns = one.value.shape
    recording = events(rows, rate=0.4) if eventful else reals(rows)
    onnx_graph(
        tmp_path / "plain.onnx", product("w", [], place), {"w": one.value.astype(np.float32)}, rows, columns
    )
    onnx_graph(tmp_path / "deep.onnx", product(one.last, one.nodes, place), one.constants, rows, columns)
    assert seen(count_onnx(tmp_path / "deep.onnx", recording)) == seen(
        count_onnx(tmp_path / "plain.onnx", recording)
    )


def sparse_matrix(value: np.ndarray, *, by_axis: bool) -> onnx.SparseTensorProto:
    places = np.argwhere(value) if by_axis else np.flatnonzero(value)
    values = numpy_helper.from_array(value[value != 0], "w")
    return helper.make_sparse_tensor(
        values, numpy_helper.from_array(places.astype(np.int64), ""), value.shape
    )


@pytest.mark.parametrize("by_axis", [True, False])
@pytest.mark.parametrize("as_node", [True, False])
def test_a_sparse_constant_is_the_matrix_written_down(tmp_path: Path, by_axis: bool, as_node: bool) -> None:
    value = np.zeros((ROWS, COLUMNS), np.float32)
    value[[0, 2, 5], [1, 3, 0]] = [2, -1, 0.5]
    node = helper.make_node("MatMul", ["input", "w"], ["output"], name="product")
    onnx_graph(tmp_path / "plain.onnx", [node], {"w": value}, ROWS, COLUMNS)
    model = onnx.load(tmp_path / "plain.onnx")
    model.graph.ClearField("initializer")
    sparse = sparse_matrix(value, by_axis=by_axis)
    if as_node:
        model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], sparse_value=sparse))
    else:
        model.graph.sparse_initializer.append(sparse)
    onnx.save(model, tmp_path / "sparse.onnx")
    found = count_onnx(tmp_path / "sparse.onnx", events(ROWS, rate=0.5))
    assert seen(found) == seen(count_onnx(tmp_path / "plain.onnx", events(ROWS, rate=0.5)))
    assert found.layers[0].synapses == 3


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("value_floats", [0.0, 1.0, 0.0]), ("value_float", 1.0), ("value_ints", [0, 1, 2])],
)
def test_a_constant_node_is_read_however_it_is_written(tmp_path: Path, attribute: str, value: Any) -> None:
    nodes = [
        helper.make_node("Constant", [], ["c"], **{attribute: value}),
        helper.make_node("Cast", ["c"], ["factor"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["input", "factor"], ["scaled"], name="scale"),
        helper.make_node("MatMul", ["scaled", "w"], ["output"], name="product"),
    ]
    onnx_graph(tmp_path / "graph.onnx", nodes, {"w": np.ones((3, 2), np.float32)}, 3, 2)
    recording = events(3, rate=0.5)
    part = count_onnx(tmp_path / "graph.onnx", recording)
    if attribute == "value_ints":
        assert part.per_sample.macs.tolist() == [STEPS * 6] * recording.samples
    else:
        passed = (recording.values * np.array(value)).sum(axis=(0, 2))
        assert part.per_sample.acs.tolist() == (2 * passed).astype(int).tolist()


def test_the_choice_between_fills_of_one_and_zero_makes_events(tmp_path: Path) -> None:
    one = numpy_helper.from_array(np.ones(1, np.float32))
    nodes = [
        helper.make_node("Greater", ["input", "limit"], ["fired"], name="greater"),
        helper.make_node("Shape", ["input"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["ones"], value=one),
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("Where", ["fired", "ones", "zeros"], ["spikes"]),
        helper.make_node("MatMul", ["spikes", "w"], ["output"], name="product"),
    ]
    onnx_graph(
        tmp_path / "fills.onnx", nodes, {"limit": np.float32(0), "w": np.ones((3, 2), np.float32)}, 3, 2
    )
    recording = reals(3)
    part = count_onnx(tmp_path / "fills.onnx", recording)
    assert part.per_sample.acs.tolist() == (2 * (recording.values > 0).sum(axis=(0, 2))).tolist()
    assert not part.per_sample.macs.any()
    assert part.spiking


def test_arithmetic_on_shapes_is_free(tmp_path: Path) -> None:
    """A size that inference does not follow (a division) is asked of a run."""
    nodes = [
        helper.make_node("Shape", ["input"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "zero"], ["steps"], name="steps"),
        helper.make_node("Div", ["steps", "two"], ["half"], name="half"),
        helper.make_node("Concat", ["half", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["input", "target"], ["pairs"]),
        helper.make_node("Shape", ["pairs"], ["paired"]),
        helper.make_node("Cast", ["paired"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceProd", ["floats"], ["number"], name="number", keepdims=0),
        helper.make_node("Sqrt", ["number"], ["root"], name="root"),
        helper.make_node("Mul", ["pairs", "root"], ["scaled"], name="scaled"),
        helper.make_node("Reshape", ["scaled", "sizes"], ["output"]),
    ]
    constants = {"zero": np.array([0]), "two": np.array([2]), "rest": np.array([-1, 8])}
    onnx_graph(tmp_path / "sizes.onnx", nodes, constants, 4, 4)
    recording = Recording(reals(4).values[:, :2], Signal.REAL, DT)
    part = count_onnx(tmp_path / "sizes.onnx", recording)
    assert [one.name for one in part.layers] == ["scaled"]
    assert part.per_sample.products.tolist() == [STEPS * 4] * 2
    assert {"half", "number", "root"} <= set(part.free)


def test_axes_of_a_reduction_are_no_weights(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceSum", ["input", "axis"], ["output"], name="sum", keepdims=1)]
    onnx_graph(tmp_path / "sum.onnx", nodes, {"axis": np.array([2])}, 4, 1)
    [layer] = count_onnx(tmp_path / "sum.onnx", reals(4)).layers
    assert layer.footprint.weights == 0
    assert layer.traffic.weight_reads.tolist() == [0] * 10


def test_constants_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    """Each could be made and dropped again; worked out ahead, all of them stay."""
    nodes, last = [], "zero"
    for index in range(40):
        nodes += [
            helper.make_node("ConstantOfShape", ["size"], [f"w{index}"]),
            helper.make_node("MatMul", ["input", f"w{index}"], [f"wide{index}"]),
            helper.make_node("ReduceMax", [f"wide{index}"], [f"top{index}"], axes=[2]),
            helper.make_node("Add", [last, f"top{index}"], [f"sum{index}"]),
        ]
        last = f"sum{index}"
    nodes.append(helper.make_node("Identity", [last], ["output"]))
    constants = {"size": np.array([4, 2**23]), "zero": np.float32(0)}
    onnx_graph(tmp_path / "many.onnx", nodes, constants, 4, 1)
    with pytest.raises(GraphError, match=r"many.onnx: node 'wide28': needs .* held at once"):
        count_onnx(tmp_path / "many.onnx", reals(4))


def test_every_error_names_the_file(tmp_path: Path) -> None:
    node = helper.make_node("LpNormalization", ["input"], ["output"], name="norm")
    onnx_graph(tmp_path / "norm.onnx", [node], {}, 4, 4)
    with pytest.raises(GraphError) as caught:
        count_onnx(tmp_path / "norm.onnx", reals(4))
    assert caught.value.message.startswith(f"{tmp_path / 'norm.onnx'}: node 'norm': ")

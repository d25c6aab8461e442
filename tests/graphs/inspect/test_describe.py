import json
import os
import re
import subprocess
import sys

import matplotlib.image
import nir
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.errors import ConfigError, GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.connectivity import synapse_count
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.inspect.describe import NodeView, describe, describe_network
from nsc_deploy.graphs.inspect.picture import draw, lay_out
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.graphs.onnx_build import CrossAttention, cross_attention
from nsc_deploy.graphs.onnx_network import read_onnx_network


def inspect(*arguments, **variables):
    command = [sys.executable, "-m", "nsc_deploy", "inspect", *map(str, arguments)]
    # Whoever runs the tests may state a width of their own.
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | variables
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def receiver(tmp_path):
    builder = GraphBuilder(0.03)
    builder.input(12, Signal.EVENTS)
    builder.delay("later", 2, 12)
    builder.linear("first", np.eye(9, 12), after=["input", "later"])
    builder.lif("hidden", np.linspace(0.5, 0.9, 9), 0.25, 9)
    builder.linear("again", np.eye(9))
    builder.connect("again", "hidden")
    builder.output(9, classes=3, group=3, after="hidden")
    path = tmp_path / "receiver.nir"
    write_network(path, builder.build())
    return path


def test_text_tells_nodes_shapes_parameters_and_the_step(receiver):
    ended = inspect(receiver)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0].strip() == str(receiver)
    assert "dt 0.03 s, reset zero" in lines[1]
    row = {line.split()[0]: line for line in lines[4:] if line.strip() and not line.startswith(" ")}
    assert "Linear" in row["first"]
    assert "12 -> 9" in row["first"]
    assert "weight 9x12: 0 to 1, 92% zero" in row["first"]
    assert "decay 0.5 to 0.9" in row["hidden"]
    assert "v_threshold 0.25" in row["hidden"]
    assert "steps 2" in row["later"]
    assert "again (one step late)" in ended.stdout
    assert lines[-1].strip() == "6 nodes, 9 neurons, 18 synapses, 246 parameters"


def test_a_narrow_terminal_gets_a_list_in_which_no_number_is_broken(receiver):
    wide, narrow = (inspect(receiver, COLUMNS=str(width)).stdout for width in (140, 60))
    body = narrow.split("\n\n", 1)[1]
    assert max(len(line.rstrip()) for line in body.splitlines()) <= 60
    assert "weight 9x12: 0 to 1, 92% zero" in body
    assert "from hidden (one step late)" not in body
    assert "from first, again (one step late)" in body

    def numbers(text):
        return sorted(re.findall(r"-?\d[\d.,x%]*", text.split("\n\n", 1)[1]))

    assert numbers(narrow) == numbers(wide)


@pytest.mark.parametrize("width", [20, 60, 75, 90])
def test_words_are_never_broken(receiver, width):
    words = set(inspect(receiver, COLUMNS="200").stdout.split("\n\n", 1)[1].split())
    narrow = inspect(receiver, COLUMNS=str(width)).stdout.split("\n\n", 1)[1]
    assert {word for word in narrow.split() if len(word) < width} - words <= {"from", "first,", "input,"}


def test_one_is_no_plural(tmp_path):
    builder = GraphBuilder(0.03)
    builder.input(1, Signal.EVENTS)
    builder.linear("only", np.ones((1, 1)))
    builder.lif("neuron", np.array([0.5]), 0.25, 1)
    builder.output(1, classes=1, group=1, after="neuron")
    path = tmp_path / "one.nir"
    write_network(path, builder.build())
    assert ", 1 neuron, 1 synapse, " in inspect(path).stdout


def test_json_holds_the_same_for_a_machine(receiver):
    ended = inspect(receiver, "--json")
    told = json.loads(ended.stdout)
    nodes = {node["name"]: node for node in told["nodes"]}
    assert (told["format"], told["dt"], told["reset"], told["neurons"]) == ("NIR", 0.03, "zero", 9)
    assert nodes["first"]["synapses"] == 9
    assert nodes["hidden"]["delayed_inputs"] == ["again"]
    assert nodes["hidden"]["emits"] == "events"
    assert nodes["first"]["parameters"] == [
        {"name": "weight", "shape": [9, 12], "minimum": 0.0, "maximum": 1.0}
    ]


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_a_picture_is_drawn(receiver, tmp_path, ending):
    picture = tmp_path / f"graph.{ending}"
    draw(describe(receiver), picture)
    content = picture.read_bytes()
    assert content.startswith({"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[ending])
    if ending == "png":
        image = matplotlib.image.imread(picture)
        assert image.shape[1] > 800
        assert 0.02 < (image[..., :3] < 0.99).any(axis=2).mean() < 0.8


def test_another_ending_is_refused_and_nothing_written(receiver, tmp_path):
    with pytest.raises(ConfigError, match=r"\.svg"):
        draw(describe(receiver), tmp_path / "graph.docx")
    ended = inspect(receiver, "--picture", tmp_path / "graph.docx")
    assert ended.returncode == 2
    assert "Choose .svg, .png or .pdf" in ended.stderr
    assert not ended.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["receiver.nir"]


def test_a_file_without_a_step_asks_for_it_and_takes_it(tmp_path):
    ones = np.ones(2)
    nodes = {
        "in": nir.Input(np.array([2])),
        "lif": nir.LIF(tau=ones, r=ones, v_leak=0 * ones, v_threshold=ones),
        "out": nir.Output(np.array([2])),
    }
    path = tmp_path / "foreign.nir"
    nir.write(path, nir.NIRGraph(nodes, [("in", "lif"), ("lif", "out")]))
    ended = inspect(path)
    assert ended.returncode == 2
    assert "--dt" in ended.stderr
    ended = inspect(path, "--dt", "0.25", "--reset", "subtract", "--signal", "events")
    assert ended.returncode == 0, ended.stderr
    assert "decay 0.75" in ended.stdout
    assert "reset subtract" in ended.stdout


def test_onnx_files_are_described_too(tmp_path):
    rng = np.random.default_rng(0)
    block = CrossAttention(
        rng.normal(size=(4, 1, 5)), rng.normal(size=(4, 4, 3)), 0.5, 1.0, rng.normal(size=(4, 4))
    )
    path, picture = tmp_path / "host.onnx", tmp_path / "host.png"
    write_onnx(path, cross_attention(block, signal=Signal.REAL, dt=0.03))
    ended = inspect(path, "--json", "--picture", picture)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    nodes = {node["name"]: node for node in told["nodes"]}
    assert told["dt"] == 0.03
    assert nodes["input"]["output_shape"] == ["T", "N", 4]
    assert nodes["product"]["output_shape"][2] == 4
    assert "Greater" in nodes["gate_lif"]["settings"]["each step"]
    assert set(nodes["product"]["inputs"]) == {"left_time_first", "attention"}
    assert "digest" not in told["metadata"]
    assert picture.stat().st_size > 5000


def onnx_file(path, *nodes, constants=(), properties=None):
    sizes = (onnx.TensorProto.FLOAT, ["N", 2])
    ends = [onnx.helper.make_tensor_value_info(name, *sizes) for name in ("input", "output")]
    graph = onnx.helper.make_graph(list(nodes), "graph", ends[:1], ends[1:], list(constants))
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.helper.set_model_props(model, properties or {})
    onnx.save(model, str(path))
    return path


def test_operators_of_onnx_without_a_name_are_nodes_of_their_own(tmp_path):
    make = onnx.helper.make_node
    nodes = (
        make("Relu", ["input"], ["kept"]),
        make("Neg", ["kept"], ["lost"], name="output"),
        make("Add", ["kept", "lost"], ["output"]),
    )
    description = describe(onnx_file(tmp_path / "chain.onnx", *nodes))
    edges = {node.name: (node.primitive, node.inputs) for node in description.nodes}
    assert edges == {
        "input": ("Input", ()),
        "kept": ("Relu", ("input",)),
        "output_": ("Neg", ("kept",)),
        "output__": ("Add", ("kept", "output_")),
        "output": ("Output", ("output__",)),
    }
    layout = lay_out(description.nodes)
    assert layout.width == 5
    assert not any(line.back or line.late for line in layout.lines)


def test_constants_of_onnx_that_are_no_plain_numbers_are_described(tmp_path):
    make, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    constants = [
        tensor(np.array([-np.inf, 1], np.float32), "least"),
        tensor(np.array(["a", "b"], object), "threshold"),
    ]
    nodes = (make("Max", ["input", "least"], ["output"]), make("Identity", ["threshold"], ["copy"]))
    path = onnx_file(tmp_path / "odd.onnx", *nodes, constants=constants)
    ended = inspect(path, "--json", "--picture", tmp_path / "odd.svg")
    assert ended.returncode == 0, ended.stderr
    parameters = [one for node in json.loads(ended.stdout)["nodes"] for one in node["parameters"]]
    assert parameters == [
        {"name": "least", "shape": [2], "minimum": "-inf", "maximum": 1.0},
        {"name": "threshold", "shape": [2], "minimum": None, "maximum": None},
    ]
    assert "no numbers" in inspect(path).stdout


@pytest.mark.parametrize(
    ("stated", "options", "problem"),
    [
        ({"dt": "0.03"}, {"dt": 0.04}, "states a time step of 0.03 s, and 0.04 s is given"),
        ({"signal": "events"}, {"signal": Signal.REAL}, "takes in events"),
        ({}, {"reset": Reset.ZERO}, "leaves no reset open"),
        ({"dt": "nan"}, {}, "the time step is nan"),
        ({"dt": "-1"}, {}, "the time step is -1"),
        ({"dt": "fast"}, {}, "could not convert"),
    ],
)
def test_what_an_onnx_file_states_is_not_said_otherwise(tmp_path, stated, options, problem):
    relu = onnx.helper.make_node("Relu", ["input"], ["output"])
    path = onnx_file(tmp_path / "stated.onnx", relu, properties=stated)
    for read in (describe, read_onnx_network):
        with pytest.raises(GraphError, match=problem) as caught:
            read(path, **options)
        assert caught.value.where == str(path)


def test_what_an_onnx_file_leaves_open_can_be_said(tmp_path):
    relu = onnx.helper.make_node("Relu", ["input"], ["output"])
    path = onnx_file(tmp_path / "open.onnx", relu)
    description = describe(path, dt=0.04, signal=Signal.EVENTS)
    assert (description.dt, description.nodes[0].emits) == (0.04, "events")
    assert (describe(path).dt, describe(path).nodes[0].emits) == (None, None)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_synapses_of_a_convolution_are_its_connections_counted_one_by_one(data):
    draw_int = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    size, kernel = [draw_int(3, 6), draw_int(3, 6)], [draw_int(1, 3), draw_int(1, 3)]
    stride, dilation, zeros = draw_int(1, 2), draw_int(1, 1), draw_int(0, 2)
    groups = draw_int(1, 2)
    weight = np.random.default_rng(draw_int(0, 9)).integers(0, 2, (2 * groups, 3, *kernel)).astype(float)
    node = nir.Conv2d(None, weight, stride, zeros, dilation, groups, np.zeros(2 * groups))
    nodes = {"in": nir.Input(np.array([3 * groups, *size])), "conv": node, "out": nir.Output(None)}
    network = assemble(nir.NIRGraph(nodes, [("in", "conv"), ("conv", "out")], type_check=False))
    conv = network.node("conv")
    connections = 0
    for y, x in np.ndindex(*conv.output_shape[1:]):
        for i, j in np.ndindex(*kernel):
            row, column = y * stride + i * dilation - zeros, x * stride + j * dilation - zeros
            if 0 <= row < size[0] and 0 <= column < size[1]:
                connections += np.count_nonzero(weight[:, :, i, j])
    assert synapse_count(conv) == connections


@pytest.mark.parametrize(
    ("zeros", "told"), [(0, ""), (1, ", 0.01% zero"), (5_000, ", 50% zero"), (9_999, ", 99.99% zero")]
)
def test_shares_of_zeros_are_not_rounded_to_none_or_all(tmp_path, zeros, told):
    weight = np.ones((100, 100))
    weight.reshape(-1)[:zeros] = 0
    builder = GraphBuilder(0.03)
    builder.input(100, Signal.EVENTS)
    builder.linear("dense", weight)
    builder.lif("lif", 0.5, 0.25, 100)
    builder.output(100)
    write_network(tmp_path / "dense.nir", builder.build())
    row = next(line for line in inspect(tmp_path / "dense.nir").stdout.splitlines() if "dense " in line)
    assert row.rstrip().endswith(f"weight 100x100: {'1' if zeros == 0 else '0 to 1'}{told}")


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 12))
def test_no_two_nodes_of_a_drawing_overlap_and_lines_point_forward(data, count):
    nodes = []
    for index in range(count):
        before = data.draw(st.sets(st.integers(0, index - 1), max_size=4)) if index else set()
        inputs = tuple(f"n{number}" for number in sorted(before))
        nodes.append(NodeView(f"n{index}", "Linear", inputs, (), (1,), (1,), "real", 0, 0, None, (), {}))
    layout = lay_out(nodes)
    places = list(layout.places.values())
    for index, (x, y) in enumerate(places):
        assert all(x != other_x or abs(y - other_y) >= 1 for other_x, other_y in places[:index])
    assert len(layout.lines) == sum(len(node.inputs) for node in nodes)
    for line in layout.lines:
        assert [point[0] for point in line.points] == [
            line.points[0][0] + step for step in range(len(line.points))
        ]
        for point in line.points[1:-1]:  # a long edge passes between the nodes
            assert all(point[0] != x or abs(point[1] - y) >= 1 for x, y in places)


def test_an_edge_into_a_delay_of_a_cycle_is_not_drawn_as_late():
    builder = GraphBuilder(0.03)
    builder.input(2, Signal.EVENTS)
    builder.linear("first", np.eye(2))
    builder.lif("cells", 0.5, 0.25, 2)
    builder.output(2)
    builder.delay("echo", 1, 2, after="cells")
    builder.connect("echo", "cells")
    builder.linear("again", np.eye(2), after="cells")
    builder.connect("again", "first")
    builder.linear("other", np.eye(2), after="cells")
    builder.connect("other", "cells")
    network = assemble(builder.build())
    nodes = describe_network(network, "x").nodes
    lines = {(line.source, line.target): line for line in lay_out(nodes).lines}
    assert {edge for edge, line in lines.items() if line.late} == network.back_edges
    assert any("echo" in edge and line.back and not line.late for edge, line in lines.items())


def test_a_description_counts_what_a_network_holds(receiver):
    description = describe(receiver)
    assert description.synapses == 9 + 9
    assert description.parameters == 12 + 9 * 12 + 81 + 5 * 9
    assert (
        describe_network(
            assemble(
                nir.NIRGraph(
                    {"in": nir.Input(np.array([2])), "out": nir.Output(np.array([2]))},
                    [("in", "out")],
                    type_check=False,
                )
            ),
            "x",
        ).dt
        is None
    )

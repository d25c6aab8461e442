"""Models that take samples first are counted as the same ones that take steps first."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from nsc_deploy.cli.app import app
from nsc_deploy.energy import count
from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.energy.counting.operations import PartCount
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.graphs.formats.recording import Layout, Recording, write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import DT, SAMPLES, STEPS, events, lstm_graph, onnx_graph, reals, weights


def save(path: Path, nodes: list[Any], constants: dict[str, Any], sizes: list[Any]) -> Path:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None] * len(sizes))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def spiking(path: Path, sizes: list[Any]) -> Path:
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["driven"], name="first"),
        helper.make_node("Greater", ["driven", "limit"], ["fired"], name="fired"),
        helper.make_node("Cast", ["fired"], ["spikes"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["spikes", "v"], ["output"], name="second"),
    ]
    return save(path, nodes, {"w": weights(4, 5), "v": weights(5, 3), "limit": np.float32(0.1)}, sizes)


def figures(part: PartCount) -> list[Any]:
    return [
        (
            one.name,
            one.arrives,
            [numbers.tolist() for numbers in (*one.per_sample.arrays(), *one.traffic.arrays())],
        )
        for one in part.layers
    ]


def test_batch_first_counts_as_steps_first(tmp_path: Path) -> None:
    first = count_onnx(spiking(tmp_path / "steps.onnx", ["T", "N", 4]), events(4, rate=0.5))
    turned = count_onnx(
        spiking(tmp_path / "batch.onnx", ["N", "T", 4]), events(4, rate=0.5), layout=Layout.BATCH_FIRST
    )
    assert figures(turned) == figures(first)
    assert turned.spiking
    assert "layout" not in turned.free
    for one, other in zip(first.layers, turned.layers, strict=True):
        assert one.per_step is not None
        assert other.per_step is not None
        assert other.per_step.acs.tolist() == one.per_step.acs.tolist()


def test_a_recurrent_layer_behind_its_own_turn(tmp_path: Path) -> None:
    """torch writes batch_first LSTMs as a turn, the layer and a turn back."""
    lstm_graph(tmp_path / "steps.onnx", 4, 5, 3)
    model = onnx.load(tmp_path / "steps.onnx")
    model.graph.node[0].input[0] = "turned"
    model.graph.node.insert(0, helper.make_node("Transpose", ["input"], ["turned"], perm=[1, 0, 2]))
    for axis, word in enumerate(("batch", "seq")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = word
    onnx.save(model, tmp_path / "batch.onnx")
    found = count_onnx(tmp_path / "batch.onnx", reals(4), layout=Layout.BATCH_FIRST)
    assert figures(found) == figures(count_onnx(tmp_path / "steps.onnx", reals(4)))


def test_a_model_without_steps(tmp_path: Path) -> None:
    kernel = weights(3, 2, 3, 3)
    node = helper.make_node("Conv", ["input", "k"], ["output"], name="conv")
    path = save(tmp_path / "conv.onnx", [node], {"k": kernel}, ["N", 2, 6, 6])
    values = (np.random.default_rng(0).random((1, 5, 2, 6, 6)) < 0.4).astype(np.uint8)
    part = count_onnx(path, Recording(values, Signal.EVENTS, DT), layout=Layout.NO_STEPS)
    windows = np.lib.stride_tricks.sliding_window_view(values[0], (3, 3), axis=(2, 3))
    assert part.per_sample.acs.tolist() == (3 * windows.sum(axis=(1, 2, 3, 4, 5), dtype=int)).tolist()
    several = Recording(np.repeat(values, 2, axis=0), Signal.EVENTS, DT)
    with pytest.raises(DataError, match="a single step"):
        count_onnx(path, several, layout=Layout.NO_STEPS)


@pytest.mark.parametrize(
    ("sizes", "layout"),
    [
        ([1, STEPS, 4], Layout.BATCH_FIRST),
        (["N", STEPS, 4], Layout.BATCH_FIRST),
        (["N", 4], Layout.NO_STEPS),
    ],
)
def test_the_message_says_which_layout_is_wanted(tmp_path: Path, sizes: list[Any], layout: Layout) -> None:
    path = spiking(tmp_path / "net.onnx", sizes)
    recording = events(4)
    if layout is Layout.NO_STEPS:
        recording = Recording(recording.values[:1], Signal.EVENTS, DT)
    with pytest.raises(DataError) as caught:
        count_onnx(path, recording)
    listed = ", ".join(map(str, sizes))
    assert f"net.onnx takes in [{listed}] as 'input'" in caught.value.message
    assert f"--layout {layout}" in caught.value.message
    assert count_onnx(path, recording, layout=layout).samples == SAMPLES


def test_nothing_is_advised_where_no_layout_fits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="takes in") as caught:
        count_onnx(spiking(tmp_path / "net.onnx", ["N", "T", 4]), events(7))
    assert "--layout" not in caught.value.message


def test_axes_that_sound_like_samples_first_are_told(tmp_path: Path) -> None:
    write_recording(tmp_path / "inputs.npz", events(4))
    named = {"inputs": tmp_path / "inputs.npz"}
    for sizes in (["batch_size", "sequence", 4], ["batch", "N", 4], ["x", "time_steps", 4]):
        counted = count(spiking(tmp_path / "net.onnx", sizes), **named)
        assert [one.name for one in counted.diagnostics] == ["onnx-layout"]
        assert not count(tmp_path / "net.onnx", layout="batch-first", **named).diagnostics
    for sizes in (["T", "N", 4], ["steps", "batch", 4], [None, None, 4]):
        assert not count(spiking(tmp_path / "net.onnx", sizes), **named).diagnostics


def test_the_command_takes_a_layout(tmp_path: Path) -> None:
    spiking(tmp_path / "net.onnx", [1, STEPS, 4])
    write_recording(tmp_path / "inputs.npz", events(4))
    command = [
        "energy",
        "report",
        str(tmp_path / "net.onnx"),
        "--inputs",
        str(tmp_path / "inputs.npz"),
        "--json",
    ]
    assert CliRunner().invoke(app, [*command, "--layout", "batch-first"]).exit_code == 0
    with pytest.raises(ConfigError, match="batch-first, no-steps"):
        count(tmp_path / "net.onnx", inputs=tmp_path / "inputs.npz", layout="sideways")


def test_a_graph_that_keeps_to_steps_first_is_left_alone(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["input"], ["output"], name="relu")
    onnx_graph(tmp_path / "net.onnx", [node], {}, 4, 4)
    assert [one.name for one in count_onnx(tmp_path / "net.onnx", reals(4)).layers] == ["relu"]


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"words": TensorProto.INT64}, r"takes in int64 as 'words'"),
        ({"input": TensorProto.FLOAT, "state": TensorProto.FLOAT}, r"takes in 2 \('input', 'state'\)"),
    ],
)
def test_inputs_that_a_recording_cannot_feed_are_named(
    tmp_path: Path, inputs: dict[str, int], problem: str
) -> None:
    nodes = [
        helper.make_node("Cast", [name], [f"{name}:float"], to=TensorProto.FLOAT, name=f"cast-{name}")
        for name in inputs
    ]
    nodes.append(helper.make_node("Sum", [node.output[0] for node in nodes], ["output"]))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, kind, ["T", "N", 4]) for name, kind in inputs.items()],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["T", "N", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "graph.onnx")
    with pytest.raises(DataError, match=problem):
        count_onnx(tmp_path / "graph.onnx", events(4, rate=0.5))

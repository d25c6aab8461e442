"""Small systems written by hand, in the form a training run leaves behind."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nsc_deploy.deployment import ChannelUse, Deployment, Part, Place, Readout, Side, write_deployment
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal

STEPS, SAMPLES, DT = 12, 10, 0.03


def events(*shape: int, rate: float = 0.1, seed: int = 0) -> Recording:
    values = (np.random.default_rng(seed).random((STEPS, SAMPLES, *shape)) < rate).astype(np.uint8)
    return Recording(values, Signal.EVENTS, DT)


def reals(*shape: int, seed: int = 0) -> Recording:
    values = np.random.default_rng(seed).normal(size=(STEPS, SAMPLES, *shape)).astype(np.float32)
    return Recording(values, Signal.REAL, DT)


def weights(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.3, size=shape).astype(np.float32)


def spiking_graph(path: Path, sizes: Sequence[int], signal: Signal) -> None:
    builder = GraphBuilder(DT)
    builder.input(sizes[0], signal)
    for index, (entering, leaving) in enumerate(pairwise(sizes), start=1):
        builder.linear(f"linear{index}", weights(leaving, entering, seed=index))
        builder.lif(f"lif{index}", 0.9, 0.3, leaving)
    builder.output(sizes[-1], classes=2, group=sizes[-1] // 2)
    write_network(path, builder.build())


def front_end_graph(path: Path, samples: int) -> None:
    signed = np.kron(np.eye(samples, dtype=np.float32), np.array([[1.0], [-1.0]], dtype=np.float32))
    builder = GraphBuilder(DT)
    builder.input(samples, Signal.REAL)
    builder.affine("compare", signed, np.full(2 * samples, -0.4))
    builder.threshold("cross", 0.0, 2 * samples)
    builder.output(2 * samples)
    write_network(path, builder.build())


def onnx_graph(
    path: Path,
    nodes: Sequence[Any],
    constants: dict[str, Any],
    inputs: int,
    outputs: int,
    *,
    opset: int = 17,
) -> None:
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["T", "N", inputs])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["T", "N", outputs])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save(model, str(path))


def dense_graph(path: Path, sizes: Sequence[int]) -> None:
    nodes, constants, last = [], {}, "input"
    for index, (entering, leaving) in enumerate(pairwise(sizes), start=1):
        out = "output" if index == len(sizes) - 1 else f"relu{index}"
        nodes += [
            helper.make_node("MatMul", [last, f"w{index}"], [f"product{index}"], name=f"dense{index}"),
            helper.make_node("Relu", [f"product{index}"], [out], name=f"activation{index}"),
        ]
        constants[f"w{index}"] = weights(entering, leaving, seed=index)
        last = out
    onnx_graph(path, nodes, constants, sizes[0], sizes[-1])


def lstm_graph(path: Path, inputs: int, hidden: int, outputs: int) -> None:
    nodes = [
        helper.make_node("LSTM", ["input", "w", "r", "b"], ["sequence"], name="lstm", hidden_size=hidden),
        helper.make_node("Squeeze", ["sequence", "axis"], ["flat"]),
        helper.make_node("MatMul", ["flat", "v"], ["output"], name="readout"),
    ]
    constants = {
        "w": weights(1, 4 * hidden, inputs),
        "r": weights(1, 4 * hidden, hidden),
        "b": np.zeros((1, 8 * hidden), dtype=np.float32),
        "axis": np.array([1]),
        "v": weights(hidden, outputs),
    }
    onnx_graph(path, nodes, constants, inputs, outputs)


def gru_graph(path: Path, inputs: int, hidden: int, outputs: int) -> None:
    nodes = [
        helper.make_node(
            "GRU", ["input", "w", "r", "b"], ["y"], name="gru", hidden_size=hidden, linear_before_reset=1
        ),
        helper.make_node("Squeeze", ["y", "axis"], ["flat"]),
        helper.make_node("MatMul", ["flat", "v"], ["product"], name="readout"),
        helper.make_node("Add", ["product", "c"], ["output"], name="bias"),
    ]
    constants = {
        "w": weights(1, 3 * hidden, inputs),
        "r": weights(1, 3 * hidden, hidden, seed=1),
        "b": weights(1, 6 * hidden, seed=2),
        "axis": np.array([1]),
        "v": weights(hidden, outputs, seed=3),
        "c": weights(outputs, seed=4),
    }
    onnx_graph(path, nodes, constants, inputs, outputs)


def separable_graph(path: Path, channels: int, filters: int, outputs: int) -> None:
    """Depthwise-separable convolutions over time, the largest of each filter, a dense layer."""
    nodes = [
        helper.make_node("Transpose", ["input"], ["turned"], perm=[1, 2, 0]),
        helper.make_node("Conv", ["turned", "k1", "b1"], ["c1"], name="first", pads=[1, 1], strides=[2]),
        helper.make_node("Relu", ["c1"], ["a1"]),
        helper.make_node("Conv", ["a1", "k2"], ["c2"], name="depth", pads=[2, 2], group=filters),
        helper.make_node("Relu", ["c2"], ["a2"]),
        helper.make_node("Conv", ["a2", "k3", "b3"], ["c3"], name="point"),
        helper.make_node("ReduceMax", ["c3", "axis"], ["most"], name="pool", keepdims=0),
        helper.make_node("MatMul", ["most", "v"], ["sums"], name="readout"),
        helper.make_node("Unsqueeze", ["sums", "front"], ["output"]),
    ]
    constants = {
        "k1": weights(filters, channels, 3),
        "b1": weights(filters, seed=1),
        "k2": weights(filters, 1, 5, seed=2),
        "k3": weights(filters + 1, filters, 1, seed=3),
        "b3": weights(filters + 1, seed=4),
        "axis": np.array([2]),
        "v": weights(filters + 1, outputs, seed=5),
        "front": np.array([0]),
    }
    onnx_graph(path, nodes, constants, channels, outputs, opset=18)


def image_graph(path: Path, shape: Sequence[int], outputs: int) -> None:
    """A small convolutional network over images [N, C, H, W], as frameworks write it."""
    channels, height, width = shape
    rows, columns = (height + 1) // 2 // 2, (width + 1) // 2 // 2
    nodes = [
        helper.make_node(
            "Conv", ["image", "k1", "b1"], ["c1"], name="conv", pads=[1, 1, 1, 1], strides=[2, 2]
        ),
        helper.make_node("BatchNormalization", ["c1", "s", "t", "m", "q"], ["n1"], name="norm"),
        helper.make_node("Relu", ["n1"], ["a1"]),
        helper.make_node(
            "Conv", ["a1", "k2"], ["c2"], name="depth", pads=[2, 0, 2, 0], dilations=[2, 1], group=6
        ),
        helper.make_node("Relu", ["c2"], ["a2"]),
        helper.make_node("MaxPool", ["a2"], ["p2"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p2", "k3"], ["c3"], name="point"),
        helper.make_node("Relu", ["c3"], ["a3"]),
        helper.make_node("AveragePool", ["a3"], ["p3"], name="mean", kernel_shape=[2, 1]),
        helper.make_node("Flatten", ["p3"], ["flat"]),
        helper.make_node("Gemm", ["flat", "v", "c"], ["scores"], name="dense", transB=1),
    ]
    constants = {
        "k1": weights(6, channels, 3, 3),
        "b1": weights(6, seed=1),
        "s": 1 + weights(6, seed=2),
        "t": weights(6, seed=3),
        "m": weights(6, seed=4),
        "q": np.abs(weights(6, seed=5)) + np.float32(0.5),
        "k2": weights(6, 1, 3, 1, seed=6),
        "k3": weights(4, 6, 1, 1, seed=7),
        "v": weights(outputs, 4 * (rows - 1) * columns, seed=8),
        "c": weights(outputs, seed=9),
    }
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", outputs])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))


def write_run(
    run: Path, system: str, parts: Sequence[tuple[str, Side, Place, str, Recording]], *, accuracy: float = 0.9
) -> Path:
    """Write recordings and deployment.json of parts (name, side, place, graph file, recording)."""
    listed = []
    for name, side, place, graph, recording in parts:
        write_recording(run / f"{name}.npz", recording)
        listed.append(Part(name=name, side=side, place=place, graph=graph, recording=f"{name}.npz"))
    deployment = Deployment(
        system=system,
        receiver="event" if system == "att-neurosc" else None,
        dataset="spoken-digits",
        class_names=("no", "yes"),
        dt=DT,
        channel=ChannelUse(kind="multipath", snr_db=10.0, taps=8, uses_per_step=16, steps=STEPS),
        readout=Readout(classes=2, group=2),
        parts=tuple(listed),
        test_accuracy=accuracy,
    )
    write_deployment(run, deployment)
    return run


def event_run(run: Path, scale: int = 1) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    spiking_graph(run / "transmitter.nir", [20 * scale, 16 * scale], Signal.EVENTS)
    front_end_graph(run / "receiver-front-end.nir", 16 * scale)
    spiking_graph(run / "receiver.nir", [32 * scale, 16 * scale, 4], Signal.EVENTS)
    return write_run(
        run,
        "att-neurosc",
        [
            ("transmitter", Side.TRANSMITTER, Place.CHIP, "transmitter.nir", events(20 * scale)),
            ("receiver-front-end", Side.RECEIVER, Place.HOST, "receiver-front-end.nir", reals(16 * scale)),
            ("receiver", Side.RECEIVER, Place.CHIP, "receiver.nir", events(32 * scale)),
        ],
        accuracy=0.962,
    )


def dense_run(run: Path, scale: int = 1) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    dense_graph(run / "transmitter.onnx", [20 * scale, 16 * scale])
    dense_graph(run / "receiver.onnx", [16 * scale, 16 * scale, 4])
    return write_run(
        run,
        "fc",
        [
            ("transmitter", Side.TRANSMITTER, Place.HOST, "transmitter.onnx", events(20 * scale)),
            ("receiver", Side.RECEIVER, Place.HOST, "receiver.onnx", reals(16 * scale)),
        ],
        accuracy=0.887,
    )


def lstm_run(run: Path, scale: int = 1) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    lstm_graph(run / "transmitter.onnx", 20 * scale, 16 * scale, 16 * scale)
    lstm_graph(run / "receiver.onnx", 16 * scale, 16 * scale, 4)
    return write_run(
        run,
        "lstm",
        [
            ("transmitter", Side.TRANSMITTER, Place.HOST, "transmitter.onnx", events(20 * scale)),
            ("receiver", Side.RECEIVER, Place.HOST, "receiver.onnx", reals(16 * scale)),
        ],
        accuracy=0.976,
    )


def spiking_body() -> onnx.GraphProto:
    """Of a Scan: neurons without a leak that take in `x`, and a product of their spikes with `inner`."""
    return helper.make_graph(
        [
            helper.make_node("Add", ["v", "x"], ["sum"]),
            helper.make_node("Greater", ["sum", "half"], ["fired"]),
            helper.make_node("Cast", ["fired"], ["s"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["s", "inner"], ["current"], name="inside"),
            helper.make_node("Where", ["fired", "zero", "sum"], ["next"]),
        ],
        "body",
        [helper.make_empty_tensor_value_info(name) for name in ("v", "x")],
        [helper.make_empty_tensor_value_info(name) for name in ("next", "s", "current")],
    )


def small_graph(folder: Path) -> NDArray[np.uint8]:
    """Write g.nir, three neurons behind four inputs, and g.npz, whose events [6, 5, 4] are returned."""
    graph = GraphBuilder(DT)
    graph.input(4, Signal.EVENTS)
    graph.linear("w", weights(3, 4))
    graph.lif("n", 0.9, 0.5, 3)
    graph.output(3)
    write_network(folder / "g.nir", graph.build())
    values = np.random.default_rng(0).integers(0, 2, (6, 5, 4), np.uint8)
    write_recording(folder / "g.npz", Recording(values, Signal.EVENTS, DT))
    return values

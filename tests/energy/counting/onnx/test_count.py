from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.energy.counting.operations import Kind, LayerCount, PartCount
from nsc_deploy.errors import DataError, GraphError
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_build import CrossAttention, cross_attention
from tests.support.small_runs import (
    DT,
    SAMPLES,
    STEPS,
    events,
    lstm_graph,
    onnx_graph,
    reals,
    spiking_body,
    weights,
)


def layer(part: PartCount, name: str) -> LayerCount:
    return next(one for one in part.layers if one.name == name)


def numbers(part: PartCount, name: str) -> dict[Kind, list[int]]:
    operations = layer(part, name).per_sample
    return {kind: operations.of(kind).tolist() for kind in Kind if operations.of(kind).any()}


@pytest.mark.parametrize(("inputs", "hidden"), [(3, 4), (270, 128)])
def test_an_lstm_takes_four_products_of_input_and_state_a_step(
    tmp_path: Path, inputs: int, hidden: int
) -> None:
    lstm_graph(tmp_path / "lstm.onnx", inputs, hidden, 10)
    part = count_onnx(tmp_path / "lstm.onnx", reals(inputs))
    assert numbers(part, "lstm") == {
        Kind.MAC: [STEPS * 4 * hidden * (inputs + hidden)] * SAMPLES,
        Kind.PRODUCT: [STEPS * 3 * hidden] * SAMPLES,
        Kind.ADDITION: [STEPS * 5 * hidden] * SAMPLES,
        Kind.ACTIVATION: [STEPS * 5 * hidden] * SAMPLES,
    }
    assert numbers(part, "readout") == {Kind.MAC: [STEPS * hidden * 10] * SAMPLES}
    assert not part.spiking


def test_a_gru_and_a_plain_recurrent_layer(tmp_path: Path) -> None:
    for kind, gates in (("GRU", 3), ("RNN", 1)):
        nodes = [
            helper.make_node(kind, ["input", "w", "r"], ["y"], name="cell", hidden_size=4),
            helper.make_node("Squeeze", ["y", "axis"], ["output"]),
        ]
        constants = {"w": weights(1, gates * 4, 3), "r": weights(1, gates * 4, 4), "axis": np.array([1])}
        onnx_graph(tmp_path / "cell.onnx", nodes, constants, 3, 4)
        part = count_onnx(tmp_path / "cell.onnx", reals(3))
        assert layer(part, "cell").per_sample.macs[0] == STEPS * gates * 4 * (3 + 4)


def test_gemm_with_a_bias(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["input", "rows"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["dense"], name="dense", transB=1),
        helper.make_node("Relu", ["dense"], ["active"], name="relu"),
        helper.make_node("Reshape", ["active", "steps"], ["output"]),
    ]
    constants = {"rows": [-1, 4], "steps": [STEPS, -1, 3], "w": weights(3, 4), "b": weights(3)}
    onnx_graph(tmp_path / "gemm.onnx", nodes, constants, 4, 3)
    real = count_onnx(tmp_path / "gemm.onnx", reals(4))
    assert numbers(real, "dense") == {Kind.MAC: [STEPS * 12] * SAMPLES, Kind.ADDITION: [STEPS * 3] * SAMPLES}
    assert numbers(real, "relu") == {Kind.ACTIVATION: [STEPS * 3] * SAMPLES}
    recording = events(4)
    fed = count_onnx(tmp_path / "gemm.onnx", recording)
    assert layer(fed, "dense").per_sample.acs.tolist() == (3 * recording.values.sum(axis=(0, 2))).tolist()


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([1, 2]), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2), st.booleans())
def test_a_convolution_over_time(
    tmp_path_factory: pytest.TempPathFactory, groups: int, width: int, stride: int, pad: int, eventful: bool
) -> None:
    path = tmp_path_factory.mktemp("conv") / "conv.onnx"
    weight = weights(4, 2 // groups, width)
    weight[0, 0, 0] = 0
    nodes = [
        helper.make_node("Transpose", ["input"], ["last"], perm=[1, 2, 0]),
        helper.make_node(
            "Conv", ["last", "w"], ["out"], name="conv", group=groups, strides=[stride], pads=[pad, pad]
        ),
        helper.make_node("Transpose", ["out"], ["output"], perm=[2, 0, 1]),
    ]
    onnx_graph(path, nodes, {"w": weight}, 2, 4)
    recording = events(2, rate=0.4) if eventful else reals(2)
    expected = np.zeros(SAMPLES, dtype=int)
    for t in range((STEPS + 2 * pad - width) // stride + 1):
        for o, c, k in np.ndindex(*weight.shape):
            at, channel = t * stride + k - pad, (o // (4 // groups)) * (2 // groups) + c
            if 0 <= at < STEPS:
                met = recording.values[at, :, channel] * (weight[o, c, k] != 0) if eventful else 1
                expected += met
    part = count_onnx(path, recording)
    assert numbers(part, "conv") == {Kind.AC if eventful else Kind.MAC: expected.tolist()}


def test_events_of_a_scan_are_found_behind_moves_and_counted_as_they_fell(tmp_path: Path) -> None:
    body = spiking_body()
    nodes = [
        helper.make_node("Shape", ["input"], ["size"], start=1),
        helper.make_node("ConstantOfShape", ["size"], ["rest"]),
        helper.make_node(
            "Scan", ["rest", "input"], ["end", "spikes", "currents"], name="lif", num_scan_inputs=1, body=body
        ),
        helper.make_node("Transpose", ["spikes"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["turned", "rows"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["dense"], name="behind"),
        helper.make_node("MatMul", ["input", "w"], ["real"], name="beside"),
        helper.make_node("Reshape", ["dense", "shape"], ["back"]),
        helper.make_node("Add", ["back", "real"], ["output"], name="sum"),
    ]  # fmt: skip
    constants = {
        "half": np.float32(0.5), "zero": np.float32(0), "inner": weights(4, 2), "w": weights(4, 3),
        "rows": [-1, 4], "shape": [STEPS, -1, 3],
    }  # fmt: skip
    onnx_graph(tmp_path / "scan.onnx", nodes, constants, 4, 3)
    recording = reals(4)
    v, spikes = np.zeros((SAMPLES, 4), dtype=np.float32), np.zeros(SAMPLES, dtype=int)
    for x in recording.values:
        v = v + x
        spikes += (v > 0.5).sum(axis=1)
        v[v > 0.5] = 0
    part = count_onnx(tmp_path / "scan.onnx", recording)
    assert spikes.any()
    assert numbers(part, "lif/inside") == {Kind.AC: (2 * spikes).tolist()}
    assert numbers(part, "behind") == {Kind.AC: (3 * spikes).tolist()}
    assert numbers(part, "beside") == {Kind.MAC: [STEPS * 12] * SAMPLES}
    assert numbers(part, "lif/sum") == {Kind.ADDITION: [STEPS * 4] * SAMPLES}
    assert part.spiking


def test_the_host_part_of_the_analog_receiver(tmp_path: Path) -> None:
    channels = 6
    block = CrossAttention(
        left=weights(channels, 1, 5), right=weights(channels, channels, 3), beta=0.5, threshold=0.1,
        gate=weights(channels, channels),
    )  # fmt: skip
    write_onnx(tmp_path / "host.onnx", cross_attention(block, signal=Signal.REAL, dt=DT))
    part = count_onnx(tmp_path / "host.onnx", reals(channels))
    assert numbers(part, "left") == {Kind.MAC: [channels * (5 * STEPS - 6)] * SAMPLES}
    assert numbers(part, "right") == {Kind.MAC: [channels**2 * (3 * STEPS - 2)] * SAMPLES}
    assert numbers(part, "product") == {Kind.PRODUCT: [channels * STEPS] * SAMPLES}
    gate = layer(part, "gate")
    assert gate.arrives is Signal.EVENTS
    assert not gate.per_sample.macs.any()
    assert 0 < gate.per_sample.acs.max() <= gate.dense
    assert (gate.per_sample.acs % channels == 0).all()


def test_a_layer_whose_events_never_come_stays_in_the_list(tmp_path: Path) -> None:
    onnx_graph(
        tmp_path / "dense.onnx",
        [helper.make_node("MatMul", ["input", "w"], ["output"], name="dense")],
        {"w": weights(4, 3)}, 4, 3,
    )  # fmt: skip
    silent = count_onnx(tmp_path / "dense.onnx", events(4, rate=0.0))
    assert numbers(silent, "dense") == {}
    assert layer(silent, "dense").synapses == 12


def test_real_values_that_happen_to_be_zero_or_one_stay_real(tmp_path: Path) -> None:
    onnx_graph(
        tmp_path / "dense.onnx",
        [helper.make_node("MatMul", ["input", "w"], ["output"], name="dense")],
        {"w": weights(4, 3)}, 4, 3,
    )  # fmt: skip
    binary = Recording(np.zeros((STEPS, SAMPLES, 4), dtype=np.float32), Signal.REAL, DT)
    assert numbers(count_onnx(tmp_path / "dense.onnx", binary), "dense") == {Kind.MAC: [STEPS * 12] * SAMPLES}


def test_what_cannot_be_counted_is_refused_by_name(tmp_path: Path) -> None:
    onnx_graph(
        tmp_path / "norm.onnx",
        [helper.make_node("LpNormalization", ["input"], ["output"], name="norm")], {}, 4, 4,
    )  # fmt: skip
    with pytest.raises(GraphError, match="LpNormalization") as caught:
        count_onnx(tmp_path / "norm.onnx", reals(4))
    assert "norm" in caught.value.message


@pytest.mark.parametrize(
    ("opset", "axis", "lines", "length"),
    [(17, 2, STEPS, 4), (17, None, STEPS, 4), (11, 2, STEPS, 4), (11, None, STEPS, 4), (11, 0, 1, STEPS * 4)],
)
def test_a_softmax_of_old_goes_over_all_axes_from_one_on(
    tmp_path: Path, opset: int, axis: int | None, lines: int, length: int
) -> None:
    path, form = tmp_path / "softmax.onnx", {} if axis is None else {"axis": axis}
    onnx_graph(path, [helper.make_node("Softmax", ["input"], ["output"], name="soft", **form)], {}, 4, 4)
    model = onnx.load(path)
    model.opset_import[0].version = opset
    onnx.save(model, path)
    assert numbers(count_onnx(path, reals(4)), "soft") == {
        Kind.ACTIVATION: [lines * (length + 1)] * SAMPLES,
        Kind.ADDITION: [lines * (length - 1)] * SAMPLES,
        Kind.PRODUCT: [lines * length] * SAMPLES,
    }


def test_damaged_files_and_wrong_shapes(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(GraphError):
        count_onnx(tmp_path / "broken.onnx", reals(4))
    lstm_graph(tmp_path / "lstm.onnx", 4, 4, 4)
    with pytest.raises(DataError, match="shape"):
        count_onnx(tmp_path / "lstm.onnx", reals(5))


def dense_layer(path: Path) -> Path:
    node = helper.make_node("MatMul", ["input", "w"], ["output"], name="dense")
    onnx_graph(path, [node], {"w": weights(4, 3)}, 4, 3)
    return path


def test_recordings_that_cannot_be_counted_are_refused(tmp_path: Path) -> None:
    graph = dense_layer(tmp_path / "dense.onnx")
    broken = reals(4).values.copy()
    broken[2, 5, 1] = np.nan
    twos = np.full((STEPS, SAMPLES, 4), 2, dtype=np.uint8)
    empty = np.zeros((STEPS, 0, 4), dtype=np.float32)
    for values, signal, problem in (
        (broken, Signal.REAL, "NaN"),
        (twos, Signal.EVENTS, "other than 0 and 1"),
        (empty, Signal.REAL, "no values"),
    ):
        with pytest.raises(DataError, match=problem):
            count_onnx(graph, Recording(values, signal, DT))


@pytest.mark.parametrize("stated", [*Signal, None])
@pytest.mark.parametrize("given", list(Signal))
def test_a_graph_takes_in_what_its_file_says(tmp_path: Path, stated: Signal | None, given: Signal) -> None:
    graph = dense_layer(tmp_path / "dense.onnx")
    model = onnx.load(graph)
    if stated is not None:
        onnx.helper.set_model_props(model, {"signal": stated.value})
    onnx.save(model, graph)
    recording = Recording(np.ones((STEPS, SAMPLES, 4), np.uint8), given, DT)
    if stated in {None, given}:
        assert count_onnx(graph, recording).layers[0].arrives is given
        return
    with pytest.raises(GraphError, match=r"dense.onnx: takes in .* by the file, and .* are given"):
        count_onnx(graph, recording)


def test_counts_that_do_not_fit_64_bits_are_refused(tmp_path: Path) -> None:
    graph = dense_layer(tmp_path / "dense.onnx")
    endless = np.broadcast_to(np.float32(0), (STEPS, 2**54, 4))
    with pytest.raises(DataError, match="64 bits"):
        count_onnx(graph, Recording(endless, Signal.REAL, DT))


def test_zeros_are_skipped_where_that_is_asked_for(tmp_path: Path) -> None:
    first, second = weights(4, 6), weights(6, 3)
    first[first < 0.2], second[0] = 0, 0
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["sum"], name="first"),
        helper.make_node("Relu", ["sum"], ["active"], name="relu"),
        helper.make_node("MatMul", ["active", "v"], ["output"], name="second"),
    ]
    onnx_graph(tmp_path / "relu.onnx", nodes, {"w": first, "v": second}, 4, 3)
    recording = reals(4)
    recording.values[:, :, 1] = 0
    dense = count_onnx(tmp_path / "relu.onnx", recording)
    sparse = count_onnx(tmp_path / "relu.onnx", recording, skip_zeros=True)
    active = np.maximum(recording.values @ first, 0)
    for name, values, weight in (("first", recording.values, first), ("second", active, second)):
        meets = (weight != 0).sum(axis=1)
        one_by_one = [int(sum(meets[at[-1]] for at in np.argwhere(one))) for one in values.swapaxes(0, 1)]
        found, before = layer(sparse, name), layer(dense, name)
        assert found.per_sample.macs.tolist() == found.traffic.weight_reads.tolist() == one_by_one
        assert before.per_sample.macs.tolist() == [STEPS * weight.size] * SAMPLES
        assert found.arrives is Signal.REAL
        assert not found.per_sample.acs.any()
        assert not found.traffic.state_reads.any()
        for kept in ("activation_reads", "activation_writes"):
            assert np.array_equal(getattr(found.traffic, kept), getattr(before.traffic, kept))
    assert 0 < layer(sparse, "second").per_sample.macs.sum() < layer(dense, "second").per_sample.macs.sum()

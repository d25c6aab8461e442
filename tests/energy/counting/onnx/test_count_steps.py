"""Counts of each step of an ONNX graph: what it adds to a recording that ends with the step before."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.energy.counting.operations import LayerCount, PartCount
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from tests.energy.counting.onnx.test_axes import attention
from tests.energy.counting.onnx.test_count_exact import (
    OPERATORS,
    Chain,
    chains,
    convolution,
    join_steps,
    pool,
)
from tests.support.small_runs import dense_graph, events, lstm_graph, onnx_graph, reals, spiking_body, weights

STEPWISE: list[Callable] = [one for one in OPERATORS if one not in (convolution, pool, join_steps)]


def totals(part: PartCount) -> dict[str, dict[str, int]]:
    """Of each layer, everything over all samples."""
    return {
        layer.name: {
            name: int(numbers.sum())
            for name, numbers in (vars(layer.per_sample) | vars(layer.traffic)).items()
        }
        for layer in part.layers
    }


def along(layer: LayerCount) -> dict[str, np.ndarray]:
    assert layer.per_step is not None, layer.name
    assert layer.traffic_per_step is not None
    return vars(layer.per_step) | vars(layer.traffic_per_step)


def assert_steps(path: Path, recording: Recording, batch: int = 64) -> None:
    """Every layer is known in every step, and each step adds what it is said to."""
    part = count_onnx(path, recording, batch=batch)
    before: dict[str, dict[str, int]] = {}
    for step in range(recording.steps):
        shorter = Recording(recording.values[: step + 1], recording.signal, recording.dt)
        now = totals(count_onnx(path, shorter))
        for layer in part.layers:
            last = before.get(layer.name, {})
            for name, numbers in along(layer).items():
                grown = now.get(layer.name, {}).get(name, 0) - last.get(name, 0)
                assert numbers[step] == grown, (layer.name, name, step)
        before = now
    assert part.synops is not None
    for sample in range(recording.samples):
        values = recording.values[:, sample : sample + 1]
        alone = count_onnx(path, Recording(values, recording.signal, recording.dt))
        assert alone.synops is not None
        assert np.array_equal(part.synops[:, sample : sample + 1], alone.synops)
        nothing = np.zeros(recording.steps, np.int64)  # where no layer has an operation
        of_layers = [along(one)["acs"] + along(one)["macs"] for one in alone.layers]
        assert np.array_equal(alone.synops[:, 0], np.sum([nothing, *of_layers], axis=0))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=chains(STEPWISE), batch=st.integers(1, 3))
def test_each_step_is_what_it_adds(case: tuple[Chain, Recording], batch: int, tmp_path: Path) -> None:
    chain, recording = case
    chain.nodes.append(helper.make_node("Identity", [chain.last], ["output"]))
    onnx_graph(tmp_path / "graph.onnx", chain.nodes, chain.constants, recording.values.shape[2], chain.width)
    assert_steps(tmp_path / "graph.onnx", recording, batch)


def scan_graph(path: Path) -> None:
    """Neurons that take in one step a turn, a product inside the scan and one of its spikes behind it."""
    body = spiking_body()
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["x0"], name="before"),
        helper.make_node("Shape", ["x0"], ["size"], start=1),
        helper.make_node("ConstantOfShape", ["size"], ["rest"]),
        helper.make_node("Scan", ["rest", "x0"], ["last", "spikes", "extra"], body=body, num_scan_inputs=1),
        helper.make_node("MatMul", ["spikes", "w2"], ["output"], name="behind"),
    ]
    grid = [np.round(weights(*shape) * 8) / 8 for shape in ((4, 4), (4, 3), (4, 2))]
    constants = {
        "half": np.float32(0.25),
        "zero": np.float32(0),
        "w": grid[0],
        "inner": grid[1],
        "w2": grid[2],
    }
    onnx_graph(path, nodes, constants, 4, 2)


@pytest.mark.parametrize("batch", [1, 64])
def test_steps_of_recurrent_layers_and_scans_are_told_apart(tmp_path: Path, batch: int) -> None:
    lstm_graph(tmp_path / "lstm.onnx", 4, 3, 2)
    dense_graph(tmp_path / "fc.onnx", [4, 3, 2])
    scan_graph(tmp_path / "scan.onnx")
    for name in ("lstm", "fc", "scan"):
        for recording in (events(4, rate=0.4), reals(4)):
            assert_steps(tmp_path / f"{name}.onnx", recording, batch)
    layers = {
        layer.name.split("/")[-1]: layer for layer in count_onnx(tmp_path / "scan.onnx", events(4)).layers
    }
    assert {"before", "inside", "behind"} <= layers.keys()
    assert layers["inside"].arrives is layers["behind"].arrives is Signal.EVENTS


def test_a_convolution_over_time_has_no_steps_and_nothing_behind_it(tmp_path: Path) -> None:
    path = attention(tmp_path / "attention.onnx", 4)
    part = count_onnx(path, events(4, rate=0.4))
    assert {layer.name for layer in part.layers} >= {"left", "right", "gate"}
    assert all(layer.per_step is None and layer.traffic_per_step is None for layer in part.layers)
    assert part.synops is None


def test_a_scan_that_sees_all_steps_at_once_has_none(tmp_path: Path) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["v"], ["next"]),
            helper.make_node("ReduceSum", ["input", "first"], ["whole"], keepdims=0),
            helper.make_node("Add", ["whole", "x"], ["y"], name="inside"),
        ],
        "body",
        [helper.make_empty_tensor_value_info(name) for name in ("v", "x")],
        [helper.make_empty_tensor_value_info(name) for name in ("next", "y")],
    )
    nodes = [
        helper.make_node("Shape", ["input"], ["size"], start=1),
        helper.make_node("ConstantOfShape", ["size"], ["rest"]),
        helper.make_node("Scan", ["rest", "input"], ["last", "output"], body=body, num_scan_inputs=1),
    ]
    onnx_graph(tmp_path / "all.onnx", nodes, {"first": np.array([0])}, 4, 4)
    assert all(layer.per_step is None for layer in count_onnx(tmp_path / "all.onnx", reals(4)).layers)

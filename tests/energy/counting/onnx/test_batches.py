"""What this tool exports is counted in batches, and a batch as its samples one by one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from nsc_deploy.energy.counting.onnx import count
from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.energy.counting.operations import PartCount
from nsc_deploy.exporters.onnx.models import sequence_model
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_build import CrossAttention, DenseLayer, LstmLayer, cross_attention, lstm, mlp
from tests.energy.counting.onnx.test_count_steps import assert_steps
from tests.support.small_runs import DT

SAMPLES = 70


def grid(*shape: int) -> np.ndarray:
    """Weights of few bits: sums over them are exact, in whatever order they are added up."""
    return (np.random.default_rng(0).integers(-8, 9, size=shape) / 8).astype(np.float32)


def recorded(*shape: int, steps: int = 7) -> Recording:
    values = np.random.default_rng(1).random((steps, SAMPLES, *shape)) < 0.3
    return Recording(values.astype(np.uint8), Signal.EVENTS, DT)


def fully_connected(path: Path) -> Recording:
    layers = [DenseLayer(grid(5, 6), grid(5)), DenseLayer(grid(4, 5), grid(4))]
    write_onnx(path, mlp(layers, signal=Signal.EVENTS, dt=DT))
    return recorded(6)


def recurrent(path: Path) -> Recording:
    layer = LstmLayer(grid(20, 6), grid(20, 5), grid(20), grid(20))
    write_onnx(path, lstm([layer], DenseLayer(grid(4, 5)), signal=Signal.EVENTS, dt=DT))
    return recorded(6)


def attention(path: Path) -> Recording:
    block = CrossAttention(grid(6, 1, 5), grid(6, 6, 3), np.float32(0.5), np.float32(0.25), grid(6, 6))
    write_onnx(path, cross_attention(block, signal=Signal.EVENTS, dt=DT))
    return recorded(6)


def spiking(path: Path) -> Recording:
    """Weights before the first neurons, which the export computes for all steps at once."""
    build = GraphBuilder(DT)
    build.input(6, Signal.EVENTS)
    build.affine("before", grid(8, 6), grid(8))
    build.lif("neurons", 0.9, 0.5, 8)
    build.add("delay", nir.Delay(np.full(8, 2 * DT)))
    build.linear("between", grid(4, 8))
    build.lif("last", 0.5, 0.25, 4)
    build.output(4)
    write_onnx(path, sequence_model(assemble(build.build())))
    return recorded(6)


def convolutional(path: Path) -> Recording:
    build = GraphBuilder(DT)
    build.input((2, 6, 6), Signal.EVENTS)
    build.add("conv", nir.Conv2d((6, 6), grid(3, 2, 3, 3), 1, 1, 1, 1, grid(3)))
    build.lif("neurons", 0.9, 0.5, (3, 6, 6))
    window = np.array([2, 2])
    build.add("pool", nir.SumPool2d(window, window, np.array([0, 0])))
    build.add("flat", nir.Flatten({"input": np.array([3, 3, 3])}, start_dim=0, end_dim=-1))
    build.linear("dense", grid(4, 27))
    build.lif("last", 0.9, 0.25, 4)
    build.output(4)
    write_onnx(path, sequence_model(assemble(build.build())))
    return recorded(2, 6, 6)


EXPORTS: list[Callable[[Path], Recording]] = [fully_connected, recurrent, attention, spiking, convolutional]


def numbers(part: PartCount) -> dict[str, Any]:
    """All counts of all layers, of each sample and of each step."""
    groups = ("per_sample", "traffic", "per_step", "traffic_per_step")
    return {
        f"{layer.name} {group} {kind}": values.tolist()
        for layer in part.layers
        for group in groups
        if getattr(layer, group) is not None
        for kind, values in vars(getattr(layer, group)).items()
    }


@pytest.mark.parametrize("export", EXPORTS)
def test_what_this_tool_exports_is_run_in_batches_and_counted_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export: Callable[[Path], Recording]
) -> None:
    path, runs = tmp_path / "graph.onnx", []
    start = count.start_session

    class Session:
        def __init__(self, model: Any) -> None:
            self._session = start(model)
            self.get_inputs = self._session.get_inputs

        def run(self, wanted: Any, feeds: dict[str, np.ndarray]) -> Any:
            runs.append(next(iter(feeds.values())).shape[1])
            return self._session.run(wanted, feeds)

    monkeypatch.setattr(count, "start_session", Session)
    recording = export(path)
    together = count_onnx(path, recording, batch=64)
    # One sample for the shapes; then the events.
    assert runs in ([1, 64, 6], [1])
    assert (len(runs) == 3) == any(layer.arrives is Signal.EVENTS for layer in together.layers)
    runs.clear()
    assert numbers(count_onnx(path, recording, batch=1)) == numbers(together)
    assert len(runs) in {1, 1 + SAMPLES}


@pytest.mark.parametrize("export", [fully_connected, recurrent, spiking, convolutional])
def test_steps_of_what_this_tool_exports_are_told_apart(
    tmp_path: Path, export: Callable[[Path], Recording]
) -> None:
    recording = export(tmp_path / "graph.onnx")
    few = Recording(recording.values[:, :5], Signal.EVENTS, DT)
    assert_steps(tmp_path / "graph.onnx", few, batch=3)

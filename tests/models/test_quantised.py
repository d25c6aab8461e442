"""Networks in integers: what torch trains is what onnxruntime computes, number for number."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.energy.counting.operations import Kind, Operations
from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_run import run_onnx
from nsc_deploy.models.quantised import EventCounts, QuantisedLayers, integers

SAMPLES = 40


def layers(sizes: tuple[int, ...], bits: int, seed: int = 0, *, values_last: bool = False) -> QuantisedLayers:
    torch.manual_seed(seed)
    stage = QuantisedLayers(sizes, bits, values_last=values_last)
    with torch.no_grad():
        for layer in stage.layers:
            layer.weight.mul_(2)
            layer.bias.mul_(20)
    return stage.eval()


def whole(size: int, bits: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        0, 2**bits, (1, SAMPLES, size), generator=torch.Generator().manual_seed(seed)
    ).float()


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 7), st.integers(0, 100), st.booleans())
def test_onnxruntime_gives_the_numbers_of_torch(bits: int, seed: int, values_last: bool) -> None:
    stage = layers((9, 12, 7), bits, seed, values_last=values_last)
    values = whole(9, bits, seed)
    with torch.no_grad():
        wanted = stage(values).numpy()
    assert np.array_equal(run_onnx(stage.graph(0.9, None), values.numpy()), wanted)  # type: ignore[arg-type]
    if not values_last:
        assert set(np.unique(wanted)) <= set(range(2**bits))


def test_the_products_are_of_whole_numbers_of_8_bits() -> None:
    graph = layers((9, 12, 7), 5).graph(0.9, None).graph  # type: ignore[attr-defined]
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("MatMulInteger") == 2
    assert "MatMul" not in kinds
    named = {tensor.name: tensor for tensor in graph.initializer}
    weight = np.frombuffer(named["dense1_weight"].raw_data, np.int8)
    assert np.abs(weight).max() == 127


def test_weights_are_rounded_to_127_steps_either_way_and_their_gradient_is_not() -> None:
    [layer] = layers((9, 4), 5).layers
    weight, bias, factor = integers(layer)  # type: ignore[arg-type]
    assert torch.equal(weight, weight.round())
    assert float(weight.abs().max().detach()) == 127
    assert torch.allclose(weight * factor, layer.weight, atol=float(factor) / 2 * 1.01)
    assert torch.allclose(bias * factor, layer.bias, atol=float(factor) / 2 * 1.01)
    ((weight * factor).sum() * 2).backward()
    assert torch.allclose(layer.weight.grad, torch.full((4, 9), 2.0))  # type: ignore[arg-type]


def test_every_operation_is_counted(tmp_path: Path) -> None:
    stage = layers((9, 12, 7), 5)
    write_onnx(tmp_path / "qnn.onnx", stage.graph(0.9, None))  # type: ignore[arg-type]
    part = count_onnx(tmp_path / "qnn.onnx", Recording(whole(9, 5).numpy(), Signal.REAL, 0.9))
    total = Operations.sum((layer.per_sample for layer in part.layers), SAMPLES)
    assert not part.spiking
    assert set(total.macs.tolist()) == {9 * 12 + 12 * 7}
    assert set(total.additions.tolist()) == {12 + 7}  # biases
    assert set(total.products.tolist()) == {12 + 7}  # a factor for each sum; a scale of 1 is none
    assert set(total.activations.tolist()) == {2 * (12 + 7)}  # bounded, and rounded
    assert total.of(Kind.AC).max() == 0
    assert sum(int(layer.traffic.weight_reads[0]) for layer in part.layers) == 9 * 12 + 12 * 7 + 12 + 7
    assert sum(layer.synapses for layer in part.layers) == sum(
        int((integers(layer)[0] != 0).sum())
        for layer in stage.layers  # type: ignore[arg-type]
    )


def test_events_are_counted_over_time(tmp_path: Path) -> None:
    events = (torch.rand(6, SAMPLES, 5, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    stage = EventCounts(5)
    counts = stage(events)
    assert counts.shape == (1, SAMPLES, 5)
    assert np.array_equal(run_onnx(stage.graph(0.03, None), events.numpy()), counts.numpy())  # type: ignore[arg-type]
    write_onnx(tmp_path / "count.onnx", stage.graph(0.03, None))  # type: ignore[arg-type]
    part = count_onnx(
        tmp_path / "count.onnx", Recording(events.numpy().astype(np.uint8), Signal.EVENTS, 0.03)
    )
    assert part.layers[0].per_sample.additions.tolist() == [5 * (6 - 1)] * SAMPLES


def test_sums_that_float32_does_not_hold_are_refused() -> None:
    QuantisedLayers((2000, 4), 5)
    with pytest.raises(ConfigError, match="not exact in float32"):
        QuantisedLayers((4000, 4), 5)

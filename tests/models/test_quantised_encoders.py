"""A GRU and convolutions in integers: the numbers of onnxruntime, and their operations."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.energy.counting.operations import LayerCount
from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_run import run_onnx
from nsc_deploy.models.quantised_encoders import QuantisedConvolutions, QuantisedGru

STEPS, SAMPLES, CHANNELS, UNITS, FILTERS, OUTPUTS, BITS = 15, 6, 24, 10, 9, 8, 7
Encoder = QuantisedGru | QuantisedConvolutions


def encoder(kind: str, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    if kind == "gru":
        return QuantisedGru(CHANNELS, UNITS, BITS)
    return QuantisedConvolutions(CHANNELS, FILTERS, OUTPUTS, BITS)


def events() -> torch.Tensor:
    drawn = torch.rand(STEPS, SAMPLES, CHANNELS, generator=torch.Generator().manual_seed(0))
    return (drawn < 0.2).float()


@pytest.mark.parametrize("kind", ["gru", "ds-cnn"])
@pytest.mark.parametrize("seed", range(3))
def test_onnxruntime_gives_the_numbers_of_torch(kind: str, seed: int) -> None:
    stage = encoder(kind, seed)
    with torch.no_grad():
        wanted = stage(events()).numpy()
    assert wanted.shape == (1, SAMPLES, UNITS if kind == "gru" else OUTPUTS)
    assert np.array_equal(run_onnx(stage.graph(0.03, None), events().numpy()), wanted)  # type: ignore[arg-type]
    assert len(np.unique(wanted)) > 10
    assert set(np.unique(wanted)) <= set(range(2**BITS))


def test_the_gru_is_that_of_its_equations() -> None:
    stage = encoder("gru")
    assert isinstance(stage, QuantisedGru)
    into, bias, back = (
        one.detach().numpy().astype(float) for one in (stage.into.weight, stage.into.bias, stage.back.weight)
    )

    def bounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values.clip(0, 1)

    state = np.zeros((SAMPLES, UNITS))
    for x in events().numpy():
        z_in, r_in, n_in = np.split(x @ into.T + bias, 3, axis=1)
        z_of, r_of, n_of = np.split(state @ back.T, 3, axis=1)
        z, r = bounded(z_in + z_of), bounded(r_in + r_of)
        state = z * state + (1 - z) * bounded(n_in + r * n_of)
    with torch.no_grad():
        found = stage(events())[0].numpy() / stage.top
    assert np.abs(found - state).max() < 0.05  # 7 bits, rounded four times in each of 15 steps


def counted(stage: Encoder, folder: Path) -> dict[str, LayerCount]:
    write_onnx(folder / "graph.onnx", stage.graph(0.03, None))  # type: ignore[arg-type]
    recording = Recording(events().numpy().astype(np.uint8), Signal.EVENTS, 0.03)
    return {layer.name: layer for layer in count_onnx(folder / "graph.onnx", recording).layers}


def test_events_meet_the_first_layer_and_real_values_the_others(tmp_path: Path) -> None:
    layers = counted(encoder("gru"), tmp_path)
    weight = encoder("gru").graph(0.03, None).graph  # type: ignore[attr-defined]
    matrix = next(one for one in weight.initializer if one.name == "into_weight")
    fan_out = np.count_nonzero(np.frombuffer(matrix.raw_data, np.int8).reshape(CHANNELS, -1), axis=1)
    assert layers["into"].per_sample.acs.tolist() == (events().sum(0).numpy() @ fan_out).tolist()
    assert set(layers["gru/back"].per_sample.macs.tolist()) == {STEPS * UNITS * 3 * UNITS}


def test_convolutions_are_counted_over_their_windows(tmp_path: Path) -> None:
    layers = counted(encoder("ds-cnn"), tmp_path)
    # 15, 8, 4 and 2 steps; of 5 taps around 8 and 4 steps at stride 2, 16 and 7 pairs lie inside.
    pairs = {"conv2": 8, "conv4": 4}
    for name, steps in pairs.items():
        inside = sum(0 <= 2 * out + tap - 2 < steps for out in range(steps // 2) for tap in range(5))
        assert set(layers[name].per_sample.macs.tolist()) == {inside * FILTERS}
    assert set(layers["conv3"].per_sample.macs.tolist()) == {4 * FILTERS * FILTERS}
    assert set(layers["conv5"].per_sample.macs.tolist()) == {2 * FILTERS * OUTPUTS}
    assert not layers["conv1"].per_sample.macs.any()
    assert layers["conv1"].per_sample.acs.all()
    assert set(layers["conv1_add"].per_sample.additions.tolist()) == {8 * FILTERS}


def test_gradients_reach_every_parameter() -> None:
    for kind in ("gru", "ds-cnn"):
        stage = encoder(kind)
        stage(events()).square().sum().backward()
        silent = [name for name, one in stage.named_parameters() if not one.grad.abs().sum() > 0]  # type: ignore[union-attr]
        assert silent == [], kind


def test_layers_whose_sums_are_not_exact_are_refused() -> None:
    with pytest.raises(ConfigError, match="not exact"):
        QuantisedGru(CHANNELS, 600, BITS)
    with pytest.raises(ConfigError, match="not exact"):
        QuantisedConvolutions(30_000, 4, 4, BITS)

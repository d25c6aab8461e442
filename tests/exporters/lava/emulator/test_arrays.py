"""The emulator without compiled loops: every spike, current and potential is that of the compiled ones."""

from dataclasses import fields, replace

import numpy as np
import pytest

from nsc_deploy.exporters.lava.emulator import arrays, plain_layers
from nsc_deploy.exporters.lava.emulator import simulate as emulator
from nsc_deploy.exporters.lava.emulator.network import LIF, Network, SubtractiveLIF
from tests.support.directed_networks import Case, directed_cases
from tests.support.random_networks import random_case


def subtracting(case: Case) -> Case:
    """The same with neurons of ours in the place of every LIF."""
    layers = tuple(
        replace(
            layer, neurons=SubtractiveLIF(**{f.name: getattr(layer.neurons, f.name) for f in fields(LIF)})
        )
        for layer in case.network.layers
    )
    return replace(case, network=Network(layers))


def require_equal(case: Case, lag: int, monkeypatch: pytest.MonkeyPatch) -> int:
    messages = np.ascontiguousarray(np.stack([case.messages, np.roll(case.messages, 1, axis=0)], axis=1))
    compiled = emulator.simulate(case.network, messages, lag=lag, threads=1)
    with monkeypatch.context() as patched:
        patched.setattr(emulator, "run_samples", arrays.run_samples)
        patched.setattr(plain_layers, "COMPILES", False)
        plain = emulator.simulate(case.network, messages, lag=lag, threads=1)
        outputs = emulator.output_spikes(case.network, messages, lag=lag, threads=1)
    for mine, expected in zip(plain, compiled, strict=True):
        np.testing.assert_array_equal(mine.spikes, expected.spikes, case.name)
        np.testing.assert_array_equal(mine.current, expected.current, case.name)
        np.testing.assert_array_equal(mine.potential, expected.potential, case.name)
    np.testing.assert_array_equal(outputs, compiled[-1].spikes, case.name)
    return sum(int(trace.spikes.sum()) for trace in compiled)


@pytest.mark.parametrize("lag", [0, 1])
def test_directed_edges(lag: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(require_equal(case, lag, monkeypatch) for case in directed_cases()) > 1000


def test_random_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    fired = [require_equal(random_case(seed), seed % 2, monkeypatch) for seed in range(200)]
    assert np.count_nonzero(fired) > 100


def test_neurons_that_subtract(monkeypatch: pytest.MonkeyPatch) -> None:
    fired = [require_equal(subtracting(random_case(seed)), seed % 2, monkeypatch) for seed in range(60)]
    assert np.count_nonzero(fired) > 30

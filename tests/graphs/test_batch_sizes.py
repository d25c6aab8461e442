"""Large graphs run in smaller batches, with the same result."""

import nir
import numpy as np
import pytest

from nsc_deploy.graphs import simulate as batches
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.simulate import samples_at_once, simulate, simulate_batches


def graph() -> nir.NIRGraph:
    build = GraphBuilder(0.01)
    build.input(3, Signal.EVENTS)
    build.linear("w", np.eye(3))
    build.threshold("n", 0.5, 3)
    build.output(3)
    return build.build()


def test_batches_shrink_with_steps_and_values() -> None:
    network = assemble(graph())
    assert samples_at_once(network, 10, 256) == 256
    assert samples_at_once(network, 2**25 // (12 * 7), 256) == 7
    assert samples_at_once(network, 2**26, 256) == 1


def test_smaller_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network = assemble(graph())
    events = (np.random.default_rng(0).random((4, 9, 3)) < 0.5).astype(np.uint8)
    monkeypatch.setattr(batches, "VALUES_AT_ONCE", 4 * 12 * 2)
    sizes: list[int] = []
    output = simulate_batches(network, events, progress=sizes.append)["output"]
    assert sizes == [2, 2, 2, 2, 1]
    np.testing.assert_array_equal(output, simulate(network, events).output)

"""What a limit is held against."""

from dataclasses import replace
from typing import Any

import nir
import numpy as np
import pytest
from numpy.typing import NDArray

from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.verification.compare import compare_runs
from nsc_deploy.verification.limits import Finding, Limits, findings
from nsc_deploy.verification.runner import ReferenceRunner, RunTrace

EVENTS = np.random.default_rng(5).integers(0, 2, (20, 4, 6)).astype(np.uint8)


class Off:
    """The reference with the potentials of a node off by an amount."""

    name = "off"

    def __init__(self, network: Network, node: str, amount: float) -> None:
        self._reference, self._node, self._amount = ReferenceRunner(network), node, amount

    def run(self, values: NDArray[Any]) -> RunTrace:
        trace = self._reference.run(values)
        layer = trace.layers[self._node]
        assert layer.potentials is not None
        moved = replace(layer, potentials=layer.potentials + np.float32(self._amount))
        return replace(trace, layers={**trace.layers, self._node: moved})


def network(threshold: list[float]) -> Network:
    """Neurons, and an integrator behind them."""
    build = GraphBuilder(dt=1e-3)
    build.input(6, Signal.EVENTS)
    build.linear("w", np.full((2, 6), 0.5))
    build.threshold("cells", threshold, 2)
    build.linear("out", np.full((2, 2), 3.0))
    ones = np.ones(2)
    build.add("sums", nir.LI(tau=4e-3 * ones, r=ones, v_leak=0 * ones))
    build.output(2)
    return assemble(build.build())


def held(graph: Network, node: str, amount: float, limit: float) -> Finding:
    (found,) = findings(
        compare_runs(graph, ReferenceRunner(graph), Off(graph, node, amount), EVENTS), Limits(max_rmse=limit)
    )
    return found


def test_a_limit_of_0_is_one() -> None:
    graph = network([0.5, 1.5])
    assert not held(graph, "cells", 1e-3, 0).met
    assert held(graph, "cells", 0, 0).met
    assert (
        findings(
            compare_runs(graph, ReferenceRunner(graph), ReferenceRunner(graph), EVENTS), Limits(exact=False)
        )
        == ()
    )


def test_potentials_are_measured_in_thresholds() -> None:
    found = held(network([0.5, -0.5]), "cells", 0.25, 0.6)
    assert found.found == pytest.approx(0.5, rel=1e-5)
    assert found.met


def test_one_large_threshold_hides_no_error() -> None:
    """Each neuron is measured in its own: the error of the other is half of its threshold."""
    found = held(network([0.5, 1e30]), "cells", 0.25, 0.3)
    assert found.found == pytest.approx(0.5 / 2**0.5, rel=1e-5)
    assert not found.met


@pytest.mark.parametrize("node", ["cells", "sums"])
def test_where_there_is_no_threshold_potentials_are_measured_in_the_largest(node: str) -> None:
    """An integrator has none, and that of these neurons is 0."""
    graph = network([0.0, 0.0])
    largest = np.abs(ReferenceRunner(graph).run(EVENTS).layers[node].potentials).max()
    found = held(graph, node, 0.5 * largest, 0.4)
    assert found.found == pytest.approx(0.5, rel=1e-5)
    assert not found.met


def test_potentials_that_should_all_be_0_are_wholly_off() -> None:
    graph = network([100.0, 100.0])
    assert held(graph, "sums", 0.0, 0).met
    assert held(graph, "sums", 1e-3, 0.5).found == 1

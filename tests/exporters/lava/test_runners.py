"""Layers of integers in the units of the graph."""

import numpy as np
import pytest

from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.lava.lowering.pipeline import lower
from nsc_deploy.exporters.lava.runners import EmulatorRunner
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.verification.compare import compare_runs
from nsc_deploy.verification.limits import Limits, findings
from nsc_deploy.verification.runner import ReferenceRunner
from tests.support.lava import memoryless, random_events


@pytest.mark.parametrize("kind", ["lif", "threshold", "leaks"])
def test_potentials_of_memoryless_neurons_are_those_of_the_graph(kind: str) -> None:
    """Their bias lies in their threshold on the chip, whatever the node is called."""
    network = assemble(memoryless(kind))
    events = random_events(np.random.default_rng(2), 20, 5, 8)
    lowered = EmulatorRunner(lower(network, inputs=events).network, network, RunSettings())
    found = compare_runs(network, ReferenceRunner(network), lowered, events)
    assert found.equal
    assert found.layers[0].largest_error == pytest.approx(0, abs=1e-5)
    assert all(one.met for one in findings(found, Limits(max_rmse=1e-5)))

"""Populations of a program in the units of the graph."""

import numpy as np
import pytest

from nsc_deploy.exporters.c.events import EmulatorRunner
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.network import Reset
from nsc_deploy.verification.compare import compare_runs
from nsc_deploy.verification.runner import ReferenceRunner
from tests.support.lava import memoryless, random_events


@pytest.mark.parametrize("reset", Reset)
@pytest.mark.parametrize("kind", ["lif", "threshold", "leaks", "late"])
def test_potentials_of_memoryless_neurons_are_those_of_the_graph(kind: str, reset: Reset) -> None:
    """Their bias lies in their threshold, except where it begins late; and either way of lowering does so."""
    network = assemble(memoryless(kind, reset))
    events = random_events(np.random.default_rng(2), 20, 5, 8)
    lowered = EmulatorRunner(lower_to_program(network, inputs=events).program, network)
    found = compare_runs(network, ReferenceRunner(network), lowered, events)
    assert found.equal
    assert found.layers[0].largest_error == pytest.approx(0, abs=5e-5)

"""Each pass from network to network keeps the reference simulator's spikes, bit for bit, on random graphs."""

import numpy as np
import pytest
from graph_strategies import Case, cases
from hypothesis import given, settings

from nsc_deploy.exporters.passes.base import Pass, run_pass
from nsc_deploy.exporters.passes.drop_dead_nodes import DropDeadNodes
from nsc_deploy.exporters.passes.fold_pooling import FoldPooling
from nsc_deploy.exporters.passes.fold_scales import FoldScales
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.simulate import simulate

EXACT = [DropDeadNodes(), FoldScales(), FoldPooling()]


def assert_same_spikes(one: Network, two: Network, values: np.ndarray) -> None:
    """Every spike of every layer both have, every output value, to the last bit."""
    left = {node.name for node in two.nodes}
    names = [node.name for node in one.nodes if node.spiking and node.name in left]
    expected, got = (simulate(network, values, record=names).outputs for network in (one, two))
    for name, output in got.items():
        np.testing.assert_array_equal(output, expected[name], err_msg=name)


@pytest.mark.parametrize("step", EXACT, ids=lambda step: step.name)
@settings(max_examples=60, deadline=None)
@given(cases())
def test_a_pass_keeps_every_spike(step: Pass, case: Case) -> None:
    lowered = run_pass(step, case.network)
    assert all(note.exact for note in lowered.notes)
    assert_same_spikes(case.network, lowered.graph, case.values)

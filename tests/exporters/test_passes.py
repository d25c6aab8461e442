"""Each pass from network to network keeps the reference simulator's spikes, bit for bit, on random graphs."""

import numpy as np
import pytest
from graph_strategies import Case, cases
from hypothesis import given, settings

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.passes.base import Pass, run_pass
from nsc_deploy.exporters.passes.drop_dead_nodes import DropDeadNodes
from nsc_deploy.exporters.passes.fold_pooling import FoldPooling
from nsc_deploy.exporters.passes.fold_scales import FoldScales
from nsc_deploy.exporters.passes.parts import Parts
from nsc_deploy.exporters.passes.split import Split
from nsc_deploy.exporters.verdict import Status, Verdict
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.signal import Signal
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


def spiking_middle(network: Network) -> tuple[Verdict, ...]:
    """A target that takes in events, gives out spikes, and holds no integrators."""
    verdicts = []
    for node in network.nodes:
        wrong = (
            node.primitive in {"LI", "CubaLI", "I"}
            or (node.primitive == "Input" and node.emits is not Signal.EVENTS)
            or (node.primitive == "Output" and node.emits is not Signal.EVENTS)
        )
        status = Status.REFUSED if wrong else Status.NATIVE
        verdicts.append(Verdict(node.name, node.primitive, status, "is not for this target"))
    return tuple(verdicts)


def run_parts(parts: Parts, values: np.ndarray) -> dict[str, np.ndarray]:
    """Every spike of every part, each fed with what the one before gives out."""
    found: dict[str, np.ndarray] = {}
    for part in parts.parts:
        names = [node.name for node in part.network.nodes if node.spiking]
        trace = simulate(part.network, values, record=names)
        found |= {name: trace.outputs[name] for name in names}
        values = trace.output
    return found | {"": values}


@settings(max_examples=80, deadline=None)
@given(cases())
def test_parts_compute_what_the_whole_does(case: Case) -> None:
    clean = run_pass(DropDeadNodes(), case.network).graph
    split = Split(spiking_middle)
    try:
        parts = run_pass(split, clean).graph
    except ExportError as error:
        assert str(error.where).startswith("node '")
        return
    names = [node.name for node in clean.nodes if node.spiking]
    whole = simulate(clean, case.values, record=names)
    got = run_parts(parts, case.values)
    for name in names:
        np.testing.assert_array_equal(got[name], whole.outputs[name], err_msg=name)
    np.testing.assert_array_equal(got[""], whole.output)
    again = run_pass(split, parts.chip.network).graph
    assert len(again.parts) == 1

"""Graphs that Norse exports, against its own spikes; and the faults of its exporter.

A test that says the framework is wrong fails when the framework is mended: then its line in
docs/other-frameworks.md and its detector go.
"""

import norse.torch as norse
import numpy as np
import pytest
import torch
from norse.torch.functional.iaf import IAFParameters
from norse.torch.functional.reset import reset_subtract
from torch.nn import Flatten, Linear

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.network import Reset
from nsc_deploy.graphs.simulate import simulate
from tests.support.foreign import differing, events, full, mended, read, seeded

pytestmark = pytest.mark.filterwarnings("ignore")


def norse_output(model, values):
    state, outputs = None, []
    with torch.no_grad():
        for step in values:
            output, state = model(torch.from_numpy(step), state)
            outputs.append(output.numpy())
    return np.stack(outputs)


def box(size, **options):
    parameters = norse.LIFBoxParameters(
        tau_mem_inv=full(size, 100.0), v_th=full(size, 0.1), v_leak=full(size, 0.0)
    )
    return norse.LIFBoxCell(parameters._replace(**options))


def with_synapse(size):
    return norse.LIFCell(
        norse.LIFParameters(
            tau_syn_inv=full(size, 200.0),
            tau_mem_inv=full(size, 100.0),
            v_leak=full(size, 0.0),
            v_th=full(size, 0.5),
        )
    )


NORSE = {
    "box": (lambda: [Linear(10, 12), box(12), Linear(12, 6), box(6)], ["norse-time-constants"]),
    "synapse": (
        lambda: [Linear(10, 12), with_synapse(12)],
        ["norse-time-constants", "norse-reset", "norse-synaptic-current"],
    ),
    "integrate and fire": (
        lambda: [Linear(10, 12), norse.IAFCell(IAFParameters(v_th=full(12, 1.0)))],
        ["integrator-reset", "integrator-gain"],
    ),
}


def norse_model(make):
    return seeded(lambda: norse.SequentialState(*make()))


@pytest.mark.parametrize("name", NORSE)
def test_norse_s_spikes_come_back_from_a_mended_graph(name, tmp_path):
    make, faults = NORSE[name]
    model, values = norse_model(make), events((10,))
    wanted = norse_output(model, values)
    _, told = read(norse.to_nir(model, torch.zeros(10)), tmp_path / "raw.nir", dt=1e-6)
    assert set(faults) <= set(told)
    network = mended(norse.to_nir(model, torch.zeros(10)), "norse", tmp_path / "it.nir", dt=1e-3)
    assert differing(network, values, wanted) == 0
    assert network.diagnostics == ()


@pytest.mark.parametrize(
    ("name", "exact"), [("box", True), ("synapse", False), ("integrate and fire", False)]
)
def test_the_square_of_the_step_makes_up_for_norse_s_time_constants_alone(name, exact, tmp_path):
    model, values = norse_model(NORSE[name][0]), events((10,))
    network, _ = read(norse.to_nir(model, torch.zeros(10)), tmp_path / "it.nir", dt=1e-6)
    assert (differing(network, values, norse_output(model, values)) == 0) is exact


def test_norse_s_integrator_comes_back_to_the_last_digits(tmp_path):
    cell = norse.LIBoxCell(norse.LIBoxParameters(tau_mem_inv=full(12, 100.0), v_leak=full(12, 0.0)))
    model, values = norse_model(lambda: [Linear(10, 12), cell]), events((10,))
    network = mended(norse.to_nir(model, torch.zeros(10)), "norse", tmp_path / "it.nir", dt=1e-3)
    got = simulate(network, values).output
    np.testing.assert_allclose(got, norse_output(model, values), atol=1e-6)


def test_norse_starts_at_its_leak_potential(tmp_path):
    raised = {"v_leak": full(12, 0.25), "v_th": full(12, 0.3), "v_reset": full(12, 0.0)}
    model, values = norse_model(lambda: [Linear(10, 12), box(12, **raised)]), events((10,))
    wanted = norse_output(model, values)
    network, told = read(norse.to_nir(model, torch.zeros(10)), tmp_path / "it.nir", dt=1e-6)
    assert "norse-start" in told
    assert differing(network, values, wanted) > 0
    network = mended(norse.to_nir(model, torch.zeros(10)), "norse", tmp_path / "it.nir", dt=1e-3)
    assert differing(network, values, wanted) == 0


def test_norse_s_step_is_too_long_for_its_time_constants(tmp_path):
    model = norse_model(NORSE["box"][0])
    network, told = read(norse.to_nir(model, torch.zeros(10)), tmp_path / "it.nir", dt=1e-3)
    assert "step-too-long" in told
    assert "norse-time-constants" in told
    with pytest.raises(GraphError, match="shorter than the time step"):
        simulate(network, events((10,)))


def test_norse_s_soft_reset_is_lost(tmp_path):
    model = norse_model(lambda: [Linear(10, 12), box(12, reset_method=reset_subtract)])
    values = events((10,))
    wanted = norse_output(model, values)
    for reset, exact in ((Reset.ZERO, False), (Reset.SUBTRACT, True)):
        network, told = read(norse.to_nir(model, torch.zeros(10)), tmp_path / "it.nir", dt=1e-6, reset=reset)
        assert (differing(network, values, wanted) == 0) is exact
        assert "norse-reset" in told


def test_norse_s_one_number_and_batch_are_read_as_what_they_mean(tmp_path):
    model = norse_model(
        lambda: [Linear(10, 12), norse.LIFBoxCell(norse.LIFBoxParameters(v_th=torch.tensor(0.1)))]
    )
    values = events((10,))
    graph = norse.to_nir(model, torch.zeros(4, 10))
    assert graph.nodes["input"].input_type["input"].tolist() == [4, 10]
    _, told = read(graph, tmp_path / "it.nir", dt=1e-6, compression=None)
    assert {"one-number-for-a-layer", "batch-in-the-shape"} <= set(told)
    network = mended(graph, "norse", tmp_path / "it.nir", dt=1e-3, compression=None)
    assert network.node("1").parameters.tau.shape == (12,)
    assert differing(network, values, norse_output(model, values)) == 0


def test_a_hole_that_norse_leaves_is_refused_by_name():
    model = norse.SequentialState(Flatten(0), Linear(10, 12), box(12))
    with pytest.raises(GraphError, match="node '0': is None: the exporter found no NIR node"):
        assemble(norse.to_nir(model, torch.zeros(2, 5)), dt=1e-6)

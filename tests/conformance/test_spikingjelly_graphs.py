"""Graphs that SpikingJelly exports, against its own spikes; and where it computes something else than NIR.

Run by `make test-peers`: SpikingJelly belongs to the extra `peers`.
"""

import numpy as np
import pytest
import torch
from torch.nn import Linear, Module, Sequential

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.assemble import assemble
from tests.support.foreign import differing, events, mended, on_grid, read

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def jelly():
    """SpikingJelly's modules, where they are installed."""
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    class Jelly:
        def __init__(self):
            self.layer, self.neuron, self.export = layer, neuron, export_to_nir

        def spikes(self, model, values):
            functional.reset_net(model)
            with torch.no_grad():
                return np.stack([model(torch.from_numpy(step)).numpy() for step in values])

    return Jelly()


def chain(make):
    torch.manual_seed(1)
    return on_grid(Sequential(Linear(10, 12), make()))


NEURONS = {
    "IF": lambda neuron: neuron.IFNode(),
    "IF, reset below": lambda neuron: neuron.IFNode(v_reset=-0.25),
    "LIF": lambda neuron: neuron.LIFNode(tau=2.0, v_threshold=0.25),
    "LIF, input whole": lambda neuron: neuron.LIFNode(tau=4.0, decay_input=False),
    "LIF, reset below": lambda neuron: neuron.LIFNode(tau=2.0, v_threshold=0.25, v_reset=-0.25),
    "parametric": lambda neuron: neuron.ParametricLIFNode(init_tau=2.0, v_threshold=0.25),
    "current-based": lambda neuron: neuron.CUBALIFNode(c_decay=0.5, v_decay=0.75),
    "current-based, reset below": lambda neuron: neuron.CUBALIFNode(v_reset=-0.25),
}


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("dt", [1e-4, 1e-3])
def test_its_spikes_come_back_from_a_mended_graph(jelly, name, dt, tmp_path):
    model, values = chain(lambda: NEURONS[name](jelly.neuron)), events((10,))
    wanted = jelly.spikes(model, values)
    graph = jelly.export(model, torch.zeros(1, 10), dt=dt)
    _, told = read(graph, tmp_path / "raw.nir", dt=dt)
    assert told == ["spikingjelly-threshold", *(["spikingjelly-start"] if "below" in name else [])]
    network = mended(graph, "spikingjelly", tmp_path / "it.nir", dt=dt)
    assert differing(network, values, wanted) == 0


@pytest.mark.parametrize(("name", "fault"), [("IF", "threshold"), ("IF, reset below", "start")])
def test_a_graph_as_it_comes_has_other_spikes(jelly, name, fault, tmp_path):
    model, values = chain(lambda: NEURONS[name](jelly.neuron)), events((10,))
    network, told = read(jelly.export(model, torch.zeros(1, 10)), tmp_path / "it.nir", dt=1e-4)
    assert f"spikingjelly-{fault}" in told
    assert differing(network, values, jelly.spikes(model, values)) > 100


def test_arbitrary_weights_differ_by_rounding_at_most(jelly, tmp_path):
    torch.manual_seed(0)
    model, values = Sequential(Linear(10, 12), jelly.neuron.LIFNode(v_threshold=0.2)), events((10,))
    network = mended(jelly.export(model, torch.zeros(1, 10)), "spikingjelly", tmp_path / "it.nir")
    assert differing(network, values, jelly.spikes(model, values)) <= 2


def test_a_convolutional_network_comes_back(jelly, tmp_path):
    torch.manual_seed(2)
    layer, neuron = jelly.layer, jelly.neuron
    model = on_grid(
        Sequential(
            layer.Conv2d(1, 3, 3, padding=1),
            neuron.LIFNode(tau=2.0, v_threshold=0.25),
            layer.AvgPool2d(2),
            layer.Flatten(),
            layer.Linear(48, 5),
            neuron.IFNode(),
        )
    )
    values = events((1, 8, 8), steps=40)
    network = mended(jelly.export(model, torch.zeros(1, 1, 8, 8)), "spikingjelly", tmp_path / "it.nir")
    assert differing(network, values, jelly.spikes(model, values)) == 0


def test_the_numbers_tell_the_step(jelly, tmp_path):
    graph = jelly.export(chain(jelly.neuron.IFNode), torch.zeros(1, 10), dt=5e-4)
    with pytest.raises(GraphError, match=r"SpikingJelly's export_to_nir: give dt=0\.0005"):
        assemble(graph)
    network, told = read(graph, tmp_path / "it.nir", dt=1e-4)
    assert "spikingjelly-time-step" in told
    assert network.diagnostics[0].way_out == "Give --dt 0.0005."
    assert "spikingjelly-time-step" not in read(graph, tmp_path / "it.nir", dt=5e-4)[1]


class Sum(Module):
    def __init__(self, neuron, extra):
        super().__init__()
        self.a, self.b, self.c = Linear(10, 8), Linear(8, 8), Linear(8, 6)
        self.first, self.second, self.third = (neuron.IFNode() for _ in range(3))
        self.extra = extra

    def forward(self, x):
        h = self.first(self.a(x))
        return self.third(
            self.c(h + self.second(self.b(h)) + self.extra if self.extra else h + self.second(self.b(h)))
        )


@pytest.mark.parametrize(("extra", "exact"), [(0.0, True), (1.0, False)])
def test_a_constant_in_a_sum_is_lost(jelly, extra, exact, tmp_path):
    torch.manual_seed(4)
    model, values = on_grid(Sum(jelly.neuron, extra)), events((10,), rate=0.7)
    graph = jelly.export(model, torch.zeros(1, 10))
    assert "nirtorch-sums" in read(graph, tmp_path / "it.nir", dt=1e-4)[1]
    network = mended(graph, "spikingjelly", tmp_path / "it.nir")
    assert (differing(network, values, jelly.spikes(model, values)) == 0) is exact


def test_it_refuses_a_soft_reset_and_groups_itself(jelly):
    with pytest.raises(NotImplementedError, match="soft reset"):
        jelly.export(chain(lambda: jelly.neuron.LIFNode(v_reset=None)), torch.zeros(1, 10))
    grouped = Sequential(jelly.layer.Conv2d(2, 2, 3, groups=2), jelly.neuron.IFNode())
    with pytest.raises(NotImplementedError, match="Grouped"):
        jelly.export(grouped, torch.zeros(1, 2, 6, 6))

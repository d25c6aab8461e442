"""Graphs that snnTorch exports, against its own spikes; and the faults of its exporter.

A test that says the framework is wrong fails when the framework is mended: then its line in
docs/other-frameworks.md and its detector go.
"""

import numpy as np
import pytest
import snntorch
import torch
from torch.nn import AvgPool2d, Conv2d, Flatten, Linear, Sequential

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.network import Reset
from nsc_deploy.graphs.simulate import simulate
from tests.support.foreign import differing, events, full, mended, read, seeded
from tests.support.snntorch_models import ZERO, chain, exported, leaky

pytestmark = pytest.mark.filterwarnings("ignore")


def snntorch_spikes(model, values):
    for module in model.modules():
        if hasattr(module, "reset_mem"):
            module.reset_mem()
    with torch.no_grad():
        return np.stack([model(torch.from_numpy(step)).numpy() for step in values])


def recurrent(*, bias):
    neuron = snntorch.RLeaky(beta=full(12, 0.9), threshold=full(12, 1.0), linear_features=12, **ZERO)
    if not bias:
        neuron.recurrent.bias.data.zero_()
    return Sequential(Linear(10, 12), neuron)


SNNTORCH = {
    "leaky": ((10,), chain),
    "leaky, late": (
        (10,),
        lambda: Sequential(Linear(10, 12), leaky(12, reset_delay=True), Linear(12, 6, bias=False), leaky(6)),
    ),
    "synaptic": (
        (10,),
        lambda: Sequential(
            Linear(10, 12),
            snntorch.Synaptic(alpha=full(12, 0.7), beta=full(12, 0.9), threshold=full(12, 1.0), **ZERO),
        ),
    ),
    "recurrent": ((10,), lambda: recurrent(bias=False)),
    "recurrent, one to one": (
        (10,),
        lambda: Sequential(
            Linear(10, 12),
            snntorch.RLeaky(
                beta=full(12, 0.9), threshold=full(12, 1.0), all_to_all=False, V=full(12, 0.5), **ZERO
            ),
        ),
    ),
    "convolution": (
        (1, 8, 8),
        lambda: Sequential(
            Conv2d(1, 3, 3, padding="same", bias=False),
            leaky((3, 8, 8), threshold=0.5),
            AvgPool2d(2),
            Conv2d(3, 2, 3, stride=2, padding=1, dilation=1),
            leaky((2, 2, 2), threshold=0.3),
            Flatten(),
            Linear(8, 5),
            leaky(5, threshold=0.2),
        ),
    ),
}


@pytest.mark.parametrize("name", SNNTORCH)
def test_snntorch_s_spikes_come_back_one_for_one_and_its_faults_are_told(name, tmp_path):
    shape, make = SNNTORCH[name]
    model, values = seeded(make), events(shape)
    network, told = read(exported(model, shape), tmp_path / "it.nir", dt=1e-4)
    assert differing(network, values, snntorch_spikes(model, values)) == 0
    assert told == ["snntorch-time-step", "snntorch-reset"]


def test_snntorch_s_default_neuron_comes_back_as_another_one(tmp_path):
    model = seeded(
        lambda: Sequential(Linear(10, 12), leaky(12, reset_mechanism="subtract", reset_delay=True))
    )
    values = events((10,))
    wanted = snntorch_spikes(model, values)
    for reset in Reset:
        network, told = read(exported(model, (10,)), tmp_path / "it.nir", dt=1e-4, reset=reset)
        assert differing(network, values, wanted) > 50
        assert "snntorch-reset" in told


@pytest.mark.parametrize("threshold", [1.0, 0.25])
def test_snntorch_s_default_neuron_can_be_written(threshold, tmp_path):
    late = {"threshold": threshold, "reset_mechanism": "subtract", "reset_delay": True}
    model = seeded(lambda: Sequential(Linear(10, 12), leaky(12, **late), Linear(12, 6), leaky(6, **late)))
    values = events((10,), steps=200)
    network = mended(exported(model, (10,)), "snntorch", tmp_path / "it.nir")
    assert (network.diagnostics, network.recurrent, network.reset) == ((), True, Reset.SUBTRACT)
    assert differing(network, values, snntorch_spikes(model, values)) == 0


@pytest.mark.parametrize("kind", [snntorch.Synaptic, snntorch.RLeaky])
def test_a_late_reset_of_snntorch_is_exact_in_a_leaky_alone(kind, tmp_path):
    options = (
        {"alpha": full(12, 0.7)} if kind is snntorch.Synaptic else {"all_to_all": False, "V": full(12, 0.5)}
    )
    neuron = kind(beta=full(12, 0.9), threshold=full(12, 1.0), **options, **{**ZERO, "reset_delay": True})
    model, values = seeded(lambda: Sequential(Linear(10, 12), neuron)), events((10,))
    network, told = read(exported(model, (10,)), tmp_path / "it.nir", dt=1e-4)
    assert differing(network, values, snntorch_spikes(model, values)) > 50
    assert "snntorch-reset" in told
    with pytest.raises(GraphError, match="resets one step late"):
        said = {"reset_mechanism": "zero", "reset_delay": "true"}
        mended(exported(model, (10,)), "snntorch", tmp_path / "it.nir", said=said)


def test_snntorch_s_subtraction_is_right_up_to_twice_the_threshold(tmp_path):
    model = seeded(lambda: Sequential(Linear(10, 12), leaky(12, reset_mechanism="subtract")))
    low = seeded(lambda: Sequential(Linear(10, 12), leaky(12, threshold=0.2, reset_mechanism="subtract")))
    values = events((10,))
    network, _ = read(exported(model, (10,)), tmp_path / "it.nir", dt=1e-4, reset=Reset.SUBTRACT)
    highest = simulate(network, values, potentials="all").potentials["1"].max()
    assert highest < 2
    assert differing(network, values, snntorch_spikes(model, values)) == 0
    network, _ = read(exported(low, (10,)), tmp_path / "it.nir", dt=1e-4, reset=Reset.SUBTRACT)
    assert differing(network, values, snntorch_spikes(low, values)) > 50


def test_a_step_other_than_snntorch_s_is_told(tmp_path):
    shape, make = SNNTORCH["leaky"]
    model, values = seeded(make), events(shape)
    graph = exported(model, shape)
    network, told = read(graph, tmp_path / "it.nir", dt=5e-5)
    assert told[0] == "snntorch-time-step"
    assert "--dt 1e-4" in network.diagnostics[0].way_out
    assert differing(network, values, snntorch_spikes(model, values)) > 50
    with pytest.raises(GraphError, match=r"looks like a file of snnTorch's export_to_nir: give dt=1e-4"):
        assemble(graph)
    with pytest.raises(GraphError, match="then give the model's reset_mechanism"):
        assemble(graph, dt=1e-4)


def test_a_recurrent_bias_of_snntorch_is_told_and_can_be_moved(tmp_path):
    model, values = seeded(lambda: recurrent(bias=True)), events((10,))
    wanted = snntorch_spikes(model, values)
    network, told = read(exported(model, (10,)), tmp_path / "it.nir", dt=1e-4)
    assert told[-1] == "snntorch-recurrent-bias"
    assert differing(network, values, wanted) > 0
    network = mended(exported(model, (10,)), "snntorch", tmp_path / "it.nir", reset=Reset.ZERO)
    assert differing(network, values, wanted) == 0


def test_snntorch_s_neuron_without_a_leak_is_refused(tmp_path):
    model = Sequential(Linear(10, 12), leaky(12, beta=1.0))
    with pytest.raises(GraphError, match="infinity") as caught:
        read(exported(model, (10,)), tmp_path / "it.nir", dt=1e-4)
    assert "snnTorch writes beta = 1 like this" in str(caught.value)


class Residual(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = Linear(10, 8), Linear(8, 8), Linear(8, 8)
        self.first, self.second, self.third = leaky(8), leaky(8), leaky(8)

    def forward(self, x):
        h = self.first(self.a(x))
        return self.third(self.c(h + self.second(self.b(h))))


def test_a_sum_that_snntorch_cut_is_refused_and_can_be_given_back(tmp_path):
    model, values = seeded(Residual), events((10,), rate=0.6)
    graph = exported(model, (10,))
    with pytest.raises(GraphError, match="connections are missing: 'c' has an Input of its own"):
        read(graph, tmp_path / "it.nir", dt=1e-4)
    sums = {"c": ("first", "second")}
    network = mended(graph, "snntorch", tmp_path / "it.nir", reset=Reset.ZERO, sums=sums)
    assert differing(network, values, snntorch_spikes(model, values)) == 0

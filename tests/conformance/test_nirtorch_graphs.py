"""Graphs that nirtorch exports and runs, against the modules' own spikes; and its faults.

A test that says the framework is wrong fails when the framework is mended: then its line in
docs/other-frameworks.md and its detector go.
"""

import nir
import nirtorch
import numpy as np
import pytest
import torch
from torch.nn import Linear, Sequential

from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.network import Reset
from tests.support.foreign import differing, events, on_grid, read, seeded

pytestmark = pytest.mark.filterwarnings("ignore")


class Leak(torch.nn.Module):
    """A leaky neuron of one's own, for nirtorch to map: v = 0.75 v + x, reset to 0."""

    def __init__(self, size):
        super().__init__()
        self.size, self.v = size, None

    def forward(self, x):
        before = torch.zeros_like(x) if self.v is None else self.v
        charged = 0.75 * before + x
        spikes = (charged > 1).to(x)
        self.v = charged * (1 - spikes)
        return spikes


def write_leak(module):
    shape = (module.size,)
    return nir.LIF(np.full(shape, 4e-3), np.full(shape, 4.0), np.zeros(shape), np.ones(shape))


class Branches(torch.nn.Module):
    def __init__(self, combine):
        super().__init__()
        self.a, self.b, self.c = Linear(10, 8), Linear(8, 8), Linear(8, 6)
        self.first, self.second, self.third = Leak(8), Leak(8), Leak(6)
        self.combine = combine

    def forward(self, x):
        h = self.first(self.a(x))
        return self.third(self.c(self.combine(h, self.second(self.b(h)))))


SUMS = {
    "two modules": (lambda h, g: h + g, True),
    "a constant": (lambda h, g: h + g + 1.0, False),
    "one twice": (lambda h, g: h + h + g, False),
    "alpha": (lambda h, g: h.add(g, alpha=2.0), False),
}


@pytest.mark.parametrize("name", SUMS)
def test_what_nirtorch_keeps_of_a_sum(name, tmp_path):
    combine, exact = SUMS[name]
    model, values = on_grid(seeded(lambda: Branches(combine))), events((10,), rate=0.7)
    graph = nirtorch.torch_to_nir(model, {Leak: write_leak})
    network, told = read(graph, tmp_path / "it.nir", dt=1e-3)
    assert "nirtorch-sums" in told
    with torch.no_grad():
        wanted = np.stack([model(torch.from_numpy(step)).numpy() for step in values])
    assert (differing(network, values, wanted) == 0) is exact


def test_a_chain_of_nirtorch_has_no_sums_to_warn_of(tmp_path):
    graph = nirtorch.torch_to_nir(Sequential(Linear(10, 8), Leak(8)), {Leak: write_leak})
    _, told = read(graph, tmp_path / "it.nir", dt=1e-3)
    assert "nirtorch-sums" not in told


def test_nirtorch_s_own_faults_are_still_there():
    bias = np.array([1, 2, 3], np.float32)
    affine = nir.NIRGraph.from_list(nir.Affine(np.eye(3, dtype=np.float32), bias))
    output, _ = nirtorch.nir_to_torch(affine, {})(torch.zeros(1, 3))
    assert not np.allclose(output.detach().numpy(), bias)
    mapped = {Linear: lambda module: nir.Linear(0 * module.weight.detach().numpy())}
    assert nirtorch.torch_to_nir(Sequential(Linear(2, 3)), mapped).nodes["_0"].weight.any()
    kept = nirtorch.torch_to_nir(Sequential(Linear(2, 3)), mapped, default_dict={})
    assert not kept.nodes["_0"].weight.any()


class Stepped(torch.nn.Module):
    """A LIF node as nirtorch runs one: a state in, a state out."""

    def __init__(self, node, dt):
        super().__init__()
        share = dt / torch.from_numpy(node.tau)
        self.decay, self.gain = (1 - share).float(), (torch.from_numpy(node.r) * share).float()
        self.threshold = torch.from_numpy(node.v_threshold).float()

    def forward(self, x, state=None):
        charged = self.decay * (torch.zeros_like(x) if state is None else state) + self.gain * x
        spikes = (charged > self.threshold).float()
        return spikes, charged * (1 - spikes)


def write_dense(node):
    module = Linear(node.weight.shape[1], node.weight.shape[0], bias=False)
    module.weight.data = torch.from_numpy(node.weight)
    return module


@pytest.mark.parametrize("kind", ["flat", "nested", "recurrent"])
def test_nirtorch_runs_a_graph_as_the_simulator_does(kind):
    rng = np.random.default_rng(5)

    def dense(rows, columns):
        return nir.Linear((rng.integers(-8, 9, (rows, columns)) / 8).astype(np.float32))

    def lif(size):
        return nir.LIF(np.full(size, 4e-3), np.full(size, 4.0), np.zeros(size), np.ones(size))

    def graph(nodes, edges, size_in, size_out):
        ends = {"input": nir.Input(np.array([size_in])), "output": nir.Output(np.array([size_out]))}
        whole = {"input": ends["input"], **nodes, "output": ends["output"]}
        return nir.NIRGraph(whole, edges, type_check=False)

    inner = {"lif": lif(8), "w_rec": dense(8, 8)}
    back = [("lif", "w_rec"), ("w_rec", "lif")] if kind == "recurrent" else [("lif", "w_rec")]
    if kind == "nested":
        edges = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "output")]
        layers = {"a": dense(8, 10), "sub": graph(inner, edges, 8, 8), "out_lif": lif(8)}
        made = graph(layers, [("input", "a"), ("a", "sub"), ("sub", "out_lif"), ("out_lif", "output")], 10, 8)
    else:
        last = "lif" if kind == "recurrent" else "w_rec"
        made = graph(
            {"a": dense(8, 10), **inner}, [("input", "a"), ("a", "lif"), *back, (last, "output")], 10, 8
        )
    values = events((10,))
    module = nirtorch.nir_to_torch(made, {nir.Linear: write_dense, nir.LIF: lambda node: Stepped(node, 1e-3)})
    state, outputs = None, []
    with torch.no_grad():
        for step in values:
            output, state = module(torch.from_numpy(step), state)
            outputs.append(output.numpy())
    network = assemble(made, dt=1e-3, reset=Reset.ZERO)
    assert network.recurrent is (kind == "recurrent")
    assert differing(network, values, np.stack(outputs)) == 0

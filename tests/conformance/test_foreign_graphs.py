"""Graphs that snnTorch, Norse and nirtorch export, against the frameworks' own spikes; and their faults.

A test that says a framework is wrong fails when the framework is mended: then its line in
docs/other-frameworks.md and its detector go.
"""

import json

import nir
import nirtorch
import norse.torch as norse
import numpy as np
import pytest
import snntorch
import torch
from foreign import differing, events, from_the_page, on_grid, read
from norse.torch.functional.iaf import IAFParameters
from norse.torch.functional.reset import reset_subtract
from snntorch.export_nir import export_to_nir
from torch.nn import AvgPool2d, Conv2d, Flatten, Linear, Sequential

from nsc_deploy.cli.app import app
from nsc_deploy.cli.ending import run_to_exit_code
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.network import Reset
from nsc_deploy.graphs.recording import Recording, write_recording
from nsc_deploy.graphs.signal import Signal
from nsc_deploy.graphs.simulate import simulate

pytestmark = pytest.mark.filterwarnings("ignore")

ZERO = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}


def full(shape, value):
    return torch.full(shape if isinstance(shape, tuple) else (shape,), value)


def leaky(shape, *, beta=0.9, threshold=1.0, **options):
    return snntorch.Leaky(beta=full(shape, beta), threshold=full(shape, threshold), **{**ZERO, **options})


def snntorch_spikes(model, values):
    for module in model.modules():
        if hasattr(module, "reset_mem"):
            module.reset_mem()
    with torch.no_grad():
        return np.stack([model(torch.from_numpy(step)).numpy() for step in values])


def seeded(make):
    torch.manual_seed(3)
    return make()


def recurrent(*, bias):
    neuron = snntorch.RLeaky(beta=full(12, 0.9), threshold=full(12, 1.0), linear_features=12, **ZERO)
    if not bias:
        neuron.recurrent.bias.data.zero_()
    return Sequential(Linear(10, 12), neuron)


SNNTORCH = {
    "leaky": ((10,), lambda: Sequential(Linear(10, 12), leaky(12), Linear(12, 6), leaky(6, beta=0.8))),
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


def exported(model, shape):
    return export_to_nir(model, torch.zeros(1, *shape), ignore_dims=[0])


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
    whole = from_the_page("with_late_subtraction")(exported(model, (10,)))
    network, told = read(whole, tmp_path / "it.nir", dt=None, reset=None)
    assert (told, network.recurrent, network.reset) == ([], True, Reset.SUBTRACT)
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
    assert "--dt 1e-4" in network.cautions[0].way_out
    assert differing(network, values, snntorch_spikes(model, values)) > 50
    with pytest.raises(GraphError, match=r"looks like a file of snnTorch's export_to_nir: then give 1e-4"):
        assemble(graph)
    with pytest.raises(GraphError, match="then give the model's reset_mechanism"):
        assemble(graph, dt=1e-4)


def test_a_recurrent_bias_of_snntorch_is_told_and_can_be_moved(tmp_path):
    model, values = seeded(lambda: recurrent(bias=True)), events((10,))
    wanted = snntorch_spikes(model, values)
    network, told = read(exported(model, (10,)), tmp_path / "it.nir", dt=1e-4)
    assert told[-1] == "snntorch-recurrent-bias"
    assert differing(network, values, wanted) > 0
    from_the_page("without_recurrent_bias")(*model)
    network, told = read(exported(model, (10,)), tmp_path / "it.nir", dt=1e-4)
    assert "snntorch-recurrent-bias" not in told
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
    whole = from_the_page("with_sum")(graph, "c", ["first", "second"])
    network, _ = read(whole, tmp_path / "it.nir", dt=1e-4)
    assert differing(network, values, snntorch_spikes(model, values)) == 0


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
        ["norse-reset", "norse-integrate-and-fire"],
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
    mended = from_the_page("mended_norse")(norse.to_nir(model, torch.zeros(10)))
    network, told = read(mended, tmp_path / "it.nir", dt=1e-3)
    assert differing(network, values, wanted) == 0
    assert "norse-time-constants" not in told
    assert "norse-synaptic-current" not in told


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
    mended = from_the_page("mended_norse")(norse.to_nir(model, torch.zeros(10)))
    network, told = read(mended, tmp_path / "it.nir", dt=1e-3, reset=None)
    got = simulate(network, values).output
    np.testing.assert_allclose(got, norse_output(model, values), atol=1e-6)
    assert told == []


def test_norse_starts_at_its_leak_potential(tmp_path):
    raised = {"v_leak": full(12, 0.25), "v_th": full(12, 0.3), "v_reset": full(12, 0.0)}
    model, values = norse_model(lambda: [Linear(10, 12), box(12, **raised)]), events((10,))
    wanted = norse_output(model, values)
    network, told = read(norse.to_nir(model, torch.zeros(10)), tmp_path / "it.nir", dt=1e-6)
    assert "norse-start" in told
    assert differing(network, values, wanted) > 0
    mended = from_the_page("mended_norse")(norse.to_nir(model, torch.zeros(10)))
    network, told = read(mended, tmp_path / "it.nir", dt=1e-3)
    assert "norse-start" not in told
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
    graph = from_the_page("mended_norse")(norse.to_nir(model, torch.zeros(4, 10)))
    assert graph.nodes["input"].input_type["input"].tolist() == [4, 10]
    network, told = read(graph, tmp_path / "it.nir", dt=1e-3, compression=None)
    assert {"one-number-for-a-layer", "batch-in-the-shape"} <= set(told)
    assert network.node("1").parameters.tau.shape == (12,)
    assert differing(network, values, norse_output(model, values)) == 0


def test_a_hole_that_norse_leaves_is_refused_by_name():
    model = norse.SequentialState(Flatten(0), Linear(10, 12), box(12))
    with pytest.raises(GraphError, match="node '0': is None: the exporter found no NIR node"):
        assemble(norse.to_nir(model, torch.zeros(2, 5)), dt=1e-6)


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


@pytest.fixture
def files(tmp_path):
    """A graph that snnTorch wrote, and inputs for it."""
    graph, inputs = tmp_path / "it.nir", tmp_path / "inputs.npz"
    nir.write(graph, exported(seeded(SNNTORCH["leaky"][1]), (10,)))
    values = events((10,), steps=6, samples=4).astype(np.uint8)
    write_recording(inputs, Recording(values, Signal.EVENTS, 1e-4, np.arange(4)))
    return str(graph), ["--inputs", str(inputs)]


def run(*arguments):
    return run_to_exit_code(lambda: app([*arguments], prog_name="nsc-deploy"))


COMMANDS = {
    "inspect": (["inspect"], False),
    "check": (["check", "--target", "lava"], False),
    "check, a chip": (["check", "--target", "loihi2"], False),
    "verify": (["verify", "--against", "onnx", "--signal", "events"], True),
    "export": (["export", "--target", "nir", "--signal", "events"], True),
    "energy report": (["energy", "report"], True),
    "energy advise": (["energy", "advise"], True),
    "energy compare": (["energy", "compare"], True),
    "energy check": (["energy", "check"], True),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_each_warning_once_and_json_holds_them(name, files, tmp_path, capsys):
    graph, inputs = files
    command, recorded = COMMANDS[name]
    arguments = [*command, graph, "--dt", "1e-4", "--reset", "zero", *(inputs if recorded else [])]
    if name == "energy compare":
        arguments.append(graph)
    if name == "energy check":
        (tmp_path / "budget.toml").write_text("[limits]\nneurons = 5000\n")
        arguments += ["--budget", str(tmp_path / "budget.toml"), "--format", "json"]
    else:
        arguments.append("--json")
    if name == "export":
        arguments += ["--out", str(tmp_path / "out")]
    code = run(*arguments)
    printed, told = capsys.readouterr()
    assert code in {0, 1}, told  # real values at the input do not go into Lava
    assert told.count("warning: ") == 2
    warnings = json.loads(printed)["warnings"]
    assert [one["name"] for one in warnings] == ["snntorch-time-step", "snntorch-reset"]
    assert all(one["where"] == graph and one["way_out"] for one in warnings)


def test_a_command_without_the_step_says_whose_file_it_looks_like(files, capsys):
    assert run("inspect", files[0]) == 2
    assert "looks like a file of snnTorch's export_to_nir" in capsys.readouterr().err


def test_a_graph_by_hand_is_not_taken_for_anybody_s(tmp_path):
    shape = (8,)
    lif = nir.LIF(np.full(shape, 0.02), np.ones(shape), np.zeros(shape), np.ones(shape))
    graph = nir.NIRGraph.from_list(nir.Affine(np.eye(8), np.zeros(8)), lif)
    assert read(graph, tmp_path / "it.nir", dt=1e-3)[1] == []

from collections.abc import Callable
from typing import Any

import nir
import norse.torch as norse
import numpy as np
import pytest
import snntorch as snn
import torch
from norse.torch.functional.lif_box import LIFBoxParameters
from numpy.typing import NDArray
from torch import nn

from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.counting.operations import PartCount
from nsc_deploy.energy.pricing.price import ACCOUNTINGS, price_layer
from nsc_deploy.energy.pricing.profile import load_profile
from nsc_deploy.errors import ConfigError, DataError, GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.hooks import count_module

DT, STEPS, SAMPLES = 0.01, 9, 5
BETA, LIMIT = 0.75, 0.25


def dyadic(module: nn.Module) -> nn.Module:
    """Weights on a grid on which sums are exact in any order, so that torch and the simulator agree."""
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim:
                weight.copy_(torch.round(torch.randn(weight.shape, generator=_SEED) * 4) / 16)
    return module.eval()


_SEED = torch.Generator().manual_seed(3)


def spikes(*shape: int, rate: float = 0.3) -> NDArray[np.uint8]:
    draw = np.random.default_rng(5).random((STEPS, SAMPLES, *shape))
    return (draw < rate).astype(np.uint8)


def leaky() -> snn.Leaky:
    return snn.Leaky(beta=BETA, threshold=LIMIT, reset_mechanism="zero", reset_delay=False)


class DenseSnn(nn.Module):
    """Two layers of snnTorch neurons, the usual loop over time."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(12, 8), leaky()
        self.fc2, self.lif2 = nn.Linear(8, 4, bias=False), leaky()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mem1, mem2 = self.lif1.reset_mem(), self.lif2.reset_mem()
        out = []
        for step in x:
            spk1, mem1 = self.lif1(self.fc1(step), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            out.append(spk2)
        return torch.stack(out)


class ConvSnn(nn.Module):
    """A convolution with stride, padding and groups, flattened by a function into a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2)
        self.lif1, self.drop = leaky(), nn.Dropout(0.5)
        self.fc, self.lif2 = nn.Linear(4 * 3 * 3, 4), leaky()

    def forward(self, x: torch.Tensor) -> None:
        mem1, mem2 = self.lif1.reset_mem(), self.lif2.reset_mem()
        for step in x:
            spk, mem1 = self.lif1(self.conv(step), mem1)
            _, mem2 = self.lif2(self.fc(torch.flatten(self.drop(spk), 1)), mem2)


def array(tensor: torch.Tensor) -> NDArray[Any]:
    return tensor.detach().numpy()


def dense_graph(net: DenseSnn, signal: Signal) -> Network:
    builder = GraphBuilder(DT)
    builder.input(12, signal)
    builder.affine("fc1", array(net.fc1.weight), array(net.fc1.bias))
    builder.lif("lif1", BETA, LIMIT, 8)
    builder.linear("fc2", array(net.fc2.weight))
    builder.lif("lif2", BETA, LIMIT, 4)
    builder.output(4)
    return assemble(builder.build())


def conv_graph(net: ConvSnn) -> Network:
    builder = GraphBuilder(DT)
    builder.input((2, 6, 6), Signal.EVENTS)
    conv = nir.Conv2d((6, 6), array(net.conv.weight), (2, 2), (1, 1), (1, 1), 2, array(net.conv.bias))  # type: ignore[arg-type]
    builder.add("conv", conv)
    builder.lif("lif1", BETA, LIMIT, (4, 3, 3))
    builder.add("flat", nir.Flatten({"input": np.array([4, 3, 3])}, 0, -1))
    builder.affine("fc", array(net.fc.weight), array(net.fc.bias))
    builder.lif("lif2", BETA, LIMIT, 4)
    builder.output(4)
    return assemble(builder.build())


def assert_same(found: PartCount, wanted: PartCount) -> None:
    assert [layer.name for layer in found.layers] == [layer.name for layer in wanted.layers]
    assert found.per_sample.spikes.any()
    for mine, other in zip(found.layers, wanted.layers, strict=True):
        for field in ("primitive", "arrives", "neurons", "synapses", "dense", "footprint", "once", "drives"):
            assert getattr(mine, field) == getattr(other, field), (mine.name, field)
        for field in ("per_sample", "per_step", "traffic", "traffic_per_step"):
            pairs = zip(getattr(mine, field).arrays(), getattr(other, field).arrays(), strict=True)
            assert all(np.array_equal(a, b) for a, b in pairs), (mine.name, field)


@pytest.mark.parametrize("signal", [Signal.EVENTS, Signal.REAL])
@pytest.mark.parametrize("batch", [64, 2])
def test_a_dense_snntorch_module_counts_as_its_graph(signal: Signal, batch: int) -> None:
    net = dyadic(DenseSnn())
    assert isinstance(net, DenseSnn)
    values = spikes(12)
    found = count_module(net, torch.from_numpy(values), dt=DT, signal=signal.value, batch=batch)
    recording = Recording(values, signal, DT)
    assert_same(found.part, count_network(dense_graph(net, signal), recording, name="graph"))


def test_a_convolutional_snntorch_module_counts_as_its_graph() -> None:
    net = dyadic(ConvSnn())
    assert isinstance(net, ConvSnn)
    values = spikes(2, 6, 6)
    found = count_module(net, values, dt=DT, signal="events")
    recording = Recording(values, Signal.EVENTS, DT)
    assert_same(found.part, count_network(conv_graph(net), recording, name="graph"))


def test_norse_cells_count_as_their_graph() -> None:
    # Norse with tau_mem_inv * dt = 1/4: v + (i - v) / 4, which is exact on a dyadic grid for few steps.
    cells = [
        norse.LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.tensor(25.0), v_th=torch.tensor(0.0625)), dt=DT)
        for _ in range(2)
    ]
    fc1, fc2 = dyadic(nn.Linear(12, 8, bias=False)), dyadic(nn.Linear(8, 4, bias=False))
    net = norse.SequentialState(fc1, cells[0], fc2, cells[1])

    def run(module: nn.Module, x: torch.Tensor) -> None:
        state = None
        for step in x:
            _, state = module(step, state)

    values = spikes(12)[:5]
    found = count_module(net, values, dt=DT, signal="events", run=run)
    builder = GraphBuilder(DT)
    builder.input(12, Signal.EVENTS)
    for index, layer in ((0, fc1), (2, fc2)):
        size = layer.weight.shape[0]  # type: ignore[index]
        builder.linear(str(index), array(layer.weight))  # type: ignore[arg-type]
        ones = np.ones(size)
        builder.add(
            str(index + 1),
            nir.LIF(tau=4 * DT * ones, r=ones, v_leak=0 * ones, v_threshold=0.0625 * ones, v_reset=0 * ones),
        )
    builder.output(4)
    wanted = count_network(assemble(builder.build()), Recording(values, Signal.EVENTS, DT), name="graph")
    assert_same(found.part, wanted)


@pytest.mark.peers
def test_spikingjelly_nodes_count_as_their_graph() -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    functional = pytest.importorskip("spikingjelly.activation_based.functional")
    fc = dyadic(nn.Linear(12, 8, bias=False))
    # Off the grid of the potentials: SpikingJelly fires at the threshold, NIR above it.
    limit = 0.07
    net = nn.Sequential(fc, neuron.LIFNode(tau=4.0, decay_input=True, v_threshold=limit, v_reset=0.0))

    def run(module: nn.Module, x: torch.Tensor) -> None:
        functional.reset_net(module)
        for step in x:
            module(step)

    values = spikes(12)[:5]
    found = count_module(net, values, dt=DT, signal="events", run=run)
    ones = np.ones(8)
    builder = GraphBuilder(DT)
    builder.input(12, Signal.EVENTS)
    builder.linear("0", array(fc.weight))  # type: ignore[arg-type]
    builder.add("1", nir.LIF(tau=4 * DT * ones, r=ones, v_leak=0 * ones, v_threshold=limit * ones))
    builder.output(8)
    wanted = count_network(assemble(builder.build()), Recording(values, Signal.EVENTS, DT), name="graph")
    assert_same(found.part, wanted)


def test_energy_is_that_of_the_counts() -> None:
    found = count_module(dyadic(DenseSnn()), spikes(12), dt=DT, signal="events")
    profile = load_profile("horowitz-45nm")
    for one in ACCOUNTINGS:
        priced = [price_layer(layer, profile, one, spiking=True) for layer in found.part.layers]
        whole = sum(float(price.total.mean()) for price in priced)
        assert found.energy()[one.name].mean_uj == pytest.approx(whole * 1e-6)
    assert "<td>fc1</td>" in found._repr_html_()


def test_no_hook_stays_behind() -> None:
    net = dyadic(DenseSnn())
    count_module(net, spikes(12), dt=DT)
    with pytest.raises(GraphError):
        count_module(nn.Sequential(nn.Linear(12, 3), nn.ReLU()), spikes(12), dt=DT)
    assert not any(child._forward_hooks for child in net.modules())


class Adding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.lif = nn.Linear(12, 3), nn.Linear(12, 3), leaky()

    def forward(self, x: torch.Tensor) -> None:
        mem = self.lif.reset_mem()
        for step in x:
            _, mem = self.lif(self.a(step) + self.b(step), mem)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(12, 12), leaky()

    def forward(self, x: torch.Tensor) -> None:
        mem = self.lif.reset_mem()
        for step in x:
            spk, mem = self.lif(self.fc(step), mem)
            self.fc(spk)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Sequential(nn.Linear(12, 3), nn.ReLU()), "ReLU"),
        (Adding(), "no layer gave out"),
        (Twice(), "two places"),
        (nn.Sequential(nn.Dropout(), nn.Linear(12, 3)), "training mode"),
        (nn.Sequential(nn.Identity()), "no layer"),
    ],
)
def test_what_cannot_be_counted_is_refused(module: nn.Module, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        count_module(module, spikes(12), dt=DT)


class Between(nn.Module):
    """Two layers, and something done to what the first gives out, or to the inputs of the last."""

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.change = nn.Linear(12, 12), nn.Linear(12, 3), change

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.change(self.first(x)))  # type: ignore[no-any-return]


def _added_to(values: torch.Tensor) -> torch.Tensor:
    values += 1
    return values


IN_PLACE = {
    "a function": lambda values: values.relu_(),
    "a mask": lambda values: values.mul_(torch.ones(12)),
    "a sum": _added_to,
    "a view of it": lambda values: values.view(-1).clamp_(0, 1).view(values.shape),
    "some of it": lambda values: values[0].zero_().new_zeros(0).sum() + values,
}
ANOTHER_ORDER = {
    "turned": lambda values: values[..., :12].transpose(0, 1),
    "a part": lambda values: values[:-1],
    "part of each": lambda values: values[..., :1].expand(values.shape),
    "every other": lambda values: values[::2],
}
THE_SAME = {
    "itself": lambda values: values,
    "a copy of nothing": lambda values: values.contiguous().detach(),
    "in rows": lambda values: values.reshape(-1, 12),
    "with an axis": lambda values: values.unsqueeze(0).squeeze(0),
    "turned and back": lambda values: values.transpose(0, 2).transpose(0, 2),
}


@pytest.mark.parametrize("case", IN_PLACE)
def test_what_is_changed_in_place_is_refused(case: str) -> None:
    with pytest.raises(GraphError, match=r"in place|no layer gave out"):
        count_module(Between(IN_PLACE[case]).eval(), spikes(12), dt=DT, signal="events")


@pytest.mark.parametrize("case", IN_PLACE)
def test_what_is_changed_in_place_behind_the_last_layer_is_refused(case: str) -> None:
    def run(module: nn.Module, x: torch.Tensor) -> None:
        IN_PLACE[case](module(x))

    with pytest.raises(GraphError, match="changed in place"):
        count_module(nn.Sequential(nn.Linear(12, 12)).eval(), spikes(12), dt=DT, run=run)


@pytest.mark.parametrize("case", ANOTHER_ORDER)
def test_views_of_other_values_are_refused(case: str) -> None:
    with pytest.raises(GraphError, match=r"in another order, in part|once a step or once for all"):
        count_module(Between(ANOTHER_ORDER[case]).eval(), spikes(12)[:, :4], dt=DT, signal="events", batch=4)


def test_images_on_their_side_are_refused() -> None:
    conv = nn.Conv2d(1, 1, (1, 3), stride=(2, 1)).eval()
    images = np.zeros((STEPS, SAMPLES, 1, 5, 5), np.uint8)
    images[..., 0, :] = 1
    net = nn.Sequential(conv)
    upright = count_module(net, images, dt=DT, signal="events", run=lambda net, x: [net(one) for one in x])
    assert upright.part.per_sample.acs.tolist() == [STEPS * 9] * SAMPLES
    with pytest.raises(GraphError, match="in another order"):
        count_module(net, images, dt=DT, run=lambda net, x: [net(one.transpose(-1, -2)) for one in x])


@pytest.mark.parametrize("case", THE_SAME)
def test_views_of_all_values_in_their_order_are_counted(case: str) -> None:
    part = count_module(Between(THE_SAME[case]).eval(), spikes(12), dt=DT, signal="events").part
    assert {layer.name: layer.per_sample.synaptic.sum() for layer in part.layers} == {
        "first": 12 * spikes(12).sum(),
        "last": 36 * STEPS * SAMPLES,
    }


def test_steps_of_what_a_layer_gives_out_at_once_are_counted() -> None:
    class AtOnce(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = nn.Linear(12, 3), leaky()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mem, found = self.lif.reset_mem(), []
            for step in self.fc(x.reshape(-1, 12)).reshape(len(x), -1, 3):
                spk, mem = self.lif(step, mem)
                found.append(spk)
            return torch.stack(found)

    part = count_module(AtOnce().eval(), spikes(12), dt=DT, signal="events").part
    assert [layer.name for layer in part.layers] == ["fc", "lif"]


@pytest.mark.parametrize(
    "product",
    [
        nn.functional.linear,
        lambda values, weight: values @ weight.T,
        lambda values, weight: torch.einsum("tni,oi->tno", values, weight),
        lambda values, weight: torch.matmul(values, weight.T),
        torch.inner,
        lambda values, weight: torch.linalg.matmul(values, weight.T),
        lambda values, weight: torch.linalg.multi_dot([values[0], weight.T]),
        lambda values, weight: nn.functional.bilinear(
            values[0], values[0], weight[:, None] * torch.ones(12, 1)
        ),
    ],
)
def test_weights_of_no_layer_are_refused(product: Callable[..., torch.Tensor]) -> None:
    weight = torch.randn(100, 12)
    net = nn.Sequential(nn.Linear(12, 12)).eval()
    with pytest.raises(GraphError, match="outside of its layers"):
        count_module(net, spikes(12), dt=DT, run=lambda module, x: product(module(x), weight))


class Behind(nn.Module):
    """A layer, and something that computes with weights behind it."""

    def __init__(self, behind: Callable[[Any, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.fc, self.w, self.behind = nn.Linear(12, 4), nn.Parameter(torch.ones(3, 4)), behind
        self.attention = nn.MultiheadAttention(4, 1)
        self.encoder = nn.TransformerEncoderLayer(4, 1, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.behind(self, self.fc(x))


@pytest.mark.parametrize(
    "behind",
    [
        lambda net, y: net.attention(y, y, y)[0],
        lambda net, y: net.encoder(y),
        lambda net, y: (y[:, :, None] * net.w).sum(-1),
        lambda net, y: (y[:, :, None] * net.w.detach().clone().double()).sum(-1),
        lambda net, y: y * net.w[0].exp(),
        lambda net, y: nn.functional.layer_norm(y, (4,), net.w[0]),
        lambda net, y: net.fc.forward(y[..., :1].expand(-1, -1, 12)),
    ],
)
def test_weights_behind_the_last_layer_are_refused(behind: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(GraphError, match="outside of its layers"):
        count_module(Behind(behind).eval(), spikes(12), dt=DT, signal="events")


def test_what_only_looks_at_weights_is_counted() -> None:
    def looks(net: Any, y: torch.Tensor) -> torch.Tensor:
        held = torch.zeros_like(net.w), net.w.new_ones(2), net.w.detach().clone().T.reshape(-1)
        return y.to(net.w).softmax(-1) + len(held) + net.w.numel()

    part = count_module(Behind(looks).eval(), spikes(12), dt=DT, signal="events").part
    assert [layer.name for layer in part.layers] == ["fc"]


@pytest.mark.parametrize(
    "names", [("input", "output"), ("output", "input"), ("output1", "input_"), ("fc", "lif")]
)
def test_layers_are_called_as_they_like(names: tuple[str, str]) -> None:
    """Whatever the ends of a graph are called."""
    torch.manual_seed(0)
    net = nn.Sequential()
    for name, module in zip(names, (nn.Linear(12, 4), nn.Linear(4, 3)), strict=True):
        net.add_module(name, module)
    part = count_module(net.eval(), spikes(12), dt=DT, signal="events").part
    assert {layer.name: int(layer.per_sample.synaptic.sum()) for layer in part.layers} == {
        names[0]: 4 * spikes(12).sum(),
        names[1]: 12 * STEPS * SAMPLES,
    }


def test_a_layer_called_flat_beside_a_flattened_input_is_counted() -> None:
    net = nn.Sequential()
    net.add_module("input", nn.Sequential())
    net.input.add_module("flat", nn.Linear(12, 4))  # type: ignore[union-attr]
    values = spikes(3, 4)
    part = count_module(net.eval(), values, dt=DT, signal="events", run=lambda net, x: net(x.flatten(2))).part
    assert [layer.name for layer in part.layers] == ["input.flat"]


def test_a_layer_called_with_its_argument_by_name_is_counted() -> None:
    def run(net: Any, x: torch.Tensor) -> None:
        mem = net.lif1.reset_mem()
        for step in x:
            _, mem = net.lif1(input_=net.fc1(input=step), mem=mem)

    net = DenseSnn().eval()
    part = count_module(net, spikes(12), dt=DT, signal="events", run=run).part
    assert part.per_sample.acs.tolist() == (8 * spikes(12).sum(axis=(0, 2))).tolist()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_inputs_are_of_the_kind_of_the_weights(dtype: torch.dtype) -> None:
    net = nn.Sequential(nn.Linear(12, 8), nn.Linear(8, 4)).eval().to(dtype)
    part = count_module(net, torch.from_numpy(spikes(12)).to(dtype), dt=DT, signal="events").part
    assert part.per_sample.acs.tolist() == (8 * spikes(12).sum(axis=(0, 2))).tolist()
    assert part.per_sample.macs.tolist() == [32 * STEPS] * SAMPLES


@pytest.mark.parametrize("batch", [0, -3])
def test_a_batch_of_no_samples_is_refused(batch: int) -> None:
    with pytest.raises(ConfigError, match="1 or more is wanted") as caught:
        count_module(dyadic(DenseSnn()), spikes(12), dt=DT, batch=batch)
    assert caught.value.where == "batch"


def test_inference_mode_is_refused() -> None:
    def run(module: nn.Module, x: torch.Tensor) -> None:
        with torch.inference_mode():
            module(x)

    with pytest.raises(GraphError, match="inference_mode"):
        count_module(nn.Sequential(nn.Linear(12, 3)).eval(), spikes(12), dt=DT, run=run)


class Unrested(nn.Module):
    """Keeps its potential from one call to the next, as neurons of SpikingJelly do."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(12, 3), leaky()
        self.kept: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> None:
        for step in x:
            _, self.kept = self.lif(self.fc(step), self.lif.reset_mem() if self.kept is None else self.kept)


def test_a_module_that_goes_on_from_where_it_was_is_refused() -> None:
    net = Unrested().eval()
    nn.init.constant_(net.fc.weight, 0.1 / 12)  # fires in steps 4 and 8 of 9, and keeps what the last adds
    nn.init.constant_(net.fc.bias, 0.0)
    values = np.ones((STEPS, SAMPLES, 12), np.uint8)
    values[:, 0] = 0
    with pytest.raises(GraphError, match=r"module 'lif': gives out something else(.|\n)*run=lambda"):
        count_module(net, values, dt=DT, signal="events", batch=1)

    def rested(module: nn.Module, x: torch.Tensor) -> None:
        net.kept = None
        module(x)

    counts = [count_module(net, values, dt=DT, run=rested, batch=batch).part for batch in (1, 5)]
    assert counts[0].per_sample.spikes.tolist() == counts[1].per_sample.spikes.tolist()


def test_bad_inputs_are_refused() -> None:
    net = DenseSnn()
    for values, signal in (
        (spikes(12)[:, 0], "events"),
        (np.full((2, 2, 12), np.nan), "real"),
        (spikes(12) * 2, "events"),
        (spikes(12), "sparks"),
    ):
        with pytest.raises(DataError):
            count_module(net, values, dt=DT, signal=signal)

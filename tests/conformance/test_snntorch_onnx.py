"""torch's default export of a snnTorch network, unrolled over time, counts exactly like its NIR graph."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import AvgPool2d, Conv2d, Flatten, Linear, Module, Sequential

from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.energy.counting.operations import PartCount
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Reset, Signal
from tests.support.snntorch_models import exported, leaky

nir = pytest.importorskip("nir")
STEPS, DT = 4, 1e-4


class Unrolled(Module):
    def __init__(self, net: Sequential) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for one in self.net:
            if hasattr(one, "reset_mem"):
                one.reset_mem()
        return torch.stack([self.net(x[t]) for t in range(STEPS)])


def dense() -> Sequential:
    return Sequential(Linear(10, 12), leaky(12), Linear(12, 6, bias=False), leaky(6, beta=0.8))


def convolutional() -> Sequential:
    return Sequential(
        *(Conv2d(1, 3, 3), leaky((3, 6, 6)), Conv2d(3, 4, 3, stride=2, padding=1), leaky((4, 3, 3))),
        *(Flatten(), Linear(36, 5), leaky(5)),
    )


def averaged() -> Sequential:
    return Sequential(
        Conv2d(1, 3, 3),
        leaky((3, 6, 6)),
        AvgPool2d(2),
        Conv2d(3, 4, 2),
        leaky((4, 2, 2)),
        Flatten(),
        Linear(16, 5),
    )


def layers(part: PartCount) -> list[dict[str, list[int]]]:
    """What each layer with weights costs, over all its places in an unrolled graph."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for one in part.layers:
        if one.synapses:
            name = one.name.split("/")[-2].split("_")[0] if "/" in one.name else one.name
            numbers = {
                "acs": one.per_sample.acs,
                "macs": one.per_sample.macs,
                "biases": one.per_sample.additions,
                "weights read": one.traffic.weight_reads,
            }
            sums = found.setdefault(name, dict.fromkeys(numbers, np.zeros(part.samples, np.int64)))
            found[name] = {key: sums[key] + value for key, value in numbers.items()}
    return [{key: value.tolist() for key, value in one.items()} for one in found.values()]


@pytest.mark.parametrize("free", [True, False], ids=["free batch", "batch of one"])
@pytest.mark.parametrize(
    ("build", "shape"), [(dense, (10,)), (convolutional, (1, 8, 8)), (averaged, (1, 8, 8))]
)
def test_counts_as_its_nir_graph(
    tmp_path: Path, build: Callable[[], Sequential], shape: tuple[int, ...], free: bool
) -> None:
    torch.manual_seed(0)
    net = build().eval()
    for parameter in net.parameters():
        if parameter.ndim > 1:
            torch.nn.init.uniform_(parameter, -0.2, 0.5)
            if build is not averaged:  # real values are multiplied with weights of zero in ONNX
                parameter.data[parameter.abs() < 0.05] = 0
    nir.write(tmp_path / "net.nir", exported(net, shape))
    events = (torch.rand(STEPS, 3 if free else 1, *shape) > 0.5).float()
    options = {"dynamic_axes": {"x": {1: "N"}}} if free else {}
    torch.onnx.export(
        Unrolled(net), (events,), str(tmp_path / "net.onnx"), input_names=["x"], dynamo=False, **options
    )
    recording = Recording(events.numpy().astype(np.uint8), Signal.EVENTS, DT)
    network = read_network(tmp_path / "net.nir", dt=DT, reset=Reset.ZERO, signal=Signal.EVENTS)
    as_nir = count_network(network, recording, name="nir")
    as_onnx = count_onnx(tmp_path / "net.onnx", recording)
    assert as_nir.per_sample.spikes.all()
    assert layers(as_onnx) == layers(as_nir)
    assert as_onnx.spiking

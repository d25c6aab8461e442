"""LSTM and GRU as torch itself writes them: with states that are made of shapes that the graph asks for."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from nsc_deploy.diagnostics import Diagnostic, listening
from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.c.int8.chain import read_chain, require_what_runs
from nsc_deploy.exporters.c.int8.check import operator_verdicts
from nsc_deploy.graphs.formats.recording import Layout
from nsc_deploy.graphs.onnx_layout import feed_steps_first
from nsc_deploy.graphs.onnx_network import read_onnx_network
from nsc_deploy.passes.verdict import Status

pytestmark = pytest.mark.filterwarnings("ignore")  # torch says that its exporter is an old one
STEPS, INPUTS, UNITS, OUTPUTS = 7, 5, 6, 3
OPEN = {
    "fixed": {},
    "samples": {"x": {1: "N"}, "y": {1: "N"}},
    "both": {"x": {0: "T", 1: "N"}, "y": {0: "T", 1: "N"}},
}


class Recurrent(torch.nn.Module):
    def __init__(self, kind: str, *, batch_first: bool = False, last: bool = False) -> None:
        super().__init__()
        self.cells = getattr(torch.nn, kind)(INPUTS, UNITS, batch_first=batch_first)
        self.out = torch.nn.Linear(UNITS, OUTPUTS)
        self.last = last

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        given, _ = self.cells(values)
        decided: torch.Tensor = self.out(given[-1] if self.last else given)
        return decided


@pytest.fixture(params=["LSTM", "GRU"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def exported(path: Path, module: Recurrent, axes: dict[str, dict[int, str]]) -> Path:
    torch.manual_seed(0)
    shape = (1, STEPS, INPUTS) if module.cells.batch_first else (STEPS, 1, INPUTS)
    torch.onnx.export(
        module.eval(),
        (torch.rand(shape),),
        str(path),
        input_names=["x"],
        output_names=["y"],
        dynamic_axes=axes,
        dynamo=False,
    )
    return path


def run(module: Recurrent, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """[T, N, C] to [T, N, K], whatever the order of the module."""
    first = (lambda one: one.swapaxes(0, 1)) if module.cells.batch_first else (lambda one: one)
    with torch.no_grad():
        found: NDArray[np.float32] = first(module(torch.from_numpy(first(values).copy())).numpy())
    return found


def samples(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((STEPS, count, INPUTS)).astype(np.float32)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("axes", OPEN)
def test_both_are_layers_of_c_whatever_sizes_are_open(
    kind: str, axes: str, batch_first: bool, tmp_path: Path
) -> None:
    module = Recurrent(kind, batch_first=batch_first)
    names = {
        name: {1 - axis if batch_first else axis: to for axis, to in of.items()}
        for name, of in OPEN[axes].items()
    }
    network = read_onnx_network(exported(tmp_path / "net.onnx", module, names))
    assert {one.status for one in operator_verdicts(network)} == {Status.NATIVE}
    chain = read_chain(network, "net.onnx")
    require_what_runs(chain, network, samples(4), "net.onnx")
    expected = run(module, samples(4))
    cells, out = chain.layers
    np.testing.assert_allclose(out.run(cells.run(samples(4).astype(np.float64))), expected, atol=1e-5)


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_graph_for_one_sample_runs_as_many_as_there_are(
    kind: str, batch_first: bool, tmp_path: Path
) -> None:
    module = Recurrent(kind, batch_first=batch_first)
    network = read_onnx_network(exported(tmp_path / "net.onnx", module, {}))
    np.testing.assert_allclose(network.run(samples(3)), run(module, samples(3)), atol=1e-6)


def test_samples_first_are_told_where_steps_are_counted_first(kind: str, tmp_path: Path) -> None:
    axes = {"x": {0: "N", 1: "T"}, "y": {0: "N", 1: "T"}}
    path = exported(tmp_path / "net.onnx", Recurrent(kind, batch_first=True), axes)
    told: list[Diagnostic] = []
    with listening(told.append):
        feed_steps_first(onnx.load(path), Layout.STEPS_FIRST, (STEPS, 3, INPUTS), "net.onnx")
    assert ["turns the first two around" in one.evidence for one in told] == [True]


def test_one_result_for_all_steps_is_refused_as_such(kind: str, tmp_path: Path) -> None:
    path = exported(tmp_path / "net.onnx", Recurrent(kind, last=True), {})
    with pytest.raises(GraphError, match=r"one result for all of them \(1, 3\)"):
        read_onnx_network(path)

"""What an export says of its own check, and keeps in its manifest."""

import json
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest

from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.manifest import VerificationRecord
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.verification.compare import compare_runs
from nsc_deploy.verification.recorded import RecordedRunner
from nsc_deploy.verification.runner import ReferenceRunner
from tests.support.small_runs import DT

EVENTS = np.random.default_rng(0).integers(0, 2, (20, 6, 6)).astype(np.uint8)


@pytest.mark.parametrize("delayed", [False, True])
@pytest.mark.parametrize("target", ["lava", "c", "nir", "onnx", "snntorch"])
def test_without_a_layer_the_spikes_of_the_outputs_are_counted(
    tmp_path: Path, target: str, delayed: bool
) -> None:
    graph = GraphBuilder(DT)
    graph.input(6, Signal.EVENTS)
    if delayed:
        graph.delay("late", 2, 6)
    graph.output(6)
    write_network(tmp_path / "wire.nir", graph.build())
    write_recording(tmp_path / "wire.npz", Recording(EVENTS, Signal.EVENTS, DT))
    fired = int((EVENTS[:-2] if delayed else EVENTS).sum())
    said: list[str] = []
    export_all(
        tmp_path / "wire.nir", target, tmp_path / "out", inputs=tmp_path / "wire.npz", notify=said.append
    )
    assert any(f"all {fired:,} spikes are those of the reference" in line for line in said), said
    written = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert written["verification"]["spikes"] == fired
    if (compiled := written.get("compiled")) is not None:
        assert compiled["spikes"] == fired


def graded() -> nir.NIRGraph:
    """Neurons that reset by subtraction, whose potentials leave."""
    weights = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    nodes = {
        "input": nir.Input(np.array([6]), metadata={"signal": "events"}),
        "w": nir.Linear(weights),
        "i": nir.I(r=np.full(3, 1000.0)),
        "t": nir.Threshold(np.full(3, 50.0)),
        "s": nir.Scale(np.full(3, -50.0)),
        "output": nir.Output(np.array([3]), metadata={"classes": 3, "group": 1}),
    }
    edges = [*pairwise(["input", "w", "i", "t", "s"]), ("s", "i"), ("i", "output")]
    return nir.NIRGraph(nodes, edges, metadata={"dt": 1e-3}, type_check=False)


@pytest.mark.parametrize(("steps", "parts"), [(2, False), (200, True)])
def test_an_error_of_real_outputs_is_told_beside_what_they_are(
    tmp_path: Path, steps: int, parts: bool
) -> None:
    """Whether or not spikes part: an error that is a tenth of all values is no agreement within it."""
    write_network(tmp_path / "graded.nir", graded())
    events = np.random.default_rng(1).integers(0, 2, (steps, 4, 6)).astype(np.uint8)
    write_recording(tmp_path / "graded.npz", Recording(events, Signal.EVENTS, 1e-3))
    said: list[str] = []
    inputs = tmp_path / "graded.npz"
    export_all(tmp_path / "graded.nir", "lava", tmp_path / "out", inputs=inputs, bits=2, notify=said.append)
    check = VerificationRecord(**json.loads((tmp_path / "out" / "manifest.json").read_text())["verification"])
    assert bool(check.diverging_samples) is parts
    assert check.largest_error is not None
    assert check.largest_output is not None
    assert check.largest_error > 0.05 * check.largest_output
    told = f"up to {check.largest_error:.3g}, of values up to {check.largest_output:.3g}, "
    assert told in said[-1]
    assert "% of the decisions are alike" in said[-1]
    assert "are those of the reference within" not in said[-1]
    assert ("from the reference simulator, outputs by" in said[-1]) is parts


def test_rounding_of_real_outputs_is_told_as_such(tmp_path: Path) -> None:
    graph = GraphBuilder(DT)
    graph.input(6, Signal.EVENTS)
    graph.linear("w", np.full((2, 6), 0.3))
    graph.output(2)
    network = assemble(graph.build())
    wanted = simulate(network, EVENTS).output
    for error, told in (
        (1e-6, "within 1e-06"),
        (0.5, "differ from the reference by up to 0.5, of values up to 2.3"),
    ):
        np.save(tmp_path / "it.npy", wanted + np.float32(error))
        runner = RecordedRunner(tmp_path / "it.npy", network, EVENTS.shape[1])
        found = compare_runs(network, ReferenceRunner(network), runner, EVENTS)
        assert VerificationRecord.of(found, backend="it").sentence.endswith(told)

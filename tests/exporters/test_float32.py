"""The targets that compute a graph as it stands: the same spikes as the reference simulator, or no folder."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nir
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.errors import ConfigError, DataError, ExportError
from nsc_deploy.exporters.base import ScaleGranularity, Status
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.float32 import check_artefact
from nsc_deploy.exporters.inputs import Samples
from nsc_deploy.exporters.manifest import ExactManifest, read_manifest
from nsc_deploy.exporters.onnx import target as onnx_target
from nsc_deploy.exporters.registry import load_target, target_names
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import GraphOptions, read_network, write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.graphs.primitives import PRIMITIVES
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.io.npz import load_npz
from nsc_deploy.verification.runner import LayerTrace, RunTrace
from tests.support.exact_graphs import DT, random_graph
from tests.support.lava import random_events, receiver

TARGETS = ("nir", "onnx", "snntorch", "norse")
FILES = {
    "nir": {"network.nir"},
    "onnx": {"sequence.onnx", "step.onnx", "initial-states.npz"},
    "snntorch": {"network.py", "weights.safetensors"},
    "norse": {"network.py", "weights.safetensors"},
}


@pytest.fixture(scope="module")
def receiver_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("receiver") / "receiver.nir"
    write_network(path, receiver())
    return path


@pytest.fixture
def recording_file(tmp_path: Path) -> Path:
    chance = np.random.default_rng(2)
    events = random_events(chance, 25, 70, 24)
    path = tmp_path / "receiver.npz"
    write_recording(path, Recording(events, Signal.EVENTS, 0.03, chance.integers(0, 6, 70)))
    return path


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


def export(graph: Path, target: str, out: Path, **options: object) -> ExactManifest:
    (folder,) = export_all(graph, target, out, **options)  # type: ignore[arg-type]
    return read_manifest(ExactManifest, folder)


def test_the_receiver_keeps_every_spike_on_its_recorded_inputs(
    receiver_file: Path, recording_file: Path, target: str, tmp_path: Path
) -> None:
    lines: list[str] = []
    out = tmp_path / "out"
    manifest = export(receiver_file, target, out, inputs=recording_file, notify=lines.append)
    names = {path.name for path in out.iterdir()}
    assert names == FILES[target] | {".nsc-deploy", "manifest.json", "source.nir", "inputs.npz"}
    check = manifest.verification
    assert (check.inputs, check.samples, check.steps, check.equal) == ("recorded", 70, 25, True)
    assert check.spikes > 5000
    assert manifest.target == target
    assert manifest.dt == 0.03
    assert (manifest.classes, manifest.group) == (6, 2)
    assert lines[-1].startswith("verified: 70 recorded samples of 25 steps in ")
    assert lines[-1].endswith("spikes are those of the reference simulator")


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_graphs_keep_every_spike(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    keeps_every_spike(tmp_path_factory, seed)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_many_random_graphs_keep_every_spike(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    keeps_every_spike(tmp_path_factory, seed)


def keeps_every_spike(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder = tmp_path_factory.mktemp("graph")
    write_network(folder / "graph.nir", random_graph(seed))
    for target in TARGETS:
        check = export(folder / "graph.nir", target, folder / target).verification
        assert check.equal, (target, check.sentence)
        assert check.inputs == "random"


def test_the_random_graphs_hold_every_primitive() -> None:
    seen = {type(node).__name__ for seed in range(120) for node in random_graph(seed).nodes.values()}
    assert seen >= PRIMITIVES


@pytest.mark.parametrize("name", TARGETS)
def test_every_primitive_is_taken(name: str) -> None:
    target = load_target(name)
    seen: dict[str, set[Status]] = {}
    for seed in range(120):
        for verdict in target.check(assemble(random_graph(seed))).verdicts:
            seen.setdefault(verdict.primitive, set()).add(verdict.status)
            assert verdict.reason
    assert seen.keys() >= PRIMITIVES
    assert all(Status.REFUSED not in found for found in seen.values())


def test_all_targets_are_listed() -> None:
    assert set(target_names()) >= {"lava", *TARGETS}


def two_inputs() -> nir.NIRGraph:
    return nir.NIRGraph(
        {"a": nir.Input(np.array([3])), "b": nir.Input(np.array([3])), "out": nir.Output(np.array([3]))},
        [("a", "out"), ("b", "out")],
        type_check=False,
    )


def too_fast() -> nir.NIRGraph:
    build = GraphBuilder(DT)
    build.input(2, Signal.EVENTS)
    build.add(
        "fast", nir.LIF(tau=np.full(2, DT / 9), r=np.ones(2), v_leak=np.zeros(2), v_threshold=np.ones(2))
    )
    build.output(2)
    return build.build()


@pytest.mark.parametrize(
    ("graph", "where", "reason"),
    [(two_inputs(), "'b'", "one of 2 inputs"), (too_fast(), "'fast'", "shorter than the time step")],
)
def test_what_cannot_be_taken_is_refused_by_name(
    graph: nir.NIRGraph, where: str, reason: str, target: str, tmp_path: Path
) -> None:
    write_network(tmp_path / "graph.nir", graph)
    with pytest.raises(ExportError, match=reason) as caught:
        export_all(tmp_path / "graph.nir", target, tmp_path / "out")
    assert where in str(caught.value.where)
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_an_artefact_that_computes_something_else_never_appears(
    receiver_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The single-step model is written from a graph whose last threshold is higher."""
    other = receiver()
    other.nodes["lif2"].v_threshold = other.nodes["lif2"].v_threshold + 1 / 4
    whole = onnx_target.step_model
    monkeypatch.setattr(onnx_target, "step_model", lambda _network: whole(assemble(other)))
    with pytest.raises(ExportError, match="computes something else") as caught:
        export_all(receiver_file, "onnx", tmp_path / "out")
    assert "'lif2'" in str(caught.value.where)
    assert list(tmp_path.iterdir()) == []


def rounding_graph(seed: int) -> nir.NIRGraph:
    """Sums of many weights off any grid, and thresholds that sums of the same weights just reach."""
    chance = np.random.default_rng(seed)
    build = GraphBuilder(DT)
    build.input(200, Signal.EVENTS)
    weight = np.repeat(chance.normal(0.02, 0.1, (1, 200)), 40, axis=0).astype(np.float32)
    build.linear("dense", weight)
    sums = random_inputs_of(weight)
    build.threshold("spikes", np.sort(sums.ravel())[:: sums.size // 40][:40], 40)
    build.output(40)
    return build.build()


def random_inputs_of(weight: np.ndarray) -> np.ndarray:
    events = (np.random.default_rng(0).random((32, 8, 200)) < 0.3).astype(np.float32)
    return (events @ weight[0]).astype(np.float32)


def test_rounding_is_told_apart_from_a_fault(tmp_path: Path) -> None:
    """Thresholds are sums in one order of summation: another order may come out just above them."""
    write_network(tmp_path / "graph.nir", rounding_graph(1))
    checks = [
        export(tmp_path / "graph.nir", target, tmp_path / target).verification for target in TARGETS[1:]
    ]
    assert any(not check.equal for check in checks), (
        "no backend sums in another order: the test shows nothing"
    )
    for check in checks:
        if not check.equal:
            assert check.tolerance == 1e-4
            assert check.diverging_samples
            assert "float32 rounding" in check.sentence


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"bits": 4}, "--bits"),
        ({"calibration": Path("other.npz")}, "--calibration"),
        ({"calibration": Path("other.npz"), "calibrate": 3}, "--calibrate"),
        ({"granularity": ScaleGranularity.LAYER}, "--scales"),
    ],
)
def test_options_of_quantisation_are_refused(
    receiver_file: Path, target: str, options: dict[str, Any], where: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="float32 weights") as caught:
        export_all(receiver_file, target, tmp_path / "out", **options)
    assert caught.value.where == where


def test_inputs_of_another_graph_are_refused(receiver_file: Path, target: str, tmp_path: Path) -> None:
    write_recording(tmp_path / "other.npz", Recording(np.zeros((4, 2, 9), np.uint8), Signal.EVENTS, 0.03))
    with pytest.raises(ConfigError, match="is not this graph's input"):
        export_all(receiver_file, target, tmp_path / "out", inputs=tmp_path / "other.npz")
    assert not (tmp_path / "out").exists()


def test_damage_is_told(receiver_file: Path, target: str, tmp_path: Path) -> None:
    export(receiver_file, target, tmp_path / "out")
    for name in FILES[target]:
        path = tmp_path / "out" / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(DataError, match="hash differs"):
            read_manifest(ExactManifest, tmp_path / "out")
        path.write_bytes(whole)
    read_manifest(ExactManifest, tmp_path / "out")


def test_onnx_leaves_steps_and_samples_open_and_streams_from_its_initial_states(
    receiver_file: Path, tmp_path: Path
) -> None:
    manifest = export(receiver_file, "onnx", tmp_path / "out")
    network = read_network(receiver_file)
    whole = onnxruntime.InferenceSession(tmp_path / "out" / "sequence.onnx")
    assert [one.shape for one in whole.get_inputs()] == [["T", "N", 24]]
    for steps, samples in ((1, 1), (40, 3)):
        events = random_events(np.random.default_rng(steps), steps, samples, 24).astype(np.float32)
        wanted = simulate(network, events).output
        np.testing.assert_array_equal(whole.run(None, {"input": events})[0], wanted)
    step = onnxruntime.InferenceSession(tmp_path / "out" / "step.onnx")
    states = load_npz(tmp_path / "out" / "initial-states.npz")
    assert {one.name for one in step.get_inputs()} == {"input", *states}
    names = [one.name for one in step.get_outputs()]
    for t, frame in enumerate(events[:, :1]):
        found = dict(zip(names, step.run(names, {"input": frame, **states}), strict=True))
        np.testing.assert_array_equal(found["output"], wanted[t, :1])
        states = {one.input: found[one.output] for one in manifest.states}
    # One Scan; the first layer's products are ahead of it.
    operators = [node.op_type for node in onnx_target.sequence_model(network).graph.node]
    assert operators.count("Scan") == 1
    assert operators.count("MatMul") == 2


def test_nir_is_flat_without_dead_nodes_and_says_what_it_means(tmp_path: Path) -> None:
    inner = nir.NIRGraph(
        {
            "in": nir.Input(np.array([3])),
            "lif": nir.LIF(np.full(3, 0.5), np.ones(3), np.zeros(3), np.full(3, 0.2)),
            "out": nir.Output(np.array([3])),
        },
        [("in", "lif"), ("lif", "out")],
        type_check=False,
    )
    graph = nir.NIRGraph(
        {
            "input": nir.Input(np.array([3])),
            "block": inner,
            "dead": nir.Scale(np.ones(3)),
            "output": nir.Output(np.array([3])),
        },
        [("input", "block"), ("block", "output"), ("block", "dead")],
        type_check=False,
    )
    nir.write(tmp_path / "foreign.nir", graph)
    lines: list[str] = []
    options = GraphOptions.of(0.1, "subtract", "events")
    (out,) = export_all(tmp_path / "foreign.nir", "nir", tmp_path / "out", graph=options, notify=lines.append)
    manifest = read_manifest(ExactManifest, out)
    written = nir.read(tmp_path / "out" / "network.nir")
    assert set(written.nodes) == {"input", "block.lif", "output"}
    assert (written.metadata["dt"], written.metadata["reset"]) == (0.1, "subtract")
    assert manifest.notes == ("dead: removed: no output depends on it",)
    assert "dead: removed: no output depends on it" in lines


@pytest.mark.parametrize("target", ["snntorch", "norse"])
def test_a_module_is_used_as_its_first_lines_say(receiver_file: Path, target: str, tmp_path: Path) -> None:
    """Without nsc-deploy: only the folder, torch, safetensors and the framework."""
    out = tmp_path / "out"
    export(receiver_file, target, out)
    events = random_events(np.random.default_rng(5), 30, 4, 24).astype(np.float32)
    np.save(tmp_path / "events.npy", events)
    script = (
        "import numpy, sys, torch\n"
        f"sys.path.insert(0, {str(out)!r})\n"
        "from network import Network\n"
        "network = Network.load()\n"
        f"values = torch.from_numpy(numpy.load({str(tmp_path / 'events.npy')!r}))\n"
        "whole, _ = network(values)\n"
        "first, state = network(values[:12])\n"
        "rest, _ = network(values[12:], state)\n"
        "assert (torch.cat([first, rest]) == whole).all()\n"
        "state = network.rest(values[0])\n"
        "frames = []\n"
        "for frame in values:\n"
        "    frame, state = network.step(frame, state)\n"
        "    frames.append(frame)\n"
        "assert (torch.stack(frames) == whole).all()\n"
        "whole.sum().backward()\n"
        "assert network.dense1.weight.grad.abs().sum() > 0\n"
        f"numpy.save({str(tmp_path / 'spikes.npy')!r}, whole.detach().numpy())\n"
        "assert 'nsc_deploy' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wanted = simulate(read_network(receiver_file), events).output
    np.testing.assert_array_equal(np.load(tmp_path / "spikes.npy"), wanted)


@pytest.mark.parametrize("target", ["snntorch", "norse"])
def test_names_of_nodes_are_data_whatever_they_are(target: str, tmp_path: Path) -> None:
    names = [
        "forward",
        "class",
        "0",
        "a.b",
        "a_b",
        'x"]; raise SystemExit #',
        "self",
        "über",
        "a b\nc",
        "n_0",
        "T_destination",
    ]
    build = GraphBuilder(DT)
    build.input(3, Signal.EVENTS)
    for name in names:
        build.lif(name, 0.5, -0.1, 3)
        build.linear(f"{name}'w", np.eye(3))
    build.output(3)
    write_network(tmp_path / "graph.nir", build.build())
    check = export(tmp_path / "graph.nir", target, tmp_path / "out").verification
    assert check.equal
    assert check.spikes


def test_nothing_of_a_framework_is_imported_for_nir_and_onnx(receiver_file: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from nsc_deploy.exporters.export import export_all\n"
        "from nsc_deploy.exporters.registry import load_target\n"
        "for name in ('lava', 'nir', 'onnx', 'snntorch', 'norse'): load_target(name)\n"
        f"graph, out = Path({str(receiver_file)!r}), Path({str(tmp_path)!r})\n"
        "for name in ('nir', 'onnx'): export_all(graph, name, out / name)\n"
        "print([name for name in ('torch', 'snntorch', 'norse') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_two_exports_are_equal_byte_for_byte(receiver_file: Path, target: str, tmp_path: Path) -> None:
    export(receiver_file, target, tmp_path / "one")
    export(receiver_file, target, tmp_path / "two")
    names = FILES[target] - {"initial-states.npz"} | {"manifest.json"}
    for name in names - ({"manifest.json"} if target == "onnx" else set()):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    versions = json.loads((tmp_path / "one" / "manifest.json").read_text())["versions"]
    assert versions


class FiresAtThreshold:
    """A backend whose neurons fire at their threshold already, and whose outputs may be wrong in one step."""

    name = "at the threshold"

    def __init__(self, wrong_step: int | None = None) -> None:
        self._wrong_step = wrong_step

    def run(self, values: np.ndarray) -> RunTrace:
        arriving = np.asarray(values, np.float32)
        spikes = (arriving >= 1).astype(np.float32)
        output = spikes.copy()
        if self._wrong_step is not None:
            output[self._wrong_step] = 1
        return RunTrace(output, {"spikes": LayerTrace(spikes, arriving, np.ones(2, np.float32))})


def at_the_threshold(signal: Signal) -> tuple[Network, Samples]:
    """Neurons that what enters reaches the threshold of, in step 3 of every sample, and never goes beyond."""
    build = GraphBuilder(DT)
    build.input(2, signal)
    build.linear("dense", np.eye(2))
    build.threshold("spikes", 1.0, 2)
    build.output(2)
    values = np.zeros((6, 5, 2), np.float32)
    values[3] = 1
    return assemble(build.build()), Samples(values, None, np.arange(5), 5)


def test_nothing_but_equality_passes_where_sums_are_exact() -> None:
    network, inputs = at_the_threshold(Signal.EVENTS)
    with pytest.raises(ExportError, match="sums are exact, so rounding is no reason") as caught:
        check_artefact(network, [FiresAtThreshold()], inputs, "test")
    assert "'spikes'" in str(caught.value.where)
    # A form of the graph that may round otherwise is judged as one whose sums do.
    record = check_artefact(network, [FiresAtThreshold()], inputs, "test", rounds=True)
    assert "float32 rounding" in record.sentence


def test_outputs_are_compared_up_to_where_rounding_parts_each_sample() -> None:
    network, inputs = at_the_threshold(Signal.REAL)
    assert check_artefact(network, [FiresAtThreshold()], inputs, "test").diverging_samples == 5
    with pytest.raises(ExportError, match="outputs differ by up to 1 where no spike does"):
        check_artefact(network, [FiresAtThreshold(wrong_step=1)], inputs, "test")

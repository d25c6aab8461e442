"""`nsc-deploy verify`: every figure against its definition, every backend against the reference."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from numpy.typing import NDArray

from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.exporters.check import graphs_of
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.inputs import choose_samples
from nsc_deploy.exporters.lava.deployment import read_lava_deployment
from nsc_deploy.exporters.registry import load_target
from nsc_deploy.exporters.verify import open_deployment, open_subject, verify
from nsc_deploy.exporters.verify import run as run_deployment
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import GraphOptions, write_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording, write_recording
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.graphs.readout import decide
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.io.files import sha256
from nsc_deploy.verification.compare import compare_runs
from nsc_deploy.verification.limits import Limits, Verification, findings
from nsc_deploy.verification.output import COLOURS as CHART_COLOURS
from nsc_deploy.verification.output import course_chart
from nsc_deploy.verification.runner import LayerTrace, ReferenceRunner, RunTrace
from tests.support.browser import LETTER, opened
from tests.support.lava import ensure_lava, random_events, receiver

SAMPLES = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """receiver.nir with recorded inputs, and a deployment for Lava."""
    made = tmp_path_factory.mktemp("verify")
    chance = np.random.default_rng(0)
    events = random_events(chance, 20, SAMPLES, 24)
    labels = decide(simulate(assemble(receiver()), events).output, 6, 2)
    labels[:12] = (labels[:12] + 1) % 6
    write_network(made / "receiver.nir", receiver())
    write_recording(made / "inputs.npz", Recording(events, Signal.EVENTS, 0.03, labels))
    export_all(made / "receiver.nir", "lava", made / "lava", inputs=made / "inputs.npz", bits=6)
    return made


def run(
    path: Path, against: str, *, inputs: Path | None = None, samples: int | None = None, **options: Any
) -> Verification:
    subject = open_subject(path, GraphOptions())
    limits = options.pop("limits", Limits())
    return verify(subject, against, choose_samples(subject, inputs, samples), limits, **options)


class Shifted:
    """The reference with one threshold moved: a backend that is wrong in a known way."""

    name = "shifted"

    def __init__(self, graph: nir.NIRGraph, node: str, by: float) -> None:
        other = assemble(graph)
        other.node(node).parameters.v_threshold = other.node(node).parameters.v_threshold + by
        self._runner = ReferenceRunner(other)

    def run(self, values: NDArray[Any]) -> RunTrace:
        return self._runner.run(values)


def test_the_first_divergence_is_the_first_layer_of_the_first_step_of_the_first_sample() -> None:
    events = random_events(np.random.default_rng(1), 20, 130, 24)
    graph = receiver()
    found = compare_runs(
        assemble(graph), ReferenceRunner(assemble(graph)), Shifted(graph, "lif1", 0.2), events
    )
    network = assemble(receiver())
    trace = simulate(network, events, record="all", potentials=["lif1"])
    shifted = simulate(moved(network, "lif1", 0.2), events, record="all", potentials=["lif1"])
    differs = (trace.outputs["lif1"] != shifted.outputs["lif1"]).transpose(1, 0, 2)
    sample, step, neuron = np.unravel_index(differs.argmax(), differs.shape)
    first = found.first_divergence
    assert first is not None
    assert (first.sample, first.step, first.layer, first.neuron) == (sample, step, "lif1", neuron)
    assert (first.reference, first.other) == (True, False)
    potential = float(trace.potentials["lif1"][step, sample, neuron])
    assert first.reference_potential == first.other_potential == potential
    assert first.reference_threshold == pytest.approx(0.3)
    assert first.other_threshold == pytest.approx(0.5)
    assert 0.3 < potential <= 0.5
    assert found.diverging_samples == int(differs.any(axis=(1, 2)).sum())
    course = found.first_course
    assert course is not None and course.step == step
    for side, run_of in ((course.reference, trace), (course.other, shifted)):
        assert side.potentials == tuple(run_of.potentials["lif1"][:, sample, neuron].tolist())
        assert side.spikes == tuple((run_of.outputs["lif1"][:, sample, neuron] > 0).tolist())
    chart = course_chart(course, "left", "right")
    assert chart is not None
    assert [len(line.split()) for line in re.findall(r'<polyline points="([^"]+)"', chart)] == [20, 20]
    marks = [len(re.findall(f'<rect [^>]*fill="{colour}"', chart)) for colour in CHART_COLOURS]
    assert marks == [sum(course.reference.spikes), sum(course.other.spikes)]


def moved(network: Any, node: str, by: float) -> Any:
    parameters = network.node(node).parameters
    changed = nir.LIF(parameters.tau, parameters.r, parameters.v_leak, parameters.v_threshold + by)
    nodes = tuple(replace(one, parameters=changed) if one.name == node else one for one in network.nodes)
    return replace(network, nodes=nodes)


def test_figures_of_layers_are_their_definitions() -> None:
    events = random_events(np.random.default_rng(2), 20, 70, 24)
    network = assemble(receiver())
    other = moved(network, "lif1", 0.1)
    found = compare_runs(network, ReferenceRunner(network), ReferenceRunner(other), events)
    one = simulate(network, events, record="all", potentials="all")
    two = simulate(other, events, record="all", potentials="all")
    layers = {layer.node: layer for layer in found.layers}
    assert list(layers) == [n.name for n in network.nodes if n.primitive in {"LIF", "Threshold"}]
    for name in ("left_lif", "lif1", "lif2"):
        first, second = one.outputs[name] > 0, two.outputs[name] > 0
        error = one.potentials[name].astype(np.float64) - two.potentials[name]
        layer = layers[name]
        assert (layer.reference_spikes, layer.other_spikes) == (first.sum(), second.sum())
        assert layer.coincidence == (first & second).sum() / (first | second).sum()
        assert layer.rmse == pytest.approx(np.sqrt((error**2).mean()), rel=1e-9, abs=1e-12)
        assert layer.largest_error == pytest.approx(np.abs(error).max())
    assert layers["left_lif"].rmse == 0
    assert layers["lif1"].coincidence < 1
    gate = simulate(network, events, record=["gate_weight"]).outputs["gate_weight"]
    np.testing.assert_array_equal(ReferenceRunner(network).run(events).layers["gate"].potentials, gate)


def test_confusion_and_accuracy_count_samples(folder: Path) -> None:
    found = run(folder / "lava", "reference").comparison
    recording = read_recording(folder / "inputs.npz")
    deployment = read_lava_deployment(folder / "lava")
    from nsc_deploy.exporters.lava.arithmetic import output_spikes

    first = decide(simulate(deployment.graph(), recording.values).output, 6, 2)
    second = decide(output_spikes(deployment.integers, recording.values), 6, 2)
    assert (found.reference, found.other) == ("reference", "twin")
    decisions = found.decisions
    assert decisions is not None
    wanted = np.zeros((6, 6), int)
    for one, two in zip(first, second, strict=True):
        wanted[one, two] += 1
    assert np.array(decisions.confusion).tolist() == wanted.tolist()
    assert decisions.agreement == (first == second).mean()
    assert decisions.reference_accuracy == (first == recording.labels).mean() == 0.8
    assert decisions.other_accuracy == (second == recording.labels).mean()


def test_the_twin_shows_potentials_in_the_units_of_the_graph(folder: Path) -> None:
    layers = {layer.node: layer for layer in run(folder / "lava", "reference").comparison.layers}
    assert layers.keys() == {"left_lif", "right_lif", "gate", "join", "lif1", "lif2"}
    # Potentials reach several units; six bits of weight cost a few per cent of them, and of the spikes.
    for name in ("left_lif", "right_lif", "gate", "join"):
        assert layers[name].rmse is not None
        assert layers[name].rmse < 0.3
        assert layers[name].coincidence > 0.85


@pytest.mark.parametrize("against", ["onnx", "snntorch", "norse"])
def test_a_graph_is_equal_in_every_exact_backend(folder: Path, against: str) -> None:
    found = run(folder / "receiver.nir", against, inputs=folder / "inputs.npz", samples=9)
    one = found.comparison
    assert one.equal
    assert (one.reference, one.other, one.samples) == ("reference", against, 9)
    assert all(layer.rmse == 0 for layer in one.layers)
    assert len(one.layers) == 6


def test_a_deployment_runs_its_own_artefact(folder: Path, tmp_path: Path) -> None:
    export_all(folder / "receiver.nir", "onnx", tmp_path / "onnx", inputs=folder / "inputs.npz")
    found = run(tmp_path / "onnx", "twin", samples=5, bits=3).comparison
    assert (found.reference, found.other) == ("onnx", "twin")
    assert not found.equal
    assert run(tmp_path / "onnx", "reference", samples=5).comparison.equal
    with pytest.raises(ConfigError, match="equal to itself"):
        run(tmp_path / "onnx", "onnx")


@pytest.mark.parametrize(
    "options", [GraphOptions(dt=1.0), GraphOptions(reset=Reset.ZERO), GraphOptions(signal=Signal.REAL)]
)
def test_what_a_deployment_says_itself_is_not_asked(folder: Path, options: GraphOptions) -> None:
    for read in (open_subject, partial(graphs_of, target=load_target("lava"))):
        with pytest.raises(ConfigError, match=r"^(dt|reset|signal): is for a graph file"):
            read(folder / "lava", options)


def test_bits_are_refused_where_nothing_is_quantised(folder: Path) -> None:
    inputs = folder / "inputs.npz"
    for subject, against in (("lava", "reference"), ("lava", "onnx"), ("receiver.nir", "onnx")):
        with pytest.raises(ConfigError, match="bits: no weight is quantised on the way"):
            run(folder / subject, against, inputs=inputs, bits=2)
    with pytest.raises(ConfigError, match="there is no backend 'pigeon'"):
        run(folder / "lava", "pigeon", bits=2)


@pytest.mark.lava
def test_the_twin_is_the_real_lava_in_every_layer(folder: Path) -> None:
    ensure_lava()
    found = run(folder / "lava", "lava", samples=4).comparison
    assert (found.reference, found.other) == ("twin", "lava")
    assert found.equal
    assert all(layer.rmse == 0 for layer in found.layers)
    assert len(found.layers) == 6


def test_outputs_that_are_no_spikes_are_compared_by_value() -> None:
    build = GraphBuilder(0.1)
    build.input(3, Signal.EVENTS)
    build.linear("dense", np.eye(3))
    build.add("integrator", nir.LI(tau=np.full(3, 0.2), r=np.ones(3), v_leak=np.zeros(3)))
    build.output(3, classes=3)
    network = assemble(build.build())

    class Louder:
        name = "louder"

        def run(self, values: NDArray[Any]) -> RunTrace:
            trace = ReferenceRunner(network).run(values)
            return RunTrace(trace.output + 0.5, {"integrator": LayerTrace(None, trace.output + 0.5)})

    events = random_events(np.random.default_rng(3), 10, 8, 3)
    found = compare_runs(network, ReferenceRunner(network), Louder(), events)
    assert found.output.rmse == pytest.approx(0.5)
    assert found.output.coincidence is None
    assert found.layers[0].rmse == pytest.approx(0.5)
    assert found.first_divergence is None
    assert not found.equal
    with pytest.raises(ConfigError, match="outputs are no spikes"):
        findings(found, Limits(min_coincidence=0.5))


def test_limits_are_met_or_missed_at_their_value(folder: Path) -> None:
    found = run(folder / "lava", "reference").comparison
    share = found.output.coincidence
    assert share is not None
    just, above = Limits(min_coincidence=share), Limits(min_coincidence=min(1.0, share + 1e-9))
    assert [one.met for one in findings(found, just)] == [True]
    assert [one.met for one in findings(found, above)] == [False]
    assert findings(found, Limits()) == ()
    assert [one.met for one in findings(found, Limits(exact=True, max_accuracy_drop=100))] == [True, False]


def test_what_cannot_be_verified_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no recorded inputs"):
        run(folder / "receiver.nir", "twin")
    with pytest.raises(ConfigError, match="61 samples are wanted and 60 are there"):
        run(folder / "lava", "reference", samples=61)
    other = tmp_path / "other.npz"
    write_recording(other, Recording(np.zeros((4, 2, 9), np.uint8), Signal.EVENTS, 0.03))
    with pytest.raises(ConfigError, match=r"is not this graph's input.*\nName inputs"):
        run(folder / "receiver.nir", "twin", inputs=other)
    silent = receiver()
    silent.nodes["input"].metadata.clear()
    nir.write(tmp_path / "silent.nir", silent)
    with pytest.raises(ConfigError, match="does not say what enters; signal events"):
        run(tmp_path / "silent.nir", "snntorch", inputs=folder / "inputs.npz")
    (tmp_path / "manifest.json").write_text('{"target": "pigeon"}')
    with pytest.raises(DataError, match="exported to 'pigeon'"):
        open_subject(tmp_path, GraphOptions())
    (tmp_path / "manifest.json").write_text("[1]")
    with pytest.raises(DataError, match="does not name its target"):
        open_subject(tmp_path, GraphOptions())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_limit_is_a_number(bad: float) -> None:
    with pytest.raises(ConfigError, match=r"max_rmse: (nan|inf) is no limit"):
        Limits(max_rmse=bad)


def test_code_of_a_folder_runs_only_where_that_is_allowed(folder: Path, tmp_path: Path) -> None:
    export_all(folder / "receiver.nir", "snntorch", tmp_path / "snn", inputs=folder / "inputs.npz")
    code, manifest = tmp_path / "snn" / "network.py", tmp_path / "snn" / "manifest.json"
    refusal = r"snn/network.py: is Python code(.|\n)*somebody else's(.|\n)*run_code"
    with pytest.raises(ConfigError, match=refusal):
        run(tmp_path / "snn", "reference")
    with pytest.raises(ConfigError, match=refusal):
        run(tmp_path / "snn", "snntorch", on="reference")
    with pytest.raises(ConfigError, match=refusal):
        run_deployment(open_deployment(tmp_path / "snn"), samples=5)
    assert run(tmp_path / "snn", "onnx", on="reference", samples=5).comparison.equal
    assert run(tmp_path / "snn", "reference", run_code=True).comparison.equal
    ran = run_deployment(open_deployment(tmp_path / "snn"), samples=5, run_code=True)
    assert ran.comparison.equal
    was = sha256(code)
    code.write_text("open('ran', 'w')\nraise SystemExit(0)\n")
    manifest.write_text(manifest.read_text().replace(was, sha256(code)))
    failed = nsc(tmp_path / "snn", "--against", "reference", "--exact", "--run-code")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "ended with exit code 0 before it had loaded" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_an_export_to_lava_says_how_its_integers_compare(folder: Path) -> None:
    record = read_lava_deployment(folder / "lava").manifest.verification
    found = run(folder / "lava", "reference").comparison
    assert record is not None
    assert found.decisions is not None
    assert (record.inputs, record.samples, record.steps) == ("recorded", SAMPLES, 20)
    assert record.coincidence == found.output.coincidence
    assert record.diverging_samples == found.diverging_samples > 0
    assert (record.accuracy, record.agreement) == (found.decisions.other_accuracy, found.decisions.agreement)
    assert not record.equal


def nsc(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-c",
        "from nsc_deploy.cli.app import main; main()",
        "verify",
        *map(str, arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})


def test_the_command_has_three_ways_to_end(folder: Path, tmp_path: Path) -> None:
    met = nsc(folder / "lava", "--against", "reference", "--samples", 8, "--json", "--out", tmp_path / "page")
    assert met.returncode == 0, met.stderr
    answer = json.loads(met.stdout)
    assert answer["comparison"]["samples"] == 8
    assert answer["passed"] is True
    written = json.loads((tmp_path / "page" / "verification.json").read_text())
    written["comparison"] |= {
        key: answer["comparison"][key] for key in ("reference_seconds", "other_seconds")
    }
    assert written == answer
    page = (tmp_path / "page" / "verification.html").read_text()
    assert "left_lif" in page
    assert "http" not in page
    missed = nsc(folder / "lava", "--against", "reference", "--exact", "--samples", 30)
    assert missed.returncode == 1, missed.stderr
    assert "MISSED  every spike and output equal" in missed.stdout
    assert "first divergence: sample" in missed.stdout
    # A run keeps the recording of RUN/receiver.nir beside it under its name: that is what is meant.
    shutil.copy(folder / "receiver.nir", tmp_path / "receiver.nir")
    shutil.copy(folder / "inputs.npz", tmp_path / "receiver.npz")
    found = nsc(tmp_path / "receiver.nir", "--against", "twin", "--samples", 5)
    assert found.returncode == 0, found.stderr
    assert f"inputs: {tmp_path / 'receiver.npz'}, which lies beside the graph" in found.stderr
    shutil.copy(folder / "receiver.nir", tmp_path / "alone.nir")
    wrong = nsc(tmp_path / "alone.nir", "--against", "twin")
    assert wrong.returncode == 2
    assert "no recorded inputs" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize(("width", "media"), [(1300, "screen"), (400, "screen"), (LETTER, "print")])
def test_the_page_fits_a_window_a_telephone_and_paper(
    folder: Path, tmp_path: Path, width: int, media: str
) -> None:
    done = nsc(folder / "lava", "--against", "reference", "--samples", 8, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    with opened(tmp_path / "verification.html", width, media=media) as view:
        page, window = view.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert page == window

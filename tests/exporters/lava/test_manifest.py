"""The account of a lowering: each pass, what it did, and the share of spikes it made differ."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nir
import numpy as np
import pytest

from nsc_deploy.errors import DataError
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.lava.arithmetic import run_network
from nsc_deploy.exporters.lava.deployment import read_lava_deployment
from nsc_deploy.exporters.lava.integers import Role
from nsc_deploy.exporters.lava.manifest import Manifest, PassRecord, explanation, summary
from nsc_deploy.exporters.verify import open_deployment
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording, write_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.simulate import simulate
from tests.support.lava import random_events, receiver


@pytest.fixture
def graph_file(tmp_path: Path) -> Path:
    write_network(tmp_path / "receiver.nir", receiver())
    events = random_events(np.random.default_rng(0), 20, 60, 24)
    write_recording(tmp_path / "inputs.npz", Recording(events, Signal.EVENTS, 0.03))
    return tmp_path / "receiver.nir"


def exported(file: Path, bits: int = 8) -> Manifest:
    inputs = file.parent / "inputs.npz"
    [out] = export_all(
        file, "lava", file.parent / "out", inputs=inputs if inputs.is_file() else None, bits=bits
    )
    return read_lava_deployment(out).manifest


def by_name(manifest: Manifest) -> dict[str, PassRecord]:
    return {one.step: one for one in manifest.passes}


def test_the_error_of_the_rounding_is_the_share_of_spikes_only_one_side_has(graph_file: Path) -> None:
    manifest = exported(graph_file, bits=3)
    deployment = read_lava_deployment(graph_file.parent / "out")
    recording = read_recording(deployment.folder / "inputs.npz")
    reference = simulate(deployment.graph(), recording.values, record="all").outputs
    wanted, total = {}, np.zeros(2, np.int64)
    traces = run_network(deployment.integers, recording.values)
    for layer, trace in zip(deployment.integers.layers, traces, strict=True):
        for group in layer.groups:
            if group.role is Role.NEURON:
                one, two = trace.spikes[..., group.rows] > 0, reference[group.node] > 0
                counts = np.array([(one != two).sum(), (one | two).sum()])
                wanted[group.node] = counts[0] / counts[1]
                total += counts
    record = by_name(manifest)["quantise"]
    assert {layer.node: layer.differing for layer in record.layers} == pytest.approx(wanted)
    assert record.differing == pytest.approx(total[0] / total[1])
    assert record.differing > 0.01
    assert not record.exact


def test_every_pass_is_told_and_an_exact_one_has_no_error(graph_file: Path) -> None:
    manifest = exported(graph_file)
    names = [one.step for one in manifest.passes]
    assert names[0] == "drop-dead-nodes"
    assert names[-2:] == ["levelise", "quantise"]
    for one in manifest.passes[:-1]:
        assert (one.exact, one.differing, one.layers) == (True, 0.0, ())
    told = manifest.approximations
    assert sum(len(one.did) for one in manifest.passes) == len(told)
    assert any("relays in layer 0" in text for text in by_name(manifest)["levelise"].did)


def test_whole_weights_bring_no_error_at_all(tmp_path: Path) -> None:
    build = GraphBuilder(0.01)
    build.input(4, Signal.EVENTS)
    build.linear("w", np.array([[1, 2, -1, 0], [0, 1, 1, 3]]))
    build.integrate_and_fire("n", 2.0, 2)
    build.output(2)
    write_network(tmp_path / "whole.nir", build.build())
    manifest = exported(tmp_path / "whole.nir")
    assert manifest.verification is not None
    assert manifest.verification.equal
    assert [one.differing for one in manifest.passes] == [0.0] * len(manifest.passes)


def test_a_fold_that_rounds_is_measured_by_itself(tmp_path: Path) -> None:
    build = GraphBuilder(0.01)
    build.input(6, Signal.EVENTS)
    build.add("scale", nir.Scale(np.full(6, 0.1, np.float32)))
    build.linear("w", np.random.default_rng(0).normal(0, 7, (5, 6)))
    build.lif("n", 0.9, 0.5, 5)
    build.output(5)
    write_network(tmp_path / "scaled.nir", build.build())
    passes = by_name(exported(tmp_path / "scaled.nir", bits=2))
    fold, quantise = passes["fold-scales"], passes["quantise"]
    assert not fold.exact
    assert [layer.node for layer in fold.layers] == [layer.node for layer in quantise.layers] == ["n"]
    assert fold.differing <= 0.01 < quantise.differing


def test_the_terminal_shows_a_table_and_what_was_lost(graph_file: Path) -> None:
    manifest = exported(graph_file, bits=2)
    lines = explanation(manifest)
    assert lines[0].split()[:3] == ["pass", "did", "differing"]
    assert "60 recorded samples" in lines[0]
    [levelise] = [line for line in lines if line.startswith("levelise ")]
    assert levelise.split()[-2:] == ["exact", "0"]
    [quantise] = [line for line in lines if line.startswith("quantise ")]
    assert quantise.endswith(f"{by_name(manifest)['quantise'].differing:.2%}")
    [first] = [line for line in lines if line.startswith("  left_lif ")]
    assert first.endswith("%")
    [lost] = [line for line in summary(manifest) if line.startswith("weights of 2 bits: ")]
    assert "became 0" in lost


def test_the_command_explains_and_a_machine_reads_the_same(graph_file: Path) -> None:
    out = graph_file.parent / "deployed"
    command = ["export", str(graph_file), "--target", "lava", "--out", str(out), "--bits", "4"]
    answers = [
        subprocess.run(
            [sys.executable, "-c", "from nsc_deploy.cli.app import main; main()", *command, option],
            capture_output=True,
            text=True,
            check=True,
            env=dict(os.environ),
        ).stdout
        for option in ("--explain", "--json")
    ]
    passes = json.loads(answers[1])["deployments"][0]["manifest"]["passes"]
    table = [line.split()[0] for line in answers[0].splitlines() if line.strip()]
    assert [one["step"] for one in passes] == [
        name for name in table if name in {one["step"] for one in passes}
    ]


def integrating(place: Path, weights: list[float], threshold: float, events: np.ndarray) -> Path:
    """A file of one neuron without decay, and what enters it beside it."""
    build = GraphBuilder(0.01)
    build.input(len(weights), Signal.EVENTS)
    build.linear("w", [weights])
    build.integrate_and_fire("n", threshold, 1)
    build.output(1)
    write_network(place / "whole.nir", build.build())
    write_recording(place / "inputs.npz", Recording(events, Signal.EVENTS, 0.01))
    return place / "whole.nir"


def test_integers_that_are_exact_are_measured_all_the_same(tmp_path: Path) -> None:
    """Sixteen times this weight is a little more in float32 than in real numbers."""
    weight = float(np.float32(0.82260674))
    file = integrating(tmp_path, [weight], 16 * weight, np.ones((200, 1, 1), np.uint8))
    manifest = exported(file)
    record = by_name(manifest)["quantise"]
    assert not record.exact
    assert record.differing > 0
    [told] = [one for one in manifest.approximations if not one.exact]
    assert told.kind == "reference-rounding"
    assert told.text.startswith("nothing is rounded in the integers, and spikes differ all the same")
    assert "1 approximation," in summary(manifest)[0]


@pytest.mark.parametrize("target", ["lava", "c"])
def test_the_summary_says_why_weights_vanished(tmp_path: Path, target: str) -> None:
    """A bias that is large beside the weights holds the scale down; with or without --explain."""
    build = GraphBuilder(0.01)
    build.input(2, Signal.EVENTS)
    build.affine("w", [[1.0, 0.3]], [5000.0])
    build.lif("n", 0.9, 0.0001, 1)
    build.output(1)
    write_network(tmp_path / "held.nir", build.build())
    lines: list[str] = []

    def describe(_folder: Path, line: str, detail: bool) -> None:
        lines.extend([] if detail else [line])

    export_all(tmp_path / "held.nir", target, tmp_path / "out", describe=describe)
    assert any(line.startswith("weights of 8 bits: ") for line in lines)
    assert any("hold the scale of 1 neuron down" in line for line in lines)
    assert any("'n': threshold rounded down by up to" in line for line in lines)


def test_spikes_that_differ_in_the_network_file_are_counted(tmp_path: Path) -> None:
    events = random_events(np.random.default_rng(0), 60, 10, 2)
    manifest = exported(integrating(tmp_path, [0.1, 0.13], 0.999, events))
    assert (manifest.netx, manifest.netx_difference) == ("network.net", None)
    build = GraphBuilder(0.01)
    build.input(2, Signal.EVENTS)
    build.affine("w", [[0.1, 0.13]], [0.001])
    build.lif("n", 0.9, 0.2, 1)
    build.output(1)
    write_network(tmp_path / "whole.nir", build.build())
    (out,) = export_all(tmp_path / "whole.nir", "lava", tmp_path / "again", inputs=tmp_path / "inputs.npz")
    told = read_lava_deployment(out).manifest.netx_difference
    assert told is not None
    assert told.endswith("% of the output spikes differ by that on the inputs of the check")


def test_potentials_that_are_cut_at_the_check_are_told(tmp_path: Path) -> None:
    events = np.zeros((2000, 1, 2), np.uint8)
    events[:1000, :, 1] = events[1000:, :, 0] = 1
    manifest = exported(integrating(tmp_path, [1.0, -1.0], 1.0, events))
    assert [one.text for one in manifest.approximations if not one.exact] == [
        "potentials of 1 neuron are cut at 24 bits on the inputs of the check"
    ]
    assert by_name(manifest)["quantise"].differing > 0


def test_other_recorded_inputs_are_noticed(graph_file: Path) -> None:
    """What the integers were judged on at the export is what a run judges them on."""
    exported(graph_file)
    folder = graph_file.parent / "out"
    events = random_events(np.random.default_rng(1), 1, 5, 24)
    write_recording(folder / "inputs.npz", Recording(events, Signal.EVENTS, 0.03))
    with pytest.raises(DataError, match="not the file that was exported") as refused:
        open_deployment(folder)
    assert refused.value.where == str(folder / "inputs.npz")
    (folder / "inputs.npz").unlink()
    with pytest.raises(DataError, match="is missing from the deployment"):
        open_deployment(folder)


def test_a_folder_that_kept_no_hash_of_its_inputs_is_read(graph_file: Path) -> None:
    exported(graph_file)
    file = graph_file.parent / "out" / "manifest.json"
    content = json.loads(file.read_text())
    del content["source"]["recording_sha256"]
    file.write_text(json.dumps(content))
    assert open_deployment(file.parent).recording_file == file.with_name("inputs.npz")

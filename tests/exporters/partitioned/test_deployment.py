"""Deployments in parts: what Lava cannot hold runs on the host, and all parts together are the whole."""

import json
from pathlib import Path
from shutil import copytree, rmtree

import nir
import numpy as np
import pytest
from typer.testing import CliRunner

from nsc_deploy.cli.app import app
from nsc_deploy.errors import ConfigError, DataError, ExportError
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.lava.deployment import read_lava_deployment
from nsc_deploy.exporters.manifest import read_manifest
from nsc_deploy.exporters.partitioned.deployment import SplitManifest
from nsc_deploy.exporters.verify import open_deployment, run
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording, write_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.io.files import sha256

DT, CLASSES = 0.01, 3


def receiver() -> nir.NIRGraph:
    """Real samples, comparators, two spiking layers, and a read-out of integrators."""
    chance = np.random.default_rng(5)

    def weights(*shape: int) -> np.ndarray:
        return np.round(chance.normal(0.1, 1, shape) * 16 / np.sqrt(shape[-1])) / 16

    build = GraphBuilder(DT)
    build.input(4, Signal.REAL)
    build.affine("levels", weights(8, 4), weights(8))
    build.threshold("cross", 0.25, 8)
    build.linear("w1", weights(12, 8))
    build.lif("n1", 0.75, 0.5, 12)
    build.linear("dead", weights(2, 12))
    build.threshold("dead_end", 0.5, 2)
    build.linear("w2", weights(9, 12), after="n1")
    build.lif("n2", 0.5, 0.25, 9)
    build.affine("scores", weights(CLASSES, 9), weights(CLASSES))
    tau = np.full(CLASSES, 4 * DT)
    build.add("integrate", nir.LI(tau=tau, r=np.ones(CLASSES), v_leak=np.zeros(CLASSES)))
    build.output(CLASSES, classes=CLASSES, group=1)
    return build.build()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_network(tmp_path / "receiver.nir", receiver())
    chance = np.random.default_rng(1)
    values = (np.round(chance.normal(0.2, 1, (25, 20, 4)) * 64) / 64).astype(np.float32)
    labels = chance.integers(0, CLASSES, 20)
    write_recording(tmp_path / "receiver.npz", Recording(values, Signal.REAL, DT, labels))
    return tmp_path


def in_parts(source: Path, out: str = "deployed", **options: object) -> Path:
    (folder,) = export_all(
        source / "receiver.nir",
        "lava",
        source / out,
        inputs=source / "receiver.npz",
        split=True,
        **options,  # type: ignore[arg-type]
    )
    return folder


def test_a_graph_that_is_refused_whole_runs_in_parts(source: Path) -> None:
    with pytest.raises(ExportError, match="takes in real values") as refused:
        export_all(source / "receiver.nir", "lava", source / "deployed")
    assert "'levels', 'cross', 'scores', 'integrate' on the host" in str(refused.value.hint)
    assert "--split" in str(refused.value.hint)

    folder = in_parts(source)
    manifest = read_manifest(SplitManifest, folder)
    nodes = {part.name: part.nodes for part in manifest.parts}
    assert nodes == {
        "front-end": ("input", "levels", "cross"),
        "chip": ("w1", "n1", "w2", "n2"),
        "read-out": ("scores", "integrate", "output"),
    }
    assert manifest.verification.equal
    assert manifest.verification.inputs == "recorded"

    network = read_network(source / "receiver.nir")
    values = read_recording(source / "receiver.npz").values
    whole = simulate(network, values, record=["cross", "n2"])
    chip = read_recording(folder / "chip" / "inputs.npz")
    np.testing.assert_array_equal(chip.values, whole.outputs["cross"])
    behind = read_recording(folder / "read-out.npz")
    np.testing.assert_array_equal(behind.values, whole.outputs["n2"])

    reference = run(open_deployment(folder), "reference")
    assert reference.output_error == 0
    assert reference.parity()["agreement"] == 1
    np.testing.assert_array_equal(reference.spikes, whole.outputs["n2"])
    emulator = run(open_deployment(folder), "twin", samples=10)
    assert emulator.parity()["coincidence"] > 0.95  # type: ignore[operator]
    assert emulator.parity()["reference_accuracy"] is not None
    assert 0.02 < reference.spikes.mean() < 0.9


@pytest.mark.lava
def test_the_chip_s_part_runs_in_lava_as_in_the_twin(source: Path, lava_environment: object) -> None:
    deployment = open_deployment(in_parts(source))
    lava, emulator = (run(deployment, backend, samples=3) for backend in ("lava", "twin"))
    np.testing.assert_array_equal(lava.spikes, emulator.spikes)
    assert lava.output_error == emulator.output_error


def test_the_command_line_takes_the_whole_way(source: Path) -> None:
    runner = CliRunner()
    out, graph = source / "deployed", source / "receiver.nir"
    export = ["export", str(graph), "--inputs", str(source / "receiver.npz"), "--target", "lava"]
    written = runner.invoke(app, [*export, "--out", str(out), "--split", "--explain"])
    assert written.exit_code == 0, written.output
    assert "chip, on the chip: w1, n1, w2, n2" in written.stdout
    assert "integrate: runs on the host, in the read-out: an integrator without spikes" in written.stdout
    assert "drop-dead-nodes: dead: removed" in written.stdout
    done = runner.invoke(app, ["run", str(out), "--backend", "twin", "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["parity"]["samples"] == 20
    assert len(answer["decisions"]) == 20
    verified = runner.invoke(app, ["verify", str(out), "--against", "reference", "--json"])
    assert verified.exit_code == 0, verified.output
    layers = {layer["node"]: layer for layer in json.loads(verified.stdout)["comparison"]["layers"]}
    assert {"cross", "n1", "n2", "integrate"} <= set(layers)
    assert layers["cross"]["coincidence"] == 1


def test_scales_are_chosen_on_the_events_of_the_front_end(source: Path) -> None:
    chance = np.random.default_rng(2)
    values = (np.round(chance.normal(0.2, 1, (25, 6, 4)) * 64) / 64).astype(np.float32)
    write_recording(source / "training.npz", Recording(values, Signal.REAL, DT))
    folder = in_parts(source, calibration=source / "training.npz")
    calibration = read_lava_deployment(folder / "chip").manifest.calibration
    assert calibration.samples == 6
    assert (calibration.path, calibration.sha256) == (
        str(source / "training.npz"),
        sha256(source / "training.npz"),
    )


def test_a_wrong_calibration_is_told_by_the_name_that_the_user_knows(source: Path) -> None:
    write_recording(source / "other.npz", Recording(np.zeros((25, 6, 3), np.float32), Signal.REAL, DT))
    with pytest.raises(ConfigError, match="is not this graph's input") as misfit:
        in_parts(source, calibration=source / "other.npz")
    assert misfit.value.where == str(source / "other.npz")
    with pytest.raises(ConfigError, match=r"40 samples are wanted and 20 are in .*receiver\.npz"):
        in_parts(source, calibration=again(source), calibrate=40)
    with pytest.raises(ConfigError, match="the very inputs") as same:
        in_parts(source, calibration=source / "receiver.npz")
    assert same.value.where == str(source / "receiver.npz")
    assert not (source / "deployed").exists()


def again(source: Path) -> Path:
    recording = read_recording(source / "receiver.npz")
    values = recording.values[:, ::-1]
    path = source / "again" / "receiver.npz"
    path.parent.mkdir()
    write_recording(path, Recording(values, Signal.REAL, DT))
    return path


def test_a_graph_that_the_target_takes_whole_is_not_split(tmp_path: Path) -> None:
    build = GraphBuilder(DT)
    build.input(2, Signal.EVENTS)
    build.linear("w", [[1.0, -1.0]])
    build.lif("n", 0.5, 0.5, 1)
    build.output(1)
    write_network(tmp_path / "small.nir", build.build())
    (folder,) = export_all(tmp_path / "small.nir", "lava", tmp_path / "deployed", split=True)
    assert json.loads((folder / "manifest.json").read_text())["target"] == "lava"


def test_a_skip_around_every_neuron_leaves_no_middle(tmp_path: Path) -> None:
    build = GraphBuilder(DT)
    build.input(2, Signal.REAL)
    build.threshold("n", 0.5, 2)
    build.linear("w", np.eye(2), after="n")
    build.linear("skip", np.eye(2), after="input")
    build.output(2, after=["w", "skip"])
    write_network(tmp_path / "skip.nir", build.build())
    with pytest.raises(ExportError, match="no middle of the graph") as refused:
        export_all(tmp_path / "skip.nir", "lava", tmp_path / "deployed", split=True)
    assert "skip.nir: node 'input'" in str(refused.value.where)
    assert not (tmp_path / "deployed").exists()
    with pytest.raises(ExportError) as whole:
        export_all(tmp_path / "skip.nir", "lava", tmp_path / "deployed")
    assert "--split" not in str(whole.value.hint)


@pytest.mark.parametrize("name", ["front-end.nir", "source.nir", "read-out.npz"])
def test_a_changed_part_is_noticed(source: Path, name: str) -> None:
    folder = in_parts(source)
    with (folder / name).open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(DataError, match="not the file that was exported"):
        open_deployment(folder)


def test_another_chip_is_noticed(source: Path) -> None:
    """An export of the same part with other integers is a deployment, but not the one that was checked."""
    folder = in_parts(source)
    other = in_parts(source, out="coarse", bits=2)
    rmtree(folder / "chip")
    copytree(other / "chip", folder / "chip")
    with pytest.raises(DataError, match="not the file that was exported") as refused:
        open_deployment(folder)
    assert refused.value.where == str(folder / "chip" / "manifest.json")


def test_a_folder_that_kept_no_hash_of_its_chip_is_read(source: Path) -> None:
    file = in_parts(source) / "manifest.json"
    content = json.loads(file.read_text())
    for part in content["parts"]:
        del part["manifest_sha256"]
    file.write_text(json.dumps(content))
    assert len(open_deployment(file.parent).parts) == 3

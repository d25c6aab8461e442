"""The deployment folder: whole or not at all, checked when it is read, and complete."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.deployment import (
    ChannelUse,
    Deployment,
    Part,
    Place,
    Readout,
    Side,
    read_deployment,
    write_deployment,
)
from nsc_deploy.errors import BackendError, ConfigError, DataError, ExportError, UserError
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.lava import environment
from nsc_deploy.exporters.lava.arithmetic import output_spikes
from nsc_deploy.exporters.lava.deployment import read_lava_deployment
from nsc_deploy.exporters.lava.environment import ENVIRONMENT_VARIABLE, install_environment
from nsc_deploy.exporters.manifest import FILE_NAME, target_of
from nsc_deploy.exporters.quantised import Calibrated
from nsc_deploy.exporters.verify import open_deployment, run
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording, write_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.io.files import sha256
from nsc_deploy.io.folders import replacing_folder
from tests.support.lava import ensure_lava, random_events, receiver


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A training run with a host part and a chip part of the receiver."""
    run = tmp_path / "run"
    run.mkdir()
    write_network(run / "receiver.nir", receiver())
    front = GraphBuilder(0.03)
    front.input(4, Signal.REAL)
    front.threshold("cross", 0.5, 4)
    front.output(4)
    write_network(run / "front.nir", front.build())
    chance = np.random.default_rng(0)
    events = random_events(chance, 20, 30, 24)
    labels = chance.integers(0, 6, 30)
    write_recording(run / "receiver.npz", Recording(events, Signal.EVENTS, 0.03, labels))
    training = random_events(chance, 20, 12, 24)
    write_recording(run / "training.npz", Recording(training, Signal.EVENTS, 0.03))
    write_recording(run / "front.npz", Recording(chance.random((20, 30, 4)), Signal.REAL, 0.03, labels))
    write_deployment(
        run,
        Deployment(
            system="att-neurosc",
            receiver="event",
            dataset="spoken-digits",
            class_names=tuple("012345"),
            dt=0.03,
            channel=ChannelUse(kind="awgn", snr_db=10.0, taps=1, uses_per_step=128, steps=20),
            readout=Readout(classes=6, group=2),
            parts=(
                Part(
                    name="front",
                    side=Side.RECEIVER,
                    place=Place.HOST,
                    graph="front.nir",
                    recording="front.npz",
                ),
                Part(
                    name="receiver",
                    side=Side.RECEIVER,
                    place=Place.CHIP,
                    graph="receiver.nir",
                    recording="receiver.npz",
                    calibration="training.npz",
                ),
            ),
            test_accuracy=0.5,
        ),
    )
    return run


def contents(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in folder.iterdir()}


def test_a_run_becomes_a_folder_that_can_be_run(run_folder: Path, tmp_path: Path) -> None:
    (out,) = export_all(run_folder, "lava", tmp_path / "out")
    ours = {".nsc-deploy", "manifest.json", "source.nir", "network.npz", "network.net", "inputs.npz"}
    assert set(contents(out)) == ours
    deployment = read_lava_deployment(out)
    manifest = deployment.manifest
    assert manifest.source.part == "receiver"
    assert manifest.source.class_names == tuple("012345")
    assert manifest.source.sha256 == sha256(out / "source.nir")
    assert (manifest.classes, manifest.group) == (6, 2)
    assert manifest.latency == 6
    assert [layer.latency for layer in manifest.layers] == [1, 2, 3, 4, 5, 6]
    assert {one.kind for one in manifest.approximations} >= {
        "relay",
        "delay-line",
        "memoryless",
        "decay-rounding",
    }
    outcome = run(open_deployment(out), "twin")
    recording = read_recording(out / "inputs.npz")
    np.testing.assert_array_equal(outcome.spikes, output_spikes(deployment.integers, recording.values))
    reference = simulate(deployment.graph(), recording.values).output
    parity = outcome.parity()
    assert parity["reference_spikes"] == int(reference.sum())
    assert parity["coincidence"] > 0.97  # type: ignore[operator]
    assert parity["agreement"] is not None
    assert outcome.labels is not None
    accuracy = float((outcome.reference_decisions == outcome.labels).mean())
    assert parity["reference_accuracy"] == accuracy


def test_two_exports_are_equal_byte_for_byte(run_folder: Path, tmp_path: Path) -> None:
    (one,) = export_all(run_folder, "lava", tmp_path / "one")
    (two,) = export_all(run_folder, "lava", tmp_path / "two")
    same = {"source.nir", "network.npz", "manifest.json", "inputs.npz"}
    first, second = contents(one), contents(two)
    assert {name: first[name] for name in same} == {name: second[name] for name in same}


def test_scales_are_chosen_on_training_samples_and_every_test_sample_judges(
    run_folder: Path, tmp_path: Path
) -> None:
    (out,) = export_all(run_folder, "lava", tmp_path / "out", bits=3)
    deployment = read_lava_deployment(out)
    assert deployment.manifest.calibration.samples == 12
    assert deployment.manifest.calibration.path == str(run_folder / "training.npz")
    assert deployment.manifest.calibration.sha256 == sha256(run_folder / "training.npz")
    assert deployment.manifest.verification is not None
    assert deployment.manifest.verification.samples == 30
    outcome = run(open_deployment(out), "reference")
    assert outcome.samples.tolist() == list(range(30))
    assert outcome.comparison.output.coincidence == 1.0
    with pytest.raises(ConfigError, match="31 samples are wanted and 30 are there"):
        run(open_deployment(out), "twin", samples=31)
    (fewer,) = export_all(run_folder, "lava", tmp_path / "fewer", bits=3, calibrate=2)
    assert read_lava_deployment(fewer).manifest.calibration.samples == 2


def test_the_recorded_test_inputs_choose_nothing(run_folder: Path, tmp_path: Path) -> None:
    """Whatever is in the test recording, the integers are the same."""
    integers = []
    for seed in (1, 2):
        events = random_events(np.random.default_rng(seed), 20, 5, 24)
        write_recording(run_folder / "receiver.npz", Recording(events, Signal.EVENTS, 0.03))
        (out,) = export_all(run_folder, "lava", tmp_path / "out", bits=2)
        integers.append((out / "network.npz").read_bytes())
    assert integers[0] == integers[1]


def test_a_run_without_calibration_recordings(run_folder: Path, tmp_path: Path) -> None:
    """By default the weights alone decide; where a calibration was asked for, the way out is told."""
    deployment = read_deployment(run_folder)
    parts = tuple(part.model_copy(update={"calibration": None}) for part in deployment.parts)
    write_deployment(run_folder, deployment.model_copy(update={"parts": parts}))
    (out,) = export_all(run_folder, "lava", tmp_path / "out")
    assert read_lava_deployment(out).manifest.calibration == Calibrated(samples=0)
    with pytest.raises(ConfigError, match="no recordings to choose scales on") as caught:
        export_all(run_folder, "lava", tmp_path / "out", calibrate=5)
    assert f"nsc-deploy train --resume --out {run_folder}" in (caught.value.hint or "")
    with pytest.raises(ConfigError, match="no recordings to choose scales on") as caught:
        export_all(run_folder / "receiver.nir", "lava", tmp_path / "out", calibrate=5)
    assert "--calibration FILE.npz" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("name", "samples", "problem"),
    [
        ("training.npz", 13, "13 samples are wanted and 12 are in .*training.npz"),
        ("receiver.npz", None, "the very inputs that the export is checked on"),
        ("front.npz", None, "is not this graph's input"),
        ("training.npz", 0, "none of the samples of calibration"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(
    run_folder: Path, tmp_path: Path, name: str, samples: int | None, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        export_all(
            run_folder / "receiver.nir",
            "lava",
            tmp_path / "out",
            inputs=run_folder / "receiver.npz",
            calibration=run_folder / name,
            calibrate=samples,
        )
    assert caught.value.where
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("calibrate", [0, None])
def test_inputs_of_another_graph_are_refused_with_the_way_out(
    run_folder: Path, tmp_path: Path, calibrate: int | None
) -> None:
    other = tmp_path / "other.npz"
    write_recording(other, Recording(np.zeros((4, 2, 9), np.uint8), Signal.EVENTS, 0.03))
    with pytest.raises(ConfigError, match="is not this graph's input") as caught:
        export_all(run_folder, "lava", tmp_path / "out", inputs=other, calibrate=calibrate)
    assert caught.value.where == str(other)
    assert "recorded for this graph" in (caught.value.hint or "")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_refused_before_the_work(run_folder: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis"
    done: list[str] = []
    thesis.mkdir()
    (thesis / "chapter1.tex").write_text("years of work")
    for out, problem in (
        (thesis, "not a deployment"),
        (thesis / "chapter1.tex" / "out", "cannot be written"),
        (thesis / "chapter1.tex", "is not a folder"),
    ):
        with pytest.raises(UserError, match=problem) as caught:
            export_all(run_folder, "lava", out, notify=done.append)
        assert caught.value.where == str(out)
        assert caught.value.hint
    assert not any("lowering" in line for line in done)
    assert [path.name for path in thesis.iterdir()] == ["chapter1.tex"]


def test_fewer_samples_lie_evenly_over_the_recording(run_folder: Path, tmp_path: Path) -> None:
    (out,) = export_all(run_folder, "lava", tmp_path / "out")
    outcome = run(open_deployment(out), "twin", samples=4)
    assert outcome.samples.tolist() == [0, 7, 15, 22]
    everything = run(open_deployment(out), "twin")
    assert (outcome.spikes == everything.spikes[:, outcome.samples]).all()


def test_a_host_part_is_refused_with_the_way_out(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="takes in real values"):
        export_all(run_folder, "lava", tmp_path / "out", part="front")
    with pytest.raises(ConfigError, match=r"no part called 'nose'\nParts for a chip: receiver"):
        export_all(run_folder, "lava", tmp_path / "out", part="nose")
    assert not (tmp_path / "out").exists()


def test_a_foreign_folder_is_never_replaced(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not a deployment"):
        export_all(run_folder, "lava", out)
    assert (out / "chapter1.tex").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "thesis"]


def test_an_earlier_deployment_is_replaced_whole(run_folder: Path, tmp_path: Path) -> None:
    (out,) = export_all(run_folder, "lava", tmp_path / "out", bits=8)
    export_all(run_folder, "lava", out, bits=4)
    assert read_lava_deployment(out).manifest.weight_bits == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_a_failure_while_writing_keeps_the_earlier_deployment(run_folder: Path, tmp_path: Path) -> None:
    (out,) = export_all(run_folder, "lava", tmp_path / "out")
    before = contents(out)
    with pytest.raises(UserError, match="No space left"), replacing_folder(out) as folder:
        (folder / "network.npz").write_bytes(b"half")
        raise OSError(28, os.strerror(28))
    assert contents(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_two_exports_at_once_leave_one_whole_folder(run_folder: Path, tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def export(bits: int) -> None:
        try:
            export_all(run_folder, "lava", tmp_path / "out", bits=bits)
        except UserError as error:
            failures.append(error)

    threads = [threading.Thread(target=export, args=(bits,)) for bits in (3, 5, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) < len(threads)
    assert read_lava_deployment(tmp_path / "out").manifest.weight_bits in {3, 5, 8}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


@pytest.mark.parametrize("name", ["manifest.json", "network.npz", "source.nir", "inputs.npz"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_damage_is_told_and_never_run(run_folder: Path, tmp_path: Path, name: str, damage: str) -> None:
    (out,) = export_all(run_folder, "lava", tmp_path / "out")
    whole = (out / name).read_bytes()
    middle = len(whole) // 2
    if damage == "gone":
        (out / name).unlink()
    elif damage == "cut":
        (out / name).write_bytes(whole[:middle])
    else:
        # A flip in the manifest may hit a free text; its first byte is always structure.
        where = 0 if name == "manifest.json" else middle
        (out / name).write_bytes(whole[:where] + bytes([whole[where] ^ 0x55]) + whole[where + 1 :])
    with pytest.raises(UserError):
        run(open_deployment(out), "twin")


@pytest.mark.parametrize("field", ["integers", "netx", "recording", "file"])
def test_a_manifest_that_points_out_of_its_folder_is_refused(
    run_folder: Path, tmp_path: Path, field: str
) -> None:
    (out,) = export_all(run_folder, "lava", tmp_path / "out")
    written = json.loads((out / FILE_NAME).read_text())
    (written["source"] if field in written["source"] else written)[field] = "../elsewhere.npz"
    (out / FILE_NAME).write_text(json.dumps(written))
    with pytest.raises(DataError, match=field):
        read_lava_deployment(out)


def test_a_recording_of_another_graph_is_refused(run_folder: Path, tmp_path: Path) -> None:
    (out,) = export_all(run_folder, "lava", tmp_path / "out")
    other = tmp_path / "other.npz"
    write_recording(other, Recording(np.zeros((4, 2, 9), np.uint8), Signal.EVENTS, 0.03))
    with pytest.raises(ConfigError, match=r"events of shape \(9,\)\) is not this graph's input .*\(24,\)"):
        run(open_deployment(out), "twin", inputs=other)
    write_recording(other, Recording(np.zeros((4, 2, 24), np.uint8), Signal.EVENTS, 0.01))
    with pytest.raises(ConfigError, match=r"0\.01 s, the graph has 0\.03 s"):
        run(open_deployment(out), "twin", inputs=other)


def test_exporting_never_imports_lava(run_folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from nsc_deploy.exporters.export import export_all;"
        f"export_all(Path({str(run_folder)!r}), 'lava', Path({str(tmp_path / 'out')!r}));"
        "print([name for name in ('lava', 'torch', 'snntorch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def nsc(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from nsc_deploy.cli.app import main; main()", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **variables}
    )


def test_an_export_tells_a_machine_what_was_written(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = nsc("export", run_folder, "--target", "lava", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    [written] = answer["deployments"]
    assert (answer["target"], written["folder"]) == ("lava", str(out))
    assert written["files"] == sorted(path.name for path in out.iterdir())
    assert written["manifest"] == json.loads((out / FILE_NAME).read_text())
    ran = nsc("run", out, "--backend", "twin", "--samples", 1)
    assert (ran.returncode, ran.stderr) == (0, "")  # no bar where nobody watches
    assert ran.stdout.startswith("1 sample, ")
    every = nsc("run", out, "--backend", "twin", "--samples", 1, "--details").stdout
    sums, each = every.split("\n\n")
    assert sums.startswith("1 sample, ")
    assert each.split()[:4] == ["sample", "label", "reference", "twin"]


def test_without_the_environment_running_says_how_to_get_it(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert nsc("export", run_folder, "--target", "lava", "--out", out).returncode == 0
    nowhere = {ENVIRONMENT_VARIABLE: str(tmp_path / "nowhere")}
    done = nsc("run", out, "--backend", "lava", "--samples", 1, **nowhere)
    assert done.returncode == 2
    assert "nsc-deploy lava install" in done.stderr
    assert "Traceback" not in done.stderr
    status = nsc("lava", "status", "--json", **nowhere)
    assert status.returncode == 1
    assert json.loads(status.stdout) == {"installed": False, "path": str(tmp_path / "nowhere")}


@pytest.mark.lava
def test_the_command_runs_lava_and_shows_both_sides(run_folder: Path, tmp_path: Path) -> None:
    ensure_lava()
    out = tmp_path / "out"
    explained = nsc("export", run_folder, "--target", "lava", "--out", out, "--explain")
    assert explained.returncode == 0, explained.stderr
    assert "levelise: input: 24 relays in layer 0" in explained.stdout
    there = json.loads(nsc("lava", "install", "--json").stdout)
    assert there == json.loads(nsc("lava", "status", "--json").stdout)
    assert (there["installed"], there["python"][:5]) == (True, "3.10.")
    done = nsc("run", out, "--samples", 6, "--json", "--out", tmp_path / "answer.npz")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["parity"]["samples"] == len(answer["decisions"]) == 6
    emulator = run(open_deployment(out), "twin", samples=6)
    assert answer["decisions"] == emulator.decisions.tolist()  # type: ignore[union-attr]
    with np.load(tmp_path / "answer.npz") as written:
        np.testing.assert_array_equal(written["spikes"], emulator.spikes)


def test_an_interpreter_of_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "env"))
    for python in (Path(sys.executable), tmp_path / "no-such-python"):
        with pytest.raises(BackendError, match=r"is not a Python 3\.10"):
            install_environment(python)
    assert not (tmp_path / "env").exists()


def test_where_no_python_310_is_the_way_out_is_told(tmp_path: Path) -> None:
    nothing = {name: str(tmp_path) for name in ("PATH", "HOME", "PYENV_ROOT", "ASDF_DATA_DIR")}
    done = nsc("lava", "install", **nothing, **{ENVIRONMENT_VARIABLE: str(tmp_path / "env")})
    assert done.returncode == 2
    assert "pyenv install 3.10" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.lava
def test_a_failed_installation_leaves_nothing_that_looks_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_lava()
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "env"))
    monkeypatch.setattr(environment, "constraints", lambda: "lava-nc==0.0.1\n")
    leftover = tmp_path / ".env.killed"
    leftover.mkdir()
    with pytest.raises(BackendError, match="pip could not install Lava"):
        install_environment()
    assert environment.installed_environment() is None
    assert [path.name for path in tmp_path.iterdir()] == ["env.lock"]


def test_a_folder_that_is_not_there_is_told_from_one_that_is_no_deployment(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        target_of(tmp_path / "none")
    with pytest.raises(DataError, match="is no deployment folder"):
        target_of(tmp_path)

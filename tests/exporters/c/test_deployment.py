"""A folder of C code: complete, checked, and never somebody else's code without leave."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.errors import ConfigError, DataError, ExportError
from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c import compilers
from nsc_deploy.exporters.c.deployment import read_c_deployment
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.verify import open_deployment, run
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import GraphOptions, write_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording, write_recording
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.io.files import sha256
from tests.support.c_graphs import needs_compiler
from tests.support.feature_systems import system, write_run
from tests.support.lava import random_events, receiver

FILES = {".nsc-deploy", "manifest.json", "source.nir", "program.npz", "main.c", "README.md", "inputs.npz"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("c")
    write_network(place / "receiver.nir", receiver())
    chance = np.random.default_rng(2)
    events = random_events(chance, 20, 20, 24)
    write_recording(place / "in.npz", Recording(events, Signal.EVENTS, 0.03, chance.integers(0, 6, 20)))
    (out,) = export_all(
        place / "receiver.nir",
        "c",
        place / "out",
        inputs=place / "in.npz",
        graph=GraphOptions(classes=6),
    )
    return out


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_folder_is_complete(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == FILES | {"receiver.c", "receiver.h"}
    assert f'MANIFEST_SHA256 "{sha256(folder / "manifest.json")}"' in (folder / "receiver.h").read_text()
    manifest = read_c_deployment(folder).manifest
    assert (manifest.classes, manifest.group) == (6, 2)
    assert manifest.verification is not None
    assert manifest.verification.backend == "the emulator of the C code"
    assert manifest.state_bytes == sum(one.bytes for one in read_c_deployment(folder).code.state)


@needs_compiler
def test_an_export_compiles_and_says_so(folder: Path) -> None:
    done = read_c_deployment(folder).manifest.compiled
    assert done is not None
    assert done.samples == 20
    assert done.spikes > 100


@needs_compiler
@pytest.mark.parametrize("neurons", [True, False])
def test_silence_is_told_as_spikes(neurons: bool, tmp_path: Path) -> None:
    build = GraphBuilder(0.03)
    build.input(3, Signal.EVENTS)
    if neurons:
        build.integrate_and_fire("n", 1.0, 3)
    build.output(3)
    write_network(tmp_path / "quiet.nir", build.build())
    write_recording(tmp_path / "in.npz", Recording(np.zeros((4, 1, 3), np.uint8), Signal.EVENTS, 0.03))
    lines: list[str] = []
    export_all(
        tmp_path / "quiet.nir",
        "c",
        tmp_path / "out",
        inputs=tmp_path / "in.npz",
        describe=lambda _folder, line, _detail: lines.append(line),
    )
    assert lines[0].startswith("3 neurons; " if neurons else "no neurons; ")
    assert any("all 0 spikes of 1 sample are those of the emulator" in line for line in lines)


@needs_compiler
def test_host_and_emulator_answer_the_same(folder: Path) -> None:
    host, emulator = (run(open_deployment(folder), name) for name in (None, "emulator"))
    assert (host.backend, emulator.backend) == ("host", "emulator")
    np.testing.assert_array_equal(host.spikes, emulator.spikes)
    np.testing.assert_array_equal(host.decisions, emulator.decisions)
    assert host.spikes.any()


def test_the_example_is_the_user_s_to_change(copy: Path) -> None:
    for name in ("main.c", "README.md"):
        (copy / name).write_text("mine")
    assert run(open_deployment(copy), "emulator").spikes.any()
    with pytest.raises(ConfigError, match=r"which was changed"):
        export_all(copy / "source.nir", "c", copy)
    assert (copy / "main.c").read_text() == "mine"


@needs_compiler
def test_code_that_is_not_ours_is_not_run(copy: Path) -> None:
    code = copy / "receiver.c"
    code.write_text(code.read_text().replace("return RECEIVER_OK;", "return RECEIVER_OK + 0;"))
    with pytest.raises(DataError, match="not the file that was exported"):
        open_deployment(copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    next(one for one in manifest["files"] if one["name"] == "receiver.c")["sha256"] = sha256(code)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="not the code that this version of the tool writes"):
        run(open_deployment(copy), "host")
    assert run(open_deployment(copy), "host", run_code=True).spikes.any()


def test_a_header_of_another_manifest_is_refused(copy: Path) -> None:
    header = copy / "receiver.h"
    header.write_text(header.read_text().replace("RECEIVER_INPUTS 24u", "RECEIVER_INPUTS 25u"))
    with pytest.raises(ConfigError, match="not the code that this version of the tool writes"):
        run(open_deployment(copy), "host")
    header.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        run(open_deployment(copy), "host")


def test_without_a_compiler_the_manifest_says_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for find in (compilers.host_compiler, compilers.arm_compiler, compilers.clang):
        find.cache_clear()
    monkeypatch.setattr(compilers, "find_spec", lambda _name: None)
    try:
        (out,) = export_all(folder / "source.nir", "c", tmp_path / "out")
        manifest = read_c_deployment(out).manifest
        assert manifest.compiled is None
        assert manifest.not_compiled is not None
        assert "apt-get install gcc" in manifest.not_compiled
        assert manifest.memory.compiler is None
    finally:
        for find in (compilers.host_compiler, compilers.arm_compiler, compilers.clang):
            find.cache_clear()


CRASHES = """#!/bin/sh
[ "$1" = --version ] && exec echo "cc 1.0"
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\\nkill -SEGV $$\\n' > "$2"
chmod +x "$2"
"""
REFUSES = '#!/bin/sh\n[ "$1" = --version ] && exec echo "cc 1.0"\necho "l0.c:1: error: a fault" >&2; exit 1\n'
ANSWERS_SHORTLY = CRASHES.replace("kill -SEGV $$", "echo")


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (REFUSES, "the compiler refused the code: l0.c:1: error: a fault"),
        (CRASHES, "the compiled code ended with status"),
        (ANSWERS_SHORTLY, "wrote 1 byte"),
    ],
)
def test_code_that_does_not_compile_or_crashes_is_not_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str
) -> None:
    """A compiler is there: that is no missing compiler."""
    compiler = tmp_path / "bin" / "cc"
    compiler.parent.mkdir()
    compiler.write_text(script)
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{compiler.parent}:/usr/bin:/bin")
    compilers.host_compiler.cache_clear()
    try:
        with pytest.raises(ExportError, match=problem):
            export_all(folder / "source.nir", "c", tmp_path / "out")
        assert not (tmp_path / "out").exists()
    finally:
        compilers.host_compiler.cache_clear()


@needs_compiler
def test_a_decoder_comes_as_trained_with_its_potentials(tmp_path: Path) -> None:
    run_folder = write_run(tmp_path / "run", system(steps=4), 6)
    (out,) = export_all(run_folder, "c", tmp_path / "out", part="receiver")
    deployment = open_deployment(out)
    values = read_recording(run_folder / "receiver.npz").values
    wanted = simulate(deployment.network, values).output
    outputs = [
        deployment.runners[name](RunSettings(layers=False)).run(values).output
        for name in ("emulator", "host")
    ]
    np.testing.assert_array_equal(*outputs)
    # Eight bits of a weight: most potentials lie close, and few neurons fire otherwise.
    assert np.quantile(np.abs(outputs[0] - wanted), 0.9) < 0.05
    assert ((outputs[0] > 1) != (wanted > 1)).mean() < 0.02


def test_integers_of_another_program_are_refused(copy: Path) -> None:
    (copy / "program.npz").write_bytes(b"")
    with pytest.raises(DataError, match="not the file that was exported"):
        open_deployment(copy)


@needs_compiler
def test_plain_arrays_are_taken_as_recorded_inputs(tmp_path: Path) -> None:
    write_network(tmp_path / "receiver.nir", receiver())
    np.save(tmp_path / "events.npy", random_events(np.random.default_rng(3), 8, 4, 24))
    export_all(tmp_path / "receiver.nir", "c", tmp_path / "out", inputs=tmp_path / "events.npy")
    opened = open_deployment(tmp_path / "out")
    assert opened.recording_file is not None
    assert run(opened, "host").comparison.samples == 4


@pytest.mark.parametrize(
    "weights, threshold, kind",
    [([1.0, -1.0], 1.0, "clipped-potential"), ([0.82260674, 0.0], 16 * 0.82260674, "reference-rounding")],
)
def test_what_only_a_run_shows_is_an_approximation(
    tmp_path: Path, weights: list[float], threshold: float, kind: str
) -> None:
    build = GraphBuilder(0.01, Reset.SUBTRACT if kind == "clipped-potential" else Reset.ZERO)
    build.input(2, Signal.EVENTS)
    build.linear("w", [np.float32(weights)])
    build.integrate_and_fire("n", np.float32(threshold), 1)
    build.output(1)
    write_network(tmp_path / "whole.nir", build.build())
    events = np.zeros((2000, 1, 2), np.uint8)
    events[:1000, :, 1] = events[1000:, :, 0] = 1
    write_recording(tmp_path / "in.npz", Recording(events, Signal.EVENTS, 0.01))
    (out,) = export_all(tmp_path / "whole.nir", "c", tmp_path / "out", inputs=tmp_path / "in.npz")
    told = read_c_deployment(out).manifest.approximations
    assert [one.kind for one in told if not one.exact] == [kind]

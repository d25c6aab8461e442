"""The kinds of files that are mutated, the commands that read them, and what a wrong result is.

A command that accepts a mutation has to say what an independent reading of the same bytes says: h5py,
onnx, numpy, json or tomllib, called here and not through the package.
"""

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nir
import numpy as np
import onnx

from tests.robustness.fuzz import hdf5_edits, judges, onnx_edits
from tests.robustness.fuzz.byte_edits import change_json, change_toml, flip_bytes
from tests.robustness.fuzz.npz_edits import change_npz
from tests.support.lava import random_events, receiver

Judge = Callable[[int, str], str | None]
Command = list[str] | Callable[[], None]
DT = 0.03


@dataclass(frozen=True)
class Case:
    """A mutated file, the command that reads it, and what it may answer."""

    label: str
    command: Command
    judge: Judge


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        prepare: write valid files into a folder, once; returns it.
        warm: commands on them, which import what they need.
        mutate: write one mutation into a folder of its own.
    """

    prepare: Callable[[Path], Path]
    warm: Callable[[Path], list[Command]]
    mutate: Callable[[random.Random, Path, Path], Case]


def anything(code: int, out: str) -> None:
    """No result to be wrong about."""


def _arguments(*words: object) -> list[str]:
    return [str(word) for word in words]


def _written(folder: Path, fill: Callable[[Path], None]) -> Path:
    if not folder.exists():
        folder.mkdir(parents=True)
        fill(folder)
    return folder


def _fill_graphs(folder: Path) -> None:
    from nsc_deploy.graphs.formats.nir import write_network
    from nsc_deploy.graphs.formats.recording import Recording, write_recording
    from nsc_deploy.graphs.network import Signal

    small = receiver(6, 5, 4)
    nir.write(folder / "receiver.nir", small)
    nir.write(folder / "convolution.nir", hdf5_edits.convolutional())
    write_network(folder / "own.nir", small)
    chance = np.random.default_rng(0)
    labels = np.arange(3) % 2
    write_recording(
        folder / "inputs.npz", Recording(random_events(chance, 5, 3, 6), Signal.EVENTS, DT, labels)
    )
    values = chance.normal(size=(4, 2, 2, 6, 6)).astype(np.float32)
    write_recording(folder / "convolution.npz", Recording(values, Signal.REAL, 0.01))


def _graphs(folder: Path) -> Path:
    return _written(folder, _fill_graphs)


# NIR


def _nir_commands(corpus: Path, file: Path, stem: str) -> list[Command]:
    recording = corpus / ("convolution.npz" if stem == "convolution" else "inputs.npz")
    signal = "real" if stem == "convolution" else "events"
    return [
        _arguments("inspect", file, "--json"),
        _arguments("inspect", file, "--json"),
        _arguments("inspect", file),
        _arguments("check", file, "--target", "lava", "--signal", signal, "--json"),
        _arguments("check", file, "--target", "loihi2", "--signal", signal, "--json"),
        _arguments("energy", "report", file, "--inputs", recording, "--json"),
    ]


def _warm_nir(corpus: Path) -> list[Command]:
    stems = ("receiver", "convolution", "own")
    return [command for stem in stems for command in _nir_commands(corpus, corpus / f"{stem}.nir", stem)]


def _judge_nir(file: Path, command: list[str]) -> Judge:
    return judges.nir_description(file) if command[0] == "inspect" and "--json" in command else anything


def _mutated_nir(how: Callable[[random.Random, Path, Path], str], *stems: str) -> Kind:
    def mutate(chance: random.Random, corpus: Path, work: Path) -> Case:
        stem, file = chance.choice(stems), work / "mutated.nir"
        label = how(chance, corpus / f"{stem}.nir", file)
        if chance.random() < 0.3:
            file.write_bytes(judges.sealed_anew(file.read_bytes()))
            label += ", sealed"
        command = chance.choice(_nir_commands(corpus, file, stem))
        return Case(f"{stem}: {label}", command, _judge_nir(file, command))

    return Kind(_graphs, _warm_nir, mutate)


def _flipped(chance: random.Random, source: Path, target: Path) -> str:
    label, content = flip_bytes(chance, source.read_bytes())
    target.write_bytes(content)
    return label


def _own_nir(chance: random.Random, corpus: Path, work: Path) -> Case:
    """What this tool wrote: no change inside may pass."""
    source, file = corpus / "own.nir", work / "own.nir"
    label = _flipped(chance, source, file)
    command = chance.choice(_nir_commands(corpus, file, "own"))
    length = len(source.read_bytes())
    intact = file.read_bytes()[:length] == source.read_bytes() or not judges.looks_sealed(file.read_bytes())
    judge = _judge_nir(file, command) if intact else lambda code, out: "a changed file of our own passes"
    return Case(label, command, judge)


# ONNX


def _fill_models(folder: Path) -> None:
    from nsc_deploy.exporters.onnx.models import sequence_model
    from nsc_deploy.graphs.assemble import assemble
    from nsc_deploy.graphs.formats.onnx import write_onnx
    from nsc_deploy.graphs.network import Signal
    from nsc_deploy.graphs.onnx_build import DenseLayer, LstmLayer, lstm, mlp

    _fill_graphs(folder)
    chance = np.random.default_rng(1)
    grid = lambda *shape: chance.integers(-9, 9, shape).astype(np.float32) / 8  # noqa: E731
    head = DenseLayer(grid(4, 3), grid(4))
    gates = LstmLayer(grid(12, 6), grid(12, 3), grid(12), grid(12))
    dense = [DenseLayer(grid(5, 6), grid(5)), DenseLayer(grid(4, 5), grid(4))]
    onnx.save(mlp(dense, signal=Signal.EVENTS, dt=DT), folder / "dense.onnx")
    onnx.save(lstm([gates], head, signal=Signal.EVENTS, dt=DT), folder / "lstm.onnx")
    onnx.save(sequence_model(assemble(receiver(6, 5, 4))), folder / "scan.onnx")
    write_onnx(folder / "own.onnx", mlp(dense, signal=Signal.EVENTS, dt=DT))


def _models(folder: Path) -> Path:
    return _written(folder, _fill_models)


_MODELS = ("dense", "lstm", "scan")


def _onnx_commands(corpus: Path, file: Path) -> list[Command]:
    return [
        _arguments("inspect", file, "--json"),
        _arguments("inspect", file, "--json"),
        _arguments("inspect", file),
        _arguments("energy", "report", file, "--inputs", corpus / "inputs.npz", "--json"),
        _arguments("energy", "report", file, "--inputs", corpus / "inputs.npz", "--json"),
    ]


def _warm_onnx(corpus: Path) -> list[Command]:
    return [command for stem in _MODELS for command in _onnx_commands(corpus, corpus / f"{stem}.onnx")]


def _judge_onnx(file: Path, corpus: Path, command: list[str]) -> Judge:
    if command[0] == "inspect":
        return judges.onnx_description(file) if "--json" in command else anything
    return judges.onnx_products(file, corpus / "inputs.npz")


def _onnx_bytes(chance: random.Random, corpus: Path, work: Path) -> Case:
    stem, file = chance.choice(_MODELS), work / "mutated.onnx"
    label = _flipped(chance, corpus / f"{stem}.onnx", file)
    command = chance.choice(_onnx_commands(corpus, file))
    return Case(f"{stem}: {label}", command, _judge_onnx(file, corpus, command))


def _onnx_edits(chance: random.Random, corpus: Path, work: Path) -> Case:
    stem, file = chance.choice(_MODELS), work / "mutated.onnx"
    model = onnx.load(corpus / f"{stem}.onnx")
    label = onnx_edits.edit_model(chance, model)
    file.write_bytes(model.SerializeToString())
    command = chance.choice(_onnx_commands(corpus, file))
    return Case(f"{stem}: {label}", command, _judge_onnx(file, corpus, command))


def _own_onnx(chance: random.Random, corpus: Path, work: Path) -> Case:
    """With the digest of this tool in it: nothing but the same model may pass."""
    file = work / "own.onnx"
    label = _flipped(chance, corpus / "own.onnx", file)
    return Case(label, _arguments("inspect", file, "--json"), judges.same_model(file, corpus / "own.onnx"))


# Recordings and deployments


def _fill_deployment(folder: Path) -> None:
    from nsc_deploy.exporters.export import export_all

    _fill_graphs(folder)
    export_all(folder / "receiver.nir", "lava", folder / "lava", inputs=folder / "inputs.npz")
    export_all(folder / "receiver.nir", "onnx", folder / "onnx", inputs=folder / "inputs.npz")


def _deployment(folder: Path) -> Path:
    return _written(folder, _fill_deployment)


def _run(folder: Path, out: Path, *more: object, backend: str = "twin") -> list[str]:
    return _arguments("run", folder, "--backend", backend, "--json", "--out", out, *more)


def _warm_deployment(corpus: Path) -> list[Command]:
    out = corpus / "warm.npz"
    verify = _arguments("verify", corpus / "onnx", "--against", "reference", "--json")
    report = _arguments(
        "energy", "report", corpus / "receiver.nir", "--inputs", corpus / "inputs.npz", "--json"
    )
    return [_run(corpus / "lava", out), _run(corpus / "lava", out, backend="reference"), verify, report]


def _recordings(chance: random.Random, corpus: Path, work: Path) -> Case:
    file, out = work / "mutated.npz", work / "out.npz"
    stem = chance.choice(["inputs", "inputs", "convolution"])
    label, content = change_npz(chance, (corpus / f"{stem}.npz").read_bytes())
    file.write_bytes(content)
    graph = corpus / ("receiver.nir" if stem == "inputs" else "convolution.nir")
    if stem == "inputs" and chance.random() < 0.6:
        command = _run(corpus / "lava", out, "--inputs", file, backend="reference")
        judge = judges.reference_run(file, graph, out)
    else:
        command = _arguments("energy", "report", graph, "--inputs", file, "--json")
        judge = judges.report_of_recording(file)
    return Case(f"{stem}: {label}", command, judge)


def _integers(chance: random.Random, corpus: Path, work: Path) -> Case:
    """The numbers of a deployment, with the hash of the manifest put right as an attacker would."""
    folder, out = work / "lava", work / "out.npz"
    shutil.copytree(corpus / "lava", folder)
    label, content = change_npz(chance, (folder / "network.npz").read_bytes())
    (folder / "network.npz").write_bytes(content)
    honest = chance.random() < 0.2
    if not honest:
        _put_hash_right(folder, "integers_sha256", content)
    judge = judges.refused if honest else judges.integer_run(folder, out)
    if content == (corpus / "lava" / "network.npz").read_bytes():
        judge = anything
    return Case(f"{label}{', hash left' if honest else ''}", _run(folder, out), judge)


def _put_hash_right(folder: Path, field: str, content: bytes) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[field] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _netx(chance: random.Random, corpus: Path, work: Path) -> Case:
    """No command reads the network file, but a damaged one must not go to the chip unnoticed."""
    folder = work / "lava"
    shutil.copytree(corpus / "lava", folder)
    how = _flipped if chance.random() < 0.7 else _edited_netx
    label = how(chance, corpus / "lava" / "network.net", folder / "network.net")
    same = (folder / "network.net").read_bytes() == (corpus / "lava" / "network.net").read_bytes()
    command = chance.choice(
        [_run(folder, work / "out.npz"), _arguments("verify", folder, "--against", "reference", "--json")]
    )
    return Case(label, command, anything if same else judges.refused)


def _edited_netx(chance: random.Random, source: Path, target: Path) -> str:
    import h5py

    shutil.copyfile(source, target)
    with h5py.File(target, "r+") as stream:
        return hdf5_edits.replace_value(chance, stream)


def _manifests(chance: random.Random, corpus: Path, work: Path) -> Case:
    folder, out = work / "lava", work / "out.npz"
    shutil.copytree(corpus / "lava", folder)
    file = folder / "manifest.json"
    label, content = change_json(chance, file.read_bytes())
    file.write_bytes(content)
    if chance.random() < 0.7:
        return Case(label, _run(folder, out), judges.manifest_run(out, corpus / "lava", corpus / "warm.npz"))
    return Case(label, _arguments("verify", folder, "--against", "reference", "--json"), anything)


def _exact_folders(chance: random.Random, corpus: Path, work: Path) -> Case:
    folder = work / "onnx"
    shutil.copytree(corpus / "onnx", folder)
    command = _arguments("verify", folder, "--against", "reference", "--json")
    manifest = folder / "manifest.json"
    if chance.random() < 0.5:
        label, content = change_json(chance, manifest.read_bytes())
        manifest.write_bytes(content)
        return Case(f"manifest.json: {label}", command, anything)
    name = chance.choice(["sequence.onnx", "source.nir", "inputs.npz"])
    before = (folder / name).read_bytes()
    label = _flipped(chance, corpus / "onnx" / name, folder / name)
    same = (folder / name).read_bytes() == before
    if name == "sequence.onnx" and chance.random() < 0.6:
        model = onnx.load(corpus / "onnx" / name)
        del model.metadata_props[:]
        label = onnx_edits.edit_model(chance, model)
        (folder / name).write_bytes(model.SerializeToString())
        told = json.loads(manifest.read_text())
        for one in told["files"]:
            if one["name"] == name:
                one["sha256"] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        manifest.write_text(json.dumps(told))
        return Case(f"{name}: {label}, hash put right", command, anything)
    return Case(f"{name}: {label}", command, anything if same else judges.refused)


# JSON and TOML


def _fill_tables(folder: Path) -> None:
    from nsc_deploy import energy
    from nsc_deploy.energy import estimate
    from nsc_deploy.experiment_file import experiment_text, load_experiment
    from nsc_deploy.exporters import chips

    _fill_graphs(folder)
    estimate([folder / "receiver.nir"], inputs=[folder / "inputs.npz"]).write(folder)
    for path in (Path(energy.__file__).parent / "pricing" / "profiles").glob("*.toml"):
        shutil.copyfile(path, folder / f"profile-{path.name}")
    for path in Path(chips.__file__).parent.glob("*.toml"):
        shutil.copyfile(path, folder / f"chip-{path.name}")
    (folder / "budget.toml").write_text(
        'over = "p95"\ncolumn = "memory"\n\n[limits]\nsynops_per_inference = 1000\nenergy_uj = 0.5\n'
        'spikes_per_inference = { most = 40, over = "mean" }\nneurons = 100\nmemory_bytes = 1e5\n'
        "latency_steps = 9\n"
    )
    (folder / "experiment.toml").write_text(experiment_text(load_experiment()))
    run = folder / "run"
    run.mkdir()
    shutil.copyfile(folder / "receiver.nir", run / "receiver.nir")
    shutil.copyfile(folder / "inputs.npz", run / "receiver.npz")
    part = {"name": "receiver", "side": "receiver", "place": "chip", "graph": "receiver.nir"}
    told = {
        "system": "att-neurosc", "receiver": "event", "dataset": "fsdd", "class_names": ["a", "b"], "dt": DT,
        "channel": {"kind": "awgn", "snr_db": 10.0, "taps": 1, "uses_per_step": 4, "steps": 5},
        "readout": {"classes": 2, "group": 2}, "test_accuracy": 0.5,
        "parts": [part | {"recording": "receiver.npz", "description": ""}],
    }  # fmt: skip
    (run / "deployment.json").write_text(json.dumps(told, indent=2))


def _tables(folder: Path) -> Path:
    return _written(folder, _fill_tables)


def _deployments(chance: random.Random, corpus: Path, work: Path) -> Case:
    run = work / "run"
    shutil.copytree(corpus / "run", run)
    file = run / "deployment.json"
    label, content = change_json(chance, file.read_bytes())
    file.write_bytes(content)
    if chance.random() < 0.3:
        return Case(
            label, _arguments("export", run, "--target", "nir", "--out", work / "out", "--json"), anything
        )
    return Case(label, _arguments("energy", "report", run, "--json"), judges.report_of_run(file))


def _reports(chance: random.Random, corpus: Path, work: Path) -> Case:
    file = work / "report.json"
    label, content = change_json(chance, (corpus / "report.json").read_bytes())
    file.write_bytes(content)
    graph = _arguments(corpus / "receiver.nir", "--inputs", corpus / "inputs.npz")
    if chance.random() < 0.5:
        command = _arguments("energy", "check", *graph, "--baseline", file, "--json")
        return Case(label, command, judges.baseline_check(file))
    command = _arguments("energy", "compare", file, corpus / "report.json", "--json")
    return Case(label, command, judges.comparison(file))


def _profiles(chance: random.Random, corpus: Path, work: Path) -> Case:
    source, file = chance.choice(sorted(corpus.glob("profile-*.toml"))), work / "profile.toml"
    label, content = change_toml(chance, source.read_bytes())
    file.write_bytes(content)
    label = f"{source.name}: {label}"
    if chance.random() < 0.3:
        graph = _arguments(corpus / "receiver.nir", "--inputs", corpus / "inputs.npz")
        return Case(label, _arguments("energy", "report", *graph, "--profile", file, "--json"), anything)
    return Case(label, _arguments("energy", "profiles", file, "--json"), judges.says_what_toml_says(file))


def _budgets(chance: random.Random, corpus: Path, work: Path) -> Case:
    file = work / "budget.toml"
    label, content = change_toml(chance, (corpus / "budget.toml").read_bytes())
    file.write_bytes(content)
    graph = _arguments(corpus / "receiver.nir", "--inputs", corpus / "inputs.npz")
    command = _arguments("energy", "check", *graph, "--budget", file, "--json")
    return Case(label, command, judges.budget_check(file))


def _chips(chance: random.Random, corpus: Path, work: Path) -> Case:
    source, file = chance.choice(sorted(corpus.glob("chip-*.toml"))), work / "chip.toml"
    label, content = change_toml(chance, source.read_bytes())
    file.write_bytes(content)
    command = _arguments("check", corpus / "receiver.nir", "--target", file, "--json")
    return Case(f"{source.name}: {label}", command, anything)


def _experiments(chance: random.Random, corpus: Path, work: Path) -> Case:
    file = work / "experiment.toml"
    label, content = change_toml(chance, (corpus / "experiment.toml").read_bytes())
    file.write_bytes(content)
    return Case(label, _print_experiment(file), judges.says_what_toml_says(file, toml=True))


def _print_experiment(file: Path) -> Callable[[], None]:
    """`train` reads it like this before it trains."""

    def command() -> None:
        from nsc_deploy.experiment_file import experiment_text, load_experiment

        print(experiment_text(load_experiment(file)))

    return command


def _warm_tables(corpus: Path) -> list[Command]:
    graph = _arguments(corpus / "receiver.nir", "--inputs", corpus / "inputs.npz")
    report = corpus / "report.json"
    return [
        _arguments("energy", "report", *graph, "--json"),
        _arguments("energy", "check", *graph, "--baseline", report, "--budget", corpus / "budget.toml"),
        _arguments("energy", "compare", report, report, "--json"),
        _arguments("energy", "report", corpus / "run", "--json"),
        _arguments("energy", "profiles", "horowitz-45nm", "--json"),
        _arguments("check", corpus / "receiver.nir", "--target", "loihi2", "--json"),
        _print_experiment(corpus / "experiment.toml"),
    ]


KINDS: dict[str, Kind] = {
    "nir-bytes": _mutated_nir(_flipped, "receiver", "convolution"),
    "nir-edits": _mutated_nir(hdf5_edits.edit_file, "receiver", "convolution"),
    "nir-own": Kind(_graphs, _warm_nir, _own_nir),
    "onnx-bytes": Kind(_models, _warm_onnx, _onnx_bytes),
    "onnx-edits": Kind(_models, _warm_onnx, _onnx_edits),
    "onnx-own": Kind(_models, _warm_onnx, _own_onnx),
    "recordings": Kind(_deployment, _warm_deployment, _recordings),
    "integers": Kind(_deployment, _warm_deployment, _integers),
    "netx": Kind(_deployment, _warm_deployment, _netx),
    "manifests": Kind(_deployment, _warm_deployment, _manifests),
    "exact-folders": Kind(_deployment, _warm_deployment, _exact_folders),
    "deployments": Kind(_tables, _warm_tables, _deployments),
    "reports": Kind(_tables, _warm_tables, _reports),
    "profiles": Kind(_tables, _warm_tables, _profiles),
    "budgets": Kind(_tables, _warm_tables, _budgets),
    "chips": Kind(_tables, _warm_tables, _chips),
    "experiments": Kind(_tables, _warm_tables, _experiments),
}

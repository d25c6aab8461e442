"""Whether an accepted file was read as it stands, by readers that share no code with the package."""

import collections
import hashlib
import io
import json
import math
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
from onnx import numpy_helper

Judge = Callable[[int, str], str | None]
_MARK = b"\nnsc-deploy sha256 "
_ARRAYS = {
    "weight", "bias", "scale", "threshold", "delay", "tau", "r", "v_leak", "v_threshold", "v_reset",
    "tau_syn", "tau_mem", "w_in",
}  # fmt: skip


def refused(code: int, out: str) -> str | None:
    """For files that no command may accept."""
    return None if code == 2 else "a changed file passes"


# NIR


def looks_sealed(content: bytes) -> bool:
    return content[-len(_MARK) - 64 :].startswith(_MARK)


def sealed_anew(content: bytes) -> bytes:
    return content + _MARK + hashlib.sha256(content).hexdigest().encode()


def nir_description(file: Path) -> Judge:
    """Node names, types, edges and the figures of every array are those that h5py reads."""

    def judge(code: int, out: str) -> str | None:
        told = json.loads(out)
        arrays: dict[tuple[str, str], Any] = {}
        types: dict[str, str] = {}
        with h5py.File(file, "r") as stream:
            _walk(stream["node"], "", arrays, types)
            flat = not any(kind == "NIRGraph" for kind in types.values())
            edges = [tuple(map(_text, edge)) for edge in stream["node/edges"][()].tolist()]
        nodes = {node["name"]: node for node in told["nodes"]}
        wanted = {name: kind for name, kind in types.items() if kind != "NIRGraph"}
        inner_ends = {name for name, kind in wanted.items() if kind in {"Input", "Output"} and "." in name}
        if nodes.keys() | inner_ends != wanted.keys() | (inner_ends & nodes.keys()):
            return f"nodes {sorted(nodes)} where the file has {sorted(wanted)}"
        for name, node in nodes.items():
            if node["primitive"] != wanted[name]:
                return f"node {name} is {node['primitive']}"
            for one in node["parameters"]:
                if (name, one["name"]) in arrays and not _same_figures(one, arrays[name, one["name"]]):
                    return f"{name}.{one['name']} is told as {one}"
        told_edges = [(source, node["name"]) for node in told["nodes"] for source in node["inputs"]]
        if flat and collections.Counter(told_edges) != collections.Counter(edges):
            return f"edges {told_edges}"
        return None

    return judge


def _walk(group: Any, prefix: str, arrays: dict[tuple[str, str], Any], types: dict[str, str]) -> None:
    for name, node in group["nodes"].items():
        full = prefix + name
        types[full] = _text(node["type"][()])
        if types[full] == "NIRGraph":
            _walk(node, f"{full}.", arrays, types)
        for field, value in node.items():
            if field in _ARRAYS:
                arrays[full, field] = value[()]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _same_figures(told: dict[str, Any], value: Any) -> bool:
    array = np.asarray(value)
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    # One number may stand for a whole layer; a warning says so.
    fits = array.size == 1 or tuple(told["shape"]) == array.shape
    return fits and (told["minimum"], told["maximum"]) == (low, high)


# ONNX


def onnx_description(file: Path) -> Judge:
    """Operators, their order and the figures of every weight are those that onnx reads."""

    def judge(code: int, out: str) -> str | None:
        told, graph = json.loads(out), onnx.load(file, load_external_data=False).graph
        operators = [
            node["primitive"] for node in told["nodes"] if node["primitive"] not in {"Input", "Output"}
        ]
        if operators != [node.op_type for node in graph.node]:
            return f"operators {operators}"
        weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        for node in told["nodes"]:
            for one in node["parameters"]:
                if one["name"] in weights and not _same_figures(one, weights[one["name"]]):
                    return f"{one['name']} is told as {one}"
        return None

    return judge


def onnx_products(file: Path, recording: Path) -> Judge:
    """The multiplications of the dense layers, worked out from the weights alone, are in the report."""

    def judge(code: int, out: str) -> str | None:
        told, graph = json.loads(out), onnx.load(file, load_external_data=False).graph
        steps = int(np.load(recording)["shape"][0])
        layers = {layer["name"]: layer for part in told["systems"][0]["parts"] for layer in part["layers"]}
        weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        dense = [node for node in graph.node if node.op_type == "MatMul" and len(node.input) == 2]
        names = collections.Counter(node.name or node.output[0] for node in graph.node)
        for node in dense:
            weight, layer = weights.get(node.input[1]), layers.get(node.name or node.output[0])
            if weight is None or layer is None or weight.ndim != 2 or names[layer["name"]] > 1:
                continue
            if layer["counts"]["dense"] != steps * weight.size:
                return f"{layer['name']} has {layer['counts']['dense']} products"
        return _finite(told)

    return judge


def same_model(file: Path, intact: Path) -> Judge:
    """Nothing but the model as it was, read by onnx, may be accepted."""

    def judge(code: int, out: str) -> str | None:
        one, other = (onnx.load(path).SerializeToString(deterministic=True) for path in (file, intact))
        had_digest = any(prop.key == "digest" for prop in onnx.load(file).metadata_props)
        return None if one == other or not had_digest else "another model passes"

    return judge


def _finite(told: Any) -> str | None:
    """JSON reads NaN and Infinity as floats: none may be in what was printed."""
    if isinstance(told, float) and not math.isfinite(told):
        return "a figure that is not finite"
    inner = told.values() if isinstance(told, dict) else told if isinstance(told, list) else ()
    return next((problem for one in inner if (problem := _finite(one))), None)


# Recordings and integers


def read_arrays(file: Path) -> dict[str, Any]:
    """By numpy; an archive with names twice has no one reading."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        assert len(names) == len(set(names)), "accepted, with names twice"
        # numpy itself takes no archive with something before it, though zip allows for that.
        return {
            name.removesuffix(".npy"): np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in names
        }


def _values_of(arrays: dict[str, Any]) -> Any:
    shape = [int(size) for size in arrays["shape"]]
    if arrays["signal"].tobytes() == b"events":
        return np.unpackbits(arrays["events"].reshape(-1))[: math.prod(shape)].reshape(shape)
    return arrays["values"].reshape(shape)


def reference_run(file: Path, graph: Path, out: Path) -> Judge:
    """The reference's spikes on what numpy reads, and the labels it reads."""

    def judge(code: int, printed: str) -> str | None:
        from nsc_deploy.graphs.formats.nir import read_network
        from nsc_deploy.graphs.simulate import simulate

        arrays = read_arrays(file)
        wanted = simulate(read_network(graph), _values_of(arrays)).output
        written = np.load(out)
        if not np.array_equal(written["spikes"], wanted):
            return "other spikes"
        labels = arrays.get("labels")
        if (labels is None) != ("labels" not in written.files):
            return "labels lost or made up"
        return None if labels is None or np.array_equal(written["labels"], labels) else "other labels"

    return judge


def report_of_recording(file: Path) -> Judge:
    """Steps, samples, time step and hash in the report are those of the file."""

    def judge(code: int, out: str) -> str | None:
        arrays, told = read_arrays(file), json.loads(out)
        part = told["systems"][0]["parts"][0]
        steps, samples = (int(size) for size in arrays["shape"][:2])
        if (part["steps"], part["samples"]) != (steps, samples):
            return f"{part['steps']} steps, {part['samples']} samples"
        if not math.isclose(part["dt"], float(arrays["dt"]), rel_tol=1e-6):
            return f"a step of {part['dt']} s"
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        return _finite(told) if part["recording_sha256"] == digest else "another hash"

    return judge


def integer_run(folder: Path, out: Path) -> Judge:
    """The spikes of the integers that numpy reads, by the equations of Lava written down once more."""

    def judge(code: int, printed: str) -> str | None:
        told = json.loads((folder / "manifest.json").read_text())
        numbers, inputs = read_arrays(folder / told["integers"]), read_arrays(folder / "inputs.npz")
        spikes = _values_of(inputs).astype(np.int64)
        for index in range(len(told["layers"])):
            spikes = _lava_layer(numbers, index, spikes)
        return None if np.array_equal(np.load(out)["spikes"], spikes) else "other spikes"

    return judge


def _lava_layer(numbers: dict[str, Any], index: int, events: Any) -> Any:
    names = ("weight", "delay", "du", "dv", "vth", "bias", "bias_exp", "weight_exp")
    weight, delay, du, dv, vth, bias, bias_exp, exponent = (
        np.asarray(numbers[f"{index}.{name}"]).astype(np.int64) for name in names
    )
    steps, samples, _ = events.shape
    u = v = np.zeros((samples, len(weight)), np.int64)
    spikes = np.zeros((steps, samples, len(weight)), np.int64)
    for step in range(steps):
        late = step - delay
        arrived = np.stack(
            [
                events[at] @ row if at >= 0 else np.zeros(samples, np.int64)
                for at, row in zip(late, weight, strict=True)
            ],
            axis=1,
        )
        u = np.sign(u) * (np.abs(u) * (4096 - (du + 1)) >> 12) + ((arrived << exponent) << 6)
        u = (u + 2**23) % 2**24 - 2**23
        v = np.clip(
            np.sign(v) * (np.abs(v) * (4096 - dv) >> 12) + u + (bias << bias_exp), 1 - 2**23, 2**23 - 1
        )
        spikes[step] = v > vth << 6
        v = np.where(spikes[step], 0, v)
    return spikes


def manifest_run(out: Path, intact: Path, intact_out: Path) -> Judge:
    """Whatever the manifest says, spikes and decisions of the samples it lets run are those of the graph."""

    def judge(code: int, printed: str) -> str | None:
        told, said = json.loads((intact / "manifest.json").read_bytes()), json.loads(printed)
        spikes = np.load(out)["spikes"]
        if not np.array_equal(spikes, np.load(intact_out)["spikes"][:, said["samples"]]):
            return "other spikes"
        if said["decisions"] is not None:
            shape = len(said["samples"]), told["classes"], told["group"]
            votes = spikes.sum(0, dtype=np.int64).reshape(shape).sum(2)
            if said["decisions"] != votes.argmax(1).tolist():
                return "other decisions"
        return None

    return judge


# JSON and TOML


def report_of_run(file: Path) -> Judge:
    """Parts, sides, places and accuracy are those that json reads."""

    def judge(code: int, out: str) -> str | None:
        told, said = json.loads(file.read_bytes()), json.loads(out)
        system = said["systems"][0]
        for mine, its in zip(told["parts"], system["parts"], strict=True):
            if any(mine[field] != its[field] for field in ("name", "side", "place")):
                return f"part {its['name']}"
        if system["accuracy"] != told["test_accuracy"]:
            return f"an accuracy of {system['accuracy']}"
        return _finite(said)

    return judge


def baseline_check(file: Path) -> Judge:
    """Each limit is a figure of the baseline."""

    def judge(code: int, out: str) -> str | None:
        counts = json.loads(file.read_bytes())["systems"][0]["counts"]
        said = json.loads(out)
        limits = {one["quantity"].split()[0]: one["limit"] for one in said["findings"]}
        if not math.isclose(limits["spikes"], counts["spikes"], rel_tol=1e-9):
            return f"a limit of {limits['spikes']} spikes where the baseline has {counts['spikes']}"
        if not math.isclose(limits["synops"], counts["acs"] + counts["macs"], rel_tol=1e-9):
            return f"a limit of {limits['synops']} synaptic operations"
        return None if (code == 0) == all(one["passed"] for one in said["findings"]) else f"exit code {code}"

    return judge


def comparison(file: Path) -> Judge:
    """What was before is what json reads."""

    def judge(code: int, out: str) -> str | None:
        told, said = json.loads(file.read_bytes()), json.loads(out)
        before = {system["label"]: system["counts"] for system in told["systems"]}
        for system in said["systems"]:
            if not math.isclose(system["total"]["spikes"]["before"], before[system["before"]]["spikes"]):
                return "other spikes before"
        return _finite(said)

    return judge


def budget_check(file: Path) -> Judge:
    """A finding for each limit that tomllib reads, held as it says."""

    def judge(code: int, out: str) -> str | None:
        limits = tomllib.loads(file.read_text())["limits"]
        found = {one["quantity"]: one for one in json.loads(out)["findings"]}
        if found.keys() != limits.keys():
            return f"findings for {sorted(found)}"
        for name, limit in limits.items():
            most = limit["most"] if isinstance(limit, dict) else limit
            if found[name]["limit"] != float(most) or found[name]["passed"] != (found[name]["value"] <= most):
                return f"{name}: {found[name]}"
        return None if (code == 0) == all(one["passed"] for one in found.values()) else f"exit code {code}"

    return judge


def says_what_toml_says(file: Path, *, toml: bool = False) -> Judge:
    """Everything in the file is in what was printed."""

    def judge(code: int, out: str) -> str | None:
        told = tomllib.loads(file.read_text())
        said = tomllib.loads(out) if toml else json.loads(out)
        return _missing(told, said, "")

    return judge


def _missing(told: Any, said: Any, path: str) -> str | None:
    if isinstance(told, dict) and isinstance(said, dict):
        inner = ((told[key], said.get(key, "nothing"), f"{path}.{key}") for key in told)
    elif isinstance(told, list) and isinstance(said, list) and len(told) == len(said):
        inner = ((one, other, f"{path}[]") for one, other in zip(told, said, strict=True))
    elif isinstance(told, bool) or isinstance(said, bool):
        return None if told is said else f"{path} is told as {said!r}"
    else:
        return None if told == said else f"{path} is told as {said!r:.60}"
    return next((problem for one in inner if (problem := _missing(*one))), None)

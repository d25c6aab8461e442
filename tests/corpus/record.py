"""Runs the cases against one version and keeps what each answered and left: `record.py ROOT OUT`.

ROOT is a checkout; its package is imported from there whatever is installed. OUT gets one JSON file a case.
The libraries are imported once, and each command is a fork that imports the package: a third of the time.
"""

import argparse
import atexit
import hashlib
import importlib
import json
import os
import runpy
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import onnx
from cases import CASES, Case
from files import make
from onnx import numpy_helper
from safetensors.numpy import load_file

TIMEOUT_S = 300
LIBRARIES = "typer rich.console pydantic tomlkit scipy.signal onnxruntime matplotlib.pyplot numba torch"
SETTINGS = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb", "SOURCE_DATE_EPOCH": "0"}
SETTINGS |= {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="checkout whose nsc_deploy runs")
    parser.add_argument("out", type=Path, help="folder for the answers")
    parser.add_argument("--only", default="*", help="cases whose name matches, and what they begin with")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--missing", action="store_true", help="only cases that have no answer yet")
    options = parser.parse_args()
    settings = SETTINGS | {"PYTHONPATH": str(options.root.resolve())}
    if any(os.environ.get(name) != value for name, value in settings.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **settings})  # noqa: S606
    for library in LIBRARIES.split():
        importlib.import_module(library)
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = choose(options.only, options.out if options.missing else None)
    # Not a TemporaryDirectory, which every fork would remove at its end.
    scratch = Path(tempfile.mkdtemp())
    try:
        record(chosen, options.root.resolve(), options.out, scratch, options.jobs)
    finally:
        shutil.rmtree(scratch)


def choose(pattern: str, answered: Path | None) -> dict[str, Case]:
    """The cases that match and have no answer in `answered`, each behind the one it begins with."""
    chosen: dict[str, Case] = {}
    for case in CASES.values():
        if fnmatch(case.name, pattern) and not (answered and (answered / file_name(case)).exists()):
            chain = [case]
            while chain[-1].origin:
                chain.append(CASES[chain[-1].origin])
            chosen |= {one.name: one for one in reversed(chain)}
    return chosen


def record(cases: dict[str, Case], root: Path, out: Path, scratch: Path, jobs: int) -> None:
    """Run the cases, at most `jobs` at a time, each as soon as the one it begins with is done."""
    begun = time.monotonic()
    waiting, running, ended = list(cases.values()), dict[int, tuple[Case, float]](), set[str]()
    while waiting or running:
        ready = next((case for case in waiting if not case.origin or case.origin in ended), None)
        if ready is not None and len(running) < jobs:
            waiting.remove(ready)
            if (child := os.fork()) == 0:
                end_with(run_case, ready, root, out, scratch)
            running[child] = (ready, time.monotonic())
            continue
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            case, _ = running.pop(child)
            ended.add(case.name)
            if status:
                sys.exit(f"could not record {case.name}")
            print(f"{time.monotonic() - begun:6.0f} s  {case.name}", file=sys.stderr, flush=True)
        time.sleep(0.02)


def file_name(case: Case) -> str:
    return f"{folder_name(case)}.json"


def folder_name(case: Case) -> str:
    plain = "".join(letter if letter.isalnum() else "-" for letter in case.name)
    return f"{plain[:60]}-{zlib.crc32(case.name.encode()):08x}"


def run_case(case: Case, root: Path, out: Path, scratch: Path) -> None:
    """Make the folder of a case, run its command there, and keep the answer with what is new."""
    folder = scratch / folder_name(case)
    if case.origin:
        shutil.copytree(scratch / folder_name(CASES[case.origin]), folder)
    else:
        folder.mkdir()
    words = shlex.split(case.command)
    for word in words:
        make(word.rpartition("=")[2], folder, root)
    damage(case.damage, folder, root)
    before = contents(folder)
    streams = [folder.with_suffix(suffix) for suffix in (".stdout", ".stderr")]
    if (child := os.fork()) == 0:
        end_with(run_command, words, folder, root, streams)
    code = await_end(child)
    after = contents(folder)
    answer = {
        "name": case.name,
        "places": {"<root>": str(root), "<scratch>": str(folder)},
        "exit_code": code,
        **{stream.suffix[1:]: stream.read_bytes().decode(errors="replace") for stream in streams},
        "files": {name: found for name, found in after.items() if before.get(name) != found},
        "removed": sorted(before.keys() - after.keys()),
    }
    (out / file_name(case)).write_text(json.dumps(answer, indent=1), encoding="utf-8")


def end_with(work: Any, *arguments: Any) -> NoReturn:
    """Do the work of a fork and end it, whatever happens."""
    code = 1
    try:
        code = work(*arguments) or 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def run_command(words: list[str], folder: Path, root: Path, streams: list[Path]) -> int:
    """What `python -P -m nsc_deploy` does, in this process; its exit code."""
    os.setsid()
    os.chdir(folder)
    os.environ["NSC_DEPLOY_DATA"] = str(folder)
    for number, place in enumerate((Path(os.devnull), *streams)):
        os.dup2(os.open(place, os.O_RDWR | os.O_CREAT), number)
    sys.argv = [str(root / "nsc_deploy" / "__main__.py"), *words]
    code = 0
    try:
        runpy.run_module("nsc_deploy", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def await_end(child: int) -> int:
    """The exit code of a command; one that takes too long is ended, with what it started."""
    late = time.monotonic() + TIMEOUT_S
    while (found := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > late:
            os.killpg(child, signal.SIGKILL)
            late = float("inf")
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(found[1])


def damage(what: str, folder: Path, root: Path) -> None:
    """Do what a case wants done before its command."""
    if not what:
        return
    verb, name, *rest = what.split(" ", 2)
    path = folder / name
    if verb == "make":
        make(name, folder, root)
    elif verb == "delete":
        path.unlink()
    elif verb == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rest[0], encoding="utf-8")
    else:
        content = bytearray(path.read_bytes())
        if verb == "flip":
            content[len(content) // 2] ^= 1
        path.write_bytes(content if verb == "flip" else content[: len(content) // 2])


def contents(folder: Path) -> dict[str, Any]:
    """What each file below holds: text as it stands, arrays by their digests, the rest as one digest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): content(path) for path in files}


def content(path: Path) -> Any:
    digest = f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
    try:
        return READERS[path.suffix](path) if path.suffix in READERS else digest
    except Exception as error:  # damaged on purpose, or by the version under test
        return f"{type(error).__name__}, {digest}"


def arrays_content(path: Path) -> dict[str, str]:
    with np.load(path) as arrays:
        return {name: array_digest(arrays[name]) for name in arrays.files}


def tensors_content(path: Path) -> dict[str, str]:
    return {name: array_digest(array) for name, array in sorted(load_file(path).items())}


def array_digest(array: Any) -> str:
    values = np.asarray(array)
    plain = values.astype(str) if values.dtype.kind == "O" else values
    content = plain.tobytes() if plain.size > 8 else str(plain.tolist()).encode()
    shown = f" {plain.tolist()}" if plain.size <= 8 else f" {hashlib.sha256(content).hexdigest()[:16]}"
    return f"{values.dtype} {values.shape}{shown}"


def hdf5_content(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, node: (
                found.update({name: array_digest(node[()])}) if isinstance(node, h5py.Dataset) else None
            )
        )
    return dict(sorted(found.items()))


def onnx_content(path: Path) -> dict[str, Any]:
    """The constants by their digests and the rest as text."""
    model = onnx.load(path)
    constants = {
        tensor.name: array_digest(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer
    }
    del model.graph.initializer[:]
    rest = [prop for prop in model.metadata_props if prop.key != "digest"]
    del model.metadata_props[:]
    model.metadata_props.extend(rest)
    return {"constants": constants, "graph": onnx.printer.to_text(model)}


READERS: dict[str, Callable[[Path], Any]] = {
    **dict.fromkeys((".json", ".toml", ".html", ".svg", ".xml", ".py", ".yaml", ".txt"), Path.read_text),
    **dict.fromkeys((".nir", ".net", ".h5"), hdf5_content),
    ".npz": arrays_content,
    ".onnx": onnx_content,
    ".safetensors": tensors_content,
}

if __name__ == "__main__":
    main()

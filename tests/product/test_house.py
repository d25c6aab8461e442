"""The rules of the house that a reader would otherwise have to check by hand."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "nsc_deploy"

# Put together here, so that this file does not break its own rule.
MACHINE_PATHS = [f"/{folder}/" for folder in ("home", "root", "work", "farm", "Users")] + [
    "/{}/[a-z]".format("tmp")
]
REGISTRY_HOSTS = [
    rf"{host}\.{top}"
    for host, top in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("download.pytorch", "org"),
        ("npmjs", "org"),
        ("deb.debian", "org"),
    )
]

FRAMEWORKS = {"torch", "torchvision", "lightning", "snntorch", "norse", "nirtorch"}
FORBIDDEN = {
    "energy": FRAMEWORKS | {"nsc_deploy.models", "nsc_deploy.training"},
    # Reports place graphs as the exporters do, so energy may import exporters, and not the other way round.
    "exporters": FRAMEWORKS | {"nsc_deploy.models", "nsc_deploy.training", "nsc_deploy.energy"},
    "graphs": FRAMEWORKS | {"nsc_deploy.models", "nsc_deploy.training"},
    "kernels": FRAMEWORKS,
}
AT_THE_TOP_OF_COMMANDS = {
    "typer",
    "nsc_deploy.diagnostics",
    "nsc_deploy.errors",
    "nsc_deploy.io.text",
    "nsc_deploy.io.files",
    "nsc_deploy.cli",
}


def tracked(*patterns: str) -> list[Path]:
    answer = subprocess.run(
        ["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in answer.stdout.split("\0") if name and (ROOT / name).is_file()]


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_at_the_top(module: ast.Module) -> Iterator[str]:
    for statement in module.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield from imports(statement)


def within(name: str, allowed: set[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in allowed)


def test_no_file_names_a_path_of_somebody_s_machine_or_a_registry_host() -> None:
    rule = re.compile("|".join([rf"(?<![\w.]){path}" for path in MACHINE_PATHS] + REGISTRY_HOSTS))
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in tracked()
        for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), start=1)
        if rule.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("room", sorted(FORBIDDEN))
def test_imports_run_one_way(room: str) -> None:
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in tracked(f"nsc_deploy/{room}/*.py")
        for name in imports(ast.parse(path.read_text(encoding="utf-8")))
        if within(name, FORBIDDEN[room])
    ]
    assert found == []


def test_no_room_imports_the_command_line() -> None:
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in tracked("nsc_deploy/*.py")
        if "cli" not in path.relative_to(PACKAGE).parts and path.name != "__main__.py"
        for name in imports(ast.parse(path.read_text(encoding="utf-8")))
        if within(name, {"nsc_deploy.cli"})
    ]
    assert found == []


def test_command_modules_import_nothing_heavy_at_their_top() -> None:
    allowed = AT_THE_TOP_OF_COMMANDS | set(sys.stdlib_module_names)
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in tracked("nsc_deploy/cli/*.py")
        for name in imports_at_the_top(ast.parse(path.read_text(encoding="utf-8")))
        if not within(name, allowed) and name != "nsc_deploy"
    ]
    assert found == []


@pytest.mark.parametrize("room", ["energy", "graphs", "exporters"])
def test_what_comes_after_training_runs_without_a_training_framework(room: str) -> None:
    """Imports every module of the room, so what it pulls in by way of other rooms counts too."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in tracked(f"nsc_deploy/{room}/*.py")
        if not any(within(name, {"lava"}) for name in imports(ast.parse(path.read_text(encoding="utf-8"))))
    ]
    script = (
        "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, *modules], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert answer.returncode == 0, answer.stderr
    assert FRAMEWORKS & set(answer.stdout.split()) == set()


def test_every_python_that_is_started_leaves_the_working_folder_alone() -> None:
    """Without -P or -I a torch.py that lies where the user stands would run in place of torch."""
    started = []
    for path in tracked("nsc_deploy/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.List | ast.Tuple) and node.elts:
                words = [ast.unparse(one) for one in node.elts]
                if words[0] == "sys.executable" or ("'-m'" in words and words[0] != "'-m'"):
                    started.append((path.name, words[1]))
    assert len(started) >= 8
    assert [one for one in started if one[1] not in {"'-P'", "'-I'"}] == []

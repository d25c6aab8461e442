"""The emulator with one of its rules broken; rules.toml lists the rules.

A mutation names a function of the emulator and a pattern of its syntax tree, so that neither moving, nor
formatting, nor editing anything else touches the table. The mutated files run as plain Python, uncompiled.
"""

import ast
import copy
import importlib.util
import sys
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from nsc_deploy.exporters.lava import emulator

EMULATOR = emulator.__name__
FILES = ("kernels", "connections", "network", "simulate")
ANY = "ANY"
PLAIN_PYTHON = """
def kernel_or(plain): return lambda function: function
def inlined(function): return function
def called_often(function): return function
def int32(value): return (int(value) + 2**31) % 2**32 - 2**31
"""
Tree = ast.Module


@dataclass(frozen=True)
class Mutation:
    """A change of one place of the emulator.

    Attributes:
        rule: that it breaks.
        place: the file, and in it a function or class: "kernels.decayed", "connections.Conv.entries"; the
            file alone for what stands outside of all functions.
        pattern: an expression or a statement there; the name ANY, once, stands for any expression.
        becomes: what it is replaced with, where ANY is what it stood for.
    """

    rule: str
    place: str
    pattern: str
    becomes: str

    @property
    def file(self) -> str:
        """Of the emulator."""
        return self.place.partition(".")[0]

    def trees(self) -> list[Tree]:
        """The whole file after the change, once for each part of the place that the pattern fits."""
        tree = source_tree(self.file)
        pattern, becomes = (ast.parse(text).body for text in (self.pattern, self.becomes))
        wanted = pattern[0].value if isinstance(pattern[0], ast.Expr) else pattern[0]
        found = []
        for node in ast.walk(_at(tree, self.place)):
            caught: list[ast.AST] = []
            if _fits(wanted, node, caught):
                new = [becomes[0].value] if isinstance(becomes[0], ast.Expr) else becomes
                found.append(exchanged(tree, node, [_filled(one, caught) for one in new]))
        return found


def _table(name: str) -> list[dict[str, Any]]:
    text = Path(__file__).with_name(f"{name}.toml").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = tomllib.loads(text)[name.removesuffix("s")]
    return rows


MUTATIONS = tuple(Mutation(**row) for row in _table("rules"))


def equivalent() -> dict[str, Mutation]:
    """The changes that compute the same, by the whole file after the change; `rule` is the reason."""
    changes = [
        Mutation(row["why"], row["place"], pattern, becomes)
        for row in _table("equivalents")
        for pattern, becomes in row["changes"]
    ]
    for change in changes:
        if not change.trees():
            raise ValueError(f"listed, but there is no such place: {change}")
    return {ast.unparse(tree): change for change in changes for tree in change.trees()}


def source_tree(file: str) -> Tree:
    """The syntax tree of a file of the emulator, its nodes numbered."""
    tree = ast.parse((Path(emulator.__file__).parent / f"{file}.py").read_text(encoding="utf-8"))
    for number, node in enumerate(ast.walk(tree)):
        node.number = number  # type: ignore[attr-defined]
    return tree


def exchanged(tree: Tree, node: ast.AST, new: list[ast.AST]) -> Tree:
    """A copy of a tree with one of its nodes replaced."""

    class Exchange(ast.NodeTransformer):
        def visit(self, one: ast.AST) -> Any:
            # Operators are no nodes of their own: the parser puts one object into all trees.
            here = isinstance(one, ast.expr | ast.stmt) and one.number == node.number  # type: ignore[union-attr,attr-defined]
            if not here:
                return self.generic_visit(one)
            return new if isinstance(one, ast.stmt) else new[0]

    return ast.fix_missing_locations(Exchange().visit(copy.deepcopy(tree)))


def emulator_in_python(mutated: Mapping[str, Tree]) -> dict[str, ModuleType]:
    """The modules of the emulator as plain Python, some of them mutated."""
    modules = {}
    for name in FILES:
        tree = _Standing().visit(copy.deepcopy(mutated.get(name) or source_tree(name)))
        spec = importlib.util.spec_from_loader(f"mutant.{name}", loader=None)
        modules[name] = sys.modules[f"mutant.{name}"] = importlib.util.module_from_spec(spec)
        exec(compile(ast.fix_missing_locations(tree), name, "exec"), modules[name].__dict__)  # noqa: S102
    return modules


class _Standing(ast.NodeTransformer):
    """Imports of the emulator lead to its mutants where it has any, those of compilers to nothing."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        module = node.module or ""
        if module == "nsc_deploy.kernels":
            return ast.parse(PLAIN_PYTHON).body
        if module.removeprefix(f"{EMULATOR}.") in FILES:
            node.module = module.replace(EMULATOR, "mutant")
        return node


def _at(tree: Tree, place: str) -> ast.AST:
    """The function or class of a place, or the whole file."""
    node: ast.AST = tree
    for name in place.split(".")[1:]:
        inside = (one for one in ast.walk(node) if isinstance(one, ast.FunctionDef | ast.ClassDef))
        node = next(one for one in inside if one.name == name)
    return node


def _fits(pattern: Any, node: Any, caught: list[ast.AST]) -> bool:
    """Whether a node is what a pattern says, wherever it stands; what ANY stands for is caught."""
    if isinstance(pattern, ast.Name) and pattern.id == ANY and isinstance(node, ast.expr):
        caught.append(node)
        return True
    if isinstance(pattern, list):
        same = isinstance(node, list) and len(node) == len(pattern)
        return same and all(_fits(*both, caught) for both in zip(pattern, node, strict=True))
    if not isinstance(pattern, ast.AST):
        return bool(pattern == node) and type(pattern) is type(node)
    return type(pattern) is type(node) and all(
        _fits(value, getattr(node, name), caught) for name, value in ast.iter_fields(pattern) if name != "ctx"
    )


def _filled(node: ast.AST, caught: list[ast.AST]) -> ast.AST:
    class Fill(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.AST:
            return copy.deepcopy(caught[0]) if name.id == ANY else name

    return Fill().visit(copy.deepcopy(node))


def translated(value: Any, modules: dict[str, ModuleType]) -> Any:
    """A network made of the classes of other modules."""
    if isinstance(value, StrEnum):
        return modules["connections"].SignMode(value.value)
    if isinstance(value, tuple):
        return tuple(translated(one, modules) for one in value)
    if not is_dataclass(value):
        return value
    made = next(
        vars(module)[type(value).__name__]
        for module in modules.values()
        if type(value).__name__ in vars(module)
    )
    return made(**{field.name: translated(getattr(value, field.name), modules) for field in fields(value)})


def first_difference(modules: dict[str, ModuleType], cases: Any, real: Any) -> str | None:
    """The name of the first case in which these modules differ from what Lava answered.

    Every case runs alone, and then again as the second and fourth sample of a batch in two blocks, where
    neither what other samples leave behind nor their place may count.
    """
    for batch in (lambda own: own[:, None], _among_others):
        for case, expected in zip(cases, real, strict=True):
            messages = batch(case.messages)
            with warnings.catch_warnings():  # np.errstate does not reach threads
                warnings.simplefilter("ignore", RuntimeWarning)
                network = translated(case.network, modules)
                traces = modules["simulate"].simulate(network, messages, threads=1 + messages.shape[1] // 5)
            for mine, theirs in zip(traces, expected, strict=True):
                for what in ("spikes", "current", "potential"):
                    found = getattr(mine, what)
                    ours = (found,) if found.shape[1] == 1 else (found[:, 1:2], found[:, 3:4])
                    if not all(np.array_equal(one, getattr(theirs, what)) for one in ours):
                        return str(case.name)
    return None


def _among_others(own: Any) -> Any:
    other = own[::-1]
    return np.stack([other, own, 0 * own, own, other], axis=1)

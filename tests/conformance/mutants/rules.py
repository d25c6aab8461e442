"""The emulator with one of its rules broken; rules.toml lists the rules.

A mutation replaces a piece of source, which must occur exactly once, in one file of the emulator. The mutated
files are executed as plain Python, so nothing has to be compiled.
"""

import importlib.util
import sys
import tomllib
import warnings
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import nsc_deploy

PACKAGE = Path(nsc_deploy.__file__).parent
EMULATOR = "nsc_deploy.exporters.lava.emulator"
FILES = {
    "kernels": PACKAGE / "exporters/lava/emulator/kernels.py",
    **{
        name: PACKAGE / "exporters/lava/emulator" / f"{name}.py"
        for name in ("connections", "network", "simulate")
    },
}
PLAIN_PYTHON = """
def kernel(function): return function
def inlined(function): return function
def called_often(function): return function
def int32(value): return (int(value) + 2**31) % 2**32 - 2**31
"""


@dataclass(frozen=True)
class Mutation:
    """A rule, the file it is in, its source and what it is replaced with."""

    rule: str
    file: str
    source: str
    replaced: str


MUTATIONS = tuple(
    Mutation(**row)
    for row in tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["mutation"]
)


def twin_in_python(mutation: Mutation | None) -> dict[str, ModuleType]:
    """The modules of the emulator as plain Python, one of them mutated."""
    modules = {}
    for name, path in FILES.items():
        source = path.read_text(encoding="utf-8")
        if mutation is not None and mutation.file == name:
            if source.count(mutation.source) != 1:
                raise ValueError(f"{mutation.rule}: its source occurs {source.count(mutation.source)} times")
            source = source.replace(mutation.source, mutation.replaced)
        source = source.replace("nsc_deploy.exporters.lava.emulator.kernels", "mutant.kernels").replace(
            EMULATOR, "mutant"
        )
        source = source.replace("from numba import int32\n", PLAIN_PYTHON)
        source = source.replace("from nsc_deploy.kernels.jit import called_often, inlined, kernel\n", "")
        # For a mutation that needs the current of the step before.
        source = source.replace(
            "        u[neuron] = current\n", "        previous = u[neuron]\n        u[neuron] = current\n"
        )
        spec = importlib.util.spec_from_loader(f"mutant.{name}", loader=None)
        modules[name] = sys.modules[f"mutant.{name}"] = importlib.util.module_from_spec(spec)
        exec(compile(source, str(path), "exec"), modules[name].__dict__)  # noqa: S102
    return modules


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

"""Finds the targets a graph can be checked against and exported to.

A target is one object with a name and the verbs of `nsc_deploy.exporters.base.Target`. Those of this package
are listed here; any other package adds one with an entry point in the group `nsc_deploy.targets`.
"""

import importlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nsc_deploy.errors import ConfigError, DataError, did_you_mean
from nsc_deploy.exporters.base import Deployment, Target

GROUP = "nsc_deploy.targets"
BUILT_IN = {
    "c": "nsc_deploy.exporters.c.target:TARGET",
    "lava": "nsc_deploy.exporters.lava.target:TARGET",
    "nir": "nsc_deploy.exporters.nir:TARGET",
    "nir-plain": "nsc_deploy.exporters.nir:PLAIN",
    "onnx": "nsc_deploy.exporters.onnx.target:TARGET",
    "snntorch": "nsc_deploy.exporters.torch_module.target:SNNTORCH",
    "norse": "nsc_deploy.exporters.torch_module.target:NORSE",
}
CHIPS = ("loihi1", "loihi2", "xylo-audio2", "speck")
"""Known by their published limits, in exporters/chips/NAME.toml: checked for, not exported to."""
BACKENDS = {"twin": "lava", "emulator": "c", "host": "c", "qemu": "c"}
"""Backends that are not called as the target whose artefact they run."""
NO_BACKENDS = frozenset({*CHIPS, "c"})
"""Targets that nothing runs under their own name: code in C runs as one of its backends."""
OPENERS = {"split": "nsc_deploy.exporters.partitioned.deployment:open_in_parts"}
"""Folders that are not of one target: only the part on the chip is."""


def target_names() -> tuple[str, ...]:
    """Names of all targets, this package's first."""
    return tuple(dict.fromkeys((*BUILT_IN, *CHIPS, *(point.name for point in _entry_points()))))


def load_target(name: str) -> Target:
    """The target called `name`, a microcontroller ("c:NAME"), or the chip described in a TOML file.

    Raises:
        ConfigError: there is none, or the package that offers it is broken.
    """
    if name.endswith(".toml") or name in CHIPS:
        from nsc_deploy.exporters.chips.fit import ChipTarget

        return ChipTarget(name, None if name in CHIPS else Path(name))
    if name.startswith("c:"):
        from nsc_deploy.exporters.c.controllers import find_controller
        from nsc_deploy.exporters.c.target import CTarget

        return CTarget(find_controller(name.removeprefix("c:")).name)
    if name in BUILT_IN:
        found = _built_in(BUILT_IN[name])
    else:
        points = [point for point in _entry_points() if point.name == name]
        if not points:
            known = (*target_names(), *_controllers())
            meant = f"c:{name}" if f"c:{name}" in known else None
            raise ConfigError(
                f"unknown target '{name}'{did_you_mean(meant or name, known)}",
                where="--target",
                hint=f"Known targets: {', '.join(known)}.",
            )
        found = _load(points[0])
    if not isinstance(found, Target):
        raise ConfigError(
            f"target '{name}' has no name, summary, check, export and open", where=f"entry point {name}"
        )
    return found


def _controllers() -> tuple[str, ...]:
    from nsc_deploy.exporters.c.controllers import controllers

    return tuple(f"c:{one}" for one in controllers())


def load_opener(name: str, folder: Path) -> Callable[[Path], Deployment]:
    """What opens the folders that name `name` as their target.

    Raises:
        DataError: `folder` is of a target that is not there.
        ConfigError: the package that offers it is broken.
    """
    if name in OPENERS:
        opener: Callable[[Path], Deployment] = _built_in(OPENERS[name])
        return opener
    if name not in target_names():
        raise DataError(
            f"was exported to '{name}', which this tool cannot run",
            where=folder,
            hint="Install the package that adds this target, or verify the NIR file it was made from.",
        )
    return load_target(name).open


def _built_in(place: str) -> Any:
    module, attribute = place.split(":")
    return getattr(importlib.import_module(module), attribute)


def _entry_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    return tuple(importlib.metadata.entry_points(group=GROUP))


def _load(point: importlib.metadata.EntryPoint) -> object:
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"target '{point.name}' cannot be loaded ({error})",
            where=f"entry point {point.value}",
            hint="Repair or remove the package that offers it.",
        ) from error

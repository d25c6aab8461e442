"""The targets a graph can be checked against and exported to.

A target is one object with a name, a `check` and an `export`. Those of this package are listed here; any
other package adds one with an entry point in the group `nsc_deploy.targets`.
"""

import importlib
import importlib.metadata
from pathlib import Path

from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.base import Target

GROUP = "nsc_deploy.targets"
BUILT_IN = {
    "lava": "nsc_deploy.exporters.lava.target:TARGET",
    "nir": "nsc_deploy.exporters.nir:TARGET",
    "onnx": "nsc_deploy.exporters.onnx.target:TARGET",
    "snntorch": "nsc_deploy.exporters.torch_module.target:SNNTORCH",
    "norse": "nsc_deploy.exporters.torch_module.target:NORSE",
    "loihi1": "nsc_deploy.exporters.chips.target:LOIHI1",
    "loihi2": "nsc_deploy.exporters.chips.target:LOIHI2",
    "xylo-audio2": "nsc_deploy.exporters.chips.target:XYLO_AUDIO2",
    "speck": "nsc_deploy.exporters.chips.target:SPECK",
}


def target_names() -> tuple[str, ...]:
    """Names of all targets, this package's first."""
    return tuple(dict.fromkeys((*BUILT_IN, *(point.name for point in _entry_points()))))


def load_target(name: str) -> Target:
    """The target called `name`, or the chip described in a TOML file (anything that ends in .toml).

    Raises:
        ConfigError: there is none, or the package that offers it is broken.
    """
    if name.endswith(".toml"):
        from nsc_deploy.exporters.chips.target import ChipTarget

        return ChipTarget(name, Path(name))
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name].split(":")
        found = getattr(importlib.import_module(module), attribute)
    else:
        points = [point for point in _entry_points() if point.name == name]
        if not points:
            raise ConfigError(
                f"unknown target '{name}'",
                where="--target",
                hint=f"Known targets: {', '.join(target_names())}.",
            )
        found = _load(points[0])
    if not isinstance(found, Target):
        raise ConfigError(
            f"target '{name}' has no name, summary, check and export", where=f"entry point {name}"
        )
    return found


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

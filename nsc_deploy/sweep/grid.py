"""GRID.toml: an experiment and lists of values for any of its fields, every combination of them a run."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field

from nsc_deploy.config.families import Experiment
from nsc_deploy.errors import ConfigError
from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.io.records import Record, read_toml_record

VARIANT = "variant"
"""Name of a variant, where fields are varied together."""
SEED = "training.seed"
MOST_RUNS = 10_000
EXPERIMENTS, LOGS, SLURM = "experiments", "logs", "slurm"
JOBS, RESULTS, TABLE, PICTURE = "jobs.json", "results.json", "results.csv", "results.png"
_OWN = frozenset({EXPERIMENTS, LOGS, SLURM, JOBS, RESULTS, TABLE, PICTURE})
"""What a sweep writes beside its runs, none of which may have such a name."""
_LONGEST_NAME = 200
"""Characters; a file system takes 255, endings of files included."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")
_PLACE = re.compile(r"\{([a-z0-9_.]+)\}")
_HINT = "docs/sweeps.md shows every field of a grid file."
Value = str | int | float | bool


class GridFile(Record):
    """GRID.toml as it is written; fields of experiments stand as in an experiment file."""

    experiment: str | None = Field(default=None, description="file beside this one; left out: the defaults")
    folder: str | None = Field(
        default=None, description='of a run, "{variant}_{channel.snr_db}dB"; left out: made of what varies'
    )
    profile: str = Field(default="horowitz-45nm", description="prices of the energy")
    metrics: tuple[str, ...] = Field(
        default=(), description="further numbers of a run's metrics.json that the table shows"
    )
    set: dict[str, Any] = Field(default={}, description="fields of every run")
    grid: dict[str, Any] = Field(default={}, description="lists of values, every combination of them a run")
    variants: tuple[dict[str, Any], ...] = Field(
        default=(), description="fields that vary together, each with its name"
    )
    slurm: dict[str, Value] = Field(default={}, description="parameters of submitit, slurm_partition alike")


@dataclass(frozen=True)
class Point:
    """One run of a grid.

    Attributes:
        name: of its folder.
        fields: what varies, by dotted name, and the name of the variant.
        experiment: the whole of what is trained.
    """

    name: str
    fields: Mapping[str, Value]
    experiment: Experiment


@dataclass(frozen=True)
class Grid:
    """All runs of a grid file.

    Attributes:
        path: of the file.
        profile: prices of the energy: a name, or a file, which may stand beside the grid file.
        metrics: further numbers of metrics.json that the table shows.
        points: the runs, in the order in which they are begun.
        slurm: parameters of submitit.
    """

    path: Path
    profile: str
    metrics: tuple[str, ...]
    points: tuple[Point, ...]
    slurm: Mapping[str, Value]


def read_grid(path: Path) -> Grid:
    """Read a grid file and check the experiment of every run in it.

    Raises:
        ConfigError: no TOML, an unknown field or profile, a value out of range, a field that varies twice, or
            two runs of one name.
    """
    written = read_toml_record(GridFile, path, "a grid file", hint=_HINT)
    fixed = _by_dotted_name(written.set, f"{path}, field set")
    lists = _by_dotted_name(written.grid, f"{path}, field grid")
    for name, values in lists.items():
        if not isinstance(values, list) or not values:
            raise ConfigError("must be a list of values", where=f"{path}, field grid.{name}", hint=_HINT)
        if not all(isinstance(value, str | int | float) for value in values):
            raise ConfigError(
                "is a list of texts, numbers, true and false",
                where=f"{path}, field grid.{name}",
                hint="Name what varies otherwise, tables or lists, in [[variants]].",
            )
    variants = _variants(written, path)
    _refuse_overruled({"[set]": fixed} | {f"variant {one}": of for one, of in variants.items()}, lists, path)
    profile = _profile(written.profile, path)
    number = len(variants)
    for values in lists.values():
        number *= len(values)
    if number > MOST_RUNS:
        raise ConfigError(f"asks for {number:,} runs, and {MOST_RUNS:,} are the most", where=path)
    experiment = None if written.experiment is None else path.parent / written.experiment
    points = []
    # The first list changes slowest: an early look sees every value of the last.
    for values in product(*lists.values()):
        varied = dict(zip(lists, values, strict=True))
        for variant, of_variant in variants.items():
            fields = ({} if variant is None else {VARIANT: variant}) | varied
            changes = _filled_in(fixed | of_variant, varied, path) | varied
            known = load_experiment(experiment, changes, {one: f"{path}, field {one}" for one in changes})
            points.append(Point(_name(written.folder, fields, known, path), fields, known))
    _refuse_twice([point.name for point in points], path)
    return Grid(path, profile, written.metrics, tuple(points), written.slurm)


def _by_dotted_name(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Nested tables by dotted name.

    Raises:
        ConfigError: two spellings of one name, of which one would win, or a table that says nothing.
    """
    found: dict[str, Any] = {}
    for name, value in _leaves(values):
        if isinstance(value, Mapping):
            raise ConfigError("is a table without fields", where=f"{where}.{name}", hint="Take it out.")
        if name in found:
            raise ConfigError(
                "is there twice, as a dotted name and as a quoted one",
                where=f"{where}.{name}",
                hint="Take one of them out.",
            )
        found[name] = value
    return found


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _profile(name: str, path: Path) -> str:
    """The profile as it is read from any folder.

    Raises:
        ConfigError: there is no such profile, or its file is no profile.
    """
    from nsc_deploy.energy import load_profile

    beside = path.parent / name
    found = str(beside.absolute()) if name.endswith(".toml") and beside.is_file() else name
    try:
        load_profile(found)
    except ConfigError as error:
        where = error.where or f"{path}, field profile"
        raise ConfigError(error.problem, where=where, hint=error.hint) from error
    return found


def _refuse_overruled(
    settings: Mapping[str, Mapping[str, Any]], lists: Mapping[str, Any], path: Path
) -> None:
    """Of a field that is set and varied too, the value that is set would be trained nowhere."""
    for what, fields in settings.items():
        both = next((name for name in fields if name in lists), None)
        if both is not None:
            raise ConfigError(
                f"{what} sets {both}, which [grid] varies",
                where=path,
                hint="Take it out of one of them.",
            )


def _variants(written: GridFile, path: Path) -> dict[str | None, dict[str, Any]]:
    """Fields by the name of each variant; one without a name where there is none."""
    found: dict[str | None, dict[str, Any]] = {}
    for index, fields in enumerate(written.variants):
        changes = dict(fields)
        name = changes.pop("name", None)
        where = f"{path}, field variants[{index}].name"
        if not isinstance(name, str) or not _PLAIN.fullmatch(name):
            raise ConfigError("must be a name of letters, digits, '.', '_', '+', '=' and '-'", where=where)
        if name in found:
            raise ConfigError(f"{name!r} is there twice", where=where)
        found[name] = _by_dotted_name(changes, f"{path}, field variants[{index}]")
    return found or {None: {}}


def _filled_in(changes: Mapping[str, Any], varied: Mapping[str, Value], path: Path) -> dict[str, Any]:
    """Texts that name a field that varies, start_from = "runs/first_{training.seed}", with its value."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in varied:
            raise ConfigError(f"{found[0]} names no field of [grid]", where=path, hint=_HINT)
        return _spelt(varied[found[1]])

    return {
        name: _PLACE.sub(value, text) if isinstance(text, str) else text for name, text in changes.items()
    }


def _name(form: str | None, fields: Mapping[str, Value], experiment: Experiment, path: Path) -> str:
    """The folder of a run."""
    if form is None:
        parts = [
            f"{value}" if name == VARIANT else f"{name.rpartition('.')[2]}={_spelt(value)}"
            for name, value in fields.items()
        ]
        name = "_".join(parts) or "run"
    else:
        name = _PLACE.sub(lambda found: _spelt(_value(found[1], fields, experiment, path)), form)
    hint = 'Name the folders: folder = "{variant}_{training.seed}".'
    if not _PLAIN.fullmatch(name):
        raise ConfigError(f"makes {name!r} of a run, which is no name of a folder", where=path, hint=hint)
    if name in _OWN:
        raise ConfigError(
            f"calls a run {name}, as the sweep calls something of its own", where=path, hint=hint
        )
    if len(name) > _LONGEST_NAME:
        start = f"{name[:40]}..."
        raise ConfigError(
            f"calls a run {start}, which has more than {_LONGEST_NAME} characters", where=path, hint=hint
        )
    return name


def _value(name: str, fields: Mapping[str, Value], experiment: Experiment, path: Path) -> object:
    if name in fields:
        return fields[name]
    value: object = experiment
    for part in name.split("."):
        if not hasattr(value, part):
            raise ConfigError(f"there is no field {name}", where=f"{path}, field folder", hint=_HINT)
        value = getattr(value, part)
    return value


def _spelt(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _refuse_twice(names: Iterable[str], path: Path) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            hint = "Take the value that is there twice away, or name what differs in folder."
            raise ConfigError(f"has two runs of the name {name}", where=path, hint=hint)
        seen.add(name)

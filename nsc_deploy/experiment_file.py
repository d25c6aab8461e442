"""Experiment files on disk: TOML in, with errors that name the field and the nearest valid name; TOML out."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import tomlkit
from pydantic import BaseModel, ValidationError
from tomlkit.items import Table

from nsc_deploy.config import Experiment
from nsc_deploy.errors import ConfigError
from nsc_deploy.files import write_text
from nsc_deploy.refusals import unreadable

FILE_NAME = "experiment.toml"
MAX_BYTES = 1024**2

Overrides = Mapping[str, object]


def load_experiment(
    path: Path | None = None, overrides: Overrides | None = None, options: Mapping[str, str] | None = None
) -> Experiment:
    """Read an experiment; what the file does not say has its default.

    Args:
        path: a TOML file, or None for the defaults alone.
        overrides: values that replace the file's, by dotted name ("training.epochs").
        options: how the user spelt an override, by dotted name ("--epochs"), for errors.

    Raises:
        ConfigError: not TOML, an unknown field (with the nearest valid name), or a value out of range.
    """
    values = {} if path is None else _read(path)
    asked = dict(overrides or {})
    for name, value in asked.items():
        _set(values, name.split("."), value, path)
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        places = {name: (options or {}).get(name, name) for name in asked}
        raise _explain(error, path, places) from error


def parse_assignment(text: str) -> tuple[str, object]:
    """The dotted name and the value of `table.field=value`; what is no TOML value is taken as text.

    Raises:
        ConfigError: there is no `=`, or no name before it.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        remedy = "Write it like --set training.epochs=20"
        raise ConfigError(f"{text!r} is not of the form table.field=value", where="--set", remedy=remedy)
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value


def experiment_text(experiment: Experiment) -> str:
    """The experiment as TOML, each field with its description above it."""
    document = tomlkit.document()
    _fill(document, experiment)
    return tomlkit.dumps(document)


def write_experiment(path: Path, experiment: Experiment) -> None:
    """Write an experiment, whole or not at all."""
    write_text(path, experiment_text(experiment))


def differing_fields(one: Experiment, other: Experiment) -> list[str]:
    """The dotted names of the fields in which two experiments differ, sorted."""
    left, right = _flat(one.model_dump(mode="json")), _flat(other.model_dump(mode="json"))
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError("is too large for an experiment file", where=path)
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise unreadable(path, error, remedy="Name an experiment file (TOML).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(
            f"is not valid TOML ({error})",
            where=path,
            remedy="Mend the file, or name another; every run holds a complete one, experiment.toml.",
        ) from error


def _set(values: dict[str, Any], name: list[str], value: object, path: Path | None) -> None:
    *tables, field = name
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{table} must be a table: write [{table}]", where=path)
    values[field] = value


def _explain(error: ValidationError, path: Path | None, overrides: Mapping[str, str]) -> ConfigError:
    first = error.errors()[0]
    names = [str(part) for part in first["loc"]]
    field = ".".join(names)
    where = overrides.get(field) or f"{path or 'experiment'}" + (f", field {field}" if field else "")
    if first["type"] == "extra_forbidden":
        return _unknown_field(names, where)
    if first["type"] in {"model_type", "model_attributes_type"}:
        return ConfigError("must be a table", where=where, remedy=f"Write [{field}] with fields below it.")
    problem = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    if not isinstance(given, Mapping | BaseModel):
        problem += f" (given: {given!r})"
    return ConfigError(problem, where=where, remedy=_field_help(names))


def _unknown_field(names: list[str], where: str) -> ConfigError:
    known = _fields_at(names[:-1])
    near = difflib.get_close_matches(names[-1], known, n=1, cutoff=0.5)
    elsewhere = [name for name in _dotted(Experiment) if name.split(".")[-1] == names[-1]]
    if elsewhere or near:
        remedy = f"Did you mean {(elsewhere or near)[0]}?"
    else:
        remedy = f"The fields here are {', '.join(sorted(known))}."
    return ConfigError(f"there is no field {names[-1]}", where=where, remedy=remedy)


def _fields_at(names: list[str]) -> list[str]:
    model = _model_at(names)
    return [] if model is None else list(model.model_fields)


def _model_at(names: list[str]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = Experiment
    for name in names:
        if model is None or name not in model.model_fields:
            continue  # pydantic names the member of a union in the path as well
        model = _model_of(model.model_fields[name].annotation)
    return model


def _model_of(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_of(part))), None)


def _field_help(names: list[str]) -> str | None:
    model = _model_at(names[:-1])
    field = model.model_fields.get(names[-1]) if model and names else None
    return None if field is None or not field.description else f"{names[-1]}: {field.description}."


def _dotted(model: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        inner = _model_of(field.annotation)
        names += _dotted(inner, f"{prefix}{name}.") if inner else [f"{prefix}{name}"]
    return names


def _fill(table: tomlkit.TOMLDocument | Table, section: BaseModel) -> None:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            inner = tomlkit.table()
            _fill(inner, value)
            table.add(name, inner)
            continue
        if field.description:
            table.add(tomlkit.comment(" ".join(field.description.split())))
        if value is None:
            table.add(tomlkit.comment(f"{name} = (not set)"))
        else:
            table.add(name, section.model_dump(mode="json", include={name})[name])


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat

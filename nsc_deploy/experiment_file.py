"""Experiment files on disk: TOML in, with errors that name the field and the nearest valid name; TOML out."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import BaseModel, ValidationError
from tomlkit.items import Table

from nsc_deploy.config.families import Experiment, family_of, system_names
from nsc_deploy.errors import ConfigError, MisfitError, did_you_mean, nearest
from nsc_deploy.io.files import write_text
from nsc_deploy.io.records import (
    Fault,
    faults,
    fields_at,
    model_at,
    model_in,
    parse_toml,
    read_toml,
    validate,
)

FILE_NAME = "experiment.toml"
_SYSTEM = "system.name"
_HINT = "Mend the file, or name another; every run holds a complete one, experiment.toml."

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
    values = {} if path is None else read_toml(path, "an experiment file", hint=_HINT)
    changes, written = dict(overrides or {}), by_dotted_name(values).keys()
    for name, value in changes.items():
        _set(values, name.split("."), value, path)
    known = dict(options or {})
    spelled = {name: option for name, option in known.items() if name not in written} | {
        name: known.get(name, name) for name in changes
    }
    family = _family(values, path, spelled)
    try:
        return validate(family, values)
    except ValidationError as error:
        fault = faults(error, family, "an experiment")[0]
        raise _explain(fault, family, path, spelled, changes.keys()) from error


def parse_assignment(text: str) -> tuple[str, object]:
    """The dotted name and the value of `table.field=value`; what is no TOML value is taken as text.

    Raises:
        ConfigError: there is no `=`, or no name before it.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        hint = "Write it like --set training.epochs=20"
        raise ConfigError(f"{text!r} is not of the form table.field=value", where="--set", hint=hint)
    try:
        return name.strip(), parse_toml(f"value = {value}")["value"]
    except ValueError:
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
    left, right = by_dotted_name(one.model_dump(mode="json")), by_dotted_name(other.model_dump(mode="json"))
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))


def settings_digest(experiment: Experiment, without: Collection[str], whether: Collection[str] = ()) -> str:
    """What an experiment sets but for some fields, as 16 hexadecimal digits that runs of the same share.

    Args:
        experiment: of a run.
        without: the fields, by dotted name.
        whether: those of which it only counts whether they are set.
    """
    values = by_dotted_name(experiment.model_dump(mode="json"))
    kept = {name: value for name, value in values.items() if name not in without}
    kept |= {name: values[name] is not None for name in whether}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def by_dotted_name(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables by dotted name, as TOML's own dotted keys and quoted ones alike."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= by_dotted_name(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _set(values: dict[str, Any], name: list[str], value: object, path: Path | None) -> None:
    *tables, field = name
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{table} must be a table: write [{table}]", where=path)
    values[field] = value


def _family(values: Mapping[str, Any], path: Path | None, spelled: Mapping[str, str]) -> type[Experiment]:
    """The kind of experiment that `system.name` asks for."""
    system = values.get("system")
    name = system.get("name") if isinstance(system, Mapping) else None
    if isinstance(name, str) and name not in system_names():
        where = spelled.get(_SYSTEM, f"{path or 'experiment'}, field {_SYSTEM}")
        raise ConfigError(
            f"there is no system {name!r}{did_you_mean(name, system_names())}",
            where=where,
            hint=f"The systems are {', '.join(system_names())}.",
        )
    return family_of(name)


def _explain(
    fault: Fault,
    family: type[Experiment],
    path: Path | None,
    spelled: Mapping[str, str],
    overrides: Collection[str],
) -> ConfigError:
    """The error for one fault; `spelled` says how the user writes fields that no file sets."""
    where = f"{path or 'experiment'}" + (f", field {fault.field}" if fault.path else "")
    if fault.field in overrides:
        where = spelled[fault.field]
    elif fault.unknown:  # a table that only an override names
        where = next((spelled[name] for name in overrides if name.startswith(f"{fault.field}.")), where)
    if fault.misfit is not None:
        return _misfit(fault.misfit, fault.field, where, spelled, overrides)
    if fault.unknown:
        return _unknown_field(fault.path, family, where)
    if fault.no_table:
        hint = f"Write [{fault.field}] with fields below it."
        return ConfigError("must be a table", where=where, hint=hint)
    return ConfigError(fault.problem, where=where, hint=_field_help(fault.path, family))


def _misfit(
    misfit: MisfitError, table: str, where: str, spelled: Mapping[str, str], overrides: Collection[str]
) -> ConfigError:
    """The fields as the user spelt them; the place is the option that does not fit, if there is one."""
    names = {
        name: f"{table}.{name}" for text in (misfit.problem, misfit.hint) for name in misfit.fields(text)
    }
    spellings = {name: spelled.get(dotted, name) for name, dotted in names.items()}
    wrong = next((name for name in misfit.fields(misfit.problem) if names[name] in overrides), None)
    where = where if wrong is None else spellings[wrong]
    return ConfigError(
        misfit.spell(misfit.problem, spellings).removeprefix(f"{where} "),
        where=where,
        hint=misfit.spell(misfit.hint, spellings),
    )


def _unknown_field(path: tuple[str, ...], family: type[Experiment], where: str) -> ConfigError:
    known, name = fields_at(family, path[:-1]), path[-1]
    elsewhere = [dotted for dotted in _dotted(family) if dotted.split(".")[-1] == name]
    meant = elsewhere[0] if elsewhere else nearest(name, known)
    hint = f"Did you mean {meant}?" if meant else f"The fields here are {', '.join(sorted(known))}."
    return ConfigError(f"there is no field {name}", where=where, hint=hint)


def _field_help(path: tuple[str, ...], family: type[Experiment]) -> str | None:
    model = model_at(family, path[:-1])
    field = model.model_fields.get(path[-1]) if model and path else None
    return None if field is None or not field.description else f"{path[-1]}: {field.description}."


def _dotted(model: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        inner = model_in(field.annotation)
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

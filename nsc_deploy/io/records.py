"""Records in files: TOML or JSON checked against a model, with errors that name the field that is wrong."""

import json
import re
import reprlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from nsc_deploy.errors import ConfigError, DataError, MisfitError, UserError, did_you_mean, nearest
from nsc_deploy.io.files import read_json, read_limited, unreadable
from nsc_deploy.io.text import refuse_control

MAX_TOML_BYTES = 256 * 1024
_MOST_FAULTS = 5
# Tables within tables that a TOML file of this tool may have; those it has need four.
_DEEPEST = 100
_MOST_BITS = 64
_QUOTED = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|'
    r"'''.*?'{3,5}|"
    r'"(?:[^"\\\n]|\\.)*"|'
    r"'[^'\n]*'|#[^\n]*",
    re.DOTALL,
)
_NUMBER = re.compile(r"\b\d+\.\d+")
_VALUES = re.compile(r"[,=]")
_BRACKET = re.compile(r"[][{}]")
_CHOICES = {"enum", "literal_error"}
_MUST_BE_TABLE = {"model_type", "model_attributes_type", "dict_type"}
_SUBJECT = re.compile(r"^(Value error, |(Input|String|Tuple|List|Dictionary|Array) (?=should ))")


class Record(BaseModel):
    """Base of what is kept in files: unchangeable, no unknown fields, no infinite or undefined numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


WholePath = Annotated[Path, AfterValidator(Path.resolve)]
"""Of a file or a folder, there or not: once it is kept, it leads to the same place from every folder."""
WholeName = Annotated[str, Field(min_length=1), AfterValidator(lambda name: str(Path(name).resolve()))]
"""The same as text."""


class UserRecord(Record):
    """Base of records that users make in Python too: what is wrong reads as it does of a file.

    Attributes:
        what: what it is, with its article: "a budget".
        hint: the way out where it does not fit.
    """

    what: ClassVar[str]
    hint: ClassVar[str | None] = None

    def __init__(self, **fields: Any) -> None:
        """Take fields by their names.

        Raises:
            ConfigError: one is missing, unknown or out of range; the message names the field.
        """
        try:
            super().__init__(**fields)
        except ValidationError as error:
            own = type(self)
            raise ConfigError(_message(faults(error, own, own.what)), hint=own.hint) from error

    # Pydantic calls an own __init__ for what files hold as well, and then is strict no more.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a record.

    Attributes:
        path: names from the outermost table inwards; empty for the record itself.
        kind: pydantic's name of the error.
        problem: what is wrong, in plain words, to be read after the name of the field.
        misfit: the fields of this table that do not fit together, where that is what is wrong.
    """

    path: tuple[str, ...]
    kind: str
    problem: str
    misfit: MisfitError | None = None

    @property
    def field(self) -> str:
        """The dotted name of the field; empty for the record itself."""
        return ".".join(self.path)

    @property
    def unknown(self) -> bool:
        """Whether there is no such field."""
        return self.kind == "extra_forbidden"

    @property
    def no_table(self) -> bool:
        """Whether a single value stands where fields of their own belong."""
        return self.kind in _MUST_BE_TABLE


def read_toml(path: Path, what: str, *, hint: str | None = None) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: the file.
        what: what it should be, with its article: "a budget".
        hint: the way out where it is not one.

    Raises:
        ConfigError: missing, larger than 256 KiB or not TOML.
    """
    try:
        content = read_limited(path, MAX_TOML_BYTES)
        if content is None:
            raise ConfigError(f"is too large for {what}", where=path, hint=hint)
        text = content.decode("utf-8")
        if _nesting(text) > _DEEPEST:
            raise ConfigError(f"nests more than {_DEEPEST} deep", where=path, hint=hint)
        value = parse_toml(text)
    except OSError as error:
        raise unreadable(path, error, ConfigError, hint=f"Name {what} (a TOML file).") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"is not valid TOML ({error})", where=path, hint=hint) from error
    refuse_control(value, where=path, kind=ConfigError)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """What a TOML text says.

    Raises:
        ValueError: it is no TOML, or holds a whole number of more than 64 bits, which TOML has not.
    """
    values = tomllib.loads(text)
    level: list[Any] = [values]
    while level:
        one = level.pop()
        if isinstance(one, dict | list):
            level += one.values() if isinstance(one, dict) else one
        elif isinstance(one, int) and one.bit_length() > _MOST_BITS:
            raise ValueError(f"a whole number of more than {_MOST_BITS} bits")
    return values


def _nesting(text: str) -> int:
    """At most so deep do the tables and lists of a TOML text nest; found without reading it as one.

    tomllib takes time and memory with the square of the dots of a name, and recurses into brackets. What
    stands in quotes cannot nest and is left out, except that unfinished quotes end with their line.
    """
    deepest = open_brackets = 0
    for line in _QUOTED.sub("", text).splitlines():
        for piece in _VALUES.split(_NUMBER.sub("", line)):
            deepest = max(deepest, open_brackets + piece.count(".") + piece.count("["))
        for bracket in _BRACKET.findall(line):
            open_brackets = max(open_brackets + (1 if bracket in "[{" else -1), 0)
            deepest = max(deepest, open_brackets)
    return deepest


def read_toml_record(model: type[_Model], path: Path, what: str, *, hint: str | None = None) -> _Model:
    """Read a TOML file as a record; arguments as `read_toml`.

    Raises:
        ConfigError: missing, not TOML, or a field that is missing, unknown or out of range.
    """
    return to_record(model, read_toml(path, what, hint=hint), what, where=path, hint=hint)


def read_json_record(model: type[_Model], path: Path, what: str, *, hint: str | None = None) -> _Model:
    """Read a JSON file as a record; arguments as `read_toml`.

    Raises:
        DataError: missing, not JSON, or a field that is missing, unknown or out of range.
    """
    return to_record(model, read_json(path), what, where=path, hint=hint, kind=DataError)


def to_record(
    model: type[_Model],
    value: object,
    what: str,
    *,
    where: object,
    hint: str | None = None,
    kind: type[UserError] = ConfigError,
) -> _Model:
    """`value` as a record.

    Args:
        model: the record.
        value: as it was read.
        what: what it should be, with its article: "a budget".
        where: the file it was read from.
        hint: the way out where it does not fit.
        kind: the error to raise.

    Raises:
        UserError: of `kind`; it names the first fields that are missing, unknown or out of range.
    """
    try:
        return validate(model, value)
    except ValidationError as error:
        raise kind(_message(faults(error, model, what)), where=where, hint=hint) from error


def validate(model: type[_Model], value: object) -> _Model:
    """`value`, as a file or an option gave it, as a record: true is no number, and text is none either.

    Raises:
        ValidationError: it does not fit; see `faults`.
    """
    # Pydantic's strict mode takes lists for tuples and texts for enumerations from JSON alone.
    return model.model_validate_json(json.dumps(value, default=_spell), strict=True)


def _spell(value: object) -> object:
    """A path by its name; a date of TOML as a table, which fits no field that takes a single value."""
    return str(value) if isinstance(value, PurePath) else {"date": str(value)}


def faults(error: ValidationError, model: type[BaseModel], what: str) -> tuple[Fault, ...]:
    """What is wrong, field by field, where `model` refused a value that should have been `what`.

    Unknown fields come first: a misspelt name is the cause of the missing field beside it.
    """
    found = []
    for one in error.errors():
        path = tuple(str(part) for part in one["loc"] if part != "[key]")
        problem = _problem(one["type"], one["msg"], path, model, what)
        if one["type"] not in {"missing", "extra_forbidden"} and not isinstance(
            one["input"], Mapping | BaseModel
        ):
            problem += f" (given: {reprlib.repr(one['input'])})"
            if one["type"] in _CHOICES:
                problem += did_you_mean(str(one["input"]), re.findall(r"'([^']+)'", one["msg"]))
        cause = one.get("ctx", {}).get("error")
        found.append(Fault(path, one["type"], problem, cause if isinstance(cause, MisfitError) else None))
    return tuple(sorted(found, key=lambda fault: not fault.unknown))


def fields_at(model: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """The names of the fields at a place inside a record; none where a value stands there."""
    found = model_at(model, path)
    return [] if found is None else list(found.model_fields)


def model_at(model: type[BaseModel], path: tuple[str, ...]) -> type[BaseModel] | None:
    """The model at a place inside a record; None where a value stands there."""
    found: type[BaseModel] | None = model
    for name in path:
        if found is None or name not in found.model_fields:
            continue  # pydantic names indices and the members of unions in the path as well
        found = model_in(found.model_fields[name].annotation)
    return found


def model_in(annotation: object) -> type[BaseModel] | None:
    """The first model in the annotation of a field."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := model_in(part))), None)


def _problem(kind: str, message: str, path: tuple[str, ...], model: type[BaseModel], what: str) -> str:
    if kind == "extra_forbidden":
        meant = nearest(path[-1], fields_at(model, path[:-1]))
        return f"is not a field of {what} ({f'did you mean {meant}?' if meant else 'a typo?'})"
    if kind == "missing":
        return "is missing"
    if kind == "too_short" and "at least 1 item" in message:
        return "is empty"
    return "must be a table of named fields" if kind in _MUST_BE_TABLE else _SUBJECT.sub("", message)


def _message(found: tuple[Fault, ...]) -> str:
    parts = [f"field {fault.field}: {fault.problem}" if fault.path else fault.problem for fault in found]
    left = len(parts) - _MOST_FAULTS
    return "; ".join(parts[:_MOST_FAULTS]) + (f"; and {left} more" if left > 0 else "")

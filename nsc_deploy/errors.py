"""Errors that are the user's to mend: what is wrong, where, and the way out.

The command line prints them without a traceback and ends with exit code 2. Anything that is not a
`UserError` is a bug of ours and keeps its traceback.
"""

import re
from collections.abc import Iterable, Mapping
from string import Formatter
from types import MappingProxyType

# What `pip install nsc-deploy` leaves out, by the name it is imported by, and the extra that brings it.
EXTRAS = MappingProxyType(
    {
        "torch": "train",
        "lightning": "train",
        "snntorch": "train",
        "norse": "train",
        "tensorboard": "train",
        "pooch": "train",
        "espeakng_loader": "speech",
        "matplotlib": "pictures",
        "pandas": "pandas",
        "PIL": "images",
        "sklearn": "images",
        "sionna": "coding",
        "submitit": "slurm",
    }
)


class UserError(Exception):
    """Something the user can put right.

    Args:
        problem: one sentence, what is wrong.
        where: the file, node, field or option it was found in.
        hint: one sentence, what to do about it.
    """

    def __init__(self, problem: str, *, where: object | None = None, hint: str | None = None) -> None:
        self.problem = problem
        self.where = None if where is None else str(where)
        self.hint = hint
        super().__init__(spell_arguments(self.message))

    @property
    def message(self) -> str:
        """The whole message as the command line says it, in one or two lines; `str` is the one for Python."""
        head = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{head}\n{self.hint}" if self.hint else head


# A command to type keeps its options, up to the end of its sentence.
_COMMAND = r"nsc-deploy .*?(?=[.;)]?(?:\s*$|[.;)] ))"
_OPTION = r"(?<![\w-])--(?P<option>[a-z][a-z-]*)(?P<value> (?=[\d.]))?"
_COMMAND_OR_OPTION = re.compile(f"{_COMMAND}|{_OPTION}", re.MULTILINE)


def spell_arguments(message: str) -> str:
    """A message with arguments of Python in place of options: "step_seconds=0.1" for "--step-seconds 0.1"."""

    def spell(found: re.Match[str]) -> str:
        name = found["option"]
        return found[0] if name is None else name.replace("-", "_") + ("=" if found["value"] else "")

    return _COMMAND_OR_OPTION.sub(spell, message)


class MisfitError(ValueError):
    """Fields of one table that do not fit together; a validator raises it.

    Both texts name fields in braces, "{split}", so that an error can spell them as the user did:
    as a field of a file or as an option of a command.

    Args:
        problem: what is wrong.
        hint: the way out.
    """

    def __init__(self, problem: str, hint: str) -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(self.spell(problem))

    @staticmethod
    def fields(text: str) -> tuple[str, ...]:
        """The fields a text names, in its order."""
        return tuple(name for _, name, _, _ in Formatter().parse(text) if name)

    def spell(self, text: str, names: Mapping[str, str] | None = None) -> str:
        """`problem` or `hint` with the fields spelt as `names` has them, the others by their own names."""
        return text.format_map({name: name for name in self.fields(text)} | dict(names or {}))


class ConfigError(UserError):
    """An option or a configuration file asks for something that does not exist or does not fit."""


class DataError(UserError):
    """A data set or a recording is missing, damaged or of the wrong form."""


class GraphError(UserError):
    """A NIR or ONNX file is damaged or holds something this tool cannot represent exactly."""


class ExportError(UserError):
    """A graph cannot be represented on a target without changing what it computes."""


class BackendError(UserError):
    """A backend (Lava, onnxruntime, ...) is missing, failed or ran out of time."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    import difflib

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return near[0] if near else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'; did you mean lstm?', or nothing where no known name is near."""
    meant = nearest(name, known)
    return "" if meant is None else f"; did you mean {meant}?"


def missing_package(error: ImportError) -> BackendError | None:
    """What to install where an import failed for want of an extra; None where something else is wrong."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return BackendError(
        f"{package} is not installed, and this needs it",
        hint=f"Install it: pip install 'nsc-deploy[{EXTRAS[package]}]'",
    )

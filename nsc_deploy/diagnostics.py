"""Diagnostics: what a file says of itself that is probably not what its author meant, with the way out.

An error ends a command, a diagnostic does not. It is a value (`Network.diagnostics` holds those of a
graph), and whoever reads graphs for a person listens with `listening` and tells each of them once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from nsc_deploy.errors import spell_arguments


@dataclass(frozen=True)
class Diagnostic:
    """One thing to look at before the results are believed.

    Attributes:
        name: the same for the same fault in every file, "snntorch-reset" for example.
        fault: what is wrong, if the evidence does not deceive.
        evidence: what was found in the file.
        way_out: what to do about it, or how to find out.
        where: the file.
        in_file: whether it is of the file itself, so that every command that reads it comes upon it.
        contradicted: whether what was given beside the file is not what its writer does, so that every
            figure is of another network; it is told in full wherever it is met.
    """

    name: str
    fault: str
    evidence: str
    way_out: str
    where: str | None = None
    in_file: bool = False
    contradicted: bool = False

    @property
    def message(self) -> str:
        """The whole message, in three lines."""
        head = f"{self.where}: {self.fault}" if self.where else self.fault
        return f"{head}\nEvidence: {self.evidence}\n{self.way_out}"

    def __str__(self) -> str:
        """The message as Python says it: arguments in place of options."""
        return spell_arguments(self.message)


Listener = Callable[[Diagnostic], None]
_in_full: ContextVar[bool] = ContextVar("in_full", default=False)
_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())


def tell_in_full(*, asked: bool = True) -> None:
    """Have whoever tells of warnings once the running command is done tell the whole of each, if `asked`."""
    _in_full.set(_in_full.get() or asked)


@contextmanager
def asking_for_length() -> Iterator[Callable[[], bool]]:
    """Whether `tell_in_full` was called inside, by calling what this gives."""
    token = _in_full.set(False)
    try:
        yield _in_full.get
    finally:
        _in_full.reset(token)


def announce(diagnostic: Diagnostic) -> None:
    """Tell everybody who listens."""
    for listener in _listeners.get():
        listener(diagnostic)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have `listener` called with each diagnostic announced inside, the first time only."""
    known: set[Diagnostic] = set()

    def once(diagnostic: Diagnostic) -> None:
        if diagnostic not in known:
            known.add(diagnostic)
            listener(diagnostic)

    token = _listeners.set((*_listeners.get(), once))
    try:
        yield
    finally:
        _listeners.reset(token)


@contextmanager
def collected() -> Iterator[list[Diagnostic]]:
    """A list that each diagnostic announced inside is added to, once."""
    found: list[Diagnostic] = []
    with listening(found.append):
        yield found

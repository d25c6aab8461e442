"""What a shell offers on TAB where an option or argument takes one of some words."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated

import typer


def words(*choices: str) -> Callable[[], Sequence[str]]:
    """Offers these words."""
    return lambda: choices


def export_targets() -> Sequence[str]:
    """Offers what `export` writes, targets of other packages included."""
    from nsc_deploy.exporters.registry import CHIPS

    return [name for name in check_targets() if name not in CHIPS]


def check_targets() -> Sequence[str]:
    """Offers what a graph can be checked against by name."""
    from nsc_deploy.exporters.registry import target_names

    return target_names()


def profiles() -> Sequence[str]:
    """Offers the energy profiles of the package."""
    from nsc_deploy.energy import profile_names

    return profile_names()


class ResetOption(StrEnum):
    """Values of --reset."""

    ZERO = "zero"
    SUBTRACT = "subtract"


class SignalOption(StrEnum):
    """Values of --signal."""

    EVENTS = "events"
    GRADED = "graded"
    REAL = "real"


RunCode = Annotated[
    bool,
    typer.Option(
        "--run-code",
        help="Allow that Python code in the folder runs (network.py of snntorch and norse), in a process of "
        "its own. The folder may be somebody else's: read that file first.",
    ),
]
Dt = Annotated[
    float | None,
    typer.Option("--dt", help="Length of a time step in seconds, if the file does not say."),
]
ResetChoice = Annotated[
    ResetOption | None,
    typer.Option(
        "--reset",
        help="What a spike does: zero the potential, or subtract the threshold; if the file does not say.",
    ),
]
Classes = Annotated[
    int | None,
    typer.Option(
        "--classes",
        min=1,
        help="How many classes the outputs vote for, a group of as many for each; if the file does not say.",
    ),
]
SignalChoice = Annotated[
    SignalOption | None,
    typer.Option(
        "--signal",
        help="What enters: events (0 or 1), graded (counts) or real values; if the file does not say.",
    ),
]

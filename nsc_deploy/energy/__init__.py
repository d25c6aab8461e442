"""Energy: exact counts of operations from graphs and recorded inputs, priced with sourced figures.

`count`, `estimate` and `Budget` are the way in from Python (`nsc_deploy.hooks` for torch modules). They are
imported when they are first asked for, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nsc_deploy.energy.api import Counted, Estimate, count, estimate
    from nsc_deploy.energy.report.budget import Budget

__all__ = ["Budget", "Counted", "Estimate", "count", "estimate"]

_HOMES = {
    "Budget": "nsc_deploy.energy.report.budget",
    "Counted": "nsc_deploy.energy.api",
    "Estimate": "nsc_deploy.energy.api",
    "count": "nsc_deploy.energy.api",
    "estimate": "nsc_deploy.energy.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

"""Energy: exact counts of operations from graphs and recorded inputs, priced with sourced figures.

The names below are the door: the commands, the demonstration and notebooks use nothing else of this room
(`nsc_deploy.hooks` counts torch modules). They are imported when they are first asked for, so that importing
the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nsc_deploy.energy.advice.records import AdviceReport
    from nsc_deploy.energy.api import advise, check, compare, count, count_graph, estimate, show
    from nsc_deploy.energy.pricing.profile import Profile, load_profile, load_profiles, profile_names
    from nsc_deploy.energy.report.budget import Budget, CheckResult
    from nsc_deploy.energy.report.compare import Comparison
    from nsc_deploy.energy.report.schema import Report
    from nsc_deploy.energy.results import Counted, CountedGraph, Estimate

__all__ = [
    "AdviceReport",
    "Budget",
    "CheckResult",
    "Comparison",
    "Counted",
    "CountedGraph",
    "Estimate",
    "Profile",
    "Report",
    "advise",
    "check",
    "compare",
    "count",
    "count_graph",
    "estimate",
    "load_profile",
    "load_profiles",
    "profile_names",
    "show",
]

# Not all in one module: completion in a shell asks for the names of profiles and must not wait for numpy.
_HOMES = {
    "AdviceReport": "advice.records",
    "Budget": "report.budget",
    "CheckResult": "report.budget",
    "Comparison": "report.compare",
    "Counted": "results",
    "CountedGraph": "results",
    "Estimate": "results",
    "Profile": "pricing.profile",
    "Report": "report.schema",
    "load_profile": "pricing.profile",
    "load_profiles": "pricing.profile",
    "profile_names": "pricing.profile",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return __all__

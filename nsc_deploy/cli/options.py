"""What a shell offers on TAB where an option or argument takes one of some words."""

from collections.abc import Callable, Sequence


def words(*choices: str) -> Callable[[], Sequence[str]]:
    """Offers these words."""
    return lambda: choices


def export_targets() -> Sequence[str]:
    """Offers what `export` writes, targets of other packages included."""
    from nsc_deploy.exporters.registry import BUILT_IN

    return [name for name in check_targets() if ".chips." not in BUILT_IN.get(name, "")]


def check_targets() -> Sequence[str]:
    """Offers what a graph can be checked against by name."""
    from nsc_deploy.exporters.registry import target_names

    return target_names()


def profiles() -> Sequence[str]:
    """Offers the energy profiles of the package."""
    from nsc_deploy.energy.pricing.profile import profile_names

    return profile_names()

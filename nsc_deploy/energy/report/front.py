"""Accuracy against energy: which systems nothing beats, and what each accuracy was measured on."""

from collections.abc import Sequence

from nsc_deploy.energy.report.schema import FrontPoint, SystemReport
from nsc_deploy.energy.systems import CountedSystem
from nsc_deploy.io.text import counted


def accuracy_of(system: CountedSystem) -> str | None:
    """What an accuracy was measured on, and of how much of a link; None without one."""
    if system.accuracy is None:
        return None
    if system.deployment is not None and system.deployment.test_accuracy is not None:
        return "the test part"
    whole = "" if system.deployment is not None else ", of its graph alone"
    return counted(system.samples, "counted sample") + whole


def pareto_front(systems: Sequence[SystemReport], column: str) -> tuple[FrontPoint, ...]:
    """Every system with an accuracy and a complete energy, the most frugal first.

    A system whose energy is a lower bound has no place among the others. Accuracies of different kinds stand
    beside each other, and each point says of which kind its own is.

    Args:
        systems: of a report.
        column: the accounting.
    """
    placed = [
        (system.label, system.accuracy, system.energy[column].mean_uj, system.accuracy_of or "")
        for system in systems
        if system.accuracy is not None and column in system.energy and not system.energy[column].unpriced
    ]
    placed.sort(key=lambda one: (one[2], -one[1], one[0]))
    points = []
    for label, accuracy, energy, kind in placed:
        better = tuple(
            name
            for name, rival, price, _ in placed
            if rival >= accuracy and price <= energy and (rival, price) != (accuracy, energy)
        )
        points.append(
            FrontPoint(
                system=label,
                accuracy=accuracy,
                accuracy_of=kind,
                energy_uj=energy,
                on_front=not better,
                beaten_by=better,
            )
        )
    return tuple(points)

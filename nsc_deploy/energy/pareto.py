"""Which of several systems are worth having: the Pareto front of accuracy and energy."""

from collections.abc import Sequence

from nsc_deploy.energy.measures import FrontPoint
from nsc_deploy.energy.report.schema import SystemReport


def front(systems: Sequence[SystemReport], column: str) -> tuple[FrontPoint, ...]:
    """Every system with an accuracy and a complete energy, the most frugal first.

    A system whose energy is a lower bound has no place among the others.

    Args:
        systems: of a report.
        column: the accounting.
    """
    placed = [
        (system.label, system.accuracy, system.energy[column].mean_uj)
        for system in systems
        if system.accuracy is not None and column in system.energy and not system.energy[column].unpriced
    ]
    placed.sort(key=lambda one: (one[2], -one[1], one[0]))
    points = []
    for label, accuracy, energy in placed:
        better = tuple(
            name
            for name, rival, price in placed
            if rival >= accuracy and price <= energy and (rival, price) != (accuracy, energy)
        )
        points.append(
            FrontPoint(
                system=label, accuracy=accuracy, energy_uj=energy, on_front=not better, beaten_by=better
            )
        )
    return tuple(points)

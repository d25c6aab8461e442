"""What would have to change for a spiking system to lose, or to win, against the others of a report.

The energy of a system is a part that is proportional to the number of events and a part that is not. With
all events scaled by one factor s it costs s * moving + fixed, and as much as a rival at
s = (rival - fixed) / moving. The energy of the rival is taken as it was measured.
"""

from collections.abc import Mapping, Sequence

from nsc_deploy.deployment import Side
from nsc_deploy.energy.formatting import KIND_NAMES, microjoules
from nsc_deploy.energy.report import Against, Energy, SystemReport

_SIDES = {None: "the whole", Side.RECEIVER: "the receiver"}


def against(system: SystemReport, others: Sequence[SystemReport]) -> tuple[Against, ...]:
    """A spiking system against each conventional one: whole systems and receivers, in each column of both.

    Args:
        system: what is asked about; a conventional one has nothing to turn.
        others: all systems of the report.
    """
    if not system.spiking:
        return ()
    found = []
    for rival in others:
        if rival.spiking:
            continue
        found += _compared(None, system.energy, rival.label, rival.energy)
        mine, theirs = (one.sides.get(Side.RECEIVER, {}) for one in (system, rival))
        found += _compared(Side.RECEIVER, mine, rival.label, theirs)
    return tuple(found)


def _compared(
    side: Side | None, mine: Mapping[str, Energy], rival: str, theirs: Mapping[str, Energy]
) -> list[Against]:
    return [
        _turning(side, rival, column, mine[column], theirs[column]) for column in mine if column in theirs
    ]


def _turning(side: Side | None, rival: str, column: str, own: Energy, other: Energy) -> Against:
    fixed = own.mean_uj - own.with_rate_uj
    factor = None
    if own.with_rate_uj > 0 and not own.unpriced and not other.unpriced:
        factor = max(0.0, (other.mean_uj - fixed) / own.with_rate_uj)
    return Against(
        rival=rival,
        side=side,
        column=column,
        own_uj=own.mean_uj,
        fixed_uj=fixed,
        rival_uj=other.mean_uj,
        factor=factor,
        words=_words(side, rival, own, other, factor),
    )


def _words(side: Side | None, rival: str, own: Energy, other: Energy, factor: float | None) -> str:
    subject = f"{_SIDES[side]} of {rival}"
    lacking = dict.fromkeys((*own.unpriced, *other.unpriced))
    if lacking:
        kinds = ", ".join(KIND_NAMES[kind] for kind in lacking)
        return f"Not compared with {subject}: the profile has no price for {kinds}."
    now = f"{microjoules(own.mean_uj)} uJ against the {microjoules(other.mean_uj)} uJ of {subject}."
    if factor is None:
        return f"{now} Nothing fires: no break-even."
    if factor == 0:
        fixed = microjoules(own.mean_uj - own.with_rate_uj)
        return f"{now} It loses at any rate: {fixed} uJ do not depend on the events."
    if factor > 1:
        return f"{now} It would lose with more than {factor:.2f} times the events of now."
    return f"{now} It would win with less than {factor:.2f} times the events of now."

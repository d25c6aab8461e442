"""Records of a report as cells of a table and short sentences: the same in the terminal and in HTML."""

import math
from collections.abc import Iterable, Sequence

from nsc_deploy.energy.counting.operations import Kind
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.break_even import BreakEven
from nsc_deploy.energy.report.numbers import (
    MISSING,
    binned,
    count,
    in_bytes,
    microjoules,
    per_second,
    rate,
    share,
)
from nsc_deploy.energy.report.schema import FrontPoint, PartReport, Report, SystemReport
from nsc_deploy.energy.report.statistics import Energy, Kept, Load, StoreUse

_BLOCKS = "▁▂▃▄▅▆▇█"


def digits(energies: Iterable[Energy]) -> int:
    """Decimals that show three significant digits of most of several energies, so that they align."""
    values = sorted(energy.mean_uj for energy in energies if energy.mean_uj > 0)
    return min(6, max(2, 2 - math.floor(math.log10(values[len(values) // 3])))) if values else 2


def bounded(energy: Energy, value: float, decimals: int) -> str:
    """A figure of an energy other than its mean; where a price is missing, it is a lower bound too."""
    return f"{'> ' if energy.unpriced and value else ''}{microjoules(value, decimals)}"


def energy(value: Energy | None, decimals: int | None = None) -> str:
    """An energy; a lower bound, where a price is missing, says so."""
    if value is None or (value.mean_uj == 0 and not value.unpriced):
        return MISSING
    if not value.unpriced:
        return microjoules(value.mean_uj, decimals)
    return f"> {microjoules(value.mean_uj, decimals)}" if value.mean_uj else "no price"


def all_sides(report: Report) -> list[Energy]:
    """Every energy of the table of systems."""
    rows = [row for system in report.systems for row in (system.energy, *system.sides.values())]
    return [energy for row in rows for energy in row.values()]


def has_ranges(profile: Profile) -> bool:
    """Whether any price of a profile is a range."""
    prices = [price for _, price in profile.prices if price is not None]
    return any(low != high for low, high in (price.bounds_picojoules for price in prices))


def occurring(part: PartReport) -> list[Kind]:
    """Kinds of operation that occur in a part."""
    return [kind for kind in Kind if getattr(part.counts, kind.value)]


def uses(report: SystemReport) -> str:
    """Channel uses of one sample."""
    return MISSING if report.channel_uses is None else count(report.channel_uses)


def layer_digits(part: PartReport, column: str) -> int:
    """Decimals for the energies of the layers of a part in one column: a thousandth of their sum shows."""
    whole = part.energy.get(column)
    if whole is None or not whole.mean_uj:
        return 2
    exponent = math.floor(math.log10(whole.mean_uj))
    return min(6, 3 - exponent) if exponent < 0 else max(0, min(3, 4 - exponent))


def even_rate(even: BreakEven) -> str:
    """The rate at which a layer breaks even."""
    return "never" if even.factor == 0 else rate(even.break_even_rate)


def opponent(even: BreakEven) -> str:
    """What the opponent costs; nothing is free, so 0 says that the profile has no price for it."""
    return microjoules(even.opponent_uj) if even.opponent_uj else MISSING


def verdict(even: BreakEven) -> str:
    """Who wins at the rate of now, and by how much."""
    if even.factor is None:
        return MISSING
    winner = "spiking" if even.spiking_uj < even.opponent_uj else "ANN"
    low, high = sorted((even.spiking_uj, even.opponent_uj))
    return f"{winner} {high / low:.1f}x" if low else winner


def has_opponent(report: SystemReport) -> bool:
    """Whether the profile has prices for the bit-matched ANN of any layer."""
    layers = [even for part in report.parts for even in part.break_even]
    return any(even is not None and even.opponent_uj for even in (report.break_even, *layers))


def kept(value: Kept) -> str:
    """What a layer keeps, and where."""
    if not value.values:
        return MISSING
    full = "" if value.share is None else f" ({share(value.share)})"
    return f"{size(value)} in {value.memory}{full}" if value.memory else size(value)


def size(value: StoreUse) -> str:
    """Bytes, or the number of values where a profile does not say how wide they are."""
    if not value.values:
        return MISSING
    return f"{count(value.values)} values" if value.bytes is None else in_bytes(value.bytes)


def limit(load: Load) -> str:
    """The limit a load is held against."""
    return MISSING if load.limit is None else f"{per_second(load.limit)} a {load.limit_of}"


def course(values: Sequence[float], width: int = 30) -> str:
    """A curve in one line of text: each sign the mean of its steps, the highest one full."""
    bins = binned(values, width)
    top = max(bins, default=0.0)
    return "".join(_BLOCKS[round((len(_BLOCKS) - 1) * value / top)] if top else _BLOCKS[0] for value in bins)


def front_words(points: Sequence[FrontPoint]) -> str:
    """Which systems are worth having, in one or two sentences."""
    winners = ", ".join(point.system for point in points if point.on_front)
    beaten = [f"{point.system} (by {point.beaten_by[0]})" for point in points if not point.on_front]
    words = f"On the Pareto front, that no other is as accurate at less energy: {winners}."
    return f"{words} Beaten: {', '.join(beaten)}." if beaten else words

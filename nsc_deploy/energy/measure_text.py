"""Measures of a report as people read them: memory, load, course over time, Pareto front."""

from collections.abc import Sequence
from itertools import pairwise

from nsc_deploy.energy.output.numbers import MISSING, count
from nsc_deploy.energy.report.schema import FrontPoint, Kept, Load, StoreUse

_BLOCKS = "▁▂▃▄▅▆▇█"


def kept(value: Kept) -> str:
    """What a layer keeps, and where."""
    if not value.values:
        return MISSING
    full = "" if value.share is None else f" ({share(value.share)})"
    return f"{size(value)} in {value.memory}{full}" if value.memory else size(value)


def size(value: Kept | StoreUse) -> str:
    """Bytes, or the number of values where a profile does not say how wide they are."""
    if not value.values:
        return MISSING
    return f"{count(value.values)} values" if value.bytes is None else in_bytes(value.bytes)


def in_bytes(number: int | None) -> str:
    """Bytes in the unit that fits."""
    if number is None:
        return MISSING
    if number < 1024:
        return f"{number} B"
    return f"{number / 1024:.1f} KB" if number < 1024**2 else f"{number / 1024**2:.1f} MB"


def share(value: float | None) -> str:
    """A share of a limit in per cent, with two significant digits where it is small."""
    if value is None:
        return MISSING
    return f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:,.0f} %".replace(",", "\u202f")


def per_second(value: float | None) -> str:
    """A load, with three significant digits and its unit: 4.03 M for 4.03 million a second."""
    if value is None:
        return MISSING
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.3g}"


def limit(load: Load) -> str:
    """The limit a load is held against."""
    return MISSING if load.limit is None else f"{per_second(load.limit)} a {load.limit_of}"


def course(values: Sequence[float], width: int = 30) -> str:
    """A curve in one line of text: each sign the mean of its steps, the highest one full."""
    bins = binned(values, width)
    top = max(bins, default=0.0)
    return "".join(_BLOCKS[round((len(_BLOCKS) - 1) * value / top)] if top else _BLOCKS[0] for value in bins)


def binned(values: Sequence[float], most: int) -> list[float]:
    """At most so many means of consecutive values."""
    bins = min(most, len(values))
    edges = [round(index * len(values) / bins) for index in range(bins + 1)]
    return [sum(values[low:high]) / (high - low) for low, high in pairwise(edges)]


def front_words(points: Sequence[FrontPoint]) -> str:
    """Which systems are worth having, in one or two sentences."""
    winners = ", ".join(point.system for point in points if point.on_front)
    beaten = [f"{point.system} (by {point.beaten_by[0]})" for point in points if not point.on_front]
    words = f"On the Pareto front, that no other is as accurate at less energy: {winners}."
    return f"{words} Beaten: {', '.join(beaten)}." if beaten else words

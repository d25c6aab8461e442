"""Records of a report as cells of a table and short sentences: the same in the terminal and in HTML."""

import math
from collections.abc import Iterable, Sequence

from nsc_deploy.energy.counting.operations import Kind
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.chip_schema import OnTarget, Pool, Range
from nsc_deploy.energy.report.numbers import (
    MISSING,
    binned,
    count,
    grouped,
    in_bytes,
    microjoules,
    per_second,
    rate,
    share,
    three_digits,
)
from nsc_deploy.energy.report.schema import (
    BreakEven,
    Energy,
    FrontPoint,
    Kept,
    Load,
    PartReport,
    Report,
    StoreUse,
    SystemReport,
)
from nsc_deploy.io.text import counted

_BLOCKS = "▁▂▃▄▅▆▇█"
_NOT_PUBLISHED = "not published"


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


def pool_name(pool: Pool, placed: OnTarget) -> str:
    """The name of a pool, and of the core it is of."""
    if pool.core is None:
        return pool.pool
    alone = len(placed.cores) == 1
    return f"{pool.pool} of core {pool.core}" + ("" if alone else ", the fullest")


def pool_cells(pool: Pool) -> tuple[str, str, str]:
    """Used, limit and per cent."""
    unit = f" {pool.unit}" if pool.unit else ""
    used = f"{'at least ' if pool.at_least else ''}{grouped(pool.used)}{unit}"
    also = "" if pool.lower is None else f" (or {grouped(pool.lower)})"
    limit = _NOT_PUBLISHED if pool.limit is None else grouped(pool.limit) + unit + also
    if pool.percent is None:
        return used, limit, MISSING
    return used, limit, "< 0.1" if 0 < pool.percent < 0.05 else f"{pool.percent:.1f}"


def traffic_cells(part: PartReport, placed: OnTarget) -> tuple[str, ...]:
    """Messages from the host, between cores, hops, messages to the host; energy of the network; with it."""
    traffic, energy = placed.traffic, placed.energy
    if traffic is None:
        return (MISSING,) * 6
    hops = _NOT_PUBLISHED if traffic.hops is None else count(traffic.hops.mean) if traffic.hops.mean else "0"
    return (
        count(traffic.from_host.mean),
        count(traffic.messages.mean),
        hops,
        count(traffic.to_host.mean),
        "no price" if energy is None else microjoules(energy.mean_uj),
        MISSING if energy is None else with_network(part.energy.get("compute"), energy.mean_uj),
    )


def with_network(energy: Energy | None, network_uj: float) -> str:
    """Energy of a column and of the network together."""
    if energy is None:
        return MISSING
    return f"{'> ' if energy.unpriced else ''}{microjoules(energy.mean_uj + network_uj)}"


def notes_of(placed: Iterable[OnTarget]) -> list[str]:
    """What is not published or was not checked of the chip, each once."""
    return list(dict.fromkeys(note for one in placed for note in one.notes))


def range_of(one: Range) -> str:
    """Two bounds with three significant digits, or one figure where they are the same."""
    low, high = (three_digits(value) for value in (one.low, one.high))
    return low if low == high else f"{low} to {high}"


def pace(placed: OnTarget) -> str:
    """Whether the chip keeps up with the steps of the recording, and how its busiest core is loaded."""
    words = []
    time, load = placed.time, placed.load
    if time is not None:
        worst = time.step_us.worst.high
        keeps = "keeps up with" if time.share <= 1 else "may be too slow for"
        takes = f"{range_of(time.step_us.worst)} us ({share(time.share)})"
        late = counted(time.late, "step", "steps")
        words.append(
            f"{keeps} a step every {three_digits(time.dt_us)} us: the worst takes {takes}, so it can take "
            f"{per_second(1e6 / worst)} steps a second; its last neurons are {late} late"
        )
    if load is not None:
        limit = "" if load.limit is None else f" of {per_second(load.limit)} ({share(load.share)})"
        words.append(f"its busiest core takes at worst {per_second(load.worst)} SynOps a second{limit}")
    return "; ".join(words) + ("." if words else "")

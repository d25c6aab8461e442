"""Numbers as people read them: the same in the terminal and in HTML.

Measures of a report as people read them: memory, load, course over time, Pareto front.

What is known of a part on a target as people read it: the same in the terminal and in HTML.
"""

import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from nsc_deploy.energy.counting.operations import Kind, Store
from nsc_deploy.energy.pricing.price import Charged
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.schema import (
    BreakEven,
    Energy,
    FrontPoint,
    Kept,
    Load,
    OnTarget,
    PartReport,
    Pool,
    Range,
    Report,
    StoreUse,
    SystemReport,
)
from nsc_deploy.io.text import counted

MISSING = "–"  # noqa: RUF001 (an en dash where a table has nothing to say)
KIND_NAMES: dict[Charged, str] = {
    Kind.AC: "AC",
    Kind.MAC: "MAC",
    Kind.PRODUCT: "products",
    Kind.ADDITION: "additions",
    Kind.NEURON_UPDATE: "neuron updates",
    Kind.SPIKE: "spikes",
    Kind.ACTIVATION: "functions",
    Store.WEIGHTS: "weights in memory",
    Store.STATES: "states in memory",
    Store.ACTIVATIONS: "activations in memory",
}


def count(number: float) -> str:
    """A mean number of operations: grouped by thousands, a fraction only where it tells something."""
    if number == 0:
        return MISSING
    digits = 1 if number < 100 and number != int(number) else 0
    return f"{number:,.{digits}f}".replace(",", "\u202f")


def digits(energies: Iterable[Energy]) -> int:
    """Decimals that show three significant digits of most of several energies, so that they align."""
    values = sorted(energy.mean_uj for energy in energies if energy.mean_uj > 0)
    return min(6, max(2, 2 - math.floor(math.log10(values[len(values) // 3])))) if values else 2


def microjoules(value: float, decimals: int | None = None) -> str:
    """Microjoules with three significant digits, or with so many decimals."""
    if decimals is None:
        if value == 0:
            return "0"
        decimals = min(6, max(0, 2 - math.floor(math.log10(value))))
    if 0 < value < 0.5 * 10**-decimals:
        return f"< {10**-decimals:.{decimals}f}"
    return f"{value:,.{decimals}f}".replace(",", "\u202f")


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
    whole = [energy for system in report.systems for energy in system.energy.values()]
    sides = [
        energy for system in report.systems for side in system.sides.values() for energy in side.values()
    ]
    return whole + sides


def has_ranges(profile: Profile) -> bool:
    """Whether any price of a profile is a range."""
    prices = [price for _, price in profile.prices if price is not None]
    return any(low != high for low, high in (price.bounds_picojoules for price in prices))


def occurring(part: PartReport) -> list[Kind]:
    """Kinds of operation that occur in a part."""
    return [kind for kind in Kind if getattr(part.counts, kind.value)]


def ratio(value: float | None) -> str:
    """How many times the energy of the first system."""
    return MISSING if value is None else f"{value:.2f}"


def percent(value: float | None) -> str:
    """A share in per cent."""
    return MISSING if value is None else f"{100 * value:.1f}"


def decibel(value: float | None) -> str:
    """An SNR."""
    return MISSING if value is None else f"{value:g}"


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


def rate(value: float | None) -> str:
    """A firing rate in per cent: events an input and step."""
    if value is None:
        return MISSING
    return f"{100 * value:.3g}" if value < 9.995 else f"{100 * value:.0f}"


def even_rate(even: BreakEven) -> str:
    """The rate at which a layer breaks even."""
    if even.factor == 0:
        return "never"
    return rate(even.break_even_rate)


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
    whole = [] if report.break_even is None else [report.break_even]
    return any(
        even.opponent_uj for even in [*whole, *(one for part in report.parts for one in part.break_even)]
    )


def with_signs(words: str) -> str:
    """A sentence with the signs of its units, for a page: terminals and files keep to plain letters."""
    return re.sub(r"(?<=\d )u(?=[Js]\b)", "µ", words)


def turn_of_layer(even: BreakEven) -> str:
    """What would have to change for the other side to win at one layer, in a few words."""
    if even.factor is None:
        return "no break-even: a price is missing or nothing fires"
    if even.factor == 0:
        return f"loses at any rate: {microjoules(even.fixed_uj)} uJ are fixed"
    gains = "loses above" if even.factor > 1 else "wins below"
    return f"{gains} {rate(even.break_even_rate)} % ({even.factor:.2g} times the events)"


def turns(even: BreakEven) -> str:
    """What would have to change for the other side to win, in one sentence."""
    now = f"At {rate(even.rate)} events per hundred inputs and steps the spiking network takes"
    spiking = f"{microjoules(even.spiking_uj)} uJ"
    if not even.opponent_uj:
        return f"{now} {spiking}. The profile has no price for the bit-matched ANN: no break-even."
    figures = f"{spiking}, the bit-matched ANN {microjoules(even.opponent_uj)} uJ."
    if even.factor is None:
        return f"{now} at least {figures} A price is missing or nothing fires: no break-even."
    if even.factor == 0:
        return (
            f"{now} {figures} It loses at any rate: {microjoules(even.fixed_uj)} uJ of it do not depend on "
            "the rate."
        )
    gains = "would lose above" if even.factor > 1 else "would win below"
    return f"{now} {figures} It {gains} {rate(even.break_even_rate)} ({even.factor:.2f} times as many)."


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


_NOT_PUBLISHED = "not published"


def pool_name(pool: Pool, placed: OnTarget) -> str:
    """The name of a pool, and of the core it is of."""
    if pool.core is None:
        return pool.pool
    alone = len(placed.cores) == 1
    return f"{pool.pool} of core {pool.core}" + ("" if alone else ", the fullest")


def pool_cells(pool: Pool) -> tuple[str, str, str]:
    """Used, limit and per cent."""
    used = f"{'at least ' if pool.at_least else ''}{_number(pool.used)}{f' {pool.unit}' if pool.unit else ''}"
    also = "" if pool.lower is None else f" (or {_number(pool.lower)})"
    unit = f" {pool.unit}" if pool.unit else ""
    limit = _NOT_PUBLISHED if pool.limit is None else _number(pool.limit) + unit + also
    return used, limit, _percent(pool.percent)


def _percent(value: float | None) -> str:
    if value is None:
        return MISSING
    return "< 0.1" if 0 < value < 0.05 else f"{value:.1f}"


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")


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
    low, high = (_three(value) for value in (one.low, one.high))
    return low if low == high else f"{low} to {high}"


def _three(value: float) -> str:
    if value >= 100:
        return _number(round(value))
    return f"{value:.3g}"


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
            f"{keeps} a step every {_three(time.dt_us)} us: the worst takes {takes}, so it can take "
            f"{per_second(1e6 / worst)} steps a second; its last neurons are {late} late"
        )
    if load is not None:
        limit = "" if load.limit is None else f" of {per_second(load.limit)} ({share(load.share)})"
        words.append(f"its busiest core takes at worst {per_second(load.worst)} SynOps a second{limit}")
    return "; ".join(words) + ("." if words else "")

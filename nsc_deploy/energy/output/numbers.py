"""Numbers as people read them: the same in the terminal and in HTML."""

import math
import re
from collections.abc import Iterable

from nsc_deploy.energy.counting.operations import Kind, Store
from nsc_deploy.energy.pricing.price import Charged
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.schema import BreakEven, Energy, PartReport, Report, SystemReport

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

"""Numbers as people read them: the same in the terminal, in HTML and in the sentences of a report."""

import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from nsc_deploy.energy.counting.operations import Kind, Store
from nsc_deploy.energy.pricing.price import Charged
from nsc_deploy.energy.report.statistics import Energy
from nsc_deploy.io.text import percent as percent_of
from nsc_deploy.io.text import span

_BLOCKS = "▁▂▃▄▅▆▇█"
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
    """A mean number of operations where a table has one for each kind: a dash where there are none."""
    return MISSING if number == 0 else amount(number)


def amount(number: float) -> str:
    """A mean number of things: grouped by thousands, a fraction only where it tells something."""
    return grouped(number, 1 if number < 100 and number != int(number) else 0)


def microjoules(value: float, decimals: int | None = None) -> str:
    """Microjoules with three significant digits, or with so many decimals."""
    if decimals is None:
        if value == 0:
            return "0"
        decimals = min(6, max(0, 2 - math.floor(math.log10(value))))
    if 0 < value < 0.5 * 10**-decimals:
        return f"< {10**-decimals:.{decimals}f}"
    return grouped(value, decimals)


def joules(value: float) -> str:
    """A price in the unit that fits, with three significant digits: 1.54 nJ."""
    unit, scale = next(
        (
            (name, scale)
            for name, scale in (("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6), ("nJ", 1e-9))
            if value >= scale
        ),
        ("pJ", 1e-12),
    )
    return f"{value / scale:.3g} {unit}"


def energy(value: Energy | None, decimals: int | None = None) -> str:
    """An energy; a lower bound, where a price is missing, says so."""
    if value is None or (value.mean_uj == 0 and not value.unpriced):
        return MISSING
    if not value.unpriced:
        return microjoules(value.mean_uj, decimals)
    return f"> {microjoules(value.mean_uj, decimals)}" if value.mean_uj else "no price"


def bounded(energy: Energy, value: float, decimals: int) -> str:
    """A figure of an energy other than its mean; where a price is missing, it is a lower bound too."""
    return f"{'> ' if energy.unpriced and value else ''}{microjoules(value, decimals)}"


def digits(energies: Iterable[Energy]) -> int:
    """Decimals that show three significant digits of most of several energies, so that they align."""
    values = sorted(energy.mean_uj for energy in energies if energy.mean_uj > 0)
    return min(6, max(2, 2 - math.floor(math.log10(values[len(values) // 3])))) if values else 2


def ratio(value: float | None) -> str:
    """How many times the energy of the first system."""
    return MISSING if value is None else f"{value:.2f}"


def percent(value: float | None) -> str:
    """A share in per cent."""
    return MISSING if value is None else percent_of(value, 1)


def snr(low: float | None, high: float | None) -> str:
    """An SNR in dB, or the range that those of the samples lie in."""
    return MISSING if low is None else span(low, high)


def rate(value: float | None) -> str:
    """A firing rate in per cent: events an input and step."""
    if value is None:
        return MISSING
    return f"{100 * value:.3g}" if value < 9.995 else f"{100 * value:.0f}"


def share(value: float | None) -> str:
    """A share of a limit in per cent, with two significant digits where it is small."""
    if value is None:
        return MISSING
    return (
        f"{100 * value:.2g} %"
        if value < 0.1
        else f"{grouped(100 * value) if value >= 10 else percent_of(value)} %"
    )


def per_second(value: float | None) -> str:
    """A load, with three significant digits and its unit: 4.03 M for 4.03 million a second."""
    if value is None:
        return MISSING
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.3g}"


def in_bytes(number: int | None) -> str:
    """Bytes in the unit that fits."""
    if number is None:
        return MISSING
    if number < 1024:
        return f"{number} B"
    return f"{number / 1024:.1f} KB" if number < 1024**2 else f"{number / 1024**2:.1f} MB"


def three_digits(value: float) -> str:
    """A number with three significant digits, grouped by thousands where it is large."""
    return grouped(round(value)) if value >= 100 else f"{value:.3g}"


def grouped(number: float, decimals: int = 0) -> str:
    """A number with its thousands apart."""
    return f"{number:,.{decimals}f}"


def binned(values: Sequence[float], most: int) -> list[float]:
    """At most so many means of consecutive values."""
    bins = min(most, len(values))
    edges = [round(index * len(values) / bins) for index in range(bins + 1)]
    return [sum(values[low:high]) / (high - low) for low, high in pairwise(edges)]


def with_signs(words: str) -> str:
    """A sentence with the signs of its units, for a page: terminals and files keep to plain letters."""
    return re.sub(r"(?<=\d )u(?=[Js]\b)", "µ", words)


def course(values: Sequence[float], width: int = 30) -> str:
    """A curve in one line of text: each sign the mean of its steps, the highest one full."""
    bins = binned(values, width)
    top = max(bins, default=0.0)
    return "".join(_BLOCKS[round((len(_BLOCKS) - 1) * value / top)] if top else _BLOCKS[0] for value in bins)

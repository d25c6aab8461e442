"""The tables of what goes over a link: from a chip to its host, and from one end of a system to the other."""

from nsc_deploy.energy.report import numbers
from nsc_deploy.energy.report.break_even import RadioBreakEven
from nsc_deploy.energy.report.numbers import MISSING
from nsc_deploy.energy.report.schema import PotentialWay, Report, SystemReport
from nsc_deploy.energy.report.tabular import Holds, Medium, Row, Table, columns


def potentials_table(report: Report, system: SystemReport) -> Table:
    """The ways in which potentials reach the converter: what each takes, and what leaves the chip."""
    shown = [column for column in report.columns if column.name in system.potentials[0].energy]
    digits = numbers.digits(one.energy[column.name] for one in system.potentials for column in shown)
    rows = tuple(
        Row(
            (
                one.way,
                *_operations(one),
                numbers.grouped(one.values_leaving),
                numbers.grouped(one.events_leaving),
                *(numbers.energy(one.energy[column.name], digits) for column in shown),
            )
        )
        for one in system.potentials
    )
    heads = (
        *columns("\nWay", holds=Holds.NAMES),
        *columns("Chip\nAC", "\nMAC", "Host\nAC", "\nMAC", "Values\nleave", "Events\nleave"),
        *columns(*(f"{column.short}\nuJ" for column in shown)),
    )
    meanings = "".join(f"\n{one.way}: {one.meaning}." for one in system.potentials)
    note = (
        "Of a sample, beside the decoder's own layers; all ways give the same. The first is in the columns "
        "above, no other is. What leaves the chip is counted and not priced." + meanings
    )
    return Table(f"{system.label}: how potentials reach the converter", heads, rows, note)


def _operations(one: PotentialWay) -> tuple[str, ...]:
    return tuple(numbers.count(value) for where in (one.chip, one.host) for value in (where.acs, where.macs))


def radio_table(report: Report, system: SystemReport) -> Table:
    """Whole systems, radio included: which is cheaper, and the price and the bits that would turn it."""
    titles = {column.name: column.title for column in report.columns}
    rows = tuple(
        Row((titles[one.column], one.rival, _price(one), _uses(one), one.words))
        for one in system.radio_break_even
    )
    heads = (
        *columns("Accounting", holds=Holds.SENTENCES),
        *columns("Against", holds=Holds.NAMES, only=Medium.PAGE),
        *columns("Even at\nprice", "Even at\nuses", only=Medium.PAGE),
        *columns("In words", holds=Holds.SENTENCES),
    )
    return Table(f"{system.label} as a whole, with its radio", heads, rows)


def _price(one: RadioBreakEven) -> str:
    """The price at which two systems are even."""
    return MISSING if one.price_j is None else numbers.joules(one.price_j)


def _uses(one: RadioBreakEven) -> str:
    """The channel uses at which they are, at the price of the profile."""
    return MISSING if one.uses is None else numbers.grouped(one.uses)

"""What is known of a part on a target as people read it: the same in the terminal and in HTML."""

from collections.abc import Iterable

from nsc_deploy.energy.measure_text import per_second, share
from nsc_deploy.energy.output.numbers import MISSING, count, microjoules
from nsc_deploy.energy.report.schema import Energy, OnTarget, PartReport, Pool, Range
from nsc_deploy.io.text import counted

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

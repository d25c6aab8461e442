"""Parts on a target: placement, pools, messages and time of a step, as tables and sentences."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from nsc_deploy.energy.output.tables import group
from nsc_deploy.energy.report.numbers import (
    MISSING,
    count,
    grouped,
    microjoules,
    per_second,
    share,
    three_digits,
)
from nsc_deploy.energy.report.on_chip import OnTarget, Pool, Range, Run
from nsc_deploy.energy.report.schema import PartReport, SystemReport
from nsc_deploy.energy.report.statistics import Energy
from nsc_deploy.energy.report.tabular import Holds, Row, Table, TableColumn, columns
from nsc_deploy.io.text import counted

_NETWORK = (
    "Means of a sample. Messages from core to core, a core to itself included; a hop leads from tile to "
    "tile. Network: energy of both, in no column. No source prices messages from and to the host."
)
_RUNS = (Run.NATIVE, Run.SUBSTITUTED, Run.HOST, Run.NOT_PUBLISHED, Run.REFUSED)
_PARTS = columns("Part", holds=Holds.NAMES)
_NOT_PUBLISHED = "not published"


def chip_tables(target: str, systems: Sequence[SystemReport]) -> tuple[Table, ...]:
    """All that have a row: how nodes run, pools, memory, messages of a sample, time of a step."""
    every = (
        _placement(target, systems),
        _pools(target, systems),
        _memory(target, systems),
        _traffic(systems),
        _times(systems),
    )
    return tuple(table for table in every if table.rows)


def placed_parts(systems: Iterable[SystemReport]) -> Iterator[tuple[SystemReport, PartReport, OnTarget]]:
    """Every part that a target was asked for, with its system."""
    for system in systems:
        for part in system.parts:
            if part.on_target is not None:
                yield system, part, part.on_target


def _rows(
    systems: Sequence[SystemReport],
    of_part: Callable[[PartReport, OnTarget], Iterable[tuple[str, ...] | Row]],
) -> tuple[Row, ...]:
    """The rows of each part, its name before the first; in a terminal, that of the system above them."""
    rows: list[Row] = []
    for system in systems:
        found = []
        for _, part, placed in placed_parts([system]):
            for index, row in enumerate(of_part(part, placed)):
                cells, style = (row.cells, row.style) if isinstance(row, Row) else (row, "")
                found.append(Row(("" if index else f"  {part.name}", *cells), style))
        rows += [group(system), *found] if found else []
    return tuple(rows)


def _placement(target: str, systems: Sequence[SystemReport]) -> Table:
    """How many nodes of each part run how."""
    there = {node.run for _, _, placed in placed_parts(systems) for node in placed.nodes}
    ways = [one for one in _RUNS if one in there]

    def of_part(part: PartReport, placed: OnTarget) -> Iterator[tuple[str, ...]]:
        numbers = [sum(node.run is one for node in placed.nodes) for one in ways]
        fits = "on a host" if placed.on_host else "fits" if placed.fits else "does not fit"
        if placed.fits and Run.NOT_PUBLISHED in ways and numbers[ways.index(Run.NOT_PUBLISHED)]:
            fits = "fits as far as is published"
        yield *(str(number or MISSING) for number in numbers), fits

    heads = (*_PARTS, *columns(*ways), TableColumn("", Holds.NAMES))
    return Table(f"Nodes on {target}", heads, _rows(systems, of_part))


def _pools(target: str, systems: Sequence[SystemReport]) -> Table:
    def of_part(part: PartReport, placed: OnTarget) -> Iterator[Row]:
        for pool in placed.pools:
            over = pool.limit is not None and pool.used > pool.limit
            yield Row((_pool_name(pool, placed), *pool_cells(pool)), "over" if over else "")

    heads = (*columns("Part", "Pool", holds=Holds.NAMES), *columns("Used", "Limit", "%"))
    return Table(f"Used of {target}", heads, _rows(systems, of_part))


def _memory(target: str, systems: Sequence[SystemReport]) -> Table:
    """What lies in flash and RAM, layer by layer, with its share of all of it."""

    def of_part(part: PartReport, placed: OnTarget) -> Iterator[tuple[str, ...]]:
        for memory in dict.fromkeys(one.memory for one in placed.memory):
            pieces = [one for one in placed.memory if one.memory == memory]
            total = sum(one.bytes for one in pieces)
            for one in pieces:
                yield memory, one.layer, one.holds, grouped(one.bytes), f"{100 * one.bytes / total:.1f}"

    heads = (*columns("Part", "Memory", "Layer", "Holds", holds=Holds.NAMES), *columns("Bytes", "%"))
    return Table(f"Memory of {target}, by layer", heads, _rows(systems, of_part))


def _traffic(systems: Sequence[SystemReport]) -> Table:
    """Messages of each part and their energy; below them that of each system."""

    def of_part(part: PartReport, placed: OnTarget) -> Iterator[tuple[str, ...]]:
        traffic, network = placed.traffic, placed.energy
        if traffic is None:
            return
        hops = _NOT_PUBLISHED
        if traffic.hops is not None:
            hops = count(traffic.hops.mean) if traffic.hops.mean else "0"
        yield (
            count(traffic.from_host.mean),
            count(traffic.messages.mean),
            hops,
            count(traffic.to_host.mean),
            "no price" if network is None else microjoules(network.mean_uj),
            MISSING if network is None else _with_network(part.energy.get("compute"), network.mean_uj),
        )

    totals = (
        Row(
            (
                system.label,
                *[""] * 4,
                microjoules(system.network_uj),
                _with_network(system.energy.get("compute"), system.network_uj),
            ),
            "total",
        )
        for system in systems
        if system.network_uj is not None
    )
    heads = columns("From host", "Messages", "Hops", "To host", "Network\nuJ", "MAC-aware\nand it, uJ")
    return Table("Messages of a sample", (*_PARTS, *heads), (*_rows(systems, of_part), *totals), _NETWORK)


def _times(systems: Sequence[SystemReport]) -> Table:
    def of_part(part: PartReport, placed: OnTarget) -> Iterator[tuple[str, ...]]:
        if placed.time is None:
            return
        whole = f"inference, {placed.time.steps} steps"
        for words, spread in (("step", placed.time.step_us), (whole, placed.time.inference_us)):
            yield words, *map(_range_of, (spread.mean, spread.p95, spread.worst))

    heads = (*columns("Part", "", holds=Holds.NAMES), *columns("Mean", "95 %", "Worst"))
    return Table("Time on the chip at full speed, us", heads, _rows(systems, of_part))


def chip_sources(systems: Iterable[SystemReport]) -> list[str]:
    """Publications of limits and durations, each once."""
    return list(dict.fromkeys(one for _, _, placed in placed_parts(systems) for one in placed.sources))


def chip_notes(systems: Iterable[SystemReport]) -> list[str]:
    """What is not published or was not checked of the chip, each once."""
    return list(dict.fromkeys(note for _, _, placed in placed_parts(systems) for note in placed.notes))


def node_table(placed: OnTarget) -> Table:
    """Where each node runs, and why."""
    rows = tuple(Row((one.node, one.primitive, one.run, one.because)) for one in placed.nodes)
    heads = (*columns("Node", "Kind", "Runs", holds=Holds.NAMES), TableColumn("Because", Holds.SENTENCES))
    return Table("", heads, rows)


def core_table(placed: OnTarget) -> Table:
    """What each core holds and uses."""
    rows = []
    for core in placed.cores:
        tile = ", ".join(map(str, core.tile)) if core.tile else MISSING
        used = []
        for pool in core.pools:
            amount, _, percent = pool_cells(pool)
            used.append(amount if pool.percent is None else f"{amount} ({percent} %)")
        rows.append(Row((str(core.index), tile, "; ".join(core.holds), *used)))
    pools = (pool.pool for pool in placed.cores[0].pools) if placed.cores else ()
    heads = (
        *columns("Core", "Tile", holds=Holds.NAMES),
        TableColumn("Holds", Holds.SENTENCES),
        *columns(*pools),
    )
    return Table("", heads, tuple(rows))


def _pool_name(pool: Pool, placed: OnTarget) -> str:
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


def _with_network(energy: Energy | None, network_uj: float) -> str:
    """Energy of a column and of the network together."""
    if energy is None:
        return MISSING
    return f"{'> ' if energy.unpriced else ''}{microjoules(energy.mean_uj + network_uj)}"


def _range_of(one: Range) -> str:
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
        takes = f"{_range_of(time.step_us.worst)} us ({share(time.share)})"
        late = counted(time.late, "step", "steps")
        words.append(
            f"{keeps} a step every {three_digits(time.dt_us)} us: the worst takes {takes}, so it can take "
            f"{per_second(1e6 / worst)} steps a second; its last neurons are {late} late"
        )
    if load is not None:
        limit = "" if load.limit is None else f" of {per_second(load.limit)} ({share(load.share)})"
        words.append(f"its busiest core takes at worst {per_second(load.worst)} SynOps a second{limit}")
    return "; ".join(words) + ("." if words else "")

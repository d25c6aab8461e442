"""What a target says of a graph: for a terminal, at most 80 columns wide, and as plain data for JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.text import Text

from nsc_deploy.exporters.base import CheckResult, Status, Verdict
from nsc_deploy.exporters.chips.chip import NOT_PUBLISHED, Chip, parts
from nsc_deploy.exporters.chips.placement import Core, Placement, Route, Usage
from nsc_deploy.io.text import counted, percent

_MOST_LISTED = 8
_STYLES = {
    Status.NATIVE: "green",
    Status.SUBSTITUTED: "yellow",
    Status.NOT_PUBLISHED: "bold yellow",
    Status.REFUSED: "bold red",
}


def to_text(answer: CheckResult, target: str, graph: str, *, details: bool = False) -> RenderableType:
    """The verdict, what breaks and how to mend it, nodes that are not native, pools; a screen of it.

    Args:
        answer: what the target says of the graph.
        target: its name.
        graph: name of the file.
        details: every node, the cores, and notes on what was not checked, as well.
    """
    chip = answer.chip
    title = target if chip is None else f"{chip.title} ({chip.name})"
    bits = "" if answer.weight_bits is None else f", {answer.weight_bits} bits a weight"
    found: list[RenderableType] = [Text(f"{graph} on {title}{bits}", "bold"), _verdict(answer, target)]
    found += _broken(answer)
    found += [*_nodes(answer.verdicts, details=details)]
    if answer.pools:
        found.append(_pools(answer.pools, NOT_PUBLISHED if chip is not None else "no limit"))
    if details:
        found += _details(answer, chip)
    elif chip is not None or answer.notes:
        found.append(Text("--details: each node and core, what was not checked, sources.", "dim"))
    return Group(*found)


def _details(answer: CheckResult, chip: Chip | None) -> Iterator[RenderableType]:
    if answer.placement is not None and answer.placement.cores:
        yield _cores(answer.placement.cores, answer.pools)
    if answer.partial:
        yield Text("Not every neuron found a place; these did:")
        yield _cores(answer.partial, answer.pools)
    yield from _notes(answer, chip)


def _verdict(answer: CheckResult, target: str) -> Text:
    if answer.fits and answer.not_published:
        open_nodes = counted(len(answer.not_published), "node is", "nodes are")
        return Text(f"fits {target} as far as is published: {open_nodes} not published", "bold yellow")
    if answer.fits:
        return Text(f"fits {target}", "bold green")
    counts = (
        (len(answer.refused), "node refused", "nodes refused"),
        (len(answer.breaches), "rule broken", "rules broken"),
    )
    told = ", ".join(counted(*one) for one in counts if one[0])
    return Text(f"does not fit {target}: {told}", "bold red")


Cell = str | Text


@dataclass(frozen=True)
class _Table:
    """A table in the form of rich's own, which takes a second for every thousand rows.

    Attributes:
        heads: of the columns; a line break starts another line.
        rows: a cell for each column, and a style for all of them.
        right: columns of numbers, which stand to the right and are never folded.
    """

    heads: tuple[str, ...]
    rows: Sequence[tuple[tuple[Cell, ...], str]]
    right: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """The lines of the table."""
        widths = self._widths(options.max_width)
        inside = sum(widths) + 2 * len(widths) - 2
        edge = Segment(" " * (inside + 2) + "\n")
        yield edge
        deepest = max(head.count("\n") for head in self.heads)
        heads = ["\n" * (deepest - head.count("\n")) + head for head in self.heads]
        yield from self._row(heads, "bold", widths, console)
        yield Segment(f" {'─' * inside} \n")
        for cells, style in self.rows:
            yield from self._row(cells, style, widths, console)
        yield edge

    def _widths(self, room: int) -> list[int]:
        """Of each column; where the room is too small, the widest of those with text give some of theirs."""
        columns = zip(self.heads, *(cells for cells, _ in self.rows), strict=True)
        widths = [
            max(cell_len(line) for cell in column for line in str(cell).split("\n")) for column in columns
        ]
        folding = [index for index, head in enumerate(self.heads) if head not in self.right]
        while sum(widths) + 2 * len(widths) > room:
            widest = max(folding, key=widths.__getitem__)
            if widths[widest] == 1:
                break
            widths[widest] -= 1
        return widths

    def _row(
        self, cells: Sequence[Cell], style: str, widths: Sequence[int], console: Console
    ) -> Iterator[Segment]:
        columns = [_lines(str(cell), width, console) for cell, width in zip(cells, widths, strict=True)]
        styles = [
            console.get_style(str(cell.style) if isinstance(cell, Text) and cell.style else style)
            for cell in cells
        ]
        for number in range(max(map(len, columns))):
            yield Segment(" ")
            for index, (lines, width) in enumerate(zip(columns, widths, strict=True)):
                line = lines[number] if number < len(lines) else ""
                space = " " * (width - cell_len(line))
                written = space + line if self.heads[index] in self.right else line + space
                yield Segment(written, styles[index])
                yield Segment("  " if index < len(widths) - 1 else " \n")


def _lines(text: str, width: int, console: Console) -> list[str]:
    lines = text.split("\n")
    if all(cell_len(line) <= width for line in lines):
        return lines
    return [line.plain.rstrip() for line in Text(text).wrap(console, width, overflow="fold")]


def _nodes(verdicts: Sequence[Verdict], *, details: bool) -> Iterator[RenderableType]:
    """Those that are not native, one for all of a kind with the same verdict; with details every node."""
    others = [one for one in verdicts if one.status is not Status.NATIVE]
    native = len(verdicts) - len(others)
    yield Text(f"{native} of {counted(len(verdicts), 'node')} native")
    alike: dict[tuple[str, ...], list[Verdict]] = {}
    for one in verdicts if details else others:
        told = (one.primitive, one.status.value, one.reason, one.hint)
        alike.setdefault((*told, one.node) if details else told, []).append(one)
    groups = list(alike.values())
    listed = groups if details else groups[:_MOST_LISTED]
    rows = [
        (
            (
                one.node if not rest else f"{one.node} and {len(rest):,} more",
                one.primitive,
                Text(one.status.value, _STYLES[one.status]),
                f"{one.reason}. {one.hint}" if one.hint else one.reason,
            ),
            "",
        )
        for one, *rest in listed
    ]
    if rows:
        yield _Table(("Node", "Kind", "Verdict", "Because"), rows)
    left = sum(map(len, groups[len(listed) :]))
    if left:
        yield Text(f"and {left:,} more (--details)")


def _pools(pools: Sequence[Usage], without: str) -> _Table:
    """`without`: what stands for a limit that is not there."""
    limits = [without if pool.limit is None else _limit(pool) for pool in pools]
    rows = [
        ((pool.pool, _used(pool), limit, _percent(pool)), "red" if pool.over else "")
        for pool, limit in zip(pools, limits, strict=True)
    ]
    return _Table(("Pool", "Used", "Limit", "%"), rows, right=("Used", "Limit", "%"))


def _used(pool: Usage) -> str:
    return ("at least " if pool.at_least else "") + f"{pool.used:,}{f' {pool.unit}' if pool.unit else ''}"


def _limit(pool: Usage) -> str:
    if pool.limit is None:
        return NOT_PUBLISHED
    also = f" (or {pool.lower:,})" if pool.lower is not None else ""
    return f"{pool.limit:,}{also}"


def _percent(pool: Usage) -> str:
    if pool.percent is None:
        return "over" if pool.over else ""
    return percent(pool.percent / 100, 1)


def _cores(cores: Sequence[Core], chip_pools: Sequence[Usage]) -> _Table:
    """A line for each core; neighbours that hold as much of the same share one."""
    names = [pool.pool for pool in cores[0].pools if pool.limit is not None and pool not in chip_pools]
    shared = {name: _limit_of_all(cores, name) for name in names}
    heads = [f"{name}\n{limit or 'used, limit'}, %" for name, limit in shared.items()]
    rows: list[tuple[tuple[Cell, ...], str]] = []
    for _, run in groupby(cores, key=_likeness):
        alike = list(run)
        first, last = alike[0], alike[-1]
        label = str(first.index) if len(alike) == 1 else f"{first.index} to {last.index}"
        pools = {pool.pool: pool for pool in first.pools}
        uses = (_use(pools[name], shared[name]) for name in names)
        rows.append(((label, _holds(alike), *uses), ""))
    return _Table(("Core", "Holds", *heads), rows, right=heads)


def _limit_of_all(cores: Sequence[Core], name: str) -> str | None:
    """For the head of a column, where all cores have the same."""
    limits = {_limit(pool) for core in cores for pool in core.pools if pool.pool == name}
    return f"of {limits.pop()}" if len(limits) == 1 else None


def _likeness(core: Core) -> tuple[object, ...]:
    return (tuple((share.population, share.size) for share in core.shares), core.pools)


def _holds(cores: Sequence[Core]) -> str:
    first = cores[0]
    if len(cores) > 1:
        return ", ".join(f"{share.population} ({share.size:,} each)" for share in first.shares)
    return ", ".join(f"{share.population} {share.start:,}-{share.stop - 1:,}" for share in first.shares)


def _use(pool: Usage, shared: str | None) -> Text:
    least = ">= " if pool.at_least else ""
    limit = "" if shared is not None else f"\nof {_limit(pool)}"
    share = "" if pool.percent is None else f"\n{percent(pool.percent / 100, 1)} %"
    return Text(f"{least}{pool.used:,}{limit}{share}", "red" if pool.over else "")


def _broken(answer: CheckResult) -> Iterator[Text]:
    for breach in answer.breaches:
        where = "" if breach.where == "chip" else f"{breach.where}: "
        text = Text.assemble((f"{breach.rule}: ", "bold red"), f"{where}{breach.problem}.\n")
        yield text.append(f"  {breach.hint}", "bold")


def _notes(answer: CheckResult, chip: Chip | None) -> Iterator[Text]:
    conflicts = () if chip is None else chip.conflicts
    for note in (*answer.notes, *(f"Disputed. {one}" for one in conflicts)):
        yield Text(f"* {note}", "dim")
    if chip is not None:
        sources = [f"{source.title.split(',')[0]} ({source.year})" for source in chip.sources.values()]
        listed = ", ".join(dict.fromkeys(sources))
        yield Text(f"* Limits from: {listed}. --json has the place of each.", "dim")


def to_json(answer: CheckResult, chip: Chip, graph: str) -> dict[str, Any]:
    """The whole answer.

    Args:
        answer: what the chip says of the graph.
        chip: the chip.
        graph: name of the file.
    """
    return {
        "graph": graph,
        "target": chip.name,
        "title": chip.title,
        "accepted": answer.fits,
        "weight_bits": answer.weight_bits,
        "nodes": [asdict(verdict) for verdict in answer.verdicts],
        "pools": [_usage(pool) for pool in answer.pools],
        "breaches": [asdict(breach) for breach in answer.breaches],
        "placement": None if answer.placement is None else _placement(answer.placement),
        "partial": [_core(core) for core in answer.partial],
        "notes": list(answer.notes),
        "conflicts": list(chip.conflicts),
        "limits": _limits(chip),
        "sources": {name: source.model_dump() for name, source in chip.sources.items()},
    }


def _usage(pool: Usage) -> dict[str, Any]:
    return {**asdict(pool), "percent": pool.percent, "published": pool.limit is not None}


def _placement(placement: Placement) -> dict[str, Any]:
    return {
        "cores": [_core(core) for core in placement.cores],
        "routes": [_route(route, placement) for route in placement.routes],
        "latency": dict(placement.latency),
    }


def _core(core: Core) -> dict[str, Any]:
    return {
        "index": core.index,
        "tile": core.tile,
        "shares": [
            {"population": share.population, "start": share.start, "stop": share.stop}
            for share in core.shares
        ],
        "pools": [_usage(pool) for pool in core.pools],
    }


def _route(route: Route, placement: Placement) -> dict[str, Any]:
    return {
        "source": route.source,
        "source_core": route.source_core,
        "target_core": route.target_core,
        "axons": route.axons,
        "synapses": route.synapses,
        "hops": placement.hops(route),
    }


def _limits(chip: Chip) -> dict[str, Any]:
    """Every sourced part of the chip but its nodes, by its dotted name."""
    return {path: part.model_dump(mode="json") for path, part in parts(chip) if not path.startswith("nodes.")}

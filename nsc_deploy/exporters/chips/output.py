"""What a chip says of a graph: for a terminal, at most 80 columns wide, and as plain data for JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nsc_deploy.exporters.base import CheckResult, Status, Verdict
from nsc_deploy.exporters.chips.chip import NOT_PUBLISHED, Chip, parts
from nsc_deploy.exporters.chips.placement import Core, Placement, Route, Usage
from nsc_deploy.io.text import counted

_STYLES = {Status.NATIVE: "green", Status.SUBSTITUTED: "yellow", Status.REFUSED: "bold red"}


def to_text(answer: CheckResult, chip: Chip, graph: str) -> RenderableType:
    """Verdict, nodes, pools, cores, broken rules and notes.

    Args:
        answer: what the chip says of the graph.
        chip: the chip.
        graph: name of the file.
    """
    found: list[RenderableType] = [
        Text(f"{graph} on {chip.title} ({chip.name}), {answer.weight_bits} bits a weight", "bold"),
        _nodes(answer.verdicts),
        _pools(answer.pools),
    ]
    if answer.placement is not None and answer.placement.cores:
        found.append(_cores(answer.placement.cores, answer.pools))
    if answer.partial:
        found += [Text("Not every neuron found a place; these did:"), _cores(answer.partial, answer.pools)]
    found += [*_broken(answer), *_notes(answer, chip), _verdict(answer, chip)]
    return Group(*found)


def _verdict(answer: CheckResult, chip: Chip) -> Text:
    if answer.fits:
        return Text(f"fits {chip.name}", "bold green")
    counts = (
        (len(answer.refused), "node refused", "nodes refused"),
        (len(answer.breaches), "rule broken", "rules broken"),
    )
    told = ", ".join(counted(*one) for one in counts if one[0])
    return Text(f"does not fit {chip.name}: {told}", "bold red")


def _table(*columns: str, right: Sequence[str] = (), folds: Sequence[str] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
    for name in columns:
        table.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="fold",
            no_wrap=name in right,
            ratio=1 if name in folds else None,
        )
    return table


def _nodes(verdicts: Sequence[Verdict]) -> Table:
    table = _table("Node", "Kind", "Verdict", "Because", folds=["Because"])
    for one in verdicts:
        why = f"{one.reason}. {one.hint}" if one.hint else one.reason
        table.add_row(one.node, one.primitive, Text(one.status.value, _STYLES[one.status]), why)
    return table


def _pools(pools: Sequence[Usage]) -> Table:
    table = _table("Pool", "Used", "Limit", "%", right=["Used", "Limit", "%"])
    for pool in pools:
        table.add_row(
            pool.pool, _used(pool), _limit(pool), _percent(pool), style="red" if pool.over else None
        )
    return table


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
    return f"{pool.percent:.1f}"


def _cores(cores: Sequence[Core], chip_pools: Sequence[Usage]) -> Table:
    """A line for each core; neighbours that hold as much of the same share one."""
    names = [pool.pool for pool in cores[0].pools if pool.limit is not None and pool not in chip_pools]
    shared = {name: _limit_of_all(cores, name) for name in names}
    heads = [f"{name}\n{limit or 'used, limit'}, %" for name, limit in shared.items()]
    table = _table("Core", "Holds", *heads, right=heads)
    for _, run in groupby(cores, key=_likeness):
        alike = list(run)
        first, last = alike[0], alike[-1]
        label = str(first.index) if len(alike) == 1 else f"{first.index} to {last.index}"
        pools = {pool.pool: pool for pool in first.pools}
        table.add_row(label, _holds(alike), *(_use(pools[name], shared[name]) for name in names))
    return table


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
    percent = f"\n{pool.percent:.1f} %" if pool.percent is not None else ""
    return Text(f"{least}{pool.used:,}{limit}{percent}", "red" if pool.over else "")


def _broken(answer: CheckResult) -> Iterator[Text]:
    for breach in answer.breaches:
        where = "" if breach.where == "chip" else f"{breach.where}: "
        text = Text.assemble((f"{breach.rule}: ", "bold red"), f"{where}{breach.problem}.\n")
        yield text.append(f"  {breach.hint}", "bold")


def _notes(answer: CheckResult, chip: Chip) -> Iterator[Text]:
    for note in (*answer.notes, *(f"Disputed. {one}" for one in chip.conflicts)):
        yield Text(f"* {note}", "dim")
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

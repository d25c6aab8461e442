"""The answer as plain data for JSON."""

from dataclasses import asdict
from typing import Any

from nsc_deploy.exporters.chips.chip import Chip
from nsc_deploy.exporters.chips.figures import parts
from nsc_deploy.exporters.chips.fit import Fit
from nsc_deploy.exporters.chips.placement import Core, Placement, Route, Usage


def to_json(answer: Fit, graph: str) -> dict[str, Any]:
    """The whole answer.

    Args:
        answer: what `fit` found.
        graph: name of the file.
    """
    return {
        "graph": graph,
        "target": answer.chip.name,
        "title": answer.chip.title,
        "accepted": answer.fits,
        "weight_bits": answer.weight_bits,
        "nodes": [asdict(verdict) for verdict in answer.verdicts],
        "pools": [_usage(pool) for pool in answer.pools],
        "breaches": [asdict(breach) for breach in answer.breaches],
        "placement": None if answer.placement is None else _placement(answer.placement),
        "partial": [_core(core) for core in answer.partial],
        "notes": list(answer.notes),
        "conflicts": list(answer.chip.conflicts),
        "limits": _limits(answer.chip),
        "sources": {name: source.model_dump() for name, source in answer.chip.sources.items()},
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

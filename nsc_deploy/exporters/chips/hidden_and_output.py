"""Placement on one core with input channels, hidden neurons and output neurons."""

from collections.abc import Iterator

import numpy as np

from nsc_deploy.exporters.chips.chip import Chip, HiddenAndOutput
from nsc_deploy.exporters.chips.placement import Breach, Core, Layout, Placement, Usage
from nsc_deploy.exporters.chips.projections import Projection, ProjectionGraph
from nsc_deploy.exporters.chips.timing import Timing
from nsc_deploy.graphs.connectivity import Integers


def fit_hidden_and_output(
    graph: ProjectionGraph, timing: Timing, chip: Chip, layout: HiddenAndOutput
) -> Layout:
    """The populations whose spikes leave become output neurons, all others hidden ones."""
    hidden = [one for one in graph.populations if one.name not in graph.outputs]
    outputs = [one for one in graph.populations if one.name in graph.outputs]
    fan_out = _hidden_fan_out(graph)
    widest = max((int(each.max(initial=0)) for each in fan_out.values()), default=0)
    pools = (
        layout.inputs.usage("input channels", sum(graph.inputs.values())),
        layout.hidden.usage("hidden neurons", sum(one.size for one in hidden)),
        layout.outputs.usage("output neurons", sum(one.size for one in outputs)),
        layout.fan_out.usage("fan-out", widest),
        layout.hidden_synapses.usage("hidden synapses", sum(int(each.sum()) for each in fan_out.values())),
    )
    shares = tuple(one.share(0, one.size) for one in (*hidden, *outputs))
    placement = Placement(chip.name, (Core(0, shares, pools),), (), dict(timing.latency))
    breaches = (*_structure(graph), *_over(graph, pools, fan_out))
    return Layout(placement, pools, breaches)


def _hidden_fan_out(graph: ProjectionGraph) -> dict[str, Integers]:
    """For each hidden population the hidden neurons that each of its neurons reaches."""
    fan_out = {
        one.name: np.zeros(one.size, np.int64) for one in graph.populations if one.name not in graph.outputs
    }
    for one in graph.projections:
        if one.source in fan_out and one.target in fan_out:
            fan_out[one.source] += one.synapses.fan_out_to(np.arange(one.synapses.neurons))
    return fan_out


def _structure(graph: ProjectionGraph) -> Iterator[Breach]:
    """What may reach what."""
    for one in graph.projections:
        problem = _forbidden(graph, one)
        if problem is not None:
            yield Breach("structure", f"node '{one.target}'", *problem, 1, 0)
    if all(one.name in graph.outputs for one in graph.populations):
        yield Breach(
            "structure", "chip", "no hidden neurons", "Put a layer of neurons before the output.", 0, 1
        )


def _forbidden(graph: ProjectionGraph, one: Projection) -> tuple[str, str] | None:
    if one.source in graph.outputs:
        return (
            f"reads '{one.source}', and output neurons reach no other neurons",
            f"Read the output from a layer behind '{one.source}' that nothing else reads.",
        )
    if one.source in graph.inputs and one.target in graph.outputs:
        return (
            "is an output layer that reads the input, which reaches hidden neurons alone",
            "Put a layer of hidden neurons between.",
        )
    if not one.weights:
        return (
            f"follows '{one.source}' without weights, and every neuron has weights before it",
            "Put a Linear node between, for example the identity.",
        )
    return None


def _over(graph: ProjectionGraph, pools: tuple[Usage, ...], fan_out: dict[str, Integers]) -> Iterator[Breach]:
    for pool in pools:
        if pool.over and pool.limit is not None:
            yield Breach(
                pool.pool,
                _where(pool.pool, fan_out),
                _problem(pool, pool.limit),
                _hint(pool, pool.limit, graph, fan_out),
                pool.used,
                pool.limit,
            )


def _problem(pool: Usage, limit: int) -> str:
    if pool.pool == "fan-out":
        return f"a hidden neuron reaches {pool.used:,} hidden neurons; it can reach {limit:,}"
    if pool.pool == "hidden synapses":
        return f"{pool.used:,} synapses between hidden neurons; the chip has {limit:,}"
    return f"{pool.used:,} {pool.pool}; the chip has {limit:,}"


def _where(pool: str, fan_out: dict[str, Integers]) -> str:
    if pool != "fan-out":
        return "chip"
    return f"node '{max(fan_out, key=lambda name: int(fan_out[name].max(initial=0)))}'"


def _hint(pool: Usage, limit: int, graph: ProjectionGraph, fan_out: dict[str, Integers]) -> str:
    over = pool.used - limit
    if pool.pool == "input channels":
        return f"Send {over:,} input lines fewer: join or leave out channels before the chip."
    if pool.pool == "fan-out":
        heavy = sum(int((each > limit).sum()) for each in fan_out.values())
        return f"Prune the synapses of {heavy:,} hidden neurons until each reaches {limit:,} hidden neurons."
    if pool.pool == "hidden synapses":
        return f"Prune {over:,} synapses between hidden neurons."
    wanted = pool.pool == "output neurons"
    candidates = [one for one in graph.populations if (one.name in graph.outputs) == wanted]
    largest = max(candidates, key=lambda one: one.size)
    example = f", for example '{largest.name}' from {largest.size:,} to {largest.size - over:,}"
    return f"Take {over:,} {pool.pool} away" + (example if largest.size > over else "") + "."

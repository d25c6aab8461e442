"""Whether a graph fits a chip of many equal cores: what breaks, and the smallest change that mends it."""

from collections import Counter
from dataclasses import replace
from math import ceil

import numpy as np

from nsc_deploy.exporters.chips.chip import Chip, ManyCores
from nsc_deploy.exporters.chips.many_cores import Case, Demand, Misfit, Packing, pack
from nsc_deploy.exporters.chips.placement import Breach, Layout, Usage
from nsc_deploy.exporters.chips.projections import Population, ProjectionGraph
from nsc_deploy.exporters.chips.timing import Timing
from nsc_deploy.io.text import counted

_SMALL = 20_000
"""Neurons up to which the search for a smaller layer goes on until it is exact."""
_TRIES, _FEW_TRIES = 64, 5


def fit_many_cores(
    graph: ProjectionGraph, timing: Timing, chip: Chip, layout: ManyCores, weight_bits: int
) -> Layout:
    """Place a graph and hold it against the limits; arguments as those of `Case`."""
    case = Case(graph, timing, chip, layout, weight_bits)
    packing = pack(case)
    pools, broken = _pools(case, packing), _breaches(case, packing)
    if not packing.complete:
        return Layout(None, pools, broken)
    placement = packing.placement(case)
    if packing.misfits:
        return Layout(None, pools, broken, placement.cores)
    return Layout(placement, pools, broken)


def _pools(case: Case, packing: Packing) -> tuple[Usage, ...]:
    layout = case.layout
    some_left = not packing.complete or bool(packing.misfits)
    return (
        layout.cores.usage("cores", len(packing.fillings), at_least=some_left),
        layout.neurons_per_chip.usage("neurons", case.graph.neurons),
        layout.synapses_per_chip.usage("synapses", case.graph.synapses),
    )


def _breaches(case: Case, packing: Packing) -> tuple[Breach, ...]:
    """Every rule that does not hold."""
    return (
        *(breach for misfit in packing.misfits for breach in _misfit(case, misfit)),
        *_axons_out(case, packing),
        *_chip_breaches(case, packing),
    )


def _misfit(case: Case, misfit: Misfit) -> list[Breach]:
    """Neurons that are too much for an empty core: too many inputs, or too much memory."""
    population = case.graph.population(misfit.population)
    axons = [_axons_of(case, population, neuron) for neuron in misfit.neurons]
    limit = case.layout.axons_in.value
    breaches = []
    if limit is not None and max(axons) > limit:
        over = [used for used in axons if used > limit]
        breaches.append(
            Breach(
                "fan-in of a neuron",
                f"node '{population.name}'",
                f"{counted(len(over), 'neuron')} with more than {limit:,} inputs, up to {max(over):,}; "
                f"a core has {limit:,} input axons",
                f"Leave at most {limit:,} inputs to each: prune {max(over) - limit:,} of the {max(over):,}.",
                max(over),
                limit,
            )
        )
    heavy = [
        neuron for neuron, used in zip(misfit.neurons, axons, strict=True) if limit is None or used <= limit
    ]
    if heavy:
        breaches.append(_memory_breach(case, population, heavy))
    return breaches


def _memory_breach(case: Case, population: Population, neurons: list[int]) -> Breach:
    needs = [ceil(_demand(case, population, one).bits / 8) for one in neurons]
    worst = neurons[int(np.argmax(needs))]
    capacity = case.layout.memory.capacity.value or 0
    demand = _demand(case, population, worst)
    states = population.states * case.state_bits if case.layout.memory.holds_states else 0
    each = max(1, (demand.bits - states) // max(1, demand.synapses))
    spare = min(demand.synapses, ceil((demand.bits - 8 * capacity) / each))
    return Breach(
        "memory of a neuron",
        f"node '{population.name}'",
        f"the synapses of {counted(len(neurons), 'neuron')} take {max(needs):,} B; a core has {capacity:,}",
        f"Prune {spare:,} of the {demand.synapses:,} synapses of each, or use fewer bits a weight (--bits).",
        max(needs),
        capacity,
    )


def _axons_out(case: Case, packing: Packing) -> list[Breach]:
    limit = case.layout.axons_out.value
    if limit is None:
        return []
    breaches = []
    for index, used in packing.axons_out().items():
        if used > limit:
            names = ", ".join(f"'{share.population}'" for share in packing.fillings[index].shares)
            breaches.append(
                Breach(
                    "fan-out axons",
                    f"core {index}",
                    f"{used:,} edges to other cores begin in this core of {names}; it has {limit:,}",
                    f"Take {used - limit:,} of these edges away: fewer neurons behind {names}, or synapses "
                    "pruned so that each neuron reaches fewer cores.",
                    used,
                    limit,
                )
            )
    return breaches


def _chip_breaches(case: Case, packing: Packing) -> list[Breach]:
    layout = case.layout
    neurons, synapses = layout.neurons_per_chip.value, layout.synapses_per_chip.value
    breaches = []
    if neurons is not None and case.graph.neurons > neurons:
        breaches.append(_neurons_breach(case.graph, neurons))
    if synapses is not None and case.graph.synapses > synapses:
        used = case.graph.synapses
        hint = f"Prune {used - synapses:,} synapses, or use {ceil(used / synapses)} chips."
        problem = f"{used:,} synapses; the chip has {synapses:,}"
        breaches.append(Breach("synapses of the chip", "chip", problem, hint, used, synapses))
    if layout.cores.value is not None and len(packing.fillings) > layout.cores.value:
        breaches.append(_cores_breach(case, packing, layout.cores.value))
    return breaches


def _neurons_breach(graph: ProjectionGraph, limit: int) -> Breach:
    used, over = graph.neurons, graph.neurons - limit
    largest = max(graph.populations, key=lambda one: one.size)
    smaller = f" (for example '{largest.name}' from {largest.size:,} to {largest.size - over:,})"
    hint = (
        f"Take {over:,} neurons away"
        + (smaller if largest.size > over else "")
        + f", or use {ceil(used / limit)} chips."
    )
    problem = f"{used:,} neurons; the chip has {limit:,}"
    return Breach("neurons of the chip", "chip", problem, hint, used, limit)


def _cores_breach(case: Case, packing: Packing, cores: int) -> Breach:
    used = len(packing.fillings)
    chips = f"use {ceil(used / cores)} chips" if packing.complete else "use several chips"
    smaller = _smaller(case, packing, cores) if packing.complete else None
    if smaller is None:
        hint = chips[0].upper() + chips[1:] + ", or make several layers smaller."
    else:
        name, size, before = smaller
        hint = f"Take {before - size:,} neurons off '{name}' ({before:,} to {size:,}), or {chips}."
    more = "" if packing.complete else "at least "
    return Breach(
        "cores of the chip",
        "chip",
        f"needs {more}{used:,} cores; the chip has {cores:,}",
        hint,
        used,
        cores,
    )


def _smaller(case: Case, packing: Packing, cores: int) -> tuple[str, int, int] | None:
    """The population that fills most cores, and the most neurons it can keep; None where that is none.

    Every size is tried by placing the graph anew; large graphs get fewer tries, so that the size named for
    them fits and a somewhat larger one might.
    """
    filled = Counter(share.population for filling in packing.fillings for share in filling.shares)
    name = max(filled, key=lambda one: filled[one])
    before = case.graph.population(name).size
    beyond = [share for filling in packing.fillings[cores:] for share in filling.shares]
    guess = before - sum(share.size for share in beyond if share.population == name)
    low, high = 0, before
    for _ in range(_TRIES if case.graph.neurons <= _SMALL else _FEW_TRIES):
        if high - low <= 1:
            break
        middle = guess if low < guess < high else (low + high) // 2
        again = pack(replace(case, graph=case.graph.shrunk(name, middle)))
        fits = again.complete and len(again.fillings) <= cores
        low, high = (middle, high) if fits else (low, middle)
    return (name, low, before) if low else None


def _demand(case: Case, population: Population, neuron: int) -> Demand:
    return case.demand(population, neuron, neuron + 1)


def _axons_of(case: Case, population: Population, neuron: int) -> int:
    return sum(int(lines.sum()) for lines in _demand(case, population, neuron).lines.values())

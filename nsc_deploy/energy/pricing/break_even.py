"""At which firing rate a spiking layer, and the whole network, costs what its opponent does.

The energy of a layer is a part that is proportional to the number of events (synaptic operations, the
accesses they make, spikes) and a part that is not (updates, biases, real-valued inputs). With all events
scaled by one factor s the spiking side costs s * moving + fixed; the opponent does not change. They are
even at s = (opponent - fixed) / moving, and the break-even rate is s times the rate now.

What would have to change for a spiking system to lose, or to win, against the others of a report.

The energy of a system is a part that is proportional to the number of events and a part that is not. With
all events scaled by one factor s it costs s * moving + fixed, and as much as a rival at
s = (rival - fixed) / moving. The energy of the rival is taken as it was measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nsc_deploy.deployment import Side
from nsc_deploy.energy.counting.operations import LayerCount, PartCount
from nsc_deploy.energy.output.numbers import KIND_NAMES, microjoules, turn_of_layer, turns
from nsc_deploy.energy.pricing.accountings import MEMORY, OPPONENT
from nsc_deploy.energy.pricing.price import LayerEnergy
from nsc_deploy.energy.report.schema import Against, BreakEven, Energy, SystemReport
from nsc_deploy.graphs.network import Signal

Prices = Mapping[str, LayerEnergy]
WHOLE = "whole"
_MICROJOULE = 1e-6


@dataclass(frozen=True)
class _Cost:
    """Mean energies in pJ, and how many events arrive where how many could."""

    moving: float = 0.0
    fixed: float = 0.0
    opponent: float = 0.0
    events: float = 0.0
    places: int = 0
    complete: bool = True

    def plus(self, other: "_Cost", share: float = 1.0) -> "_Cost":
        """Together with a share of another."""
        return _Cost(
            self.moving + share * other.moving,
            self.fixed + share * other.fixed,
            self.opponent + share * other.opponent,
            self.events + other.events,
            self.places + other.places,
            self.complete and other.complete,
        )


def layer_break_even(part: PartCount, prices: Sequence[Prices]) -> tuple[BreakEven, ...]:
    """For each layer of weights that events enter, together with the neurons it drives.

    Neurons that several layers drive are shared out evenly among them.

    Args:
        part: of a spiking system.
        prices: of its layers, by accounting.
    """
    costs = {layer.name: _cost(layer, price) for layer, price in zip(part.layers, prices, strict=True)}
    drivers = [name for layer in part.layers for name in layer.drives]
    found = []
    for layer in part.layers:
        if layer.once is None or not layer.synapses or layer.arrives is Signal.REAL:
            continue
        cost = costs[layer.name]
        for name in layer.drives:
            cost = cost.plus(costs[name], 1 / drivers.count(name))
        found.append(_even(layer.name, cost))
    return tuple(found)


def whole_break_even(parts: Sequence[PartCount], prices: Sequence[Sequence[Prices]]) -> BreakEven | None:
    """For all layers of all parts, if any of them takes in events."""
    total = _Cost()
    for part, row in zip(parts, prices, strict=True):
        for layer, price in zip(part.layers, row, strict=True):
            total = total.plus(_cost(layer, price))
    return _even(WHOLE, total) if total.places else None


def _cost(layer: LayerCount, prices: Prices) -> _Cost:
    spiking, opponent = prices[MEMORY.name], prices[OPPONENT.name]
    moving = float(spiking.with_rate.mean()) if layer.once is not None else 0.0
    fed = layer.once is not None and layer.synapses > 0 and layer.arrives is not Signal.REAL
    return _Cost(
        moving=moving,
        fixed=float(spiking.total.mean()) - moving,
        opponent=float(opponent.total.mean()),
        events=float(np.mean(layer.traffic.activation_reads)) if fed else 0.0,
        places=layer.footprint.activations * layer.steps if fed else 0,
        complete=not (spiking.unpriced or opponent.unpriced),
    )


def _even(name: str, cost: _Cost) -> BreakEven:
    rate = cost.events / cost.places if cost.places else 0.0
    factor = None
    if cost.complete and cost.moving > 0:
        factor = max(0.0, (cost.opponent - cost.fixed) / cost.moving)
    even = BreakEven(
        layer=name,
        rate=rate,
        factor=factor,
        break_even_rate=None if factor is None else factor * rate,
        spiking_uj=(cost.moving + cost.fixed) * _MICROJOULE,
        fixed_uj=cost.fixed * _MICROJOULE,
        opponent_uj=cost.opponent * _MICROJOULE,
        words="",
    )
    return even.model_copy(update={"words": turns(even) if name == WHOLE else turn_of_layer(even)})


_SIDES = {None: "the whole", Side.RECEIVER: "the receiver"}


def against(system: SystemReport, others: Sequence[SystemReport]) -> tuple[Against, ...]:
    """A spiking system against each conventional one: whole systems and receivers, in each column of both.

    Args:
        system: what is asked about; a conventional one has nothing to turn.
        others: all systems of the report.
    """
    if not system.spiking:
        return ()
    found = []
    for rival in others:
        if rival.spiking:
            continue
        found += _compared(None, system.energy, rival.label, rival.energy)
        mine, theirs = (one.sides.get(Side.RECEIVER, {}) for one in (system, rival))
        found += _compared(Side.RECEIVER, mine, rival.label, theirs)
    return tuple(found)


def _compared(
    side: Side | None, mine: Mapping[str, Energy], rival: str, theirs: Mapping[str, Energy]
) -> list[Against]:
    return [
        _turning(side, rival, column, mine[column], theirs[column]) for column in mine if column in theirs
    ]


def _turning(side: Side | None, rival: str, column: str, own: Energy, other: Energy) -> Against:
    fixed = own.mean_uj - own.with_rate_uj
    factor = None
    if own.with_rate_uj > 0 and not own.unpriced and not other.unpriced:
        factor = max(0.0, (other.mean_uj - fixed) / own.with_rate_uj)
    return Against(
        rival=rival,
        side=side,
        column=column,
        own_uj=own.mean_uj,
        fixed_uj=fixed,
        rival_uj=other.mean_uj,
        factor=factor,
        words=_words(side, rival, own, other, factor),
    )


def _words(side: Side | None, rival: str, own: Energy, other: Energy, factor: float | None) -> str:
    subject = f"{_SIDES[side]} of {rival}"
    lacking = dict.fromkeys((*own.unpriced, *other.unpriced))
    if lacking:
        kinds = ", ".join(KIND_NAMES[kind] for kind in lacking)
        return f"Not compared with {subject}: the profile has no price for {kinds}."
    now = f"{microjoules(own.mean_uj)} uJ against the {microjoules(other.mean_uj)} uJ of {subject}."
    if factor is None:
        return f"{now} Nothing fires: no break-even."
    if factor == 0:
        fixed = microjoules(own.mean_uj - own.with_rate_uj)
        return f"{now} It loses at any rate: {fixed} uJ do not depend on the events."
    if factor > 1:
        return f"{now} It would lose with more than {factor:.2f} times the events of now."
    return f"{now} It would win with less than {factor:.2f} times the events of now."

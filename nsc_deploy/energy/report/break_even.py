"""Where a system costs what another does: at how many events, or at which price of the radio.

The energy is a part that is proportional to the number of events (synaptic operations, the accesses they
make, spikes) and a part that is not (updates, biases, real-valued inputs). With all events scaled by one
factor s the spiking side costs s * moving + fixed, and as much as its opponent at
s = (opponent - fixed) / moving. The opponent does not change: the bit-matched ANN of the same layers, or a
rival system of the report as it was measured. The break-even rate is s times the rate now.

With a radio a whole system costs E + u p: E at its two ends, u channel uses at the price p of one. Two are
even at p = (E' - E) / (u - u'), and at a given price where u = (E' + u' p - E) / p.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from nsc_deploy.deployment import Side
from nsc_deploy.energy.counting.operations import LayerCount, PartCount, Pass
from nsc_deploy.energy.pricing.price import MEMORY, MICROJOULE, OPPONENT, LayerEnergy
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.numbers import KIND_NAMES, grouped, joules, microjoules, rate
from nsc_deploy.energy.report.statistics import Energy
from nsc_deploy.graphs.network import Signal
from nsc_deploy.io.records import Record

if TYPE_CHECKING:
    from nsc_deploy.energy.report.schema import SystemReport

Prices = Mapping[str, LayerEnergy]
_WHOLE = "whole"
_SUBJECTS = {None: "the whole", Side.RECEIVER: "the receiver"}


class BreakEven(Record):
    """The rate at which a spiking layer costs what the bit-matched ANN does, both with memory.

    `factor` and `break_even_rate` are None where a price is missing or no event arrives; 0 says that
    the spiking side costs more even in silence.
    """

    layer: str
    rate: float = Field(description="events an input and step")
    factor: float | None = Field(description="how many times the events of now it may take")
    break_even_rate: float | None = Field(description="events an input and step")
    spiking_uj: float
    fixed_uj: float = Field(description="of the spiking energy, what does not depend on the rate")
    opponent_uj: float
    words: str = Field(description="what would have to change for the other side to win")


class Against(Record):
    """A spiking system against a conventional one of the same report, in one accounting.

    `factor` is None where a price is missing or no event arrives; 0 says that the spiking side costs more
    even in silence.
    """

    rival: str
    side: Side | None = Field(description="None: whole systems")
    column: str
    own_uj: float
    fixed_uj: float = Field(description="of the own energy, what does not depend on the number of events")
    rival_uj: float
    factor: float | None = Field(description="how many times the events of now cost as much as the rival")
    words: str


class Spent(Record):
    """What a whole system takes for a sample in one accounting, with its radio."""

    device_uj: float = Field(description="all parts of the transmitter")
    radio_uj: float = Field(description="channel uses at the profile's price, both ends")
    server_uj: float = Field(description="all parts of the receiver")
    items_uj: float = Field(
        description="what stands in no column and is known: messages on a chip, addressing, static power"
    )
    channel_uses: int

    @property
    def ends_uj(self) -> float:
        """All of it but the radio."""
        return self.device_uj + self.server_uj + self.items_uj

    @property
    def whole_uj(self) -> float:
        """All of it."""
        return self.ends_uj + self.radio_uj


class RadioBreakEven(Record):
    """A system against another of the report as a whole, device, radio and server, in one accounting."""

    rival: str
    column: str
    own: Spent
    other: Spent
    price_j: float | None = Field(
        description="joules a channel use (a bit, of a channel that carries bits) at which both cost the "
        "same; None where they do at none, or a price is missing"
    )
    uses: float | None = Field(
        description="channel uses of this system, at the profile's price, at which both cost the same; None "
        "where it costs more even without any, a price is missing or the radio is free"
    )
    words: str


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
    rows = []
    for layer in part.layers:
        if not _takes_events(layer):
            continue
        cost = costs[layer.name]
        for name in layer.drives:
            cost = cost.plus(costs[name], 1 / drivers.count(name))
        rows.append(_even(layer.name, cost))
    return tuple(rows)


def whole_break_even(parts: Sequence[PartCount], prices: Sequence[Sequence[Prices]]) -> BreakEven | None:
    """For all layers of all parts, if any of them takes in events."""
    total = _Cost()
    for part, row in zip(parts, prices, strict=True):
        for layer, price in zip(part.layers, row, strict=True):
            total = total.plus(_cost(layer, price))
    return _even(_WHOLE, total) if total.places else None


def _takes_events(layer: LayerCount) -> bool:
    """Whether it has weights that events enter, and a conventional network a layer in its place."""
    conventional = layer.once is not None and layer.once != Pass()
    return conventional and layer.synapses > 0 and layer.arrives is not Signal.REAL


def _cost(layer: LayerCount, prices: Prices) -> _Cost:
    spiking, opponent = prices[MEMORY.name], prices[OPPONENT.name]
    moving = float(spiking.with_rate.mean()) if layer.once is not None else 0.0
    eventful = _takes_events(layer)
    return _Cost(
        moving=moving,
        fixed=float(spiking.total.mean()) - moving,
        opponent=float(opponent.total.mean()),
        events=float(np.mean(layer.traffic.activation_reads)) if eventful else 0.0,
        places=layer.footprint.activations * layer.steps if eventful else 0,
        complete=not (spiking.unpriced or opponent.unpriced),
    )


def _even(name: str, cost: _Cost) -> BreakEven:
    rate_now = cost.events / cost.places if cost.places else 0.0
    factor = None
    if cost.complete and cost.moving > 0:
        factor = max(0.0, (cost.opponent - cost.fixed) / cost.moving)
    even = BreakEven(
        layer=name,
        rate=rate_now,
        factor=factor,
        break_even_rate=None if factor is None else factor * rate_now,
        spiking_uj=(cost.moving + cost.fixed) * MICROJOULE,
        fixed_uj=cost.fixed * MICROJOULE,
        opponent_uj=cost.opponent * MICROJOULE,
        words="",
    )
    return even.model_copy(
        update={"words": _words_of_whole(even) if name == _WHOLE else words_of_layer(even)}
    )


def words_of_layer(even: BreakEven) -> str:
    """What would have to change for the other side to win at one layer, in a few words."""
    if even.factor is None:
        return "no break-even: a price is missing or nothing fires"
    if even.factor == 0:
        return f"loses at any rate: {microjoules(even.fixed_uj)} uJ are fixed"
    gains = "loses above" if even.factor > 1 else "wins below"
    return f"{gains} {rate(even.break_even_rate)} % ({even.factor:.2g} times the events)"


def _words_of_whole(even: BreakEven) -> str:
    """What would have to change for the other side to win, in one sentence."""
    now = f"At {rate(even.rate)} events per hundred inputs and steps the spiking network takes"
    spiking = f"{microjoules(even.spiking_uj)} uJ"
    if not even.opponent_uj:
        return f"{now} {spiking}. The profile has no price for the bit-matched ANN: no break-even."
    figures = f"{spiking}, the bit-matched ANN {microjoules(even.opponent_uj)} uJ."
    if even.factor is None:
        return f"{now} at least {figures} A price is missing or nothing fires: no break-even."
    if even.factor == 0:
        return (
            f"{now} {figures} It loses at any rate: {microjoules(even.fixed_uj)} uJ of it do not depend on "
            "the rate."
        )
    gains = "would lose above" if even.factor > 1 else "would win below"
    return f"{now} {figures} It {gains} {rate(even.break_even_rate)} ({even.factor:.2f} times as many)."


def against(system: "SystemReport", others: Sequence["SystemReport"]) -> tuple[Against, ...]:
    """A spiking system against each conventional one: whole systems and receivers, in each column of both.

    Args:
        system: what is asked about; a conventional one has nothing to turn.
        others: all systems of the report.
    """
    if not system.spiking:
        return ()
    mine = {None: system.energy, Side.RECEIVER: system.sides.get(Side.RECEIVER, {})}
    return tuple(
        _against(side, rival.label, column, own[column], theirs[column])
        for rival in others
        if not rival.spiking
        for side, own in mine.items()
        for theirs in [rival.energy if side is None else rival.sides.get(side, {})]
        for column in own
        if column in theirs
    )


def _against(side: Side | None, rival: str, column: str, own: Energy, other: Energy) -> Against:
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
        words=_words_against(f"{_SUBJECTS[side]} of {rival}", own, other, factor),
    )


def _words_against(subject: str, own: Energy, other: Energy, factor: float | None) -> str:
    if own.unpriced or other.unpriced:
        return _not_compared(subject, own, other)
    now = f"{microjoules(own.mean_uj)} uJ against the {microjoules(other.mean_uj)} uJ of {subject}."
    if factor is None:
        return f"{now} Nothing fires: no break-even."
    if factor == 0:
        fixed = microjoules(own.mean_uj - own.with_rate_uj)
        return f"{now} It loses at any rate: {fixed} uJ do not depend on the events."
    if factor > 1:
        return f"{now} It would lose with more than {factor:.2f} times the events of now."
    return f"{now} It would win with less than {factor:.2f} times the events of now."


def _not_compared(subject: str, own: Energy, other: Energy) -> str:
    kinds = ", ".join(KIND_NAMES[kind] for kind in dict.fromkeys((*own.unpriced, *other.unpriced)))
    return f"Not compared with {subject}: the profile has no price for {kinds}."


_CARRY_BITS = frozenset({"bsc", "bec"})


def radio_break_even(
    system: "SystemReport", others: Sequence["SystemReport"], columns: Sequence[str], profile: Profile
) -> tuple[RadioBreakEven, ...]:
    """A system with a channel against others whose channels carry the same, bits or symbols, in each column.

    Args:
        system: what is asked about.
        others: what it is held against.
        columns: the accountings.
        profile: nothing is said without a price of its radio.
    """
    if profile.radio is None:
        return ()
    price_pj = profile.radio.channel_use.picojoules
    return tuple(
        _over_radio(system, rival, column, price_pj)
        for rival in others
        if system.channel is not None
        and rival.channel is not None
        and (system.channel in _CARRY_BITS) == (rival.channel in _CARRY_BITS)
        for column in columns
        if column in system.energy and column in rival.energy
    )


def _over_radio(
    system: "SystemReport", rival: "SystemReport", column: str, price_pj: float
) -> RadioBreakEven:
    energy, others = system.energy[column], rival.energy[column]
    own, other = _spent(system, column), _spent(rival, column)
    unit = "bit" if system.channel in _CARRY_BITS else "channel use"
    price = uses = None
    if energy.unpriced or others.unpriced:
        words = _not_compared(rival.label, energy, others)
    else:
        gap, more = other.ends_uj - own.ends_uj, own.channel_uses - other.channel_uses
        if more and gap / more > 0:
            price = gap / more * 1e-6
        if price_pj and (room := other.whole_uj - own.ends_uj) >= 0:
            uses = room / (price_pj * MICROJOULE)
        words = " ".join(
            (
                f"{_of_ends(own)}, {_difference(own, other)} the {_of_ends(other)} of {rival.label}.",
                _words_of_price(gap, own.channel_uses, other.channel_uses, price, unit),
                _words_of_uses(own, uses, price_pj, unit),
            )
        ).strip()
    return RadioBreakEven(
        rival=rival.label, column=column, own=own, other=other, price_j=price, uses=uses, words=words
    )


def _spent(system: "SystemReport", column: str) -> Spent:
    device, server = (system.sides.get(side, {}).get(column) for side in (Side.TRANSMITTER, Side.RECEIVER))
    items = (system.network_uj, system.addressing_uj, system.static_uj)
    return Spent(
        device_uj=0.0 if device is None else device.mean_uj,
        radio_uj=system.radio_uj or 0.0,
        server_uj=0.0 if server is None else server.mean_uj,
        items_uj=sum(one for one in items if one is not None),
        channel_uses=system.channel_uses or 0,
    )


def _of_ends(spent: Spent) -> str:
    shares = {"device": spent.device_uj, "radio": spent.radio_uj, "server": spent.server_uj}
    shares |= {"other items": spent.items_uj} if spent.items_uj else {}
    named = ", ".join(f"{name} {microjoules(value)}" for name, value in shares.items())
    return f"{microjoules(spent.whole_uj)} uJ ({named})"


def _difference(own: Spent, other: Spent) -> str:
    less = other.whole_uj - own.whole_uj
    return f"{microjoules(abs(less))} uJ {'less' if less > 0 else 'more'} than" if less else "as much as"


def _words_of_price(gap: float, own: int, other: int, price: float | None, unit: str) -> str:
    """At which price of a channel use the one or the other is cheaper."""
    if price is not None:
        side = "below" if own > other else "above"
        return f"It is cheaper {side} {joules(price)} a {unit}, and dearer otherwise."
    if gap == 0 and own == other:
        return f"Both cost the same at any price of a {unit}."
    cheaper = gap > 0 or (gap == 0 and own < other)
    why = f"as both send {grouped(own)}" if own == other else f"with {grouped(own)} against {grouped(other)}"
    return f"It is {'cheaper' if cheaper else 'never cheaper,'} at any price of a {unit}, {why}."


def _words_of_uses(own: Spent, uses: float | None, price_pj: float, unit: str) -> str:
    """How many channel uses would turn it, at the profile's price."""
    if not price_pj:
        return ""
    at = f"At {joules(price_pj * 1e-12)} a {unit}"
    if uses is None:
        return f"{at} it would lose even without a {unit}."
    # Sums of energies are off by their last digits, and uses are whole.
    uses = round(uses) if math.isclose(uses, round(uses), rel_tol=1e-9) else uses
    loses = uses >= own.channel_uses
    turns = f"lose with more than {grouped(math.floor(uses))}" if loses else ""
    turns = turns or f"win with fewer than {grouped(math.ceil(uses))}"
    return f"{at} it would {turns} {unit}s, in place of {grouped(own.channel_uses)}."

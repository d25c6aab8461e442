"""From counts to picojoules, in several accountings of the same operations.

An accounting decides which operations are charged and at which price; a profile has the prices. What a
profile has no price for is reported as unpriced and never taken for free. An access to memory costs what
the smallest memory of the profile asks that holds what a layer keeps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.operations import Integers, Kind, LayerCount, Store
from nsc_deploy.energy.pricing.profile import Memory, Price, Profile
from nsc_deploy.graphs.network import Signal
from nsc_deploy.io.records import Record

Energies = NDArray[np.float64]
Charged = Kind | Store
CHARGED: tuple[Charged, ...] = (*Kind, *Store)
MICROJOULE = 1e-6
"""Of a picojoule: energies are priced in pJ and reported in uJ."""


@dataclass(frozen=True)
class Charge:
    """Operations of one kind, or accesses to one store, at one price.

    Attributes:
        kind: what is charged.
        numbers: how many, for each sample.
        price: of one; None where the profile has no figure.
        with_rate: whether their number is proportional to the number of events.
    """

    kind: Charged
    numbers: Integers
    price: Price | None
    with_rate: bool = False


class Column(Record):
    """An accounting, in words."""

    name: str
    title: str
    short: str
    meaning: str
    leaves_out: str


@dataclass(frozen=True)
class Accounting:
    """One column of the report.

    Attributes:
        column: what it is called, what it charges and what it leaves out; `short` has two lines.
        charges: the rule: a layer, the profile, and whether the layer belongs to a spiking system.
        spiking_only: whether the column says something of spiking systems alone.
    """

    column: Column
    charges: Callable[[LayerCount, Profile, bool], tuple[Charge, ...]]
    spiking_only: bool = False

    @property
    def name(self) -> str:
        """Short, for tables and JSON."""
        return self.column.name


@dataclass(frozen=True)
class LayerEnergy:
    """What one layer costs in one accounting, in pJ for each sample.

    Attributes:
        kinds: energy of each kind that is charged and priced, [samples].
        low: total at the low end of the prices, [samples].
        high: total at the high end, [samples].
        unpriced: kinds that are charged and occur, but have no price.
        with_rate: the share of the total that is proportional to the number of events, [samples].
    """

    kinds: Mapping[Charged, Energies]
    low: Energies
    high: Energies
    unpriced: tuple[Charged, ...]
    with_rate: Energies

    @property
    def total(self) -> Energies:
        """All priced kinds together, [samples]."""
        total: Energies = np.sum([np.zeros_like(self.low), *self.kinds.values()], axis=0)
        return total


def price_layer(layer: LayerCount, profile: Profile, accounting: Accounting, *, spiking: bool) -> LayerEnergy:
    """Price one layer.

    Args:
        layer: its counts.
        profile: the prices.
        accounting: which operations are charged, and as what.
        spiking: whether it belongs to a spiking system.
    """
    kinds: dict[Charged, Energies] = {}
    low = np.zeros(len(layer.per_sample.acs))
    high, with_rate = low.copy(), low.copy()
    unpriced: list[Charged] = []
    for charge in accounting.charges(layer, profile, spiking):
        if not charge.numbers.any():
            continue
        if charge.price is None:
            unpriced += [] if charge.kind in unpriced else [charge.kind]
            continue
        kinds.setdefault(charge.kind, np.zeros_like(low))
        kinds[charge.kind] += charge.numbers * charge.price.picojoules
        bottom, top = charge.price.bounds_picojoules
        low += charge.numbers * bottom
        high += charge.numbers * top
        if charge.with_rate:
            with_rate += charge.numbers * charge.price.picojoules
    return LayerEnergy(kinds, low, high, tuple(unpriced), with_rate)


def neuron_price(primitive: str, profile: Profile) -> Price | None:
    """The price of one update of one neuron.

    A profile of a chip has a figure. On a profile of arithmetic alone it is made up of the operations of
    the neuron's equation: v = beta * v + I is a product and an addition, v = v + I an addition; the
    comparison with the threshold has no published figure and is left out.
    """
    if profile.prices.neuron_update is not None:
        return profile.prices.neuron_update
    product, addition = profile.prices.product, profile.prices.addition
    if product is None or addition is None or primitive not in _NEURON_ARITHMETIC:
        return None
    products, additions = _NEURON_ARITHMETIC[primitive]
    note = f"{products} products and {additions} additions"
    return product.times(products).plus(addition.times(additions), note)


# Products and additions of one update: the leak and the input, for the current of a Cuba neuron too.
_NEURON_ARITHMETIC: dict[str, tuple[int, int]] = {
    "LIF": (1, 1),
    "LI": (1, 1),
    "CubaLIF": (2, 2),
    "CubaLI": (2, 2),
    "IF": (0, 1),
    "I": (0, 1),
    "Threshold": (0, 0),
}


def _paper(layer: LayerCount, profile: Profile, spiking: bool) -> tuple[Charge, ...]:
    if not profile.event_driven:
        return (_every_synapse(layer, profile),)
    if spiking:
        operations, price = layer.per_sample, profile.prices.ac
        graded = layer.arrives is Signal.GRADED
        return (
            Charge(Kind.AC, operations.acs, price, with_rate=True),
            Charge(Kind.AC, operations.macs, price, with_rate=graded),
        )
    return (_every_synapse(layer, profile),)


def compute_charges(layer: LayerCount, profile: Profile, spiking: bool) -> tuple[Charge, ...]:
    """Synaptic operations, elementwise operations, updates and spikes."""
    operations, prices = layer.per_sample, profile.prices
    if profile.event_driven:
        synapses: tuple[Charge, ...] = (
            Charge(Kind.AC, operations.acs, prices.ac, with_rate=True),
            Charge(Kind.MAC, operations.macs, prices.mac, with_rate=layer.arrives is Signal.GRADED),
        )
    else:
        synapses = (_every_synapse(layer, profile),)
    sent = Charge(Kind.SPIKE, operations.spikes, prices.spike, with_rate=True)
    spikes = (sent,) if prices.spike is not None else ()
    # A chip adds biases and joined inputs within the update that it has a price for.
    apart = prices.addition is not None or prices.neuron_update is None
    additions = (Charge(Kind.ADDITION, operations.additions, prices.addition),) if apart else ()
    return (
        *synapses,
        Charge(Kind.PRODUCT, operations.products, prices.product),
        *additions,
        Charge(Kind.NEURON_UPDATE, operations.neuron_updates, neuron_price(layer.primitive, profile)),
        *spikes,
    )


def _every_synapse(layer: LayerCount, profile: Profile) -> Charge:
    """Every synapse in each step at the price of a multiply-accumulate, whatever arrives."""
    return Charge(Kind.MAC, np.full_like(layer.per_sample.acs, layer.dense), profile.prices.mac)


PAPER = Accounting(
    Column(
        name="paper",
        title="Paper's accounting",
        short="\nPaper",
        meaning="Every synaptic operation of a spiking system at the price of an AC, whether events or real "
        "values arrive; every synapse of a conventional network, in every step, at the price of a "
        "MAC.",
        leaves_out="That real inputs of spiking systems need multiplications; neuron updates; elementwise "
        "operations; memory; network.",
    ),
    charges=_paper,
)
COMPUTE = Accounting(
    Column(
        name="compute",
        title="MAC-aware",
        short="MAC-\naware",
        meaning="ACs and MACs each at their own price, and elementwise products, additions and neuron "
        "updates (on a profile of arithmetic alone: the products and additions of the neuron's "
        "equation).",
        leaves_out="Memory; network; comparisons with a threshold; evaluations of functions such as ReLU.",
    ),
    charges=compute_charges,
)


def choose_memory(profile: Profile, values: int, bits: int) -> Memory | None:
    """The smallest memory that holds so many values; one without a size (DRAM) holds anything.

    Args:
        profile: has the memories.
        values: to be kept.
        bits: of a value.

    Returns:
        None where the profile has no memory that is large enough.
    """
    needed = -(-values * bits // 8)
    sized = [one for one in profile.memories if one.capacity_bytes is not None]
    for memory in sorted(sized, key=lambda one: one.capacity_bytes or 0):
        if (memory.capacity_bytes or 0) >= needed:
            return memory
    return next((one for one in profile.memories if one.capacity_bytes is None), None)


def access_price(profile: Profile, values: int, bits: int, value_bits: int | None = None) -> Price | None:
    """The price of reading or writing one value.

    The figure of a memory is for a word; a narrower value costs its share of it, as if the rest of the
    word were used too.

    Args:
        profile: has the memories.
        values: held beside it, which decides how large the memory is.
        bits: of each value held.
        value_bits: of the value moved, where it is narrower.
    """
    memory = choose_memory(profile, values, bits)
    if memory is None:
        return None
    return memory.access.times((value_bits or bits) / memory.word_bits, memory.name)

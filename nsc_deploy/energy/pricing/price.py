"""From counts to picojoules, in several accountings of the same operations.

An accounting decides which operations are charged and at which price; a profile has the prices. What a
profile has no price for is reported as unpriced and never taken for free. An access to memory costs what
the smallest memory of the profile asks that holds what a layer keeps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.deployment import Place
from nsc_deploy.energy.counting.operations import Integers, Kind, LayerCount, PartCount, Pass, Store
from nsc_deploy.energy.pricing.profile import Memory, Price, Profile
from nsc_deploy.graphs.network import Signal
from nsc_deploy.io.records import Record

Energies = NDArray[np.float64]
Charged = Kind | Store
CHARGED: tuple[Charged, ...] = (*Kind, *Store)
MICROJOULE = 1e-6
"""Of a picojoule: energies are priced in pJ and reported in uJ."""


@dataclass(frozen=True)
class PriceBook:
    """The prices of a system: parts on a host may have others than those on a chip.

    Attributes:
        profile: of every part, if no other is named for hosts.
        host: of the parts on a host; None where they are priced like the others.
    """

    profile: Profile
    host: Profile | None = None

    def of(self, part: PartCount) -> Profile:
        """The prices of a part."""
        return self.at(part.place)

    def at(self, place: Place | None) -> Profile:
        """The prices of what runs at a place."""
        return self.host if self.host is not None and place is Place.HOST else self.profile


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
    # A chip adds biases and joined inputs of neurons within the update that it has a price for.
    updated = bool(layer.drives) or bool(operations.neuron_updates.any())
    within = updated and prices.addition is None and prices.neuron_update is not None
    additions = () if within else (Charge(Kind.ADDITION, operations.additions, prices.addition),)
    return (
        *synapses,
        Charge(Kind.PRODUCT, operations.products, prices.product),
        *additions,
        Charge(Kind.NEURON_UPDATE, operations.neuron_updates, neuron_price(layer.primitive, profile)),
        *spikes,
        *_hidden(layer, profile),
    )


def _hidden(layer: LayerCount, profile: Profile) -> tuple[Charge, ...]:
    """Updates and spikes of neurons that are written out in operators, without a price.

    On a profile of arithmetic their products and additions are the update. One that prices updates as such
    cannot be charged for what nobody counted.
    """
    if not layer.decides:
        return ()
    prices, decisions = profile.prices, layer.per_sample.activations
    asked = ((Kind.NEURON_UPDATE, prices.neuron_update), (Kind.SPIKE, prices.spike))
    return tuple(Charge(kind, decisions, None) for kind, price in asked if price is not None)


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


def activation_bits(steps: int) -> int:
    """Bits that hold every spike count of so many steps, 0 to T: ceil(log2(T + 1)) (Yan et al. 2024)."""
    return ceil(log2(steps + 1))


def mac_price(profile: Profile, bits: int) -> Price | None:
    """A multiply-accumulate of a weight at the profile's width and a value of fewer bits.

    A multiplier of m by n bits adds up n partial products of m bits, so the multiplication is charged
    its share n / m of the full one and the addition in full. Horowitz (ISSCC 2014) bears it out: his
    int32 multiplication has 16 times the product of widths of the int8 one and costs 15.5 times as much.
    A profile that does not price product and addition apart, or names no width, has one price for all.
    """
    product = product_price(profile, bits)
    addition = profile.prices.addition
    if profile.operand_bits is None or product is None or addition is None:
        return profile.prices.mac
    return product.plus(addition, f"{profile.operand_bits} x {bits} bits")


def product_price(profile: Profile, bits: int) -> Price | None:
    """A multiplication by a value of fewer bits than the profile's operands."""
    product = profile.prices.product
    if product is None or profile.operand_bits is None:
        return product
    return product.times(min(1.0, bits / profile.operand_bits), f"by {bits} bits")


def _with_memory(layer: LayerCount, profile: Profile, spiking: bool) -> tuple[Charge, ...]:
    return (*compute_charges(layer, profile, spiking), *_traffic(layer, profile))


def _traffic(layer: LayerCount, profile: Profile) -> tuple[Charge, ...]:
    if profile.memory_included:
        return ()
    moved, synaptic = layer.traffic, layer.per_sample.synaptic
    eventful = layer.arrives is not Signal.REAL and layer.synapses > 0
    per_event = synaptic if eventful else np.zeros_like(synaptic)
    weights, states, activations = (_store_price(layer, profile, store) for store in Store)
    if not profile.event_driven:
        # Every weight is read in every step, beside the biases, and the sums stay in a register.
        dense = moved.weight_reads + (layer.dense - synaptic if layer.synapses else 0)
        return (
            Charge(Store.WEIGHTS, dense, weights),
            Charge(Store.STATES, moved.state_reads + moved.state_writes - 2 * per_event, states),
            Charge(Store.ACTIVATIONS, moved.activation_reads + moved.activation_writes, activations),
        )
    carried = layer.per_sample.spikes + (moved.activation_reads if eventful else 0)
    return (
        *_split(Store.WEIGHTS, moved.weight_reads, np.minimum(per_event, moved.weight_reads), weights),
        *_split(Store.STATES, moved.state_reads + moved.state_writes, 2 * per_event, states),
        *_split(Store.ACTIVATIONS, moved.activation_reads + moved.activation_writes, carried, activations),
    )


def _split(store: Store, accesses: Integers, moving: Integers, price: Price | None) -> tuple[Charge, Charge]:
    """Accesses that grow with the number of events, and the rest."""
    moving = np.minimum(moving, accesses)
    return Charge(store, moving, price, with_rate=True), Charge(store, accesses - moving, price)


def _store_price(layer: LayerCount, profile: Profile, store: Store) -> Price | None:
    if profile.operand_bits is None:
        return None
    held = layer.footprint.of(store) or layer.neurons
    return access_price(profile, held, profile.operand_bits)


def _opponent(layer: LayerCount, profile: Profile, spiking: bool) -> tuple[Charge, ...]:
    if layer.once is None:
        return _with_memory(layer, profile, spiking)
    one = layer.once
    bits = activation_bits(layer.steps if one.steps is None else one.steps)
    if profile.operand_bits is not None:
        bits = min(bits, profile.operand_bits)
    charges = (
        _same(layer, Kind.MAC, one.macs, mac_price(profile, bits)),
        _same(layer, Kind.PRODUCT, one.products, product_price(profile, bits)),
        _same(layer, Kind.ADDITION, one.additions, profile.prices.addition),
    )
    return charges if profile.memory_included else (*charges, *_opponent_traffic(layer, one, profile, bits))


def _opponent_traffic(layer: LayerCount, one: Pass, profile: Profile, bits: int) -> tuple[Charge, ...]:
    values = one.activation_reads + one.activation_writes
    held = layer.footprint.activations or layer.neurons
    activations = access_price(profile, held, bits) if profile.operand_bits else None
    weights = one.macs + (one.additions if layer.synapses else 0)
    return (
        _same(layer, Store.WEIGHTS, weights, _store_price(layer, profile, Store.WEIGHTS)),
        _same(layer, Store.ACTIVATIONS, values, activations),
    )


def _same(layer: LayerCount, kind: Kind | Store, number: int, price: Price | None) -> Charge:
    """As many for every sample."""
    return Charge(kind, np.full_like(layer.per_sample.acs, number), price)


MEMORY = Accounting(
    Column(
        name="memory",
        title="With memory",
        short="With\nmem.",
        meaning="MAC-aware, and each read and write of a weight, a state and an activation at the figure of "
        "the smallest memory of the profile that holds what the layer keeps of it (in the manner of "
        "Lemaire et al. 2022). A profile whose prices hold the memory already is charged "
        "nothing more.",
        leaves_out="Addresses, indices and control; reuse of a value in registers; words fetched and not "
        "used; network; leakage.",
    ),
    charges=_with_memory,
)
OPPONENT = Accounting(
    Column(
        name="ann",
        title="Bit-matched ANN",
        short="Bit-m.\nANN",
        meaning="With memory, for a conventional network of the same layer sizes that passes once over "
        "values of ceil(log2(T + 1)) bits, as many as tell the spike counts of T steps apart (after "
        "Yan et al. 2024), with weights at the profile's width. Every existing synapse costs a MAC, "
        "whose multiplication is charged bits / width of the full one. ONNX operators of the system "
        "stay as they are.",
        leaves_out="Whether such a network would do the task: `train --system qnn` tells. Zeros it could "
        "skip; its functions.",
    ),
    charges=_opponent,
    spiking_only=True,
)
ACCOUNTINGS: tuple[Accounting, ...] = (PAPER, COMPUTE, MEMORY, OPPONENT)

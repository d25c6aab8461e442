"""The columns that reach beyond arithmetic: with memory, and the conventional network to be beaten."""

from math import ceil, log2

import numpy as np

from nsc_deploy.energy.counting.operations import Integers, Kind, LayerCount, Pass, Store
from nsc_deploy.energy.pricing.price import (
    COMPUTE,
    PAPER,
    Accounting,
    Charge,
    Column,
    access_price,
    compute_charges,
)
from nsc_deploy.energy.pricing.profile import Price, Profile
from nsc_deploy.graphs.network import Signal


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
        # Every weight is read in every step, and the sums stay in a register.
        dense = np.maximum(moved.weight_reads, layer.dense)
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
    bits, one = activation_bits(layer.steps), layer.once
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
        leaves_out="Whether such a network would do the task: nobody trained it. Zeros it could skip; its "
        "functions.",
    ),
    charges=_opponent,
    spiking_only=True,
)
ACCOUNTINGS: tuple[Accounting, ...] = (PAPER, COMPUTE, MEMORY, OPPONENT)

from dataclasses import replace

import numpy as np
import pytest

from nsc_deploy.energy.counting.operations import Footprint, Kind, LayerCount, Operations, Traffic
from nsc_deploy.energy.pricing.price import COMPUTE, PAPER, neuron_price, price_layer
from nsc_deploy.energy.pricing.profile import load_profile
from nsc_deploy.graphs.network import Signal

CMOS = load_profile("horowitz-45nm")


def made(primitive: str = "Linear", dense: int = 0, **kinds: int) -> LayerCount:
    operations = Operations(**{kind.value: np.array([kinds.get(kind.value, 0)]) for kind in Kind})
    nothing = Traffic.zeros(1), Footprint(), 1
    return LayerCount("layer", primitive, Signal.EVENTS, 0, 0, dense, operations, *nothing)


def total(layer: LayerCount, accounting=COMPUTE, profile=CMOS, *, spiking: bool = True) -> float:
    return float(price_layer(layer, profile, accounting, spiking=spiking).total[0])


def test_the_paper_prices_real_inputs_of_spiking_systems_as_additions() -> None:
    layer = made(acs=100, macs=10, dense=1000)
    assert total(layer, PAPER) == pytest.approx(110 * 0.9)
    assert total(layer, PAPER, spiking=False) == pytest.approx(1000 * 4.6)
    assert total(layer, COMPUTE) == pytest.approx(100 * 0.9 + 10 * 4.6)


def test_elementwise_operations_and_updates_are_in_the_second_column_only() -> None:
    layer = made("LIF", products=2, additions=3, neuron_updates=5, spikes=7, activations=9)
    assert total(layer, PAPER) == 0
    assert total(layer) == pytest.approx(2 * 3.7 + 3 * 0.9 + 5 * 4.6)


@pytest.mark.parametrize(
    ("primitive", "price"), [("LIF", 4.6), ("IF", 0.9), ("Threshold", 0), ("CubaLIF", 9.2)]
)
def test_a_neuron_costs_the_arithmetic_of_its_equation(primitive: str, price: float) -> None:
    found = neuron_price(primitive, CMOS)
    assert found is not None
    assert found.picojoules == pytest.approx(price)


def test_a_chip_prices_updates_and_spikes_and_has_no_price_for_a_multiplication() -> None:
    layer = made("LIF", acs=10, macs=4, neuron_updates=3, spikes=2, additions=5)
    energy = price_layer(layer, load_profile("loihi"), COMPUTE, spiking=True)
    assert energy.total[0] == pytest.approx(10 * 35.5 + 3 * 72.8 + 2 * 69.3)
    assert energy.unpriced == (Kind.MAC,)
    assert energy.low[0] == pytest.approx(10 * 24.0 + 3 * 72.8 + 2 * 69.3)


def test_additions_are_part_of_an_update_only_where_neurons_are_updated() -> None:
    loihi = load_profile("loihi")
    biases = made("Affine", additions=5)
    for layer, unpriced in (
        (made("SumPool2d", additions=5), (Kind.ADDITION,)),
        (biases, (Kind.ADDITION,)),
        (replace(biases, drives=("lif",)), ()),
        (made("LIF", additions=5, neuron_updates=3), ()),
    ):
        assert price_layer(layer, loihi, COMPUTE, spiking=True).unpriced == unpriced


def test_a_device_without_events_pays_for_every_synapse_in_both_columns() -> None:
    layer = made(acs=10, dense=1000)
    cpu = load_profile("cpu-i7-4960x")
    assert total(layer, PAPER, cpu) == total(layer, COMPUTE, cpu) == pytest.approx(1000 * 8600)


def test_nothing_unpriced_is_reported_where_nothing_happens() -> None:
    assert price_layer(made(acs=1), load_profile("odin"), COMPUTE, spiking=True).unpriced == ()


def test_neurons_written_out_in_operators_are_a_lower_bound_where_updates_have_a_price() -> None:
    layer = replace(made("Greater", activations=9), decides=True)
    assert price_layer(layer, CMOS, COMPUTE, spiking=True).unpriced == ()
    for profile, kinds in (
        ("loihi", (Kind.NEURON_UPDATE, Kind.SPIKE)),
        ("spinnaker2", (Kind.NEURON_UPDATE,)),
    ):
        assert price_layer(layer, load_profile(profile), COMPUTE, spiking=True).unpriced == kinds
        assert price_layer(layer, load_profile(profile), PAPER, spiking=True).unpriced == ()
    assert (
        price_layer(made("Relu", activations=9), load_profile("loihi"), COMPUTE, spiking=True).unpriced == ()
    )

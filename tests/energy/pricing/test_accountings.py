import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsc_deploy.energy import estimate
from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.counting.operations import PartCount, Store
from nsc_deploy.energy.pricing.price import (
    MEMORY,
    OPPONENT,
    access_price,
    activation_bits,
    choose_memory,
    mac_price,
    price_layer,
)
from nsc_deploy.energy.pricing.profile import load_profile
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import dense_run, event_run

CMOS = load_profile("horowitz-45nm")
STEPS, INPUTS, NEURONS = 7, 4, 3
VALUE = 32 / 64  # of a word of the memories


def counted(rate_steps: int, signal: Signal = Signal.EVENTS, inputs: int = INPUTS) -> PartCount:
    """Four inputs that all fire in the first so many of seven steps, and three neurons that never do."""
    builder = GraphBuilder(0.01)
    builder.input(inputs, signal)
    builder.affine("dense", np.full((NEURONS, inputs), 0.01), np.full(NEURONS, 0.01))
    builder.lif("neurons", 0.5, 100.0, NEURONS)
    builder.output(NEURONS)
    values = np.zeros((STEPS, 1, inputs), dtype=np.float32)
    values[:rate_steps] = 1
    return count_network(assemble(builder.build()), Recording(values, signal, 0.01), name="graph")


def energy(part: PartCount, accounting) -> float:
    layers = (price_layer(layer, CMOS, accounting, spiking=True) for layer in part.layers)
    return float(sum(layer.total[0] for layer in layers))


def test_a_small_spiking_layer_by_hand() -> None:
    synops, updates, biases = 2 * INPUTS * NEURONS, STEPS * NEURONS, STEPS * NEURONS
    compute = synops * 0.9 + updates * (3.7 + 0.9) + biases * 0.9
    accesses = (synops + biases) + 2 * synops + 2 * updates + 2 * INPUTS
    assert energy(counted(2), MEMORY) == pytest.approx(compute + accesses * 10 * VALUE)


def test_real_inputs_are_summed_in_a_register() -> None:
    synops, updates, biases = STEPS * INPUTS * NEURONS, STEPS * NEURONS, STEPS * NEURONS
    compute = synops * 4.6 + updates * (3.7 + 0.9) + biases * 0.9
    accesses = (synops + biases) + 2 * updates + STEPS * INPUTS
    assert energy(counted(2, Signal.REAL), MEMORY) == pytest.approx(compute + accesses * 10 * VALUE)


def test_what_works_through_every_synapse_reads_weights_and_biases_whatever_arrives() -> None:
    processor = CMOS.model_copy(update={"event_driven": False})
    for steps in (0, 2, 7):
        priced = price_layer(counted(steps).layers[0], processor, MEMORY, spiking=True)
        reads = STEPS * (INPUTS * NEURONS + NEURONS)
        assert priced.kinds[Store.WEIGHTS][0] == pytest.approx(reads * 10 * VALUE)


def test_the_opponent_passes_once_with_few_bits_whatever_the_rate() -> None:
    bits = 3  # 0 to 7 spikes in seven steps
    compute = INPUTS * NEURONS * (3.7 * bits / 32 + 0.9) + NEURONS * 0.9
    weights = (INPUTS * NEURONS + NEURONS) * 10 * VALUE
    values = (INPUTS + NEURONS) * 10 * bits / 64
    for steps in (0, 2, 7):
        assert energy(counted(steps), OPPONENT) == pytest.approx(compute + weights + values)


@pytest.mark.parametrize(
    ("steps", "bits"), [(1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4), (30, 5), (31, 5)]
)
def test_bits_tell_all_spike_counts_apart(steps: int, bits: int) -> None:
    assert activation_bits(steps) == bits


def test_a_narrow_multiplication_costs_its_partial_products() -> None:
    narrow, full = mac_price(CMOS, 8), mac_price(CMOS, 32)
    assert narrow is not None
    assert full is not None
    assert narrow.picojoules == pytest.approx(3.7 / 4 + 0.9)
    assert full.picojoules == pytest.approx(4.6)
    assert mac_price(load_profile("loihi"), 4) is None
    # The rule against its source: int8 by int8 from int32 by int32, both widths divided by four.
    wide, small = load_profile("horowitz-45nm-int32").prices, load_profile("horowitz-45nm-int8").prices
    assert wide.product is not None
    assert small.product is not None
    assert wide.product.picojoules / 16 == pytest.approx(small.product.picojoules, rel=0.05)


@given(st.integers(1, 10**7))
def test_the_memory_is_the_smallest_that_holds_everything(values: int) -> None:
    memory = choose_memory(CMOS, values, 32)
    assert memory is not None
    sizes = sorted(one.capacity_bytes for one in CMOS.memories if one.capacity_bytes)
    fits = [size for size in sizes if size >= 4 * values]
    assert memory.capacity_bytes == (fits[0] if fits else None)


def test_a_profile_without_a_memory_that_is_large_enough_has_no_price() -> None:
    small = CMOS.model_copy(update={"memories": CMOS.memories[:1]})
    assert access_price(small, 2048, 32) is not None
    assert access_price(small, 2049, 32) is None
    priced = price_layer(counted(1).layers[0], CMOS.model_copy(update={"memories": ()}), MEMORY, spiking=True)
    assert set(priced.unpriced) == set(Store)


def test_at_the_break_even_rate_both_sides_cost_the_same(tmp_path) -> None:
    """Scaled by its factor, the moving share makes the spiking energy that of the opponent."""
    system = estimate([event_run(tmp_path)]).report.systems[0]
    rows = [*(even for part in system.parts for even in part.break_even), system.break_even]
    assert len(rows) > 3
    for even in rows:
        assert even is not None
        assert even.factor is not None
        moving = even.spiking_uj - even.fixed_uj
        if even.factor > 0:
            assert even.fixed_uj + even.factor * moving == pytest.approx(even.opponent_uj)
            assert even.break_even_rate == pytest.approx(even.factor * even.rate)
        else:
            assert even.fixed_uj >= even.opponent_uj


def test_the_break_even_rate_does_not_depend_on_the_rate_it_was_found_at() -> None:
    from nsc_deploy.energy.report.break_even import whole_break_even

    found = []
    for steps in (1, 3, 7):
        part = counted(steps, inputs=40)  # of fewer the updates of the neurons alone cost more than the ANN
        prices = [
            {one.name: price_layer(layer, CMOS, one, spiking=True) for one in (MEMORY, OPPONENT)}
            for layer in part.layers
        ]
        even = whole_break_even([part], [prices])
        assert even is not None
        assert even.rate == pytest.approx(steps / STEPS)
        assert even.factor
        found.append((even.fixed_uj, even.break_even_rate))
    assert found[1:] == [pytest.approx(found[0])] * 2


def test_conventional_systems_and_chips_without_multiplication(tmp_path) -> None:
    dense = estimate([dense_run(tmp_path / "fc")]).report.systems[0]
    assert "ann" not in dense.energy
    assert dense.break_even is None
    loihi = estimate([event_run(tmp_path / "event")], profile="loihi").report.systems[0]
    assert loihi.energy["memory"] == loihi.energy["compute"]
    assert loihi.break_even is not None
    assert loihi.break_even.factor is None
    assert "no price for the bit-matched ANN" in loihi.break_even.words

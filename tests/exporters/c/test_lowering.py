"""From Lava's layers to a program: the same spikes, without relays, and convolutions as kernels."""

from functools import partial

import numpy as np
import pytest

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.c.emulator import emulate
from nsc_deploy.exporters.c.lowering import behind_convolutions, lower_to_program, program_of
from nsc_deploy.exporters.c.program import validate
from nsc_deploy.exporters.lava.arithmetic import output_spikes, run_network
from nsc_deploy.exporters.lava.integers import Role
from nsc_deploy.exporters.lava.lowering.pipeline import lower
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.simulate import simulate
from tests.support.c_graphs import random_c_graph
from tests.support.exact_lava_graphs import random_cyclic_graph, random_image_graph
from tests.support.lava import receiver


@pytest.mark.parametrize(
    "make", [random_cyclic_graph, random_image_graph, partial(random_c_graph, lava=True)]
)
def test_a_program_computes_the_spikes_of_the_integers_it_was_made_of(make) -> None:
    fired = 0
    for seed in range(12):
        network = assemble(make(seed))
        lowering = lower(network, bits=(8, 4, 2)[seed % 3], alike=behind_convolutions(network))
        folded = next((step.graph for step in reversed(lowering.steps) if step.graph is not None), network)
        program = program_of(lowering.network, folded)
        validate(program)
        events = (np.random.default_rng(seed).random((14, 3, program.inputs)) < 0.4).astype(np.uint8)
        expected = output_spikes(lowering.network, events)
        trace = emulate(program, events, record=True)
        np.testing.assert_array_equal(trace.output, expected)
        for layer, integers in zip(
            lowering.network.layers, run_network(lowering.network, events), strict=True
        ):
            for group in layer.groups:
                if group.role is Role.NEURON:
                    spikes = trace.populations[group.node].spikes
                    np.testing.assert_array_equal(spikes, integers.spikes[..., group.rows])
        assert {one.name for one in program.populations} <= {node.name for node in network.nodes}
        fired += int(expected.sum())
    assert fired


def test_relays_and_delay_lines_become_delays_of_connections() -> None:
    program = lower_to_program(assemble(receiver())).program
    read = {(one.source, one.delay) for _, one in program.connections()}
    assert any(delay > 0 for _, delay in read)
    assert {source for source, _ in read} <= {program.input, *(one.name for one in program.populations)}


def test_a_convolution_keeps_its_kernel_and_a_pooling_becomes_part_of_it() -> None:
    found = [
        connection.kernel
        for seed in range(15)
        for make in (random_image_graph, random_c_graph)
        for _, connection in lower_to_program(assemble(make(seed))).program.connections()
        if connection.kernel is not None
    ]
    assert len(found) > 5
    assert any(kernel.groups > 1 for kernel in found)
    assert any(axis.stride > 1 for kernel in found for axis in kernel.axes)


def test_weights_are_half_of_lava_s() -> None:
    build = GraphBuilder(0.001)
    build.input(2, Signal.EVENTS)
    build.linear("w", [[1.0, -0.5]])
    build.threshold("out", 0.6, 1)
    build.output(1)
    network = assemble(build.build())
    lava = lower(network).network.layers[0]
    (population,) = lower_to_program(network).program.populations
    np.testing.assert_array_equal(population.connections[0].weight.dense() * 2, lava.weight.dense())
    assert population.shift == lava.weight_exp + 7
    np.testing.assert_array_equal(population.threshold, lava.vth << 6)


def test_a_range_that_cannot_be_proven_is_refused_before_anything_is_written() -> None:
    build = GraphBuilder(0.01)
    build.input(2, Signal.EVENTS)
    build.affine("w", np.ones((2, 2)), np.ones(2))
    for number in range(5):
        build.delay(f"d{number}", 63, 2)
    build.threshold("n", 1.5, 2)
    build.output(2)
    with pytest.raises(ExportError, match=r"(?s)population 'n'.*too late.*shorter delays"):
        lower_to_program(assemble(build.build()))


def test_delays_in_a_row_that_no_synapse_can_do_are_those_of_c() -> None:
    build = GraphBuilder(0.01)
    build.input(2, Signal.EVENTS)
    build.delay("one", 40, 2)
    build.delay("two", 40, 2)
    build.threshold("n", 0.5, 2)
    build.output(2)
    network = assemble(build.build())
    events = (np.random.default_rng(0).random((100, 3, 2)) < 0.4).astype(np.uint8)
    expected = simulate(network, events).output
    assert expected[80:].any()
    np.testing.assert_array_equal(emulate(lower_to_program(network).program, events).output, expected)

"""C code in its integers, counted spike by spike and synapse by synapse a second time."""

import nir
import numpy as np
import pytest

from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.counting.operations import Kind
from nsc_deploy.energy.counting.program import count_program
from nsc_deploy.exporters.c.emulator import emulate, entering
from nsc_deploy.exporters.c.events import EventCode
from nsc_deploy.exporters.c.layout import lay_out
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.passes.partition import joined
from tests.support.c_graphs import DT, random_c_graph, random_events
from tests.support.small_runs import event_run, reals

STEPS, SAMPLES = 7, 5


@pytest.mark.parametrize("seed", range(6))
def test_every_event_at_every_synapse_counts_once(seed: int) -> None:
    network = assemble(random_c_graph(seed))
    program = lower_to_program(network).program
    events = random_events(seed, STEPS, SAMPLES, network)
    outputs = []
    found = count_program(
        EventCode(lay_out(program, "net"), network),
        Recording(events, Signal.EVENTS, DT),
        name="net",
        batch=2,
        observe=lambda _samples, output: outputs.append(output),
    )
    trace = emulate(program, entering(program, events), record=True)
    spikes = {name: one.spikes for name, one in trace.populations.items()}
    spikes[program.input] = entering(program, events)
    for layer, population in zip(found.layers, program.populations, strict=True):
        met = np.zeros((STEPS, SAMPLES), np.int64)
        for connection in population.connections:
            weight = connection.weight.dense()
            for step in range(connection.delay, STEPS):
                for line in range(weight.shape[1]):
                    there = spikes[connection.source][step - connection.delay, :, line] != 0
                    met[step] += there * np.count_nonzero(weight[:, line])
        np.testing.assert_array_equal(layer.synops, met)
        np.testing.assert_array_equal(layer.per_sample.of(Kind.AC), met.sum(axis=0))
        np.testing.assert_array_equal(
            layer.per_sample.of(Kind.SPIKE), spikes[population.name].sum(axis=(0, 2))
        )
        assert (layer.per_step.of(Kind.NEURON_UPDATE) == population.size * SAMPLES).all()
        added = [
            np.count_nonzero(population.bias)
            + sum(np.count_nonzero(one.value) for one in population.constants if one.start <= step)
            for step in range(STEPS)
        ]
        assert layer.per_step.of(Kind.ADDITION).tolist() == [SAMPLES * one for one in added]
        assert layer.per_sample.of(Kind.ADDITION).tolist() == [sum(added)] * SAMPLES
    assert found.synops is not None
    assert found.synops.any()
    if not program.gives_values:
        np.testing.assert_array_equal(np.concatenate(outputs, axis=1), trace.output)


def test_comparators_multiply_and_add_nothing(tmp_path) -> None:
    run = event_run(tmp_path / "run")
    network = joined(read_network(run / "receiver-front-end.nir"), read_network(run / "receiver.nir"))
    program = lower_to_program(network).program
    front = program.front_end
    assert front is not None
    samples = reals(16)
    found = count_program(EventCode(lay_out(program, "net"), network), samples, name="net")
    first = found.layers[0]
    assert (first.name, first.neurons) == (front.name, front.lines)
    assert not first.per_sample.of(Kind.AC).any()
    fired = front.events(entering(program, samples.values)).sum(axis=(0, 2))
    np.testing.assert_array_equal(first.per_sample.of(Kind.SPIKE), fired)
    assert fired.any()


def test_a_convolution_is_kept_once_and_held_against_a_conventional_one() -> None:
    """Weights, and the one pass of the opponent, are those of the float graph, however the code adds up."""
    build = GraphBuilder(dt=DT)
    build.input((1, 5, 5), Signal.EVENTS)
    weight = (np.arange(1, 19, dtype=np.float32) / 20).reshape(2, 1, 3, 3)
    build.add("conv", nir.Conv2d((5, 5), weight, 1, 1, 1, 1, np.array([0.3, 0.2], np.float32)))
    build.lif("neurons", 0.5, 4.0, (2, 5, 5))
    build.output((2, 5, 5), classes=2, group=25)
    network = assemble(build.build())
    recording = Recording(random_events(0, STEPS, SAMPLES, network), Signal.EVENTS, DT)
    code = EventCode(lay_out(lower_to_program(network).program, "net"), network)
    (layer,) = count_program(code, recording, name="net").layers
    floats = {one.name: one for one in count_network(network, recording, name="net").layers}
    assert layer.footprint.weights == floats["conv"].footprint.weights == 18 + 2
    assert layer.synapses == floats["conv"].synapses
    once, conv = layer.once, floats["conv"].once
    assert once is not None and conv is not None
    assert (once.macs, once.activation_reads) == (conv.macs, conv.activation_reads)
    assert (once.additions, once.activation_writes) == (conv.additions, 50)

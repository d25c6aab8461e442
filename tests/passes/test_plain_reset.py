"""The pass that writes resets by subtraction out: no spike differs where it says so, bit for bit."""

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.passes.base import run_passes
from nsc_deploy.passes.plain_reset import PlainResets
from tests.support.naive_simulator import Naive

STEPS, SAMPLES = 16, 3


def layers(seed, dt, *, feedback=False, gain=1.0, signal=Signal.EVENTS):
    """Two layers of IF neurons behind weights on a grid, the first a convolution."""
    chance = np.random.default_rng(seed)

    def grid(*shape):
        return (chance.integers(-40, 41, shape) / 32).astype(np.float32)

    build = GraphBuilder(dt, Reset.SUBTRACT)
    build.input((2, 3, 3), signal)
    build.add(
        "conv",
        nir.Conv2d(
            input_shape=(3, 3),
            weight=grid(2, 2, 3, 3),
            stride=1,
            padding=1,
            dilation=1,
            groups=1,
            bias=grid(2),
        ),
    )
    shape = (2, 3, 3)
    thresholds = chance.choice([0.5, 0.75, 1.0, 1.25], shape)
    build.add("if1", nir.IF(r=np.full(shape, gain / dt), v_threshold=thresholds, v_reset=np.zeros(shape)))
    build.add("flat", nir.Flatten(input_type={"input": np.array(shape)}, start_dim=0, end_dim=-1))
    build.affine("dense", grid(5, 18), grid(5))
    build.integrate_and_fire("if2", 1.0, 5)
    if feedback:
        build.linear("back", grid(5, 5), after="if2")
        build.connect("back", "if2")
    build.output(5, after="if2")
    return build.build()


def inputs(seed):
    return (np.random.default_rng(seed).random((STEPS, SAMPLES, 2, 3, 3)) < 0.4).astype(np.float32)


# A step whose inverse is not a float32: a resistance rounded to float32 would make a gain of 0.99999994.
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 0.1, 0.25, 7e-5]), st.booleans())
def test_no_spike_and_no_potential_differs(seed, dt, feedback):
    network = assemble(layers(seed, dt, feedback=feedback))
    done = run_passes(network, [PlainResets()])
    plain, values = done.graph, inputs(seed)
    assert done.steps[0].exact
    assert plain.reset is None
    assert not {node.primitive for node in plain.nodes} & {"IF", "LIF", "CubaLIF"}
    names = ["if1", "if2"]
    expected = simulate(network, values, record=names, potentials=names)
    got = simulate(plain, values, record=[*names, "if1_potential", "if2_potential"])
    for name in names:
        np.testing.assert_array_equal(got.outputs[name], expected.outputs[name])
        np.testing.assert_array_equal(got.outputs[f"{name}_potential"], expected.potentials[name])


@pytest.mark.parametrize("feedback", [False, True])
def test_neurons_of_these_networks_fire(feedback):
    """Not all do: biases may hold every neuron of the last layer down."""
    networks = [assemble(layers(seed, 1e-3, feedback=feedback)) for seed in range(8)]
    fired = [simulate(one, inputs(seed)).output.any() for seed, one in enumerate(networks)]
    assert sum(fired) > 4


def test_a_file_of_it_says_all_that_a_reader_needs(tmp_path):
    network = assemble(layers(3, 1e-3))
    plain = run_passes(network, [PlainResets()]).graph
    write_network(tmp_path / "plain.nir", plain)
    raw = nir.read(tmp_path / "plain.nir")
    assert "reset" not in raw.metadata
    assert {type(node).__name__ for node in raw.nodes.values()} == {
        "Input", "Output", "Conv2d", "Flatten", "Affine", "I", "Threshold", "Scale",
    }  # fmt: skip
    values = inputs(3)
    again = simulate(read_network(tmp_path / "plain.nir"), values).output
    np.testing.assert_array_equal(again, simulate(network, values).output)
    # An independent reader, told nothing but the step and that loops are a step late.
    late = {("if1_reset", "if1_potential"), ("if2_reset", "if2_potential")}
    for sample in range(SAMPLES):
        naive = Naive(raw, values[:, sample], 1e-3, None, late)
        np.testing.assert_array_equal(naive.run("output"), again[:, sample])


@pytest.mark.parametrize(("gain", "signal"), [(0.3, Signal.EVENTS), (1.0, Signal.REAL)])
def test_where_values_round_the_note_says_so_and_spikes_all_but_agree(gain, signal):
    network = assemble(layers(5, 1e-3, gain=gain, signal=signal))
    done = run_passes(network, [PlainResets()])
    (step,) = done.steps
    assert {note.node: note.exact for note in step.notes} == {"if1": False, "if2": True}
    values = inputs(5) if signal is Signal.EVENTS else np.random.default_rng(5).normal(size=(16, 3, 2, 3, 3))
    one, two = (
        simulate(net, values.astype(np.float32), record=["if1"]).outputs["if1"]
        for net in (network, done.graph)
    )
    assert one.any()
    assert (one != two).mean() < 0.01


def test_the_steps_for_which_it_is_exact_are_a_bound():
    """A neuron whose potential grows by its bound in every step: exact to the step that the note states."""
    build = GraphBuilder(0.25, Reset.SUBTRACT)
    build.input(1, Signal.EVENTS)
    build.linear("weight", [[2.0**20 + 2.0**-1]])
    build.integrate_and_fire("if", 2.0**-1, 1)
    build.output(1)
    network = assemble(build.build())
    done = run_passes(network, [PlainResets()])
    (note,) = done.steps[0].notes
    assert note.exact
    assert "for 7 steps" in note.text
    values = np.ones((7, 1, 1), np.float32)
    expected = simulate(network, values, potentials=["if"]).potentials["if"]
    np.testing.assert_array_equal(
        simulate(done.graph, values, record=["if_potential"]).outputs["if_potential"], expected
    )


def test_graphs_without_such_resets_stay_and_leaky_neurons_keep_theirs():
    build = GraphBuilder(0.25, Reset.ZERO)
    build.input(2, Signal.EVENTS)
    build.integrate_and_fire("if", 1.0, 2)
    build.output(2)
    network = assemble(build.build())
    assert run_passes(network, [PlainResets()]).graph is network

    build = GraphBuilder(0.25, Reset.SUBTRACT)
    build.input(2, Signal.EVENTS)
    build.integrate_and_fire("if", 1.0, 2)
    build.lif("lif", 0.5, 1.0, 2)
    build.output(2)
    done = run_passes(assemble(build.build()), [PlainResets()])
    assert done.graph.reset is Reset.SUBTRACT
    assert [node.primitive for node in done.graph.nodes] == [
        "Input",
        "I",
        "Threshold",
        "Scale",
        "LIF",
        "Output",
    ]
    assert any(note.kind == "kept" and note.node == "lif" for note in done.steps[0].notes)
    once = run_passes(done.graph, [PlainResets()])
    assert [node.name for node in once.graph.nodes] == [node.name for node in done.graph.nodes]

"""Resets by subtraction: neurons of our own process, whether an IF states them or nodes write them out."""

from dataclasses import replace

import nir
import numpy as np
import pytest

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.lava.arithmetic import output_spikes, run_network
from nsc_deploy.exporters.lava.deployment import read_lava_deployment
from nsc_deploy.exporters.lava.lowering.pipeline import lower
from nsc_deploy.exporters.lava.lowering.soft_resets import potentials_leave, soft_resets
from nsc_deploy.exporters.lava.netx import obstacle
from nsc_deploy.exporters.lava.rules import OWN_PROCESS, verdicts
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.models.features.codecs import LastNeuron
from nsc_deploy.passes.plain_reset import PlainResets
from nsc_deploy.passes.verdict import Status
from tests.support.feature_systems import system, write_run

INPUTS, NEURONS, STEPS = 6, 5, 40
EVENTS = (np.random.default_rng(3).random((STEPS, 4, INPUTS)) < 0.4).astype(np.uint8)
WEIGHT = np.random.default_rng(1).integers(-40, 90, (NEURONS, INPUTS)) / 64


def stated(reset=Reset.SUBTRACT):
    build = GraphBuilder(1e-3, reset)
    build.input(INPUTS, Signal.EVENTS)
    build.affine("w", WEIGHT, np.full(NEURONS, 3 / 64))
    build.integrate_and_fire("n", 1.0, (NEURONS,))
    build.output(NEURONS)
    return assemble(build.build())


def written_out(after="n", *, scale=-1.0, gain=1.0):
    build = GraphBuilder(1e-3)
    build.input(INPUTS, Signal.EVENTS)
    build.affine("w", WEIGHT, np.full(NEURONS, 3 / 64))
    build.add("v", nir.I(r=np.full(NEURONS, gain / 1e-3)))
    build.threshold("n", 1.0, (NEURONS,))
    build.add("back", nir.Scale(np.full(NEURONS, scale, np.float32)))
    build.connect("back", "v")
    build.output(NEURONS, after=after)
    return assemble(build.build())


def mixed(*, cycle=False, memory=True):
    """Neurons that reset to zero (or forget at once) beside ones that subtract, and neurons behind both."""
    build = GraphBuilder(1e-3)
    build.input(INPUTS, Signal.EVENTS)
    build.affine("wa", WEIGHT, np.full(NEURONS, 3 / 64))
    neurons = build.integrate_and_fire if memory else build.threshold
    a = neurons("a", 1.0, (NEURONS,))
    build.affine("wb", WEIGHT[::-1], np.zeros(NEURONS), after="input")
    build.add("v", nir.I(r=np.full(NEURONS, 1 / 1e-3)))
    b = build.threshold("b", 1.0, (NEURONS,))
    build.add("back", nir.Scale(-np.ones(NEURONS, np.float32)))
    build.connect("back", "v")
    build.add("of_a", nir.Linear(np.eye(NEURONS, dtype=np.float32)), after=a)
    build.integrate_and_fire("c", 1.0, (NEURONS,))
    build.add("of_b", nir.Linear(np.eye(NEURONS, dtype=np.float32) / 2), after=b)
    build.connect("of_b", "c")
    for start, end in (("a", "v"), ("b", "a")) if cycle else ():
        build.add(f"to_{end}", nir.Linear(np.eye(NEURONS, dtype=np.float32) / 4), after=start)
        build.delay(f"late_{end}", 1, NEURONS)
        build.connect(f"late_{end}", end)
    build.output(NEURONS, after="c")
    return assemble(build.build())


def last(network):
    found = lower(network, inputs=EVENTS).network
    return found, run_network(found, EVENTS)[-1]


@pytest.mark.parametrize("make", [stated, written_out, lambda: PlainResets().rewrite(stated()).graph])
def test_neurons_that_subtract_fire_as_in_the_graph(make):
    network = make()
    integers, trace = last(network)
    assert integers.layers[-1].subtracts
    assert not integers.graded
    expected = simulate(network, EVENTS).output
    assert expected.mean() > 0.1
    assert np.array_equal(trace.spikes, expected)  # weights on a grid of 8 bits: nothing is rounded
    assert not np.array_equal(trace.spikes, simulate(stated(Reset.ZERO), EVENTS).output)


@pytest.mark.parametrize("memory", [True, False])
def test_neurons_that_reset_to_zero_do_so_beside_ones_that_subtract(memory):
    network = mixed(memory=memory)
    integers = lower(network).network
    spikes = output_spikes(integers, EVENTS)
    expected = simulate(network, EVENTS).output
    assert 0.02 < expected.mean() < 0.98
    np.testing.assert_array_equal(spikes, expected)
    # Neurons without memory may share the layer of those that subtract; others take one of their own.
    assert len(integers.layers) == (3 if memory else 2)


def test_two_resets_in_one_cycle_are_refused():
    with pytest.raises(ExportError, match="resets by subtraction in a cycle with 'a'"):
        lower(mixed(cycle=True))


def test_what_is_left_of_a_potential_is_what_the_threshold_leaves():
    _, trace = last(stated())
    _, to_zero = last(stated(Reset.ZERO))
    assert (to_zero.potential[to_zero.spikes == 1] == 0).all()
    assert (trace.potential[trace.spikes == 1] > 0).any()


def test_potentials_of_written_out_neurons_can_be_the_output():
    network = written_out("v")
    assert potentials_leave(network).threshold == "n"
    assert lower(network, inputs=EVENTS).network.graded
    assert potentials_leave(written_out()) is None


@pytest.mark.parametrize("make", [lambda: written_out(scale=-0.5), lambda: written_out(gain=2.0)])
def test_a_loop_that_does_something_else_is_no_such_neuron(make):
    network = make()
    assert soft_resets(network) == {}
    refused = {one.node for one in verdicts(network) if one.status is Status.REFUSED}
    assert "v" in refused


def test_check_says_whose_process_it_is():
    told = {one.node: one for one in verdicts(stated())}
    assert (told["n"].status, told["n"].reason) == (Status.SUBSTITUTED, OWN_PROCESS)
    assert told["w"].status is Status.NATIVE
    assert "ours" not in {one.node: one for one in verdicts(stated(Reset.ZERO))}["n"].reason
    told = {one.node: one for one in verdicts(written_out("v"))}
    assert Status.REFUSED not in {one.status for one in told.values()}
    assert told["n"].reason == OWN_PROCESS
    assert "second port" in told["output"].reason


def test_netx_has_no_such_neurons():
    assert "subtraction" in obstacle(lower(stated()).network)


def test_a_decoder_comes_as_trained_with_its_potentials(tmp_path):
    run = write_run(tmp_path / "run", system(steps=4), 6)
    lines = []
    (folder,) = export_all(
        run, "lava", tmp_path / "out", part="receiver", describe=lambda *line: lines.append(line[1])
    )
    deployment = read_lava_deployment(folder)
    manifest = deployment.manifest
    assert manifest.graded
    assert [layer.process for layer in manifest.layers] == ["SubtractiveLIF"] * 2
    assert (folder / manifest.own_process).read_text().count("class SubtractiveLIF") == 1
    assert any("a process of ours" in line for line in lines)
    recording = read_recording(run / "receiver.npz")
    got = deployment.opened().runners["twin"](RunSettings(layers=False)).run(recording.values).output
    wanted = simulate(deployment.graph(), recording.values).output
    assert got.shape == wanted.shape
    # Eight bits of a weight: most potentials lie close, and few neurons fire otherwise.
    assert np.quantile(np.abs(got - wanted), 0.9) < 0.05
    assert ((got > 1) != (wanted > 1)).mean() < 0.02


def test_folders_of_stock_neurons_say_so(tmp_path):
    run = write_run(tmp_path / "run", system(steps=4, reset=Reset.ZERO, last=LastNeuron.IF), 6)
    (folder,) = export_all(run, "lava", tmp_path / "out", part="receiver")
    manifest = read_lava_deployment(folder).manifest
    assert manifest.own_process is None
    assert {layer.process for layer in manifest.layers} == {"LIFReset"}
    assert not (folder / "subtractive_lif.py").exists()


def test_a_changed_process_is_noticed(tmp_path):
    run = write_run(tmp_path / "run", system(steps=4), 6)
    (folder,) = export_all(run, "lava", tmp_path / "out", part="receiver")
    process = folder / "subtractive_lif.py"
    process.write_text(process.read_text() + "\n# changed\n")
    with pytest.raises(Exception, match="subtractive_lif"):
        read_lava_deployment(folder)


def test_a_layer_keeps_its_kind_in_its_file(tmp_path):
    from nsc_deploy.exporters.lava.integers import read_integers, write_integers

    for network in (written_out("v"), stated(), stated(Reset.ZERO)):
        integers = lower(network).network
        write_integers(tmp_path / "n.npz", integers)
        read = read_integers(tmp_path / "n.npz", tuple(layer.groups for layer in integers.layers))
        assert read.graded == integers.graded
        assert [one.subtracts for one in read.layers] == [one.subtracts for one in integers.layers]
        assert replace(read, layers=()) == replace(integers, layers=())

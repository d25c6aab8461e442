"""`nsc-deploy check --target lava`: a verdict on each node, and a way out of each refusal."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nir
import numpy as np
import pytest

from nsc_deploy.errors import ConfigError, ExportError
from nsc_deploy.exporters.base import Status, Target, raise_first_refusal
from nsc_deploy.exporters.lava.lowering.pipeline import lower
from nsc_deploy.exporters.lava.rules import verdicts
from nsc_deploy.exporters.registry import load_target, target_names
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.network import Reset, Signal
from tests.support.lava import receiver

ONE = np.ones(1)


def starting(signal: Signal = Signal.EVENTS, reset: Reset = Reset.ZERO) -> GraphBuilder:
    build = GraphBuilder(0.001, reset)
    build.input(1, signal)
    build.linear("w", [[1.0]])
    return build


def ending(build: GraphBuilder) -> nir.NIRGraph:
    build.output(1)
    return build.build()


def lif(build: GraphBuilder, **changes: np.ndarray) -> nir.NIRGraph:
    values = {"tau": 0.01 * ONE, "r": 10 * ONE, "v_leak": 0 * ONE, "v_threshold": ONE, "v_reset": 0 * ONE}
    build.add("n", nir.LIF(**(values | changes)))
    return ending(build)


def recurrent(*, bias: float = 0.0) -> nir.NIRGraph:
    build = starting()
    build.lif("n", 0.9, 1.0, 1)
    build.affine("back", [[0.5]], [bias])
    build.connect("back", "n")
    build.output(1, after="n")
    return build.build()


def two_in_a_cycle(steps: int = 0, v_leak: float = 0.0) -> nir.NIRGraph:
    """n drives m at once, m drives n one step later, or as many as named."""
    build = starting()
    build.lif("n", 0.9, 1.0, 1)
    build.linear("forth", [[0.5]])
    build.add("m", nir.LIF(tau=0.01 * ONE, r=10 * ONE, v_leak=v_leak * ONE, v_threshold=ONE))
    build.linear("back", [[0.5]])
    if steps:
        build.delay("wait", steps, 1)
    build.connect("wait" if steps else "back", "n")
    build.output(1, after="m")
    return build.build()


def cycle_of_wires() -> nir.NIRGraph:
    build = starting()
    build.delay("n", 1, 1)
    build.linear("back", [[0.5]])
    build.connect("back", "n")
    build.threshold("t", 0.5, 1, after="n")
    build.output(1)
    return build.build()


def large_convolution() -> nir.NIRGraph:
    build = GraphBuilder(0.001)
    build.input((2, 256, 256), Signal.EVENTS)
    build.add("n", nir.Conv2d((256, 256), np.ones((32, 2, 3, 3)), 1, "same", 1, 1, np.zeros(32)))
    build.threshold("t", 0.5, (32, 256, 256))
    build.output((32, 256, 256))
    return build.build()


def integrator() -> nir.NIRGraph:
    build = starting()
    build.add("n", nir.LI(tau=0.01 * ONE, r=10 * ONE, v_leak=0 * ONE))
    return ending(build)


def long_delay() -> nir.NIRGraph:
    build = GraphBuilder(0.001)
    build.input(1, Signal.EVENTS)
    build.delay("n", 63, 1)
    build.threshold("t", 0.5, 1)
    return ending(build)


def biased_current(*wires: nir.NIRNode) -> nir.NIRGraph:
    build = GraphBuilder(0.001)
    build.input(1, Signal.EVENTS)
    build.affine("w", [[1.0]], [0.5])
    for index, wire in enumerate(wires):
        build.add(f"wire{index}", wire)
    build.add(
        "n",
        nir.CubaLIF(tau_syn=0.01 * ONE, tau_mem=0.01 * ONE, r=ONE, v_leak=0 * ONE, v_threshold=ONE),
    )
    return ending(build)


def delayed_bias() -> nir.NIRGraph:
    build = GraphBuilder(0.001)
    build.input(1, Signal.EVENTS)
    build.affine("w", [[1.0]], [0.5])
    build.delay("n", 1, 1)
    build.threshold("t", 0.5, 1)
    return ending(build)


def cycle_of_wires_beside_a_neuron() -> nir.NIRGraph:
    """A Delay and weights drive each other, and both lie in a cycle with a neuron too."""
    build = starting()
    build.delay("n", 1, 1)
    build.linear("back", [[0.5]])
    build.connect("back", "n")
    build.threshold("t", 0.5, 1, after="back")
    build.delay("wait", 1, 1)
    build.connect("wait", "n")
    build.output(1, after="t")
    return build.build()


def spikes_late_by_element(*steps: list[int]) -> nir.NIRGraph:
    build = GraphBuilder(0.001)
    build.input(2, Signal.EVENTS)
    build.threshold("t", 0.5, 2)
    for index, one in enumerate(steps):
        build.delay(f"d{index}", np.array(one), 2)
    build.output(2)
    return build.build()


def summed_spikes() -> nir.NIRGraph:
    build = starting()
    for name in ("one", "two"):
        build.threshold(name, 0.5, 1, after="w")
    build.output(1, after=["one", "two"])
    return build.build()


REFUSED: dict[str, tuple[Callable[[], nir.NIRGraph], str, str]] = {
    "reset elsewhere": (lambda: lif(starting(), v_reset=0.1 * ONE), "n", "other than zero"),
    "threshold below zero": (lambda: lif(starting(), v_threshold=-ONE), "n", "below zero"),
    "decay rounds to none": (lambda: lif(starting(), tau=100 * ONE), "n", "1/8192"),
    "real input": (lambda: lif(starting(Signal.REAL)), "input", "takes in real values"),
    "cycle with too few steps": (
        two_in_a_cycle,
        "m",
        "1 step of delay, and Loihi takes one for each of its 2",
    ),
    "bias late by a cycle": (lambda: two_in_a_cycle(2, v_leak=0.1), "m", "1 step late"),
    "bias through a cycle": (lambda: recurrent(bias=0.5), "n", "bias of 'back' through a cycle"),
    "cycle of wires": (cycle_of_wires, "n", "without a spiking neuron"),
    "large convolution": (large_convolution, "n", "37,748,736 synapses"),
    "integrator": (integrator, "n", "sends nothing"),
    "real output": (lambda: ending(starting()), "output", "not spikes"),
    "long delay": (long_delay, "n", "63 steps"),
    "bias through a synapse": (biased_current, "n", "through its synapse"),
    "bias through wires and a synapse": (
        lambda: biased_current(nir.Scale(ONE), nir.Linear(np.ones((1, 1)))),
        "n",
        "through its synapse",
    ),
    "delayed bias": (delayed_bias, "n", "delays the bias of 'w'"),
    "sum of spikes": (summed_spikes, "output", "outputs of 2 nodes"),
    "cycle of wires beside a neuron": (cycle_of_wires_beside_a_neuron, "n", "(n, back)"),
    "spikes late by element": (
        lambda: spikes_late_by_element([1, 2]),
        "output",
        "different numbers of steps",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_node_reason_and_way_out(case: str) -> None:
    make, node, reason = REFUSED[case]
    network = assemble(make())
    refused = {one.node: one for one in verdicts(network) if one.status is Status.REFUSED}
    assert reason in refused[node].reason
    assert refused[node].hint
    with pytest.raises(ExportError) as caught:
        raise_first_refusal(verdicts(network))
    assert caught.value.hint


@pytest.mark.parametrize("make", [recurrent, lambda: two_in_a_cycle(2), lambda: two_in_a_cycle(9)])
def test_cycles_with_enough_steps_are_taken(make: Callable[[], nir.NIRGraph]) -> None:
    network = assemble(make())
    assert Status.REFUSED not in {one.status for one in verdicts(network)}
    assert any(layer.recurrent is not None for layer in lower(network).network.layers)


def test_delays_that_make_up_for_each_other_are_taken() -> None:
    network = assemble(spikes_late_by_element([1, 2], [2, 1]))
    assert Status.REFUSED not in {one.status for one in verdicts(network)}
    assert lower(network).network.layers[-1].max_delay == 3


def test_convolutions_and_pools_are_taken() -> None:
    build = GraphBuilder(0.001)
    build.input((1, 4, 4), Signal.EVENTS)
    build.add("conv", nir.Conv2d((4, 4), np.ones((1, 1, 3, 3)), 1, "same", 1, 1, np.zeros(1)))
    build.add("pool", nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])))
    build.lif("n", 0.5, 1.0, (1, 2, 2))
    build.output((1, 2, 2))
    status = {one.node: one.status for one in verdicts(assemble(build.build()))}
    assert status["conv"] is status["pool"] is Status.SUBSTITUTED
    assert status["n"] is Status.NATIVE


def test_the_receiver_is_taken() -> None:
    status = {one.node: one.status for one in verdicts(assemble(receiver()))}
    assert status["gate"] is Status.SUBSTITUTED
    assert status["delay1"] is Status.SUBSTITUTED
    assert status["lif1"] is Status.NATIVE
    assert Status.REFUSED not in status.values()


def test_targets_are_found_by_name() -> None:
    assert "lava" in target_names()
    assert isinstance(load_target("lava"), Target)
    with pytest.raises(ConfigError, match="unknown target 'loihi9'"):
        load_target("loihi9")


def nsc(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from nsc_deploy.cli.app import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_exit_codes_and_json(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.nir", tmp_path / "bad.nir"
    write_network(good, receiver())
    write_network(bad, integrator())
    fits = nsc("check", good, "--target", "lava")
    assert fits.returncode == 0, fits.stderr
    assert "fits lava" in fits.stdout
    refused = nsc("check", bad, "--target", "lava", "--json")
    assert refused.returncode == 1
    answer = json.loads(refused.stdout)
    assert not answer["accepted"]
    assert {node["node"]: node["status"] for node in answer["nodes"]}["n"] == "refused"
    unknown = nsc("check", good, "--target", "nowhere")
    assert unknown.returncode == 2
    assert "Known targets: c, lava" in unknown.stderr
    assert "Traceback" not in unknown.stderr

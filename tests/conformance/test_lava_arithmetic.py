"""The integer arithmetic against the real Lava: spikes, currents and potentials of every layer and step."""

import subprocess
from dataclasses import replace

import numpy as np
import pytest

from nsc_deploy.exporters.lava.arithmetic import output_spikes, run_network
from nsc_deploy.exporters.lava.environment import require_environment
from nsc_deploy.exporters.lava.integers import IntegerLayer, IntegerNetwork, Role
from nsc_deploy.exporters.lava.lowering.pipeline import lower
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.exporters.lava.worker import WORKER, run_in_lava
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.simulate import simulate
from tests.support.lava import int32, random_events, random_layer, receiver

pytestmark = [pytest.mark.lava, pytest.mark.usefixtures("lava_environment")]


def assert_equal_everywhere(network: IntegerNetwork, events: np.ndarray) -> None:
    lava = run_in_lava(network, events, probe=True)
    for index, (ours, theirs) in enumerate(zip(run_network(network, events), lava.layers, strict=True)):
        np.testing.assert_array_equal(ours.spikes, theirs.spikes, err_msg=f"spikes of layer {index}")
        np.testing.assert_array_equal(ours.current, theirs.current, err_msg=f"u of layer {index}")
        np.testing.assert_array_equal(ours.potential, theirs.potential, err_msg=f"v of layer {index}")


@pytest.mark.parametrize("seed", range(3))
def test_random_chains_with_delays_behind_input_and_behind_neurons(seed: int) -> None:
    chance = np.random.default_rng(seed)
    network = IntegerNetwork(
        (
            random_layer(chance, 14, 10, delay=3 * (seed % 2)),
            random_layer(chance, 12, 14, delay=2),
            random_layer(chance, 9, 12, sign=(1, -1, 0)[seed]),
            random_layer(chance, 7, 9, delay=1),
        ),
        dt=1e-3,
    )
    events = random_events(chance, 11, 3, 10, rate=0.3)
    spikes = [trace.spikes.mean() for trace in run_network(network, events)]
    assert min(spikes[:3]) > 0.01, "a silent layer would prove nothing"
    assert_equal_everywhere(network, events)


def test_edges_of_the_number_ranges() -> None:
    """A current that wraps, a potential that saturates on either side, equality, truncation toward zero."""
    rows = [
        # weight of 12 equal inputs, du, dv, vth, bias, bias_exp
        (254, 0, 0, 131071, 0, 6),  # u wraps upwards, v saturates
        (-254, 0, 0, 10, 0, 6),  # u wraps downwards
        (-254, 4095, 0, 10, -4095, 7),  # v saturates below
        (2, 4095, 4096, 24 << 7, 0, 6),  # 12 inputs of 2: exactly the threshold, no spike
        (2, 4095, 4096, (24 << 7) - 1, 0, 6),  # one more: a spike
        (2, 4095, 3, 131071, 0, 6),  # decays truncate
        (-2, 5, 7, 131071, 0, 6),  # the same below zero
        (0, 4095, 100, 0, 0, 6),  # threshold 0 and nothing comes: no spike
        (0, 4095, 100, 0, 1, 0),  # the smallest bias is enough
        (0, 0, 0, 131071, 4095, 7),  # bias alone to saturation
    ]
    weight, du, dv, vth, bias, bias_exp = (int32(column) for column in zip(*rows, strict=True))
    layer = IntegerLayer(
        weight=Matrix.of(int32(np.repeat(weight[:, None], 12, axis=1))),
        delay=int32(np.zeros(len(rows))),
        du=du,
        dv=dv,
        vth=vth,
        bias=bias,
        bias_exp=bias_exp,
        weight_exp=7,
    )
    events = np.ones((30, 1, 12), np.uint8)
    events[[4, 9, 10, 20], 0] = 0
    network = IntegerNetwork((layer,), 1e-3)
    (trace,) = run_network(network, events)
    assert (np.diff(trace.current[:, 0, 0].astype(int)) < -(2**22)).any(), "the current should wrap"
    assert trace.potential[:, 0, 2].min() == -(2**23 - 1), "the potential should saturate below"
    assert not trace.spikes[:, 0, 3].any()
    assert trace.spikes[:, 0, 4].any()
    assert_equal_everywhere(network, events)


def test_a_branchy_receiver_in_lava_is_the_integer_network() -> None:
    """Six layers, relays and delay lines, many samples end to end: spike for spike."""
    network = assemble(receiver())
    integers = lower(network).network
    roles = {group.role for layer in integers.layers for group in layer.groups}
    assert roles == {Role.NEURON, Role.RELAY, Role.DELAY}
    events = random_events(np.random.default_rng(5), 20, 12, 24)
    lava = run_in_lava(integers, events)
    assert lava.spikes.sum() > 100
    np.testing.assert_array_equal(lava.spikes, output_spikes(integers, events))
    reference = simulate(network, events).output
    assert (lava.spikes == reference).mean() > 0.995


def test_a_sample_does_not_depend_on_its_neighbours() -> None:
    """The same sample first and last, with full and with empty ones between."""
    integers = lower(assemble(receiver(seed=2))).network
    chance = np.random.default_rng(3)
    events = random_events(chance, 9, 5, 24)
    events[:, 1] = 1
    events[:, 2] = 0
    events[:, 4] = events[:, 0]
    spikes = run_in_lava(integers, events).spikes
    assert spikes.any()
    np.testing.assert_array_equal(spikes[:, 0], spikes[:, 4])


@pytest.mark.parametrize("seed", range(2))
def test_neurons_that_subtract_are_those_of_our_process(seed: int) -> None:
    """Beside stock ones, with decays, delays, biases and samples end to end."""
    chance = np.random.default_rng(seed)
    layers = [
        random_layer(chance, 14, 10),
        random_layer(chance, 12, 14, delay=2 * seed),
        random_layer(chance, 9, 12),
    ]
    kinds = ([True, False, True], [False, True, True])[seed]
    chain = tuple(replace(layer, subtracts=kind) for layer, kind in zip(layers, kinds, strict=True))
    network = IntegerNetwork(chain, dt=1e-3)
    events = random_events(chance, 11, 3, 10, rate=0.3)
    stock = IntegerNetwork(tuple(layers), dt=1e-3)
    assert not np.array_equal(output_spikes(network, events), output_spikes(stock, events))
    assert_equal_everywhere(network, events)


_READ_THE_PORT = """
import sys; sys.path.insert(0, sys.argv[1])
import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import Dense
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from subtractive_lif import SubtractiveLIF

source = Source(data=np.ones((1, 8), np.int32))
synapse = Dense(weights=np.array([[30], [-20]]))
neurons = SubtractiveLIF(shape=(2,), du=4095, dv=0, vth=70, reset_interval=100, reset_offset=1)
spikes, potentials = (Sink(shape=(2,), buffer=8) for _ in range(2))
source.s_out.connect(synapse.s_in); synapse.a_out.connect(neurons.a_in)
neurons.s_out.connect(spikes.a_in); neurons.v_out.connect(potentials.a_in)
source.run(condition=RunSteps(num_steps=8), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
print((spikes.data.get()).astype(int).tolist(), (potentials.data.get() / 64).tolist())
source.stop()
"""


def test_the_second_port_of_our_process_sends_what_is_left_of_the_potential() -> None:
    """In stock Lava, with nothing of ours but the file that a deployment folder holds."""
    command = [str(require_environment().python), "-I", "-c", _READ_THE_PORT, str(WORKER.parent)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    # The source sends from the first step on, the connection a step later: 30 each, 70 taken off above 70.
    assert told.strip() == (
        "[[0, 0, 0, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0]] "
        "[[0.0, 30.0, 60.0, 20.0, 50.0, 10.0, 40.0, 70.0], "
        "[0.0, -20.0, -40.0, -60.0, -80.0, -100.0, -120.0, -140.0]]"
    )

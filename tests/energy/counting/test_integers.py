"""The integers of a deployment, counted spike by spike and synapse by synapse a second time."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from nsc_deploy.energy.counting.integers import count_integers
from nsc_deploy.errors import DataError
from nsc_deploy.exporters.lava.arithmetic import output_spikes
from nsc_deploy.exporters.lava.integers import Group, IntegerLayer, IntegerNetwork, Role
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from tests.support.lava import int32, random_layer

STEPS, SAMPLES, INPUTS = 9, 5, 6


def chain(seed: int) -> IntegerNetwork:
    """Three layers: two nodes side by side, a relay beside one that drives itself, delayed outputs."""
    chance = np.random.default_rng(seed)
    sizes, layers = [INPUTS, 7, 6, 4], []
    for index in range(3):
        layer = random_layer(chance, sizes[index + 1], sizes[index], delay=3 * (index == 2))
        half = layer.neurons // 2
        role = Role.RELAY if index == 1 else Role.NEURON
        groups = (
            Group(f"left{index}", Role.NEURON, 0, half, 1.0),
            Group(f"right{index}", role, half, layer.neurons - half, 1.0),
        )
        own = int32(chance.integers(-2, 3, (layer.neurons, layer.neurons)) * 2)
        layers.append(replace(layer, groups=groups, recurrent=Matrix.of(own) if index == 1 else None))
    return IntegerNetwork(tuple(layers), 0.01)


def recorded(seed: int) -> Recording:
    events = np.random.default_rng(seed).random((STEPS, SAMPLES, INPUTS)) < 0.4
    return Recording(events.astype(np.uint8), Signal.EVENTS, 0.01)


def fired_by(layer: IntegerLayer, arriving: NDArray[np.int64]) -> NDArray[np.int64]:
    """Spikes [T, neurons] of one layer by the equations of Lava's LIF, one neuron at a time."""
    weight = layer.weight.dense().astype(np.int64)
    own = None if layer.recurrent is None else layer.recurrent.dense().astype(np.int64)
    spikes = np.zeros((len(arriving), layer.neurons), np.int64)
    u, v = (np.zeros(layer.neurons, np.int64) for _ in range(2))
    for step in range(len(arriving)):
        for row in range(layer.neurons):
            before = step - int(layer.delay[row])
            a = int(weight[row] @ arriving[before]) if before >= 0 else 0
            if own is not None and step > 0:
                a += int(own[row] @ spikes[step - 1])
            kept = abs(int(u[row])) * (4096 - (int(layer.du[row]) + 1)) >> 12
            new = int(np.sign(u[row])) * kept + ((a << layer.weight_exp) << 6)
            u[row] = (new + 2**23) % 2**24 - 2**23
            kept = abs(int(v[row])) * (4096 - int(layer.dv[row])) >> 12
            bias = int(layer.bias[row]) << int(layer.bias_exp[row])
            potential = int(np.sign(v[row])) * kept + int(u[row]) + bias
            v[row] = min(max(potential, -(2**23) + 1), 2**23 - 1)
            if v[row] > int(layer.vth[row]) << 6:
                spikes[step, row], v[row] = 1, 0
    return spikes


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_a_count_spike_by_spike(seed: int) -> None:
    network, recording = chain(seed), recorded(seed)
    part = count_integers(network, recording, name="chip", batch=2)
    steps = STEPS + network.latency
    assert (part.steps, part.samples, part.spiking) == (steps, SAMPLES, True)
    by_name = {layer.name: layer for layer in part.layers}
    assert set(by_name) == {
        *("left0", "right0", "left1", "right1 (relay in layer 1)", "left2", "right2"),
    }
    for sample in range(SAMPLES):
        arriving = recording.values[:, sample].astype(np.int64)
        for index, layer in enumerate(network.layers):
            fired = fired_by(layer, arriving)
            for group in layer.groups:
                counted = next(one for name, one in by_name.items() if name.split()[0] == group.node)
                # Layer i meets a sample i + 1 steps late, and its own spikes one step after it fired them.
                expected, read = np.zeros(steps, np.int64), 0
                for source, spikes, late in ((layer.weight, arriving, 0), (layer.recurrent, fired[:-1], 1)):
                    exists = np.zeros((1, 1)) if source is None else source.dense()[group.rows] != 0
                    for step, line in np.argwhere(spikes) if source is not None else ():
                        expected[index + 1 + step + late] += int(exists[:, line].sum())
                        read += bool(exists[:, line].any())
                assert counted.synops is not None
                assert counted.synops[:, sample].tolist() == expected.tolist()
                assert counted.per_sample.acs[sample] == expected.sum()
                assert counted.per_sample.spikes[sample] == fired[:, group.rows].sum()
                assert counted.per_sample.neuron_updates[sample] == STEPS * group.size
                assert counted.traffic.activation_reads[sample] == read
            arriving = fired
    for layer in part.layers:
        assert layer.synops is not None
        assert layer.per_step is not None
        assert layer.per_step.acs.tolist() == layer.synops.sum(axis=1).tolist()
        # A layer takes in each line once in each step of the sample, and rests before and behind it.
        assert layer.steps == STEPS
    synapses = sum(layer.synapses for layer in network.layers)
    assert sum(layer.synapses for layer in part.layers) == synapses


def test_outputs_are_those_of_the_emulator_at_the_steps_of_the_graph() -> None:
    network, recording = chain(7), recorded(7)
    seen: list[NDArray[np.uint8]] = []
    count_integers(network, recording, name="chip", batch=2, observe=lambda _, out: seen.append(out))
    assert np.array_equal(np.concatenate(seen, axis=1), output_spikes(network, recording.values))


def test_what_is_no_event_is_refused() -> None:
    recording = recorded(0)
    with pytest.raises(DataError, match="other than 0 and 1"):
        count_integers(chain(0), replace(recording, values=recording.values * 2), name="chip")

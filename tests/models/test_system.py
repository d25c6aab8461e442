"""Every system: one definition, the same spikes on both frameworks, and graphs that compute the same."""

import numpy as np
import pytest
import torch

from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.config.speech import (
    Coding,
    ReceiverKind,
    SpeechExperiment,
    SystemConfig,
    SystemName,
    Transmission,
)
from nsc_deploy.data import EventData, EventSet
from nsc_deploy.deployment import Place, Side, read_deployment
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_build import DenseLayer, mlp
from nsc_deploy.graphs.readout import decide
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.models import export
from nsc_deploy.models.cross_attention import RIGHT_TAPS, SpikeCrossAttention
from nsc_deploy.models.export import StageRun, check_graph, check_stage, write_run_graphs
from nsc_deploy.models.spiking import NeuronForm
from nsc_deploy.models.system import build_system

CHANNELS, CLASSES, STEPS = 24, 4, 15
CHANNEL = ChannelConfig(snr_db=10, taps=3)
SYSTEMS = {
    "event": SystemConfig(receiver=ReceiverKind.EVENT, hidden=20, symbols=16, gate_hidden=6),
    "analog": SystemConfig(receiver=ReceiverKind.ANALOG, hidden=20, symbols=16),
    "ttfs": SystemConfig(hidden=20, symbols=16, gate_hidden=0, coding=Coding.TTFS),
    "vanilla": SystemConfig(name=SystemName.VANILLA_SNN, hidden=20, symbols=16),
    "fc": SystemConfig(name=SystemName.FC, hidden=20, symbols=16),
    "fc-bits": SystemConfig(name=SystemName.FC, hidden=20, symbols=16, transmission=Transmission.BITS),
    "lstm": SystemConfig(name=SystemName.LSTM, hidden=20, symbols=16),
    "qnn": SystemConfig(name=SystemName.QNN, hidden=20, symbols=16, activation_bits=5),
    "gru": SystemConfig(name=SystemName.GRU, hidden=20, symbols=16, activation_bits=7),
    "ds-cnn": SystemConfig(name=SystemName.DS_CNN, hidden=20, symbols=16, activation_bits=7),
    "sscc": SystemConfig(name=SystemName.SSCC, hidden=20, symbols=16, gate_hidden=6),
}
USES = {True: 16 + 2, False: 16 * 16 + 2}
"""Channel uses of a step, of spikes and of half-precision values."""
SPIKING = ["event", "ttfs", "analog", "vanilla"]


def noise(seed=7):
    return torch.Generator().manual_seed(seed)


def lively(name, framework="snntorch", seed=0):
    """A system whose layers all fire, as a trained one's do."""
    torch.manual_seed(seed)
    system = build_system(SYSTEMS[name], CHANNEL, CHANNELS, CLASSES, framework, STEPS)
    with torch.no_grad():
        for parameter in system.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    system.finish()
    return system.eval()


@pytest.fixture
def data():
    rng = np.random.default_rng(0)

    def part(samples):
        return EventSet(
            events=(rng.random((samples, STEPS, CHANNELS)) < 0.2).astype(np.uint8),
            labels=rng.integers(0, CLASSES, samples),
        )

    return EventData(train=part(20), test=part(12), class_names=("a", "b", "c", "d"), dt=0.03)


def signal(data):
    return torch.from_numpy(data.test.events).transpose(0, 1).float()


@pytest.mark.parametrize("name", SPIKING)
def test_same_weights_give_the_same_spikes_on_snntorch_and_norse(name, data):
    ours, theirs = lively(name), lively(name, "norse", seed=1)
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        first, second = ours(signal(data), noise()), theirs(signal(data), noise())
    assert 0 < first.symbols.mean() < 1
    assert 0 < first.outputs.mean() < 1
    assert torch.equal(first.symbols, second.symbols)
    assert torch.equal(first.outputs, second.outputs)


@pytest.mark.parametrize("name", SYSTEMS)
def test_gradients_reach_every_parameter(name, data):
    torch.manual_seed(0)
    system = build_system(SYSTEMS[name], CHANNEL, CHANNELS, CLASSES, "snntorch", STEPS)
    with torch.no_grad():
        for parameter in system.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    system(signal(data), noise()).votes.square().sum().backward()
    silent = [key for key, value in system.named_parameters() if not value.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize("name", SYSTEMS)
def test_votes_are_means_of_groups(name, data):
    system = lively(name)
    with torch.no_grad():
        output = system(signal(data), noise())
    assert system.vote == (STEPS if name == "ttfs" else 1)
    assert output.votes.shape == (1 if SYSTEMS[name].name.integer else STEPS, 12, CLASSES)
    assert torch.allclose(output.votes[..., 1], output.outputs[..., 5:10].mean(-1) * system.vote)


@pytest.mark.parametrize("name", SYSTEMS)
def test_graphs_and_recordings_replay_the_system(name, data, tmp_path):
    system = lively(name)
    experiment = SpeechExperiment(system=SYSTEMS[name], channel=CHANNEL)
    with torch.no_grad():
        output = system(signal(data), noise())
    write_run_graphs(system, tmp_path, data, experiment, 0.25, noise())
    deployment = read_deployment(tmp_path)
    config = SYSTEMS[name]
    if deployment.coding is None:
        uses = (config.activation_bits or 0) * (16 + 2) or USES[config.name.spiking]
    else:
        # Three coded bits for each of a message and of its tail, in frames of 16 symbols with a guard of 2.
        lengths = deployment.coding.message_bits
        uses = round(np.mean([-(-3 * (bits + 6) // 16) * (16 + 2) for bits in lengths]))
    assert deployment.channel.uses_per_step == uses
    assert deployment.channel.steps == (1 if config.name.at_once else STEPS)
    assert [part.side for part in deployment.parts] == sorted(
        (part.side for part in deployment.parts), key=list(Side).index
    )
    last = deployment.parts[-1]
    recording = read_recording(tmp_path / last.recording)
    assert recording.labels.tolist() == data.test.labels.tolist()
    if last.place is Place.CHIP:
        outputs = simulate(read_network(tmp_path / last.graph), recording.values).output
        assert np.array_equal(outputs, output.outputs.numpy())
        readout = deployment.readout
        decisions = decide(outputs, readout.classes, readout.group)
        assert decisions.tolist() == output.votes.mean(0).argmax(1).tolist()


def test_a_graph_that_computes_something_else_is_refused(data, tmp_path, monkeypatch):
    system = lively("vanilla")
    stage = system.transmitter.stages[0]
    graph_of = stage.graph

    def other_threshold(dt, readout):
        graph = graph_of(dt, readout)
        graph.nodes["lif1"].v_threshold = graph.nodes["lif1"].v_threshold * 1.1
        return graph

    monkeypatch.setattr(stage, "graph", other_threshold)
    experiment = SpeechExperiment(system=SYSTEMS["vanilla"], channel=CHANNEL)
    with pytest.raises(GraphError, match=r"transmitter\.nir.*differ from torch"):
        write_run_graphs(system, tmp_path, data, experiment, 0.25, noise())
    assert not (tmp_path / "deployment.json").exists()


def test_rounding_may_decide_a_spike_only_where_a_potential_lies_at_its_threshold(tmp_path, monkeypatch):
    attention = SpikeCrossAttention(3, NeuronForm(2.0, 1.0, "snntorch"), Signal.REAL)
    with torch.no_grad():
        attention.right.weight.zero_()
        attention.right.weight[:, :, RIGHT_TAPS // 2] = torch.eye(3)
    entering, wanted = (np.zeros((4, 10, 3), np.float32) for _ in range(2))
    entering[1, [2, 7], 2] = np.float32(1.0) + np.float32([1e-6, -1e-6])
    wanted[0, 0, 0] = 1
    got = wanted.copy()
    got[1:3, [2, 7], 0] = 0.5
    monkeypatch.setattr(export, "run_onnx", lambda _path, _inputs: got)
    path = tmp_path / "stage.onnx"
    assert check_stage(path, StageRun(attention, Side.RECEIVER, entering, wanted)) == 2
    perceptron = lively("fc").receiver.stages[0]
    with pytest.raises(GraphError, match=r"up to 0\.5 in 2 of 10 samples"):
        check_stage(path, StageRun(perceptron, Side.RECEIVER, entering, wanted))
    got[0, 2] = 0.25  # before its potential comes near
    got[1, 5] = 0.25  # where none does
    with pytest.raises(GraphError, match=r"up to 0\.5 in 2 of 10 samples"):
        check_stage(path, StageRun(attention, Side.RECEIVER, entering, wanted))


@pytest.mark.parametrize("scale", [0.0, 1e-4, 1.0, 1e4])
def test_values_are_held_against_torch_at_their_own_scale(tmp_path, scale):
    """A graph of zeros is not one whose outputs are small."""
    weight = np.full((4, 3), scale, np.float32)
    path = tmp_path / "layer.onnx"

    def write(factor):
        layer = DenseLayer(factor * weight, np.zeros(4, np.float32))
        write_onnx(path, mlp([layer], signal=Signal.REAL, dt=1e-3, relu_last=False))

    entering = np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32)
    write(1 + 1e-4)
    assert check_graph(path, entering, entering @ weight.T) == 0
    write(0)
    if scale:
        with pytest.raises(GraphError, match="differ from torch's"):
            check_graph(path, entering, entering @ weight.T)
    with pytest.raises(GraphError, match="torch's own outputs are not finite"):
        check_graph(path, entering, np.full((5, 7, 4), np.nan, np.float32))


def test_another_snr_holds_only_inside_the_block():
    system = lively("fc")
    with system.at_snr(-5.0):
        assert system.link.channel.config.snr_db == -5.0
    with system.at_snr(-5.0, 5.0):
        assert system.link.channel.config.snr_ends_db == (-5.0, 5.0)
    assert system.link.channel.config.snr_db == 10.0


def test_a_neuron_of_time_to_first_spike_fires_once_whatever_comes(data, tmp_path):
    """By its own inhibition in the graph, under the strongest input that there is too."""
    system = lively("ttfs")
    experiment = SpeechExperiment(system=SYSTEMS["ttfs"], channel=CHANNEL)
    write_run_graphs(system, tmp_path, data, experiment, 0.25, noise())
    network = read_network(tmp_path / "transmitter.nir")
    loud = np.ones((STEPS, 1, CHANNELS), np.uint8)
    for values in (data.test.events.swapaxes(0, 1), loud):
        fired = simulate(network, values, record=["lif1", "lif2"]).outputs
        assert fired["lif1"].sum() > 0
        for spikes in fired.values():
            assert spikes.sum(axis=0).max() <= 1
    kinds = {node.primitive for node in network.nodes}
    assert kinds <= {"Input", "Affine", "Linear", "LIF", "Output"}

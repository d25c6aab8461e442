import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from nsc_deploy.channels.config import BinaryChannelConfig
from nsc_deploy.deployment import Place, Side
from nsc_deploy.errors import ConfigError, GraphError
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.graphs.onnx_run import run_onnx
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.models.export import check_graph
from nsc_deploy.models.features.codecs import BitOrder, CodecForm, CodecName, LastNeuron
from nsc_deploy.models.features.export import channel_use, parts_of, write_part, write_parts
from tests.support.feature_systems import CHANNELS, PLACE, samples, system

DT = 1e-3
SYSTEMS = [
    {},
    {"last": LastNeuron.IF},
    {"last": LastNeuron.IHF_M, "gain": 7.0},
    {"last": LastNeuron.IF, "reset": Reset.ZERO, "threshold": 0.7},
    {"name": "s-jscc", "threshold": 179 / 256},
    {"name": "cnn-sc"},
    {"name": "cnn-sc", "order": BitOrder.GRAY},
    {"name": "cnn-1bit"},
]


@pytest.mark.parametrize(
    "fields", SYSTEMS, ids=lambda one: "-".join(str(value) for value in one.values()) or "snn-sc"
)
def test_the_parts_in_their_order_are_the_system(tmp_path, fields):
    one, judged = system(**fields), samples(12)
    noise = torch.Generator().manual_seed(6)
    parts = write_parts(tmp_path, one, judged, samples(5, seed=1), DT, noise)
    # The noise of the calibration was drawn first.
    again = torch.Generator().manual_seed(6)
    with torch.no_grad():
        one.channel(one.codec.encode(one.device_part(torch.from_numpy(samples(5, seed=1).images))), again)
        bits = one.codec.encode(one.device_part(torch.from_numpy(judged.images)))
        expected = one.server_part(one.codec.decode(one.channel(bits, again))).numpy()
    assert 0.05 < float(bits.mean()) < 0.95
    values = None
    for part in parts:
        recording = read_recording(tmp_path / part.recording)
        assert np.array_equal(recording.labels, judged.labels)
        learnt = read_recording(tmp_path / part.calibration)
        assert learnt.samples == 5
        assert learnt.values.shape[2:] == recording.values.shape[2:]
        if values is not None and part.side is Side.TRANSMITTER:
            assert np.allclose(recording.values, values, atol=1e-5)
        if part.graph.endswith(".nir"):
            network = read_network(tmp_path / part.graph)
            assert part.place is Place.CHIP
            assert network.input_node.emits is recording.signal
            values = simulate(network, recording.values.astype(np.float32)).output
        else:
            values = run_onnx(tmp_path / part.graph, recording.values.astype(np.float32))
    np.testing.assert_allclose(values[0], expected, rtol=1e-4, atol=1e-5)
    spiking = one.codec.form.name.spiking
    assert [part.name for part in parts] == (
        ["transmitter-host", "transmitter", "receiver", "receiver-host"]
        if spiking
        else ["transmitter", "receiver"]
    )


def test_the_device_computes_its_host_part_once():
    one = system()
    host, encoder, decoder, server = parts_of(one, samples(3).images, DT, torch.Generator().manual_seed(0))
    assert (host.inputs.shape[0], encoder.inputs.shape[0], decoder.inputs.shape[0]) == (1, 4, 4)
    for earlier, later in itertools.pairwise(encoder.inputs):
        assert np.array_equal(earlier, later)
    assert server.outputs.shape == (1, 3, 3)


def test_every_bit_is_charged():
    one = system(channel=BinaryChannelConfig(kind="bec", p=0.1, p_to=0.3))
    use = channel_use(one, PLACE)
    assert (use.kind, use.p, use.p_to, use.snr_db) == ("bec", 0.1, 0.3, None)
    assert use.uses_per_step * use.steps == one.codec.form.bits_per_inference(*PLACE) == 4 * 2 * 6


def test_erasures_read_as_one_half_are_no_events():
    one = system("cnn-sc", channel=BinaryChannelConfig(kind="bec", p=0.4, erased="half"))
    sender, receiver = parts_of(one, samples(6).images, DT, torch.Generator().manual_seed(0))
    assert receiver.signal is Signal.REAL
    assert set(np.unique(receiver.inputs)) == {0, 0.5, 1}
    assert set(np.unique(sender.outputs)) == {0, 1}


def test_a_graph_that_is_not_the_codec_is_found(tmp_path):
    one = system()
    parts = list(parts_of(one, samples(4).images, DT, torch.Generator().manual_seed(0)))
    write_network(tmp_path / "decoder.nir", parts[2].graph)
    assert check_graph(tmp_path / "decoder.nir", parts[2].inputs, parts[2].outputs) == 0
    with torch.no_grad():
        one.codec.conv4.norm.bias[0] += 2.0**-6
    other = list(parts_of(one, samples(4).images, DT, torch.Generator().manual_seed(0)))[2]
    assert np.array_equal(other.inputs, parts[2].inputs)
    with pytest.raises(GraphError, match="values that differ from torch's"):
        check_graph(tmp_path / "decoder.nir", other.inputs, other.outputs)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "cnn-sc", "steps": 8},
        {"name": "cnn-sc", "steps": 10, "order": BitOrder.GRAY},
        {"name": "cnn-1bit", "bits": 64, "steps": 8},
    ],
    ids=str,
)
def test_rounding_may_decide_bits_in_every_sample_and_nothing_else_may(tmp_path, fields):
    """Behind many layers the sums of torch and onnxruntime differ in their last digits, so some bits do."""
    one, images = system(**fields), samples(200).images

    def sender(moved):
        with torch.no_grad():
            one.codec.conv2.norm.bias.add_(moved)
            part = next(parts_of(one, images, DT, torch.Generator().manual_seed(0)))
            one.codec.conv2.norm.bias.sub_(moved)
        return part

    trained = sender(0.0)
    rounded = write_part(tmp_path, replace(trained, graph=sender(1e-4).graph), DT, np.zeros(200, int), None)
    assert rounded.flipped_samples > 0.02 * 200
    with pytest.raises(GraphError, match="values that differ from torch's"):
        write_part(tmp_path, replace(trained, graph=sender(0.01).graph), DT, np.zeros(200, int), None)


def test_potentials_that_reset_to_zero_are_refused_from_the_start():
    with pytest.raises(ConfigError, match="no output that graphs can state"):
        CodecForm(CodecName.SNN_SC, CHANNELS, hidden=4, bits=2, reset=Reset.ZERO)

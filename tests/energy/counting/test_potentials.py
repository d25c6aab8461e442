"""The ways to a converter's sum, each formed and counted operation by operation on the graphs of a run."""

from itertools import product

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nsc_deploy.energy import count
from nsc_deploy.energy.counting.potentials import Way, find_converter, find_decoder, watch_potentials
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.graphs.onnx_run import start_session
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.models.features.codecs import LastNeuron
from tests.support.feature_systems import system, write_run

SAMPLES = 3
FORMS = [
    {},
    {"last": LastNeuron.IHF_M},
    {"steps": 2, "threshold": 0.5},
    {"name": "s-jscc", "steps": 5, "threshold": 1.25},
]


@pytest.fixture(params=FORMS, ids=["ihf", "ihf-m", "low", "s-jscc"])
def run(tmp_path, request):
    return write_run(tmp_path / "run", system(**request.param), SAMPLES)


class Naive:
    """A decoder and the converter behind it, one synapse and one step at a time."""

    def __init__(self, run):
        self.network = read_network(run / "receiver.nir")
        recording = read_recording(run / "receiver.npz")
        outputs = simulate(self.network, recording.values, record="all", dtype=np.float64).outputs
        self.s, self.current = outputs["if3"], outputs["conv4"]
        self.spikes, self.m = outputs["fire4"], outputs["ihf4"]
        self.weights = self.network.node("conv4").parameters
        model = onnx.load(str(run / "receiver-host.onnx"))
        held = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        self.p, self.q = (
            held[name].reshape(-1).astype(np.float64) for name in ("of_spikes", "of_potentials")
        )
        self.threshold = float(self.network.node("fire4").parameters.threshold.flat[0])
        self.steps, self.samples, _, *_ = self.s.shape
        # From a step on, a current and what a spike takes off are in all potentials.
        self.q_from = np.array([self.q[t:].sum() for t in range(self.steps + 1)])

    def synapses(self, channel, row, column):
        """Outputs that an input meets, and the weights: those of a 3 x 3 kernel in a border of zeros."""
        kernel = self.weights.weight
        height, width = self.s.shape[3:]
        for out, i, j in product(range(len(kernel)), range(3), range(3)):
            at = row - i + 1, column - j + 1
            if 0 <= at[0] < height and 0 <= at[1] < width and kernel[out, channel, i, j] != 0:
                yield (out, *at), kernel[out, channel, i, j]

    def add_spikes(self, n, total):
        """The term of S, an accumulation a spike."""
        fired = 0
        for t, *place in zip(*np.nonzero(self.spikes[:, n]), strict=True):
            total[tuple(place)] += self.p[t] - self.threshold * self.q_from[t + 1]
            fired += 1
        return fired

    def biases(self):
        return np.broadcast_to(self.weights.bias[:, None, None], self.m.shape[2:])

    def potentials(self, n):
        """Sum, operations of the chip and of the host, values and events that leave."""
        total, macs, acs = np.zeros(self.m.shape[2:]), 0, 0
        for t, place in product(range(self.steps), np.ndindex(total.shape)):
            total[place] += self.q[t] * self.m[(t, n, *place)]
            macs += 1
            if self.m[(t, n, *place)] > self.threshold:
                total[place] += self.p[t]
                acs += 1
        return total, (0, 0, 0), (acs, macs, total.size), macs, 0

    def running_sum(self, n):
        total, macs = np.zeros(self.m.shape[2:]), 0
        for t, *place in np.ndindex(self.steps, *total.shape):
            total[tuple(place)] += self.q_from[t] * self.current[(t, n, *place)]
            macs += 1
        return total, (self.add_spikes(n, total), macs, 0), (0, 0, 0), total.size, 0

    def by_events(self, n):
        total, acs = self.q_from.sum() * self.biases(), 0
        events = np.argwhere(self.s[:, n])
        for t, *place in events:
            for out, weight in self.synapses(*place):
                total[out] += self.q_from[t] * weight
                acs += 1
        fired = self.add_spikes(n, total)
        return total, (0, 0, 0), (acs + fired, 0, np.count_nonzero(self.biases())), 0, len(events) + fired

    def at_once(self, n):
        total, over_time, macs = self.q_from.sum() * self.biases(), np.zeros(self.s.shape[2:]), 0
        events = np.argwhere(self.s[:, n])
        for t, *place in events:
            over_time[tuple(place)] += self.q_from[t]
        for place in np.ndindex(over_time.shape):
            for out, weight in self.synapses(*place):
                total[out] += over_time[place] * weight
                macs += 1
        fired = self.add_spikes(n, total)
        acs = len(events) + fired
        return total, (0, 0, 0), (acs, macs, np.count_nonzero(self.biases())), 0, acs


def converted(run):
    """What the run's own server graph makes of its recorded inputs in front of its bias, [N, C, h, w]."""
    model = onnx.load(str(run / "receiver-host.onnx"))
    squeezed = next(node.output[0] for node in model.graph.node if node.op_type == "Squeeze")
    model.graph.output.append(helper.make_tensor_value_info(squeezed, onnx.TensorProto.FLOAT, None))
    values = read_recording(run / "receiver-host.npz").values
    return start_session(model).run([squeezed], {"input": values})[0]


def test_all_ways_give_the_sum_of_the_server_and_count_as_one_by_one(run):
    naive, wanted = Naive(run), converted(run)
    ways = {one.way: one for one in count(run).systems[0].ways}
    assert list(ways) == list(Way)
    assert naive.spikes.any()
    for way, found in ways.items():
        slow = getattr(naive, way.name.lower())
        for n in range(SAMPLES):
            total, chip, host, values, events = slow(n)
            np.testing.assert_allclose(total, wanted[n], rtol=0, atol=2e-5)
            assert (found.values[n], found.events[n]) == (values, events), way
            assert operations(found.chip, n) == chip, way
            assert operations(found.host, n) == host, way


def operations(layers, n):
    """Accumulates, multiply-accumulates and additions of a sample."""
    return tuple(
        sum(int(getattr(one.per_sample, kind)[n]) for one in layers) for kind in ("acs", "macs", "additions")
    )


def test_weights_of_each_step_take_room_for_each_step(tmp_path):
    run = write_run(tmp_path / "run", system(steps=4), SAMPLES)
    found = {one.way: one for one in count(run).systems[0].ways}
    kernel = np.count_nonzero(read_network(run / "receiver.nir").node("conv4").parameters.weight)
    biases = 16
    (again, _), (_, once, _) = found[Way.BY_EVENTS].host, found[Way.AT_ONCE].host
    assert again.footprint.weights == 4 * kernel + biases
    assert once.footprint.weights == kernel + biases


@pytest.mark.parametrize("form", [{"last": LastNeuron.IF}, {"name": "cnn-sc"}, {"name": "cnn-1bit"}])
def test_where_no_potential_leaves_there_is_no_way_to_choose(tmp_path, form):
    (found,) = count(write_run(tmp_path / "run", system(**form), SAMPLES)).systems
    assert found.ways == ()


def test_another_threshold_or_another_front_is_no_converter(tmp_path):
    run = write_run(tmp_path / "run", system(), SAMPLES)
    network, recording = read_network(run / "receiver.nir"), read_recording(run / "receiver.npz")
    behind = run / "receiver-host.onnx"
    assert watch_potentials(network, recording, behind) is not None
    assert find_decoder(read_network(run / "transmitter.nir")) is None
    assert find_converter(onnx.load(str(run / "transmitter-host.onnx"))) is None
    model = onnx.load(str(behind))
    constant = next(node for node in model.graph.node if node.op_type == "Constant")
    constant.attribute[0].t.CopyFrom(numpy_helper.from_array(np.float32(0.5)))
    write_onnx(tmp_path / "other.onnx", model)
    assert find_converter(model).threshold == 0.5
    assert watch_potentials(network, recording, tmp_path / "other.onnx") is None

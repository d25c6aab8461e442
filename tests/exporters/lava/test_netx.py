"""The network file against what lava-dl 0.6.0's netx reads.

The reader below repeats, field by field, how netx takes a file apart (hdf5.py and utils.py in
lava/lib/dl/netx of lava-dl 0.6.0); lava-dl itself needs torch < 2.4 and
cannot be installed beside this package.
"""

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nsc_deploy.exporters.lava.arithmetic import output_spikes
from nsc_deploy.exporters.lava.integers import IntegerLayer, IntegerNetwork
from nsc_deploy.exporters.lava.lowering.pipeline import lower
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.exporters.lava.netx import as_netx_reads, difference, held, obstacle, write_netx
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Signal
from tests.support.lava import int32, random_events, random_layer, receiver


def read_as_netx(path: Path) -> IntegerNetwork:
    """The chain that netx builds; raises where netx would."""
    layers = []
    with h5py.File(path, "r") as file:
        count = len(file["layer"])
        for index in range(count):
            layer = file[f"layer/{index}"]
            kind = layer["type"][0].decode("ascii")
            if kind == "input":
                assert "neuron" not in layer, "an input with neurons becomes a block of its own"
                continue
            assert kind in {"dense", "dense_rec"}
            layers.append(_dense(layer, recurrent=kind == "dense_rec"))
    return IntegerNetwork(tuple(layers), 1.0)


def _dense(layer: Any, *, recurrent: bool) -> IntegerLayer:
    neurons = int(np.prod(layer["shape"][()]))
    names = ("weight", "weight_rec") if recurrent else ("weight",)
    weight, *back = as_netx_reads(*(int32(layer[name][()].astype(int)) for name in names))
    assert weight.shape[0] == neurons
    neuron = layer["neuron"]
    assert neuron["type"][0].decode("ascii") in {"LOIHI", "CUBA"}
    delay = np.zeros(weight.shape, int)
    if "delay" in layer:
        delay = layer["delay"][()]
        assert delay.ndim == 2
        assert not recurrent, "netx would delay the recurrent synapses as well"
        assert delay.max() <= 62, "netx clamps longer delays"
    bias = layer["bias"][()].astype(int) if "bias" in layer else np.zeros(neurons, int)
    return IntegerLayer(
        weight=Matrix.of(weight),
        recurrent=Matrix.of(back[0]) if back else None,
        delay=int32(delay[:, 0]),
        du=int32(np.broadcast_to(neuron["iDecay"][()] - 1, neurons)),
        dv=int32(np.broadcast_to(neuron["vDecay"][()], neurons)),
        vth=int32(np.broadcast_to(neuron["vThMant"][()], neurons)),
        bias=int32(bias),
        bias_exp=int32(np.full(neurons, 6)),
    )


def test_a_chain_without_exponents_comes_back_whole(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    layers = []
    for outputs, inputs in ((9, 7), (5, 9)):
        layer = random_layer(chance, outputs, inputs, delay=2)
        plain = {"bias_exp": int32(np.full(outputs, 6)), "weight_exp": 0}
        layers.append(IntegerLayer(**{**vars(layer), **plain}))
    network = IntegerNetwork(tuple(layers), 1.0)
    assert obstacle(network) is None
    assert difference(network) is None
    write_netx(tmp_path / "a.net", network)
    back = read_as_netx(tmp_path / "a.net")
    for ours, theirs in zip(network.layers, back.layers, strict=True):
        np.testing.assert_array_equal(ours.weight.dense(), theirs.weight.dense())
        for name in ("delay", "du", "dv", "vth", "bias"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


def test_the_receiver_in_netx_differs_as_stated(tmp_path: Path) -> None:
    """Rounded thresholds and biases, and nothing else: relays and gates still fire alike."""
    network = lower(assemble(receiver())).network
    said = difference(network)
    assert said is not None
    assert "biases of layer 4" in said
    write_netx(tmp_path / "a.net", network)
    back = read_as_netx(tmp_path / "a.net")
    for ours, theirs in zip(network.layers, back.layers, strict=True):
        np.testing.assert_array_equal(ours.weight.dense(), theirs.weight.dense())
        np.testing.assert_array_equal(ours.delay, theirs.delay)
    events = random_events(np.random.default_rng(2), 25, 30, 24)
    ours, theirs = output_spikes(network, events), output_spikes(back, events)
    assert ours.sum() > 100
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.7


@pytest.mark.parametrize(
    "weights",
    [
        [[254, -254], [2, 0]],
        [[126, -2]],
        [[254, 0]],
        [[2, 0]],
        [[-254, 0]],
        [[-6, -10]],
        [[64, -96], [0, 32]],
    ],
)
def test_weights_survive_the_fitting_of_netx(weights: list[list[int]]) -> None:
    np.testing.assert_array_equal(as_netx_reads(int32(weights))[0], weights)


@pytest.mark.parametrize("weights", [[[0, 0]], [[-128, 0]], [[-64, -2]], [[-2, -4]]])
def test_weights_that_netx_would_change_are_seen(weights: list[list[int]]) -> None:
    """No weight at all divides by zero; an inhibitory power of two is shifted past 255 and cut."""
    size = len(weights)
    layer = random_layer(np.random.default_rng(0), size, 2)
    network = IntegerNetwork((IntegerLayer(**{**vars(layer), "weight": Matrix.of(int32(weights))}),), 1.0)
    assert "netx would change the weights of layer 0" in str(obstacle(network))


@pytest.mark.parametrize("sign", [0, 1, -1])
def test_recurrent_weights_come_back_whole(tmp_path: Path, sign: int) -> None:
    """netx fits both matrices together; each then has a sign mode of its own."""
    chance = np.random.default_rng(4)
    layer = random_layer(chance, 6, 4)
    back = random_layer(chance, 6, 6, sign=sign).weight
    network = IntegerNetwork((dataclasses.replace(layer, recurrent=back, weight_exp=0),), 1.0)
    assert obstacle(network) is None
    write_netx(tmp_path / "a.net", network)
    (read,) = read_as_netx(tmp_path / "a.net").layers
    assert read.weight.equals(layer.weight)
    assert read.recurrent is not None
    assert read.recurrent.equals(back)
    delayed = dataclasses.replace(network.layers[0], delay=int32([1, 0, 0, 0, 0, 0]))
    assert "the same delays" in str(obstacle(IntegerNetwork((delayed,), 1.0)))


def test_a_large_convolution_is_too_large_for_netx() -> None:
    layer = random_layer(np.random.default_rng(0), 1, 2)
    wide = Matrix.from_entries((2**11, 2**10), np.zeros(1, int), np.zeros(1, int), int32([2]))
    vectors = ("delay", "du", "dv", "vth", "bias", "bias_exp")
    many = {name: np.repeat(getattr(layer, name), 2**11) for name in vectors}
    network = IntegerNetwork((IntegerLayer(weight=wide, **many),), 1.0)
    assert "layer 0 would have 2,097,152 weights" in str(obstacle(network))


def one_neuron(kind: str, threshold: float, bias: float, weights: list[float]) -> IntegerNetwork:
    build = GraphBuilder(1e-3)
    build.input(len(weights), Signal.EVENTS)
    build.affine("w", [weights], [bias])
    if kind == "threshold":
        build.threshold("n", threshold, 1)
    elif kind == "lif":
        build.lif("n", 0.9, threshold, 1)
    else:
        build.integrate_and_fire("n", threshold, 1)
    build.output(1)
    return lower(assemble(build.build())).network


@pytest.mark.parametrize(
    "kind, threshold, bias, weights",
    [
        ("threshold", 2.999, 0.0, [1.0] * 6),
        ("threshold", 2.5, 0.0, [1.0] * 6),
        ("threshold", 0.999, 0.0, [1.0, 1.0, 1.0, -1.0, -1.0, -1.0]),
        ("threshold", -0.001, 0.0, [1.0, 1.0, 1.0, -1.0, -1.0, -1.0]),
        ("threshold", 0.5, 0.501, [1.0, 1.0, 1.0, -1.0, -1.0, -1.0]),
        ("if", 2.999, 0.0, [1.0] * 6),
        ("if", 2.999, 1.0, [1.0] * 6),
    ],
)
def test_sums_of_whole_weights_lose_nothing_in_netx(
    tmp_path: Path, kind: str, threshold: float, bias: float, weights: list[float]
) -> None:
    """Thresholds and biases between two weight units: rounded to the nearest, they would pass a sum."""
    network = one_neuron(kind, threshold, bias, weights)
    assert network.layers[0].weight_exp > 0
    assert difference(network) is None
    write_netx(tmp_path / "a.net", network)
    events = random_events(np.random.default_rng(0), 50, 20, len(weights))
    ours = output_spikes(network, events)
    assert ours.any()
    np.testing.assert_array_equal(output_spikes(read_as_netx(tmp_path / "a.net"), events), ours)
    np.testing.assert_array_equal(output_spikes(held(network), events), ours)


def test_thresholds_biases_and_potentials_that_netx_rounds_are_told() -> None:
    said = str(difference(one_neuron("if", 0.999, 0.001, [0.1, 0.13])))
    assert "thresholds of layer 0 are lower by up to" in said
    assert "biases of layer 0 are off by up to" in said
    assert "potentials" not in said
    assert "potentials of layer 0 are coarser by 4 bits" in str(
        difference(one_neuron("lif", 1.0, 0.0, [0.25]))
    )

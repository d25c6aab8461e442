"""Small conventional networks of every kind, and their recorded inputs."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from nsc_deploy.exporters.c.int8.chain import read_chain
from nsc_deploy.exporters.c.int8.code import Int8Code
from nsc_deploy.exporters.c.int8.integers import read_integers
from nsc_deploy.exporters.c.int8.quantise import choose_ranges, quantise
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_integers import (
    IntegerConvolution,
    IntegerLayer,
    integer_convolutions,
    integer_gru,
    integer_mlp,
)
from nsc_deploy.graphs.onnx_network import OnnxNetwork, read_onnx_network
from tests.support.small_runs import dense_graph, gru_graph, image_graph, lstm_graph, separable_graph

FLOAT_KINDS = ("dense", "lstm", "gru", "separable", "image")
INTEGER_KINDS = ("qnn", "hard_gru", "ds_cnn", "halves")
"""Graphs that compute in integers themselves."""
KINDS = FLOAT_KINDS + INTEGER_KINDS
STEPS, INPUTS, OUTPUTS, DT = 12, 7, 6, 0.03
IMAGE = (2, 9, 6)


def shape_of(kind: str) -> tuple[int, ...]:
    return IMAGE if kind == "image" else (INPUTS,)


def reals(kind: str = "dense", seed: int = 0, samples: int = 6) -> NDArray[np.float32]:
    shape = (STEPS, samples, *shape_of(kind))
    if kind in INTEGER_KINDS:
        return np.random.default_rng(seed).integers(0, 32, shape).astype(np.float32)
    return np.random.default_rng(seed).normal(0, 0.7, shape).astype(np.float32)


def write_inputs(path: Path, kind: str = "dense", seed: int = 0, samples: int = 6) -> Path:
    labels = np.arange(samples) % 3
    write_recording(path, Recording(reals(kind, seed, samples), Signal.REAL, DT, labels))
    return path


def graph(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.onnx"
    if kind in INTEGER_KINDS:
        write_onnx(path, integer_graph(kind))
    elif kind == "dense":
        dense_graph(path, [INPUTS, 18, 11, OUTPUTS])
    elif kind == "image":
        image_graph(path, IMAGE, OUTPUTS)
    else:
        write: Any = {"lstm": lstm_graph, "gru": gru_graph, "separable": separable_graph}[kind]
        write(path, INPUTS, 9, OUTPUTS)
    return path


def integer_graph(kind: str, seed: int = 0, largest: int = 127, factor: float = 1.0) -> onnx.ModelProto:
    """A graph as `train` writes it, of random integers; `factor` makes all of its scales larger."""
    chance = np.random.default_rng(seed)
    if kind == "halves":  # its first layer has sums half way between two numbers
        graph = integer_graph("qnn", seed, largest)
        for one in graph.graph.initializer:
            if one.name == "dense1_factor":
                one.CopyFrom(onnx.numpy_helper.from_array(np.float32(2**-6), one.name))
        return graph

    def layer(rows: int, *columns: int, bias: bool = True, scale: float) -> IntegerLayer:
        weight = chance.integers(-127, 128, (rows, *columns))
        return IntegerLayer(weight, chance.integers(-90, 90, rows) if bias else None, factor * scale)

    if kind == "qnn":
        hidden = layer(18, INPUTS, scale=0.01311), layer(OUTPUTS, 18, scale=0.00057)
        return integer_mlp(hidden, signal=Signal.REAL, dt=DT, largest=largest, values_last=True)
    if kind == "hard_gru":
        into = layer(3 * OUTPUTS, INPUTS, scale=0.0061)
        back = layer(3 * OUTPUTS, OUTPUTS, bias=False, scale=0.00723)
        return integer_gru(into, back, signal=Signal.REAL, dt=DT, largest=largest)
    sizes = [(9, INPUTS, 3, 2, 1), (9, 1, 5, 2, 9), (OUTPUTS, 9, 1, 1, 1)]
    layers = [
        IntegerConvolution(layer(rows, inputs, taps, scale=0.0113), stride, groups)
        for rows, inputs, taps, stride, groups in sizes
    ]
    return integer_convolutions(layers, signal=Signal.REAL, dt=DT, largest=largest)


def network(folder: Path, kind: str) -> OnnxNetwork:
    inputs = write_inputs(folder / f"{kind}-in.npz", kind, 1, 20)
    return read_onnx_network(graph(folder, kind), inputs=inputs, readout=(3, 2))


def code(folder: Path, kind: str, name: str = "net") -> Int8Code:
    read = network(folder, kind)
    if kind in INTEGER_KINDS:
        return Int8Code(read_integers(read, kind, classes=3, group=2), name, read)
    chain = read_chain(read, kind)
    int8 = quantise(chain, choose_ranges(chain, reals(kind, 1, 20)), classes=3, group=2)
    return Int8Code(int8, name, read)

"""Small conventional networks of every kind, and their recorded inputs."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.c.int8.chain import read_chain
from nsc_deploy.exporters.c.int8.code import Int8Code
from nsc_deploy.exporters.c.int8.quantise import quantise
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_network import OnnxNetwork, read_onnx_network
from tests.support.small_runs import dense_graph, gru_graph, image_graph, lstm_graph, separable_graph

KINDS = ("dense", "lstm", "gru", "separable", "image")
STEPS, INPUTS, OUTPUTS, DT = 12, 7, 6, 0.03
IMAGE = (2, 9, 6)


def shape_of(kind: str) -> tuple[int, ...]:
    return IMAGE if kind == "image" else (INPUTS,)


def reals(kind: str = "dense", seed: int = 0, samples: int = 6) -> NDArray[np.float32]:
    shape = (STEPS, samples, *shape_of(kind))
    return np.random.default_rng(seed).normal(0, 0.7, shape).astype(np.float32)


def write_inputs(path: Path, kind: str = "dense", seed: int = 0, samples: int = 6) -> Path:
    labels = np.arange(samples) % 3
    write_recording(path, Recording(reals(kind, seed, samples), Signal.REAL, DT, labels))
    return path


def graph(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.onnx"
    if kind == "dense":
        dense_graph(path, [INPUTS, 18, 11, OUTPUTS])
    elif kind == "image":
        image_graph(path, IMAGE, OUTPUTS)
    else:
        write: Any = {"lstm": lstm_graph, "gru": gru_graph, "separable": separable_graph}[kind]
        write(path, INPUTS, 9, OUTPUTS)
    return path


def network(folder: Path, kind: str) -> OnnxNetwork:
    inputs = write_inputs(folder / f"{kind}-in.npz", kind, 1, 20)
    return read_onnx_network(graph(folder, kind), inputs=inputs, readout=(3, 2))


def code(folder: Path, kind: str, name: str = "net") -> Int8Code:
    read = network(folder, kind)
    int8 = quantise(read_chain(read, kind), reals(kind, 1, 20), classes=3, group=2)
    return Int8Code(int8, name, read)

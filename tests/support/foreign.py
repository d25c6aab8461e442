"""Graphs of other frameworks as they come: exported, written, read, and run beside the framework itself."""

import nir
import numpy as np
import torch

from nsc_deploy.diagnostics import collected
from nsc_deploy.exporters.mend import mend_file
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.writers.statement import Maker, Statement
from nsc_deploy.graphs.network import Reset
from nsc_deploy.graphs.simulate import simulate


def events(shape, *, steps=80, samples=16, rate=0.3, seed=0):
    """Events [T, N, *shape]."""
    return (np.random.default_rng(seed).random((steps, samples, *shape)) < rate).astype(np.float32)


def full(shape, value):
    return torch.full(shape if isinstance(shape, tuple) else (shape,), value)


def seeded(make):
    """A model whose weights are the same every time."""
    torch.manual_seed(3)
    return make()


def on_grid(module, steps=16):
    """Round all weights to a grid on which every sum of events is exact."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.round(parameter * steps) / steps)
    return module


def read(graph, path, *, dt, reset=Reset.ZERO, compression="gzip"):
    """The network that a file of the graph holds, and the names of the diagnostics told on reading it."""
    nir.write(path, graph, compression=compression)
    with collected() as told:
        network = read_network(path, dt=dt, reset=reset)
    assert tuple(told) == network.diagnostics
    return network, [diagnostic.name for diagnostic in told]


def differing(network, values, wanted):
    """How many outputs differ, and that there was anything to differ."""
    got = simulate(network, values).output
    assert got.shape == wanted.shape
    assert wanted.sum() > 0
    return int((got != wanted).sum())


def mended(graph, maker, path, *, compression="gzip", **known):
    """The network that `nsc-deploy mend` makes of the file of a graph."""
    raw = path.with_name("raw.nir")
    nir.write(raw, graph, compression=compression)
    return mend_file(raw, Maker(maker), Statement(**known), path).network

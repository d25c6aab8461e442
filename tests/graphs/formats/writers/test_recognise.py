"""Graphs as the frameworks write them, and graphs that only resemble them.

`tests/conformance` asks the frameworks themselves; here stands what a recogniser must not take for one.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import nir
import numpy as np
import pytest

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.flow import FlatGraph
from nsc_deploy.graphs.formats.writers.recognise import Writer, sign_of
from nsc_deploy.graphs.network import Reset

FOUR, ONE = np.ones(4, np.float32), np.ones((), np.float32)


def chain(*nodes: Any, ends: tuple[Any, Any] = ((3,), (4,))) -> nir.NIRGraph:
    """Input, the nodes called "0", "1", ..., Output."""
    named = {"input": nir.Input(np.array(ends[0])), **{str(i): node for i, node in enumerate(nodes)}}
    named["output"] = nir.Output(np.array(ends[1]))
    names = list(named)
    return nir.NIRGraph(named, list(pairwise(names)), type_check=False)


def dense(rows: int = 4, columns: int = 3) -> nir.Affine:
    return nir.Affine(np.ones((rows, columns), np.float32), np.zeros(rows, np.float32))


def lif(tau: float, r: float = 1.0, like: Any = FOUR) -> nir.LIF:
    return nir.LIF(tau=tau * like, r=r * like, v_leak=0 * like, v_threshold=like, v_reset=0 * like)


def integrator(like: Any = FOUR) -> nir.IF:
    return nir.IF(r=like, v_threshold=like)


def conv() -> nir.Conv2d:
    kernel = np.ones((2, 1, 3, 3), np.float32)
    return nir.Conv2d((4, 4), kernel, 1, 1, 1, 1, np.zeros(2, np.float32))


def rockpool_cell(tau: float = 0.02, dt: float = 1e-3, **options: Any) -> nir.CubaLIF:
    values: Mapping[str, Any] = {
        "tau_mem": tau * FOUR,
        "tau_syn": 0.01 * FOUR,
        "r": np.float32(tau * np.exp(-dt / tau) / dt) * FOUR,
        "v_leak": 0 * FOUR,
        "v_threshold": FOUR,
        **options,
    }
    return nir.CubaLIF(**values)


GRAPHS: dict[str, tuple[nir.NIRGraph, float | None, Writer | None]] = {
    "Norse, 10 ms": (chain(dense(), lif(1e-5)), None, Writer.NORSE),
    "Norse, read with the square of its step": (chain(dense(), lif(1e-5)), 1e-6, Writer.NORSE),
    "one number for a layer of integrators": (chain(dense(), integrator(ONE)), None, Writer.NORSE),
    "right time constants": (chain(dense(), lif(2.5e-3)), None, None),
    "short ones that go with their step": (chain(dense(), lif(5e-4)), 1e-4, None),
    "right ones, one number for a layer": (chain(dense(), lif(0.01, like=ONE)), None, None),
    "sinabs, in steps": (chain(dense(), lif(20.0)), None, Writer.SINABS),
    "sinabs, convolution": (
        chain(
            conv(),
            integrator(np.ones((2, 4, 4), np.float32)),
            nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
            nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1),
            dense(4, 8),
            integrator(),
            ends=((1, 4, 4), (4,)),
        ),
        None,
        Writer.SINABS,
    ),
    "integrators behind Affine": (chain(dense(), integrator()), None, Writer.NORSE_OR_SINABS),
    "integrators of double precision": (chain(dense(), integrator(np.ones(4))), None, None),
    "integrators with a gain": (chain(dense(), nir.IF(r=2 * FOUR, v_threshold=FOUR)), None, None),
    "Rockpool, by its numbers": (chain(dense(), rockpool_cell()), None, Writer.ROCKPOOL),
    "Rockpool's gains of no step anybody chose": (chain(dense(), rockpool_cell(dt=1.2345e-3)), None, None),
    "a CubaLIF with a gain of its own": (chain(dense(), rockpool_cell(w_in=5 * FOUR)), None, None),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_writer_is_recognised_by_what_only_it_leaves(name: str) -> None:
    graph, dt, writer = GRAPHS[name]
    nodes = dict(graph.nodes)
    inputs = {name: tuple(s for s, t in graph.edges if t == name) for name in nodes}
    sign = sign_of(FlatGraph(nodes, inputs, {}, dt=dt))
    assert (None if sign is None else sign.writer) is writer


def test_rockpool_s_names_are_enough() -> None:
    graph = chain(dense(), lif(0.02, r=3.0))
    nodes = {
        {"0": "0_LinearTorch", "1": "1_LIFTorch"}.get(name, name): node for name, node in graph.nodes.items()
    }
    sign = sign_of(FlatGraph(nodes, dict.fromkeys(nodes, ()), {}))
    assert sign is not None
    assert (sign.writer, sign.dt) == (Writer.ROCKPOOL, None)


def test_no_step_is_squared_for_right_time_constants() -> None:
    with pytest.raises(GraphError) as caught:
        assemble(chain(dense(), lif(2.5e-3)))
    assert "square" not in str(caught.value.hint)
    network = assemble(chain(dense(), lif(2.5e-3)), dt=1e-4, reset=Reset.ZERO)
    assert network.diagnostics == ()


NAMED = {
    "sinabs, in steps": (
        1.0,
        {"sinabs-spikes": ["spike_fn", "min_v_mem", "tau_syn"], "sinabs-decay": ["norm_input"]},
    ),
    "sinabs, convolution": (1.0, {"sinabs-spikes": ["MultiSpike", "reset_fn"]}),
    "integrators behind Affine": (1e-3, {"integrator-gain": ["--dt 1"], "integrator-reset": ["MultiSpike"]}),
    "Rockpool, by its numbers": (
        1e-3,
        {
            "rockpool-neurons": ["exp(-dt / tau)"],
            "rockpool-dropped": ["bias", "has_rec", "max_spikes_per_dt"],
        },
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_the_file_cannot_say_is_named(name: str) -> None:
    dt, words = NAMED[name]
    network = assemble(GRAPHS[name][0], dt=dt, reset=Reset.SUBTRACT)
    told = {one.name: one.fault + one.way_out for one in network.diagnostics}
    assert list(told) == list(words)
    for diagnostic, expected in words.items():
        assert [word for word in expected if word not in told[diagnostic]] == []


def test_snntorch_s_graded_spikes_and_inhibition_are_named() -> None:
    graph = chain(dense(), nir.LIF(tau=1e-3 * FOUR, r=10 * FOUR, v_leak=0 * FOUR, v_threshold=FOUR))
    network = assemble(graph, dt=1e-4, reset=Reset.ZERO)
    (reset,) = [one for one in network.diagnostics if one.name == "snntorch-reset"]
    assert "graded_spikes_factor and inhibition" in reset.fault

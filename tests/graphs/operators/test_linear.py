from itertools import pairwise

import nir
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.simulate import simulate


def chain(shape, **nodes):
    """Input, the nodes one after the other, and an Output that takes what comes."""
    names = ["in", *nodes, "out"]
    out = nir.Output(None)
    return nir.NIRGraph(
        {"in": nir.Input(np.array(shape)), **nodes, "out": out},
        list(pairwise(names)),
        metadata={"dt": 1.0},
        type_check=False,
    )


def run(graph, values):
    return simulate(assemble(graph), values).output


def whole(rng, *shape):
    return rng.integers(-8, 9, shape).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(0, 2**32 - 1))
def test_conv2d_is_torch_s(data, seed):
    rng = np.random.default_rng(seed)
    groups, per_in, per_out = (data.draw(st.integers(1, 3)) for _ in range(3))
    kernel, dilation = ([data.draw(st.integers(1, 3)) for _ in range(2)] for _ in range(2))
    stride = [data.draw(st.integers(1, 3)) for _ in range(2)]
    padding = data.draw(st.sampled_from(["same", "valid"]) | st.tuples(st.integers(0, 3), st.integers(0, 3)))
    if padding == "same":
        stride = [1, 1]
    size = [data.draw(st.integers(3, 9)) for _ in range(2)]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    zeros = padding if isinstance(padding, tuple) else (0, 0)
    assume(padding == "same" or all(s + 2 * p >= r for s, p, r in zip(size, zeros, reach, strict=True)))
    weight, bias = whole(rng, groups * per_out, per_in, *kernel), whole(rng, groups * per_out)
    values = whole(rng, 2, 3, groups * per_in, *size)
    stated = data.draw(st.sampled_from([None, tuple(size)]))
    node = nir.Conv2d(stated, weight, tuple(stride), padding, tuple(dilation), groups, bias)
    wanted = functional.conv2d(
        torch.from_numpy(values.reshape(-1, *values.shape[2:])),
        torch.from_numpy(weight),
        torch.from_numpy(bias),
        tuple(stride),
        padding,
        tuple(dilation),
        groups,
    ).numpy()
    got = run(chain((groups * per_in, *size), conv=node), values)
    np.testing.assert_array_equal(got.reshape(-1, *got.shape[2:]), wanted)


@pytest.mark.parametrize("padding", [0, 2, "same", "valid"])
@pytest.mark.parametrize(("dilation", "groups", "kernel"), [(1, 1, 4), (2, 2, 3), (3, 4, 2)])
def test_conv1d_is_torch_s(padding, dilation, groups, kernel):
    rng = np.random.default_rng(0)
    weight, bias, values = whole(rng, 4, 4 // groups, kernel), whole(rng, 4), whole(rng, 3, 2, 4, 11)
    node = nir.Conv1d(11, weight, 1, padding, dilation, groups, bias)
    wanted = functional.conv1d(
        torch.from_numpy(values.reshape(-1, 4, 11)),
        torch.from_numpy(weight),
        torch.from_numpy(bias),
        1,
        padding,
        dilation,
        groups,
    ).numpy()
    got = run(chain((4, 11), conv=node), values)
    np.testing.assert_array_equal(got.reshape(-1, *got.shape[2:]), wanted)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [((2, 2), (2, 2), (0, 0)), ((3, 2), (1, 2), (1, 1))]
)
def test_pools_are_torch_s(kernel, stride, padding):
    values = whole(np.random.default_rng(1), 2, 3, 2, 7, 8)
    flat = torch.from_numpy(values.reshape(-1, 2, 7, 8))
    mean = functional.avg_pool2d(flat, kernel, stride, padding).numpy()
    arguments = [np.array(value) for value in (kernel, stride, padding)]
    average = run(chain((2, 7, 8), pool=nir.AvgPool2d(*arguments)), values)
    total = run(chain((2, 7, 8), pool=nir.SumPool2d(*arguments)), values)
    np.testing.assert_allclose(average.reshape(mean.shape), mean, rtol=1e-6)
    np.testing.assert_array_equal(total.reshape(mean.shape), np.round(mean * np.prod(kernel)))


def test_a_convolutional_network_runs_through_and_says_what_its_edges_carry():
    rng = np.random.default_rng(2)
    graph = chain(
        (2, 8, 8),
        conv=nir.Conv2d(None, whole(rng, 3, 2, 3, 3), 1, "same", 1, 1, np.zeros(3)),
        neuron=nir.IF(r=np.ones((3, 8, 8)), v_threshold=np.full((3, 8, 8), 4.0)),
        pool=nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        flat=nir.Flatten(None, 0, -1),
        dense=nir.Linear(whole(rng, 5, 48)),
    )
    graph.metadata["reset"] = "zero"
    network = assemble(graph, signal=Signal.EVENTS)
    assert [node.output_shape for node in network.nodes][3:] == [(3, 4, 4), (48,), (5,), (5,)]
    signals = {node.name: node.emits for node in network.nodes}
    assert signals == {
        "in": Signal.EVENTS,
        "conv": Signal.REAL,
        "neuron": Signal.EVENTS,
        "pool": Signal.GRADED,
        "flat": Signal.GRADED,
        "dense": Signal.REAL,
        "out": Signal.REAL,
    }
    trace = simulate(network, rng.integers(0, 2, (6, 2, 2, 8, 8)), record="all")
    assert set(np.unique(trace.outputs["pool"])) > {0, 1}
    assert trace.output.shape == (6, 2, 5)


def test_flatten_keeps_what_it_does_not_flatten():
    values = whole(np.random.default_rng(3), 2, 2, 3, 4, 5)
    got = run(chain((3, 4, 5), flat=nir.Flatten(None, 1, 2)), values)
    np.testing.assert_array_equal(got, values.reshape(2, 2, 3, 20))


def test_dense_weights_with_leading_dimensions_act_on_each_slice():
    rng = np.random.default_rng(4)
    weight, values = whole(rng, 3, 5, 4), whole(rng, 2, 6, 3, 4)
    got = run(chain((3, 4), dense=nir.Linear(weight)), values)
    np.testing.assert_array_equal(got, np.einsum("coi,tnci->tnco", weight, values))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (nir.Conv2d(None, np.ones((2, 3, 3, 3)), 1, 0, 1, 1, np.ones(2)), "3 channels"),
        (nir.Conv2d(None, np.ones((2, 2, 9, 9)), 1, 0, 1, 1, np.ones(2)), "impossible shape"),
        (nir.Conv2d(None, np.ones((2, 2, 3, 3)), 2, "same", 1, 1, np.ones(2)), "same"),
        (nir.Conv2d(None, np.ones((3, 1, 3, 3)), 1, 0, 1, 2, np.ones(3)), "groups"),
        (nir.Flatten(None, 1, 7), "dimension"),
        (nir.Linear(np.ones((3, 5))), "takes in the shape"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(node, message):
    with pytest.raises(GraphError, match=message) as caught:
        assemble(chain((2, 6, 6), it=node))
    assert "node 'it'" in str(caught.value)

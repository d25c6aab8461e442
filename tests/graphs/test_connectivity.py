import tracemalloc
from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.graphs.connectivity import convolution_fan_out, matrix_fan_out, window_pairs


def brute_force(weight, size, stride, padding, dilation, groups):
    """Visit each output, each tap, each channel, and note which input it reads."""
    outputs, per_group, *kernel = weight.shape
    met = np.zeros((per_group * groups, *size), dtype=np.int64)
    axes = zip(size, kernel, stride, padding, dilation, strict=True)
    room = [max(0, (length + sum(pads) - d * (k - 1) - 1) // s + 1) for length, k, s, pads, d in axes]
    for o in range(outputs):
        first = (o // (outputs // groups)) * per_group
        for c, tap in product(range(per_group), product(*map(range, kernel))):
            if weight[(o, c, *tap)] == 0:
                continue
            for place in product(*map(range, room)):
                at = [
                    y * s - before + k * d
                    for y, k, s, (before, _), d in zip(place, tap, stride, padding, dilation, strict=True)
                ]
                if all(0 <= p < length for p, length in zip(at, size, strict=True)):
                    met[(first + c, *at)] += 1
    return met


@st.composite
def convolutions(draw):
    dimensions = draw(st.sampled_from([1, 2]))
    groups = draw(st.sampled_from([1, 2]))
    kernel = [draw(st.integers(1, 3)) for _ in range(dimensions)]
    shape = (groups * draw(st.integers(1, 2)), draw(st.integers(1, 2)), *kernel)
    seed = draw(st.integers(0, 2**32 - 1))
    weight = np.random.default_rng(seed).integers(-1, 2, size=shape).astype(np.float32)
    form = {
        "stride": [draw(st.integers(1, 3)) for _ in range(dimensions)],
        "padding": [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(dimensions)],
        "dilation": [draw(st.integers(1, 2)) for _ in range(dimensions)],
        "groups": groups,
    }
    return weight, [draw(st.integers(3, 6)) for _ in range(dimensions)], form


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_fan_out_of_a_convolution(case) -> None:
    weight, size, form = case
    np.testing.assert_array_equal(
        convolution_fan_out(weight, size, **form), brute_force(weight, size, **form)
    )


def test_fan_out_of_a_matrix_counts_existing_synapses() -> None:
    weight = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, -1.0]])
    assert matrix_fan_out(weight).tolist() == [1, 0, 2]


def test_a_large_convolution_is_not_unrolled() -> None:
    weight = np.ones((64, 64, 3, 3), dtype=np.float32)
    table = convolution_fan_out(weight, (56, 56), stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1))
    assert table.shape == (64, 56, 56)
    assert table.sum() == 64 * 64 * (3 * 56 - 2) ** 2


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 3),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    st.integers(1, 2),
    st.integers(0, 6),
)
def test_pairs_of_outputs_and_taps_inside_the_input(size, taps, stride, padding, dilation, outputs):
    inside = sum(
        0 <= y * stride + k * dilation - padding[0] < size for y in range(outputs) for k in range(taps)
    )
    assert window_pairs(size, taps, stride, padding, dilation, outputs) == inside


def test_a_convolution_of_a_hundred_million_synapses_is_no_matrix():
    weight = np.ones((64, 64, 3, 3), dtype=np.float32)
    tracemalloc.start()
    fan_out = convolution_fan_out(weight, (52, 52), stride=(1, 1), padding=[(1, 1), (1, 1)], dilation=(1, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fan_out.sum() == 64 * 64 * (3 * 52 - 2) ** 2 > 97_000_000
    assert peak < 2**23

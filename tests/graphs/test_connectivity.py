import tracemalloc
from itertools import product
from math import prod

import nir
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.graphs.connectivity import Convolution, KernelAxis, kernel_axes, matrix_fan_out, pairs
from nsc_deploy.graphs.primitives import normalise


def meetings(axis):
    """Visit each output and each tap, and note which input it reads."""
    return [
        (output, tap, position)
        for output in range(max(0, axis.outputs))
        for tap in range(axis.kernel)
        for position in [output * axis.stride + tap * axis.dilation - axis.padding[0]]
        if 0 <= position < axis.inputs
    ]


def brute_force(form):
    """[outputs, inputs]: visit each output, each tap, each channel."""
    found = np.zeros((*form.output_shape, *form.input_shape), dtype=np.int64)
    per_group, per_group_out = form.present.shape[1], len(form.present) // form.groups
    for met in product(*map(meetings, form.axes)):
        outputs, taps, inputs = zip(*met, strict=True)
        for o, c in product(range(len(form.present)), range(per_group)):
            if form.present[(o, c, *taps)]:
                found[(o, *outputs, o // per_group_out * per_group + c, *inputs)] += 1
    return found.reshape(form.outputs, prod(form.input_shape))


zeros = st.integers(0, 2)
axes_of = st.builds(
    KernelAxis,
    inputs=st.integers(1, 7),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 4),
    padding=st.tuples(zeros, zeros),
    dilation=st.integers(1, 3),
)


@st.composite
def convolutions(draw):
    axes = draw(st.lists(axes_of.filter(lambda axis: axis.outputs > 0), min_size=1, max_size=2))
    groups = draw(st.sampled_from([1, 2]))
    shape = (groups * draw(st.integers(1, 2)), draw(st.integers(1, 2)), *(axis.kernel for axis in axes))
    seed = draw(st.integers(0, 2**32 - 1))
    return Convolution(np.random.default_rng(seed).random(shape) < 0.7, tuple(axes), groups)


class TestAxis:
    @given(axes_of)
    def test_outputs_are_the_places_of_the_window(self, axis) -> None:
        padded = axis.inputs + sum(axis.padding)
        last = [y for y in range(padded) if y * axis.stride + axis.window <= padded]
        assert max(0, axis.outputs) == len(last)

    @given(axes_of)
    def test_pairs(self, axis) -> None:
        assert list(zip(*axis.pairs(), strict=True)) == meetings(axis)
        assert axis.pair_count() == len(meetings(axis))

    @given(axes_of, st.integers(0, 6))
    def test_pairs_of_so_many_outputs(self, axis, outputs) -> None:
        inside = sum(
            0 <= y * axis.stride + k * axis.dilation - axis.padding[0] < axis.inputs
            for y in range(outputs)
            for k in range(axis.kernel)
        )
        assert axis.pair_count(outputs) == inside

    @given(axes_of)
    def test_fan_in_and_fan_out_of_a_tap(self, axis) -> None:
        met = meetings(axis)
        assert axis.fan_in().tolist() == [sum(tap == k for _, k, _ in met) for tap in range(axis.kernel)]
        reached = {(tap, position) for _, tap, position in met}
        covered = {(output, position) for output, _, position in met}
        assert {tuple(place) for place in np.argwhere(axis.fan_out()).tolist()} == reached
        assert {tuple(place) for place in np.argwhere(axis.covered()).tolist()} == covered

    @given(axes_of, st.data())
    def test_what_some_outputs_read(self, axis, data) -> None:
        low = data.draw(st.integers(0, max(0, axis.outputs)))
        high = data.draw(st.integers(low, max(0, axis.outputs)))
        for tap in range(axis.kernel):
            read, positions = axis.reads(tap, low, high)
            read, positions = range(max(0, axis.outputs))[read], range(axis.inputs)[positions]
            wanted = [(y, p) for y, k, p in meetings(axis) if k == tap and low <= y < high]
            assert list(zip(read, positions, strict=True)) == wanted


class TestConvolution:
    @settings(max_examples=60, deadline=None)
    @given(convolutions())
    def test_fan_out_fan_in_and_synapses(self, form) -> None:
        met = brute_force(form)
        assert form.fan_out().reshape(-1).tolist() == met.sum(axis=0).tolist()
        assert form.fan_in(np.ones(form.input_shape, np.int64)).reshape(-1).tolist() == met.sum(1).tolist()
        assert form.synapses == met.sum()

    @settings(max_examples=60, deadline=None)
    @given(convolutions(), st.data())
    def test_fan_out_to_some_outputs(self, form, data) -> None:
        some = data.draw(st.sets(st.integers(0, form.outputs - 1), min_size=1))
        outputs = np.array(data.draw(st.permutations(sorted(some))))
        wanted = brute_force(form)[outputs].sum(axis=0)
        assert form.fan_out_to(outputs).reshape(-1).tolist() == wanted.tolist()

    @settings(max_examples=60, deadline=None)
    @given(convolutions(), st.data())
    def test_inputs_that_count_several_times(self, form, data) -> None:
        size = prod(form.input_shape)
        counts = np.array(data.draw(st.lists(st.integers(0, 5), min_size=size, max_size=size)))
        found = form.fan_in(counts.reshape(form.input_shape))
        assert found.reshape(-1).tolist() == (brute_force(form) @ counts).tolist()

    @settings(max_examples=60, deadline=None)
    @given(convolutions())
    def test_pairs_of_all_axes(self, form) -> None:
        whole = Convolution(np.ones((1, 1, *form.present.shape[2:]), bool), form.axes)
        output, _, position = pairs(form.axes)
        found = np.zeros((whole.outputs, prod(whole.input_shape)), np.int64)
        np.add.at(found, (output, position), 1)
        np.testing.assert_array_equal(found, brute_force(whole))

    def test_a_large_one_is_not_unrolled(self) -> None:
        axes = (KernelAxis(56, 3, padding=(1, 1)),) * 2
        form = Convolution(np.ones((64, 64, 3, 3), bool), axes)
        tracemalloc.start()
        table = form.fan_out()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert table.shape == (64, 56, 56)
        assert table.sum() == form.synapses == 64 * 64 * (3 * 56 - 2) ** 2 > 110_000_000
        assert peak < 2**24


class TestNodes:
    def test_an_even_kernel_with_same_padding(self) -> None:
        node = nir.Conv2d((5, 5), np.ones((1, 1, 4, 1)), 1, "same", (2, 1), 1, np.zeros(1))
        high, wide = kernel_axes(normalise(node), (5, 5))
        assert high == KernelAxis(5, 4, 1, (3, 3), 2)
        assert wide == KernelAxis(5, 1)

    def test_windows_of_a_pooling(self) -> None:
        node = nir.SumPool2d(np.array([2, 3]), np.array([3, 1]), np.array([0, 1]))
        axes = KernelAxis(7, 2, stride=3), KernelAxis(8, 3, padding=(1, 1))
        assert kernel_axes(normalise(node), (7, 8)) == axes


def test_fan_out_of_a_matrix_counts_existing_synapses() -> None:
    weight = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, -1.0]])
    assert matrix_fan_out(weight).tolist() == [1, 0, 2]

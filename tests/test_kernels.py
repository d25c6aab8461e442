import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nsc_deploy import kernels
from nsc_deploy.kernels import (
    count_nonzero,
    leaky_backward,
    leaky_backward_bfloat16,
    leaky_forward,
    leaky_forward_bfloat16,
    weigh_nonzero,
)

SHAPES = st.tuples(st.integers(0, 7), st.integers(1, 3), st.integers(1, 19))


def step_by_step(current, beta, threshold, state):
    """The neuron as numpy writes it, one array operation (so one rounding) at a time."""
    spikes, potentials, v = np.zeros_like(current), np.zeros_like(current), state.copy()
    for t, step in enumerate(current):
        product = beta * v
        v = product + step
        potentials[t], spikes[t] = v, v - threshold > 0
        v = np.where(spikes[t] > 0, 0, v).astype(current.dtype)
    return spikes, potentials, v


@settings(max_examples=60, deadline=None)
@given(st.data(), SHAPES, st.sampled_from([np.float32, np.float64]))
def test_forward_is_the_loop_bit_for_bit(data, shape, dtype):
    width = np.dtype(dtype).itemsize * 8
    real = st.floats(-4, 4, width=width) | st.sampled_from([0.0, 0.5, -0.5])
    current = data.draw(hnp.arrays(dtype, shape, elements=real))
    beta = data.draw(hnp.arrays(dtype, shape[2], elements=st.floats(0, 1, width=width)))
    threshold = data.draw(hnp.arrays(dtype, shape[2], elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))
    state = data.draw(hnp.arrays(dtype, shape[1:], elements=st.floats(-2, 0, width=width)))
    spikes, potentials, last = step_by_step(current, beta, threshold, state)

    got, recorded, ended = np.empty(shape, np.uint8), np.empty_like(current), state.copy()
    leaky_forward(current, beta, threshold, ended, got, recorded)
    unrecorded, ended_too = np.empty_like(current), state.copy()
    leaky_forward(current, beta, threshold, ended_too, unrecorded)
    plain, plain_recorded, plain_ended = np.empty(shape, np.uint8), np.empty_like(current), state.copy()
    kernels._leaky_forward_by_steps(current, beta, threshold, plain_ended, plain, plain_recorded)

    for mine, expected in [
        (got, spikes),
        (unrecorded, spikes),
        (recorded, potentials),
        (ended, last),
        (ended_too, last),
        (plain, spikes),
        (plain_recorded, potentials),
        (plain_ended, last),
    ]:
        np.testing.assert_array_equal(mine, expected)


def test_product_and_sum_are_rounded_apart():
    # (1 - 2^-12)(1 - 2^-13) = 1 - 2^-12 - 2^-13 + 2^-25; float32 has no room for the last term, a fused
    # multiply-add would keep it.
    beta, start = np.full(32, 1 - 2.0**-12, np.float32), 1 - 2.0**-13
    current = np.empty((2, 1, 32), np.float32)
    current[0], current[1] = start, -(1 - 2.0**-12 - 2.0**-13)
    state, spikes = np.zeros((1, 32), np.float32), np.empty_like(current)
    leaky_forward(current, beta, np.full(32, 1, np.float32), state, spikes)
    assert float(beta[0]) * start + float(current[1, 0, 0]) == 2.0**-25
    assert not state.any()


def test_backward_against_finite_differences_of_the_relaxed_neuron():
    # With the spike replaced by its surrogate arctan(pi x) / pi the same recursion is smooth; at silent
    # potentials the kernel's derivative must be the numerical one.
    rng = np.random.default_rng(3)
    steps, neurons = 5, 4
    current = rng.uniform(-0.1, 0.05, (steps, 1, neurons))
    beta, threshold = np.full(neurons, 0.9), np.full(neurons, 5.0)
    weight = rng.normal(size=current.shape)

    def loss(values):
        v, total = np.zeros((1, neurons)), 0.0
        for t in range(steps):
            v = beta * v + values[t]
            s = np.arctan(np.pi * (v - threshold)) / np.pi
            total += float((weight[t] * s).sum())
            v = v - (s - base[t]) * v  # the reset's derivative; its value stays that of the silent neuron
        return total

    base = _surrogate_values(current, beta, threshold)
    state, spikes, potentials = np.zeros((1, neurons)), np.empty_like(current), np.empty_like(current)
    leaky_forward(current, beta, threshold, state, spikes, potentials)
    assert not spikes.any()
    grad, carried = np.empty_like(current), np.zeros((1, neurons))
    leaky_backward(weight, potentials, beta, threshold, carried, grad)

    for index in np.ndindex(current.shape):
        up, down = current.copy(), current.copy()
        up[index] += 1e-5
        down[index] -= 1e-5
        assert grad[index] == pytest.approx((loss(up) - loss(down)) / 2e-5, rel=1e-6, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.data(), SHAPES)
def test_bfloat16_kernels_are_those_of_float32_on_the_same_numbers(data, shape):
    real = st.floats(-4, 4, width=32) | st.sampled_from([0.0, 0.5, -0.5])

    def drawn(*size):
        return torch.from_numpy(data.draw(hnp.arrays(np.float32, size, elements=real)))

    def bits(values):
        return values.view(torch.uint16).numpy()

    current, grad = drawn(*shape).bfloat16(), drawn(*shape).bfloat16()
    beta, threshold = np.full(shape[2], 0.75, np.float32), np.full(shape[2], 0.5, np.float32)
    start = -drawn(*shape[1:]).abs().numpy()
    spikes, potentials, last = np.empty(shape, np.float32), np.empty(shape, np.float32), start.copy()
    leaky_forward(current.float().numpy(), beta, threshold, last, spikes, potentials)
    carried, wide = start.copy(), np.empty(shape, np.float32)
    leaky_backward(grad.float().numpy(), potentials, beta, threshold, carried, wide)

    fired, recorded, ended = torch.empty_like(current), np.empty(shape, np.float32), start.copy()
    leaky_forward_bfloat16(bits(current), beta, threshold, ended, bits(fired), recorded)
    ended_too, narrow = start.copy(), torch.empty_like(current)
    leaky_backward_bfloat16(bits(grad), recorded, beta, threshold, ended_too, bits(narrow))
    for mine, theirs in [(recorded, potentials), (ended, last), (ended_too, carried)]:
        np.testing.assert_array_equal(mine, theirs)
    assert torch.equal(fired.float(), torch.from_numpy(spikes))
    assert torch.equal(narrow, torch.from_numpy(wide).bfloat16())


def test_a_gradient_that_is_no_number_stays_none_in_bfloat16():
    size, none = (1, 1, 3), np.zeros((1, 1, 3), np.float32)
    grad = torch.tensor([[[float("nan"), float("inf"), 1.0]]]).bfloat16().view(torch.uint16).numpy()
    got = torch.empty(size, dtype=torch.bfloat16)
    ones = np.ones(3, np.float32)
    leaky_backward_bfloat16(grad, none, ones, ones, none[0].copy(), got.view(torch.uint16).numpy())
    assert got.isnan().tolist() == [[[True, False, False]]]
    assert got.isinf().tolist() == [[[False, True, False]]]


def _surrogate_values(current, beta, threshold):
    v, values = np.zeros(current.shape[1:]), []
    for step in current:
        v = beta * v + step
        values.append(np.arctan(np.pi * (v - threshold)) / np.pi)
    return values


def test_kernels_run_where_no_cache_can_be_written():
    # ZipCacheLocator finds no place for a plain file: what numba meets on a read-only system.
    code = (
        "import numpy as np; from nsc_deploy.kernels import leaky_forward as f;"
        "s = np.empty((1, 1, 1), np.float32); o = np.ones(1, np.float32);"
        "f(np.full((1, 1, 1), 2, np.float32), o, o, np.zeros((1, 1), np.float32), s); print(s.item())"
    )
    environment = os.environ | {"NUMBA_CACHE_LOCATOR_CLASSES": "ZipCacheLocator"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "1.0\n"), done.stderr


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int8, st.tuples(st.integers(1, 6), st.integers(1, 40)), elements=st.integers(-2, 2)))
def test_counting_is_the_same_with_and_without_compiled_loops(values):
    weights = np.arange(1, values.shape[1] + 1, dtype=np.int64)
    (loop, loop_sums), (plain, plain_sums) = np.zeros((2, 2, len(values)), np.int64)
    weigh_nonzero(values, weights, loop, loop_sums)
    kernels._weigh_nonzero_at_once(values, weights, plain, plain_sums)
    alone, plain_alone = np.zeros((2, len(values)), np.int64)
    count_nonzero(values, alone)
    kernels._count_nonzero_at_once(values, plain_alone)
    expected = [int((row != 0).sum()) for row in values]
    assert [*loop] == [*plain] == [*alone] == [*plain_alone] == expected
    assert [*loop_sums] == [*plain_sums] == [int(weights[row != 0].sum()) for row in values]


def test_how_many_events_there_are_is_told_by_rows_evenly_spread():
    signal = np.zeros((1000, 50), np.float32)
    assert kernels.has_few_events(signal, 0.0)
    signal[500:] = 1
    assert kernels.has_few_events(signal, 0.5) and not kernels.has_few_events(signal, 0.49)
    assert kernels.has_few_events(signal[:0], 0.0)

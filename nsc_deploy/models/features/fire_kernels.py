"""Compiled loops of IF and IHF neurons over time, one pass over memory each way; no torch in here.

The equations are those of `neurons`. Arrays are float32 [T, n], C-contiguous, n being all neurons of all
samples; what is the same in every step may be [1, n]. Neurons are taken a piece at a time, whose state stays
in the nearest cache over all steps.
"""

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.kernels import called_often, kernel

Real = NDArray[np.float32]

PIECE = 2048
"""Neurons of a piece: 8 KiB a state."""

_LOG2_E = np.float32(1.4426950408889634)
# ln 2 in two parts: a product of the first with an integer below 2^9 is exact.
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
# Added to a number below 2^22, it leaves the nearest integer in the last bits.
_ROUNDS = np.float32(1.5 * 2**23)
_LARGEST = np.float32(87)
"""exp of minus this is the smallest that float32 holds in full."""
_EXPONENT = np.int32(23)
_ONE_BITS = np.int32(127 << 23)


@kernel
def fire_forward(
    current: Real, threshold: np.float32, subtracts: bool, charged: Real, spikes: Real, after: Real
) -> None:
    """Run neurons over T steps, from rest.

    Args:
        current: I.
        threshold: a spike needs a potential above it.
        subtracts: whether a spike takes the threshold off; else it leaves zero.
        charged: filled with m.
        spikes: filled with S.
        after: filled with v.
    """
    steps, neurons = charged.shape
    zero, one = np.float32(0), np.float32(1)
    state = np.empty(PIECE, np.float32)
    for start in range(0, neurons, PIECE):
        end = min(start + PIECE, neurons)
        state[:] = zero
        for t in range(steps):
            arriving = current[t if len(current) > 1 else 0, start:end]
            m_row, s_row, v_row = charged[t, start:end], spikes[t, start:end], after[t, start:end]
            for n in range(end - start):
                m = state[n] + arriving[n]
                fired = m > threshold
                v = (m - threshold if subtracts else zero) if fired else m
                m_row[n] = m
                s_row[n] = one if fired else zero
                v_row[n] = v
                state[n] = v


@kernel
def weighted_forward(
    current: Real, threshold: np.float32, subtracts: bool, a: Real, b: Real, total: Real
) -> None:
    """`fire_forward` that keeps of S and v their weighted sum alone, and of m nothing.

    Args:
        current: I.
        threshold: of a spike.
        subtracts: what a spike does.
        a: weight of the spikes of a step [T].
        b: weight of the potentials of a step [T].
        total: filled with the sum over t of a[t] S[t] + b[t] v[t] [n].
    """
    zero, one = np.float32(0), np.float32(1)
    state = np.empty(PIECE, np.float32)
    for start in range(0, len(total), PIECE):
        end = min(start + PIECE, len(total))
        state[:] = zero
        sums = total[start:end]
        sums[:] = zero
        for t in range(len(a)):
            arriving = current[t if len(current) > 1 else 0, start:end]
            of_spikes, of_potentials = a[t], b[t]
            for n in range(end - start):
                m = state[n] + arriving[n]
                fired = m > threshold
                v = (m - threshold if subtracts else zero) if fired else m
                state[n] = v
                sums[n] = (sums[n] + of_spikes * (one if fired else zero)) + of_potentials * v


@called_often
def _charge(state: Real, current: Real, threshold: np.float32, subtracts: bool, charged: Real) -> None:
    """One step of neurons: m, and v in place of the state."""
    zero = np.float32(0)
    for n in range(len(current)):
        m = state[n] + current[n]
        charged[n] = m
        state[n] = (m - threshold if subtracts else zero) if m > threshold else m


@called_often
def _derivative(
    charged: Real,
    threshold: np.float32,
    slope: np.float32,
    rounded: Real,
    rounded_bits: NDArray[np.int32],
    power: Real,
    power_bits: NDArray[np.int32],
    derivative: Real,
) -> None:
    """Slope p (1 - p) with p = sigmoid(slope (m - threshold)).

    That is slope e / (1 + e)^2 with e = exp(-slope |m - threshold|), and e = 2^-k exp(r) with |r| at most
    ln(2) / 2, where the Taylor polynomial of degree 7 has an error of 5e-9. Each loop has numbers of one kind
    alone, so all become vector instructions. `rounded` and `power` are room for it, each with a view of its
    bits.
    """
    one = np.float32(1)
    for n in range(len(charged)):
        y = slope * abs(charged[n] - threshold)
        y = _LARGEST if y > _LARGEST else y
        rounded[n] = y * _LOG2_E + _ROUNDS
    for n in range(len(charged)):
        power_bits[n] = _ONE_BITS - (rounded_bits[n] << _EXPONENT)
    for n in range(len(charged)):
        y = slope * abs(charged[n] - threshold)
        y = _LARGEST if y > _LARGEST else y
        k = rounded[n] - _ROUNDS
        r = (k * _LN2_HIGH - y) + k * _LN2_LOW
        e = np.float32(1 / 5040)
        e = e * r + np.float32(1 / 720)
        e = e * r + np.float32(1 / 120)
        e = e * r + np.float32(1 / 24)
        e = e * r + np.float32(1 / 6)
        e = e * r + np.float32(1 / 2)
        e = e * r + one
        e = (e * r + one) * power[n]
        derivative[n] = slope * e / ((one + e) * (one + e))


@called_often
def _back(
    charged: Real,
    derivative: Real,
    threshold: np.float32,
    subtracts: bool,
    a: np.float32,
    grad_spikes: Real,
    b: np.float32,
    grad_after: Real,
    later: Real,
    grad_current: Real,
) -> None:
    """One step back: dL/dm of a dL/dS, b dL/dv and `later`, that of the step behind; `later` becomes it."""
    zero = np.float32(0)
    if subtracts:
        for n in range(len(charged)):
            carried = later[n] + b * grad_after[n]
            total = carried + (a * grad_spikes[n] - threshold * carried) * derivative[n]
            later[n] = total
            grad_current[n] = total
    else:
        for n in range(len(charged)):
            m, carried = charged[n], later[n] + b * grad_after[n]
            kept = zero if m > threshold else carried
            total = kept + (a * grad_spikes[n] - m * carried) * derivative[n]
            later[n] = total
            grad_current[n] = total


@kernel
def fire_backward(
    grad_spikes: Real,
    grad_after: Real,
    charged: Real,
    threshold: np.float32,
    slope: np.float32,
    subtracts: bool,
    grad_current: Real,
) -> None:
    """The gradient of `fire_forward`, through the reset as well.

    Args:
        grad_spikes: dL/dS.
        grad_after: dL/dv, without what later steps add.
        charged: m, as recorded.
        threshold: of a spike.
        slope: of the sigmoid whose derivative stands for that of a spike.
        subtracts: what a spike does.
        grad_current: filled with dL/dI [T, n].
    """
    steps, neurons = charged.shape
    zero, one = np.float32(0), np.float32(1)
    later, derivative = np.empty(PIECE, np.float32), np.empty(PIECE, np.float32)
    rounded, power = np.empty(PIECE, np.float32), np.empty(PIECE, np.float32)
    rounded_bits, power_bits = rounded.view(np.int32), power.view(np.int32)
    for start in range(0, neurons, PIECE):
        end = min(start + PIECE, neurons)
        later[:] = zero
        for t in range(steps - 1, -1, -1):
            m_row, result = charged[t, start:end], grad_current[t, start:end]
            s_row = grad_spikes[t if len(grad_spikes) > 1 else 0, start:end]
            v_row = grad_after[t if len(grad_after) > 1 else 0, start:end]
            _derivative(m_row, threshold, slope, rounded, rounded_bits, power, power_bits, derivative)
            _back(m_row, derivative, threshold, subtracts, one, s_row, one, v_row, later, result)


@called_often
def _add_up(
    charged: Real, grad_total: Real, threshold: np.float32, subtracts: bool, of_a: Real, of_b: Real
) -> None:
    """Products of the gradient with S and with v, added to one sum for each place in a piece."""
    zero, one = np.float32(0), np.float32(1)
    for n in range(len(charged)):
        fired = one if charged[n] > threshold else zero
        of_a[n] = of_a[n] + fired * grad_total[n]
    for n in range(len(charged)):
        m = charged[n]
        left = m - threshold if subtracts else zero
        of_b[n] = of_b[n] + (left if m > threshold else m) * grad_total[n]


@kernel
def weighted_backward(
    grad_total: Real,
    a: Real,
    b: Real,
    current: Real,
    threshold: np.float32,
    slope: np.float32,
    subtracts: bool,
    grad_current: Real,
    grad_a: Real,
    grad_b: Real,
) -> None:
    """The gradient of `weighted_forward`, which runs the neurons of a piece once more.

    Args:
        grad_total: dL/d total [n].
        a: as there.
        b: as there.
        current: I.
        threshold: of a spike.
        slope: of the surrogate derivative.
        subtracts: what a spike does.
        grad_current: filled with dL/dI [T, n].
        grad_a: filled with dL/da [T].
        grad_b: filled with dL/db [T].
    """
    steps, neurons = len(a), len(grad_total)
    zero = np.float32(0)
    charged = np.empty((steps, PIECE), np.float32)
    later, derivative = np.empty(PIECE, np.float32), np.empty(PIECE, np.float32)
    rounded, power = np.empty(PIECE, np.float32), np.empty(PIECE, np.float32)
    rounded_bits, power_bits = rounded.view(np.int32), power.view(np.int32)
    # One sum for each place in a piece: a single one would have to be added to in order.
    of_a, of_b = np.zeros((steps, PIECE), np.float32), np.zeros((steps, PIECE), np.float32)
    for start in range(0, neurons, PIECE):
        end = min(start + PIECE, neurons)
        later[:] = zero
        for t in range(steps):
            step = current[t if len(current) > 1 else 0, start:end]
            _charge(later, step, threshold, subtracts, charged[t])
        later[:] = zero
        arriving = grad_total[start:end]
        for t in range(steps - 1, -1, -1):
            m_row, result = charged[t, : end - start], grad_current[t, start:end]
            _derivative(m_row, threshold, slope, rounded, rounded_bits, power, power_bits, derivative)
            _back(m_row, derivative, threshold, subtracts, a[t], arriving, b[t], arriving, later, result)
            _add_up(m_row, arriving, threshold, subtracts, of_a[t], of_b[t])
    for t in range(steps):
        grad_a[t], grad_b[t] = of_a[t].sum(), of_b[t].sum()

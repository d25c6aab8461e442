"""Lava's fixed-point arithmetic in numpy, equal to lava-nc 0.10.0 in s, u and v.

    a[t] = (sum over the spikes s[t - delay] of weight) << weight_exp
    u[t] = sgn(u) * (|u| * (4096 - (du + 1)) >> 12) + (a[t] << 6)     wrapped once into 24 bits
    v[t] = clip(sgn(v) * (|v| * (4096 - dv) >> 12) + u[t] + bias)      to -(2^23 - 1) .. 2^23 - 1
    s[t] = v[t] > vth << 6, and v[t] = 0 where s[t]

`u` and `v` on the right are those of the step before; `bias` is `bias_mant << bias_exp`. Time is that of
the graph: the step a connection takes in Lava is left out, since it only shifts every layer as a whole.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.lava.integer import (
    DECAY_UNITY,
    FIXED_POINT_BITS,
    STATE_LIMIT,
    IntegerLayer,
    IntegerNetwork,
)


@dataclass(frozen=True)
class LayerTrace:
    """What one layer did, each [steps, samples, neurons].

    Attributes:
        spikes: uint8.
        current: int32, u after the step.
        potential: int32, v after the step and its reset.
    """

    spikes: NDArray[np.uint8]
    current: NDArray[np.int32]
    potential: NDArray[np.int32]


def run_network(network: IntegerNetwork, events: NDArray[np.uint8]) -> tuple[LayerTrace, ...]:
    """Run a batch from rest and return what every layer did.

    Args:
        network: valid (see `integer.validate`).
        events: [steps, samples, inputs] of 0 and 1.
    """
    traces: list[LayerTrace] = []
    for layer in network.layers:
        traces.append(run_layer(layer, traces[-1].spikes if traces else events))
    return tuple(traces)


def output_spikes(network: IntegerNetwork, events: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The spikes of the last layer, [steps, samples, outputs], without keeping the rest."""
    for layer in network.layers:
        events = run_layer(layer, events).spikes
    return events


def run_layer(layer: IntegerLayer, events: NDArray[np.uint8]) -> LayerTrace:
    """Run one layer from rest on [steps, samples, inputs] events."""
    drive = _accumulate(layer, events) << layer.weight_exp
    steps, samples, neurons = drive.shape
    trace = LayerTrace(
        np.zeros((steps, samples, neurons), np.uint8),
        np.zeros((steps, samples, neurons), np.int32),
        np.zeros((steps, samples, neurons), np.int32),
    )
    u = np.zeros((samples, neurons), np.int64)
    v = np.zeros((samples, neurons), np.int64)
    bias = layer.bias.astype(np.int64) << layer.bias_exp
    threshold = layer.vth.astype(np.int64) << FIXED_POINT_BITS
    for t in range(steps):
        u = wrap(decay(u, layer.du + 1) + (drive[t] << FIXED_POINT_BITS))
        v = np.clip(decay(v, layer.dv) + u + bias, -(STATE_LIMIT - 1), STATE_LIMIT - 1)
        fired = v > threshold
        v[fired] = 0
        trace.spikes[t], trace.current[t], trace.potential[t] = fired, u, v
    return trace


def decay(state: NDArray[np.int64], constant: NDArray[np.int32]) -> NDArray[np.int64]:
    """A state after one step of decay, truncated toward zero."""
    decayed: NDArray[np.int64] = (np.abs(state) * (DECAY_UNITY - constant.astype(np.int64))) >> 12
    return np.sign(state) * decayed


def wrap(current: NDArray[np.int64]) -> NDArray[np.int64]:
    """A current beyond 24 bits comes back from the other end, once."""
    wrapped = np.where(current > STATE_LIMIT, current - 2 * STATE_LIMIT, current)
    return np.where(wrapped <= -STATE_LIMIT, current + 2 * STATE_LIMIT, wrapped)


def _accumulate(layer: IntegerLayer, events: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Weights summed over the spikes of each step, [steps, samples, neurons], delays applied."""
    # Sums of 8-bit weights over fewer than 2^45 lines are exact in float64, whatever the order.
    weight = layer.weight.astype(np.float64)
    drive = np.zeros((*events.shape[:2], layer.neurons), np.int64)
    for steps in np.unique(layer.delay):
        rows = layer.delay == steps
        used = weight[rows].any(axis=0)
        late = np.zeros((*events.shape[:2], int(used.sum())))
        late[steps:] = events[: max(events.shape[0] - steps, 0), :, used]
        drive[..., rows] = np.rint(late @ weight[rows][:, used].T)
    return drive

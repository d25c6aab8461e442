"""NIR graphs computed the slow way: one number at a time, by asking each node for its value at a step.

Written from the equations alone and independent of the package: no arrays inside a node, no order of
nodes, no batches. The value of a node at a step is found by asking its inputs; an edge in `late` asks for
the step before, a Delay asks for as many steps before as it holds. The nodes of a nested graph "a" are called
"a.name"; its Input and Output pass on what arrives.
"""

import itertools
from functools import lru_cache

import nir
import numpy as np


def unfolded(graph, prefix=""):
    """Nodes by full name and edges between them, of a graph with graphs inside."""
    nodes, edges, first, last = {}, [], {}, {}
    for name, node in graph.nodes.items():
        full = prefix + name
        first[name] = last[name] = full
        if isinstance(node, nir.NIRGraph):
            inner, wires = unfolded(node, f"{full}.")
            nodes |= inner
            edges += wires
            (first[name],) = [
                n
                for n, one in inner.items()
                if isinstance(one, nir.Input) and n.count(".") == full.count(".") + 1
            ]
            (last[name],) = [
                n
                for n, one in inner.items()
                if isinstance(one, nir.Output) and n.count(".") == full.count(".") + 1
            ]
        else:
            nodes[full] = node
    return nodes, edges + [(last[source], first[target]) for source, target in graph.edges]


def around(padding, kernel, dilation):
    """Zeros before each dimension."""
    if isinstance(padding, str):
        wide = [
            0 if padding == "valid" else step * (taps - 1)
            for step, taps in zip(dilation, kernel, strict=True)
        ]
        return [zeros // 2 for zeros in wide]
    return [int(zeros) for zeros in np.broadcast_to(padding, len(kernel))]


def reading(x, place):
    """x[place], 0 outside."""
    return (
        x[place] if all(0 <= at < size for at, size in zip(place, x.shape, strict=True)) else x.dtype.type(0)
    )


class Naive:
    """One sample [T, *shape] through a `nir.NIRGraph`."""

    def __init__(self, graph, sample, dt, reset, late=(), dtype=np.float32):
        self.nodes, self.edges = unfolded(graph)
        self.sample, self.dt, self.reset = sample, dt, reset
        self.late, self.dtype = set(late), dtype
        self.value = lru_cache(maxsize=None)(self._value)
        self.state = lru_cache(maxsize=None)(self._state)

    def run(self, name):
        for t in range(len(self.sample)):  # earlier steps first keeps the recursion shallow
            self.value(name, t)
        return np.array([self.value(name, t) for t in range(len(self.sample))])

    def arriving(self, name, t):
        """The sum of the inputs as a nested tuple-free array of scalars, or None before the start."""
        if t < 0:
            return None
        total = None
        for source, target in self.edges:
            if target != name:
                continue
            back = 1 if (source, target) in self.late else 0
            value = self.value(source, t - back)
            if value is None:
                value = np.zeros_like(self.value(source, t)) if back == 0 else 0
            total = value if total is None else total + value
        return total

    def _value(self, name, t):
        if t < 0:
            return None
        node = self.nodes[name]
        kind = type(node).__name__
        if kind == "Input" and "." not in name:
            return self.sample[t].astype(self.dtype)
        if kind == "Delay":
            return self.delayed(name, node, t)
        if kind in {"LIF", "IF", "CubaLIF"}:
            return self.state(name, t)[1]
        if kind in {"LI", "I", "CubaLI"}:
            return self.state(name, t)[0]
        return getattr(self, kind.lower())(node, self.arriving(name, t))

    def delayed(self, name, node, t):
        result = np.zeros(node.delay.shape, self.dtype)
        for place in np.ndindex(node.delay.shape):
            before = t - round(float(node.delay[place]) / self.dt)
            if before >= 0:
                result[place] = np.broadcast_to(self.arriving(name, before), node.delay.shape)[place]
        return result

    def _state(self, name, t):
        """Potential after the reset, spikes, synaptic current and potential before the reset."""
        node = self.nodes[name]
        shape = (node.r if hasattr(node, "r") else node.tau).shape
        zeros = np.zeros(shape, self.dtype)
        if t < 0:
            return zeros, zeros, zeros, zeros
        before = self.state(name, t - 1)
        entering = np.broadcast_to(self.arriving(name, t), shape)
        after, spikes, synaptic, charged = (zeros.copy() for _ in range(4))
        for place in np.ndindex(shape):
            current = self.dtype(entering[place])
            if hasattr(node, "tau_syn"):
                share = self.dt / float(node.tau_syn[place])
                kept = self.dtype(1 - share) * before[2][place]
                current = kept + self.dtype(float(node.w_in[place]) * share) * current
                synaptic[place] = current
            v = self.membrane(node, place, before[0][place], current)
            charged[place] = v
            if hasattr(node, "v_threshold") and v > self.dtype(node.v_threshold[place]):
                spikes[place] = 1
                v = (
                    self.dtype(node.v_reset[place])
                    if self.reset == "zero"
                    else v - self.dtype(node.v_threshold[place])
                )
            after[place] = v
        return after, spikes, synaptic, charged

    def membrane(self, node, place, v, current):
        tau = getattr(node, "tau", getattr(node, "tau_mem", None))
        if tau is None:
            return self.dtype(1) * v + self.dtype(float(node.r[place]) * self.dt) * current
        share = self.dt / float(tau[place])
        drive = self.dtype(float(node.r[place]) * share) * current
        drive = drive + self.dtype(float(node.v_leak[place]) * share)
        return self.dtype(1 - share) * v + drive

    def output(self, node, x):
        return x

    input = output

    def flatten(self, node, x):
        axes = list(range(x.ndim))
        start, end = axes[node.start_dim], axes[node.end_dim]
        shape = (*x.shape[:start], int(np.prod(x.shape[start : end + 1])), *x.shape[end + 1 :])
        result = np.zeros(shape, self.dtype)
        for flat, place in enumerate(np.ndindex(x.shape)):
            result[tuple(int(at) for at in np.unravel_index(flat, shape))] = x[place]
        return result

    def conv2d(self, node, x):
        outputs, per_group, *kernel = node.weight.shape
        space = len(kernel)
        stride, dilation = (np.broadcast_to(value, space) for value in (node.stride, node.dilation))
        before = around(node.padding, kernel, dilation)
        after = [
            step * (taps - 1) - zeros for step, taps, zeros in zip(dilation, kernel, before, strict=True)
        ]
        if not (isinstance(node.padding, str) and node.padding == "same"):
            after = before
        size = [
            (wide + low + high - step * (taps - 1) - 1) // jump + 1
            for wide, low, high, step, taps, jump in zip(
                x.shape[1:], before, after, dilation, kernel, stride, strict=True
            )
        ]
        result = np.zeros((outputs, *size), self.dtype)
        for channel, *place in np.ndindex(*result.shape):
            first = channel // (outputs // node.groups) * per_group
            total = self.dtype(node.bias[channel])
            for source, *tap in np.ndindex(per_group, *kernel):
                at = [
                    p * s - z + t * d
                    for p, s, z, t, d in zip(place, stride, before, tap, dilation, strict=True)
                ]
                weight = self.dtype(node.weight[(channel, source, *tap)])
                total += weight * reading(x[first + source], tuple(at))
            result[(channel, *place)] = total
        return result

    conv1d = conv2d

    def sumpool2d(self, node, x):
        window, stride, zeros = (np.broadcast_to(v, 2) for v in (node.kernel_size, node.stride, node.padding))
        size = (np.array(x.shape[1:]) + 2 * zeros - window) // stride + 1
        result = np.zeros((len(x), *size), self.dtype)
        for channel, *place in np.ndindex(*result.shape):
            for tap in np.ndindex(*window):
                result[(channel, *place)] += reading(
                    x[channel], tuple(np.array(place) * stride - zeros + tap)
                )
        return result

    def avgpool2d(self, node, x):
        return self.sumpool2d(node, x) / self.dtype(np.prod(np.broadcast_to(node.kernel_size, 2)))

    def threshold(self, node, x):
        return (x > node.threshold.astype(self.dtype)).astype(self.dtype)

    def scale(self, node, x):
        return x * node.scale.astype(self.dtype)

    def linear(self, node, x):
        rows, columns = node.weight.shape
        result = np.zeros(rows, self.dtype)
        for row, column in itertools.product(range(rows), range(columns)):
            result[row] += self.dtype(node.weight[row, column]) * x[column]
        return result

    def affine(self, node, x):
        return self.linear(node, x) + node.bias.astype(self.dtype)

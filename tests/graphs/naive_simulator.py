"""NIR graphs computed the slow way: one number at a time, by asking each node for its value at a step.

Written from the equations alone and independent of the package: no arrays inside a node, no order of
nodes, no batches. The value of a node at a step is found by asking its inputs; an edge in `late` asks for
the step before, a Delay asks for as many steps before as it holds.
"""

import itertools
from functools import lru_cache

import numpy as np


class Naive:
    """One sample [T, *shape] through a `nir.NIRGraph` without nesting."""

    def __init__(self, graph, sample, dt, reset, late=(), dtype=np.float32):
        self.graph, self.sample, self.dt, self.reset = graph, sample, dt, reset
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
        for source, target in self.graph.edges:
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
        node = self.graph.nodes[name]
        kind = type(node).__name__
        if kind == "Input":
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
        node = self.graph.nodes[name]
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

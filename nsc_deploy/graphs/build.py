"""A short way to write down the graphs of our own models, with every parameter in NIR's terms."""

from collections.abc import Sequence
from typing import Any

import nir
import numpy as np
from numpy.typing import ArrayLike

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.formats.nir import graph_metadata
from nsc_deploy.graphs.network import Reset, Shape, Signal

After = str | Sequence[str] | None


class GraphBuilder:
    """Collects nodes and edges; a node follows the one added before it unless `after` names others.

    Args:
        dt: length of a step in seconds.
        reset: what a spike does to the potential.
    """

    def __init__(self, dt: float, reset: Reset = Reset.ZERO) -> None:
        self.dt = float(dt)
        self._metadata = graph_metadata(dt, reset)
        self._nodes: dict[str, Any] = {}
        self._edges: list[tuple[str, str]] = []
        self._last: str | None = None

    def input(self, shape: int | Shape, signal: Signal, *, name: str = "input") -> str:
        """Add an input of a shape."""
        node = nir.Input(np.array(_shape(shape)), metadata={"signal": signal.value})
        return self._add(name, node, ())

    def linear(self, name: str, weight: ArrayLike, *, after: After = None) -> str:
        """Add y = W x with W [out, in] in float32."""
        return self._add(name, nir.Linear(_float32(weight)), after)

    def affine(self, name: str, weight: ArrayLike, bias: ArrayLike, *, after: After = None) -> str:
        """Add y = W x + b with W [out, in] and b [out] in float32."""
        return self._add(name, nir.Affine(_float32(weight), _float32(bias)), after)

    def lif(
        self, name: str, beta: ArrayLike, threshold: ArrayLike, shape: int | Shape, *, after: After = None
    ) -> str:
        """Add leaky neurons: v = beta v + I, a spike where v > threshold.

        In NIR's terms tau = dt / (1 - beta) and r = tau / dt, so that the input enters with gain 1.

        Args:
            name: of the node.
            beta: decay in one step, in [0, 1), one number or one for each neuron; rounded to float32.
            threshold: one number or one for each neuron.
            shape: of the layer.
            after: what feeds it; several are summed.

        Raises:
            GraphError: beta is out of range (for beta = 1 there is `integrate_and_fire`).
        """
        decay = np.broadcast_to(_float32(beta), _shape(shape)).astype(np.float64)
        if not ((decay >= 0) & (decay < 1)).all():
            raise GraphError(
                "has a decay outside [0, 1)",
                where=f"node '{name}'",
                hint="Without a leak it is an IF neuron.",
            )
        tau = self.dt / (1 - decay)
        node = nir.LIF(
            tau=tau,
            r=tau / self.dt,
            v_leak=np.zeros_like(tau),
            v_threshold=np.broadcast_to(_float32(threshold), tau.shape).copy(),
            v_reset=np.zeros_like(tau),
        )
        return self._add(name, node, after)

    def integrate_and_fire(
        self, name: str, threshold: ArrayLike, shape: int | Shape, *, after: After = None
    ) -> str:
        """Add neurons without a leak: v = v + I, a spike where v > threshold."""
        size = _shape(shape)
        limit = np.broadcast_to(_float32(threshold), size).copy()
        return self._add(name, nir.IF(r=np.full(size, 1 / self.dt), v_threshold=limit), after)

    def threshold(self, name: str, threshold: ArrayLike, shape: int | Shape, *, after: After = None) -> str:
        """Add neurons without memory: a spike where the input > threshold."""
        limit = np.broadcast_to(_float32(threshold), _shape(shape)).copy()
        return self._add(name, nir.Threshold(limit), after)

    def delay(self, name: str, steps: ArrayLike, shape: int | Shape, *, after: After = None) -> str:
        """Add a delay of whole steps, one number or one for each element."""
        seconds = np.broadcast_to(np.asarray(steps, dtype=np.float64), _shape(shape)) * self.dt
        return self._add(name, nir.Delay(seconds), after)

    def add(self, name: str, node: nir.NIRNode, *, after: After = None) -> str:
        """Add any other NIR primitive."""
        return self._add(name, node, after)

    def continue_from(self, node: str) -> None:
        """Let the next node follow this one."""
        self._last = node

    def connect(self, source: str, target: str) -> None:
        """Add an edge, for example one that closes a cycle."""
        self._edges.append((source, target))

    def output(
        self,
        shape: int | Shape,
        *,
        classes: int | None = None,
        group: int | None = None,
        after: After = None,
        name: str = "output",
    ) -> str:
        """Add an output; `classes` and `group` say how a decision is read from it."""
        metadata = {
            key: value for key, value in (("classes", classes), ("group", group)) if value is not None
        }
        return self._add(name, nir.Output(np.array(_shape(shape)), metadata=metadata), after)

    def build(self) -> nir.NIRGraph:
        """The graph; `assemble` or `write_network` and `read_network` check it."""
        return nir.NIRGraph(
            dict(self._nodes), list(self._edges), metadata=dict(self._metadata), type_check=False
        )

    def _add(self, name: str, node: Any, after: After) -> str:
        if name in self._nodes:
            raise GraphError("is there already", where=f"node '{name}'")
        if after is None:
            sources: Sequence[str] = () if self._last is None else (self._last,)
        else:
            sources = (after,) if isinstance(after, str) else after
        unknown = [source for source in sources if source not in self._nodes]
        if unknown:
            raise GraphError(f"comes after '{unknown[0]}', which is not there", where=f"node '{name}'")
        self._nodes[name] = node
        self._edges.extend((source, name) for source in sources)
        self._last = name
        return name


def _shape(shape: int | Shape) -> Shape:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def _float32(values: ArrayLike) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(values, dtype=np.float32)

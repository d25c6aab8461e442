"""The reference simulator: what every other backend is compared with.

The equations and their order are in `nsc_deploy.graphs.operators.neurons`. Arrays are
[T, N, *shape]: T time steps, N samples, the shape of one sample at one step.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nsc_deploy.errors import DataError, GraphError
from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.operators import Builder, Operator, Real, Setting
from nsc_deploy.graphs.operators.linear import LINEAR, Delay
from nsc_deploy.graphs.operators.neurons import NEURONS, Membrane, Synapse

Values = NDArray[Any] | Mapping[str, NDArray[Any]]
Names = Iterable[str] | Literal["all"] | None
Observer = Callable[[str, Real], None]
VALUES_AT_ONCE = 2**25


@dataclass(frozen=True)
class Trace:
    """Outputs and potentials of a run.

    Attributes:
        outputs: [T, N, *shape] of each Output node and of each node that was to be recorded.
        potentials: membrane potentials [T, N, *shape] before the reset, of the nodes named.
    """

    outputs: Mapping[str, Real]
    potentials: Mapping[str, Real]
    network: Network

    @property
    def output(self) -> Real:
        """The output of the one Output node, [T, N, *shape]."""
        return self.outputs[self.network.output_node.name]


def simulate(
    network: Network,
    values: Values,
    *,
    record: Names = None,
    potentials: Names = None,
    dtype: DTypeLike = np.float32,
    observe: Observer | None = None,
) -> Trace:
    """Run a network from rest over a batch.

    Nodes outside of cycles are computed one after the other, each over all steps at once; the nodes of
    a cycle step by step.

    Args:
        network: what to run.
        values: what enters, [T, N, *shape]; a mapping by Input node where there are several.
        record: nodes whose outputs are kept besides those of the Output nodes.
        potentials: neurons and integrators whose potentials are kept.
        dtype: float32 or float64.
        observe: called once for each node with its name and its output [T, N, *shape], in the order of
            `network.nodes`; the array is gone after the call unless it is copied.

    Raises:
        DataError: the values do not fit the input.
        GraphError: a node cannot be run with this time step, or there is no such node.
    """
    return _Run(network, values, np.dtype(dtype), record, potentials, observe).trace()


def simulate_batches(
    network: Network,
    values: Values,
    *,
    batch: int = 256,
    dtype: DTypeLike = np.float32,
    observe: Observer | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Real]:
    """Run a network over many samples, a batch at a time, to bound the memory.

    Args:
        network: what to run.
        values: as for `simulate`.
        batch: samples run together, fewer where the graph is large.
        dtype: float32 or float64.
        observe: as for `simulate`, called for each batch anew.
        progress: called after each batch with its number of samples.

    Returns:
        The outputs [T, N, *shape] of each Output node.
    """
    collected: dict[str, list[Real]] = {node.name: [] for node in network.output_nodes}
    for part in _split_batches(network, values, batch):
        trace = simulate(network, part, dtype=dtype, observe=observe)
        for name, parts in collected.items():
            parts.append(trace.outputs[name])
        if progress is not None:
            progress(next(iter(trace.outputs.values())).shape[1])
    return {name: np.concatenate(parts, axis=1) for name, parts in collected.items()}


def _split_batches(network: Network, values: Values, batch: int) -> Iterator[dict[str, NDArray[Any]]]:
    entering = _values_by_input(network, values)
    steps, samples = next(iter(entering.values())).shape[:2]
    batch = samples_at_once(network, steps, batch)
    for start in range(0, samples, batch):
        yield {name: array[:, start : start + batch] for name, array in entering.items()}


def _values_by_input(network: Network, values: Values) -> dict[str, NDArray[Any]]:
    """Values by Input node, checked."""
    found = dict(values) if isinstance(values, Mapping) else {network.input_node.name: np.asarray(values)}
    wanted = {node.name: node for node in network.input_nodes}
    if found.keys() != wanted.keys():
        raise DataError(f"values are given for {sorted(found)} and wanted for {sorted(wanted)}")
    for name, array in found.items():
        _check_values(wanted[name], array)
    if len({array.shape[:2] for array in found.values()}) > 1:
        raise DataError("the inputs differ in their numbers of steps or samples")
    return found


def require_shape(node: Node, given: tuple[int, ...]) -> None:
    """Refuse values that an input node does not take.

    Raises:
        DataError: with both shapes and, where the axes seem to stand in another order, how to turn them.
    """
    if len(given) < 2 or given[2:] != node.input_shape or 0 in given:
        wanted = ", ".join(map(str, ("steps", "samples", *node.input_shape)))
        raise DataError(
            f"values of the shape {given} are given where [{wanted}] is wanted",
            where=f"node '{node.name}'",
            hint=_axes_hint(given, node.input_shape, wanted),
        )


def _axes_hint(given: tuple[int, ...], shape: tuple[int, ...], wanted: str) -> str | None:
    if len(given) == len(shape) + 1 and given[1:] == shape:
        return f"The axis of samples is missing: one sample is [steps, 1{wanted.partition('samples')[2]}]."
    sizes = list(given)
    for size in shape:
        if size not in sizes:
            return None
        sizes.remove(size)
    # What is left over are the steps and the samples.
    return f"The axes seem to stand in another order: turn them to [{wanted}]." if len(sizes) == 2 else None


def _check_values(node: Node, array: NDArray[Any]) -> None:
    require_shape(node, array.shape)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError("the values hold NaN or infinity", where=f"node '{node.name}'")


class _Run:
    """One run over one batch."""

    def __init__(
        self,
        network: Network,
        values: Values,
        dtype: np.dtype[Any],
        record: Names,
        potentials: Names,
        observe: Observer | None,
    ) -> None:
        if dtype not in {np.dtype(np.float32), np.dtype(np.float64)}:
            raise GraphError(f"cannot be simulated in {dtype}, only in float32 or float64")
        self._network = network
        self._values = {
            name: array.astype(dtype, order="C") for name, array in _values_by_input(network, values).items()
        }
        self._steps, self._samples = next(iter(self._values.values())).shape[:2]
        setting = Setting(network.dt, network.reset, dtype, self._samples)
        self._operators = {node.name: build_operator(node, setting) for node in network.nodes}
        self._dtype = dtype
        self._recorded = self._names(record) | {node.name for node in network.output_nodes}
        self._observe = observe
        self._outputs: dict[str, Real] = {}
        self._readers = {node.name: len(network.successors(node.name)) for node in network.nodes}
        self._potentials: dict[str, list[Real]] = {}
        for name in self._names(potentials, membranes=True):
            self._potentials[name] = []
            self._membrane(name).keep_potentials = True

    def trace(self) -> Trace:
        """Run, and collect what is kept."""
        recorded: dict[str, Real] = {}
        for component in self._network.components:
            run = self._run_cycle if self._network.cyclic(component) else self._run_node
            with np.errstate(over="ignore", invalid="ignore"):
                outputs = run(component)
            for name, output in outputs.items():
                self._require_finite(name, output)
                self._outputs[name] = output
                if self._observe is not None:
                    self._observe(name, output)
                if name in self._recorded:
                    recorded[name] = output
            self._release(component)
        potentials = {name: np.concatenate(parts) for name, parts in self._potentials.items()}
        return Trace(recorded, potentials, self._network)

    def _require_finite(self, name: str, output: Real) -> None:
        """Refuse what is no number any more: it passes no threshold, and what follows would fall silent."""
        operator = self._operators[name]
        kept = not isinstance(operator, Membrane | Synapse) or operator.finite
        if kept and (self._network.node(name).spiking or np.isfinite(output).all()):
            return
        steps = np.flatnonzero(~np.isfinite(output).reshape(len(output), -1).all(1))
        when = f" in step {steps[0] + 1} of {len(output)}" if len(steps) else ""
        raise GraphError(
            f"gives NaN or infinity{when}: its values grow beyond the largest number of {self._dtype}",
            where=f"node '{name}'",
            hint="Look for a loop that amplifies, and at the sizes of weights and inputs.",
        )

    def _run_node(self, component: tuple[str, ...]) -> dict[str, Real]:
        (name,) = component
        node = self._network.node(name)
        arriving = self._values[name] if node.primitive == "Input" else self._sum(node)
        return {name: self._advance(name, arriving)}

    def _sum(self, node: Node) -> Real:
        total = self._outputs[node.inputs[0]]
        for source in node.inputs[1:]:
            total = total + self._outputs[source]
        return total

    def _run_cycle(self, component: tuple[str, ...]) -> dict[str, Real]:
        """All nodes of a cycle, one step after the other."""
        nodes = [self._network.node(name) for name in component]
        outputs = {
            node.name: np.zeros((self._steps, self._samples, *node.output_shape), self._dtype)
            for node in nodes
        }
        looped = [node for node in nodes if self._closes_cycle(node, component)]
        for t in range(self._steps):
            for node in nodes:
                if node in looped:
                    outputs[node.name][t] = self._delay(node.name).emit()[0]
                else:
                    arriving = self._arriving(node, outputs, t)
                    outputs[node.name][t] = self._advance(node.name, arriving)[0]
            for node in looped:
                self._advance(node.name, self._arriving(node, outputs, t))
        return outputs

    def _closes_cycle(self, node: Node, component: tuple[str, ...]) -> bool:
        """Whether a delay is computed before its inputs: it comes before one of them in the order."""
        place = component.index(node.name)
        return node.primitive == "Delay" and any(
            source in component[place:] and (source, node.name) not in self._network.back_edges
            for source in node.inputs
        )

    def _delay(self, name: str) -> Delay:
        operator = self._operators[name]
        if not isinstance(operator, Delay):
            raise TypeError(f"{name} is no delay")
        return operator

    def _arriving(self, node: Node, outputs: Mapping[str, Real], t: int) -> Real:
        """The sum [1, N, *shape] of the inputs of a node in a cycle at step t."""
        total: Real | None = None
        for source in node.inputs:
            step = t - 1 if (source, node.name) in self._network.back_edges else t
            whole = outputs.get(source, self._outputs.get(source))
            if whole is None:
                raise KeyError(source)
            value = whole[step : step + 1] if step >= 0 else np.zeros_like(whole[:1])
            total = value if total is None else total + value
        if total is None:
            raise KeyError(node.name)
        return total

    def _advance(self, name: str, arriving: Real) -> Real:
        output = self._operators[name].run(arriving)
        if name in self._potentials:
            potentials = self._membrane(name).potentials
            if potentials is not None:
                self._potentials[name].append(potentials.copy())
        return output

    def _release(self, component: tuple[str, ...]) -> None:
        """Let go of outputs that no node is going to read any more."""
        for name in component:
            for source in self._network.node(name).inputs:
                self._readers[source] -= 1
        for name in [name for name in self._outputs if not self._readers[name]]:
            del self._outputs[name]

    def _membrane(self, name: str) -> Membrane:
        membrane = _membrane_of(self._operators[name])
        if membrane is None:
            raise GraphError("has no membrane potential", where=f"node '{name}'")
        return membrane

    def _names(self, wanted: Names, *, membranes: bool = False) -> set[str]:
        if wanted is None:
            return set()
        if wanted == "all":
            nodes = self._network.nodes
            return {n.name for n in nodes if not membranes or _membrane_of(self._operators[n.name])}
        return {self._network.node(name).name for name in wanted}


def _membrane_of(operator: Operator) -> Membrane | None:
    operator = operator.membrane if isinstance(operator, Synapse) else operator
    return operator if isinstance(operator, Membrane) else None


def samples_at_once(network: Network, steps: int, most: int) -> int:
    """Samples in a batch: at most `most`, fewer where a graph is so large that 2^25 values are less.

    Args:
        network: the graph; each value that a node emits counts.
        steps: of a sample.
        most: what is enough.
    """
    values = steps * sum(math.prod(node.output_shape) for node in network.nodes)
    return max(1, min(most, VALUES_AT_ONCE // values))


class Pass:
    """Output: what comes in."""

    def __init__(self, node: Node, setting: Setting) -> None:
        pass

    def run(self, values: Real) -> Real:
        """[T, N, *shape], unchanged."""
        return values


BUILDERS: Mapping[str, Builder] = {"Input": Pass, "Output": Pass, **LINEAR, **NEURONS}
"""What makes the operator of a primitive."""


def build_operator(node: Node, setting: Setting) -> Operator:
    """The operator of a node.

    Raises:
        GraphError: the parameters and the time step do not fit together.
    """
    return BUILDERS[node.primitive](node, setting)

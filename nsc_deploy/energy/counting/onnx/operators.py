"""What counting knows of ONNX operators: one registration an operator, beside its formula.

    @register("LogSoftmax", axes=along(-1), traffic=gathered)
    def log_softmax(site, shapes):
        ...
        return Cost({Kind.ACTIVATION: ..., Kind.ADDITION: ...})

states its cost, along which axis its output holds the samples, what it reads and writes, and whether its
output holds nothing but 0 and 1. An operator without a registration ends the count with its name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.operations import Integers, Kind
from nsc_deploy.errors import GraphError

Shape = tuple[int, ...]
Values = Mapping[str, NDArray[Any]]
SOFTMAX_OVER_ONE_AXIS = 13
"""Before this opset, it went over all axes from one on."""


@dataclass(frozen=True)
class Site:
    """One operator of a graph, with what is known of it.

    Attributes:
        path: names of the enclosing bodies and of the operator.
        node: the NodeProto.
        constants: known values by tensor name.
        binary: tensors proven binary.
    """

    path: str
    node: Any
    constants: Values
    binary: frozenset[str]

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the operator as Python values."""
        return attribute_of(self.node, name, default)

    def given(self, index: int) -> str | None:
        """The name of an input, or None where the operator goes without it."""
        names = self.node.input
        return names[index] if index < len(names) and names[index] else None

    def constant(self, index: int) -> NDArray[Any] | None:
        """The value of an input, or None where it is not there or changes."""
        name = self.given(index)
        return None if name is None else self.constants.get(name)

    def nonzero(self, *indices: int) -> int:
        """Values that are not zero among the inputs that are constant."""
        known = (self.constant(index) for index in indices)
        return sum(int(np.count_nonzero(values)) for values in known if values is not None)

    @property
    def changing(self) -> list[str]:
        """Its inputs that are not constant."""
        return [name for name in self.node.input if name and name not in self.constants]

    @property
    def events(self) -> tuple[str, ...]:
        """Its inputs that carry events, of those that meet weights."""
        if OPERATORS[self.node.op_type].fan_out is None:
            return ()
        return tuple(name for name in self.node.input[:2] if name in self.binary)


@dataclass(frozen=True)
class Cost:
    """One execution of one operator.

    Attributes:
        operations: number of each kind, every value taken for real.
        weights: non-zero weights among its constants.
        neurons: recurrent cells it holds.
        states: values that it keeps from step to step.
    """

    operations: Mapping[Kind, int] = field(default_factory=dict)
    weights: int = 0
    neurons: int = 0
    states: int = 0


@dataclass(frozen=True)
class Accesses:
    """Memory accesses of one execution, every value taken for real."""

    weight_reads: int = 0
    state_reads: int = 0
    state_writes: int = 0
    activation_reads: int = 0
    activation_writes: int = 0


@dataclass(frozen=True)
class Axis:
    """Where a tensor holds what enters the graph apart: samples, or steps.

    Attributes:
        index: of the axis, from the end: -1 is the last, behind a broadcast and inside a scan too.
        block: entries in a row of that axis that belong to the same sample (or step). The axis reads
            [outer, samples, block]; behind a reshape to [T N, C], samples have blocks of 1, steps of N.
    """

    index: int
    block: int = 1


@dataclass(frozen=True)
class Operands:
    """What goes into an operator, as far as its axes are concerned.

    Attributes:
        node: the NodeProto.
        axes: of each input; None for one that is the same for all samples (or steps).
        shapes: of each input; None for an input that is not there.
        known: the value of each input that is a constant.
        result: shape of the first output.
        number: of samples, or of steps.
        ordered: whether one may depend on those before it, as steps do and samples do not.
    """

    node: Any
    axes: tuple[Axis | None, ...]
    shapes: tuple[Shape | None, ...]
    known: tuple[NDArray[Any] | None, ...]
    result: Shape
    number: int
    ordered: bool

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the operator as Python values."""
        return attribute_of(self.node, name, default)


class Holds(Enum):
    """What a tensor holds."""

    ANY = "any values"
    BINARY = "numbers, 0 and 1 alone"
    TRUTH = "truth values"


@dataclass(frozen=True)
class Contents:
    """What the tensors of a graph hold, proven from the graph alone.

    Binary tensors start at a cast from a truth value, at a choice between the constants 1 and 0, or at an
    input that is declared to carry events.

    Attributes:
        constants: known values by name.
        fixed: the constants of 0 and 1 alone.
        binary: changing tensors of 0 and 1 alone.
        truth: tensors of truth values.
    """

    constants: Values
    fixed: frozenset[str]
    binary: frozenset[str]
    truth: frozenset[str] = frozenset()

    def are(self, holds: Holds, *names: str) -> bool:
        """Whether all tensors, one at least, hold the like; constants of 0 and 1 are binary."""
        there = self.truth if holds is Holds.TRUTH else self.binary | self.fixed
        return bool(names) and all(name in there for name in names)


CostRule = Callable[[Site, Mapping[str, Shape]], Cost]
TrafficRule = Callable[[Site, Mapping[str, Shape], Cost], Accesses]
AxisRule = Callable[[Operands], Axis | None]
BinaryRule = Callable[[Any, Contents], Holds]
FanOut = Callable[[Site, NDArray[Any], Shape], Integers]


@dataclass(frozen=True)
class Operator:
    """What counting knows of an operator.

    Attributes:
        cost: of one execution, from the shapes that it meets.
        traffic: memory accesses of one execution.
        axes: where its output holds the samples (or steps); None where it may mix them.
        binary: what its output holds, from what the tensors before it hold.
        fan_out: of an operator with weights: existing synapses that a value at each place of the first
            input meets, from the existing weights [..] (0 or 1) and the shape of that input.
    """

    cost: CostRule
    traffic: TrafficRule
    axes: AxisRule
    binary: BinaryRule
    fan_out: FanOut | None

    @property
    def free(self) -> bool:
        """Whether it moves values and computes none."""
        return self.cost is free


OPERATORS: dict[str, Operator] = {}


def register(
    *kinds: str,
    axes: AxisRule | None = None,
    traffic: TrafficRule | None = None,
    binary: BinaryRule | None = None,
    fan_out: FanOut | None = None,
) -> Callable[[CostRule], CostRule]:
    """Say what is known of standard operators; decorates the rule of their cost, or is called with it.

    Args:
        kinds: the operators' names.
        axes: left out, an operator may mix samples, and its graph is run one sample at a time.
        traffic: left out, that of an operator that takes values one by one.
        binary: left out, the output may hold any values.
        fan_out: of operators with weights.
    """

    def add(cost: CostRule) -> CostRule:
        known = Operator(cost, traffic or passing, axes or _mixed, binary or _any, fan_out)
        OPERATORS.update(dict.fromkeys(kinds, known))
        return cost

    return add


def operator_of(node: Any, path: str) -> Operator:
    """What is known of the operator of a node.

    Raises:
        GraphError: nothing, or an attribute changes what it does; nothing is left out silently.
    """
    known = OPERATORS.get(node.op_type)
    if known is None or node.domain not in {"", "ai.onnx"}:
        listed = {
            free: sorted(name for name, one in OPERATORS.items() if one.free is free)
            for free in (False, True)
        }
        raise GraphError(
            f"has the operator {node.op_type}, which cannot be counted",
            where=f"node '{path}'",
            hint=f"Counted are: {', '.join(listed[False])}; free are: {', '.join(listed[True])}.",
        )
    if attribute_of(node, "training_mode", 0) and not known.free:
        raise GraphError(
            f"has the operator {node.op_type} in training mode",
            where=f"node '{path}'",
            hint="Export the model for inference.",
        )
    return known


def cost(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """The cost of one execution.

    Raises:
        GraphError: an operator without a rule, or with an attribute that changes what it does.
    """
    return operator_of(site.node, site.path).cost(site, shapes)


def free(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """The cost of operators that move values and compute none: nothing, and no access."""
    return Cost()


def _mixed(one: Operands) -> Axis | None:
    return None


def _any(node: Any, contents: Contents) -> Holds:
    return Holds.ANY


# The memory accesses of one operator, by the model that docs/energy.md states. An operator reads what
# arrives and writes its result.


def untouched(site: Site, shapes: Mapping[str, Shape], price: Cost) -> Accesses:
    """No access: values are only moved."""
    return Accesses()


def passing(site: Site, shapes: Mapping[str, Shape], price: Cost) -> Accesses:
    """A single changing tensor is worked on on its way: accesses to constants alone, one a result."""
    reads = sum(1 for name in site.node.input if _spread(site, name)) * prod(shapes[site.node.output[0]])
    return Accesses(weight_reads=reads) if len(site.changing) <= 1 else _through(site, shapes, reads)


def gathered(site: Site, shapes: Mapping[str, Shape], price: Cost) -> Accesses:
    """All values of a line have to be there before the first result is."""
    reads = sum(1 for name in site.node.input if _spread(site, name)) * prod(shapes[site.node.output[0]])
    return _through(site, shapes, reads)


def brought_together(site: Site, shapes: Mapping[str, Shape], price: Cost) -> Accesses:
    """Of many values one is made; constants are axes and sizes, which are no values."""
    return _through(site, shapes, 0)


def _spread(site: Site, name: str) -> bool:
    """Whether each result takes one value of a constant: it is no single number."""
    return name in site.constants and site.constants[name].size > 1


def _through(site: Site, shapes: Mapping[str, Shape], weight_reads: int) -> Accesses:
    return Accesses(
        weight_reads=weight_reads,
        activation_reads=sum(prod(shapes[name]) for name in site.changing),
        activation_writes=prod(shapes[site.node.output[0]]),
    )


def attribute_of(node: Any, name: str, default: Any) -> Any:
    """An attribute of a NodeProto as Python values."""
    from onnx import helper

    for attribute in node.attribute:
        if attribute.name == name:
            value = helper.get_attribute_value(attribute)
            return value.decode() if isinstance(value, bytes) else value
    return default


def body_of(node: Any) -> Any:
    """The graph inside a node; None for most."""
    return next((attribute.g for attribute in node.attribute if attribute.HasField("g")), None)


def constants_of(graph: Any, outer: Values) -> dict[str, NDArray[Any]]:
    """The values that a graph writes down, by tensor name, and those of the graphs around it."""
    from onnx import numpy_helper

    known = dict(outer)
    known.update({tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer})
    for node in graph.node:
        if node.op_type == "Constant":
            held = {attribute.name: attribute for attribute in node.attribute}
            if "value" in held:
                known[node.output[0]] = numpy_helper.to_array(held["value"].t)
            elif "value_float" in held:
                known[node.output[0]] = np.asarray(held["value_float"].f, dtype=np.float32)
    return known


def opset_of(model: Any) -> int:
    """The version of the standard operators that a ModelProto is written in."""
    return next((int(one.version) for one in model.opset_import if one.domain in {"", "ai.onnx"}), 1)

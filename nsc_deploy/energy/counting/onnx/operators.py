"""What counting knows of ONNX operators: one registration an operator, beside its formula.

    @register("LogSoftmax", axes=along(-1), traffic=gathered)
    def log_softmax(site, shapes):
        ...
        return Cost({Kind.ACTIVATION: ..., Kind.ADDITION: ...})

states its cost, along which axis its output holds the samples, what it reads and writes, and whether its
output holds nothing but 0 and 1, or whole numbers. An operator without a registration ends the count with
its name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.operations import Integers, Kind
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.network import Signal

Shape = tuple[int, ...]
Values = Mapping[str, NDArray[Any]]
SOFTMAX_OVER_ONE_AXIS = 13
"""Before this opset, it went over all axes from one on."""
_WITH_ZERO_POINTS = frozenset({"MatMulInteger", "ConvInteger"})


@dataclass(frozen=True)
class Known:
    """The constants of a graph, worked out.

    Attributes:
        values: by name, of those that something changing takes in or that are written down, in the graph
            and around it.
        names: all of them, with those that nothing but constants are made of.
        sized: of these, the ones made of shapes; their values are those of one sample.
        bodies: the same of the body of a Scan, by the place of the Scan among the nodes of the graph.
    """

    values: Values
    names: frozenset[str]
    sized: frozenset[str] = frozenset()
    bodies: Mapping[int, "Known"] = field(default_factory=dict)

    @property
    def unsized(self) -> Values:
        """The values that hold for any number of samples and steps."""
        return {name: value for name, value in self.values.items() if name not in self.sized}


@dataclass(frozen=True)
class Site:
    """One operator of a graph, with what is known of it.

    Attributes:
        path: names of the enclosing bodies and of the operator.
        node: the NodeProto.
        constants: known values by tensor name.
        binary: tensors proven binary.
        graded: tensors proven to be whole numbers, 0 where nothing happens.
        opset: version of the standard operators.
        skips_zeros: whether values that are zero cost nothing, whatever they are.
    """

    path: str
    node: Any
    constants: Values
    binary: frozenset[str]
    graded: frozenset[str] = frozenset()
    opset: int = SOFTMAX_OVER_ONE_AXIS
    skips_zeros: bool = False

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
        known = ((index, self.constant(index)) for index in indices)
        return sum(int(np.count_nonzero(self.there(at, one))) for at, one in known if one is not None)

    def there(self, index: int, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which values of an input are not zero; integers are so far from zero as from their zero point.

        Args:
            index: of the input.
            values: of it, [..., *shape].
        """
        return np.asarray(values != self._zero_point(index))

    def _zero_point(self, index: int) -> NDArray[Any]:
        """What stands for zero among the values of an input, spread over its last axes."""
        given = self.constant(index + 2) if self.node.op_type in _WITH_ZERO_POINTS and index < 2 else None
        if given is None or given.size == 1:
            return np.zeros((), np.bool_) if given is None else given.reshape(())
        if self.node.op_type == "ConvInteger":  # one for each channel that leaves
            return given.reshape(-1, *[1] * (np.ndim(self.constants[self.node.input[index]]) - 1))
        return given[:, None] if index == 0 and given.ndim == 1 else given  # rows; columns are the last axis

    def carried(self, events: frozenset[str]) -> tuple[str, ...]:
        """Of some tensors, those that meet its weights as events, for which 0 is nothing."""
        if OPERATORS[self.node.op_type].fan_out is None:
            return ()
        return tuple(
            name
            for index, name in enumerate(self.node.input[:2])
            if name in events and not self._zero_point(index).any()
        )

    @property
    def changing(self) -> list[str]:
        """Its inputs that are not constant."""
        return [name for name in self.node.input if name and name not in self.constants]

    @property
    def events(self) -> tuple[str, ...]:
        """Its inputs that carry events, graded ones too, of those that meet weights.

        Where zeros are skipped, every value that is none is taken for one.
        """
        if OPERATORS[self.node.op_type].fan_out is None:
            return ()
        carried = self.carried(self.binary | self.graded)
        return tuple(
            name
            for name in self.node.input[:2]
            if name in carried or (self.skips_zeros and name not in self.constants)
        )

    @property
    def joined(self) -> tuple[str, ...]:
        """Its inputs that carry events, graded ones too, of those that are added up without weights.

        None where a constant alone is added, as a bias is.
        """
        if not OPERATORS[self.node.op_type].joins or len(self.changing) < 2:
            return ()
        return tuple(name for name in self.node.input if name in self.binary | self.graded)

    @property
    def arrives(self) -> Signal:
        """What meets its weights: events, if one side is binary."""
        if self.carried(self.binary):
            return Signal.EVENTS
        return Signal.GRADED if self.carried(self.graded) else Signal.REAL


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
    GRADED = "whole numbers, sums of 0 and 1"
    TRUTH = "truth values"


@dataclass(frozen=True)
class Contents:
    """What the tensors of a graph hold, proven from the graph alone.

    Binary tensors start at a cast from a truth value, at a choice between the constants 1 and 0, or at an
    input that is declared to carry events; graded ones at a sum of binary ones or at an input declared so.

    Attributes:
        constants: known values by name.
        fixed: the constants of 0 and 1 alone.
        binary: changing tensors of 0 and 1 alone.
        graded: changing tensors of whole numbers.
        truth: tensors of truth values.
        decided: of the binary ones and the truth values, those that a comparison in the graph decides; what
            only masks the events that enter is none of them.
        cut: integers that a cast has made of values of any kind, and what is made of them.
    """

    constants: Values
    fixed: frozenset[str]
    binary: frozenset[str]
    graded: frozenset[str] = frozenset()
    truth: frozenset[str] = frozenset()
    decided: frozenset[str] = frozenset()
    cut: frozenset[str] = frozenset()

    def are(self, holds: Holds, *names: str) -> bool:
        """Whether all tensors, one at least, hold the like; constants of 0 and 1 are binary."""
        there = self.truth if holds is Holds.TRUTH else self.binary | self.fixed
        if holds is Holds.GRADED:
            there |= self.graded
        return bool(names) and all(name in there for name in names)

    def with_outputs(self, names: frozenset[str], holds: Holds, *, decided: bool) -> "Contents":
        """With what further tensors hold."""
        if holds is Holds.ANY:
            return self
        field = holds.name.lower()
        made = replace(self, **{field: getattr(self, field) | names})
        return replace(made, decided=made.decided | names) if decided else made


CostRule = Callable[[Site, Mapping[str, Shape]], Cost]
TrafficRule = Callable[[Site, Mapping[str, Shape], Cost], Accesses]
AxisRule = Callable[[Operands], Axis | None]
ContentsRule = Callable[[Any, Contents], Holds]
DecisionRule = Callable[[Any, Contents], bool]
FanOut = Callable[[Site, NDArray[Any], Shape], Integers]


@dataclass(frozen=True)
class Operator:
    """What counting knows of an operator: the rules that it was registered with."""

    cost: CostRule
    traffic: TrafficRule
    axes: AxisRule
    holds: ContentsRule
    decides: DecisionRule
    fan_out: FanOut | None
    joins: bool

    @property
    def free(self) -> bool:
        """Whether it moves values and computes none."""
        return self.cost is free

    def takes_nothing(self, site: Site) -> bool:
        """Whether it neither computes nor reads a constant table at a site."""
        return self.free and (self.traffic is not looked_up or site.constant(0) is None)


OPERATORS: dict[str, Operator] = {}


def register(
    *kinds: str,
    axes: AxisRule | None = None,
    traffic: TrafficRule | None = None,
    holds: ContentsRule | None = None,
    decides: DecisionRule | None = None,
    fan_out: FanOut | None = None,
    joins: bool = False,
) -> Callable[[CostRule], CostRule]:
    """Say what is known of standard operators; decorates the rule of their cost, or is called with it.

    Args:
        kinds: the operators' names.
        axes: where the output holds the samples (or steps), and None where it may mix them; left out, it
            may, and the graph is run one sample at a time.
        traffic: memory accesses of one execution; left out, those of one that takes values one by one.
        holds: what the first output holds, from what the tensors before it hold; left out, any values.
        decides: whether a binary output is decided by the graph; left out, if one of the inputs is.
        fan_out: of an operator with weights: existing synapses that a value at each place of the first
            input meets, from which weights there are and the shape of that input.
        joins: whether it adds its inputs up without weights: events cost an addition where they meet.
    """

    def add(cost: CostRule) -> CostRule:
        known = Operator(
            cost, traffic or passing, axes or _mixed, holds or _any, decides or _one_decided, fan_out, joins
        )
        OPERATORS.update(dict.fromkeys(kinds, known))
        return cost

    return add


def operator_of(site: Site) -> Operator:
    """What is known of the operator of a site.

    Raises:
        GraphError: nothing, or an attribute changes what it does; nothing is left out silently.
    """
    node = site.node
    known = OPERATORS.get(node.op_type)
    if known is None or node.domain not in {"", "ai.onnx"}:
        listed = {
            free: sorted(name for name, one in OPERATORS.items() if one.free is free)
            for free in (False, True)
        }
        raise GraphError(
            f"has the operator {node.op_type}, which cannot be counted",
            where=f"node '{site.path}'",
            hint=f"Counted are: {', '.join(listed[False])}; free are: {', '.join(listed[True])}.",
        )
    if _trains(site):
        raise GraphError(
            f"has the operator {node.op_type} in training mode",
            where=f"node '{site.path}'",
            hint="Export the model for inference.",
        )
    if node.op_type in _WITH_ZERO_POINTS and any(
        site.given(index) and site.constant(index) is None for index in (2, 3)
    ):
        raise GraphError(
            f"has the operator {node.op_type} with a zero point that is no constant, so what is zero there "
            "cannot be told",
            where=f"node '{site.path}'",
            hint="Export the model with constant zero points.",
        )
    return known


def _trains(site: Site) -> bool:
    """Whether a Dropout drops values, or a BatchNormalization takes its statistics from what enters."""
    mode = site.constant(2)
    if site.node.op_type == "Dropout" and site.given(2):
        return mode is None or bool(mode.any())
    further = site.node.op_type == "BatchNormalization" and any(site.node.output[1:])
    return further or bool(site.attribute("training_mode", 0))


def cost(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """The cost of one execution.

    Raises:
        GraphError: an operator without a rule, or with an attribute that changes what it does.
    """
    return operator_of(site).cost(site, shapes)


def free(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """The cost of operators that move values and compute none: nothing, and no access."""
    return Cost()


def _mixed(one: Operands) -> Axis | None:
    return None


def _any(node: Any, contents: Contents) -> Holds:
    return Holds.ANY


def _one_decided(node: Any, contents: Contents) -> bool:
    return any(name in contents.decided for name in node.input)


# The memory accesses of one operator, by the model that docs/energy.md states. An operator reads what
# arrives and writes its result.


def untouched(site: Site, shapes: Mapping[str, Shape], price: Cost) -> Accesses:
    """No access: values are only moved."""
    return Accesses()


def looked_up(site: Site, shapes: Mapping[str, Shape], price: Cost) -> Accesses:
    """Values are moved; out of a constant table each is read."""
    return Accesses(weight_reads=0 if site.constant(0) is None else prod(shapes[site.node.output[0]]))


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


def written(graph: Any) -> dict[str, NDArray[Any]]:
    """The values that a graph writes down, by tensor name."""
    from onnx import numpy_helper

    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and len(node.attribute) == 1:
            known[node.output[0]] = _written_in(node.attribute[0])
    return known


def _written_in(attribute: Any) -> NDArray[Any]:
    from onnx import helper, numpy_helper

    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        array: NDArray[Any] = numpy_helper.to_array(value)
        return array
    kinds = {
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    return np.asarray(value, dtype=kinds.get(attribute.name, np.object_))


def opset_of(model: Any) -> int:
    """The version of the standard operators that a ModelProto is written in."""
    return next((int(one.version) for one in model.opset_import if one.domain in {"", "ai.onnx"}), 1)

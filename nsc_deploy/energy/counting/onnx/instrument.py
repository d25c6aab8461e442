"""An ONNX graph made to tell what it does: its operators in a list, and further outputs to watch them.

Each operator is a site. Given out are the shapes that each site meets, or the values of the tensors that
are proven binary and meet weights; out of the bodies of Scan too, stacked over its turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from nsc_deploy.energy.counting.onnx.operators import (
    Contents,
    Holds,
    Known,
    Site,
    Values,
    attribute_of,
    body_of,
    operator_of,
    opset_of,
)
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.network import Signal

SHAPE = ":nsc-shape"
_SCAN_OF_STEPS = 9
"""Before this opset, a Scan went over the samples too, and took their lengths."""


@dataclass(frozen=True)
class Place:
    """A site and the scans around it, the innermost last; whether it may decide which neurons fire."""

    site: Site
    scans: tuple[Any, ...]
    graphs: tuple[Any, ...]
    decides: bool = False


@dataclass
class Plan:
    """The instrumented model: where each wanted tensor comes out of the main graph.

    Attributes:
        spikes: whether events that the graph decides itself meet weights.
        decisions: whether truth values become numbers at all, or values are rounded, by a cast to
            integers and back too: what may be spikes.
    """

    model: Any
    outputs: dict[tuple[int, str], str] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    free: list[str] = field(default_factory=list)
    spikes: bool = False
    decisions: bool = False


def instrument(model: Any, known: Known, arriving: Signal, *, shapes: bool, skip_zeros: bool = False) -> Plan:
    """Collect the sites of a model and add the outputs that watch them, to a copy.

    Args:
        model: a checked ModelProto.
        known: its constants.
        arriving: what its first input carries.
        shapes: whether to give out the shapes that each site meets, or the events that do.
        skip_zeros: whether values that are zero cost nothing.

    Raises:
        GraphError: an operator without a rule, or a loop or branch whose number of turns the graph does not
            tell.
    """
    plan = Plan(type(model).FromString(model.SerializeToString()))
    graph = plan.model.graph
    first = frozenset([value.name for value in graph.input if value.name not in known.names][:1])
    contents = Contents(known.values, _fixed(known.values), frozenset())
    if arriving is not Signal.REAL:
        holds = Holds.BINARY if arriving is Signal.EVENTS else Holds.GRADED
        contents = contents.with_outputs(first, holds, decided=False)
    _Visit(plan, opset_of(model), skip_zeros).graph(graph, known, (), (graph,), contents, "")
    for index, place in enumerate(plan.places):
        for name in wanted_shapes(place.site) if shapes else ():
            inner = _with_shape(place.graphs[-1], name)
            plan.outputs[index, name + SHAPE] = lead_out(place.scans, place.graphs, inner)
        for name in () if shapes else wanted_values(place.site):
            plan.outputs[index, name] = lead_out(place.scans, place.graphs, name)
    declare(graph, sorted(set(plan.outputs.values())))
    return plan


@dataclass
class _Visit:
    """A walk through a graph and the bodies in it that fills a plan."""

    plan: Plan
    opset: int
    skip_zeros: bool

    def graph(
        self,
        graph: Any,
        known: Known,
        scans: tuple[Any, ...],
        graphs: tuple[Any, ...],
        contents: Contents,
        prefix: str,
    ) -> Contents:
        """Collect the sites of a graph and of the scans in it; returns what its tensors hold."""
        for index, node in enumerate(graph.node):
            path = prefix + (node.name or next(filter(None, node.output), node.op_type))
            if known.names.issuperset(filter(None, node.output)):
                # Worked out before the first run; arithmetic on shapes shows among what is free.
                self.plan.free += [] if known.sized.isdisjoint(node.output) else [path]
                continue
            if node.op_type == "Scan":
                contents = self._scan(node, known.bodies[index], scans, graphs, contents, path)
                continue
            if any(attribute.type in {5, 10} for attribute in node.attribute):
                raise GraphError(
                    f"has the operator {node.op_type}, whose body may run any number of times",
                    where=f"node '{path}'",
                    hint="Build the loop over time as a Scan, or name a graph without one.",
                )
            contents = self._operator(node, scans, graphs, contents, path)
        return contents

    def _operator(
        self, node: Any, scans: tuple[Any, ...], graphs: tuple[Any, ...], contents: Contents, path: str
    ) -> Contents:
        held = contents.constants, contents.binary, contents.graded
        site = Site(path, node, *held, self.opset, self.skip_zeros)
        operator = operator_of(site)
        holds = operator.holds(node, contents)
        decided = holds in {Holds.BINARY, Holds.TRUTH} and operator.decides(node, contents)
        if decided and holds is Holds.BINARY and any(name in contents.truth for name in node.input):
            self.plan.decisions = True
        cut = operator.fan_out is None and _is_cut(node, holds, contents)
        rounds = node.op_type in _ROUNDING or (cut and _casts_to(node, _REALS))
        self.plan.decisions |= rounds
        self.plan.spikes |= _decided_meet_weights(site, contents)
        if operator.takes_nothing(site):
            self.plan.free.append(path)
        else:
            compares = holds is Holds.TRUTH and decided
            self.plan.places.append(Place(site, scans, graphs, decides=compares or rounds))
        outputs = frozenset(node.output if node.op_type == "Split" else node.output[:1])
        contents = replace(contents, cut=contents.cut | outputs) if cut and not rounds else contents
        return contents.with_outputs(outputs, holds, decided=decided)

    def _scan(
        self,
        node: Any,
        known: Known,
        scans: tuple[Any, ...],
        graphs: tuple[Any, ...],
        contents: Contents,
        path: str,
    ) -> Contents:
        """Collect the sites of a body; returns what holds behind the scan.

        What a state holds is assumed of its first value, and the body walked again with less as long as its
        last value holds less.

        Raises:
            GraphError: it is one of opset 8, which goes over samples too.
        """
        if self.opset < _SCAN_OF_STEPS:
            raise GraphError(
                "is a Scan of opset 8, which cannot be counted",
                where=f"node '{path}'",
                hint="Convert the model to opset 9 or later.",
            )
        body = body_of(node)
        pairs = list(zip((value.name for value in body.input), node.input, strict=True))
        states = len(body.input) - attribute_of(node, "num_scan_inputs", 0)
        inside = replace(contents, constants=known.values, fixed=_fixed(known.values))
        assumed = {inner: _held(inside, outer) for inner, outer in pairs}
        while True:
            trial = _Visit(Plan(self.plan.model), self.opset, self.skip_zeros)
            entering = inside
            for inner, (holds, decided) in assumed.items():
                entering = entering.with_outputs(frozenset({inner}), holds, decided=decided)
            proven = trial.graph(body, known, (*scans, node), (*graphs, body), entering, f"{path}/")
            found = dict(assumed)
            for (inner, _), last in zip(pairs[:states], body.output, strict=False):
                found[inner] = _less(assumed[inner], _held(proven, last.name))
            if found == assumed:
                break
            assumed = found
        self.plan.places += trial.plan.places
        self.plan.free += trial.plan.free
        self.plan.spikes |= trial.plan.spikes
        self.plan.decisions |= trial.plan.decisions
        for value, outer in zip(body.output, node.output, strict=False):
            if outer:
                holds, decided = _held(proven, value.name)
                contents = contents.with_outputs(frozenset({outer}), holds, decided=decided)
                if value.name in proven.cut:
                    contents = replace(contents, cut=contents.cut | {outer})
        return contents


# Functions that leave few values: what a graph may make spikes with, beside comparisons.
_ROUNDING = frozenset({"Sign", "Floor", "Ceil", "Round"})
# Types of TensorProto.
_REALS = frozenset({1, 10, 11, 16})
_INTEGERS = frozenset({2, 3, 4, 5, 6, 7, 12, 13, 21, 22})
_LOOKED_UP = frozenset({"Gather", "GatherElements", "GatherND"})
_Held = tuple[Holds, bool]


def _casts_to(node: Any, types: frozenset[int]) -> bool:
    return node.op_type == "Cast" and attribute_of(node, "to", 0) in types


def _is_cut(node: Any, holds: Holds, contents: Contents) -> bool:
    """Whether an output is whole because a cast to integers made it so, of values that may have been any."""
    if _casts_to(node, _INTEGERS) and holds is Holds.ANY:
        return True
    carrying = node.input[:1] if node.op_type in _LOOKED_UP else node.input
    return holds is not Holds.TRUTH and not contents.cut.isdisjoint(carrying)


def _held(contents: Contents, name: str) -> _Held:
    """What a tensor holds, and whether the graph decides it."""
    for holds in (Holds.TRUTH, Holds.BINARY, Holds.GRADED):
        if contents.are(holds, name):
            return holds, name in contents.decided
    return Holds.ANY, False


def _less(first: _Held, last: _Held) -> _Held:
    """What is left of an assumption about a state."""
    numbers = [Holds.ANY, Holds.GRADED, Holds.BINARY]
    (one, decided), (other, later) = first, last
    if one in numbers and other in numbers:
        return numbers[min(numbers.index(one), numbers.index(other))], decided or later
    return (one, decided or later) if one is other else (Holds.ANY, False)


def _decided_meet_weights(site: Site, contents: Contents) -> bool:
    """Whether events that the graph decides meet constant weights."""
    return bool(site.carried(contents.decided)) and any(
        name in site.constants for name in site.node.input[:2]
    )


def _fixed(constants: Values) -> frozenset[str]:
    """The constants that hold nothing but 0 and 1."""
    return frozenset(name for name, value in constants.items() if _is_binary(value))


def _is_binary(value: NDArray[Any]) -> bool:
    if value.size == 0 or value.dtype.kind not in "fiu":
        return False
    # Most weights show in their first values that they are not.
    return all(bool(((some == 0) | (some == 1)).all()) for some in (value.flat[:64], value))


def wanted_shapes(site: Site) -> list[str]:
    """Tensors of a site whose shape only a run can tell."""
    named = [name for name in (*site.node.input, *site.node.output[:1]) if name]
    return [name for name in dict.fromkeys(named) if name not in site.constants]


def wanted_values(site: Site) -> list[str]:
    """Tensors of a site whose values decide what it costs."""
    if site.joined:
        return list(dict.fromkeys(site.changing))
    return [name for name in dict.fromkeys(site.node.input[:2]) if site.events and name not in site.constants]


def _with_shape(graph: Any, name: str) -> str:
    """The name of a tensor that holds the shape of another, made where it is not there yet."""
    from onnx import helper

    shape = name + SHAPE
    if not any(shape in node.output for node in graph.node):
        graph.node.append(helper.make_node("Shape", [name], [shape]))
    return shape


def lead_out(scans: Sequence[Any], graphs: Sequence[Any], name: str) -> str:
    """Lead a tensor of a body out through every scan around it.

    Args:
        scans: around it, the innermost last.
        graphs: the main graph and the bodies of the scans.
        name: of the tensor.

    Returns:
        Its name in the main graph, where the values of all turns are stacked.
    """
    from onnx import helper

    for scan, body in zip(reversed(scans), reversed(graphs), strict=False):
        outside = f"{scan.output[0]}/{name}"
        if outside not in scan.output:
            # A body may not give out what it takes in from outside, nor the same name twice.
            copy = f"{name}:nsc-copy"
            body.node.append(helper.make_node("Identity", [name], [copy]))
            name = copy
            body.output.append(helper.make_empty_tensor_value_info(name))
            scan.output.append(outside)
            for attribute in scan.attribute:
                if attribute.name in {"scan_output_axes", "scan_output_directions"}:
                    attribute.ints.append(0)
        name = outside
    return name


def declare(graph: Any, names: Sequence[str]) -> None:
    """Add outputs to the main graph."""
    from onnx import helper

    there = {value.name for value in graph.output}
    graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in there)

"""An ONNX graph made to tell what it does: its operators in a list, and further outputs to watch them.

Each operator is a site. Given out are the shapes that each site meets, or the values of the tensors that
are proven binary and meet weights; out of the bodies of Scan too, stacked over its turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.onnx.operators import (
    SOFTMAX_OVER_ONE_AXIS,
    Contents,
    Holds,
    Site,
    Values,
    attribute_of,
    body_of,
    constants_of,
    operator_of,
    opset_of,
)
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.network import Signal

SHAPE = ":nsc-shape"


@dataclass(frozen=True)
class Place:
    """A site and the scans around it, the innermost last."""

    site: Site
    scans: tuple[Any, ...]
    graphs: tuple[Any, ...]


@dataclass
class Plan:
    """The instrumented model: where each wanted tensor comes out of the main graph."""

    model: Any
    outputs: dict[tuple[int, str], str] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    free: list[str] = field(default_factory=list)
    spikes: bool = False


def instrument(model: Any, arriving: Signal, *, shapes: bool) -> Plan:
    """Collect the sites of a model and add the outputs that watch them, to a copy.

    Args:
        model: a checked ModelProto.
        arriving: what its first input carries.
        shapes: whether to give out the shapes that each site meets, or the events that do.

    Raises:
        GraphError: a loop or a branch whose number of turns the graph does not tell, or a softmax of old.
    """
    plan = Plan(type(model).FromString(model.SerializeToString()))
    graph = plan.model.graph
    constants = constants_of(graph, {})
    inputs = [value.name for value in graph.input if value.name not in constants]
    binary = frozenset(inputs[:1]) if arriving is Signal.EVENTS else frozenset()
    _visit(plan, graph, (), (graph,), Contents(constants, _fixed(constants), binary), "")
    if opset_of(model) < SOFTMAX_OVER_ONE_AXIS:
        _refuse_softmax(plan.places)
    for index, place in enumerate(plan.places):
        for name in wanted_shapes(place.site) if shapes else ():
            plan.outputs[index, name + SHAPE] = _exposed(place, _with_shape(place.graphs[-1], name))
        for name in () if shapes else wanted_values(place.site):
            plan.outputs[index, name] = _exposed(place, name)
    _declare(graph, sorted(set(plan.outputs.values())))
    return plan


def _refuse_softmax(places: Sequence[Place]) -> None:
    for place in places:
        if place.site.node.op_type in {"Softmax", "LogSoftmax"}:
            raise GraphError(
                f"has a {place.site.node.op_type} over several axes, as before opset {SOFTMAX_OVER_ONE_AXIS}",
                where=f"node '{place.site.path}'",
                hint="Convert the model: onnx.version_converter.convert_version(model, 17).",
            )


def _visit(
    plan: Plan, graph: Any, scans: tuple[Any, ...], graphs: tuple[Any, ...], contents: Contents, prefix: str
) -> frozenset[str]:
    """Collect the sites of a graph and of the scans in it; returns what is proven binary there."""
    for node in graph.node:
        path = prefix + (node.name or node.output[0])
        if all(not name or name in contents.constants for name in node.input):
            # Folded before the first run; its value is only known where it is written down.
            continue
        if node.op_type == "Scan":
            leaving = _scan(plan, node, scans, graphs, contents, path)
            contents = replace(contents, binary=contents.binary | leaving)
            continue
        if any(attribute.type in {5, 10} for attribute in node.attribute):
            raise GraphError(
                f"has the operator {node.op_type}, whose body may run any number of times",
                where=f"node '{path}'",
                hint="Build the loop over time as a Scan, or name a graph without one.",
            )
        operator = operator_of(node, path)
        holds, outputs = operator.binary(node, contents), frozenset(node.output)
        if holds is Holds.TRUTH:
            contents = replace(contents, truth=contents.truth | outputs)
        elif holds is Holds.BINARY:
            # Where a truth value becomes a number, the graph decides spikes of its own.
            plan.spikes |= contents.are(Holds.TRUTH, node.input[0])
            contents = replace(contents, binary=contents.binary | outputs)
        if operator.free:
            plan.free.append(path)
        else:
            plan.places.append(Place(Site(path, node, contents.constants, contents.binary), scans, graphs))
    return contents.binary


def _scan(
    plan: Plan, node: Any, scans: tuple[Any, ...], graphs: tuple[Any, ...], contents: Contents, path: str
) -> frozenset[str]:
    """Collect the sites of a body; returns which outputs of the scan are binary."""
    body = body_of(node)
    constants = constants_of(body, contents.constants)
    pairs = list(zip((value.name for value in body.input), node.input, strict=True))
    states = len(body.input) - attribute_of(node, "num_scan_inputs", 0)
    final = [value.name for value in body.output][:states]
    inside = replace(contents, constants=constants, fixed=_fixed(constants))
    assumed = {
        inner for inner, outer in pairs
        if outer in contents.binary or (outer in constants and bool(np.isin(constants[outer], (0, 1)).all()))
    }  # fmt: skip
    while True:
        trial = Plan(plan.model)
        entering = replace(inside, binary=contents.binary | assumed)
        proven = _visit(trial, body, (*scans, node), (*graphs, body), entering, f"{path}/")
        broken = {
            inner for (inner, _), last in zip(pairs[:states], final, strict=False)
            if inner in assumed and last not in proven
        }  # fmt: skip
        if not broken:
            break
        assumed -= broken
    plan.places += trial.places
    plan.free += trial.free
    plan.spikes |= trial.spikes
    leaving = zip((value.name for value in body.output), node.output, strict=False)
    return frozenset(outer for inner, outer in leaving if outer and inner in proven)


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
    """Tensors of a site whose values decide its number of accumulates."""
    return [name for name in dict.fromkeys(site.node.input[:2]) if site.events and name not in site.constants]


def _with_shape(graph: Any, name: str) -> str:
    """The name of a tensor that holds the shape of another, made where it is not there yet."""
    from onnx import helper

    shape = name + SHAPE
    if not any(shape in node.output for node in graph.node):
        graph.node.append(helper.make_node("Shape", [name], [shape]))
    return shape


def _exposed(place: Place, name: str) -> str:
    """Lead a tensor of a body out through every scan around it; returns its name in the main graph."""
    from onnx import helper

    for scan, body in zip(reversed(place.scans), reversed(place.graphs), strict=False):
        outside = f"{scan.output[0]}/{name}"
        if outside not in scan.output:
            # A body may not give out what it takes in from outside, nor the same name twice.
            copy = f"{name}:nsc-copy"
            body.node.append(helper.make_node("Identity", [name], [copy]))
            name = copy
            body.output.append(helper.make_empty_tensor_value_info(name))
            scan.output.append(outside)
        name = outside
    return name


def _declare(graph: Any, names: Sequence[str]) -> None:
    from onnx import helper

    there = {value.name for value in graph.output}
    graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in there)

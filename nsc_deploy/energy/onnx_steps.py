"""Along which axis the tensors of an ONNX graph hold the steps, as far as steps can be told apart.

A tensor that is made from each step alone has such an axis, and so has what a recurrent layer or a scan
gives out that takes in one step after the other. A convolution over time takes in several steps at once:
there the trace ends, for its output and all that is made from it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nsc_deploy.energy.counting.onnx.axes import Constants, body_of, described_by, entrance, samples_held
from nsc_deploy.energy.counting.onnx.operators import SOFTMAX_OVER_ONE_AXIS, attribute_of, opset_of
from nsc_deploy.energy.onnx_sample_rules import RECURRENT, RULES, Held, Inputs, Rule


@dataclass(frozen=True)
class Axes:
    """Where the tensors of the main graph hold samples and steps, from the end.

    Attributes:
        samples: of every tensor that depends on what enters; None where the graph may mix samples.
        steps: of those in which steps can be told apart.
    """

    samples: Mapping[str, int] | None
    steps: Mapping[str, int]


def axes_of(model: Any, rank: int) -> Axes:
    """Follow samples and steps through a graph.

    Args:
        model: a checked ModelProto; its first input is [steps, samples, ...].
        rank: number of axes of what enters.
    """
    if opset_of(model) < SOFTMAX_OVER_ONE_AXIS:
        return Axes(None, {})
    samples = samples_held(model, rank)
    constants, entering = entrance(model)
    ranks = {name: one.rank for name, one in (samples or {}).items()}
    steps = _Walk(constants, {entering.name: Held(-rank, rank)}, ranks).through(model.graph)
    return Axes(None if samples is None else _axes(samples), _axes(steps))


def _axes(held: Mapping[str, Held]) -> dict[str, int]:
    return {name: one.axis for name, one in held.items()}


def _in_order(one: Inputs) -> Held | None:
    """A recurrent layer takes in one step after the other: [T, N, C] -> [T, directions, N, hidden]."""
    given = one.alone()
    return Held(-4, 4) if given == Held(-3, 3) and not one.attribute("layout", 0) else None


_RULES: Mapping[str, Rule] = {**RULES, **dict.fromkeys(RECURRENT, _in_order)}


class _Walk:
    """Which tensors hold the steps, which are shapes, and in which the steps are lost.

    Args:
        constants: of the graph.
        held: of what enters.
        ranks: number of axes of other tensors, where it is known.
    """

    def __init__(self, constants: Constants, held: Mapping[str, Held], ranks: Mapping[str, int]) -> None:
        self._constants = constants
        self._held = dict(held)
        self._ranks = ranks
        self._shapes: dict[str, Held] = {}
        self._lost: set[str] = set()

    def through(self, graph: Any) -> dict[str, Held]:
        """Follow the steps through all nodes of the main graph."""
        for node in graph.node:
            if not any(self._depends(name) for name in (*node.input, *_captured(node))):
                continue
            if node.op_type == "Shape" and node.input[0] in self._held:
                described = described_by(node, self._held[node.input[0]])
                if described is not None:
                    self._shapes[node.output[0]] = described
                continue
            found = self._outputs(node)
            for name in filter(None, node.output):
                if found.get(name) is None:
                    self._lost.add(name)
            self._held.update({name: one for name, one in found.items() if one is not None})
        return self._held

    def _depends(self, name: str) -> bool:
        return name in self._held or name in self._shapes or name in self._lost

    def _outputs(self, node: Any) -> dict[str, Held | None]:
        if node.op_type == "Scan":
            return self._scan(node)
        if node.op_type == "ConstantOfShape":
            return {node.output[0]: self._shapes.get(node.input[0])}
        known = not any(name in self._lost or name in self._shapes for name in node.input)
        rule = _RULES.get(node.op_type)
        if rule is None or not known or body_of(node) is not None:
            return {}
        held = tuple(self._held.get(name) for name in node.input)
        return {
            node.output[0]: rule(Inputs(node, held, tuple(self._constants.get(one) for one in node.input)))
        }

    def _scan(self, node: Any) -> dict[str, Held | None]:
        """A scan that takes in one step a turn, and nothing of other steps but its own states."""
        states = len(node.input) - attribute_of(node, "num_scan_inputs", 0)
        turned = ("scan_input_axes", "scan_output_axes", "scan_input_directions", "scan_output_directions")
        straight = not any(any(attribute_of(node, name, [])) for name in turned)
        stepwise = all(
            (held := self._held.get(name)) is not None and held.first for name in node.input[states:]
        )
        apart = not any(self._depends(name) for name in (*node.input[:states], *_captured(node)))
        if not (straight and stepwise and apart):
            return {}
        ranks = {name: self._ranks.get(name) for name in node.output[states:]}
        return {name: Held(-rank, rank) for name, rank in ranks.items() if name and rank is not None}


def _captured(node: Any) -> Iterator[str]:
    """Names of tensors that the bodies of a node take in from outside, and their own."""
    body = body_of(node)
    if body is not None:
        for inner in body.node:
            yield from inner.input
            yield from _captured(inner)
        yield from (value.name for value in body.output)

"""What every reader of ONNX graphs knows: constants, shapes, windows, and how an operator is refused.

A graph is a chain; one that begins with Transpose(1, 2, 0) convolves over time and takes a sample whole. One
of a single step may take that axis away and put it back.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray

from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.c.int8.geometry import Pair, Windows
from nsc_deploy.exporters.c.int8.layers import Reals
from nsc_deploy.graphs.onnx_constants import find_constants
from nsc_deploy.graphs.onnx_layout import turns_samples
from nsc_deploy.graphs.onnx_network import OnnxNetwork
from nsc_deploy.graphs.onnx_run import run_constants

WINDOW: dict[str, Any] = {"auto_pad": b"NOTSET", "pads": None, "strides": None}
Form = Callable[[Any, onnx.NodeProto], None]


class Reader:
    """A chain as far as it was read.

    Args:
        network: the graph; of one that convolves over time the steps of a sample are known.
        where: it was read from, for errors.
    """

    forms: ClassVar[Mapping[str, Form]]
    """What is done with each operator, by its name."""
    hint: ClassVar[str]
    """The way out where something is refused."""
    hints: ClassVar[Mapping[str, str]] = {}
    """The same of operators that have one of their own."""
    unknown: ClassVar[str]
    """What is said of an operator without a form."""

    def __init__(self, network: OnnxNetwork, where: object) -> None:
        self.whole: int | None = None
        self._known: dict[str, NDArray[Any]] = {
            one.name: onnx.numpy_helper.to_array(one) for one in network.model.graph.initializer
        }
        self._constants = find_constants(network.model.graph).names
        self._known |= run_constants(network.model, network.one_sample)
        self._where, self._steps, self._steps_first = where, network.steps, network.steps_first
        self._flowing = network.input_node.name
        self._shape: tuple[int, ...] = network.input_node.output_shape
        self._in_front = 2 if network.steps_first else 1  # axes in front of those of a value
        self._turned = True if network.samples_first else None  # whether samples stand in front of steps
        self._single = network.given_steps == 1
        self._begun = False  # whether a layer was read

    def take(self, node: onnx.NodeProto) -> None:
        """One operator."""
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            self._known[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
            return
        if self.made_once(node):
            return
        entering = [name for name in node.input if name and name not in self._known]
        if entering != [self._flowing]:
            raise self._foreign(node, "is not one of a chain")
        if not self.knows(node.op_type):
            raise self._foreign(node, self.unknown)
        self.forms[node.op_type](self, node)
        self._flowing = node.output[0]

    def made_once(self, node: onnx.NodeProto) -> bool:
        """Whether what an operator makes is the same whatever enters: of it only the values are taken."""
        return self._constants.issuperset(filter(None, node.output))

    def require_output(self, network: OnnxNetwork) -> None:
        """Refuse a graph that gives out something else than its last operator.

        Raises:
            GraphError: it does.
        """
        if self._flowing != network.model.graph.output[0].name:
            raise GraphError(
                f"gives out '{network.model.graph.output[0].name}', behind which it goes on to compute",
                where=self._where,
                hint="Take away what lies behind its output.",
            )
        if self._turned is False:
            raise GraphError(
                "takes samples first, and gives steps first",
                where=self._where,
                hint="Let both have one order: turn what leaves back.",
            )

    def read_end(self, network: OnnxNetwork) -> object:
        """What was read, once every operator was taken.

        Raises:
            GraphError: no layer, or an end that has no form.
        """
        raise NotImplementedError

    @classmethod
    def knows(cls, operator: str) -> bool:
        """Whether an operator has a form somewhere."""
        return operator in cls.forms

    def _foreign(self, node: onnx.NodeProto, problem: str) -> GraphError:
        hint = self.hints.get(node.op_type, self.hint)
        where = f"{self._where}: node '{node.name or node.output[0]}' ({node.op_type})"
        return GraphError(problem, where=where, hint=hint)

    def _constant(self, node: onnx.NodeProto, place: int) -> Reals | None:
        there = len(node.input) > place and node.input[place]
        return self._known[node.input[place]].astype(np.float64) if there else None

    def _needed(self, node: onnx.NodeProto, place: int) -> Reals:
        found = self._constant(node, place)
        if found is None:
            raise self._foreign(node, "lacks its weights")
        return found

    def _settings(self, node: onnx.NodeProto, **known: Any) -> dict[str, Any]:
        """Attributes with their defaults; None as a default is any value that is not looked at.

        Raises:
            GraphError: another attribute.
        """
        given = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        strange = next((name for name in given if name not in known), None)
        if strange is not None:
            raise self._foreign(node, f"has {strange}, which has no form")
        return known | given

    def _identity(self, node: onnx.NodeProto) -> None:
        """Nothing."""

    def _reduced(self, node: onnx.NodeProto) -> None:
        given = self._settings(node, axes=None, keepdims=1, noop_with_empty_axes=0)
        axes = self._constant(node, 1) if given["axes"] is None else np.array(given["axes"])
        rank = self._in_front + len(self._shape)
        places = list(range(self._in_front + 1, rank))
        if axes is None or not places or sorted(int(axis) % rank for axis in axes) != places:
            raise self._foreign(node, "reduces other axes than those of an image")

    def _bias(self, node: onnx.NodeProto, given: NDArray[Any], rows: int) -> NDArray[Any]:
        """A number for each of the values of a vector [rows], the same in every sample."""
        if given.size not in {1, rows} or (given.ndim > 0 and given.shape[-1] != given.size):
            raise self._foreign(node, "adds something else than a bias")
        return np.broadcast_to(given.reshape(-1), rows)

    def _windows(self, node: onnx.NodeProto, kernel: Sequence[int], given: dict[str, Any]) -> Windows:
        rank = len(self._shape) - 1
        if given["auto_pad"] not in {b"NOTSET", b"VALID"} or rank not in {1, 2} or len(kernel) != rank:
            raise self._foreign(node, "has windows without a form")
        pads = given["pads"] or [0] * 2 * rank

        def pair(values: Sequence[int] | None, alone: int) -> Pair:
            first, second = [alone] * (2 - rank) + list(values or [1] * rank)
            return int(first), int(second)

        channels, *space = self._shape
        windows = Windows(
            (channels, *pair(space, 1)),
            pair(kernel, 1),
            pair(given["strides"], 1),
            pair(pads[:rank], 0),
            pair(pads[rank:], 0),
            pair(given.get("dilations"), 1),
        )
        if min(windows.places) < 1:
            raise self._foreign(node, "has windows larger than the image")
        return windows

    def _transpose(self, node: onnx.NodeProto) -> None:
        """[steps, samples, channels] to [samples, channels, steps], at the very front.

        One that turns samples and steps around changes nothing of a single sample.
        """
        if self._turned is not None and turns_samples(node) and len(self._shape) == 1:
            self._turned = not self._turned
            return
        turned = self._settings(node, perm=None)["perm"]
        if self._begun or self.whole is not None or not self._steps_first or len(self._shape) != 1:
            raise self._foreign(node, "has no form behind the input")
        if list(turned or []) != [1, 2, 0]:
            raise self._foreign(node, "turns axes otherwise than (1, 2, 0)")
        if self._steps is None:
            raise self._foreign(
                node, "convolves over steps, of which nobody says how many there are (--inputs)"
            )
        self.whole, self._in_front = self._steps, 1
        self._shape = (self._shape[0], self._steps)

    def _unsqueeze(self, node: onnx.NodeProto) -> None:
        """The one step of a sample that entered whole, or the single one that was taken away."""
        if self._single and not self._steps_first and self._axes(node) == [0]:
            self._steps_first, self._in_front = True, 2
            return
        if self.whole is None or self._axes(node) != [0] or len(self._shape) != 1 or self._in_front > 1:
            raise self._foreign(node, "adds an axis without a form")
        self._in_front = 2

    def _axes(self, node: onnx.NodeProto) -> list[int]:
        given = self._settings(node, axes=None)["axes"]
        found = self._constant(node, 1) if given is None else given
        return [] if found is None else [int(axis) for axis in found]

"""An ONNX graph as a `Network`: its operators in a row, what enters, and what leaves.

Comparisons, targets and manifests ask a graph for its inputs, its outputs and its readout. Its operators stay
what they are in ONNX: only a target that knows them looks at them, and onnxruntime runs them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import nir
import numpy as np
import onnx
from numpy.typing import NDArray

from nsc_deploy.errors import ConfigError, GraphError
from nsc_deploy.graphs.assemble import in_file, time_step
from nsc_deploy.graphs.flow import input_signal
from nsc_deploy.graphs.formats.onnx import read_onnx
from nsc_deploy.graphs.formats.recording import Layout, read_inputs, stated_signal
from nsc_deploy.graphs.network import Network, Node, Reset, Shape, Signal
from nsc_deploy.graphs.onnx_layout import turned_at_once
from nsc_deploy.graphs.primitives import normalise

ENDING = ".onnx"
_RECURRENT = frozenset({"LSTM", "GRU", "RNN", "Scan"})


@dataclass(frozen=True, kw_only=True)
class OnnxNetwork(Network):
    """An ONNX graph.

    Attributes:
        model: read and checked.
        steps_first: whether the first two axes of its input are steps and samples; else the first is that of
            samples, and each step is a sample of its own.
        samples_first: whether these two are samples and steps, which the graph turns around at once.
        given_steps: steps of a sample, where the graph itself states their number; else None.
        steps: of a recorded sample, where a recording is known.
    """

    model: onnx.ModelProto
    steps_first: bool
    samples_first: bool = False
    given_steps: int | None = None
    steps: int | None = None

    @property
    def conventional(self) -> bool:
        """Whether its nodes are operators of ONNX."""
        return True

    @property
    def layout(self) -> Layout:
        """Of what enters."""
        if not self.steps_first:
            return Layout.NO_STEPS
        return Layout.BATCH_FIRST if self.samples_first else Layout.STEPS_FIRST

    @property
    def one_sample(self) -> tuple[int, ...]:
        """The shape in which a sample enters: the graph's sizes, and 1 for those that nobody states."""
        stated = _sizes(next(one for one in self.model.graph.input if one.name == self.input_node.name))
        shape = self.input_node.output_shape
        if not self.steps_first:
            return (stated[0] or 1, *shape)
        steps, samples = self.given_steps or self.steps or 1, stated[0 if self.samples_first else 1] or 1
        return (samples, steps, *shape) if self.samples_first else (steps, samples, *shape)

    def run(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Recorded inputs [steps, samples, *shape] in onnxruntime, to [steps, samples, *shape].

        Raises:
            BackendError: onnxruntime cannot run the model.
        """
        from nsc_deploy.graphs.onnx_run import run_onnx, run_onnx_flat

        if not self.steps_first:
            return run_onnx_flat(self.model, values)
        return run_onnx(self.model, values, samples_first=self.samples_first)


def read_onnx_network(
    path: Path,
    *,
    inputs: Path | None = None,
    signal: Signal | None = None,
    dt: float | None = None,
    reset: Reset | None = None,
    readout: tuple[int, int] | None = None,
    classes: int | None = None,
) -> OnnxNetwork:
    """Read an ONNX file with one input and one output.

    Args:
        path: the file.
        inputs: a recording, which says what enters where neither the file nor `signal` does.
        signal: what enters, where the file does not say; real values by default.
        dt: length of a step in seconds, where the file does not say; else that of a recording.
        reset: of no ONNX file, and refused.
        readout: classes, and consecutive outputs that vote for each.
        classes: of outputs that share themselves out among them, where no readout is known.

    Raises:
        GraphError: missing, damaged, or with several inputs or outputs, or of open sizes; or it states
            another step or signal.
        ConfigError: classes that the outputs cannot be shared out among.
    """
    model = read_onnx(path)
    graph = model.graph
    constants = {one.name for one in graph.initializer}
    entrances = [one for one in graph.input if one.name not in constants]
    if len(entrances) != 1 or len(graph.output) != 1:
        raise GraphError(
            f"has {len(entrances)} inputs and {len(graph.output)} outputs where one of each is wanted",
            where=path,
            hint="States that lie outside of the graph have no form; let it begin from rest.",
        )
    dt, signal = stated_by(model, path, dt=dt, reset=reset, signal=signal)
    given, left = _sizes(entrances[0]), _sizes(graph.output[0])
    steps_first = _steps_first(given, graph)
    skipped = 2 if steps_first else 1
    samples_first = steps_first and turned_at_once(graph, entrances[0].name)
    shape = _shape(given, skipped, path)
    if not all(left[skipped:]):
        left = _inferred(model, given, skipped, path)
    leaving = _shape(left, skipped, path)
    if readout is None and classes is not None:
        readout = _shared_out(prod(leaving), classes)
    if readout is not None and readout[0] * readout[1] != prod(leaving):
        raise ConfigError(f"gives out {prod(leaving)} values, not {readout[0]} * {readout[1]}", where=path)
    steps = None
    if inputs is not None:
        recorded = read_inputs(inputs, signal=signal or stated_signal(inputs) or Signal.REAL, dt=dt or 1.0)
        signal, steps = signal or recorded.signal, recorded.steps
        if dt is None and stated_signal(inputs) is not None:
            dt = recorded.dt
    nodes = (
        _end("Input", entrances[0].name, (), shape, signal or Signal.REAL),
        *_operators(graph, entrances[0].name),
        _end("Output", f"{graph.output[0].name}.out", (), leaving, Signal.REAL, readout),
    )
    nodes = _joined(nodes)
    components = tuple((node.name,) for node in nodes)
    return OnnxNetwork(
        nodes,
        dt,
        None,
        components=components,
        model=model,
        steps_first=steps_first,
        samples_first=samples_first,
        given_steps=given[1 if samples_first else 0] if steps_first else None,
        steps=steps,
    )


def stated_by(
    model: onnx.ModelProto,
    path: Path,
    *,
    dt: float | None = None,
    reset: Reset | None = None,
    signal: Signal | None = None,
) -> tuple[float | None, Signal | None]:
    """The step in seconds and the signal: what a file states in its properties, else what is given.

    Raises:
        GraphError: it states something else, or what cannot be; a reset, which no operator leaves open.
    """
    stated: dict[str, Any] = {one.key: one.value for one in model.metadata_props}
    with in_file(path):
        if reset is not None:
            raise GraphError(
                f"is an ONNX graph, which leaves no reset open, and '{reset}' was asked for",
                hint="Leave --reset out.",
            )
        try:
            if "dt" in stated:
                stated["dt"] = float(stated["dt"])
        except ValueError as error:
            raise GraphError(f"states what cannot be ({error})") from error
        enters = input_signal(stated, signal) if "signal" in stated else signal
        return time_step(stated, dt, needed=False), enters


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, with marks behind those that are there before."""
    taken: set[str] = set()
    found = []
    for wanted in names:
        name = wanted
        while name in taken:
            name += "_"
        taken.add(name)
        found.append(name)
    return found


def _sizes(value: onnx.ValueInfoProto) -> list[int | None]:
    """Sizes of the axes; None for an open one."""
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]


def _steps_first(sizes: Sequence[int | None], graph: onnx.GraphProto) -> bool:
    """Whether steps come first: an open axis behind another, or an operator that runs over them."""
    if len(sizes) < 3:
        return False
    return sizes[1] is None or any(node.op_type in _RECURRENT for node in graph.node)


def _inferred(
    model: onnx.ModelProto, given: Sequence[int | None], skipped: int, path: Path
) -> list[int | None]:
    """Sizes of what leaves, which exporters leave open behind a Reshape, from those of what enters.

    None for a size that cannot be told, or that changes with the number of steps or samples.
    """
    # Most files state their sizes: they need no inference.
    from nsc_deploy.graphs.onnx_shapes import infer_shapes, shapes_of

    found: list[tuple[int | None, ...]] = []
    for number in (2, 3):
        entering = [size or number for size in given[:skipped]] + [size or 0 for size in given[skipped:]]
        try:
            graph = infer_shapes(model, entering)
        except GraphError as error:
            raise GraphError(error.problem, where=path, hint=error.hint) from error
        found.append(shapes_of(graph).get(model.graph.output[0].name) or ())
    return [one if one == other else None for one, other in zip(*found, strict=True)]


def _shape(sizes: Sequence[int | None], skipped: int, path: Path) -> Shape:
    kept = sizes[skipped:]
    if skipped > 1 and not kept:
        raise GraphError(
            f"runs over steps and gives out one result for all of them ({_listed(sizes)})",
            where=path,
            hint="Let it give one for each step, [steps, samples, values] (of torch: all that the recurrent "
            "layer gives, not its last step); a decision is made on their sum.",
        )
    known = tuple(size for size in kept if size is not None and size > 0)
    if len(known) != len(kept) or not known:
        raise GraphError(
            f"leaves sizes of its inputs or outputs open ({_listed(sizes)})",
            where=path,
            hint="Only the axes of steps and samples may be open, in front of the others.",
        )
    return known


def _listed(sizes: Sequence[int | None]) -> str:
    return ", ".join("open" if size is None else str(size) for size in sizes)


def _shared_out(outputs: int, classes: int) -> tuple[int, int]:
    if classes < 1 or outputs % classes:
        raise ConfigError(
            f"{outputs} outputs cannot be shared out among {classes} classes",
            where="--classes",
            hint="Every class takes as many outputs in a row, the first ones class 0.",
        )
    return classes, outputs // classes


def _end(
    primitive: str,
    name: str,
    inputs: tuple[str, ...],
    shape: Shape,
    signal: Signal,
    readout: tuple[int, int] | None = None,
) -> Node:
    metadata: dict[str, Any] = {"signal": signal.value}
    if readout is not None:
        metadata |= {"classes": readout[0], "group": readout[1]}
    kind = nir.Input if primitive == "Input" else nir.Output
    parameters = normalise(kind(np.array(shape), metadata=metadata))
    return Node(name, primitive, parameters, inputs, shape, shape, signal)


def _operators(graph: onnx.GraphProto, entrance: str) -> list[Node]:
    """The operators, each fed by those whose results it takes; shapes are left to ONNX."""
    made = {entrance: entrance}
    wanted = [node.name or f"{node.op_type}_{place}" for place, node in enumerate(graph.node)]
    nodes = []
    for name, node in zip(unique_names([entrance, *wanted])[1:], graph.node, strict=True):
        inputs = tuple(dict.fromkeys(made[one] for one in node.input if one in made))
        made |= dict.fromkeys(node.output, name)
        nodes.append(Node(name, node.op_type, node, inputs, (), (), Signal.REAL))
    return nodes


def _joined(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """With what leaves fed by the operator that makes it."""
    *others, output = nodes
    return (*others, replace(output, inputs=(others[-1].name,)))

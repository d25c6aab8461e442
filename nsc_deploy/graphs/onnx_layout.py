"""A recording fed to an ONNX graph that takes steps and samples in another order than recordings hold them.

Such a graph is given one operator in front that turns what enters, so that everything else about it is told
by shapes as ever. What does not fit is refused with the shape that is wanted, and the layout it would fit.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nsc_deploy.diagnostics import Diagnostic, announce
from nsc_deploy.errors import DataError
from nsc_deploy.graphs.formats.recording import Layout

TURN = "layout"
"""Name of the operator that turns what enters."""
_SAMPLES, _STEPS = ("batch", "sample"), ("seq", "step", "time")
_AXES = {
    Layout.STEPS_FIRST: "[steps, samples, ...]",
    Layout.BATCH_FIRST: "[samples, steps, ...]",
    Layout.NO_STEPS: "[samples, ...] of a single step",
}


def feed_steps_first(model: onnx.ModelProto, layout: Layout, recorded: Sequence[int], file: str) -> None:
    """Make a graph take [steps, samples, ...], in place.

    Args:
        model: read and checked.
        layout: of its first input.
        recorded: shape [steps, samples, ...] of the recording.
        file: name of the graph file, for messages.

    Raises:
        DataError: the recording does not fit what the graph takes in, or that is more than one input, or no
            float32.
    """
    written = {tensor.name for tensor in model.graph.initializer}
    entering = [value for value in model.graph.input if value.name not in written]
    if not entering:
        return
    first = entering[0]
    _refuse_other_inputs(entering, file)
    if not first.type.tensor_type.HasField("shape"):
        return
    dims = list(first.type.tensor_type.shape.dim)
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    _refuse_unfit(first.name, sizes, dims, layout, recorded, file)
    if layout is not Layout.STEPS_FIRST:
        _turn(model.graph, first, layout)
    elif _sounds(dims[0], _SAMPLES) or _sounds(dims[1], _STEPS):
        announce(_otherwise(first.name, f"they are called [{', '.join(map(_word, dims))}]", file))
    elif turned_at_once(model.graph, first.name):
        announce(_otherwise(first.name, "the graph turns the first two around before anything else", file))


def turns_samples(node: onnx.NodeProto) -> bool:
    """Whether an operator makes [steps, samples, values] of [samples, steps, values], or the reverse."""
    return node.op_type == "Transpose" and [list(one.ints) for one in node.attribute] == [[1, 0, 2]]


def turned_at_once(graph: onnx.GraphProto, entrance: str) -> bool:
    """Whether all that reads an input turns its first two axes around, as torch does for batch_first."""
    reading = [node for node in graph.node if entrance in node.input and node.op_type != "Shape"]
    return bool(reading) and all(turns_samples(node) for node in reading)


def _refuse_other_inputs(entering: Sequence[onnx.ValueInfoProto], file: str) -> None:
    """A recording holds what enters one input, in single precision."""
    if len(entering) > 1:
        named = ", ".join(f"'{value.name}'" for value in entering)
        raise DataError(
            f"holds one input, and {file} takes in {len(entering)} ({named})",
            hint="Export the graph with one of them, the others as constants.",
        )
    kind = entering[0].type.tensor_type.elem_type
    if kind != onnx.TensorProto.FLOAT:
        raise DataError(
            f"is fed in float32, and {file} takes in {onnx.TensorProto.DataType.Name(kind).lower()} as "
            f"'{entering[0].name}'",
            hint="Export the graph with a cast from float32 in front of it.",
        )


def _refuse_unfit(
    name: str,
    sizes: Sequence[int | None],
    dims: Sequence[onnx.TensorShapeProto.Dimension],
    layout: Layout,
    recorded: Sequence[int],
    file: str,
) -> None:
    if _fits(sizes, layout, recorded):
        return
    others = [one for one in Layout if one is not layout and _fits(sizes, one, recorded)]
    listed = ", ".join(_word(dim) for dim in dims)
    raise DataError(
        f"has the shape [{', '.join(map(str, recorded))}] (steps, samples, ...), and {file} takes in "
        f"[{listed}] as '{name}', read as {_AXES[layout]}",
        hint=" or ".join(f"Its axes may be {_AXES[one]}: --layout {one}" for one in others)
        or "Record it anew, or export the graph with free sizes for steps and samples (torch: dynamic_axes); "
        "a number of samples that it states has to be 1.",
    )


def _fits(sizes: Sequence[int | None], layout: Layout, recorded: Sequence[int]) -> bool:
    """Whether one sample of the recording has the sizes that the graph states."""
    steps, _, *rest = recorded
    given = {
        Layout.STEPS_FIRST: [steps, None, *rest],
        Layout.BATCH_FIRST: [None, steps, *rest],
        Layout.NO_STEPS: [None, *rest],
    }[layout]
    single = layout is not Layout.NO_STEPS or steps == 1
    # Samples are fed one at a time where the graph states their number: it has to be one.
    return (
        single
        and len(sizes) == len(given)
        and all(
            one is None or one == (1 if size is None else size)
            for one, size in zip(sizes, given, strict=True)
        )
    )


def _turn(graph: onnx.GraphProto, first: onnx.ValueInfoProto, layout: Layout) -> None:
    inner, outer = first.name, f"{first.name}:steps-first"
    dims = list(first.type.tensor_type.shape.dim)
    if layout is Layout.NO_STEPS:
        index = numpy_helper.from_array(np.array(0), f"{outer}:index")
        graph.initializer.append(index)
        node = helper.make_node("Gather", [outer, index.name], [inner], name=TURN, axis=0)
        dims = [onnx.TensorShapeProto.Dimension(dim_value=1), *dims]
    else:
        order = [1, 0, *range(2, len(dims))]
        node = helper.make_node("Transpose", [outer], [inner], name=TURN, perm=order)
        dims = [dims[axis] for axis in order]
    shape = onnx.TensorShapeProto()
    shape.dim.extend(dims)
    first.name = outer
    first.type.tensor_type.shape.CopyFrom(shape)
    graph.node.insert(0, node)


def _word(dim: onnx.TensorShapeProto.Dimension) -> str:
    return str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?"


def _sounds(dim: onnx.TensorShapeProto.Dimension, words: Sequence[str]) -> bool:
    return any(word in dim.dim_param.lower() for word in words)


def _otherwise(name: str, evidence: str, file: str) -> Diagnostic:
    return Diagnostic(
        "onnx-layout",
        f"'{name}' is read as [steps, samples, ...], and its axes look like samples first",
        evidence,
        f"If they are, count it with --layout {Layout.BATCH_FIRST}.",
        where=file,
    )

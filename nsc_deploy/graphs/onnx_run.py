"""ONNX graphs run by onnxruntime on one thread, a batch of samples at a time.

The one place that imports onnxruntime. From version 1.31 on it keeps a device id and a queue of events in
the cache folder of the user and sends them away, and does so as soon as it is imported: it is told not to
before that.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from nsc_deploy.errors import BackendError, DataError
from nsc_deploy.graphs.formats.onnx import read_onnx
from nsc_deploy.graphs.onnx_constants import find_constants, kept_constants
from nsc_deploy.graphs.onnx_limits import refuse_unbounded

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # who wants it says 0
import onnxruntime

if os.environ["ORT_DISABLE_TELEMETRY"] != "0":
    onnxruntime.disable_telemetry_events()  # another module may have imported it before

Float32 = NDArray[np.float32]


def run_onnx(
    model: Path | onnx.ModelProto,
    values: NDArray[Any],
    *,
    batch: int = 256,
    samples_first: bool = False,
) -> Float32:
    """Run a model with one input and one output.

    Args:
        model: a file or a model that was read already.
        values: [T, N, C].
        batch: samples run together, where the graph does not state how many.
        samples_first: the model takes [N, T, C] and gives [N, T, K].

    Returns:
        The output [T, N, K].

    Raises:
        GraphError: the file is damaged or holds something foreign.
        DataError: the values do not fit.
        BackendError: onnxruntime cannot run the model.
    """
    samples = 0 if samples_first else 1  # the axis of the model that they have
    if samples_first:
        values = values.swapaxes(0, 1)
    entering = list(values.shape)
    entering[samples] = min(batch, entering[samples])
    session = open_session(model, entering)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise BackendError(f"has {len(inputs)} inputs and {len(outputs)} outputs where one of each is wanted")
    shape, where = list(inputs[0].shape), model if isinstance(model, Path) else None
    fixed = shape[samples] if len(shape) > samples and isinstance(shape[samples], int) else None
    if fixed is not None:
        shape[samples] = None  # as many as there are, a batch of that size after the other
    _check_shape(values, shape)
    parts, together = [], fixed or batch
    for start in range(0, values.shape[samples], together):
        chosen = range(start, min(start + together, values.shape[samples]))
        part = np.ascontiguousarray(values.take(chosen, axis=samples), dtype=np.float32)
        part = _filled_up(part, fixed or len(chosen), axis=samples)
        found = _run(session, outputs[0].name, {inputs[0].name: part}, where)
        parts.append(found.take(range(len(chosen)), axis=samples))
    result = np.concatenate(parts, axis=samples)
    return result.swapaxes(0, 1) if samples_first else result


def run_onnx_flat(model: onnx.ModelProto, values: NDArray[Any], *, batch: int = 256) -> Float32:
    """Run a model without steps on each step of each sample apart.

    Args:
        model: takes [N, *shape], N open or fixed.
        values: [T, N, *shape].
        batch: rows run together, where N is open.

    Returns:
        The output [T, N, ...].

    Raises:
        DataError: the values do not fit.
        BackendError: onnxruntime cannot run the model.
    """
    rows = np.ascontiguousarray(values, dtype=np.float32).reshape(-1, *values.shape[2:])
    session = open_session(model, (min(batch, len(rows)), *rows.shape[1:]))
    entrance, leaving = session.get_inputs()[0], session.get_outputs()[0]
    fixed = entrance.shape[0]
    size = fixed if isinstance(fixed, int) else batch
    parts = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        count = len(part)
        part = _filled_up(part, fixed if isinstance(fixed, int) else count, axis=0)
        _check_shape(part, entrance.shape)
        parts.append(_run(session, leaving.name, {entrance.name: part})[:count])
    found = np.concatenate(parts)
    return found.reshape(*values.shape[:2], *found.shape[1:])


def run_constants(model: onnx.ModelProto, entering: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Values that operators make and no input changes: exporters write the state at rest so, from shapes.

    Args:
        model: read and checked, with one input.
        entering: shape of what enters, which shapes that are asked for follow from.

    Returns:
        Those that something changing takes in, by name; none where `Constant` alone makes them.

    Raises:
        GraphError: they may take any time or memory.
        BackendError: onnxruntime cannot run what makes them.
    """
    graph, constants = model.graph, find_constants(model.graph)
    made = [
        node for node in graph.node if node.output and constants.names.issuperset(filter(None, node.output))
    ]
    outputs = {name for node in made for name in node.output}
    wanted = sorted(outputs & kept_constants(graph, constants))
    if not wanted or all(node.op_type == "Constant" for node in made):
        return {}
    part = onnx.ModelProto()
    part.CopyFrom(model)  # whole: a shape that is asked for may be that of any value
    del part.graph.output[:]
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    session = open_session(part, entering)
    feeds = {one.name: np.zeros(entering, np.float32) for one in session.get_inputs()}
    try:
        return dict(zip(wanted, map(np.asarray, session.run(wanted, feeds)), strict=True))
    except Exception as error:
        raise _refused(error, None) from error


def open_session(
    model: Path | onnx.ModelProto, entering: Sequence[int] | None = None
) -> onnxruntime.InferenceSession:
    """An onnxruntime session on one thread of the processor.

    Args:
        model: a file or a model that was read already.
        entering: shape of what will enter.

    Raises:
        GraphError: the file is damaged or holds something foreign, or may take any time or memory.
        BackendError: onnxruntime refuses the model.
    """
    proto = read_onnx(model) if isinstance(model, Path) else model
    refuse_unbounded(proto, entering)
    try:
        return start_session(proto)
    except Exception as error:
        raise _refused(error, model if isinstance(model, Path) else None) from error


def start_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session as `open_session` gives it, of a model whose size was looked at before.

    Raises:
        Exception: any; those of onnxruntime share no base class.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Its fusions of quantised weights fail where a scale stands outside of a Scan; nothing here needs them.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _run(
    session: onnxruntime.InferenceSession,
    output: str,
    feeds: dict[str, Float32],
    where: Path | None = None,
) -> Float32:
    try:
        (result,) = session.run([output], feeds)
    except Exception as error:
        raise _refused(error, where) from error
    array: Float32 = np.asarray(result)
    if not np.isfinite(array).all():
        raise BackendError(
            "the model gives NaN or infinity for these inputs",
            where=where,
            hint="Its weights or the inputs are too large for single precision.",
        )
    return array


def _filled_up(values: Float32, size: int, *, axis: int) -> Float32:
    """With zeros behind them, as many along an axis as a graph states."""
    missing = [(0, 0)] * values.ndim
    missing[axis] = (0, size - values.shape[axis])
    return np.pad(values, missing)


def _refused(error: Exception, where: Path | None) -> Exception:
    """Onnxruntime's own exceptions share no base class but come from its modules."""
    if not type(error).__module__.startswith("onnxruntime") and not isinstance(
        error, RuntimeError | ValueError
    ):
        return error
    return BackendError(f"onnxruntime cannot run it ({reason_of(error)})", where=where)


def reason_of(error: Exception) -> str:
    """The first line of what onnxruntime says, or the kind of the error where it says nothing."""
    return str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__


def _check_shape(values: NDArray[Any], wanted: Sequence[int | str | None]) -> None:
    fits = values.ndim == len(wanted) and all(
        not isinstance(size, int) or size == given for size, given in zip(wanted, values.shape, strict=True)
    )
    if not fits or 0 in values.shape:
        listed = ", ".join(str(size) for size in wanted)
        raise DataError(f"values of the shape {values.shape} are given where [{listed}] is wanted")

"""Counting an ONNX graph: shapes and events are taken from the graph as it runs.

It is run by onnxruntime with the further outputs that `instrument` gives it. Shapes are those of the first
sample. A graph without proven events needs no other run, for its cost does not depend on the values;
of the others all samples are run, in batches where the graph keeps them apart and else one by one.
"""

from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.inputs import refuse_empty, refuse_foreign, refuse_too_many
from nsc_deploy.energy.counting.onnx.instrument import Place, Plan, instrument
from nsc_deploy.energy.counting.operations import PartCount
from nsc_deploy.energy.onnx_events import EventMeter
from nsc_deploy.energy.onnx_meeting import Fed, Meeting, Met, layer_count, meeting
from nsc_deploy.energy.onnx_steps import Axes, axes_of
from nsc_deploy.errors import DataError, GraphError
from nsc_deploy.graphs.formats.onnx import read_onnx, refuse_unbounded
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal

Progress = Callable[[int], None]
Run = Callable[[slice], Mapping[str, NDArray[Any]]]

# Of one batch, all that enters and leaves the operators together.
_BATCH_BYTES = 2**28


def count_onnx(
    path: Path, recording: Recording, progress: Progress = lambda samples: None, *, batch: int = 64
) -> PartCount:
    """Count every operation of an ONNX graph over a recording.

    Args:
        path: the .onnx file; its first input takes [steps, samples, channels].
        recording: its inputs.
        progress: told the number of samples done, as they are.
        batch: samples that are run together, at most, where the graph keeps them apart.

    Raises:
        DataError: the recording is empty, does not fit the input or holds other values than the input
            can carry, or the counts might not fit 64 bits.
        GraphError: damaged, or an operator without a rule.
    """
    refuse_empty(recording)
    model = read_onnx(path)
    try:
        refuse_unbounded(model, (recording.steps, 1, *recording.shape))
    except GraphError as error:
        place = path if error.where is None else f"{path}: {error.where}"
        raise GraphError(error.problem, where=place, remedy=error.remedy) from error
    arriving = _arriving(model, recording)
    plan = instrument(model, arriving, shapes=True)
    first = _runner(plan, recording, path)(slice(0, 1))
    met = [meeting(plan, index, first) for index in range(len(plan.places))]
    refuse_too_many({plan.places[i].site.path: one.at_most for i, one in enumerate(met)}, recording.samples)
    # Looking at floats makes arrays as large as what is looked at.
    for some in [recording.values] if recording.values.dtype.kind in "bu" else recording.values:
        refuse_foreign(some, arriving, model.graph.input[0].name)
    eventful = any(place.site.events for place in plan.places)
    watched = instrument(model, arriving, shapes=False) if eventful else plan
    axes = axes_of(watched.model if eventful else model, recording.values.ndim)
    fed: dict[int, Fed] = {}
    if eventful:
        together = max(1, min(batch, _BATCH_BYTES // max(1, sum(map(_bytes, met)))))
        fed = _events(watched, axes, path, recording, together, progress)
    layers = [
        layer_count(one, fed.get(index), recording, stepwise=_stepwise(plan.places[index], axes.steps))
        for index, one in enumerate(met)
    ]
    return PartCount(
        name=path.stem,
        side=None,
        place=None,
        steps=recording.steps,
        samples=recording.samples,
        dt=recording.dt,
        spiking=plan.spikes,
        layers=tuple(layer for layer in layers if layer.worth_a_line),
        free=tuple(plan.free),
    )


def _arriving(model: Any, recording: Recording) -> Signal:
    """What enters, by the metadata of the model, else by the recording."""
    stated = next((entry.value for entry in model.metadata_props if entry.key == "signal"), None)
    return Signal(stated) if stated in set(Signal) else recording.signal


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _bytes(one: Meeting) -> int:
    return 4 * one.runs * sum(prod(shape) for shape in one.shapes.values())


def _stepwise(place: Place, steps: Mapping[str, int]) -> bool:
    """Whether an operator does the same in every step: on values of one step, or in a turn of a scan."""
    if not place.scans:
        return place.site.node.output[0] in steps
    return len(place.scans) == 1 and any(name in steps for name in place.scans[0].output)


def _events(
    plan: Plan, axes: Axes, path: Path, recording: Recording, batch: int, progress: Progress
) -> dict[int, Fed]:
    """Of each operator that events enter, those that arrive and what they meet."""
    meters = {index: EventMeter(plan, index) for index, one in enumerate(plan.places) if one.site.events}
    held = axes.samples
    if held is None or any(source not in held for meter in meters.values() for source in meter.sources):
        batch = 1
    samples_along = held if held is not None and min(batch, recording.samples) > 1 else {}
    run = _runner(plan, recording, path)
    found: dict[int, list[Fed]] = {index: [] for index in meters}
    for start in range(0, recording.samples, batch):
        samples = slice(start, min(start + batch, recording.samples))
        values = run(samples)
        for index, meter in meters.items():
            found[index].append(meter(values, samples_along, samples.stop - start, axes.steps))
        progress(samples.stop)
    return {index: _joined(parts) for index, parts in found.items()}


def _joined(parts: list[Fed]) -> Fed:
    """Samples one after the other, steps added up."""
    samples = Met(*(np.concatenate(column) for column in zip(*(one.samples for one in parts), strict=True)))
    steps = [one.steps for one in parts if one.steps is not None]
    if len(steps) < len(parts):
        return Fed(samples, None)
    return Fed(samples, Met(*(np.sum(column, axis=0) for column in zip(*steps, strict=True))))


def _runner(plan: Plan, recording: Recording, path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            plan.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise GraphError(f"cannot be run by onnxruntime ({_first_line(error)})", where=path) from error
    name = session.get_inputs()[0].name
    wanted = sorted(set(plan.outputs.values()))

    def run(samples: slice) -> dict[str, NDArray[Any]]:
        values = recording.values[:, samples].astype(np.float32)
        try:
            found = session.run(wanted, {name: values}) if wanted else []
        except Exception as error:
            raise DataError(
                f"does not take the recorded inputs of the shape {values.shape} ({_first_line(error)})",
                where=path,
            ) from error
        return dict(zip(wanted, found, strict=True))

    return run

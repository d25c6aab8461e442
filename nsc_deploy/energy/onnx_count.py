"""Counting an ONNX graph: shapes and events are taken from the graph as it runs.

It is run by onnxruntime one sample at a time, with the further outputs that `instrument` gives it. A
graph without proven events needs one run, for its cost does not depend on the values.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counts import PartCount
from nsc_deploy.energy.entering import refuse_empty, refuse_foreign, refuse_too_many
from nsc_deploy.energy.onnx_meeting import Met, events_met, layer_count, meeting
from nsc_deploy.energy.onnx_plan import Plan, instrument
from nsc_deploy.errors import DataError, GraphError
from nsc_deploy.graphs.onnx_file import read_onnx
from nsc_deploy.graphs.onnx_guard import refuse_unbounded
from nsc_deploy.graphs.recording import Recording
from nsc_deploy.graphs.signal import Signal

Progress = Callable[[int], None]


def count_onnx(path: Path, recording: Recording, progress: Progress = lambda samples: None) -> PartCount:
    """Count every operation of an ONNX graph over a recording.

    Args:
        path: the .onnx file; its first input takes [steps, samples, channels].
        recording: its inputs.
        progress: told the number of samples done, as they are.

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
    plan = instrument(model, arriving)
    run = _runner(plan, path)
    eventful = [index for index, place in enumerate(plan.places) if place.site.events]
    first = run(recording, 0)
    met = [meeting(plan, index, first) for index in range(len(plan.places))]
    refuse_too_many({plan.places[i].site.path: one.at_most for i, one in enumerate(met)}, recording.samples)
    for step in recording.values:
        refuse_foreign(step, arriving, model.graph.input[0].name)
    events: dict[int, list[Met]] = {index: [] for index in eventful}
    for sample in range(recording.samples if eventful else 0):
        values = first if sample == 0 else run(recording, sample)
        for index in eventful:
            events[index].append(events_met(plan, index, values))
        progress(sample + 1)
    layers = [layer_count(one, events.get(index), recording) for index, one in enumerate(met)]
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


def _runner(plan: Plan, path: Path) -> Callable[[Recording, int], dict[str, NDArray[Any]]]:
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

    def run(recording: Recording, sample: int) -> dict[str, NDArray[Any]]:
        values = recording.values[:, sample : sample + 1].astype(np.float32)
        try:
            found = session.run(wanted, {name: values}) if wanted else []
        except Exception as error:
            raise DataError(
                f"does not take the recorded inputs of the shape {values.shape} ({_first_line(error)})",
                where=path,
            ) from error
        return dict(zip(wanted, found, strict=True))

    return run

"""Counting an ONNX graph: shapes and events are taken from the graph as it runs.

It is run by onnxruntime one sample at a time, with the further outputs that `instrument` gives it. A
graph without proven events needs one run, for its cost does not depend on the values.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counts import Integers, Kind, LayerCount, Operations, PartCount
from nsc_deploy.energy.onnx_plan import SHAPE, Plan, instrument, wanted_shapes, wanted_values
from nsc_deploy.energy.onnx_rules import Shape, accumulates, cost
from nsc_deploy.energy.onnx_traffic import Accesses, accesses, footprint
from nsc_deploy.energy.traffic import Traffic
from nsc_deploy.errors import DataError, GraphError
from nsc_deploy.graphs.onnx_file import read_onnx
from nsc_deploy.graphs.recording import Recording
from nsc_deploy.graphs.signal import Signal

Progress = Callable[[int], None]


class Met(NamedTuple):
    """Of one sample at one operator: events that arrive, and accumulates they cause."""

    events: int
    acs: int


def count_onnx(path: Path, recording: Recording, progress: Progress = lambda samples: None) -> PartCount:
    """Count every operation of an ONNX graph over a recording.

    Args:
        path: the .onnx file; its first input takes [steps, samples, channels].
        recording: its inputs.
        progress: told the number of samples done, as they are.

    Raises:
        GraphError: damaged, an operator without a rule, or shapes that do not fit the recording.
    """
    model = read_onnx(path)
    plan = instrument(model, _arriving(model, recording))
    run = _runner(plan, path)
    eventful = [index for index, place in enumerate(plan.places) if place.site.events]
    first = run(recording, 0)
    acs: dict[int, list[Met]] = {index: [] for index in eventful}
    for sample in range(recording.samples if eventful else 0):
        values = first if sample == 0 else run(recording, sample)
        for index in eventful:
            acs[index].append(_events_met(plan, index, values))
        progress(sample + 1)
    layers = [_layer(plan, index, first, acs.get(index), recording) for index in range(len(plan.places))]
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
    options.log_severity_level = 3
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


def _layer(
    plan: Plan, index: int, values: Mapping[str, NDArray[Any]], met: list[Met] | None, recording: Recording
) -> LayerCount:
    site = plan.places[index].site
    samples = recording.samples
    shapes: dict[str, Shape] = {
        name: tuple(site.constants[name].shape) for name in site.node.input if name in site.constants
    }
    runs = 1
    for name in wanted_shapes(site):
        found = values[plan.outputs[index, name + SHAPE]]
        shapes[name] = _one_of_equals(found)
        runs = int(np.prod(found.shape[:-1]))
    price = cost(site, shapes)
    totals = {
        kind: np.full(samples, number * runs, dtype=np.int64) for kind, number in price.operations.items()
    }
    dense = price.operations.get(Kind.MAC, 0) * runs
    moved = _traffic(accesses(site, shapes, price), runs, samples)
    if met is not None:
        totals[Kind.AC] = np.asarray([one.acs for one in met], dtype=np.int64)
        totals[Kind.MAC] = np.zeros(samples, dtype=np.int64)
        biases = price.operations.get(Kind.ADDITION, 0) * runs
        moved = _with_events(
            moved, met, biases, streamed=not any(n in site.constants for n in site.node.input[:2])
        )
    return LayerCount(
        name=site.path,
        primitive=site.node.op_type,
        arrives=Signal.REAL if met is None else Signal.EVENTS,
        neurons=price.neurons,
        synapses=price.weights,
        dense=dense,
        per_sample=_operations(totals, samples),
        traffic=moved,
        footprint=footprint(site, shapes, price, recording.steps),
        steps=recording.steps,
    )


def _traffic(one: Accesses, runs: int, samples: int) -> Traffic:
    return Traffic(
        **{name: np.full(samples, number * runs, dtype=np.int64) for name, number in vars(one).items()}
    )


def _with_events(dense: Traffic, met: list[Met], biases: int, *, streamed: bool) -> Traffic:
    """The traffic of an operator that events enter: they alone are read, and only the weights they meet.

    Args:
        dense: its traffic if every value were real.
        met: for each sample.
        biases: additions of a bias.
        streamed: whether a changing tensor takes the place of the weights.
    """
    acs = np.asarray([one.acs for one in met], dtype=np.int64)
    events = np.asarray([one.events for one in met], dtype=np.int64)
    return replace(
        dense,
        weight_reads=biases + (0 if streamed else 1) * acs,
        # An event is added to the sums of its targets, as in a spiking layer.
        state_reads=acs,
        state_writes=acs,
        activation_reads=events + (acs if streamed else 0),
    )


def _one_of_equals(shapes: NDArray[Any]) -> Shape:
    """The shape that every turn of a scan met, from the stacked shapes [..., rank]."""
    turns = shapes.reshape(int(np.prod(shapes.shape[:-1])), shapes.shape[-1])
    return tuple(int(size) for size in turns[0])


def _operations(totals: Mapping[Kind, Integers], samples: int) -> Operations:
    none = np.zeros(samples, dtype=np.int64)
    return Operations(**{kind.value: totals.get(kind, none) for kind in Kind})


def _events_met(plan: Plan, index: int, values: Mapping[str, NDArray[Any]]) -> Met:
    place = plan.places[index]
    site = place.site
    meeting = {name: site.constants[name] for name in site.node.input[:2] if name in site.constants}
    stacked = {name: values[plan.outputs[index, name]] for name in wanted_values(site)}
    events = sum(int(np.count_nonzero(stacked[name])) for name in stacked)
    depth = len(place.scans)
    if not depth:
        return Met(events, accumulates(site, meeting | stacked))
    flat = {name: value.reshape(-1, *value.shape[depth:]) for name, value in stacked.items()}
    runs = len(next(iter(flat.values())))
    each = (
        accumulates(site, meeting | {name: value[i] for name, value in flat.items()}) for i in range(runs)
    )
    return Met(events, sum(each))

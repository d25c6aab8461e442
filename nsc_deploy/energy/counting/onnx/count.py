"""Counting an ONNX graph: shapes and events are taken from the graph as it runs.

It is run by onnxruntime with the further outputs that `instrument` gives it. Shapes are those of the first
sample. A graph without proven events needs no other run, for its cost does not depend on the values; of
the others all samples are run, in batches where the graph keeps them apart (`axes`) and else one by one.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.inputs import refuse_empty, refuse_foreign, refuse_too_many
from nsc_deploy.energy.counting.onnx.axes import samples_in, steps_in
from nsc_deploy.energy.counting.onnx.constants import work_out_constants
from nsc_deploy.energy.counting.onnx.events import Fed, Met, meter_of
from nsc_deploy.energy.counting.onnx.instrument import (
    SHAPE,
    Place,
    Plan,
    instrument,
    wanted_shapes,
)
from nsc_deploy.energy.counting.onnx.operators import (
    OPERATORS,
    Axis,
    Cost,
    Known,
    Shape,
    Site,
    brought_together,
    cost,
)
from nsc_deploy.energy.counting.operations import (
    Footprint,
    Integers,
    Kind,
    LayerCount,
    Operations,
    PartCount,
    Traffic,
)
from nsc_deploy.errors import DataError, GraphError
from nsc_deploy.graphs.assemble import in_file, time_step
from nsc_deploy.graphs.flow import refuse_other_signal
from nsc_deploy.graphs.formats.onnx import read_onnx
from nsc_deploy.graphs.formats.recording import Layout, Recording, require_step
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_layout import TURN, feed_steps_first
from nsc_deploy.graphs.onnx_limits import refuse_unbounded
from nsc_deploy.graphs.onnx_run import reason_of, start_session

Progress = Callable[[int], None]
Run = Callable[[slice], Mapping[str, NDArray[Any]]]
# Of one batch, all that enters and leaves the operators together.
_BATCH_BYTES = 2**28


def count_onnx(
    path: Path,
    recording: Recording,
    progress: Progress = lambda samples: None,
    *,
    batch: int = 64,
    dt: float | None = None,
    nominal: bool = False,
    layout: Layout = Layout.STEPS_FIRST,
    skip_zeros: bool = False,
) -> PartCount:
    """Count every operation of an ONNX graph over a recording.

    Args:
        path: the .onnx file; its first input takes [steps, samples, channels].
        recording: its inputs.
        progress: told the number of samples done, as they are.
        batch: samples that are run together, at most, where the graph keeps them apart.
        dt: length of a step in seconds, for a file that does not state it.
        nominal: whether the step of the graph is a name only, so that the recording may have another.
        layout: of the first input, where it is not [steps, samples, ...].
        skip_zeros: charge products of real values only where neither the value nor the weight is zero. The
            values are read all the same; recurrent operators skip nothing.

    Raises:
        ConfigError: the steps of the recording are not those of the graph.
        DataError: the recording is empty, does not fit the input or holds other values than the input
            can carry, or the counts might not fit 64 bits.
        GraphError: damaged, an operator without a rule, or made for another signal; it names the file.
    """
    refuse_empty(recording)
    model = read_onnx(path)
    if not nominal:
        require_step(recording, time_step(_stated_step(model), dt, needed=False), path)
    with in_file(path):
        feed_steps_first(model, layout, recording.values.shape, str(path))
        return _count(model, recording, progress, batch, path, skip_zeros=skip_zeros)


def _count(
    model: Any, recording: Recording, progress: Progress, batch: int, path: Path, *, skip_zeros: bool
) -> PartCount:
    refuse_unbounded(model, (recording.steps, 1, *recording.shape))
    arriving = _arriving(model, recording)
    known = work_out_constants(model, recording.values[:, :1].astype(np.float32))
    plan = instrument(model, known, arriving, shapes=True, skip_zeros=skip_zeros)
    first = _runner(plan, recording, path)(slice(0, 1))
    met = [meeting(plan, index, first) for index in range(len(plan.places))]
    refuse_too_many({plan.places[i].site.path: one.at_most for i, one in enumerate(met)}, recording.samples)
    # Looking at floats makes arrays as large as what is looked at.
    for some in [recording.values] if recording.values.dtype.kind in "bu" else recording.values:
        refuse_foreign(some, arriving, model.graph.input[0].name)
    eventful = any(place.site.events or place.site.joined for place in plan.places)
    watched = plan
    if eventful:
        watched = instrument(model, known, arriving, shapes=False, skip_zeros=skip_zeros)
    steps = steps_in(watched.model, known, (recording.steps, 1, *recording.shape))
    fed: dict[int, Fed] = {}
    if eventful:
        together = max(1, min(batch, _BATCH_BYTES // max(1, sum(map(_bytes, met)))))
        fed = _events(watched, known, steps, path, recording, together, progress)
    layers = [
        replace(
            layer_count(one, fed.get(index), recording, _stepwise(plan.places[index], steps)),
            decides=plan.decisions and plan.places[index].decides,
        )
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
        free=tuple(name for name in plan.free if name != TURN),
        unknown=("neurons", *(("spikes", "neuron_updates") if plan.decisions else ())),
    )


def _arriving(model: Any, recording: Recording) -> Signal:
    """What enters: the recording's signal, which the metadata of the model may not contradict.

    Raises:
        GraphError: it does.
    """
    stated = next((entry.value for entry in model.metadata_props if entry.key == "signal"), None)
    if stated in set(Signal):
        refuse_other_signal(Signal(stated), recording.signal)
    return recording.signal


def _stated_step(model: Any) -> dict[str, float]:
    """The step that the metadata of the model states; nothing where it is no number."""
    stated = {entry.key: entry.value for entry in model.metadata_props if entry.key == "dt"}
    with suppress(ValueError):
        return {name: float(value) for name, value in stated.items()}
    return {}


@dataclass(frozen=True)
class Meeting:
    """What one operator met in the first run.

    Attributes:
        site: the operator.
        shapes: of its inputs and its first output.
        price: of one execution.
        runs: executions in one sample, the turns of the scans around it.
    """

    site: Site
    shapes: Mapping[str, Shape]
    price: Cost
    runs: int

    @property
    def at_most(self) -> int:
        """More than any one sample can cost, of operations and accesses of all kinds together."""
        values = sum(prod(shape) for shape in self.shapes.values())
        return 4 * self.runs * (sum(self.price.operations.values()) + values)


def _bytes(one: Meeting) -> int:
    return 4 * one.runs * sum(prod(shape) for shape in one.shapes.values())


def _stepwise(place: Place, steps: Mapping[str, Axis]) -> frozenset[str] | None:
    """Which values of an operator hold all steps apart, where it does the same in every step.

    Its inputs and its first output. In a turn of a scan none do. None where steps cannot be told apart.
    """
    node = place.site.node
    if not place.scans:
        both = frozenset((*node.input, node.output[0])) & steps.keys()
        return both if node.output[0] in both else None
    apart = len(place.scans) == 1 and any(name in steps for name in place.scans[0].output)
    return frozenset() if apart else None


def _events(
    plan: Plan,
    known: Known,
    steps: Mapping[str, Axis],
    path: Path,
    recording: Recording,
    batch: int,
    progress: Progress,
) -> dict[int, Fed]:
    """Of each operator that events enter, those that arrive and what they meet."""
    meters = {
        index: meter_of(plan, index, recording.steps)
        for index, one in enumerate(plan.places)
        if one.site.events or one.site.joined
    }
    batch = min(batch, recording.samples)
    # The last batch may be a smaller one.
    axes = {
        size: samples_in(plan.model, known, (recording.steps, size, *recording.shape))
        for size in {batch, recording.samples % batch} - {0, 1}
    }
    if any(
        source not in held for held in axes.values() for meter in meters.values() for source in meter.sources
    ):
        batch = 1
    run = _runner(plan, recording, path)
    found: dict[int, list[Fed]] = {index: [] for index in meters}
    for start in range(0, recording.samples, batch):
        stop = min(start + batch, recording.samples)
        values = run(slice(start, stop))
        for index, meter in meters.items():
            found[index].append(meter(values, axes.get(stop - start, {}), steps, stop - start))
        progress(stop)
    return {index: _joined(parts) for index, parts in found.items()}


def _joined(parts: list[Fed]) -> Fed:
    """Samples one after the other."""
    samples = Met(*(np.concatenate(column) for column in zip(*(one.samples for one in parts), strict=True)))
    each = [one.each for one in parts if one.each is not None]
    if len(each) < len(parts):
        return Fed(samples, None)
    return Fed(samples, Met(*(np.concatenate(column, axis=1) for column in zip(*each, strict=True))))


def _runner(plan: Plan, recording: Recording, path: Path) -> Run:
    try:
        session = start_session(plan.model)
    except Exception as error:
        raise GraphError(f"cannot be run by onnxruntime ({reason_of(error)})", where=path) from error
    name = session.get_inputs()[0].name
    wanted = sorted(set(plan.outputs.values()))

    def run(samples: slice) -> dict[str, NDArray[Any]]:
        values = recording.values[:, samples].astype(np.float32)
        try:
            found = session.run(wanted, {name: values}) if wanted else []
        except Exception as error:
            raise DataError(
                f"does not take the recorded inputs of the shape {values.shape} ({reason_of(error)})",
                where=path,
            ) from error
        return dict(zip(wanted, found, strict=True))

    return run


def meeting(plan: Plan, index: int, values: Mapping[str, NDArray[Any]]) -> Meeting:
    """What an operator meets.

    Args:
        plan: the instrumented graph.
        index: of the operator.
        values: what a run gave out.

    Raises:
        GraphError: there is no rule for it.
    """
    site = plan.places[index].site
    shapes: dict[str, Shape] = {
        name: tuple(site.constants[name].shape) for name in site.node.input if name in site.constants
    }
    runs = 1
    for name in wanted_shapes(site):
        found = values[plan.outputs[index, name + SHAPE]]
        shapes[name] = _one_of_equals(found)
        runs = int(np.prod(found.shape[:-1]))
    return Meeting(site, shapes, cost(site, shapes), runs)


def layer_count(
    one: Meeting, fed: Fed | None, recording: Recording, stepwise: frozenset[str] | None
) -> LayerCount:
    """The counts of an operator over a recording.

    Args:
        one: what it met.
        fed: the events that entered it; None where it takes in real values.
        recording: what was run.
        stepwise: values that hold all steps apart, where it does the same in every step, events aside; else
            None.
    """
    site, price, samples = one.site, one.price, recording.samples
    moved = vars(OPERATORS[site.node.op_type].traffic(site, one.shapes, price))
    operations, traffic = _along(one, moved, None if fed is None else fed.samples, samples, one.runs)
    each_step = None if fed is None else fed.each
    each = Fraction(one.runs * samples, recording.steps)
    whole = all((number * each).denominator == 1 for number in (*price.operations.values(), *moved.values()))
    known = stepwise is not None and whole and (fed is None or each_step is not None)
    met = None if each_step is None else Met(*(column.sum(axis=1) for column in each_step))
    steps = _along(one, moved, met, recording.steps, each) if known else (None, None)
    course = _of_each_step(steps[0], None if site.joined else each_step, samples)
    if recording.steps == 1:  # All that an operator does, it does in that one.
        steps, course = (operations.in_one_step(), traffic.in_one_step()), operations.synaptic[np.newaxis]
    return LayerCount(
        name=site.path,
        primitive=site.node.op_type,
        arrives=site.arrives,
        neurons=price.neurons,
        synapses=price.weights,
        dense=price.operations.get(Kind.MAC, 0) * one.runs,
        per_sample=operations,
        traffic=traffic,
        footprint=footprint(site, one.shapes, price, recording.steps, stepwise or frozenset()),
        steps=recording.steps,
        per_step=steps[0],
        traffic_per_step=steps[1],
        synops=course,
    )


def _of_each_step(per_step: Operations | None, met: Met | None, samples: int) -> Integers | None:
    """Synaptic operations of each step and sample, [T, N]; real values cause as many in every sample."""
    if per_step is None:
        return None
    if met is not None:
        return met.operations
    return np.broadcast_to(per_step.synaptic[:, None] // samples, (len(per_step.acs), samples))


def footprint(
    site: Site, shapes: Mapping[str, Shape], price: Cost, steps: int, apart: frozenset[str]
) -> Footprint:
    """The values an operator keeps; of a sequence, those of one step.

    Args:
        site: the operator.
        shapes: of its values.
        price: of one execution.
        steps: of a sample.
        apart: values that it takes in or gives out step by step, however their axes lie.
    """

    def in_one_step(name: str) -> int:
        shape = shapes[name]
        sequence = name in apart or (len(shape) == 3 and shape[0] == steps)
        return prod(shape) // (steps if sequence else 1)

    # Constants of operators that bring values together are axes and sizes.
    together = OPERATORS[site.node.op_type].traffic is brought_together
    weights = 0 if together else site.nonzero(*range(len(site.node.input)))
    # The events of a step arrive one by one, so the sums they are added to are kept meanwhile.
    summed = site.events and not site.joined and site.arrives is not Signal.REAL
    sums = in_one_step(site.node.output[0]) if summed else 0
    return Footprint(weights, price.states + sums, sum(map(in_one_step, site.changing)))


def _along(
    one: Meeting, moved: Mapping[str, int], met: Met | None, length: int, each: int | Fraction
) -> tuple[Operations, Traffic]:
    """Operations and accesses along the samples or the steps.

    Args:
        one: what the operator met in one execution.
        moved: accesses of one execution, by their names.
        met: events, along the same; None where it takes in real values.
        length: number of samples or steps.
        each: executions in each of them.
    """

    def everywhere(number: int) -> Integers:
        return np.full(length, int(number * each), dtype=np.int64)

    totals = {kind: everywhere(number) for kind, number in one.price.operations.items()}
    traffic = Traffic(**{name: everywhere(number) for name, number in moved.items()})
    if met is not None and one.site.joined:
        totals[Kind.ADDITION] = met.operations
        traffic = replace(traffic, activation_reads=met.events, activation_writes=met.results)
    elif met is not None:
        totals[Kind.MAC] = everywhere(0)
        totals[Kind.AC if one.site.arrives is Signal.EVENTS else Kind.MAC] = met.operations
        biases = everywhere(one.price.operations.get(Kind.ADDITION, 0))
        streamed = not any(name in one.site.constants for name in one.site.node.input[:2])
        if one.site.arrives is Signal.REAL:  # zeros are looked at, and no sum leaves its register
            traffic = replace(traffic, weight_reads=biases + (0 if streamed else 1) * met.operations)
        else:
            traffic = _with_events(traffic, met, biases, streamed=streamed)
    return Operations(**{kind.value: totals.get(kind, everywhere(0)) for kind in Kind}), traffic


def _with_events(dense: Traffic, met: Met, biases: Integers, *, streamed: bool) -> Traffic:
    """The traffic of an operator that events enter: they alone are read, and only the weights they meet.

    Args:
        dense: its traffic if every value were real.
        met: the events, along the same axis.
        biases: additions of a bias.
        streamed: whether a changing tensor takes the place of the weights.
    """
    events, synops, _ = met
    return replace(
        dense,
        weight_reads=biases + (0 if streamed else 1) * synops,
        # An event is added to the sums of its targets, as in a spiking layer.
        state_reads=synops,
        state_writes=synops,
        activation_reads=events + (synops if streamed else 0),
    )


def _one_of_equals(shapes: NDArray[Any]) -> Shape:
    """The shape that every turn of a scan met, from the stacked shapes [..., rank]."""
    turns = shapes.reshape(int(np.prod(shapes.shape[:-1])), shapes.shape[-1])
    return tuple(int(size) for size in turns[0])

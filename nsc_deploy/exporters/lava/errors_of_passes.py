"""The error each pass of a lowering brought: the share of spikes that differ before and after it."""

from collections.abc import Sequence

from nsc_deploy.exporters.inputs import CheckInputs
from nsc_deploy.exporters.lava.integers import IntegerNetwork
from nsc_deploy.exporters.lava.lowering.pipeline import Lowering, Step
from nsc_deploy.exporters.lava.manifest import LayerError, PassRecord
from nsc_deploy.exporters.lava.runners import TwinRunner
from nsc_deploy.graphs.network import Network
from nsc_deploy.verification.compare import Comparison, compare_runs
from nsc_deploy.verification.divergence import LayerParity
from nsc_deploy.verification.runner import ReferenceRunner, Runner


def pass_records(
    network: Network,
    lowering: Lowering,
    integers: IntegerNetwork,
    inputs: CheckInputs,
    whole: Comparison,
) -> tuple[PassRecord, ...]:
    """What each pass did, and its error on the inputs that the export is checked on.

    An exact pass is not measured: its error is 0, as tests on random graphs show. An inexact one that
    leaves a graph is measured in the reference simulator, the rounding to integers in the twin. Every layer
    gets what the layers before it really fire, so its share holds their errors too.

    Args:
        network: the graph, before all passes.
        lowering: what was done to it.
        integers: what was written.
        inputs: what enters.
        whole: the graph beside the integers on these inputs.
    """
    before, records = network, []
    for step in lowering.steps:
        records.append(_record(step, _error(step, before, network, integers, inputs, whole)))
        before = before if step.graph is None else step.graph
    return tuple(records)


def _error(
    step: Step,
    before: Network,
    network: Network,
    integers: IntegerNetwork,
    inputs: CheckInputs,
    whole: Comparison,
) -> Comparison | None:
    """The runs before and after an inexact pass side by side."""
    if step.exact:
        return None
    if step.graph is not None:
        return _compared(before, ReferenceRunner(step.graph), inputs)
    return whole if before is network else _compared(before, TwinRunner(integers, before), inputs)


def _compared(before: Network, after: Runner, inputs: CheckInputs) -> Comparison:
    return compare_runs(before, ReferenceRunner(before), after, inputs.values)


def _record(step: Step, found: Comparison | None) -> PassRecord:
    layers = () if found is None else tuple(_layer_error(layer) for layer in found.layers)
    return PassRecord(
        step=step.name,
        did=tuple(note.text if note.node is None else f"{note.node}: {note.text}" for note in step.notes),
        exact=step.exact,
        differing=_share(layers),
        layers=layers,
    )


def _layer_error(layer: LayerParity) -> LayerError:
    """From the counts of both sides and the share that coincides: what only one side fires."""
    first, second = layer.reference_spikes or 0, layer.other_spikes or 0
    shared = 1.0 if layer.coincidence is None else layer.coincidence
    either = round((first + second) / (1 + shared))
    return LayerError(node=layer.node, spikes=first, either=either, alone=either - round(shared * either))


def _share(layers: Sequence[LayerError]) -> float:
    either = sum(layer.either for layer in layers)
    return sum(layer.alone for layer in layers) / either if either else 0.0

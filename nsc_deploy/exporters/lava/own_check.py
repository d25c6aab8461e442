"""The check an export to Lava ends with: the integers that were written, in the twin, beside the graph."""

from dataclasses import dataclass
from pathlib import Path

from nsc_deploy.exporters.inputs import SEED, CheckInputs, check_inputs
from nsc_deploy.exporters.lava.environment import LAVA_VERSION
from nsc_deploy.exporters.lava.errors_of_passes import pass_records
from nsc_deploy.exporters.lava.integer_file import read_integers
from nsc_deploy.exporters.lava.lowering.pipeline import Lowering
from nsc_deploy.exporters.lava.manifest import PassRecord
from nsc_deploy.exporters.lava.runners import TwinRunner
from nsc_deploy.exporters.registry import ExportRequest
from nsc_deploy.verification.compare import Comparison, compare_runs
from nsc_deploy.verification.record import VerificationRecord
from nsc_deploy.verification.runner import ReferenceRunner


@dataclass(frozen=True)
class Checked:
    """What the check found.

    Attributes:
        record: the integers beside the graph.
        passes: the passes, each with the error it brought.
    """

    record: VerificationRecord
    passes: tuple[PassRecord, ...]


def check_twin(request: ExportRequest, lowering: Lowering, integers: Path) -> Checked:
    """Compare the integers with the graph, on recorded inputs or, where there are none, on random ones.

    Rounded weights and decays change spikes, so nothing is refused here: the record says how many.

    Args:
        request: what was exported.
        lowering: how it was lowered.
        integers: the file that was written.
    """
    inputs, network = check_inputs(request), request.network
    read = read_integers(integers, tuple(layer.groups for layer in lowering.network.layers))
    found = compare_runs(
        network, ReferenceRunner(network), TwinRunner(read, network), inputs.values, labels=inputs.labels
    )
    return Checked(_record(inputs, found), pass_records(network, lowering, read, inputs, found))


def _record(inputs: CheckInputs, found: Comparison) -> VerificationRecord:
    decisions = found.decisions
    return VerificationRecord(
        backend=f"the twin of lava-nc {LAVA_VERSION}",
        inputs=inputs.kind,
        seed=SEED if inputs.kind == "random" else None,
        samples=found.samples,
        steps=found.steps,
        spikes=sum(layer.reference_spikes or 0 for layer in found.layers),
        equal=found.equal,
        diverging_samples=found.diverging_samples,
        coincidence=found.output.coincidence,
        rate_cosine=found.output.rate_cosine,
        agreement=None if decisions is None else decisions.agreement,
        reference_accuracy=None if decisions is None else decisions.reference_accuracy,
        accuracy=None if decisions is None else decisions.other_accuracy,
    )

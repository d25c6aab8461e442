"""The check an export to Lava ends with: the integers that were written, in the twin, beside the graph."""

from pathlib import Path

from nsc_deploy.exporters.inputs import SEED, check_inputs
from nsc_deploy.exporters.lava.environment import LAVA_VERSION
from nsc_deploy.exporters.lava.integer import Group
from nsc_deploy.exporters.lava.integer_file import read_integers
from nsc_deploy.exporters.lava.trace import TwinRunner
from nsc_deploy.exporters.registry import ExportRequest
from nsc_deploy.verification.comparison import compare_runs
from nsc_deploy.verification.record import VerificationRecord
from nsc_deploy.verification.reference import ReferenceRunner


def check_twin(
    request: ExportRequest, integers: Path, groups: tuple[tuple[Group, ...], ...]
) -> VerificationRecord:
    """Compare the integers with the graph, on recorded inputs or, where there are none, on random ones.

    Rounded weights and decays change spikes, so nothing is refused here: the record says how many.

    Args:
        request: what was exported.
        integers: the file that was written.
        groups: what its rows stand for.
    """
    inputs = check_inputs(request)
    twin = TwinRunner(read_integers(integers, groups), request.network)
    found = compare_runs(
        request.network, ReferenceRunner(request.network), twin, inputs.values, labels=inputs.labels
    )
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

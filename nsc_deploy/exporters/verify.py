"""Verifying: two backends, one graph, the same inputs, and the limits they have to keep."""

from collections.abc import Callable
from dataclasses import replace

from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.subject import Bench, Samples, Subject, open_runner
from nsc_deploy.io.scratch import scratch_folder
from nsc_deploy.verification.compare import compare_runs
from nsc_deploy.verification.limits import Limits, Verification, findings


def verify(
    subject: Subject,
    against: str,
    samples: Samples,
    limits: Limits,
    *,
    on: str | None = None,
    bits: int = 8,
    silence_s: float = Bench.silence_s,
    advance: Callable[[int], None] = lambda _samples: None,
) -> Verification:
    """Run a subject on its own backend and the same graph on another, and compare.

    The reference simulator is the first of the two wherever it takes part, else the subject is.

    Args:
        subject: what is verified.
        against: the backend to compare with.
        samples: the inputs.
        limits: what has to be reached.
        on: the backend of the subject, where it is not its own.
        bits: bits of a weight where a NIR file is lowered for Lava.
        silence_s: seconds without a sign of life after which Lava is given up.
        advance: called with the number of samples finished since the last call.

    Raises:
        ConfigError: both sides are the same, or a limit asks for a figure that there is none of.
        ExportError: the graph cannot be represented on a backend.
        BackendError: a backend is missing or failed.
    """
    own = on or subject.own
    if own == against:
        raise ConfigError(
            f"both sides would be {own}, which is equal to itself",
            where="--against",
            hint="Name another backend, or another one for the left side with --on.",
        )
    first, second = (against, own) if against == "reference" else (own, against)
    with scratch_folder("verify") as folder:
        bench = Bench(folder, bits, silence_s)
        comparison = compare_runs(
            subject.network,
            open_runner(subject, first, bench),
            open_runner(subject, second, bench),
            samples.values,
            labels=samples.labels,
            advance=advance,
        )
    divergence = comparison.first_divergence
    if divergence is not None:
        place = int(samples.indices[divergence.sample])
        comparison = replace(comparison, first_divergence=replace(divergence, sample=place))
    return Verification(
        subject=str(subject.path),
        target=subject.target,
        comparison=comparison,
        findings=findings(comparison, limits),
        class_names=subject.class_names,
        warnings=subject.network.diagnostics,
    )

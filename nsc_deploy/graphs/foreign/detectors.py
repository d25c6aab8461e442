"""Every detector of a fault, in the order in which cautions are told."""

from collections.abc import Callable

from nsc_deploy.diagnostics import Caution
from nsc_deploy.graphs.foreign import nirtorch
from nsc_deploy.graphs.foreign.seen import Seen
from nsc_deploy.graphs.formats.writers import any, norse, snntorch, spikingjelly
from nsc_deploy.graphs.formats.writers.recognise import Sign, sign_of

DETECTORS: tuple[Callable[[Seen, Sign], Caution | None], ...] = (
    snntorch.time_step,
    snntorch.reset,
    snntorch.recurrent_bias,
    norse.time_constants,
    norse.reset,
    norse.synaptic_current,
    norse.perfect_integrator,
    norse.start,
    spikingjelly.time_step,
    spikingjelly.threshold,
    spikingjelly.start,
    nirtorch.sums,
)
"""Faults of a writer, each looked for in files that look like its."""

GENERAL: tuple[Callable[[Seen], Caution | None], ...] = (
    any.step_too_long,
    any.late_edges,
    any.added_input,
    any.one_number,
    any.batch,
)
"""What any file may show."""


def cautions_of(seen: Seen) -> tuple[Caution, ...]:
    """All that is to be told about a graph."""
    sign = sign_of(seen)
    found = [detect(seen, sign) for detect in DETECTORS] if sign is not None else []
    found += [detect(seen) for detect in GENERAL]
    return tuple(caution for caution in found if caution is not None)

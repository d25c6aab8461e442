"""Graphs that other frameworks wrote: who probably wrote a file, and which faults of that writer it shows.

NIR files do not name the program that wrote them, so everything here goes by traces: names of nodes, types
of numbers, relations between parameters. What was measured with which release is in
docs/other-frameworks.md; each detector is one function, and `detectors.DETECTORS` lists them.

Every detector of a fault, in the order in which diagnostics are told.
"""

from collections.abc import Callable

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.graphs.formats.writers import any, norse, snntorch, spikingjelly
from nsc_deploy.graphs.formats.writers.recognise import Seen, Sign, sign_of

DETECTORS: tuple[Callable[[Seen, Sign], Diagnostic | None], ...] = (
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
    spikingjelly.sums,
)
"""Faults of a writer, each looked for in files that look like its."""
GENERAL: tuple[Callable[[Seen], Diagnostic | None], ...] = (
    any.step_too_long,
    any.late_edges,
    any.added_input,
    any.one_number,
    any.batch,
)
"""What any file may show."""


def diagnostics_of(seen: Seen) -> tuple[Diagnostic, ...]:
    """All that is to be told about a graph."""
    sign = sign_of(seen)
    found = [detect(seen, sign) for detect in DETECTORS] if sign is not None else []
    found += [detect(seen) for detect in GENERAL]
    return tuple(diagnostic for diagnostic in found if diagnostic is not None)

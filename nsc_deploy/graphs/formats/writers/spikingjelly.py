"""Where SpikingJelly 2.0 computes something else than the NIR file it writes.

What nirtorch 2.6's torch_to_nir, which SpikingJelly uses too, leaves out without a word.
"""

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.graphs.formats.writers.recognise import Seen, Sign, Writer, chained, named


def threshold(seen: Seen, sign: Sign) -> Diagnostic | None:
    """It fires at the threshold, NIR above it."""
    if sign.writer is not Writer.SPIKINGJELLY:
        return None
    return Diagnostic(
        "spikingjelly-threshold",
        "SpikingJelly fires at the threshold, NIR only above it: with weights on a grid, in integers for "
        "example, many spikes differ.",
        sign.looks,
        "Lower v_threshold to the next number below it in the graph before it is written, which is the same "
        "decision (docs/other-frameworks.md has the lines).",
    )


def start(seen: Seen, sign: Sign) -> Diagnostic | None:
    """It starts at v_reset, NIR does not say where."""
    raised = {name: node for name, node in seen.of("LIF", "IF", "CubaLIF").items() if node.v_reset.any()}
    if sign.writer is not Writer.SPIKINGJELLY or not raised:
        return None
    return Diagnostic(
        "spikingjelly-start",
        "SpikingJelly's potentials start at v_reset; here, as NIR states no start, at 0.",
        f"{sign.looks} v_reset is not 0 in {named(raised)}.",
        "Take v_reset off v_threshold, v_leak and v_reset in the graph before it is written, which is the "
        "same neuron (docs/other-frameworks.md has the lines).",
    )


def time_step(seen: Seen, sign: Sign) -> Diagnostic | None:
    """The gain of its perfect integrators tells the step the file was written with."""
    if sign.writer is not Writer.SPIKINGJELLY or sign.dt is None or seen.dt is None or "dt" in seen.metadata:
        return None
    if abs(seen.dt / sign.dt - 1) < 1e-6:
        return None
    return Diagnostic(
        "spikingjelly-time-step",
        f"The file was written for a step of {sign.dt:g} s and is read with {seen.dt:g} s: other gains and "
        "decays than the trained model's.",
        f"{sign.looks} 1 / r of its IF nodes, or tau / r of its CubaLIF nodes, is {sign.dt:g}.",
        f"Give --dt {sign.dt:g}.",
    )


def sums(seen: Seen, sign: Sign) -> Diagnostic | None:
    """Of a sum only its modules' outputs are kept, each once."""
    if sign.writer not in {Writer.NIRTORCH, Writer.SPIKINGJELLY} or chained(seen):
        return None
    return Diagnostic(
        "nirtorch-sums",
        "nirtorch drops parts of sums in forward without a word: the constant of h + 1.0, the second h of "
        "h + h, a second argument, the alpha of add.",
        sign.looks,
        "Look at forward: only sums of outputs of different modules come through; write the rest as modules "
        "(Linear with a bias, for example).",
    )

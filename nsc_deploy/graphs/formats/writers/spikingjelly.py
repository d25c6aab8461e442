"""Where SpikingJelly 2.0, and nirtorch 2.6 under it, compute something else than the NIR file they write."""

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.graphs.flow import FlatGraph
from nsc_deploy.graphs.formats.writers.recognise import Sign, is_sequential, some_names


def threshold(graph: FlatGraph, sign: Sign) -> Diagnostic:
    """It fires at the threshold, NIR above it."""
    return Diagnostic(
        "spikingjelly-threshold",
        "SpikingJelly fires at the threshold, NIR only above it: with weights on a grid, in integers for "
        "example, many spikes differ.",
        sign.claim,
        "Lower v_threshold to the next number below it in the graph before it is written, which is the same "
        "decision (docs/other-frameworks.md has the lines).",
    )


def start(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """It starts at v_reset, NIR does not say where."""
    raised = {name: node for name, node in graph.of("LIF", "IF", "CubaLIF").items() if node.v_reset.any()}
    if not raised:
        return None
    return Diagnostic(
        "spikingjelly-start",
        "SpikingJelly's potentials start at v_reset; here, as NIR states no start, at 0.",
        f"{sign.claim} v_reset is not 0 in {some_names(raised)}.",
        "Take v_reset off v_threshold, v_leak and v_reset in the graph before it is written, which is the "
        "same neuron (docs/other-frameworks.md has the lines).",
    )


def time_step(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """The gain of its perfect integrators tells the step the file was written with."""
    if sign.dt is None or graph.dt is None or "dt" in graph.metadata:
        return None
    if abs(graph.dt / sign.dt - 1) < 1e-6:
        return None
    return Diagnostic(
        "spikingjelly-time-step",
        f"The file was written for a step of {sign.dt:g} s and is read with {graph.dt:g} s: other gains and "
        "decays than the trained model's.",
        f"{sign.claim} 1 / r of its IF nodes, or tau / r of its CubaLIF nodes, is {sign.dt:g}.",
        f"Give --dt {sign.dt:g}.",
    )


def sums(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """Of a sum, torch_to_nir of nirtorch keeps only the outputs of modules, each once."""
    if is_sequential(graph):
        return None
    return Diagnostic(
        "nirtorch-sums",
        "nirtorch drops parts of sums in forward without a word: the constant of h + 1.0, the second h of "
        "h + h, a second argument, the alpha of add.",
        sign.claim,
        "Look at forward: only sums of outputs of different modules come through; write the rest as modules "
        "(Linear with a bias, for example).",
    )

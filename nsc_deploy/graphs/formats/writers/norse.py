"""Faults of Norse 1.1's to_nir, and how they show."""

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.graphs.flow import FlatGraph
from nsc_deploy.graphs.formats.writers.recognise import Sign, all_close, some_names

_SHORTEST_S = 1e-3


def time_constants(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """Time constants are written as dt / tau_inv where 1 / tau_inv is meant."""
    taus = {
        name: float(getattr(node, field).max())
        for name, node in graph.of("LIF", "LI", "CubaLIF").items()
        for field in ("tau", "tau_mem")
        if hasattr(node, field)
    }
    if not taus or max(taus.values()) >= _SHORTEST_S:
        return None
    return Diagnostic(
        "norse-time-constants",
        "Norse writes time constants as dt / tau_inv, which is dt times too short: a thousandth at 1 ms.",
        f"{sign.claim} The longest time constant is {max(taus.values()):g} s.",
        "Divide them by dt before the file is written (docs/other-frameworks.md has the lines); or give the "
        "square of the step, --dt 1e-6 for 1 ms: the same spikes, and every figure in seconds too small.",
    )


def reset(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """Neither the reset nor its potential is written."""
    spiking = graph.of("LIF", "IF", "CubaLIF")
    if not spiking or "reset" in graph.metadata:
        return None
    return Diagnostic(
        "norse-reset",
        "Norse writes neither reset_method nor v_reset.",
        sign.claim,
        "Give --reset subtract for reset_method=reset_subtract, else --reset zero; set v_reset in the graph "
        "before it is written where the model's is not 0.",
    )


def synaptic_current(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """LIFCell adds its whole input to the current; the file says a share of it."""
    weak = {name: node for name, node in graph.of("CubaLIF").items() if all_close(node.w_in, 1)}
    if not weak:
        return None
    return Diagnostic(
        "norse-synaptic-current",
        "Norse's LIFCell adds its whole input to the synaptic current, and the file adds dt / tau_syn of it: "
        "too few spikes.",
        f"{sign.claim} w_in is 1 in {some_names(weak)}.",
        "Set w_in = tau_syn / dt in the graph before it is written (docs/other-frameworks.md has the lines).",
    )


def perfect_integrator(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """IAFCell adds its whole input to the potential; the file says dt of it."""
    weak = graph.of("IF")
    if not weak or (graph.dt is not None and graph.dt == 1):
        return None
    return Diagnostic(
        "norse-integrate-and-fire",
        "Norse's IAFCell adds its whole input to the potential, and the file adds dt of it: hardly a spike.",
        f"{sign.claim} r is 1 in {some_names(weak)}.",
        "Set r = 1 / dt in the graph before it is written (docs/other-frameworks.md has the lines); where "
        "there are only such neurons, --dt 1 says the same.",
    )


def start(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """Its potentials start at v_leak, NIR does not say where."""
    raised = {name: node for name, node in graph.of("LIF", "CubaLIF", "LI").items() if node.v_leak.any()}
    if not raised:
        return None
    return Diagnostic(
        "norse-start",
        "Norse's potentials start at v_leak; here, as NIR states no start, at 0.",
        f"{sign.claim} v_leak is not 0 in {some_names(raised)}.",
        "Take v_leak off v_threshold, v_reset and v_leak in the graph before it is written: the same neuron "
        "(docs/other-frameworks.md has the lines). A leaky integrator differs until it has settled.",
    )

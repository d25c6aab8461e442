"""Faults of Norse 1.1's to_nir, and how they show."""

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.graphs.formats.writers.recognise import Seen, Sign, Writer, equal, named

_SHORTEST_S = 1e-3


def time_constants(seen: Seen, sign: Sign) -> Diagnostic | None:
    """Time constants are written as dt / tau_inv where 1 / tau_inv is meant."""
    taus = {
        name: float(getattr(node, field).max())
        for name, node in seen.of("LIF", "LI", "CubaLIF").items()
        for field in ("tau", "tau_mem")
        if hasattr(node, field)
    }
    if sign.writer is not Writer.NORSE or not taus or max(taus.values()) >= _SHORTEST_S:
        return None
    return Diagnostic(
        "norse-time-constants",
        "Norse writes time constants as dt / tau_inv, which is dt times too short: a thousandth at 1 ms.",
        f"{sign.looks} The longest time constant is {max(taus.values()):g} s.",
        "Divide them by dt before the file is written (docs/other-frameworks.md has the lines); or give the "
        "square of the step, --dt 1e-6 for 1 ms: the same spikes, and every figure in seconds too small.",
    )


def reset(seen: Seen, sign: Sign) -> Diagnostic | None:
    """Neither the reset nor its potential is written."""
    spiking = seen.of("LIF", "IF", "CubaLIF")
    if sign.writer is not Writer.NORSE or not spiking or "reset" in seen.metadata:
        return None
    return Diagnostic(
        "norse-reset",
        "Norse writes neither reset_method nor v_reset.",
        sign.looks,
        "Give --reset subtract for reset_method=reset_subtract, else --reset zero; set v_reset in the graph "
        "before it is written where the model's is not 0.",
    )


def synaptic_current(seen: Seen, sign: Sign) -> Diagnostic | None:
    """LIFCell adds its whole input to the current; the file says a share of it."""
    weak = {name: node for name, node in seen.of("CubaLIF").items() if equal(node.w_in, 1)}
    if sign.writer is not Writer.NORSE or not weak:
        return None
    return Diagnostic(
        "norse-synaptic-current",
        "Norse's LIFCell adds its whole input to the synaptic current, and the file adds dt / tau_syn of it: "
        "too few spikes.",
        f"{sign.looks} w_in is 1 in {named(weak)}.",
        "Set w_in = tau_syn / dt in the graph before it is written (docs/other-frameworks.md has the lines).",
    )


def perfect_integrator(seen: Seen, sign: Sign) -> Diagnostic | None:
    """IAFCell adds its whole input to the potential; the file says dt of it."""
    weak = seen.of("IF")
    if sign.writer is not Writer.NORSE or not weak or (seen.dt is not None and seen.dt == 1):
        return None
    return Diagnostic(
        "norse-integrate-and-fire",
        "Norse's IAFCell adds its whole input to the potential, and the file adds dt of it: hardly a spike.",
        f"{sign.looks} r is 1 in {named(weak)}.",
        "Set r = 1 / dt in the graph before it is written (docs/other-frameworks.md has the lines); where "
        "there are only such neurons, --dt 1 says the same.",
    )


def start(seen: Seen, sign: Sign) -> Diagnostic | None:
    """Its potentials start at v_leak, NIR does not say where."""
    raised = {name: node for name, node in seen.of("LIF", "CubaLIF", "LI").items() if node.v_leak.any()}
    if sign.writer is not Writer.NORSE or not raised:
        return None
    return Diagnostic(
        "norse-start",
        "Norse's potentials start at v_leak; here, as NIR states no start, at 0.",
        f"{sign.looks} v_leak is not 0 in {named(raised)}.",
        "Take v_leak off v_threshold, v_reset and v_leak in the graph before it is written: the same neuron "
        "(docs/other-frameworks.md has the lines). A leaky integrator differs until it has settled.",
    )

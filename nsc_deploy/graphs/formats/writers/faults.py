"""Where frameworks write a NIR file that computes something else than their model, and how it shows.

snnTorch 1.0's export_to_nir; Norse 1.1's to_nir; SpikingJelly 2.0, and nirtorch 2.6 under it.
"""

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.graphs.flow import FlatGraph
from nsc_deploy.graphs.formats.writers.recognise import (
    SNNTORCH_DT,
    Sign,
    all_close,
    is_sequential,
    some_names,
)


def snntorch_time_step(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """The step is always written as 0.1 ms."""
    if "dt" in graph.metadata:
        return None
    if graph.dt is not None and abs(graph.dt / SNNTORCH_DT - 1) < 1e-6:
        way_out = "Right for the spikes. Figures in seconds then count every step as 0.1 ms."
    else:
        way_out = "Give --dt 1e-4: with any other step every decay and gain differs from the trained model."
    return Diagnostic(
        "snntorch-time-step",
        "snnTorch writes every graph as if a step were 1e-4 s, whatever it was trained with.",
        sign.claim,
        way_out,
    )


def snntorch_reset(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """The way a neuron resets is not written."""
    if "reset" in graph.metadata:
        return None
    return Diagnostic(
        "snntorch-reset",
        "snnTorch writes neither reset_mechanism nor reset_delay, and its default (subtract, one step late) "
        "is no neuron of NIR.",
        sign.claim,
        'Train with reset_mechanism="zero", reset_delay=False and give --reset zero. "subtract" is right '
        "without delay and while no potential reaches twice the threshold; a late reset only as zero in a "
        "Leaky, but docs/other-frameworks.md shows how to write the default. Compare the spikes once.",
    )


def snntorch_recurrent_bias(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """RLeaky and RSynaptic add the bias of their recurrence in the first step too."""
    late = {
        source: graph.parameters[source]
        for source, _ in graph.back_edges
        if getattr(graph.parameters[source], "bias", None) is not None and graph.parameters[source].bias.any()
    }
    if not late:
        return None
    return Diagnostic(
        "snntorch-recurrent-bias",
        "snnTorch's recurrent neurons add the bias of the recurrence from the first step on; here what comes "
        "back arrives from the second step on.",
        f"{sign.claim} {', '.join(sorted(late))} closes a cycle and has a bias.",
        "Before the export, add the recurrent bias to that of the layer in front and set it to 0: the same "
        "neuron, and exact here.",
    )


_SHORTEST_S = 1e-3


def norse_time_constants(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
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


def norse_reset(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
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


def norse_synaptic_current(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
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


def norse_perfect_integrator(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
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


def norse_start(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
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


def spikingjelly_threshold(graph: FlatGraph, sign: Sign) -> Diagnostic:
    """It fires at the threshold, NIR above it."""
    return Diagnostic(
        "spikingjelly-threshold",
        "SpikingJelly fires at the threshold, NIR only above it: with weights on a grid, in integers for "
        "example, many spikes differ.",
        sign.claim,
        "Lower v_threshold to the next number below it in the graph before it is written, which is the same "
        "decision (docs/other-frameworks.md has the lines).",
    )


def spikingjelly_start(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
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


def spikingjelly_time_step(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
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


def nirtorch_sums(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
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

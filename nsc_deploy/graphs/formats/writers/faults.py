"""Where frameworks write a NIR file that computes something else than their model, and how it shows.

snnTorch 1.0's export_to_nir; Norse 1.1's to_nir; SpikingJelly 2.0, and nirtorch 2.6 under it; sinabs 3.1;
Rockpool 3.1.
"""

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.graphs.flow import FlatGraph
from nsc_deploy.graphs.formats.writers.recognise import (
    SHORTEST_S,
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
    wrong = graph.dt is not None and abs(graph.dt / SNNTORCH_DT - 1) >= 1e-6
    if graph.dt is not None and not wrong:
        way_out = "Right for the spikes. Figures in seconds then count every step as 0.1 ms."
    else:
        way_out = (
            "Give --dt 1e-4: with any other step every decay and gain differs from the trained model. "
            "The real step is --step-seconds (energy commands); nsc-deploy mend --from snntorch writes it."
        )
    return Diagnostic(
        "snntorch-time-step",
        "snnTorch writes every graph as if a step were 1e-4 s, whatever it was trained with"
        + (f"; it is read with {graph.dt:g} s, as another network." if wrong else "."),
        sign.claim,
        way_out,
        contradicted=wrong,
    )


def snntorch_reset(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """The way a neuron resets is not written."""
    if "reset" in graph.metadata:
        return None
    return Diagnostic(
        "snntorch-reset",
        "snnTorch writes none of reset_mechanism, reset_delay, graded_spikes_factor and inhibition. Its "
        "default "
        "reset (subtract, one step late) is no neuron of NIR.",
        sign.claim,
        'Train with reset_mechanism="zero", reset_delay=False and give --reset zero. "subtract" is right '
        "without delay and while no potential reaches twice the threshold; a late reset only as zero in a "
        "Leaky, but nsc-deploy mend --from snntorch writes the default. With inhibition, a "
        "graded_spikes_factor other than 1, a padding_mode other than zeros or a divisor_override, the file "
        "holds another network than the model. Compare the spikes once (verify --against FILE.npz).",
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
        "nsc-deploy mend --from snntorch adds the recurrent bias to that of the layer in front: the same "
        "neuron, and exact here.",
    )


def norse_time_constants(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """Time constants are written as dt / tau_inv where 1 / tau_inv is meant."""
    taus = {
        name: float(getattr(node, field).max())
        for name, node in graph.of("LIF", "LI", "CubaLIF").items()
        for field in ("tau", "tau_mem")
        if hasattr(node, field)
    }
    if not taus or max(taus.values()) >= SHORTEST_S:
        return None
    return Diagnostic(
        "norse-time-constants",
        "Norse writes time constants as dt / tau_inv, which is dt times too short: a thousandth at 1 ms.",
        f"{sign.claim} The longest time constant is {max(taus.values()):g} s.",
        "Write them anew: nsc-deploy mend --from norse --dt 1e-3 for a step of 1 ms. Or give the "
        "square of the step, --dt 1e-6 for 1 ms: the same spikes, and every figure in seconds too small.",
    )


def norse_reset(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """Neither the reset nor its potential is written."""
    spiking = graph.of("LIF", "IF", "CubaLIF")
    if not spiking or "reset" in graph.metadata:
        return None
    return Diagnostic(
        "norse-reset",
        "Norse writes neither reset_method nor v_reset, nor the padding_mode of a convolution.",
        sign.claim,
        "Give --reset subtract for reset_method=reset_subtract, else --reset zero; where the model's "
        "v_reset is "
        "not 0: nsc-deploy mend --from norse --set v_reset=0.1",
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
        "Write it anew: nsc-deploy mend --from norse.",
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
        "Write it anew: nsc-deploy mend --from norse takes v_leak off v_threshold, v_reset and v_leak, "
        "which is "
        "the same neuron. A leaky integrator differs until it has settled, and is refused there.",
    )


def integrator_gain(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """IF of Norse and of sinabs add their whole input to the potential; the file says dt of it."""
    weak = graph.of("IF")
    if not weak or graph.dt == 1:
        return None
    return Diagnostic(
        "integrator-gain",
        "Integrators of Norse and of sinabs add their whole input to the potential, and the file adds dt of "
        "it: hardly a spike.",
        f"{sign.claim} r is 1 in {some_names(weak)}.",
        "Give --dt 1, or write it anew: nsc-deploy mend --from sinabs (or norse) with the real step as --dt.",
    )


def integrator_reset(_graph: FlatGraph, sign: Sign) -> Diagnostic:
    """Which of the two wrote it decides how a spike resets."""
    return Diagnostic(
        "integrator-reset",
        "Neither Norse nor sinabs writes how a spike resets; sinabs does not write spike_fn and min_v_mem "
        "either, and its default MultiSpike fires several times a step, which no neuron of NIR does.",
        sign.claim,
        "Norse: --reset zero, or subtract for reset_subtract. sinabs: --reset subtract, or zero for "
        "MembraneReset, where the model has spike_fn=SingleSpike and no min_v_mem. Compare the spikes once "
        "(verify --against FILE.npz).",
    )


def sinabs_spikes(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """How often, how low and to where is not written."""
    if not graph.of("LIF", "IF"):
        return None
    return Diagnostic(
        "sinabs-spikes",
        "sinabs writes none of spike_fn, min_v_mem, reset_fn and tau_syn. Its default MultiSpike fires "
        "several times a step, and min_v_mem (-1 after from_model) holds potentials up: no neuron of NIR "
        "does either. It fires at the threshold, NIR only above it.",
        sign.claim,
        "Right for spike_fn=SingleSpike without min_v_mem, subtract_value and a padding_mode other than "
        "zeros, with --reset subtract (zero for MembraneReset). "
        "Train so; nsc-deploy mend --from sinabs lowers the thresholds. Compare the spikes once (verify "
        "--against FILE.npz).",
    )


def sinabs_decay(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """It decays by exp(-1 / tau) a step; NIR's Euler step by 1 - dt / tau."""
    leaky = graph.of("LIF", "LI")
    if not leaky:
        return None
    return Diagnostic(
        "sinabs-decay",
        "sinabs decays by exp(-1 / tau) a step, with tau in steps, and does not write norm_input; the file "
        "decays by 1 - dt / tau: other spikes.",
        f"{sign.claim} {some_names(leaky)} decays.",
        "Write it anew: nsc-deploy mend --from sinabs --dt 1e-3 for a step of 1 ms (with --set "
        "norm_input=false of an LIF, true of an ExpLeak, or --set tau_syn=10 where the model has them).",
    )


def rockpool_neurons(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
    """It decays by exp(-dt / tau), and a current takes in the whole input."""
    return Diagnostic(
        "rockpool-neurons",
        "Rockpool decays by exp(-dt / tau) and adds its whole input to the current; the file decays by "
        "1 - dt / tau and adds dt / tau_syn of it: hardly a spike.",
        sign.claim,
        "Write it anew: nsc-deploy mend --from rockpool.",
    )


def rockpool_dropped(_graph: FlatGraph, sign: Sign) -> Diagnostic:
    """What its exporter leaves out."""
    return Diagnostic(
        "rockpool-dropped",
        "Rockpool writes neither the bias of LIFTorch, nor its recurrence (has_rec), nor noise, nor "
        "max_spikes_per_dt, by default 65536, where a neuron of NIR fires once a step.",
        sign.claim,
        "Right for max_spikes_per_dt=1 without bias, recurrence and noise, with --reset subtract. Train so, "
        "and "
        "compare the spikes once (verify --against FILE.npz).",
    )


def spikingjelly_threshold(graph: FlatGraph, sign: Sign) -> Diagnostic:
    """It fires at the threshold, NIR above it."""
    return Diagnostic(
        "spikingjelly-threshold",
        "SpikingJelly fires at the threshold, NIR only above it: with weights on a grid, in integers for "
        "example, many spikes differ.",
        sign.claim,
        "Write it anew: nsc-deploy mend --from spikingjelly lowers v_threshold to the next number below it, "
        "which is the same decision.",
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
        "Write it anew: nsc-deploy mend --from spikingjelly takes v_reset off v_threshold, v_leak and "
        "v_reset, "
        "which is the same neuron.",
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
        contradicted=True,
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

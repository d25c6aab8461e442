"""Faults of snnTorch 1.0's export_to_nir, and how they show."""

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.graphs.flow import FlatGraph
from nsc_deploy.graphs.formats.writers.recognise import SNNTORCH_DT, Sign


def time_step(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
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


def reset(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
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


def recurrent_bias(graph: FlatGraph, sign: Sign) -> Diagnostic | None:
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

"""What is to be told about a graph: the faults of its writer, and what any file may show."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.flow import FlatGraph
from nsc_deploy.graphs.formats.writers.faults import (
    integrator_gain,
    integrator_reset,
    nirtorch_sums,
    norse_reset,
    norse_start,
    norse_synaptic_current,
    norse_time_constants,
    rockpool_dropped,
    rockpool_neurons,
    sinabs_decay,
    sinabs_spikes,
    snntorch_recurrent_bias,
    snntorch_reset,
    snntorch_time_step,
    spikingjelly_start,
    spikingjelly_threshold,
    spikingjelly_time_step,
)
from nsc_deploy.graphs.formats.writers.recognise import Sign, Writer, some_names
from nsc_deploy.graphs.network import FLOAT_ROUNDING

DETECTORS: Mapping[Writer, tuple[Callable[[FlatGraph, Sign], Diagnostic | None], ...]] = {
    Writer.SNNTORCH: (snntorch_time_step, snntorch_reset, snntorch_recurrent_bias),
    Writer.NORSE: (
        norse_time_constants,
        norse_reset,
        norse_synaptic_current,
        integrator_gain,
        norse_start,
    ),
    Writer.SPIKINGJELLY: (
        spikingjelly_time_step,
        spikingjelly_threshold,
        spikingjelly_start,
        nirtorch_sums,
    ),
    Writer.NIRTORCH: (nirtorch_sums,),
    Writer.SINABS: (integrator_gain, sinabs_spikes, sinabs_decay),
    Writer.NORSE_OR_SINABS: (integrator_gain, integrator_reset),
    Writer.ROCKPOOL: (rockpool_neurons, rockpool_dropped),
}
"""Faults of each writer, in the order in which they are told."""


def diagnose(graph: FlatGraph, sign: Sign | None) -> tuple[Diagnostic, ...]:
    """All that is to be told about a graph that looks like a writer's, or like nobody's."""
    found = [] if sign is None else [detect(graph, sign) for detect in DETECTORS[sign.writer]]
    told = {diagnostic.name for diagnostic in found if diagnostic is not None}
    general = [detect(graph) for detect in _GENERAL]
    found += [diagnostic for diagnostic in general if diagnostic is not None and diagnostic.name not in told]
    return tuple(
        replace(diagnostic, in_file=not diagnostic.contradicted)
        for diagnostic in found
        if diagnostic is not None
    )


def refuse_cut(graph: FlatGraph) -> None:
    """Refuse a graph that an exporter cut to pieces where it lost a sum.

    snnTorch's and Norse's exporters follow tensors from module to module and lose them in `h + f(h)`: every
    module whose output was lost is led to the Output, and nir gives the module behind the sum an Input.

    Raises:
        GraphError: both traces are there.
    """
    added = _added_inputs(graph)
    gathered = [name for name in graph.of("Output") if len(graph.inputs[name]) > 1]
    if added and gathered:
        raise GraphError(
            f"connections are missing: '{next(iter(added.values()))}' has an Input of its own "
            f"('{next(iter(added))}') and '{gathered[0]}' takes in {len(graph.inputs[gathered[0]])} nodes, "
            "as exporters leave it of a sum such as h + f(h) that they cannot follow (snnTorch)",
            hint="Add the lost edges: nsc-deploy mend FILE --sum "
            f"{next(iter(added.values()))}=FIRST,SECOND names what the sum adds up; or train without it.",
        )


def _one_number(graph: FlatGraph) -> Diagnostic | None:
    """One number where NIR wants one for each neuron."""
    if not graph.widened:
        return None
    return Diagnostic(
        "one-number-for-a-layer",
        "NIR wants a number for each neuron; where one stands alone it is taken for the whole layer.",
        f"{some_names(dict.fromkeys(graph.widened))} states one for many.",
        "It changes nothing here; for other tools give the parameters the shape of the layer, or export this "
        "file with --target nir.",
    )


def _batch(graph: FlatGraph) -> Diagnostic | None:
    """A batch in the shapes that nodes state."""
    if graph.batch is None and not graph.cut:
        return None
    where = "the inputs" if graph.batch is not None else some_names(dict.fromkeys(graph.cut))
    size = "dimensions" if graph.batch is None else f"a dimension of {graph.batch}"
    return Diagnostic(
        "batch-in-the-shape",
        f"The shapes of {where} have {size} in front that the nodes around them do not have: that is taken "
        "for a batch and left out.",
        "shapes in NIR are those of one sample.",
        "It changes nothing here; for other tools export with a sample without a batch (snnTorch: "
        "ignore_dims=[0]), or export this file with --target nir.",
    )


def _dead_ends(graph: FlatGraph) -> Diagnostic | None:
    """Nodes from which no way leads to an Output; an Input is one where nothing reads it at all."""
    needed, reached = set(graph.of("Output")), list(graph.of("Output"))
    while reached:
        fresh = set(graph.inputs[reached.pop()]) - needed
        needed |= fresh
        reached += fresh
    read = {name for name in graph.of("Input") if graph.targets[name]}
    dead = [name for name in graph.parameters if name not in needed | read]
    if not dead or not graph.of("Output"):
        return None
    return Diagnostic(
        "dead-ends",
        "No output depends on some nodes. They are checked, run and counted as they stand, and an export "
        "leaves them out: its figures are smaller.",
        f"no edge leads on from {some_names(dict.fromkeys(dead))} to an Output.",
        "Take them out, or lead them to the Output; what is left is counted of an export (--target nir).",
    )


def _step_too_long(graph: FlatGraph) -> Diagnostic | None:
    """A time constant below the step: Euler's method turns the potential around."""
    if graph.dt is None:
        return None
    short = {
        name: float(np.min(getattr(node, field)))
        for name, node in graph.neurons.items()
        for field in ("tau", "tau_mem", "tau_syn")
        if hasattr(node, field) and (getattr(node, field) < graph.dt * (1 - FLOAT_ROUNDING)).any()
    }
    if not short:
        return None
    return Diagnostic(
        "step-too-long",
        f"Time constants are shorter than the step of {graph.dt:g} s, so the graph cannot be run with it.",
        f"{some_names(short)}, {min(short.values()):g} s at the shortest.",
        "Give the step the network was trained with (--dt); NIR counts in seconds, which a writer may not.",
    )


def _weak_integrators(graph: FlatGraph) -> Diagnostic | None:
    """Integrators with the gain 1, which a step of milliseconds makes a thousandth."""
    weak = {name: node for name, node in graph.of("IF").items() if np.all(node.r == 1)}
    if graph.own or not weak or graph.dt is None or graph.dt >= 1:
        return None
    return Diagnostic(
        "integrator-gain",
        f"An IF adds dt times r times its input: with r = 1 and a step of {graph.dt:g} s only {graph.dt:g} "
        "of each input, and hardly a neuron fires.",
        f"r is 1 in {some_names(weak)}.",
        "If the model adds its whole input, give --dt 1 (and --step-seconds for the real step), or write r "
        "as 1 over the step.",
    )


def _late_edges(graph: FlatGraph) -> Diagnostic | None:
    """A cycle with several entrances: which of its edges is the late one, the file does not tell."""
    if not graph.undecided:
        return None
    listed = ", ".join(f"'{source}' to '{target}'" for source, target in sorted(graph.undecided)[:3])
    return Diagnostic(
        "late-edge",
        "A cycle takes one step, and nothing but the order of the edges in the file says on which of its "
        "edges; another choice gives other spikes.",
        f"the edges {listed} would be late in one order and not in another.",
        "Put a Delay of one step on the edge that is late in the model.",
    )


def _added_inputs(graph: FlatGraph) -> dict[str, str]:
    """Inputs that nir itself puts before a node without one, by name, with that node.

    Empty where every Input is such a one, for then the author left them all to nir, and for our own graphs.
    """
    if graph.own:
        return {}
    entering = graph.of("Input")
    found = {}
    for name in entering:
        behind = graph.targets[name]
        alone = len(behind) == 1 and graph.inputs[behind[0]] == (name,)
        if alone and re.fullmatch(rf"input_{re.escape(behind[0])}(_\d+)?", name):
            found[name] = behind[0]
    return found if len(found) < len(entering) else {}


def _added_input(graph: FlatGraph) -> Diagnostic | None:
    """An Input that nir added before a node without one."""
    added = _added_inputs(graph)
    if not added:
        return None
    return Diagnostic(
        "added-input",
        "nir puts an Input before a node that has none, so an exporter may have lost the edges into it.",
        f"'{next(iter(added))}' feeds '{next(iter(added.values()))}' alone.",
        "Compare the edges (nsc-deploy inspect) with the model.",
    )


_GENERAL = (_dead_ends, _step_too_long, _weak_integrators, _late_edges, _added_input, _one_number, _batch)

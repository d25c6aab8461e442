"""Files of any writer that say less, or more, than NIR asks for."""

import re

import numpy as np

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.formats.writers.recognise import Seen, named


def one_number(seen: Seen) -> Diagnostic | None:
    """One number where NIR wants one for each neuron."""
    if not seen.widened:
        return None
    return Diagnostic(
        "one-number-for-a-layer",
        "NIR wants a number for each neuron; where one stands alone it is taken for the whole layer.",
        f"{named(dict.fromkeys(seen.widened))} states one for many.",
        "It changes nothing here; for other tools give the parameters the shape of the layer, or export this "
        "file with --target nir.",
    )


def batch(seen: Seen) -> Diagnostic | None:
    """A batch in the shapes of the inputs and outputs."""
    if seen.batch is None:
        return None
    return Diagnostic(
        "batch-in-the-shape",
        f"The inputs have a dimension of {seen.batch} in front that the nodes behind them do not have: it is "
        "taken for a batch and left out.",
        "shapes in NIR are those of one sample.",
        "It changes nothing here; for other tools export with a sample without a batch (snnTorch: "
        "ignore_dims=[0]), or export this file with --target nir.",
    )


def step_too_long(seen: Seen) -> Diagnostic | None:
    """A time constant below the step: Euler's method turns the potential around."""
    if seen.dt is None:
        return None
    short = {
        name: float(np.min(getattr(node, field)))
        for name, node in seen.neurons.items()
        for field in ("tau", "tau_mem", "tau_syn")
        if hasattr(node, field) and (getattr(node, field) < seen.dt * (1 - 1e-9)).any()
    }
    if not short:
        return None
    return Diagnostic(
        "step-too-long",
        f"Time constants are shorter than the step of {seen.dt:g} s, so the graph cannot be run with it.",
        f"{named(short)}, {min(short.values()):g} s at the shortest.",
        "Give the step the network was trained with (--dt); NIR counts in seconds, which a writer may not.",
    )


def late_edges(seen: Seen) -> Diagnostic | None:
    """A cycle with several entrances: which of its edges is the late one, the file does not tell."""
    if not seen.undecided:
        return None
    listed = ", ".join(f"'{source}' to '{target}'" for source, target in sorted(seen.undecided)[:3])
    return Diagnostic(
        "late-edge",
        "A cycle takes one step, and nothing but the order of the edges in the file says on which of its "
        "edges; another choice gives other spikes.",
        f"the edges {listed} would be late in one order and not in another.",
        "Put a Delay of one step on the edge that is late in the model.",
    )


def added_inputs(seen: Seen) -> dict[str, str]:
    """Inputs that nir itself puts before a node without one, by name, with that node.

    Empty where every Input is such a one: then the author left them all to nir.
    """
    entering = seen.of("Input")
    found = {}
    for name in entering:
        behind = seen.targets[name]
        alone = len(behind) == 1 and seen.inputs[behind[0]] == (name,)
        if alone and re.fullmatch(rf"input_{re.escape(behind[0])}(_\d+)?", name):
            found[name] = behind[0]
    return found if len(found) < len(entering) else {}


def refuse_cut(seen: Seen) -> None:
    """Refuse a graph that an exporter cut to pieces where it lost a sum.

    snnTorch's and Norse's exporters follow tensors from module to module and lose them in `h + f(h)`: every
    module whose output was lost is led to the Output, and nir gives the module behind the sum an Input.

    Raises:
        GraphError: both traces are there.
    """
    added = {} if seen.own else added_inputs(seen)
    gathered = [name for name in seen.of("Output") if len(seen.inputs[name]) > 1]
    if added and gathered:
        raise GraphError(
            f"connections are missing: '{next(iter(added.values()))}' has an Input of its own "
            f"('{next(iter(added))}') and '{gathered[0]}' takes in {len(seen.inputs[gathered[0]])} nodes, "
            "as exporters leave it of a sum such as h + f(h) that they cannot follow (snnTorch)",
            hint="Add the lost edges before the graph is written (docs/other-frameworks.md shows how), or "
            "train without the sum.",
        )


def added_input(seen: Seen) -> Diagnostic | None:
    """An Input that nir added before a node without one."""
    added = {} if seen.own else added_inputs(seen)
    if not added:
        return None
    return Diagnostic(
        "added-input",
        "nir puts an Input before a node that has none, so an exporter may have lost the edges into it.",
        f"'{next(iter(added))}' feeds '{next(iter(added.values()))}' alone.",
        "Compare the edges (nsc-deploy inspect) with the model.",
    )

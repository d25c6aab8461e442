"""A graph as two ONNX models: a whole sequence in one Scan, and a single step for streaming."""

from collections.abc import Mapping

import onnx
from onnx import TensorProto, helper

import nsc_deploy
from nsc_deploy.exporters.manifest import StateRecord
from nsc_deploy.exporters.onnx.operators import STATELESS, Draft, StepWriter
from nsc_deploy.exporters.stepwise import Stage, late_names, stages
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.onnx_build import IR_VERSION, OPSET

INPUT, OUTPUT = "input", "output"


def step_model(network: Network) -> tuple[onnx.ModelProto, tuple[StateRecord, ...]]:
    """One step, every state an input and an output.

    Args:
        network: with one Input and one Output.

    Returns:
        The model, which takes "input" [N, *shape] and the states and gives "output" and the states of the
        next step; and the states, in the order of the inputs.
    """
    draft = Draft(["N"])
    source, target = network.input_node, network.output_node
    draft.take(INPUT, source.output_shape)
    steps = tuple(stage for stage in stages(network) if stage.node is not source)
    writer = StepWriter(draft, network, {source.name: INPUT})
    writer.write(steps, late_names(steps))
    draft.node("Identity", [writer.values[target.name]], OUTPUT)
    draft.give(OUTPUT, target.output_shape)
    for state in writer.states:
        draft.take(state.input, state.shape)
        draft.give(state.output, state.shape)
    return _model(draft, network), tuple(writer.states)


def sequence_model(network: Network) -> onnx.ModelProto:
    """A whole sequence [T, N, *shape], steps and samples left open, from rest.

    What comes before the first state is computed for all steps at once, ahead of the Scan.

    Args:
        network: with one Input and one Output.
    """
    draft, source, target = Draft(["T", "N"]), network.input_node, network.output_node
    draft.take(INPUT, source.output_shape)
    draft.give(OUTPUT, target.output_shape)
    steps = stages(network)
    ahead = _ahead(steps)
    values = _write_ahead(draft, network, [stage for stage in steps if stage.node.name in ahead])
    inside = tuple(stage for stage in steps if stage.node.name not in ahead)
    crossing = [name for name in values if any(name in _reads(stage) for stage in inside)] or [source.name]
    body = Draft(["N"])
    rows = {name: f"{name}/row_of_step" for name in crossing}
    scan = StepWriter(body, network, rows)
    scan.write(inside, late_names(inside))
    for state in scan.states:
        body.take(state.input, state.shape)
    for name, row in rows.items():
        body.take(row, network.node(name).output_shape)
    _write_scan(draft, body, network, scan, [values[name] for name in crossing])
    return _model(draft, network)


def _ahead(steps: tuple[Stage, ...]) -> set[str]:
    """Nodes that depend on the input of the same step alone and that need no place inside the Scan."""
    found: set[str] = set()
    for stage in steps:
        ready = all(not source.late and source.name in found for source in stage.sources)
        if stage.node.primitive == "Input" or (stage.node.primitive in STATELESS and ready):
            found.add(stage.node.name)
    return found


def _reads(stage: Stage) -> set[str]:
    return {source.name for source in stage.sources}


def _write_ahead(draft: Draft, network: Network, steps: list[Stage]) -> Mapping[str, str]:
    """The values [T, N, *shape] of the nodes ahead of the Scan, computed on all T * N rows at once."""
    source = network.input_node
    rows = draft.integers("input#rows", [-1, *source.output_shape])
    writer = StepWriter(draft, network, {source.name: draft.node("Reshape", [INPUT, rows], "input#flat")})
    lead = draft.node("Shape", [INPUT], "input#lead", start=0, end=2)
    values = {source.name: INPUT}
    writer.write(tuple(stage for stage in steps if stage.node is not source), ())
    for stage in steps:
        if stage.node is source:
            continue
        shape = draft.integers(f"{stage.node.name}/shape_of_a_row", stage.node.output_shape)
        whole = draft.node("Concat", [lead, shape], f"{stage.node.name}/shape_of_all", axis=0)
        flat = writer.values[stage.node.name]
        values[stage.node.name] = draft.node("Reshape", [flat, whole], f"{stage.node.name}/all")
    return values


def _write_scan(draft: Draft, body: Draft, network: Network, scan: StepWriter, scanned: list[str]) -> None:
    """The loop over time: states from zero, one row of each scanned value a step, the output row by row."""
    target = network.output_node
    samples = draft.node("Shape", [INPUT], "input#samples", start=1, end=2)
    initial = [_rest(draft, state, samples) for state in scan.states]
    for state in scan.states:
        body.give(state.output, state.shape)
    body.node("Identity", [scan.values[target.name]], "output#row")
    body.give("output#row", target.output_shape)
    outputs = [f"{state.input}#end" for state in scan.states] + [OUTPUT]
    draft.nodes("Scan", [*initial, *scanned], outputs, num_scan_inputs=len(scanned), body=body.graph("step"))


def _rest(draft: Draft, state: StateRecord, samples: str) -> str:
    shape = draft.integers(f"{state.input}#shape", state.shape)
    whole = draft.node("Concat", [samples, shape], f"{state.input}#full_shape", axis=0)
    zero = helper.make_tensor("rest", TensorProto.FLOAT, [1], [0.0])
    return draft.node("ConstantOfShape", [whole], f"{state.input}#rest", value=zero)


def _model(draft: Draft, network: Network) -> onnx.ModelProto:
    model = helper.make_model(
        draft.graph("nsc-deploy"),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="nsc-deploy",
        producer_version=nsc_deploy.__version__,
    )
    properties = {"signal": network.input_node.emits.value, "units": "s"}
    if network.dt is not None:
        properties["dt"] = repr(float(network.dt))
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    return model

"""Counts of random ONNX graphs against a visit to every value and every weight."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.energy.counting.operations import Kind
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import DT, onnx_graph

Visit = Callable[[dict[str, np.ndarray], int], Counter[Kind]]


@dataclass
class Chain:
    """A graph under construction: [T, N, width] goes through one operator after the other.

    Attributes:
        events: whether nothing but 0 and 1 goes on.
        graded: whether whole numbers do.
        visits: for each operator that is counted, a function that visits its values in one sample.
    """

    rng: np.random.Generator
    steps: int
    width: int
    events: bool
    last: str = "input"
    nodes: list = field(default_factory=list)
    constants: dict = field(default_factory=dict)
    visits: dict[str, Visit] = field(default_factory=dict)
    graded: bool = False

    def add(
        self, kind: str, *others: str, visit: Visit | None = None, name: str | None = None, **form
    ) -> None:
        name = name or f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.last, *others], [f"{name}:out"], name=name, **form))
        if visit is not None:
            self.visits[name] = visit
        self.last = f"{name}:out"

    def constant(self, values) -> str:
        name = f"constant{len(self.constants)}"
        self.constants[name] = np.asarray(values, dtype=np.float32)
        return name

    def integers(self, values) -> str:
        name = self.constant(values)
        self.constants[name] = np.asarray(values, dtype=np.int64)
        return name

    @property
    def meeting(self) -> Kind | None:
        """What an event of those that go on causes at a weight; None where all values are real."""
        if not self.events and not self.graded:
            return None
        return Kind.AC if self.events else Kind.MAC


def each(kind: Kind, out: str) -> Visit:
    return lambda values, n: Counter({kind: sum(1 for _ in values[out][:, n].flat)})


def matmul(draw, chain: Chain) -> None:
    weight = chain.rng.integers(-1, 2, size=(chain.width, draw(st.integers(1, 3)))).astype(np.float32)
    source, kind = chain.last, chain.meeting

    def visit(values, n: int) -> Counter[Kind]:
        met: Counter[Kind] = Counter()
        for t, i, k in np.ndindex(len(values[source]), *weight.shape):
            if kind is None or (values[source][t, n, i] != 0 and weight[i, k] != 0):
                met[kind or Kind.MAC] += 1
        return met

    chain.add("MatMul", chain.constant(weight), visit=visit)
    chain.width, chain.events, chain.graded = weight.shape[1], False, False


def convolution(draw, chain: Chain) -> None:
    groups = draw(st.sampled_from([one for one in (1, 2) if chain.width % one == 0]))
    taps, stride, dilation = (draw(st.integers(1, 2)) for _ in range(3))
    before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    outputs = groups * draw(st.integers(1, 2))
    room = (chain.steps + before + after - dilation * (taps - 1) - 1) // stride + 1
    if room < 1:
        return
    weight = chain.rng.integers(-1, 2, size=(outputs, chain.width // groups, taps)).astype(np.float32)
    source, kind, steps = chain.last, chain.meeting, chain.steps

    def visit(values, n: int) -> Counter[Kind]:
        met: Counter[Kind] = Counter()
        for y, o, c, k in np.ndindex(room, *weight.shape):
            at = y * stride + k * dilation - before
            channel = (o // (outputs // groups)) * weight.shape[1] + c
            if not 0 <= at < steps:
                continue
            if kind is None or (values[source][at, n, channel] != 0 and weight[o, c, k] != 0):
                met[kind or Kind.MAC] += 1
        return met

    form = {"group": groups, "strides": [stride], "dilations": [dilation], "pads": [before, after]}
    chain.add("Transpose", perm=[1, 2, 0])
    chain.add("Conv", chain.constant(weight), visit=visit, **form)
    chain.add("Transpose", perm=[2, 0, 1])
    # Ones on each channel add up windows.
    chain.graded = kind is not None and groups == outputs == chain.width and bool((weight == 1).all())
    chain.steps, chain.width, chain.events = room, outputs, False


def pool(draw, chain: Chain) -> None:
    kind = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    taps, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    pad = draw(st.integers(0, taps - 1))
    room = (chain.steps + 2 * pad - taps) // stride + 1
    if room < 1:
        return
    steps, width = chain.steps, chain.width

    def visit(values, n: int) -> Counter[Kind]:
        done: Counter[Kind] = Counter()
        for _, y in np.ndindex(width, room):
            inside = [k for k in range(taps) if 0 <= y * stride + k - pad < steps]
            done[Kind.ACTIVATION if kind == "MaxPool" else Kind.ADDITION] += len(inside) - 1
            done[Kind.PRODUCT] += kind == "AveragePool"
        return done

    chain.add("Transpose", perm=[1, 2, 0])
    chain.add(kind, visit=visit, kernel_shape=[taps], strides=[stride], pads=[pad, pad])
    chain.add("Transpose", perm=[2, 0, 1])
    chain.steps = room
    if kind == "AveragePool":
        chain.events = chain.graded = False


def spike(draw, chain: Chain) -> None:
    name = f"greater{len(chain.nodes)}"
    chain.add("Greater", chain.constant(0.25), visit=each(Kind.ACTIVATION, f"{name}:out"), name=name)
    chain.add("Cast", to=TensorProto.FLOAT)
    chain.events, chain.graded = True, False


def elementwise(kind: str, operation: Kind, *, constant: bool, keeps: bool = False) -> Callable:
    def add(draw, chain: Chain) -> None:
        name = f"{kind.lower()}{len(chain.nodes)}"
        others = [chain.constant(chain.rng.normal(size=chain.width))] if constant else []
        chain.add(kind, *others, visit=each(operation, f"{name}:out"), name=name)
        chain.events, chain.graded = chain.events and keeps, chain.graded and keeps

    return add


def join_steps(draw, chain: Chain) -> None:
    """A value is added to that of another step."""
    join(draw, chain, ("turned",))


def join(draw, chain: Chain, others: Sequence[str] = ("channel", "itself")) -> None:
    """A value is added to one of the steps turned round, to a channel of its own, or to itself."""
    kind, source, events = draw(st.sampled_from(["Add", "Sum"])), chain.last, chain.meeting is not None
    other = draw(st.sampled_from(others))
    name = f"{kind.lower()}{len(chain.nodes)}"
    if other == "turned":
        chain.add("Slice", *map(chain.integers, ([-1], [-chain.steps - 1], [0], [-1])))
    elif other == "channel":
        chain.add("Slice", *map(chain.integers, ([0], [1], [2])))
    joined = [source, chain.last] * (1 if kind == "Add" else 2)

    def visit(values, n: int) -> Counter[Kind]:
        done: Counter[Kind] = Counter()
        for t, c in np.ndindex(values[source].shape[0], values[source].shape[2]):
            places = [values[one][t, n, c % values[one].shape[2]] for one in joined]
            there = [one for one in places if one != 0] if events else places
            done[Kind.ADDITION] += max(0, len(there) - 1)
        return done

    chain.last = source
    chain.add(kind, *joined[1:], visit=visit, name=name)
    chain.events, chain.graded = False, events


OPERATORS = [
    matmul,
    convolution,
    pool,
    spike,
    elementwise("Relu", Kind.ACTIVATION, constant=False, keeps=True),
    elementwise("Sigmoid", Kind.ACTIVATION, constant=False),
    elementwise("Add", Kind.ADDITION, constant=True),
    elementwise("Mul", Kind.PRODUCT, constant=True),
    join,
    join_steps,
]


@st.composite
def chains(draw, operators: Sequence[Callable] = OPERATORS) -> tuple[Chain, Recording]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    chain = Chain(rng, draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.booleans()))
    values = rng.normal(size=(chain.steps, draw(st.integers(1, 3)), chain.width)).astype(np.float32)
    if chain.events:
        values = (values > 0).astype(np.uint8)
    recording = Recording(values, Signal.EVENTS if chain.events else Signal.REAL, DT)
    for _ in range(draw(st.integers(1, 5))):
        draw(st.sampled_from(operators))(draw, chain)
    return chain, recording


def assert_exact(case: tuple[Chain, Recording], path: Path) -> None:
    chain, recording = case
    width = recording.values.shape[2]
    chain.nodes.append(helper.make_node("Identity", [chain.last], ["output"]))
    onnx_graph(path, chain.nodes, chain.constants, width, chain.width)
    values = _values(path, recording)
    part = count_onnx(path, recording)
    found = {
        layer.name: [
            {kind: int(layer.per_sample.of(kind)[n]) for kind in Kind if layer.per_sample.of(kind)[n]}
            for n in range(recording.samples)
        ]
        for layer in part.layers
    }
    expected = {
        name: [{k: c for k, c in visit(values, n).items() if c} for n in range(recording.samples)]
        for name, visit in chain.visits.items()
    }
    assert {name: one for name, one in found.items() if any(one)} == {
        name: one for name, one in expected.items() if any(one)
    }


def _values(path: Path, recording: Recording) -> dict[str, np.ndarray]:
    """Every inner value."""
    model = onnx.load(path)
    names = [name for node in model.graph.node for name in node.output if name != "output"]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    entering = recording.values.astype(np.float32)
    # Asked for no names, onnxruntime gives out everything: a chain may have no inner value at all.
    inner = session.run(names, {"input": entering}) if names else []
    return dict(zip(names, inner, strict=True)) | {"input": entering}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=chains())
def test_equal_to_a_count_value_by_value(case: tuple[Chain, Recording], tmp_path: Path) -> None:
    assert_exact(case, tmp_path / "graph.onnx")


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=chains())
def test_equal_to_a_count_value_by_value_on_a_thousand_graphs(
    case: tuple[Chain, Recording], tmp_path: Path
) -> None:
    assert_exact(case, tmp_path / "graph.onnx")

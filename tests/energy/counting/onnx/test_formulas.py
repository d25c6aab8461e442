"""What ONNX operators without weights cost, against operations counted one by one."""

from collections import Counter
from math import prod
from typing import Any

import numpy as np
import pytest
from onnx import helper

from nsc_deploy.energy.counting.onnx.operators import Site, cost
from nsc_deploy.energy.counting.operations import Kind
from nsc_deploy.errors import GraphError

PRODUCT, ADDITION, FUNCTION = Kind.PRODUCT, Kind.ADDITION, Kind.ACTIVATION
SHAPE = (2, 6, 3, 4)


def price(kind: str, *shapes: tuple[int, ...], out: tuple[int, ...] = SHAPE, **attributes: Any):
    """Operations of an operator with inputs and an output of these shapes."""
    names = [f"input{index}" for index in range(len(shapes))]
    node = helper.make_node(kind, names, ["output"], name="site", **attributes)

    known = dict(zip(names, shapes, strict=True)) | {"output": out}
    found = cost(Site("site", node, {}, frozenset()), known).operations
    return {key: number for key, number in found.items() if number}


def line(n: int, *, centred: bool = True, scale: bool = True, bias: bool = True) -> Counter[Kind]:
    """Operations of one normalised line, as they would be carried out."""
    done: Counter[Kind] = Counter()
    if centred:
        for _ in range(1, n):
            done[ADDITION] += 1
        done[PRODUCT] += 1
        for _ in range(n):
            done[ADDITION] += 1
    for value in range(n):
        done[PRODUCT] += 1
        done[ADDITION] += 1 if value else 0
    done[PRODUCT] += 1
    done[ADDITION] += 1
    done[FUNCTION] += 2
    for _ in range(n):
        done[PRODUCT] += 1 + scale
        done[ADDITION] += bias
    return done


def times(number: int, once: Counter[Kind]) -> dict[Kind, int]:
    return {kind: number * each for kind, each in once.items() if each}


def test_normalisations() -> None:
    scale, bias = (4,), (4,)
    assert price("LayerNormalization", SHAPE, scale, bias) == times(36, line(4))
    assert price("LayerNormalization", SHAPE, (3, 4), axis=2) == times(12, line(12, bias=False))
    assert price("InstanceNormalization", SHAPE, (6,), (6,)) == times(12, line(12))
    assert price("GroupNormalization", SHAPE, (6,), (6,), num_groups=3) == times(6, line(24))
    rms = line(4, centred=False, bias=False)
    assert price("RMSNormalization", SHAPE, scale) == times(36, rms)
    vectors = [(6,)] * 4
    assert price("BatchNormalization", SHAPE, *vectors) == {PRODUCT: 144, ADDITION: 144}


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_local_response_normalisation_sums_over_the_channels_that_are_there(size: int) -> None:
    done: Counter[Kind] = Counter()
    for channel in range(6):
        first, last = channel - (size - 1) // 2, channel + size // 2
        near = sum(1 for other in range(first, last + 1) if 0 <= other < 6)
        done += Counter({PRODUCT: 3, ADDITION: near - 1 + 1, FUNCTION: 1})
    assert price("LRN", SHAPE, size=size) == times(2 * 12, done)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ReduceSum", {ADDITION: 108}),
        ("ReduceMean", {ADDITION: 108, PRODUCT: 36}),
        ("ReduceMax", {FUNCTION: 108}),
        ("ReduceProd", {PRODUCT: 108}),
        ("ReduceL1", {ADDITION: 108, FUNCTION: 144}),
        ("ReduceL2", {ADDITION: 108, PRODUCT: 144, FUNCTION: 36}),
        ("ReduceSumSquare", {ADDITION: 108, PRODUCT: 144}),
        ("ReduceLogSum", {ADDITION: 108, FUNCTION: 36}),
        ("ArgMax", {FUNCTION: 108}),
    ],
)
def test_reductions_of_lines_of_four(kind: str, expected: dict[Kind, int]) -> None:
    assert price(kind, SHAPE, out=SHAPE[:3]) == expected


@pytest.mark.parametrize(("axis", "exclusive", "expected"), [(3, 0, 36 * 3), (-3, 0, 24 * 5), (3, 1, 36 * 2)])
def test_running_sums_add_each_value_of_a_line_once(axis: int, exclusive: int, expected: int) -> None:
    node = helper.make_node("CumSum", ["x", "axis"], ["output"], exclusive=exclusive)
    site = Site("site", node, {"axis": np.array(axis)}, frozenset())
    assert dict(cost(site, {"x": SHAPE, "axis": (), "output": SHAPE}).operations) == {ADDITION: expected}


def test_running_sums_along_an_axis_that_changes_are_refused() -> None:
    with pytest.raises(GraphError, match="no constant"):
        price("CumSum", SHAPE, ())


def test_softmax_takes_a_function_a_value_and_one_a_line() -> None:
    assert price("Softmax", SHAPE) == {FUNCTION: 144 + 36, ADDITION: 108, PRODUCT: 144}
    assert price("Softmax", SHAPE, axis=1) == {FUNCTION: 144 + 24, ADDITION: 120, PRODUCT: 144}
    assert price("LogSoftmax", SHAPE) == {FUNCTION: 144 + 36, ADDITION: 108 + 144}


@pytest.mark.parametrize("automatic", ["NOTSET", "SAME_UPPER"])
@pytest.mark.parametrize(("taps", "stride", "pad"), [(2, 1, 0), (3, 2, 1), (2, 2, 1)])
def test_pools_combine_what_lies_inside_the_input(automatic: str, taps: int, stride: int, pad: int) -> None:
    size, form = 7, {"kernel_shape": [taps], "strides": [stride]}
    if automatic == "NOTSET":
        form["pads"] = [pad, pad]
        room = (size + 2 * pad - taps) // stride + 1
        first = -pad
    else:
        room = -(-size // stride)
        first = -(max(0, (room - 1) * stride + taps - size) // 2)
    inside = [sum(0 <= first + place * stride + tap < size for tap in range(taps)) for place in range(room)]
    combined = 2 * 3 * sum(each - 1 for each in inside)
    form["auto_pad"] = automatic
    given, out = (2, 3, size), (2, 3, room)
    assert price("MaxPool", given, out=out, **form) == {FUNCTION: combined}
    assert price("AveragePool", given, out=out, **form) == {ADDITION: combined, PRODUCT: prod(out)}


@pytest.mark.parametrize(("size", "dilation", "pad"), [((3,), 4, 1), ((3, 5), 4, 1), ((2,), 4, 3)])
def test_windows_in_the_padding_alone_combine_nothing(size: tuple[int, ...], dilation: int, pad: int) -> None:
    room = tuple(length + 2 * pad - dilation for length in size)
    inside = np.zeros(room, int)
    for at in np.ndindex(room):
        for tap in np.ndindex(*[2] * len(size)):
            where = [place + dilation * one - pad for place, one in zip(at, tap, strict=True)]
            inside[at] += all(0 <= one < length for one, length in zip(where, size, strict=True))
    assert not inside.all()
    combined = 2 * 3 * int(np.maximum(inside - 1, 0).sum())
    axes = len(size)
    form = {"kernel_shape": [2] * axes, "dilations": [dilation] * axes, "pads": [pad] * 2 * axes}
    found = price("MaxPool", (2, 3, *size), out=(2, 3, *room), **form)
    assert found == ({FUNCTION: combined} if combined else {})


@pytest.mark.parametrize("opset", [12, 13])
@pytest.mark.parametrize("shape", [(2, 3, 0), (2, 0, 3), (0, 2, 3)])
def test_lines_without_a_value_take_nothing(shape: tuple[int, ...], opset: int) -> None:
    for kind in (
        "Softmax",
        "LogSoftmax",
        "LayerNormalization",
        "InstanceNormalization",
        "GroupNormalization",
    ):
        node = helper.make_node(kind, ["x", "scale", "bias"][: 1 if "max" in kind else 3], ["output"])
        known = {"x": shape, "scale": (3,), "bias": (3,), "output": shape}
        found = cost(Site("site", node, {}, frozenset(), opset=opset), known).operations
        assert not any(found.values())


def test_elementwise_operators() -> None:
    for kind in ("Relu", "HardSwish", "Sin", "Clip", "Equal", "Mish"):
        assert price(kind, SHAPE) == {FUNCTION: 144}
    assert price("Sum", SHAPE, SHAPE, SHAPE) == {ADDITION: 288}
    assert price("Mean", SHAPE, SHAPE) == {ADDITION: 144, PRODUCT: 144}
    assert price("Max", SHAPE, SHAPE, SHAPE) == {FUNCTION: 288}
    assert price("Pow", SHAPE, ()) == {FUNCTION: 144}


@pytest.mark.parametrize(
    ("exponent", "expected"), [(2.0, {PRODUCT: 144}), (3.0, {PRODUCT: 288}), (0.5, {FUNCTION: 144})]
)
def test_small_powers_are_products(exponent: float, expected: dict[Kind, int]) -> None:
    node = helper.make_node("Pow", ["x", "p"], ["output"])
    site = Site("site", node, {"p": np.array(exponent)}, frozenset())
    found = cost(site, {"x": SHAPE, "p": (), "output": SHAPE}).operations
    assert dict(found) == expected


def test_an_operator_in_training_mode_is_refused() -> None:
    with pytest.raises(GraphError, match="training mode"):
        price("BatchNormalization", SHAPE, *[(6,)] * 4, training_mode=1)


@pytest.mark.parametrize("kind", ["ReduceSum", "ReduceMax"])
def test_bringing_no_value_together_takes_nothing(kind: str) -> None:
    assert price(kind, (2, 0), out=(2,)) == {}

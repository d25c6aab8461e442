"""The arithmetic of a program, number by number."""

from typing import Any

import numpy as np
import pytest

from nsc_deploy.exporters.c.emulator import emulate
from nsc_deploy.exporters.c.program import Connection, Output, Population, Program
from nsc_deploy.exporters.lava.lowering.synapses import Matrix


def one_neuron(weight: int, events: list[int], **changes: Any) -> tuple[list[int], list[int]]:
    """What a neuron fires, and its potentials before the reset."""
    one = np.ones(1, np.int32)
    fields: dict[str, Any] = {
        "name": "n",
        "connections": (Connection("in", 0, Matrix.of(np.array([[weight]], np.int32))),),
        "shift": 0,
        "keep_v": one * 4096,
        "keep_u": None,
        "bias": one * 0,
        "threshold": one * 10,
        "floor": one * 0,
        "scale": np.ones(1),
    }
    program = Program("in", 1, (Population(**(fields | changes)),), Output("n"), None)
    trace = emulate(program, np.array(events, np.uint8)[:, None, None], record=True)
    return trace.output[:, 0, 0].tolist(), trace.populations["n"].charged[:, 0, 0].tolist()


def test_a_spike_needs_more_than_the_threshold_and_resets() -> None:
    assert one_neuron(5, [1, 1, 1, 1]) == ([0, 0, 1, 0], [5, 10, 15, 5])


def test_a_reset_by_subtraction_keeps_what_is_above() -> None:
    assert one_neuron(6, [1, 1, 1, 1], floor=None) == ([0, 1, 0, 1], [6, 12, 8, 14])


def test_a_reset_to_a_value() -> None:
    assert one_neuron(6, [1, 1, 1], floor=np.array([-3], np.int32)) == ([0, 1, 0], [6, 12, 3])


@pytest.mark.parametrize("sign", [1, -1])
def test_decays_round_toward_zero(sign: int) -> None:
    _, charged = one_neuron(
        sign * 7, [1, 0, 0, 0], keep_v=np.array([2048], np.int32), threshold=None, floor=None
    )
    assert charged == [sign * 7, sign * 3, sign * 1, 0]


def test_a_current_decays_beside_the_potential() -> None:
    _, charged = one_neuron(
        8, [1, 0, 0], keep_u=np.array([2048], np.int32), threshold=np.array([100], np.int32)
    )
    assert charged == [8, 12, 14]


def test_potentials_stop_at_24_bits() -> None:
    _, charged = one_neuron(-127, [1, 1, 1], shift=14, bias=np.array([-(2**20)], np.int32))
    assert charged[0] == -(127 << 14) - 2**20
    _, charged = one_neuron(-127, [1] * 4, shift=14, bias=np.array([-(2**20)], np.int32))
    assert charged[-1] == -(2**23) + 1


def test_events_before_the_first_step_are_none() -> None:
    late = (Connection("in", 2, Matrix.of(np.array([[11]], np.int32))),)
    assert one_neuron(0, [1, 0, 1, 0, 0], connections=late)[0] == [0, 0, 1, 0, 1]

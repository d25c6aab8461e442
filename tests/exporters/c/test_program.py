"""A program is refused where it could overflow or read what is not there."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nsc_deploy.errors import DataError
from nsc_deploy.exporters.c.program import (
    Connection,
    Constant,
    Output,
    Population,
    Program,
    validate,
)
from nsc_deploy.exporters.lava.lowering.synapses import Matrix

LATE = np.array([1, 2, 4], np.int32)


def program(**changes: Any) -> Program:
    """Two inputs onto one population of three."""
    fields: dict[str, Any] = {
        "name": "n",
        "connections": (Connection("in", 0, Matrix.of(np.array([[1, -2], [3, 0], [0, 127]], np.int32))),),
        "shift": 7,
        "keep_v": np.full(3, 2048, np.int32),
        "keep_u": None,
        "bias": np.zeros(3, np.int32),
        "threshold": np.full(3, 100, np.int32),
        "floor": np.zeros(3, np.int32),
        "scale": np.ones(3),
    }
    return Program("in", 2, (Population(**(fields | changes)),), Output("n"), 0.001)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"shift": 15}, "shift"),
        ({"keep_v": np.full(3, 4097, np.int32)}, "leaves the range"),
        ({"keep_v": np.full(3, 1, np.int64)}, "int64"),
        ({"threshold": np.full(3, 2**23, np.int32)}, "leaves the range"),
        ({"bias": np.full(2, 0, np.int32)}, "shape"),
        ({"shift": 14, "keep_u": np.full(3, 4095, np.int32)}, "24 bits"),
        ({"connections": (Connection("out of nowhere", 0, Matrix.empty(3, 2)),)}, "another size"),
        ({"connections": (Connection("n", 0, Matrix.empty(3, 3)),)}, "another size|too early"),
        ({"connections": (Connection("in", 256, Matrix.empty(3, 2)),)}, "too late"),
        ({"connections": (Connection("in", 0, Matrix.of(np.full((3, 2), 128))),)}, "leaves the range"),
        ({"floor": None, "threshold": np.full(3, -1, np.int32)}, "below zero"),
        ({"constants": (Constant(256, LATE), Constant(0, LATE))}, "out of order"),
        ({"constants": (Constant(3, LATE), Constant(3, LATE))}, "out of order"),
        ({"constants": (Constant(256, LATE),)}, "too late"),
        ({"constants": (Constant(0, LATE[:2]),)}, "shape"),
        ({"constants": (Constant(0, LATE * 2**20), Constant(1, LATE * 2**20))}, "24 bits"),
    ],
)
def test_a_program_out_of_range_is_refused(changes: dict[str, Any], problem: str) -> None:
    validate(program())
    with pytest.raises(DataError, match=problem):
        validate(program(**changes))


def test_constants_of_both_signs_count_only_as_far_as_they_come_together() -> None:
    most = LATE * np.int32(2**20)
    validate(program(constants=(Constant(0, most), Constant(1, -most), Constant(2, most))))


def test_a_population_may_read_itself_a_step_late_and_no_earlier() -> None:
    (one,) = program().populations
    loop = Connection("n", 1, Matrix.of(np.eye(3, dtype=np.int32)))
    validate(program(connections=(*one.connections, loop)))
    with pytest.raises(DataError, match="too early"):
        validate(program(connections=(*one.connections, replace(loop, delay=0))))

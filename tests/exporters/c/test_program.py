"""A program as a file: read back as it was, and refused where it could overflow or read what is not there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nsc_deploy.errors import DataError
from nsc_deploy.exporters.c.emulator import emulate
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.exporters.c.program import (
    Connection,
    Output,
    Population,
    Program,
    read_program,
    validate,
    write_program,
)
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.io.npz import load_npz, save_npz
from tests.support.c_graphs import random_c_graph


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


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    for seed in range(6):
        written = lower_to_program(assemble(random_c_graph(seed))).program
        write_program(tmp_path / "p.npz", written)
        read = read_program(tmp_path / "p.npz")
        events = (np.random.default_rng(seed).random((9, 2, written.inputs)) < 0.5).astype(np.uint8)
        np.testing.assert_array_equal(emulate(read, events).output, emulate(written, events).output)
        for (_, one), (_, other) in zip(read.connections(), written.connections(), strict=True):
            assert (one.kernel is None) == (other.kernel is None)


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
    ],
)
def test_a_program_out_of_range_is_refused(changes: dict[str, Any], problem: str) -> None:
    validate(program())
    with pytest.raises(DataError, match=problem):
        validate(program(**changes))


def test_a_population_may_read_itself_a_step_late_and_no_earlier() -> None:
    (one,) = program().populations
    loop = Connection("n", 1, Matrix.of(np.eye(3, dtype=np.int32)))
    validate(program(connections=(*one.connections, loop)))
    with pytest.raises(DataError, match="too early"):
        validate(program(connections=(*one.connections, replace(loop, delay=0))))


def test_a_kernel_that_is_not_its_weights_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "p.npz"
    seed = next(
        seed
        for seed in range(100)
        if any(
            one.kernel is not None
            for _, one in lower_to_program(assemble(random_c_graph(seed))).program.connections()
        )
    )
    write_program(file, lower_to_program(assemble(random_c_graph(seed))).program)
    arrays = load_npz(file)
    name = next(name for name in arrays if name.endswith(".kernel"))
    save_npz(file, arrays | {name: arrays[name] + 1})
    with pytest.raises(DataError, match="not the convolution"):
        read_program(file)


@pytest.mark.parametrize("missing", ["names", "output", "0.keep_v", "0.0.weight", "0.0.shape"])
def test_a_file_that_lacks_something_is_refused(missing: str, tmp_path: Path) -> None:
    file = tmp_path / "p.npz"
    write_program(file, program())
    arrays = load_npz(file)
    del arrays[missing]
    save_npz(file, arrays)
    with pytest.raises(DataError, match="does not hold a program"):
        read_program(file)

"""A program as a file: read back as it was, and refused where something is missing or another thing."""

from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.errors import DataError
from nsc_deploy.exporters.c.emulator import emulate
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.exporters.c.program_file import read_program, write_program
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.io.npz import load_npz, save_npz
from tests.support.c_graphs import random_c_graph


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    for seed in range(6):
        written = lower_to_program(assemble(random_c_graph(seed))).program
        write_program(tmp_path / "p.npz", written)
        read = read_program(tmp_path / "p.npz")
        events = (np.random.default_rng(seed).random((9, 2, written.inputs)) < 0.5).astype(np.uint8)
        np.testing.assert_array_equal(emulate(read, events).output, emulate(written, events).output)
        assert read.settled == written.settled
        for (_, one), (_, other) in zip(read.connections(), written.connections(), strict=True):
            assert (one.kernel is None) == (other.kernel is None)


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


@pytest.mark.parametrize(
    "missing", ["names", "output", "0.keep_v", "0.0.weight", "0.0.shape", "0.starts", "0.constants"]
)
def test_a_file_that_lacks_something_is_refused(missing: str, tmp_path: Path) -> None:
    file = tmp_path / "p.npz"
    program = next(
        found
        for seed in range(1, 100, 2)
        if (found := lower_to_program(assemble(random_c_graph(seed))).program).populations[0].constants
    )
    write_program(file, program)
    arrays = load_npz(file)
    del arrays[missing]
    save_npz(file, arrays)
    with pytest.raises(DataError, match="does not hold a program"):
        read_program(file)

"""The compiled code of networks in 8 bits beside their emulator: the same bits, here and on a Cortex-M."""

from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.exporters.c.compilers import STRICT
from nsc_deploy.exporters.c.int8.network import Int8Network, decide, emulate
from nsc_deploy.exporters.c.int8.quantise import quantise
from nsc_deploy.exporters.c.int8.runners import run_in_qemu, run_on_host
from tests.exporters.c.int8.test_quantise import graph, reals
from tests.support.c_graphs import SANITISED, needs_compiler, needs_qemu


def network(folder: Path, kind: str) -> Int8Network:
    return quantise(graph(folder, kind), reals(1, 20), classes=3, group=2)


@needs_compiler
@pytest.mark.parametrize("kind", ["dense", "lstm"])
def test_compiled_code_is_the_emulator(kind: str, tmp_path: Path) -> None:
    found = network(tmp_path, kind)
    values = found.quantised(4 * reals(3))  # loud: everything is cut off somewhere
    run = run_on_host(found, values, (*SANITISED, *STRICT))
    expected = emulate(found, values)
    np.testing.assert_array_equal(run.outputs, expected)
    np.testing.assert_array_equal(run.decisions, decide(found, expected))
    assert len(np.unique(expected)) > 50


@needs_qemu
@pytest.mark.parametrize("cpu", ["m4", "m0"])
def test_a_cortex_m_computes_the_same_with_and_without_its_lanes(cpu: str, tmp_path: Path) -> None:
    found = network(tmp_path, "lstm")
    values = found.quantised(reals(4, 2))
    run = run_in_qemu(found, values, cpu)
    np.testing.assert_array_equal(run.outputs, emulate(found, values))
    assert run.instructions is not None
    assert run.instructions.min() > 1000

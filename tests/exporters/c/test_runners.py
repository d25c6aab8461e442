"""The compiled code beside the emulator: no differing spike, no warning, no undefined operation."""

import os

import numpy as np
import pytest

from nsc_deploy.exporters.c.compilers import STRICT, clang
from nsc_deploy.exporters.c.events import EmulatorRunner
from nsc_deploy.exporters.c.layout import lay_out
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.graphs.assemble import assemble
from tests.support.c_graphs import SANITISED, needs_compiler, random_c_graph, random_events, run_compiled
from tests.support.lava import receiver

FIRST = int(os.environ.get("NSC_DEPLOY_FUZZ_SEED", "0")) * 1000
NARROW = "-DNET_NARROW"


def compare(graph, seed: int, options: tuple[str, ...] = SANITISED, bits: int = 8) -> int:
    """Every layer in every step; how many spikes there were."""
    network = assemble(graph)
    program = lower_to_program(network, bits=bits).program
    layout = lay_out(program, "net", classes=program.outputs)
    events = random_events(seed, 15, 3, network)
    compiled = run_compiled(layout, network, events, options)
    emulated = EmulatorRunner(program, network).run(events)
    np.testing.assert_array_equal(compiled.output, emulated.output)
    spiking = {name for name, layer in emulated.layers.items() if layer.spikes is not None}
    assert set(compiled.layers) == spiking
    for name, layer in compiled.layers.items():
        np.testing.assert_array_equal(layer.spikes, emulated.layers[name].spikes)
    return sum(int(layer.spikes.sum()) for layer in compiled.layers.values() if layer.spikes is not None)


@needs_compiler
def test_compiled_code_is_the_emulator_on_random_graphs() -> None:
    fired = [compare(random_c_graph(seed), seed, bits=(8, 4, 2, 5)[seed % 4]) for seed in range(6)]
    assert sum(fired) > 1000


@needs_compiler
def test_without_a_long_multiplication_it_is_the_same() -> None:
    assert compare(random_c_graph(3), 3, (*SANITISED, NARROW))
    assert compare(receiver(), 0, (*SANITISED, NARROW))


@pytest.mark.skipif(clang() is None, reason="no clang here (a package has one: ziglang)")
@pytest.mark.parametrize("seed", [0, 3, 5, 10])
def test_clang_warns_of_nothing_and_computes_the_same(seed: int) -> None:
    network = assemble(random_c_graph(seed))
    program = lower_to_program(network).program
    layout = lay_out(program, "net", classes=program.outputs)
    events = random_events(seed, 12, 2, network)
    compiled = run_compiled(layout, network, events, ("-std=c99", "-O2", *STRICT), clang())
    np.testing.assert_array_equal(compiled.output, EmulatorRunner(program, network).run(events).output)


@needs_compiler
@pytest.mark.ccode
@pytest.mark.parametrize("block", range(50))
def test_compiled_code_is_the_emulator_on_500_random_graphs(block: int) -> None:
    for seed in range(FIRST + 10 * block, FIRST + 10 * (block + 1)):
        options = (*SANITISED, NARROW) if seed % 3 == 0 else SANITISED
        compare(random_c_graph(seed), seed, options, bits=2 + seed % 7)

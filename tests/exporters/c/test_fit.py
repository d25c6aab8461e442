"""Graphs against the memory of microcontrollers."""

from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.c.controllers import controllers
from nsc_deploy.exporters.export import read_conventional
from nsc_deploy.exporters.registry import load_target
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import GraphOptions
from nsc_deploy.graphs.network import Network, Signal
from tests.support.lava import receiver
from tests.support.small_runs import dense_graph


def dense(inputs: int, neurons: int) -> Network:
    build = GraphBuilder(0.001)
    build.input(inputs, Signal.EVENTS)
    build.linear("w", np.random.default_rng(0).normal(0, 1, (neurons, inputs)))
    build.lif("n", 0.9, 1.0, neurons)
    build.output(neurons)
    return assemble(build.build())


def test_there_are_controllers_from_m0_to_m7_each_with_a_source() -> None:
    found = controllers()
    assert {"stm32l432", "nrf52840", "rp2040", "rp2350"} <= set(found)
    assert {"cortex-m0plus", "cortex-m4", "cortex-m33", "cortex-m7"} <= {one.core for one in found.values()}
    assert all(one.source and one.flash_bytes > one.ram_bytes > 0 for one in found.values())


@pytest.mark.parametrize("name", sorted(controllers()))
def test_a_small_receiver_fits_every_one(name: str) -> None:
    result = load_target(f"c:{name}").check(assemble(receiver()))
    assert result.fits
    assert [pool.pool for pool in result.pools] == ["flash", "RAM"]
    assert all(0 < pool.used < pool.limit for pool in result.pools if pool.limit)


def test_what_does_not_fit_is_told_with_its_largest_piece() -> None:
    network = dense(300, 300)
    result = load_target("c:stm32l051").check(network)
    assert not result.fits
    (breach,) = result.breaches
    assert breach.where == "ST STM32L051C8"
    assert breach.used > breach.limit == 65536
    assert (
        "weights of 8 bits of n, 90,000 bytes" in breach.hint or "weights of n, 90,000 bytes" in breach.hint
    )
    assert "fewer bits a weight" in breach.hint
    assert load_target("c:stm32l051").check(network, 4).fits


def test_what_fewer_bits_do_not_mend_is_not_told_to_take_them(tmp_path: Path) -> None:
    target = load_target("c:stm32l051")
    dense_graph(tmp_path / "dense.onnx", [300, 300])
    conventional = read_conventional(tmp_path / "dense.onnx", target, GraphOptions(dt=0.01), None)
    (flash,) = target.check(conventional).breaches
    ram = next(one for one in target.check(dense(8, 2000)).breaches if one.rule.startswith("RAM"))
    for breach in (flash, ram):
        assert "Use fewer neurons, or a larger part." in breach.hint


@pytest.mark.parametrize("target", ["c", "c:stm32l051"])
@pytest.mark.parametrize("bits", [1, 9, 32])
def test_other_bits_than_c_has_are_refused(target: str, bits: int) -> None:
    with pytest.raises(ConfigError, match=f"a weight has 2 to 8 bits in C, not {bits}") as caught:
        load_target(target).check(dense(8, 4), bits)
    assert caught.value.where == "--bits"


def test_an_unknown_controller_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown microcontroller 'z80'"):
        load_target("c:z80")

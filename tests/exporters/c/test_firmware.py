"""Recorded samples on a microcontroller: cycles by layer, and time at its clock."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.c.firmware import Firmware, FirmwareRun
from nsc_deploy.exporters.registry import load_target
from nsc_deploy.graphs.assemble import assemble
from tests.support.c_graphs import needs_qemu, random_events
from tests.support.lava import receiver


def firmware(controller: str) -> Firmware:
    found = load_target(f"c:{controller}").check(assemble(receiver())).firmware
    assert found is not None
    return found


def run(controller: str) -> FirmwareRun:
    return FirmwareRun(firmware(controller), random_events(0, 6, 2, assemble(receiver())))


@needs_qemu
def test_cycles_are_those_of_the_layers_and_seconds_those_of_the_clock() -> None:
    found = run("stm32l432")
    np.testing.assert_array_equal(sum(found.layers.values()), found.cycles.high)
    assert {one.node for one in found.firmware.code.sizes} < set(found.layers)
    assert found.clock_hz == 80e6
    # A step that is long enough is as long as it is; a short one is over when the core is done.
    np.testing.assert_array_equal(found.seconds(0.03), np.full((6, 2), 0.03))
    np.testing.assert_allclose(found.seconds(1e-9), found.cycles.high / 80e6)


def test_without_a_microcontroller_there_is_no_clock() -> None:
    named = run("stm32l432")
    with pytest.raises(BackendError, match="no microcontroller is named"):
        FirmwareRun(replace(named.firmware, controller=None), named.values).clock_hz  # noqa: B018


@needs_qemu
def test_a_core_of_its_own_makes_other_code() -> None:
    small, large = run("rp2040"), run("stm32l432")
    assert small.instructions.mean() > large.instructions.mean()


def test_cycles_of_a_core_without_published_timings_cannot_be_told() -> None:
    found = run("stm32h743")
    for look in (lambda: found.cycles, lambda: found.seconds(0.03)):
        with pytest.raises(BackendError, match="no cycles of instructions for cortex-m7"):
            look()


def test_without_qemu_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run("stm32l432")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="qemu-system-arm") as caught:
        found.cycles  # noqa: B018
    assert caught.value.hint is not None
    assert "apt-get" in caught.value.hint

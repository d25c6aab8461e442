"""Blocks of instructions as QEMU writes them down: they add up to what its timer counts, step by step."""

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c import trace
from nsc_deploy.exporters.c.emulator import entering
from nsc_deploy.exporters.c.events import EventCode
from nsc_deploy.exporters.c.layout import Layout, lay_out
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.exporters.c.qemu import QemuRunner
from nsc_deploy.exporters.c.trace import count_cycles, traced
from nsc_deploy.exporters.c.write import source_text
from nsc_deploy.graphs.assemble import assemble
from tests.support.c_graphs import ORIGIN, needs_qemu, random_events
from tests.support.lava import receiver

pytestmark = needs_qemu
STEPS, SAMPLES = 8, 3
AROUND_A_CALL = 8
"""Instructions that the timer sees beside those of a step: the arguments of the call."""


@pytest.fixture(scope="module")
def layout() -> Layout:
    return lay_out(lower_to_program(assemble(receiver())).program, "net", classes=6, group=2)


@pytest.fixture(scope="module")
def runner(layout: Layout) -> Iterator[QemuRunner]:
    with ExitStack() as closing:
        settings = RunSettings(cpu="m4", closing=closing)
        yield QemuRunner(EventCode(layout, assemble(receiver())), source_text(layout, ORIGIN), settings)


def test_every_step_has_the_instructions_that_the_timer_counts(layout: Layout, runner: QemuRunner) -> None:
    events = random_events(0, STEPS, SAMPLES, assemble(receiver()))
    counted = runner.run(events).instructions
    assert counted is not None
    found = traced(runner, entering(layout.program, events))
    size = np.array([len(block.addresses) for block in found.blocks])[found.order]
    ours = found.step >= 0
    each = np.bincount(found.step[ours], size[ours]).reshape(SAMPLES, STEPS).T
    extra = counted - each
    assert (extra.min(), extra.max()) >= (0, 0)
    assert extra.max() <= AROUND_A_CALL
    assert sum(found.instructions().values()) == each.sum()


def test_cycles_lie_between_their_bounds_and_are_shared_out_among_functions(
    layout: Layout, runner: QemuRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = random_events(1, STEPS, SAMPLES, assemble(receiver()))
    counted = runner.run(events).instructions
    assert counted is not None
    at_once = count_cycles(runner, events, counted)
    assert (counted - AROUND_A_CALL < at_once.low).all()
    assert (at_once.low < at_once.high).all()
    assert (at_once.high < 4 * counted).all()
    np.testing.assert_array_equal(sum(at_once.functions.values()), at_once.high)
    # One sample at a time makes no difference.
    monkeypatch.setattr(trace, "MOST_INSTRUCTIONS", 1)
    in_portions = count_cycles(runner, events, counted)
    np.testing.assert_array_equal(in_portions.high, at_once.high)
    np.testing.assert_array_equal(in_portions.low, at_once.low)

"""Where instructions go: they add up to what the timer counts, and cycles lie between their bounds."""

from contextlib import ExitStack

import numpy as np
import pytest

from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.layout import lay_out
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.exporters.c.profile import profile, timings
from nsc_deploy.exporters.c.qemu import QemuRunner
from nsc_deploy.exporters.c.write import source_text
from nsc_deploy.graphs.assemble import assemble
from tests.support.c_graphs import ORIGIN, needs_qemu, random_events
from tests.support.lava import receiver


@needs_qemu
@pytest.mark.parametrize("cpu", ["m4", "m7"])
def test_functions_add_up_to_what_the_timer_counts(cpu: str) -> None:
    network = assemble(receiver())
    layout = lay_out(lower_to_program(network).program, "net", classes=6, group=2)
    events = random_events(0, 12, 2, network)
    with ExitStack() as closing:
        settings = RunSettings(cpu=cpu, closing=closing)
        runner = QemuRunner(layout, source_text(layout, ORIGIN), network, settings)
        counted = runner.run(events[:, :1]).instructions
        found = profile(runner, layout, events)
    assert counted is not None
    # The timer also sees the arguments of the call.
    assert sum(one.instructions for one in found.functions) == pytest.approx(counted.mean(), abs=8)
    names = {one.function for one in found.functions}
    assert {f"{layer.name}_step" for layer in layout.layers} <= names
    assert not {name for name in names if "reset" in name or "decide" in name}
    if cpu == "m7":
        assert found.cycles is None
    else:
        assert found.cycles is not None
        assert counted.mean() < found.cycles[0] < found.cycles[1] < 4 * counted.mean()
        assert "cycles a step without wait states" in found.lines()[-1]


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("adds\tr3, r3, r1", (1, 1)),
        ("ldr.w\tr2, [r4, #4]!", (1, 3)),
        ("str\tr3, [r2, #12]", (1, 3)),
        ("ldrd\tr0, r1, [r3, #-8]", (2, 4)),
        ("stmdb\tsp!, {r4, r5, r6, lr}", (4, 6)),
        ("pop\t{r4-r7, pc}", (5, 7)),
        ("udiv\tr0, r1, r2", (2, 12)),
        ("umull\tr0, r1, r2, r3", (1, 1)),
    ],
)
def test_instructions_have_the_bounds_of_their_kind(text: str, bounds: tuple[int, int]) -> None:
    assert timings()["cortex-m4"].of(text) == bounds


def test_a_long_multiplication_takes_longer_on_an_m3() -> None:
    assert timings()["cortex-m3"].of("umull\tr0, r1, r2, r3") == (3, 5)
    assert np.all([one.source for one in timings().values()])

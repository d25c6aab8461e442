"""Where instructions go: they add up to what the timer counts, and cycles lie between their bounds."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c import profile as module
from nsc_deploy.exporters.c.events import EventCode
from nsc_deploy.exporters.c.layout import lay_out
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.exporters.c.profile import profile
from nsc_deploy.exporters.c.qemu import QemuRunner
from nsc_deploy.exporters.c.write import source_text
from nsc_deploy.graphs.assemble import assemble
from tests.support.c_graphs import ORIGIN, needs_qemu, random_events
from tests.support.int8 import STEPS, code, reals
from tests.support.lava import receiver


@needs_qemu
@pytest.mark.parametrize("cpu", ["m4", "m7"])
def test_functions_add_up_to_what_the_timer_counts(cpu: str) -> None:
    network = assemble(receiver())
    layout = lay_out(lower_to_program(network).program, "net", classes=6, group=2)
    events = random_events(0, 12, 2, network)
    with ExitStack() as closing:
        settings = RunSettings(cpu=cpu, closing=closing)
        runner = QemuRunner(EventCode(layout, network), source_text(layout, ORIGIN), settings)
        counted = runner.run(events[:, :1]).instructions
        found = profile(runner, events)
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


@needs_qemu
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("separable", "instructions a step by function, of the first sample"),
        ("gru", f"instructions a step by function, of the first 5 of {STEPS} steps of the first sample"),
    ],
)
def test_a_long_sample_is_profiled_on_its_first_steps_but_whole_where_it_enters_whole(
    kind: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_STEPS", 5)
    made = code(tmp_path, kind)
    with ExitStack() as closing:
        runner = QemuRunner(made, made.source(ORIGIN), RunSettings(closing=closing))
        found = profile(runner, reals(kind, 2))
    assert found.lines()[0] == said
    assert found.steps == (1 if kind == "separable" else 5)

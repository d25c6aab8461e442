"""The examples that lay systems side by side: accuracy against energy, and what the rest of a node takes."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from nsc_deploy.deployment import Side
from nsc_deploy.energy import estimate
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.graphs.simulate import simulate
from tests.support.small_runs import STEPS, dense_run, event_run

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_a_row_holds_what_the_reports_say(tmp_path: Path) -> None:
    frontier = load("frontier")
    runs = {"event": event_run(tmp_path / "event"), "fc": dense_run(tmp_path / "fc")}
    entries = {name: frontier.measure([run]) for name, run in runs.items()}
    for name, run in runs.items():
        [system] = estimate([run], "horowitz-45nm-int8").report.systems
        assert entries[name].int8 == [system.energy["memory"].mean_uj]
        assert entries[name].int8_receiver == [system.sides[Side.RECEIVER]["memory"].mean_uj]
    assert entries["event"].skipping == entries["event"].int8  # events are skipped as they are
    assert entries["fc"].skipping < entries["fc"].int8
    assert entries["fc"].ann == []
    head, _, *rows = frontier.table(entries).splitlines()
    assert [row.split("|")[1].strip() for row in rows] == ["event", "fc"]
    assert {row.count("|") for row in rows} == {head.count("|")}
    frontier.draw(entries, tmp_path / "frontier.png")
    assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_a_node_pays_for_its_channel_uses_or_for_its_spikes(tmp_path: Path) -> None:
    node = load("whole_node")
    event, fc = (
        node.measure(run, "horowitz-45nm-int8")
        for run in (event_run(tmp_path / "event"), dense_run(tmp_path / "fc"))
    )
    use = 3.0 * 7.1e-3  # uJ of one microsecond
    assert event.radio == fc.radio == pytest.approx(16 * STEPS * use)
    assert fc.radio_keyed == fc.radio  # a bit is never silent
    network = read_network(tmp_path / "event" / "transmitter.nir")
    inputs = read_recording(tmp_path / "event" / "transmitter.npz").values
    spikes = simulate(network, inputs).output.sum() / inputs.shape[1]
    assert event.radio_keyed == pytest.approx(float(spikes) * use)
    a_day = 24 * (event.compute + event.radio) * 1e-6
    assert event.days(event.radio, per_hour=1, rest_mw=0) == pytest.approx(0.225 * 3600 * 3 / a_day)

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.deployment import Place, Side
from nsc_deploy.energy import Estimate, count, estimate
from nsc_deploy.energy.output.tables import front_words
from nsc_deploy.energy.pricing.price import PriceBook
from nsc_deploy.energy.pricing.profile import PowerUnit, StaticPower, load_profile, load_profiles
from nsc_deploy.energy.report.build import build_report
from nsc_deploy.energy.report.numbers import MISSING, binned, course, per_second, share, snr
from nsc_deploy.energy.report.schema import PartReport, Report
from nsc_deploy.energy.report.statistics import pareto_front, static_uj
from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.formats.recording import write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import DT, SAMPLES, STEPS, dense_run, event_run, events, spiking_graph


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [event_run(folder / "event"), dense_run(folder / "fc")]


@pytest.fixture(scope="module")
def report(runs: list[Path]) -> Report:
    return estimate(runs).report


def parts(report: Report) -> list[PartReport]:
    return [part for system in report.systems for part in system.parts]


def test_load_is_the_synaptic_operations_of_a_sample_over_its_duration(
    runs: list[Path], report: Report
) -> None:
    for counted, told in zip(count(runs).systems, report.systems, strict=True):
        for part, shown in zip(counted.parts, told.parts, strict=True):
            each = part.per_sample.synaptic / (STEPS * DT)
            assert shown.load.mean == pytest.approx(each.mean())
            assert shown.load.p95 == pytest.approx(np.percentile(each, 95))
            assert shown.load.worst == pytest.approx(each.max())
            assert shown.synops.worst_sample == int(each.argmax())


def test_an_end_that_is_done_in_one_step_rests_while_the_other_works(runs: list[Path]) -> None:
    priced = load_profile("horowitz-45nm").model_copy(
        update={"static_power": StaticPower(value=420, unit=PowerUnit.MICROWATT, source="mine")}
    )
    parts = count(runs[0]).systems[0].parts
    short = [replace(one, steps=1) if one.side is Side.TRANSMITTER else one for one in parts]
    assert static_uj(short, priced) == static_uj(parts, priced) == pytest.approx(2 * STEPS * DT * 420)


def test_the_worst_sample_is_the_worst_of_the_sums(runs: list[Path], report: Report) -> None:
    counted = count(runs[:1]).systems[0]
    spikes = np.sum([part.per_sample.spikes for part in counted.parts], axis=0)
    assert report.systems[0].spikes.worst == spikes.max()
    assert report.systems[0].spikes.worst_sample == spikes.argmax()
    for system in report.systems:
        for energy in system.energy.values():
            assert energy.median_uj <= energy.p95_uj <= energy.worst_uj
            assert 0 <= energy.worst_sample < SAMPLES


def test_the_course_over_time_adds_up_and_names_the_busiest_step(report: Report) -> None:
    for part in parts(report):
        assert part.over_time is not None
        assert len(part.over_time.synops) == STEPS
        assert sum(part.over_time.synops) == pytest.approx(part.synops.mean)
        assert sum(part.over_time.spikes) == pytest.approx(part.spikes.mean)
        assert part.load.busiest_step == pytest.approx(max(part.over_time.synops) / DT)
        fired = [layer.spikes_over_time for layer in part.layers if layer.spikes_over_time is not None]
        assert bool(fired) is part.graph.endswith(".nir")
        assert np.sum([*fired, np.zeros(STEPS)], axis=0) == pytest.approx(np.array(part.over_time.spikes))


def test_a_limit_is_of_the_device_and_not_of_a_host(runs: list[Path]) -> None:
    limit = load_profile("loihi").load_limit
    assert limit is not None
    for part in parts(estimate(runs, profile="loihi").report):
        if part.place is Place.HOST:
            assert part.load.limit is None
            assert part.load.share is None
        else:
            assert part.load.share == pytest.approx(part.load.worst * 3.8e-9, rel=1e-3)
            assert part.load.limit_of == "core"


def test_every_limit_has_a_source() -> None:
    stated = {one.name for one in load_profiles() if one.load_limit is not None and one.load_limit.source}
    assert stated == {"loihi", "spinnaker"}


def test_a_limit_without_a_source_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chip.toml"
    text = (Path(__file__).parents[3] / "nsc_deploy/energy/pricing/profiles/odin.toml").read_text()
    path.write_text(text + '\n[load_limit]\nsynops_per_second = 1e6\nof = "chip"\n')
    with pytest.raises(ConfigError, match=r"load_limit\.source"):
        load_profile(str(path))


def test_memory_in_use_by_hand(tmp_path: Path) -> None:
    spiking_graph(tmp_path / "g.nir", [6, 4], Signal.EVENTS)
    write_recording(tmp_path / "in.npz", events(6))
    part = estimate([tmp_path / "g.nir"], inputs=[tmp_path / "in.npz"]).report.systems[0].parts[0]
    # 24 weights; 4 sums of the weighted inputs and 4 potentials; 6 inputs: float32 values.
    assert [use.bytes for use in part.memory.stores.values()] == [4 * 24, 4 * 8, 4 * 6]
    assert part.memory.bytes == 4 * 38
    weights = part.layers[0].kept["weights"]  # type: ignore[index]
    assert weights.capacity_bytes == 8192
    assert weights.share == pytest.approx(96 / 8192)
    on_chip = estimate([tmp_path / "g.nir"], profile="loihi", inputs=[tmp_path / "in.npz"]).report
    assert on_chip.systems[0].parts[0].memory.bytes is None


def test_the_front_holds_what_nothing_beats(report: Report) -> None:
    event, fc = report.systems

    def at(label: str, accuracy: float | None, energy: float) -> object:
        priced = event.energy["memory"].model_copy(update={"mean_uj": energy})
        update = {"label": label, "accuracy": accuracy, "energy": {"memory": priced}}
        return event.model_copy(update=update)

    points = pareto_front(
        [at("a", 0.9, 5.0), at("b", 0.8, 5.0), at("c", 0.95, 9.0), at("d", None, 1.0), at("e", 0.9, 5.0)],  # type: ignore[list-item]
        "memory",
    )
    assert [(point.system, point.on_front) for point in points] == [
        ("a", True),
        ("e", True),
        ("b", False),
        ("c", True),
    ]
    assert points[2].beaten_by == ("a", "e")
    assert fc.label in {point.system for point in report.fronts["memory"]}
    assert "ann" not in report.fronts


def test_accuracies_of_different_kinds_stand_in_one_front_with_a_word(
    runs: list[Path], report: Report
) -> None:
    assert "different kinds" not in front_words(report.fronts["memory"])
    counted = replace(
        count(runs[0], samples=3).systems[0], label="alone", deployment=None, measured_accuracy=1.0
    )
    both = build_report(
        [counted, count(runs[0]).systems[0]], PriceBook(load_profile("horowitz-45nm")), options={}
    )
    assert [one.accuracy_of for one in both.systems] == [
        "3 counted samples, of its graph alone",
        "the test part",
    ]
    words = front_words(both.fronts["memory"])
    assert "alone of 3 counted samples, of its graph alone" in words
    assert f"{both.systems[1].label} of the test part." in words


def test_a_lower_bound_is_on_no_front(runs: list[Path]) -> None:
    assert [point.system for point in estimate(runs, profile="loihi").report.fronts["compute"]] == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=400), st.integers(1, 60))
def test_binning_keeps_the_mean_where_bins_are_even(values: list[float], most: int) -> None:
    bins = binned(values, most)
    assert len(bins) == min(most, len(values))
    assert min(values) - 1e-6 <= min(bins)
    assert max(bins) <= max(values) + 1e-6
    if len(values) % len(bins) == 0:
        assert sum(bins) / len(bins) == pytest.approx(sum(values) / len(values))
    assert len(course(values, most)) == len(bins)


def test_numbers_as_people_read_them() -> None:
    assert [per_second(value) for value in (None, 12.0, 4.03e6, 2.63e8)] == ["–", "12", "4.03 M", "263 M"]  # noqa: RUF001
    assert [share(value) for value in (None, 0.00123, 0.34, 12.0)] == ["–", "0.12 %", "34 %", "1,200 %"]  # noqa: RUF001
    assert course([0, 0, 1]) == "▁▁█"
    assert course([0.0, 0.0]) == "▁▁"


def test_all_three_forms_tell_the_measures(report: Report, tmp_path: Path) -> None:
    from io import StringIO

    from rich.console import Console

    from nsc_deploy.energy.output.terminal import print_report

    text = StringIO()
    print_report(report, Console(file=text, width=100))
    page = Estimate(report).write(tmp_path)[1].read_text()
    data = json.loads((tmp_path / "report.json").read_text())
    worst = per_second(report.systems[0].parts[0].load.worst)
    digest = report.systems[0].parts[0].graph_sha256
    for words in ("Load", "Pareto front", worst, digest[:8], "transmitter.npz"):
        assert words in text.getvalue()
        assert words in page
    assert digest in page
    assert page.count("Activity over time of") == 5
    assert data["systems"][0]["parts"][0]["load"]["worst"] == report.systems[0].parts[0].load.worst
    assert data["fronts"]["memory"]


def test_an_snr_or_the_range_of_them() -> None:
    assert [snr(10.0, None), snr(-10.0, 10.0), snr(None, None)] == ["10", "-10 to 10", MISSING]

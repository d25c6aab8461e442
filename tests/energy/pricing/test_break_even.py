from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from nsc_deploy.deployment import Side
from nsc_deploy.energy import Estimate, estimate
from nsc_deploy.energy.output.terminal import print_report
from nsc_deploy.energy.report.break_even import against
from nsc_deploy.energy.report.numbers import with_signs
from nsc_deploy.energy.report.schema import Report
from nsc_deploy.energy.report.statistics import Energy
from tests.support.small_runs import dense_run, event_run


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("runs")
    return estimate([event_run(folder / "event"), dense_run(folder / "fc")]).report


def test_at_the_factor_both_cost_the_same(report: Report) -> None:
    event, fc = report.systems
    assert [(one.side, one.column) for one in event.against] == [
        (side, column) for side in (None, Side.RECEIVER) for column in ("paper", "compute", "memory")
    ]
    assert fc.against == ()
    for one in event.against:
        assert one.factor is not None
        if one.factor:
            moving = one.own_uj - one.fixed_uj
            assert one.factor * moving + one.fixed_uj == pytest.approx(one.rival_uj)
        assert (one.factor > 1) == (one.own_uj < one.rival_uj)


def _with(report: Report, own: float, moving: float, rival: float, unpriced: bool = False) -> Report:
    def energy(mean: float, with_rate: float, missing: bool) -> dict[str, Energy]:
        base = report.systems[0].energy["memory"]
        kinds = ("macs",) if missing else ()
        return {
            "memory": base.model_copy(update={"mean_uj": mean, "with_rate_uj": with_rate, "unpriced": kinds})
        }

    event, fc = report.systems
    mine = event.model_copy(update={"energy": energy(own, moving, unpriced), "sides": {}})
    theirs = fc.model_copy(update={"energy": energy(rival, 0.0, False), "sides": {}})
    return report.model_copy(update={"systems": (mine, theirs)})


@pytest.mark.parametrize(
    ("own", "moving", "rival", "unpriced", "factor", "words"),
    [
        (10.0, 8.0, 18.0, False, 2.0, "would lose with more than 2.00 times"),
        (10.0, 8.0, 6.0, False, 0.5, "would win with less than 0.50 times"),
        (10.0, 1.0, 6.0, False, 0.0, "loses at any rate: 9.00 uJ"),
        (10.0, 8.0, 18.0, True, None, "no price for MAC"),
        (10.0, 0.0, 18.0, False, None, "Nothing fires: no break-even"),
    ],
)
def test_every_case_in_words(
    report: Report, own: float, moving: float, rival: float, unpriced: bool, factor: float, words: str
) -> None:
    changed = _with(report, own, moving, rival, unpriced)
    (found,) = against(changed.systems[0], changed.systems)
    assert found.factor == (None if factor is None else pytest.approx(factor))
    assert words in found.words


def test_all_three_forms_say_what_would_turn_it(report: Report, tmp_path: Path) -> None:
    text = StringIO()
    print_report(report, Console(file=text, width=400))
    page = Estimate(report).write(tmp_path)[1].read_text()
    event = report.systems[0]
    layers = [even.words for part in event.parts for even in part.break_even]
    assert event.break_even is not None
    assert layers
    for words in (event.break_even.words, *layers, *(one.words for one in event.against)):
        assert words in text.getvalue()
        assert with_signs(words) in page
    assert "What would have to change for att-neurosc (event) to lose" in page

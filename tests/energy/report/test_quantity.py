"""The first answer of a report: each figure is that of the counts and of the budget."""

from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.energy import Budget, count
from nsc_deploy.energy.report.quantity import ON_DEMAND, UNITS, Headline, Quantity, keeps_to
from tests.support.small_runs import event_run, lstm_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return event_run(tmp_path_factory.mktemp("runs") / "event")


def of(run: Path, profile: str = "horowitz-45nm", target: str | None = None) -> Headline:
    return count(run, target=target).estimate(profile).report.systems[0].headline


def test_every_quantity_has_a_figure_or_a_reason(run: Path) -> None:
    for target in (None, "loihi1"):
        figures = of(run, "loihi", target).figures
        assert set(figures) | ON_DEMAND == set(Quantity) == set(UNITS)
        for figure in figures.values():
            assert (figure.worst is None) <= bool(figure.why)


def test_figures_are_those_that_a_budget_is_held_against(run: Path) -> None:
    counted = count(run, target="loihi1")
    found = counted.estimate().report.systems[0].headline
    for over in ("mean", "worst", "p95"):
        limits = {quantity.value: 1 for quantity in found.figures if quantity not in {"fits", "accuracy"}}
        budget = Budget.model_validate({"over": over, "limits": limits})
        for finding in counted.check(budget).findings:
            figure = found[Quantity(finding.quantity)]
            assert getattr(figure, over) == pytest.approx(finding.value)
            assert figure.unit == finding.unit
            if over == "worst":
                assert (figure.sample, figure.step) == (finding.sample, finding.step)


@pytest.mark.parametrize(
    ("value", "limit", "keeps"),
    [
        (1_000_000_001, 1_000_000_000, False),
        (1_000_000_000, 1_000_000_000, True),
        (0.1 + 0.2, 0.3, True),
        (0.30001, 0.3, False),
    ],
)
def test_last_digits_break_no_limit_and_whole_numbers_are_exact(
    value: float, limit: float, keeps: bool
) -> None:
    assert keeps_to(value, limit) is keeps
    assert keeps_to(limit, value, at_least=True) is keeps


def test_figures_follow_from_the_counts(run: Path) -> None:
    (system,) = count(run).systems
    found = of(run)
    synops = sum(part.per_sample.synaptic for part in system.parts)
    of_steps = sum(part.synops for part in system.parts if part.synops is not None)
    assert isinstance(of_steps, np.ndarray)
    assert found[Quantity.SYNOPS_PER_INFERENCE].worst == synops.max()
    assert found[Quantity.SYNOPS_PER_STEP].worst == of_steps.max()
    assert found[Quantity.SYNOPS_PER_STEP].mean == of_steps.max(axis=0).mean()
    assert found[Quantity.ACCURACY].mean == 0.962
    assert (found.samples, found.steps, found.dt) == (10, 12, 0.03)
    assert found[Quantity.FITS].worst is None


def test_a_lower_bound_and_what_has_no_steps_are_told_as_such(run: Path, tmp_path: Path) -> None:
    energy = of(run, "odin")[Quantity.ENERGY]
    assert energy.lower_bound
    assert "no price" in energy.why
    assert not of(run)[Quantity.ENERGY].lower_bound
    assert of(lstm_run(tmp_path / "lstm"))[Quantity.SYNOPS_PER_STEP].worst is not None


def test_what_runs_on_a_host_alone_is_not_said_to_lack_a_target(tmp_path: Path) -> None:
    host = lstm_run(tmp_path / "lstm")
    for quantity in (Quantity.FITS, Quantity.CORES):
        assert "on a host" in of(host, target="loihi1")[quantity].why
        assert "--target" in of(host)[quantity].why

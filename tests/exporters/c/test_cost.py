"""What a step costs, as it is told."""

import numpy as np
import pytest

from nsc_deploy.exporters.c.cost import StepCost


def test_mean_percentile_and_worst_of_steps_and_samples() -> None:
    counts = np.array([[100, 200], [300, 400]])
    cost = StepCost.of(counts, cpu="m4", clock_mhz=80, dt=0.001)
    assert vars(cost.step) == {"mean": 250.0, "percentile_95": pytest.approx(385.0), "worst": 400.0}
    assert vars(cost.sample) == {"mean": 500.0, "percentile_95": pytest.approx(590.0), "worst": 600.0}
    assert cost.microseconds == 5.0
    assert cost.share == pytest.approx(0.005)
    told = "\n".join(cost.lines())
    assert "5.0 microseconds at one cycle an instruction, 0.50% of a step of 0.001 s" in told
    assert cost.as_json()["cpu"] == "cortex-m4"


def test_without_a_clock_there_is_no_time() -> None:
    cost = StepCost.of(np.array([[1]]))
    assert cost.microseconds is None
    assert cost.share is None
    assert "microseconds" not in "\n".join(cost.lines())


def test_code_for_m0_says_where_it_ran() -> None:
    assert "Cortex-M3" in "\n".join(StepCost.of(np.array([[1]]), cpu="m0").lines())

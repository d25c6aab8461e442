"""Bounds of the energy of recorded samples on a microcontroller, and what parts need together."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.energy import Budget, count
from nsc_deploy.energy.output.headline_table import energy_words, headline_tables
from nsc_deploy.energy.output.html import render_html
from nsc_deploy.energy.pricing.profile import Profile, load_profile
from nsc_deploy.energy.report.budget import Finding
from nsc_deploy.energy.report.microcontroller import AT_REST, affordable, too_large
from nsc_deploy.energy.report.quantity import Figure, Quantity
from nsc_deploy.energy.results import Counted
from nsc_deploy.exporters.c.firmware import FirmwareRun
from nsc_deploy.exporters.export import export_all
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.c_graphs import needs_qemu
from tests.support.lava import random_events, receiver

STEPS, SAMPLES, DT = 6, 3, 0.03
CYCLE_UJ = 3.3e-3 * 3.0 / 64e6 * 1e6
REST_W = 3.16e-6 * 3.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    write_network(folder / "receiver.nir", receiver())
    events = random_events(np.random.default_rng(0), STEPS, SAMPLES, 24)
    write_recording(folder / "inputs.npz", Recording(events, Signal.EVENTS, DT))
    return folder


@pytest.fixture(scope="module")
def counts(place: Path) -> Counted:
    return counted(place, "c:nrf52840")


def counted(place: Path, target: str) -> Counted:
    return count(place / "receiver.nir", inputs=place / "inputs.npz", target=target)


def run_of(counts: Counted) -> FirmwareRun:
    (placed,) = counts.systems[0].placed
    assert placed is not None
    assert placed.run is not None
    return placed.run


def held(counts: Counted, most: float, **budget: object) -> Finding:
    (found,) = counts.check(Budget.model_validate(budget | {"limits": {"energy_uj": most}})).findings
    return found


def figure_of(counts: Counted, **prices: str) -> Figure:
    return counts.estimate(**prices).report.systems[0].headline[Quantity.ENERGY]


@needs_qemu
def test_energy_lies_between_the_fewest_and_the_most_cycles_with_rest_in_between(counts: Counted) -> None:
    cycles = run_of(counts).cycles
    low, high = (
        [
            sum(count * CYCLE_UJ + (DT - count / 64e6) * REST_W * 1e6 for count in steps)
            for steps in each.T.tolist()
        ]
        for each in (cycles.low, cycles.high)
    )
    found = figure_of(counts)
    assert found.low is not None
    assert (found.low.mean, found.low.worst) == pytest.approx((np.mean(low), max(low)))
    assert (found.mean, found.worst) == pytest.approx((np.mean(high), max(high)))
    assert found.low.mean < found.mean
    assert not found.lower_bound
    assert "154.7 pJ a cycle (3.3 mA at 64 MHz and 3 V" in found.basis
    assert "3.16 uA at rest" in found.basis


@needs_qemu
def test_a_budget_decides_on_the_upper_bound_and_names_layers(counts: Counted) -> None:
    found = figure_of(counts)
    assert found.low is not None
    between = held(counts, (found.low.worst + found.worst) / 2)
    assert between.passed is False
    assert between.value == pytest.approx(found.worst)
    assert {one.layer for one in between.culprits} <= {*run_of(counts).layers, AT_REST}
    assert between.basis == found.basis
    limit = Budget.model_validate({"limits": {"energy_uj": 1.01 * found.worst}})
    kept = counts.check(limit)
    assert kept.passed
    assert "the upper of bounds on c:nrf52840" in " ".join(kept.as_text().split())


@needs_qemu
def test_the_first_block_and_the_page_say_that_they_are_bounds(counts: Counted) -> None:
    report = counts.estimate().report
    (table,) = headline_tables(report)
    row = next(row for row in table.rows if row.cells[0] == "Energy, worst")
    assert " to " in row.cells[1]
    (words,) = energy_words(report)
    assert words.startswith("Energy: bounds on c:nrf52840, from the fewest to the most cycles")
    assert "bounds on c:nrf52840" in " ".join(render_html(report).split())
    assert report.model_dump_json().count('"low":{"mean":') == 1


def test_what_no_data_sheet_told_is_not_known(place: Path) -> None:
    counts = counted(place, "c:stm32l432")
    found = held(counts, 1e9)
    assert (found.passed, found.value) == (None, None)
    assert "what c:stm32l432 draws is not known" in found.why
    assert "c:nrf52840" in found.why
    assert figure_of(counts).worst is None


@needs_qemu
def test_currents_of_ones_own_and_those_of_a_profile_for_its_part_alone(place: Path) -> None:
    core = {"active_ma": 1.0, "clock_mhz": 10, "volts": 2.0, "mode": "run", "rest_ua": 0, "rest_mode": "stop"}
    words = dict.fromkeys(("title", "source", "process", "precision", "scope"), "measured here")
    mine = Profile.model_validate(
        words | {"name": "mine", "basis": "measured", "chip": "c:stm32l432", "core": core}
    )
    counts = counted(place, "c:stm32l432")
    cycles = run_of(counts).cycles.high.sum(axis=0)
    found = counts.estimate(mine).report.systems[0].headline[Quantity.ENERGY]
    assert found.worst == pytest.approx(cycles.max() * 200e-6)
    other = counts.estimate("cortex-m4-nrf52840").report.systems[0].headline[Quantity.ENERGY]
    assert other.worst is None


@needs_qemu
def test_an_export_to_a_part_is_measured_and_one_to_any_core_priced(place: Path, tmp_path: Path) -> None:
    inputs = place / "inputs.npz"
    for target, basis in (("c:nrf52840", "bounds on c:nrf52840"), ("c", "")):
        folder = tmp_path / target.replace(":", "-")
        export_all(place / "receiver.nir", target, folder, inputs=inputs)
        found = figure_of(count(folder))
        assert found.basis.startswith(basis)
        assert (found.low is None) is (basis == "")


@needs_qemu
def test_a_report_takes_as_many_samples_as_it_can_afford(counts: Counted) -> None:
    run = run_of(counts)
    parts = [(counts.systems[0].parts[0], run)]
    each = run.instructions.sum(axis=0)
    assert affordable(parts, None) is None
    assert affordable(parts, int(each.sum())) is None
    assert affordable(parts, int(each[:2].sum())) == 2
    assert affordable(parts, 1) == 1
    assert np.array_equal(run.first(2).cycles.high, run.cycles.high[:, :2])


@needs_qemu
def test_a_report_says_of_how_many_samples_its_energy_is(
    counts: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert figure_of(counts).of_samples is None
    monkeypatch.setattr("nsc_deploy.energy.report.build.MOST_INSTRUCTIONS", 1)
    report = counts.estimate().report
    assert report.systems[0].headline[Quantity.ENERGY].of_samples == 1
    assert energy_words(report)[0].endswith("of the first samples: 1.")


@needs_qemu
def test_parts_at_one_end_must_fit_together(counts: Counted) -> None:
    part, run = counts.systems[0].parts[0], run_of(counts)
    memory, controller = run.firmware.memory, run.firmware.controller
    assert controller is not None
    assert too_large([(part, run)]) == ()

    def twice(flash: int, ram: int) -> tuple[str, ...]:
        small = replace(controller, flash_bytes=flash, ram_bytes=ram)
        one = replace(run, firmware=replace(run.firmware, controller=small))
        return too_large([(part, one), (part, one)])

    flash, ram = 2 * memory.flash_bytes, 2 * memory.ram_bytes
    (problem,) = twice(flash - 1, ram)
    assert f"together need {flash:,} bytes of flash" in problem
    # The deepest stack serves both.
    stack = sum(one.bytes for one in memory.ram if one.holds == "stack")
    assert stack
    assert twice(flash, ram - stack) == ()
    assert len(twice(flash, ram - stack - 1)) == 1


@pytest.mark.parametrize("name", ["cortex-m4-nrf52840", "cortex-m4-cc1312r7", "cortex-m4-same54"])
def test_profiles_of_cores_state_current_voltage_and_mode_at_the_fastest_clock(name: str) -> None:
    from nsc_deploy.exporters.c.controllers import find_controller

    profile = load_profile(name)
    assert profile.core is not None
    assert profile.chip is not None
    assert profile.core.clock_mhz == find_controller(profile.chip.removeprefix("c:")).clock_mhz
    assert profile.core.rest_watts < profile.core.active_ma * profile.core.volts * 1e-3
    assert "from flash" in profile.core.mode

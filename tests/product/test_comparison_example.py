"""The script that says which receiver wins under which accounting, and where that turns."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from nsc_deploy.deployment import Side
from nsc_deploy.energy import estimate
from tests.support.small_runs import dense_run, event_run, lstm_run

SCRIPT = Path(__file__).parents[2] / "examples" / "fsdd_energy.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fsdd_energy", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        "event": [event_run(folder / "event0"), event_run(folder / "event1")],
        "fc": [dense_run(folder / "fc0")],
        "lstm": [lstm_run(folder / "lstm0")],
    }


@pytest.fixture(scope="module")
def printed(runs: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("out")
    named = [f"{name}={','.join(map(str, paths))}" for name, paths in runs.items()]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *named, "--out", str(out)],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, out


def section(text: str, title: str) -> str:
    return text.partition(f"### {title}\n")[2].partition("\n### ")[0]


def test_every_accounting_has_a_winner_in_two_profiles(
    printed: tuple[str, Path], runs: dict[str, list[Path]]
) -> None:
    text, out = printed
    for profile in ("horowitz-45nm", "horowitz-45nm-int8"):
        report = estimate([paths[0] for paths in runs.values()], profile=profile).report
        told = section(text, f"Receivers, {profile}")
        for column in (one for one in report.columns if one.name != "ann"):
            energies = {
                name: system.sides[Side.RECEIVER][column.name].mean_uj
                for name, system in zip(runs, report.systems, strict=True)
                if column.name in system.sides[Side.RECEIVER]
            }
            best = min(energies, key=lambda name: energies[name])
            line = next(line for line in told.splitlines() if line.startswith(f"- {column.title}:"))
            assert f"**{best}** wins" in line
            assert f"{energies[best]:.3g} uJ" in line
            for name in set(energies) - {best}:
                assert f"{name} {energies[name] / energies[best]:.2f} x" in line
        assert "| event |" in told
        own, ann = (report.systems[0].sides[Side.RECEIVER][name].mean_uj for name in ("memory", "ann"))
        better = "event" if own <= ann else "its ANN"
        ratio = max(own, ann) / min(own, ann)
        assert f"event {own:.3g} uJ against {ann:.3g} uJ, **{better}** wins {ratio:.2f} x (" in told
        assert (out / "seed0" / profile / "report.json").is_file()
    assert (out / "seed1" / "horowitz-45nm" / "report.html").is_file()


def test_at_the_rate_that_is_told_both_cost_the_same(
    printed: tuple[str, Path], runs: dict[str, list[Path]]
) -> None:
    report = estimate([runs["event"][0], runs["fc"][0]]).report
    told = section(printed[0], "Where receivers turn, horowitz-45nm")
    cells = next(line for line in told.splitlines() if line.startswith("| event | fc |")).split("|")
    rate = float(cells[3].strip(" %"))
    for column, cell in zip(("paper", "compute", "memory"), cells[4:7], strict=True):
        event, fc = (system.sides[Side.RECEIVER][column] for system in report.systems)
        found = re.search(r"\(([\d.]+) x\)", cell)
        assert found is not None
        factor = float(found[1])
        scaled = event.mean_uj - event.with_rate_uj + factor * event.with_rate_uj
        assert scaled == pytest.approx(fc.mean_uj, rel=0.02)
        if factor * rate > 100:
            assert "loses at no rate" in cell
        else:
            words = "loses above" if factor > 1 else "wins below"
            assert float(cell.partition(words)[2].partition("%")[0]) == pytest.approx(factor * rate, rel=0.02)


def test_a_rate_above_one_spike_a_step_is_no_rate(example: ModuleType) -> None:
    assert example.turning(-0.2, 0.1) == "loses at any rate"
    assert example.turning(0.5, 0.1) == "wins below 5 % (0.50 x)"
    assert example.turning(4.0, 0.1) == "loses above 40 % (4.00 x)"
    assert example.turning(40.0, 0.1) == "loses at no rate (40.00 x)"


def test_seeds_that_disagree_are_told(example: ModuleType, runs: dict[str, list[Path]]) -> None:
    found = example.price({"event": runs["event"][:1]}, ["horowitz-45nm"], samples=2)["horowitz-45nm"][0]

    def seed(event: float, fc: float) -> object:
        system = found.systems["event"]
        sides = [
            {Side.RECEIVER: {"paper": system.energy["paper"].model_copy(update={"mean_uj": energy})}}
            for energy in (event, fc)
        ]
        named = {
            name: system.model_copy(update={"sides": one})
            for name, one in zip(("event", "fc"), sides, strict=True)
        }
        return example.Priced(named, found.report)

    words = example.winner([seed(1.0, 3.0), seed(2.0, 3.0), seed(2.5, 2.0)], Side.RECEIVER, "paper")
    assert words == "**event** wins (in 2 of 3 seeds) with 1.83 uJ; fc 1.45 x."
    assert "no system" in example.winner([seed(1.0, 2.0)], Side.RECEIVER, "nothing")


def test_a_profile_without_a_price_names_no_winner_among_bounds(
    example: ModuleType, runs: dict[str, list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    one = {name: paths[:1] for name, paths in runs.items()}
    example.print_comparison(example.price(one, ["loihi"], samples=2))
    text = capsys.readouterr().out
    assert "no system has a price for all of its operations." in section(text, "Receivers, loihi")
    assert "no price" in section(text, "Where receivers turn, loihi")


def test_a_run_that_is_missing_is_named_with_code_2() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "event=nowhere"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr

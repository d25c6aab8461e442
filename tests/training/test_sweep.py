import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.cli.evaluate import _SNRS, parse_range
from nsc_deploy.config.speech import SpeechExperiment
from nsc_deploy.data import EventSet
from nsc_deploy.deployment import read_deployment
from nsc_deploy.energy import estimate
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.experiment_file import load_experiment, settings_digest
from nsc_deploy.models.system import build_system
from nsc_deploy.training.plots import accuracy_figure, write_plots
from nsc_deploy.training.run import train
from nsc_deploy.training.sweep import (
    _MADE_FROM,
    _OF_ONE_CURVE,
    ChannelUses,
    Sweep,
    channel_uses,
    sweep,
    sweep_runs,
)

Make = Callable[..., dict[str, object]]


@pytest.fixture(scope="module")
def run(small_experiment: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    overrides = small_experiment(training__epochs=15, training__learning_rate=1e-2)
    return train(load_experiment(None, overrides), tmp_path_factory.mktemp("runs") / "fc", progress=False).run


def made_up(name: str, run: str, trained: float, snr: tuple[float, ...], uses: int) -> Sweep:
    rising = tuple(float(value) for value in np.linspace(0.1, 0.9, 13))
    return Sweep(
        Path(run), name, trained, snr, tuple(0.5 + value / 100 for value in snr), rising, ChannelUses(uses, 1)
    )


def test_noise_costs_accuracy_and_the_trained_snr_gives_the_reported_one(run: Path) -> None:
    swept = sweep(run, (-30.0, 20.0, 60.0))
    assert swept.accuracy[0] < 0.3 < swept.accuracy[1] <= swept.accuracy[2] + 0.05
    reported = json.loads((run / "metrics.json").read_text())["test_accuracy"]
    assert swept.accuracy[1] == swept.accuracy_after[-1] == reported
    assert len(swept.accuracy_after) == 8
    assert swept.uses == ChannelUses(per_step=16 * 16, per_symbol=16)


def test_a_sweep_repeats_itself(run: Path) -> None:
    assert sweep(run, (0.0,)) == sweep(run, (0.0,))


def test_every_pass_over_the_test_set_is_reported(run: Path) -> None:
    passes: list[None] = []
    sweep(run, (-10.0, 0.0, 20.0), advance=lambda: passes.append(None))
    assert len(passes) == 3  # 20 dB is where it was trained: evaluated once
    passes.clear()
    sweep(run, (-10.0,), advance=lambda: passes.append(None))
    assert len(passes) == 2


def test_without_snr_a_run_is_evaluated_where_it_was_trained(run: Path) -> None:
    [swept] = sweep_runs([run], None)
    assert swept.snr_db == (20.0,)


def test_a_run_over_a_range_is_evaluated_across_it(small_experiment: Make, tmp_path: Path) -> None:
    overrides = small_experiment(channel__snr_db=-10.0, channel__snr_to_db=10.0, training__epochs=1)
    result = train(load_experiment(None, overrides), tmp_path / "run", progress=False)
    [swept] = sweep_runs([result.run], None)
    assert swept.snr_db == (-10, -5, 0, 5, 10)
    assert swept.trained_at == "-10 to 10 dB"
    assert swept.accuracy_after[-1] == result.metrics.test_accuracy  # on the range itself
    [curve] = accuracy_figure([swept]).axes[0].get_lines()
    assert curve.get_label() == "fc, trained at -10 to 10 dB"
    assert read_deployment(result.run).channel.snr_to_db == 10
    [alone] = sweep_runs([result.run], [3.0])
    assert (alone.snr_db, alone.accuracy_after) == ((3,), swept.accuracy_after)


def test_an_snr_out_of_range_and_a_missing_run_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        sweep_runs([run], [1e6])
    with pytest.raises(DataError, match="holds no run"):
        sweep_runs([run, tmp_path], None)


def test_milestones_end_with_the_last_step() -> None:
    swept = made_up("fc", "a", 10, (10,), 4)
    milestones = swept.milestones(5)
    assert [step for step, _ in milestones] == [1, 4, 7, 10, 13]
    assert milestones[-1][1] == swept.accuracy_after[-1]


def test_models_of_one_snr_each_make_one_curve() -> None:
    sweeps = [made_up("fc", f"run{snr}", snr, (snr,), 2048) for snr in (10.0, -10.0, 0.0)]
    left = accuracy_figure(sweeps).axes[0]
    [curve] = left.get_lines()
    assert curve.get_xdata().tolist() == [-10, 0, 10]
    assert curve.get_label() == "fc, one model for each SNR"
    [alone] = accuracy_figure(sweeps[:1]).axes[0].get_lines()
    assert alone.get_label() == "fc, trained at 10 dB"


def test_seeds_of_one_snr_are_averaged() -> None:
    one = made_up("fc", "a", 0, (0.0,), 1)
    other = Sweep(Path("b"), "fc", 0, (0.0,), (0.9,), one.accuracy_after, one.uses)
    left = accuracy_figure([one, other]).axes[0]
    assert left.get_lines()[0].get_ydata().tolist() == pytest.approx([70])


def test_runs_of_one_system_with_other_settings_are_no_seeds(small_experiment: Make, tmp_path: Path) -> None:
    overrides = small_experiment(training__epochs=1)
    made = {
        "first/fc": {}, "second/fc": {"training.seed": 7}, "wide": {"training.learning_rate": 0.05},
    }  # fmt: skip
    for name, changes in made.items():
        train(load_experiment(None, overrides | changes), tmp_path / name, progress=False)
    sweeps = sweep_runs([tmp_path / name for name in made], None)
    assert [one.label for one in sweeps] == ["fc, first/fc", "fc, second/fc", "fc, wide"]
    left, right = accuracy_figure(sweeps).axes
    labels = [str(one.get_label()) for one in left.get_lines()]
    assert [label for label in labels if not label.startswith("_")] == [
        f"{label}, trained at 20 dB" for label in ("fc, first/fc", "fc, wide")
    ]
    seeds = [sweeps[0].accuracy[0], sweeps[1].accuracy[0]]
    assert left.get_lines()[0].get_ydata().tolist() == pytest.approx([50 * sum(seeds)])
    assert len(right.get_lines()) == 2


@pytest.mark.parametrize("field", ["training.teacher", "training.start_from"])
def test_a_run_with_a_teacher_or_a_start_is_no_seed_of_one_without(field: str) -> None:
    def told(**overrides: object) -> str:
        experiment = load_experiment(None, {"system.name": "fc", **overrides})
        return settings_digest(experiment, _OF_ONE_CURVE, _MADE_FROM)

    plain, taught = told(), told(**{field: "runs/big_0"})
    assert plain != taught
    assert told(**{field: "runs/big_1", "training.seed": 1}) == taught


def test_models_of_several_snrs_are_not_averaged_where_all_meet_another() -> None:
    good, bad = (made_up("fc", f"run{snr}", snr, (5.0,), 1) for snr in (10.0, -10.0))
    worse = replace(bad, run=Path("seed1"), accuracy=(0.15,))
    lines = [
        line
        for line in accuracy_figure([good, bad, worse]).axes[0].get_lines()
        if not str(line.get_label()).startswith("_")
    ]
    assert {str(line.get_label()): line.get_ydata().tolist() for line in lines} == {
        "fc, trained at -10 dB": pytest.approx([35]),
        "fc, trained at 10 dB": pytest.approx([55]),
    }


def test_an_unfinished_run_is_not_evaluated(run: Path, tmp_path: Path) -> None:
    unfinished = shutil.copytree(run, tmp_path / "unfinished")
    (unfinished / "metrics.json").unlink()
    with pytest.raises(DataError, match="holds a run that is not finished"):
        sweep_runs([run, unfinished], None)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.integers(2, 5))
def test_seeds_that_are_equally_good_have_a_bar_of_no_height(accuracy: float, seeds: int) -> None:
    """Their mean may differ from each of them by a rounding, which is no negative bar."""
    equal = made_up("fc", "a", 0, (0.0,), 1)
    sweeps = [
        Sweep(Path(str(seed)), "fc", 0, (0.0,), (accuracy,), (0.5,), equal.uses) for seed in range(seeds)
    ]
    assert accuracy_figure(sweeps).axes[0].get_lines()[0].get_ydata().tolist() == pytest.approx(
        [100 * accuracy]
    )


def test_a_model_over_a_range_is_a_curve_of_its_own() -> None:
    sweeps = [
        made_up("fc", "a", 10, (-5.0, 5.0), 2048),
        made_up("att-neurosc (event)", "b", 10, (-5.0, 5.0), 128),
    ]
    figure = accuracy_figure(sweeps)
    assert len(figure.axes[0].get_lines()) == 2
    assert figure.axes[1].get_xscale() == "log"
    assert figure.axes[1].get_lines()[0].get_xdata().tolist()[-1] == 13 * 2048


def test_latency_averages_seeds_and_tells_systems_by_colour_and_snrs_by_style() -> None:
    one = made_up("fc", "a", 0, (0.0,), 1)
    other = Sweep(Path("b"), "fc", 0, (0.0,), (0.9,), tuple(0.0 for _ in one.accuracy_after), one.uses)
    third = made_up("lstm", "c", 10, (10.0,), 1)
    right = accuracy_figure([third, one, other]).axes[1]
    lines = {(line.get_color(), line.get_linestyle()): line for line in right.get_lines()}
    assert set(lines) == {("C0", "-"), ("C1", "--")}
    assert lines["C0", "-"].get_ydata().tolist() == pytest.approx(
        [50 * value for value in one.accuracy_after]
    )
    told = [text.get_text() for text in right.get_legend().get_texts()]
    assert told == ["fc", "lstm", "trained at 0 dB", "trained at 10 dB"]


def test_a_system_that_sends_once_is_a_point_that_can_be_seen() -> None:
    rising = made_up("event", "a", 10, (10.0,), 135)
    once = [
        Sweep(Path(run), "qnn", snr, (snr,), (0.9,), (0.9,), ChannelUses(945, 1))
        for run, snr in (("b", 0.0), ("c", 10.0))
    ]
    right = accuracy_figure([rising, *once]).axes[1]
    assert [line.get_marker() for line in right.get_lines()] == ["None", "o", "s"]
    keys = {key.get_label(): key.get_marker() for key in right.get_legend().legend_handles}
    assert keys == {"event": "None", "qnn": "None", "trained at 0 dB": "o", "trained at 10 dB": "s"}
    lines_alone = accuracy_figure([rising]).axes[1].get_legend()
    assert {key.get_marker() for key in lines_alone.legend_handles} == {"None"}


def test_plots_and_values_are_written(run: Path, tmp_path: Path) -> None:
    swept = sweep_runs([run], [0.0])
    files = write_plots(swept, tmp_path / "plots")
    assert [path.name for path in files] == ["accuracy.png", "accuracy.svg", "evaluation.json"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert files[1].read_text().lstrip().startswith("<?xml")
    assert json.loads(files[2].read_text())[0]["accuracy"] == list(swept[0].accuracy)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("-10:14:2", tuple(range(-10, 15, 2))),
        ("0:1:0.25", (0, 0.25, 0.5, 0.75, 1)),
        ("0:0.3:0.1", (0, 0.1, 0.2, 0.3)),
        ("5", (5,)),
        ("10,-10,0,0", (-10, 0, 10)),
        ("3:3:1", (3,)),
        ("0:5:2", (0, 2, 4)),
    ],
)
def test_ranges_of_snr(text: str, values: tuple[float, ...]) -> None:
    assert parse_range(text, "--snr", _SNRS) == pytest.approx(values)


def test_a_range_holds_the_numbers_that_a_person_writes() -> None:
    assert parse_range("0:0.3:0.05", "--flip", "") == (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)


@pytest.mark.parametrize(
    "text", ["", "a", "1:2", "1:2:0", "2:1:1", "0:1e9:1e-307", "nan", "1:inf:1", "0:1:1:1", "1,,2"]
)
def test_what_is_no_range_of_snr_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a range of SNRs"):
        parse_range(text, "--snr", _SNRS)


@pytest.mark.parametrize(
    ("text", "count"), [("0:1e9:1", "1,000,000,001"), ("0:1000:1", "1,001"), ("0:20.02:0.02", "1,002")]
)
def test_too_many_points_are_told_as_such(text: str, count: str) -> None:
    with pytest.raises(ConfigError, match=f"has {count} values, and 1,000 are the most"):
        parse_range(text, "--snr", _SNRS)


@pytest.mark.parametrize(("system", "uses"), [("att-neurosc", 128 + 7), ("fc", 128 * 16 + 7)])
def test_the_latency_axis_has_the_guard_interval_of_a_multipath_link(system: str, uses: int) -> None:
    overrides = {"system.name": system, "system.symbols": 128, "channel.kind": "multipath", "channel.taps": 8}
    experiment = load_experiment(None, overrides)
    assert isinstance(experiment, SpeechExperiment)
    one = build_system(experiment.system, experiment.channel, 4, 3, "snntorch", 5)
    found = channel_uses(experiment, one, EventSet(np.zeros((0, 5, 4), np.uint8), np.zeros(0, np.int64)))
    assert found.per_step == uses
    swept = replace(made_up(system, "a", 0, (0.0,), 1), uses=found)
    (line,) = accuracy_figure([swept]).axes[1].get_lines()
    assert line.get_xdata()[:3].tolist() == [uses, 2 * uses, 3 * uses]


def test_coded_messages_fall_all_at_once_and_arrive_as_a_whole(
    small_experiment: Make, tmp_path: Path
) -> None:
    overrides = small_experiment(
        system__name="sscc", training__epochs=8, training__learning_rate=1e-2, training__spike_rate_weight=0.0
    )
    run = train(load_experiment(None, overrides), tmp_path / "sscc", progress=False).run
    swept = sweep(run, (-10.0, -1.5, 40.0))
    deployment = read_deployment(run)
    assert deployment.coding is not None
    assert swept.lost[0] == 1
    assert 0 < swept.lost[1] < 1
    assert swept.lost[2] == 0
    assert len(swept.accuracy_after) == 1
    assert swept.uses.per_step == deployment.channel.uses_per_step
    assert swept.milestones() == [(1, swept.accuracy_after[0])]
    (told,) = estimate([run]).report.systems
    assert told.channel_uses == deployment.channel.uses_per_step
    coding, receiver = told.parts
    bits = deployment.coding.message_bits
    assert coding.counts.additions == pytest.approx(128 * (np.mean(bits) + 6))
    assert receiver.counts.acs > 0

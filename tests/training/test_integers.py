"""A system in integers is what an export of each of its parts computes, with the channel between them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nsc_deploy.cli.app import app
from nsc_deploy.cli.evaluate import parse_bits
from nsc_deploy.cli.exit_codes import run_to_exit_code
from nsc_deploy.data import load_events
from nsc_deploy.errors import ConfigError
from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.verify import open_deployment
from nsc_deploy.exporters.verify import run as run_deployed
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.training.integers import IntegerStage, in_integers, taken_by_lava
from nsc_deploy.training.run import RunResult, train
from nsc_deploy.training.start import load_system
from nsc_deploy.training.sweep import measure, sweep, sweep_runs

Make = Callable[..., dict[str, object]]
BITS = 3


@pytest.fixture(scope="module")
def trained(small_experiment: Make, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunResult]:
    def make(system: str) -> RunResult:
        overrides = small_experiment(system__name=system, training__epochs=3)
        return train(
            load_experiment(None, overrides), tmp_path_factory.mktemp(system) / "run", progress=False
        )

    return make


@pytest.fixture(scope="module")
def result(trained: Callable[..., RunResult]) -> RunResult:
    return trained("att-neurosc")


def command(*arguments: object) -> int:
    return run_to_exit_code(lambda: app([*map(str, arguments)], prog_name="nsc-deploy"))


@pytest.mark.parametrize("part", ["transmitter", "receiver"])
def test_a_part_fires_as_its_deployment(result: RunResult, tmp_path: Path, part: str) -> None:
    data = load_events(result.experiment.data)
    system = in_integers(load_system(result.run, data), taken_by_lava(result.run), BITS)
    [stage] = [one for one in getattr(system, part).stages if isinstance(one, IntegerStage)]
    events = read_recording(result.run / f"{part}.npz").values
    [folder] = export_all(result.run, "lava", tmp_path / part, part=part, bits=BITS)
    deployed = run_deployed(open_deployment(folder), "twin").spikes
    np.testing.assert_array_equal(stage(torch.from_numpy(events).float()).numpy(), deployed)


def test_both_ends_round_and_the_noise_stays(result: RunResult) -> None:
    data = load_events(result.experiment.data)
    plain = load_system(result.run, data)
    rounded = in_integers(plain, taken_by_lava(result.run), BITS)
    events = torch.from_numpy(data.test.events).transpose(0, 1).float()
    with torch.no_grad():
        one, other = (system(events, torch.Generator().manual_seed(5)) for system in (plain, rounded))
        by_hand = rounded.receiver(
            rounded.link(rounded.transmitter(events), torch.Generator().manual_seed(5))
        )
        as_if = rounded.receiver(one.received)
    assert not torch.equal(one.symbols, other.symbols)
    assert torch.equal(other.outputs, by_hand)
    assert not torch.equal(other.outputs, as_if)
    silent = one.symbols.eq(other.symbols).all(2).all(0)
    assert torch.equal(one.received[:, silent], other.received[:, silent])


def test_a_sweep_has_both_forms(result: RunResult, tmp_path: Path) -> None:
    plain, *rounded = sweep_runs([result.run], [20.0], bits=(8, 2))
    assert plain == sweep(result.run, [20.0])
    assert [one.bits for one in rounded] == [8, 2]
    assert plain.bits is None
    assert plain.accuracy == (result.metrics.test_accuracy,)
    system = in_integers(
        load_system(result.run, load_events(result.experiment.data)), taken_by_lava(result.run), 2
    )
    measured = measure(
        system, load_events(result.experiment.data).test, result.experiment.training.seed
    ).accuracy
    assert rounded[1].accuracy == (measured,)
    assert rounded[0].name == f"{plain.name}, 8 bits"


def test_the_command_prints_both_forms(
    result: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["evaluate", result.run, "--quantise", "lava", "--bits", "4,8", "--out", tmp_path]
    assert command(*asked, "--json") == 0
    assert [one["bits"] for one in json.loads(capsys.readouterr().out)] == [None, 8, 4]
    assert command(*asked) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("floating point", "8 bits", "4 bits"))
    assert printed.count("accuracy when deciding") == 1


def test_what_lava_does_not_take_stays_in_floating_point(trained: Callable[..., RunResult]) -> None:
    """The receiver of vanilla-snn meets real values."""
    result = trained("vanilla-snn")
    system = in_integers(
        load_system(result.run, load_events(result.experiment.data)), taken_by_lava(result.run), 8
    )
    assert [isinstance(one, IntegerStage) for one in system.transmitter.stages] == [True]
    assert not any(isinstance(one, IntegerStage) for one in system.receiver.stages)


def test_a_conventional_network_is_refused_before_the_work(
    trained: Callable[..., RunResult],
    result: RunResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("a run was evaluated before all were looked at")

    run = trained("fc").run
    with monkeypatch.context() as patch:
        patch.setattr("nsc_deploy.training.sweep.sweep", work)
        assert command("evaluate", result.run, run, "--quantise", "lava", "--out", tmp_path) == 2
    message = capsys.readouterr().err
    assert str(run) in message
    assert "no part that Lava could take" in message
    assert "without --quantise" in message


def test_bits_are_nothing_without_integers(
    result: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("evaluate", result.run, "--bits", "4", "--out", tmp_path) == 2
    assert "--quantise lava" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "9", "1", "8,", "8;4", "four", "-4", "²"])
def test_what_are_no_bits_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no list of bits"):
        parse_bits(text)


def test_bits_are_sorted_and_told_once() -> None:
    assert parse_bits("2, 8,4,8") == (8, 4, 2)

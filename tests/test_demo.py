"""The demonstration in miniature: every step of the whole path, on seconds of synthesised speech."""

import json
import shlex
from pathlib import Path

import pytest

from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.cli.demo import print_demonstration
from nsc_deploy.config.speech import SystemConfig, TrainingConfig
from nsc_deploy.data.config import DataConfig, EncodingConfig, SynthesisConfig
from nsc_deploy.demo import Demonstration, Plan, demonstrate
from nsc_deploy.deployment import read_deployment
from nsc_deploy.errors import ConfigError
from tests.product.test_json_answers import DOCUMENTED

MINIATURE = Plan(
    data=DataConfig(
        synthesis=SynthesisConfig(train=40, test=20), encoding=EncodingConfig(bands=8, levels=2, steps=10)
    ),
    system=SystemConfig(hidden=16, symbols=12, group=2),
    channel=ChannelConfig(snr_db=10, taps=2),
    training=TrainingConfig(epochs=2, batch_size=20, threads=1),
    lava_samples=5,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demonstration(folder: Path) -> Demonstration:
    return demonstrate(folder, MINIATURE, lava=False, progress=False)


def test_three_receivers_are_trained(demonstration: Demonstration) -> None:
    assert [run.name for run in demonstration.runs] == ["event", "fc", "lstm"]
    systems = [read_deployment(run) for run in demonstration.runs]
    assert [one.system for one in systems] == ["att-neurosc", "fc", "lstm"]
    assert {(one.channel.kind, one.channel.snr_db, one.dataset) for one in systems} == {
        ("multipath", 10.0, "spoken-digits")
    }


def test_the_spiking_receiver_runs_in_integers(demonstration: Demonstration) -> None:
    outcome = demonstration.outcome
    assert outcome.backend == "twin"
    assert outcome.decisions is not None
    assert len(outcome.decisions) == MINIATURE.lava_samples
    assert demonstration.without_lava == "not asked for"


def test_the_figures_are_there_for_a_machine(demonstration: Demonstration, folder: Path) -> None:
    told = json.loads(json.dumps(demonstration.as_json(), allow_nan=False))
    assert list(told) == DOCUMENTED["demo"]
    assert told["runs"] == [str(folder / name) for name in ("event", "fc", "lstm")]
    assert Path(told["deployment"]).is_dir()
    assert (told["backend"], told["parity"]["samples"]) == ("twin", MINIATURE.lava_samples)
    assert [0 <= system["accuracy"] <= 1 for system in told["systems"]] == [True] * 3
    assert all(system["energy_uj"]["memory"] > 0 for system in told["systems"])


def test_the_report_stands_beside_the_runs(demonstration: Demonstration, folder: Path) -> None:
    assert {path.name for path in demonstration.files} == {"report.json", "report.html"}
    report = json.loads((folder / "report.json").read_text())
    assert [system["system"] for system in report["systems"]] == ["att-neurosc", "fc", "lstm"]
    assert all(system["counts"]["macs"] + system["counts"]["acs"] > 0 for system in report["systems"])
    assert "<html" in (folder / "report.html").read_text()


def test_what_is_printed_fits_a_screen_and_says_how_to_see_the_rest(
    demonstration: Demonstration, capsys: pytest.CaptureFixture[str]
) -> None:
    print_demonstration(demonstration)
    told = capsys.readouterr().out
    assert len(told.splitlines()) <= 40
    assert all(system.label in told for system in demonstration.estimate.report.systems)
    assert any(f"the page {path}. " in told for path in demonstration.files)
    command = shlex.split(told.strip().splitlines()[-1])
    assert command == ["nsc-deploy", "energy", "report", *map(str, demonstration.runs)]


def test_what_is_finished_is_not_done_again(demonstration: Demonstration, folder: Path) -> None:
    trained = folder / "lstm" / "metrics.json"
    before = trained.stat().st_mtime_ns
    again = demonstrate(folder, MINIATURE, lava=False, progress=False)
    assert trained.stat().st_mtime_ns == before
    assert again.estimate.report.systems[0].energy == demonstration.estimate.report.systems[0].energy


def test_runs_of_another_plan_are_refused_by_name(demonstration: Demonstration, folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        demonstrate(folder, MINIATURE.of_length(3, seed=1), lava=False, progress=False)
    assert str(demonstration.runs[0]) in caught.value.message or "epochs" in caught.value.message


@pytest.mark.lava
def test_the_real_lava_decides_as_its_twin(demonstration: Demonstration, folder: Path) -> None:
    with_lava = demonstrate(folder, MINIATURE, lava=True, progress=False)
    if with_lava.without_lava is not None:
        pytest.skip(f"no Lava here: {with_lava.without_lava}")
    assert with_lava.outcome.backend == "lava"
    assert (with_lava.outcome.spikes == demonstration.outcome.spikes).all()

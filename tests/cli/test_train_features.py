from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from nsc_deploy.cli import train_options
from nsc_deploy.cli.app import app
from nsc_deploy.cli.exit_codes import run_to_exit_code
from nsc_deploy.config.features import MOST_PLACES, FeaturesExperiment
from nsc_deploy.training.run_directory import read_experiment
from tests.support.feature_runs import train_bars, use_bars


@pytest.fixture(autouse=True)
def _bars(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_bars(monkeypatch, tmp_path)


@pytest.mark.parametrize("named", [["--backbone", "backbone"], ["--set", "system.backbone=backbone"]])
def test_a_codec_is_trained_with_options_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: list[str]
):
    train_bars(tmp_path / "backbone", epochs=1)
    monkeypatch.chdir(tmp_path)
    arguments = [
        "train", "--system", "snn-sc", *named, "--steps", "4", "--erase", "0.1:0.3",
        "--epochs", "1", "--set", "training.tuning_epochs=0", "--threads", "1", "--out", "run",
    ]  # fmt: skip
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "snn-sc (n 4) behind cnn8" in done.output
    experiment = read_experiment(tmp_path / "run")
    assert isinstance(experiment, FeaturesExperiment)
    assert experiment.system.backbone == str((tmp_path / "backbone").resolve())
    assert (experiment.channel.kind, experiment.channel.p, experiment.channel.p_to) == ("bec", 0.1, 0.3)


def test_a_finished_codec_is_found_where_its_backbone_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    train_bars(tmp_path / "backbone", epochs=1)
    monkeypatch.chdir(tmp_path)
    asked = [
        "train", "--system", "cnn-1bit", "--backbone", "backbone", "--epochs", "1",
        "--set", "training.tuning_epochs=0", "--threads", "1", "--out", "run", "--resume",
    ]  # fmt: skip
    assert CliRunner().invoke(app, asked).exit_code == 0
    (tmp_path / "backbone").rename(tmp_path / "moved")
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output


def test_a_folder_of_the_name_of_an_architecture_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    asked = [
        "train", "--system", "backbone", "--backbone", "cnn8", "--set", "training.crop_padding=1",
        "--epochs", "1", "--threads", "1", "--out", "cnn8",
    ]  # fmt: skip
    for more in ([], ["--resume"]):
        done = CliRunner().invoke(app, [*asked, *more])
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--system", "snn-sc"], "needs a backbone"),
        (["--system", "snn-sc", "--backbone", "nowhere"], "nowhere: holds no run"),
        (["--system", "snn-sc", "--backbone", "x", "--flip", "0.5"], "tells nothing of what was sent"),
        (["--system", "snn-sc", "--backbone", "x", "--flip", "1.5"], "--flip"),
        (["--system", "snn-sc", "--backbone", "x", "--erase", "1"], "--erase: is 1, at which what arrives"),
        (["--system", "cnn-sc", "--backbone", "x", "--flip", "0", "--set", "channel.erased=half"],
         "and a bsc erases nothing"),
        (["--system", "snn-sc", "--backbone", "x", "--erase", "0.1", "--set", "channel.erased=half"],
         "snn-sc takes bits alone"),
        (["--system", "cnn-sc", "--backbone", "x", "--erase", "0.1", "--set", "channel.erased=half",
          "--set", "system.gray=true"], "Gray code takes bits alone"),
        (["--system", "cnn-sc", "--backbone", "x", "--set", "system.last=if"],
         "--set system.last: means nothing to cnn-sc"),
        (["--system", "cnn-1bit", "--backbone", "x", "--set", "system.gray=true"],
         "--set system.gray: means nothing to cnn-1bit"),
        (["--system", "cnn-sc", "--backbone", "x", "--set", "training.framework=norse"],
         "training.framework means nothing to cnn-sc"),
        (["--system", "cnn-sc", "--backbone", "x", "--steps", "11"],
         "--steps: is 11, and a value of cnn-sc has 10 bits at most"),
        (["--system", "cnn-sc", "--backbone", "x", "--steps", "1", "--set", "system.gray=true"],
         "--set system.gray: means nothing to a single bit, and --steps is 1"),
        (["--system", "snn-sc", "--backbone", "x", "--set", "system.target=0.5",
          "--set", "system.target_weight=0"],
         "--set system.target: is what a term of the loss asks for whose --set system.target_weight is 0"),
        (["--system", "snn-sc", "--backbone", "x", "--set", "training.tuning_rate=1e-4",
          "--set", "training.tuning_epochs=0"],
         "--set training.tuning_rate: is of passes of codec and server part together"),
        (["--system", "backbone", "--set", "training.small_size=16"],
         "--set training.small_size: is of small images, of which small_share is 0"),
        (["--system", "snn-sc", "--backbone", "x", "--flip", "a"], "no probability and no range"),
        (["--system", "snn-sc", "--backbone", "x", "--flip", "0", "--erase", "0"], "cannot be combined"),
        (["--system", "backbone", "--backbone", "vgg11"], "--backbone"),
        (["--system", "backbone", "--set", "system.split=pool9"], "there is no block pool9"),
        (["--system", "snn-sd"], "did you mean snn-sc?"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], problem: str
):
    arguments = ["train", *options, "--out", str(tmp_path / "run")]
    assert run_to_exit_code(lambda: app(arguments, prog_name="nsc-deploy")) == 2
    printed = capsys.readouterr().err
    assert problem in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "run").exists()


def test_help_states_what_codecs_take():
    steps, hidden = (get_args(option)[1].help for option in (train_options.Steps, train_options.Hidden))
    assert f"bits of a value of cnn-sc, 1 to {MOST_PLACES}," in steps
    assert "codecs: filters" in hidden
    assert "(0, which is an eighth" in hidden

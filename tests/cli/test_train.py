import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nsc_deploy.cli.app import app
from nsc_deploy.cli.exit_codes import run_to_exit_code
from nsc_deploy.config.speech import SpeechExperiment
from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.training.checkpoints import write_tensors
from nsc_deploy.training.run_directory import read_experiment

Make = Callable[..., dict[str, object]]

EXAMPLES = Path(__file__).parents[2] / "examples"

OPTIONS = {
    "data.dataset": "--dataset",
    "data.path": "--data-path",
    "system.name": "--system",
    "system.hidden": "--hidden",
    "system.symbols": "--symbols",
    "system.group": "--group",
    "channel.kind": "--channel",
    "channel.snr_db": "--snr",
    "training.epochs": "--epochs",
    "training.batch_size": "--batch-size",
    "training.threads": "--threads",
    "training.seed": "--seed",
}


def command(*arguments: str) -> int:
    return run_to_exit_code(lambda: app([*arguments], prog_name="nsc-deploy"))


@pytest.fixture(scope="module")
def options(small_experiment: Make) -> list[str]:
    values = small_experiment()
    return [f"{OPTIONS[name]}={value}" for name, value in values.items() if name in OPTIONS]


@pytest.fixture(scope="module")
def trained(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    assert command("train", *options, "--epochs=2", "--out", str(run), "--quiet") == 0
    return run


def test_training_prints_a_summary(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("train", *options, "--epochs=1", "--out", str(tmp_path / "run")) == 0
    printed = capsys.readouterr()
    assert "test accuracy" in printed.out
    assert str(tmp_path / "run") in printed.out.replace("\n", "")
    assert printed.err == ""  # nobody watches here: no bar
    assert (tmp_path / "run" / "deployment.json").is_file()


def test_training_prints_json(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("train", "--resume", "--out", str(trained), "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 2


def test_options_override_the_file(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text("[training]\nepochs = 50\nlearning_rate = 0.004\n")
    run = tmp_path / "run"
    assert command("train", str(path), *options, "--epochs=1", "--out", str(run), "--quiet") == 0
    written = (run / "experiment.toml").read_text()
    assert "\nepochs = 1\n" in written
    assert "\nlearning_rate = 0.004\n" in written


@pytest.mark.parametrize(("snr", "ends"), [("3", (3, None)), ("-10:4", (-10, 4))])
def test_an_snr_or_a_range_replaces_those_of_the_file(
    options: list[str], tmp_path: Path, snr: str, ends: tuple[float, float | None]
) -> None:
    path, run = tmp_path / "experiment.toml", tmp_path / "run"
    path.write_text("[channel]\nsnr_db = 6.0\nsnr_to_db = 12.0\n")
    given = [option for option in options if not option.startswith("--snr")]
    assert (
        command("train", str(path), *given, f"--snr={snr}", "--epochs=1", "--out", str(run), "--quiet") == 0
    )
    channel = read_experiment(run).channel
    assert (channel.snr_db, channel.snr_to_db) == ends


OF_SPEECH = [
    path for path in sorted(EXAMPLES.glob("*.toml")) if isinstance(load_experiment(path), SpeechExperiment)
]


@pytest.mark.parametrize("example", OF_SPEECH, ids=lambda path: path.name)
def test_every_example_trains(example: Path, options: list[str], tmp_path: Path) -> None:
    """On the small data set, small layers and one epoch; the rest is the example's."""
    run = tmp_path / "run"
    small = [option for option in options if not option.startswith("--system=")]
    assert command("train", str(example), *small, "--epochs=1", "--out", str(run), "--quiet") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs=0"], "--epochs"),
        (
            ["--system=transformer"],
            "The systems are att-neurosc, vanilla-snn, fc, lstm, qnn, gru, ds-cnn, sscc",
        ),
        (["--snr=nan"], "--snr"),
        (["--snr=10:-10"], "--snr: '10:-10' is no SNR in dB and no range that rises\nWrite --snr=10, or"),
        (["--snr=-10:10:2"], "no range that rises"),
        (["--snr=loud"], "no SNR in dB"),
        (["--snr=-10:1000"], "--snr: should be less than or equal to 400"),
        (["--data-path=/nowhere/fsdd.npz"], "/nowhere/fsdd.npz"),
        (["--spike-rate-weight=0.1"], "has no spikes"),
        (["none.toml"], "none.toml"),
        (
            ["--speaker=bob"],
            "--speaker: is only used with the --split leave-one-speaker-out\nSet --split",
        ),
        (
            ["--split=leave-one-speaker-out"],
            "--split: leave-one-speaker-out as --split needs --speaker\nSet --sp",
        ),
        (["--dataset=spoken-digits"], "--data-path: is not used: spoken-digits is synthesised"),
        (["--set", "training.epoch=3"], "--set training.epoch: there is no field epoch"),
        (
            ["--epochs", "3", "--set", "training.epochs=4"],
            "--epochs: sets training.epochs to 3, and --set to 4",
        ),
        (["--snr", "5", "--set", "channel.snr_db=6"], "--snr: sets channel.snr_db to"),
        (["--set", "training.snr_warmup=3"], "--set training.snr_warmup"),
    ],
)
def test_bad_input_ends_with_one_message_and_code_2(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert command("train", *options, *arguments, "--out", str(tmp_path / "run"), "--quiet") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_place_that_cannot_be_written_is_refused_at_once() -> None:
    """Before torch is loaded and any data, which takes seconds."""
    script = (
        "import sys; from nsc_deploy.cli.app import app; from nsc_deploy.cli.exit_codes import *; "
        "print(run_to_exit_code(lambda: app(['train', '--out', '/proc/nowhere'])), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]
    assert "/proc/nowhere" in done.stderr


def test_the_run_directory_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("train") == 2
    assert "--out" in capsys.readouterr().err


def test_an_existing_run_is_refused(
    options: list[str], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("train", *options, "--epochs=2", "--out", str(trained), "--quiet") == 2
    assert "--overwrite" in capsys.readouterr().err


def test_resuming_where_nothing_is_needs_an_experiment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("train", "--resume", "--out", str(tmp_path / "none")) == 2
    assert "holds no run" in capsys.readouterr().err
    other_family = ("--set", "training.joint_steps=0")
    assert command("train", "--resume", "--out", str(tmp_path / "none"), *other_family) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "no field joint_steps" in told
    assert "none holds no run to go on with: name the system too." in told


def test_evaluation_prints_tables_and_writes_plots(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", str(trained), "--snr=-10:10:10") == 0
    printed, told = capsys.readouterr()
    assert told == ""
    assert all(f" {snr} " in printed for snr in ("-10", "0", "10"))
    assert "channel uses" in printed
    assert "trained at 20 dB" in printed
    assert (trained / "accuracy.png").is_file()


def test_evaluation_prints_json(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", str(trained), "--json", "--out", str(tmp_path)) == 0
    [swept] = json.loads(capsys.readouterr().out)
    assert swept["snr_db"] == [20.0]
    assert len(swept["accuracy_after"]) == 30


def test_evaluating_what_is_no_run_ends_with_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("evaluate", str(tmp_path)) == 2
    assert "holds no run" in capsys.readouterr().err
    assert command("evaluate", str(tmp_path), "--snr=5:1") == 2
    assert "--snr=-10:14:2" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["evaluate", "attention"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """The weights are damaged: whoever loads them first tells of that."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "checkpoints" / "best.safetensors").write_bytes(b"damaged")
    assert command(name, str(run), "--out", str(run / "metrics.json" / "picture.png")) == 2
    message = capsys.readouterr().err
    assert "cannot be written (Not a directory)" in message
    assert "A part of this path is a file" in message


def test_the_picture_of_the_gates_is_told_to_a_machine(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    attentive = [*options, "--system=att-neurosc", "--epochs=1", "--out", str(run), "--quiet"]
    assert command("train", *attentive) == 0
    capsys.readouterr()
    assert command("attention", str(run), "--json", "--sample=2") == 0
    told = json.loads(capsys.readouterr().out)
    assert Path(told["picture"]).is_file()
    assert (told["sample"], [gate["side"] for gate in told["gates"]]) == (2, ["transmitter", "receiver"])


def test_evaluation_as_json_names_its_files_on_stderr(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("evaluate", str(trained), "--json", "--out", str(tmp_path)) == 0
    assert str(tmp_path / "accuracy.png") in capsys.readouterr().err


def test_weights_of_another_model_say_what_may_have_happened(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    write_tensors(run / "checkpoints" / "best.safetensors", {"weight": torch.zeros(2)}, {})
    assert command("evaluate", str(run)) == 2
    assert "Another version of nsc-deploy" in capsys.readouterr().err

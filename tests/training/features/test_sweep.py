import json
import runpy
import shutil
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from nsc_deploy.channels.config import BinaryChannelConfig, BinaryKind
from nsc_deploy.cli.app import app
from nsc_deploy.config.features import FeaturesExperiment
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.experiment_file import FILE_NAME, write_experiment
from nsc_deploy.training.features.sweep import SEPARATE, are_features, sweep_codecs
from nsc_deploy.training.run import train
from nsc_deploy.training.run_directory import read_experiment
from tests.support.feature_runs import codec_experiment, train_bars, use_bars


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(autouse=True)
def _bars(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    use_bars(monkeypatch, folder)


@pytest.fixture(scope="module")
def runs(folder: Path) -> tuple[Path, Path]:
    """A backbone, and a 1-bit CNN behind it."""
    with pytest.MonkeyPatch.context() as patch:
        use_bars(patch, folder)
        backbone = train_bars(folder / "backbone", epochs=3)
        codec = train(codec_experiment(backbone, "cnn-1bit"), folder / "codec", progress=False).run
    return backbone, codec


def test_errors_harm_separate_coding_all_at_once(runs: tuple[Path, Path]):
    pytest.importorskip("PIL")
    backbone, codec = runs
    learnt, separate = sweep_codecs([codec, backbone], BinaryKind.BSC, [0.0, 0.15], draws=2, most=40)
    assert (learnt.name, learnt.steps, learnt.bits, learnt.failures) == ("cnn-1bit", 4, 64, ())
    assert (separate.name, separate.steps, separate.ones) == (SEPARATE, None, None)
    assert (learnt.samples, learnt.draws) == (40, 2)
    assert separate.accuracy[0] > 0.9
    assert separate.accuracy[1] < 0.6 < learnt.accuracy[1]
    assert separate.failures[0] == 0 < separate.failures[1]
    assert separate.bits > 100 * learnt.bits
    assert learnt.without_channel == separate.without_channel


def test_products_of_the_server_in_bfloat16_change_next_to_nothing(runs: tuple[Path, Path]):
    pytest.importorskip("PIL")
    backbone, codec = runs
    either = [
        sweep_codecs([codec, backbone], BinaryKind.BSC, [0.0, 0.15], bfloat16=it) for it in (False, True)
    ]
    for exact, reduced in zip(*either, strict=True):
        assert (exact.products, reduced.products) == ("float32", "bfloat16")
        assert reduced.bits == exact.bits
        assert reduced.accuracy == pytest.approx(exact.accuracy, abs=0.03)


def test_without_a_channel_that_of_the_training_is_taken(runs: tuple[Path, Path]):
    backbone, codec = runs
    (alone,) = sweep_codecs([codec], None, [])
    assert (alone.channel, alone.p, alone.trained_at) == ("bsc", (0.15,), "bsc 0.15")
    with pytest.raises(ConfigError, match="no channel of its own"):
        sweep_codecs([backbone], None, [])


def with_channel(run: Path, copy: Path, **channel: object) -> Path:
    """A run as if it had been trained on another channel."""
    shutil.copytree(run, copy)
    experiment = read_experiment(run)
    assert isinstance(experiment, FeaturesExperiment)
    changed = experiment.model_copy(update={"channel": BinaryChannelConfig.model_validate(channel)})
    write_experiment(copy / FILE_NAME, changed)
    return copy


def test_over_a_range_each_probability_stands_for_itself(runs: tuple[Path, Path], tmp_path: Path):
    ranged = with_channel(runs[1], tmp_path / "range", kind="bsc", p=0.1, p_to=0.9)
    (found,) = sweep_codecs([ranged], None, [])
    assert found.p == (0.1, 0.3, 0.7, 0.9)  # without 0.5, at which nothing arrives
    (alone,) = sweep_codecs([ranged], BinaryKind.BSC, [0.1])
    assert found.accuracy[0] == alone.accuracy[0]
    assert found.trained_at == "bsc 0.1 to 0.9"


def test_the_receiver_reads_erased_bits_as_it_was_trained_to(runs: tuple[Path, Path], tmp_path: Path):
    half = with_channel(runs[1], tmp_path / "half", kind="bec", p=0.9, erased="half")
    own, (over,) = sweep_codecs([half], None, []), sweep_codecs([half], BinaryKind.BEC, [0.9])
    (guessed,) = sweep_codecs([runs[1]], BinaryKind.BEC, [0.9])
    assert own[0].accuracy == over.accuracy != guessed.accuracy
    assert over.name == "cnn-1bit (erased as 0.5)"


def test_a_codec_is_not_evaluated_behind_another_backbone(
    runs: tuple[Path, Path], folder: Path, tmp_path: Path
):
    """Its features would be others, and its figures of no system that there ever was."""
    backbone = shutil.copytree(runs[0], tmp_path / "backbone")
    codec = train(codec_experiment(backbone, "cnn-1bit"), tmp_path / "codec", progress=False).run
    assert sweep_codecs([codec], BinaryKind.BSC, [0.1])[0].accuracy[0] > 0.5
    shutil.rmtree(backbone)
    train_bars(backbone, epochs=1, seed=5)
    with pytest.raises(DataError, match="has other weights than"):
        sweep_codecs([codec], BinaryKind.BSC, [0.1])
    (codec / "metrics.json").unlink()
    with pytest.raises(DataError, match="has other weights than"):
        train(codec_experiment(backbone, "cnn-1bit"), codec, resume=True, progress=False)
    with pytest.raises(ConfigError, match=r"another experiment \(different: system.backbone\)"):
        train(codec_experiment(runs[0], "cnn-1bit"), codec, resume=True, progress=False)


def test_a_backbone_that_was_moved_can_be_named_anew(runs: tuple[Path, Path], tmp_path: Path):
    codec = shutil.copytree(runs[1], tmp_path / "codec")
    moved = shutil.copytree(runs[0], tmp_path / "moved")
    written = (codec / FILE_NAME).read_text()
    (codec / FILE_NAME).write_text(written.replace(str(runs[0]), str(tmp_path / "gone")))
    with pytest.raises(DataError, match=r"name where it is now in .*experiment.toml, field system.backbone"):
        sweep_codecs([codec], BinaryKind.BSC, [0.1])
    (codec / FILE_NAME).write_text(written.replace(str(runs[0]), str(moved)))
    there, here = sweep_codecs([runs[1], codec], BinaryKind.BSC, [0.1])
    assert there.accuracy == here.accuracy
    assert [there.label, here.label] == [
        f"cnn-1bit n 4, bsc 0.15, {place}/codec" for place in (runs[1].parent.name, tmp_path.name)
    ]


def test_runs_on_channels_of_their_own_are_told_apart(runs: tuple[Path, Path], tmp_path: Path):
    erasing = with_channel(runs[1], tmp_path / "erasing", kind="bec", p=0.3)
    done = CliRunner().invoke(app, ["evaluate", str(runs[1]), str(erasing), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    printed = " ".join(done.output.split())
    assert "Test accuracy of each codec over its own channel (1 draw of the channel)" in printed
    assert "bsc 0.15" in printed
    assert "bec 0.3" in printed
    assert "each on its own channel" in (tmp_path / "out" / "accuracy.svg").read_text()


@pytest.mark.parametrize(
    ("kind", "p"),
    [(BinaryKind.BSC, 0.5), (BinaryKind.BEC, 1.0), (BinaryKind.BEC, 1.5), (BinaryKind.BSC, -0.1)],
)
def test_what_is_no_probability_is_refused(runs: tuple[Path, Path], kind: BinaryKind, p: float):
    with pytest.raises(ConfigError, match="no probability that tells something"):
        sweep_codecs([runs[1]], kind, [p])


def test_a_bec_at_one_half_is_a_channel(runs: tuple[Path, Path]):
    (found,) = sweep_codecs([runs[1]], BinaryKind.BEC, [0.5])
    assert found.accuracy[0] > 0.3


def test_runs_of_other_families_are_told_apart(runs: tuple[Path, Path], tmp_path: Path):
    from nsc_deploy.config.speech import SpeechExperiment

    write_experiment(tmp_path / FILE_NAME, SpeechExperiment())
    assert are_features(runs)
    assert not are_features([tmp_path])
    with pytest.raises(ConfigError, match="no run of a codec"):
        are_features([runs[0], tmp_path])


def test_an_unfinished_run_is_refused(runs: tuple[Path, Path], tmp_path: Path):
    for name in ("experiment.toml", "provenance.json"):
        (tmp_path / name).write_bytes((runs[1] / name).read_bytes())
    with pytest.raises(DataError, match="not finished"):
        sweep_codecs([tmp_path], None, [])


def test_the_command_writes_a_picture_and_its_values(runs: tuple[Path, Path], tmp_path: Path):
    arguments = ["evaluate", str(runs[1]), "--flip", "0,0.2", "--draws", "2", "--precision", "bf16"]
    arguments += ["--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "cnn-1bit n 4" in done.output
    assert "products in bfloat16" in done.output
    assert (tmp_path / "accuracy.png").stat().st_size > 5000
    (values,) = json.loads((tmp_path / "evaluation.json").read_text())
    assert values["p"] == [0, 0.2]
    assert values["accuracy"][0] >= values["accuracy"][1]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--snr", "3"], "is only used with runs of speech receivers"),
        (["--flip", "0:x"], "is not a range of probabilities"),
        (["--flip", "0.1", "--erase", "0.1"], "cannot be combined"),
    ],
)
def test_options_that_do_not_fit_are_refused(runs: tuple[Path, Path], options: list[str], problem: str):
    done = CliRunner().invoke(app, ["evaluate", str(runs[1]), *options])
    assert isinstance(done.exception, ConfigError)
    assert problem in done.exception.problem


def test_a_codec_is_evaluated_in_the_integers_of_lava(runs: tuple[Path, Path], folder: Path):
    backbone, conventional = runs
    spiking = train(codec_experiment(backbone, "snn-sc"), folder / "spiking", progress=False).run
    floats, integers, coarse = sweep_codecs([spiking], BinaryKind.BSC, [0.1], draws=2, bits=(8, 2))
    assert [one.name for one in (floats, integers, coarse)] == ["snn-sc", "snn-sc, 8 bits", "snn-sc, 2 bits"]
    assert floats.accuracy[0] > 0.6
    assert abs(floats.accuracy[0] - integers.accuracy[0]) < 0.05
    assert integers.ones != coarse.ones
    assert floats.after[-1] == floats.accuracy[0]  # Over the same draws.
    assert integers.after == ()
    [beyond] = sweep_codecs([spiking], BinaryKind.BSC, [0.3, 0.2])
    [lost] = sweep_codecs([spiking], BinaryKind.BEC, [0.1, 0.0])
    assert (beyond.after_p, lost.after_p) == (0.2, 0.0)
    assert beyond.after[-1] == beyond.accuracy[1]
    assert lost.after[-1] == lost.accuracy[1]
    with pytest.raises(ConfigError, match="nothing for a chip"):
        sweep_codecs([spiking, conventional], BinaryKind.BSC, [0.1], bits=(8,))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, "no evaluation can be read"),
        ("[]", "no codec in these evaluations"),
        (
            json.dumps([{"run": "runs/a", "name": "snn-sc", "channel": "bsc"}] * 2),
            "runs/a is in two of these",
        ),
    ],
)
def test_a_figure_of_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    written: str | None, said: str,
):  # fmt: skip
    script = Path(__file__).parents[3] / "examples" / "features_figure.py"
    if written is not None:
        (tmp_path / "evaluation.json").write_text(written)
    monkeypatch.setattr("sys.argv", [str(script), str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_evaluations_of_several_runs_are_one_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    module = runpy.run_path(str(Path(__file__).parents[3] / "examples" / "features_figure.py"))
    made = {
        "name": "snn-sc", "backbone": "vgg16", "steps": 8, "trained_at": "bsc 0.15", "channel": "bsc",
        "p": [0.0, 0.1], "accuracy": [0.7, 0.6], "deviation": [0.01, 0.02], "without_channel": 0.72,
    }  # fmt: skip
    other_seed = made | {"p": [0.0, 0.1, 0.2], "accuracy": [0.72, 0.64, 0.1], "deviation": [0.0] * 3}
    separate = made | {"name": SEPARATE, "steps": None, "trained_at": "", "accuracy": [0.7, 0.01]}
    (tmp_path / "evaluation.json").write_text(json.dumps([made, other_seed, separate]))
    ((title, curves),) = module["panels_of"](module["read"](tmp_path))
    assert title == "vgg16, n = 8, bits flipped (BSC)"
    assert list(curves) == ["snn-sc, trained at bsc 0.15", SEPARATE]
    points, means, bars = module["mean_curve"](curves["snn-sc, trained at bsc 0.15"])
    assert points == [0.0, 0.1]
    assert means == pytest.approx([71, 62])
    assert bars == pytest.approx([2**0.5, 8**0.5])
    assert "snn-sc, trained at bsc 0.15 at p 0.2" in capsys.readouterr().err
    assert module["mean_curve"](curves[SEPARATE])[2] == pytest.approx([1, 2])


def test_a_codec_looks_alike_in_all_panels():
    module = runpy.run_path(str(Path(__file__).parents[3] / "examples" / "features_figure.py"))
    one = {"p": [0.0], "accuracy": [0.7], "deviation": [0.0], "without_channel": 0.72}
    panels = [{"a": [one], "b": [one]}, {"b": [one], "c": [one]}]
    grid = Figure().subplots(1, 2)
    for axes, curves in zip(grid, panels, strict=True):
        module["draw"](axes, "", curves, ["a", "b", "c"])
    handles = [dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True)) for axes in grid]
    colours = [{name: one[name][0].get_color() for name in "abc" if name in one} for one in handles]
    assert colours == [{"a": "C0", "b": "C1"}, {"b": "C1", "c": "C2"}]


def test_no_seed_of_a_curve_is_of_other_settings_or_behind_another_backbone():
    module = runpy.run_path(str(Path(__file__).parents[3] / "examples" / "features_figure.py"))
    made = {
        "run": "0", "name": "snn-sc", "backbone": "vgg16", "backbone_run": "/first", "steps": 8,
        "trained_at": "bsc 0.15", "channel": "bsc", "settings": "a",
    }  # fmt: skip
    longer, behind = made | {"run": "long", "settings": "b"}, made | {"backbone_run": "/second"}
    panels = module["panels_of"]([made, made | {"run": "1"}, longer, behind])
    assert [title for title, _ in panels] == [
        f"vgg16 {run}, n = 8, bits flipped (BSC)" for run in ("/first", "/second")
    ]
    (_, first), (_, second) = panels
    label = "snn-sc, trained at bsc 0.15"
    assert {name: [one["run"] for one in runs] for name, runs in first.items()} == {
        f"{label}, 0": ["0", "1"],
        f"{label}, long": ["long"],
    }
    assert second == {label: [behind]}

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nsc_deploy.channels.config import BinaryChannelConfig
from nsc_deploy.data.image_config import ImageDataConfig
from nsc_deploy.data.images import ImageData
from nsc_deploy.deployment import read_deployment
from nsc_deploy.errors import ConfigError, DataError, UserError
from nsc_deploy.models.features.layers import NormalisedConvolution
from nsc_deploy.training.checkpoints import read_tensors
from nsc_deploy.training.features import cache
from nsc_deploy.training.features.cache import FeatureSource, load_features
from nsc_deploy.training.features.codec import (
    CodecFit,
    fit_codec,
    require_normalisable,
    training_indices,
)
from nsc_deploy.training.features.evaluate import CodecMeasurement, accuracy_after, encoded, measure_codec
from nsc_deploy.training.features.system import finished_classifier, new_classifier
from nsc_deploy.training.metrics import FeaturesMetrics
from nsc_deploy.training.run import train
from nsc_deploy.training.run_directory import read_metrics
from tests.support.feature_runs import codec_experiment, train_bars, use_bars


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture(autouse=True)
def _bars(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    use_bars(monkeypatch, folder)


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        use_bars(patch, folder)
        return train_bars(folder / "backbone", epochs=4)


@pytest.fixture(scope="module")
def snn(folder: Path, backbone: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        use_bars(patch, folder)
        return train(codec_experiment(backbone), folder / "snn", progress=False).run


def test_a_spiking_codec_learns_and_leaves_a_whole_run(snn: Path):
    metrics = read_metrics(snn)
    assert isinstance(metrics, FeaturesMetrics)
    assert metrics.backbone_accuracy > 0.95
    assert metrics.test_accuracy > 0.85
    assert (metrics.bits, metrics.steps, metrics.epochs) == (64, 4, 5)
    assert 0 < metrics.entropy_per_position <= metrics.entropy <= 1
    deployment = read_deployment(snn)
    assert [part.name for part in deployment.parts] == [
        "transmitter-host", "transmitter", "receiver", "receiver-host",
    ]  # fmt: skip
    assert (deployment.channel.kind, deployment.channel.p) == ("bsc", 0.15)
    assert deployment.test_accuracy == metrics.test_accuracy


def test_a_finished_run_is_kept(snn: Path, backbone: Path):
    before = {path: path.stat().st_mtime_ns for path in snn.iterdir() if path.is_file()}
    away = backbone.rename(backbone.with_name("away"))  # What it was trained behind is not needed any more.
    try:
        train(codec_experiment(backbone), snn, resume=True, progress=False)
    finally:
        away.rename(backbone)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_more_errors_make_it_worse_and_the_same_seed_the_same(snn: Path, backbone: Path):
    features = load_features(FeatureSource(backbone))
    classifier = finished_classifier(codec_experiment(backbone), FeatureSource(backbone).backbone, snn)

    def at(p: float, seed: int = 0) -> float:
        channel = BinaryChannelConfig(p=p)
        return measure_codec(classifier, features.test, features.test_labels, channel, seed, draws=3).accuracy

    assert at(0) >= at(0.15) > at(0.45)
    assert at(0.3) == at(0.3)
    assert at(0.3) != at(0.3, seed=1)


def test_draws_without_an_error_are_one(snn: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch):
    features = load_features(FeatureSource(backbone))
    classifier = finished_classifier(codec_experiment(backbone), FeatureSource(backbone).backbone, snn)
    looked, scores = [], classifier.scores
    monkeypatch.setattr(classifier, "scores", lambda bits: (looked.append(1), scores(bits))[1])

    def at(draws: int, **channel: float) -> CodecMeasurement:
        asked = BinaryChannelConfig(**channel)
        return measure_codec(classifier, features.test, features.test_labels, asked, 0, draws=draws)

    assert at(3, p=0) == at(1, p=0)
    without, once = len(looked), len(looked) // 2
    at(3, p=0.1)
    at(3, p=0, p_to=0.1)
    assert len(looked) - without == 6 * once


def test_all_steps_make_the_last_point_of_the_curve(snn: Path, backbone: Path):
    features = load_features(FeatureSource(backbone))
    classifier = finished_classifier(codec_experiment(backbone), FeatureSource(backbone).backbone, snn)
    channel = BinaryChannelConfig(p=0.15)
    curve = accuracy_after(classifier, encoded(classifier, features.test), features.test_labels, channel, 0)
    whole = measure_codec(classifier, features.test, features.test_labels, channel, 0)
    assert len(curve) == 4
    assert curve[-1] == whole.accuracy


@pytest.mark.parametrize("name", ["s-jscc", pytest.param("cnn-sc", marks=pytest.mark.slow)])
def test_every_codec_trains(name: str, backbone: Path, tmp_path: Path):
    experiment = codec_experiment(
        backbone, name, channel={"kind": "bec", "p": 0.1}, training={"tuning_epochs": 0}
    )
    metrics = train(experiment, tmp_path / "run", progress=False).metrics
    assert isinstance(metrics, FeaturesMetrics)
    assert metrics.test_accuracy > 0.4
    assert metrics.title.endswith("bec at p 0.1")


def test_the_backbone_stays_as_it_is_until_it_is_tuned(backbone: Path, tmp_path: Path):
    source = FeatureSource(backbone)
    features = load_features(source)
    before = {name: value.clone() for name, value in source.backbone.state_dict().items()}
    for tuning in (0, 1):
        experiment = codec_experiment(backbone, training={"epochs": 1, "tuning_epochs": tuning})
        run = tmp_path / str(tuning)
        run.mkdir()
        fit_codec(experiment, source, features, run, resume=False, progress=False)
        after = source.backbone.state_dict()
        changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
        assert changed == ({"conv3", "scores"} if tuning else set())


class KilledError(Exception):
    """What stands for a kill."""


def test_a_killed_run_goes_on_to_the_same_weights(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    experiment = codec_experiment(backbone, training={"epochs": 1, "tuning_epochs": 1, "augmented_passes": 2})
    features = load_features(FeatureSource(backbone), 2)

    def fit(run: Path) -> None:
        run.mkdir(exist_ok=True)
        fit_codec(experiment, FeatureSource(backbone), features, run, resume=True, progress=False)

    fit(tmp_path / "whole")
    real, steps = CodecFit.training_step, iter(range(7))

    def killed(self: CodecFit, *arguments: object) -> torch.Tensor:
        if next(steps, None) is None:
            raise KilledError
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(CodecFit, "training_step", killed)
        with pytest.raises(KilledError):
            fit(tmp_path / "killed")
    fit(tmp_path / "killed")
    whole, _ = read_tensors(tmp_path / "whole/checkpoints/last.safetensors")
    resumed, _ = read_tensors(tmp_path / "killed/checkpoints/last.safetensors")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_the_rate_is_halved_in_each_stage_anew(backbone: Path):
    experiment = codec_experiment(
        backbone, training={"epochs": 4, "tuning_epochs": 3, "halve_every": 2, "learning_rate": 0.8}
    )
    classifier = new_classifier(experiment, FeatureSource(backbone).backbone)
    fit = CodecFit(classifier, experiment, 10)
    assert [fit._codec_rate(10 * epoch) for epoch in range(7)] == [
        0.8, 0.8, 0.4, 0.4, 0.001, 0.001, 0.0005,
    ]  # fmt: skip
    assert [fit._server_rate(step) for step in (0, 39, 40)] == [0, 0, 0.001]


def test_a_codec_that_diverges_is_told_what_it_has(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(CodecFit, "_codec_rate", lambda self, step: math.inf)
    with pytest.raises(UserError, match="diverged") as refused:
        train(codec_experiment(backbone), tmp_path / "run", progress=False)
    assert "Lower training.learning_rate or training.tuning_rate" in str(refused.value)


@pytest.mark.parametrize("read_back", [False, True])
def test_the_fused_optimiser_is_adam_however_weights_and_a_state_that_was_read_lie(
    backbone: Path, read_back: bool
):
    classifier = new_classifier(codec_experiment(backbone), FeatureSource(backbone).backbone)
    plain = copy.deepcopy(classifier)
    settings = CodecFit(classifier, codec_experiment(backbone), 10).configure_optimizers()
    assert isinstance(settings, dict)
    fused = settings["optimizer"]
    for group in fused.param_groups:
        group["lr"] = 0.01
    expected = torch.optim.Adam(plain.parameters(), lr=0.01)
    assert any(not one.is_contiguous() for one in classifier.parameters()), "all weights lie alike"
    for step in range(3):
        if read_back and step == 2:
            state = copy.deepcopy(fused.state_dict())
            for one in state["state"].values():
                one.update({name: value.contiguous().clone() for name, value in one.items()})
            fused.load_state_dict(state)
        for mine, theirs in zip(classifier.parameters(), plain.parameters(), strict=True):
            mine.grad = torch.empty_like(mine).normal_(generator=torch.Generator().manual_seed(step))
            theirs.grad = mine.grad.clone()
        fused.step()
        expected.step()
    for mine, theirs in zip(classifier.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_validation_samples_are_those_of_the_backbone(backbone: Path):
    source = FeatureSource(backbone)
    training, validation = training_indices(source, load_features(source))
    assert len(training) == 160
    assert np.array_equal(np.sort(np.concatenate([training, validation])), np.arange(200))


def test_another_data_set_than_the_backbones_is_refused(backbone: Path, tmp_path: Path):
    experiment = codec_experiment(backbone)
    other = experiment.model_copy(update={"data": experiment.data.model_copy(update={"dataset": "digits"})})
    with pytest.raises(ConfigError, match="the backbone was trained on cifar100"):
        train(other, tmp_path / "run", progress=False)


def test_images_that_are_gone_are_missed_before_the_training(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Features may lie in the cache; the recordings of the end are made of images."""
    load_features(FeatureSource(backbone))

    def gone(config: ImageDataConfig, **_: object) -> ImageData:
        raise DataError("does not exist", where=config.path)

    monkeypatch.setattr(cache, "load_images", gone)
    with pytest.raises(DataError, match="does not exist"):
        train(codec_experiment(backbone), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_of_a_codec_is_no_backbone(snn: Path, tmp_path: Path):
    with pytest.raises(DataError, match="is a run of snn-sc"):
        train(codec_experiment(snn), tmp_path / "run", progress=False)


def test_the_directory_of_the_backbone_is_not_written(backbone: Path):
    with pytest.raises(ConfigError, match="is the run of the backbone"):
        train(codec_experiment(backbone), backbone, progress=False)


def test_products_in_bfloat16_train_a_codec_that_is_measured_in_float32(backbone: Path, tmp_path: Path):
    asked = {"precision": "bf16", "epochs": 3}
    run = train(codec_experiment(backbone, training=asked), tmp_path / "half", progress=False).run
    exactly = codec_experiment(backbone, training=asked | {"precision": "fp32"})
    whole = train(exactly, tmp_path / "whole", progress=False).run
    half, full = (read_metrics(one) for one in (run, whole))
    assert half.history[-1] != full.history[-1]
    assert half.test_accuracy > 0.7
    # What was trained so is exported and measured as anything else: graphs equal torch bit for bit.
    assert {part.name for part in read_deployment(run).parts} >= {"transmitter", "receiver"}


def test_a_channel_of_a_single_value_cannot_be_normalised():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        NormalisedConvolution(2, 3)(torch.zeros(1, 2, 1, 1))
    with pytest.raises(ConfigError, match=r"training\.batch_size: is 1"):
        require_normalisable((2, 1, 1), 1)
    for shape, batch_size in (((2, 1, 1), 2), ((2, 1, 2), 1)):
        require_normalisable(shape, batch_size)
        NormalisedConvolution(2, 3)(torch.zeros(batch_size, *shape))

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nsc_deploy.config.features import BackboneExperiment
from nsc_deploy.data import cifar100
from nsc_deploy.data.image_config import ImageDataConfig
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.models.features.backbones import build_backbone
from nsc_deploy.training.checkpoints import read_tensors
from nsc_deploy.training.features.backbone import (
    accuracy,
    best_backbone,
    fit_backbone,
    new_backbone,
    parts,
    require_sizes,
)
from nsc_deploy.training.fit import has_bfloat16
from nsc_deploy.training.metrics import BackboneMetrics
from nsc_deploy.training.run import train
from nsc_deploy.training.run_directory import read_metrics
from tests.support.images import bar_data, binary_files, small_cifar, write_archive

SMALL = {"epochs": 3, "batch_size": 20, "crop_padding": 0, "flip": False, "threads": 1}


def experiment(**training: object) -> BackboneExperiment:
    return BackboneExperiment.model_validate(
        {"system": {"backbone": "cnn8"}, "training": SMALL | {"validation_fraction": 0.2} | training}
    )


def test_a_backbone_learns_and_keeps_its_best_weights(tmp_path: Path):
    data = bar_data()
    record = fit_backbone(experiment(), data, tmp_path, resume=False, progress=False)
    assert [epoch.epoch for epoch in record.epochs] == [0, 1, 2]
    best = best_backbone(experiment(), tmp_path)
    assert accuracy(best, data.test, data) == 1
    _, validation = parts(data, experiment().training)
    assert record.best is not None
    assert accuracy(best, validation, data) == pytest.approx(record.best.validation_accuracy)


def test_images_without_a_validation_part_to_cut_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = bar_data()
    labels = data.train.labels.copy()
    labels[labels == labels[0]] = labels[labels != labels[0]][0]
    labels[0] = data.train.labels[0]
    one = replace(data, train=replace(data.train, labels=labels))
    monkeypatch.setattr("nsc_deploy.training.features.backbone.load_images", lambda *_, **__: one)
    with pytest.raises(DataError, match="has 1 training sample"):
        train(experiment(), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "settings", "field", "problem"),
    [
        ("cnn8", {"crop_padding": 8}, "crop_padding", "an image of 8 pixels is moved by 7 at most"),
        ("cnn8", {"crop_padding": 16}, "crop_padding", "an image of 8 pixels is moved by 7 at most"),
        ("cnn8", {"small_share": 0.5}, "small_size", "is 20, and images have 8 pixels"),
        ("vgg16", {"small_share": 0.5, "small_size": 40}, "small_size", "is 40, and images have 32 pixels"),
        ("vgg16", {"small_share": 1, "small_size": 16, "batch_size": 1}, "batch_size", "of 16 pixels"),
    ],
)
def test_sizes_that_do_not_go_with_the_images_are_refused(
    name: str, settings: dict[str, object], field: str, problem: str
):
    with pytest.raises(ConfigError, match=problem) as caught:
        require_sizes(experiment(**settings).training, build_backbone(name, 4))
    assert caught.value.where == f"training.{field}"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cnn8", {"crop_padding": 7}),
        ("cnn8", {"batch_size": 1}),
        ("vgg16", {"small_share": 1, "small_size": 32}),
        ("vgg16", {"small_share": 1, "small_size": 16, "batch_size": 2}),
    ],
)
def test_sizes_that_images_have_are_taken(name: str, settings: dict[str, object]):
    require_sizes(experiment(**settings).training, build_backbone(name, 4))


def test_images_moved_out_of_themselves_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("nsc_deploy.training.features.backbone.load_images", lambda *_, **__: bar_data())
    with pytest.raises(ConfigError, match="moved by 7 at most"):
        train(experiment(crop_padding=16), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


class KilledError(Exception):
    """What stands for a kill."""


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from nsc_deploy.training.features import backbone as module

    data = bar_data()
    wanted = experiment(crop_padding=1, small_share=0.4, small_size=8)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    fit_backbone(wanted, data, tmp_path / "whole", resume=False, progress=False)

    steps = iter(range(12))
    real = module.crop_and_flip

    def killed(*arguments: object, **named: object) -> torch.Tensor:
        if next(steps, None) is None:
            raise KilledError
        return real(*arguments, **named)

    monkeypatch.setattr(module, "crop_and_flip", killed)
    with pytest.raises(KilledError):
        fit_backbone(wanted, data, tmp_path / "killed", resume=True, progress=False)
    monkeypatch.setattr(module, "crop_and_flip", real)
    fit_backbone(wanted, data, tmp_path / "killed", resume=True, progress=False)
    for name in ("best.safetensors", "last.safetensors"):
        whole, _ = read_tensors(tmp_path / "whole/checkpoints" / name)
        resumed, _ = read_tensors(tmp_path / "killed/checkpoints" / name)
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_the_learning_rate_rises_and_falls_to_nothing(tmp_path: Path):
    from nsc_deploy.training.features.backbone import BackboneFit

    data = bar_data()
    fit = BackboneFit(new_backbone(experiment(), data), data, experiment(warmup=0.25).training, 4)
    rates = [fit._rate_at(step) for step in range(13)]
    assert max(rates) == 1
    assert rates.index(1.0) == 3
    assert rates[:4] == sorted(rates[:4])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == 0


def test_bfloat16_is_only_used_where_there_are_instructions_for_it():
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    if torch.cuda.is_available() or "flags" not in flags:
        pytest.skip("a GPU, or no x86 processor of Linux")
    assert has_bfloat16() == ("avx512_bf16" in flags or "amx_bf16" in flags)


def test_train_makes_a_run_of_cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cifar100, "PARTS", {"train": 40, "test": 10})
    parts = small_cifar()
    for part in parts.values():
        part.labels[:] = range(len(part))
        part.labels[:] //= 2
    write_archive(tmp_path / cifar100.ARCHIVE, binary_files(parts))
    wanted = BackboneExperiment.model_validate(
        {
            "data": ImageDataConfig(path=tmp_path),
            "training": SMALL | {"epochs": 1, "validation_fraction": 0.5},
        }
    )
    result = train(wanted, tmp_path / "run", progress=False)
    metrics = result.metrics
    assert isinstance(metrics, BackboneMetrics)
    assert (metrics.backbone, metrics.split, metrics.feature) == ("resnet10", "block4", (512, 4, 4))
    assert metrics.parameters == 3_376_388
    assert read_metrics(tmp_path / "run") == metrics
    assert train(wanted, tmp_path / "run", resume=True, progress=False).metrics == metrics


def test_images_of_another_size_are_refused(tmp_path: Path):
    wanted = BackboneExperiment.model_validate({"system": {"backbone": "vgg16"}})
    with pytest.raises(ConfigError, match="vgg16 takes images of 3 x 32 x 32"):
        fit_backbone(wanted, bar_data(), tmp_path, resume=False, progress=False)


def test_a_split_that_does_not_exist_is_refused_before_anything_is_written(tmp_path: Path):
    wanted = BackboneExperiment.model_validate({"system": {"split": "block9"}})
    with pytest.raises(ConfigError, match="no block block9"):
        train(wanted, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_the_digits_are_not_mirrored():
    digits = BackboneExperiment.model_validate({"data": {"dataset": "digits"}})
    assert (digits.training.flip, digits.training.crop_padding) == (False, 1)
    asked = BackboneExperiment.model_validate(
        {"data": {"dataset": "digits"}, "training": {"crop_padding": 2}}
    )
    assert (asked.training.flip, asked.training.crop_padding) == (False, 2)

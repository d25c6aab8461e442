from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from nsc_deploy.config.features import BackboneExperiment
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.io.files import sha256
from nsc_deploy.models.features.backbones import Backbone, build_backbone
from nsc_deploy.training.checkpoints import BEST, DIRECTORY, write_tensors
from nsc_deploy.training.features.backbone import best_backbone
from nsc_deploy.training.features.foreign_weights import take_weights, taken_digest
from nsc_deploy.training.metrics import BackboneMetrics
from nsc_deploy.training.run import train
from tests.support.feature_runs import train_bars, use_bars


def other() -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return build_backbone("cnn8", 4)


def written(path: Path, **changes: torch.Tensor | None) -> Path:
    tensors = {name: value.contiguous() for name, value in other().state_dict().items()} | changes
    save_file({name: value for name, value in tensors.items() if value is not None}, path)
    return path


def test_a_run_takes_foreign_weights_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    use_bars(monkeypatch, tmp_path)
    path = written(tmp_path / "theirs.safetensors")
    experiment = BackboneExperiment.model_validate(
        {"system": {"backbone": "cnn8", "weights": str(path), "weights_licence": "MIT"}}
    )
    metrics = train(experiment, tmp_path / "run", progress=False).metrics
    assert isinstance(metrics, BackboneMetrics)
    assert (metrics.weights_sha256, metrics.weights_licence) == (sha256(path), "MIT")
    assert (metrics.epochs, metrics.best_epoch) == (0, None)
    assert metrics.rows["epochs"] == "none, with weights of others"
    kept, theirs = best_backbone(experiment, tmp_path / "run").state_dict(), other().state_dict()
    assert all(torch.equal(kept[name], theirs[name]) for name in theirs)


def test_a_run_is_not_overwritten_whose_weights_the_new_one_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    use_bars(monkeypatch, tmp_path)
    run = train_bars(tmp_path / "run", epochs=1)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    system = {"backbone": "cnn8", "weights": str(run / DIRECTORY / BEST), "weights_licence": "mine"}
    experiment = BackboneExperiment.model_validate({"system": system})
    with pytest.raises(ConfigError, match=r"run: holds the file that system\.weights names"):
        train(experiment, run, overwrite=True, progress=False)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_the_digest_is_that_of_what_was_taken(tmp_path: Path):
    path = written(tmp_path / "theirs.safetensors")
    taken = take_weights(path, "MIT", build_backbone("cnn8", 4), tmp_path)
    path.unlink()
    assert taken_digest(tmp_path) == taken
    write_tensors(tmp_path / DIRECTORY / BEST, other().state_dict(), {"epoch": 3})
    with pytest.raises(DataError, match="no weights of others"):
        taken_digest(tmp_path)


def test_half_precision_and_missing_counters_are_taken(tmp_path: Path):
    halves = {
        name: None if name.endswith("num_batches_tracked") else value.half().contiguous()
        for name, value in other().state_dict().items()
    }
    path = written(tmp_path / "half.safetensors", **halves)
    backbone = build_backbone("cnn8", 4)
    take_weights(path, "MIT", backbone, tmp_path)
    weight = "blocks.scores.weight"
    assert torch.equal(backbone.state_dict()[weight], other().state_dict()[weight].half().float())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"blocks.scores.bias": None}, "holds no blocks.scores.bias"),
        ({"blocks.extra": torch.zeros(3)}, "holds blocks.extra, which the backbone has not"),
        ({"blocks.scores.weight": torch.zeros(4, 32)}, "has the shape 4 x 32, and the backbone 4 x 64"),
        ({"blocks.scores.bias": torch.full((4,), torch.nan)}, "not finite"),
        ({"blocks.scores.bias": torch.full((4,), 1e300, dtype=torch.float64)}, "not finite"),
        ({"blocks.scores.bias": torch.ones(4, dtype=torch.complex64)}, "of complex64, and weights are float"),
        ({"blocks.scores.bias": torch.full((4,), 7, dtype=torch.int8)}, "of int8, and weights are floating"),
        ({"blocks.conv1.1.running_var": torch.full((32,), -0.1)}, "a variance and holds numbers below 0"),
    ],
)
def test_weights_of_another_backbone_are_refused(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], problem: str
):
    path = written(tmp_path / "theirs.safetensors", **changes)
    with pytest.raises(DataError, match=problem):
        take_weights(path, "MIT", build_backbone("cnn8", 4), tmp_path)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle of torch", b"\xff" * 100])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(DataError, match="no safetensors file"):
        take_weights(tmp_path / "weights.pth", "MIT", build_backbone("cnn8", 4), tmp_path)


def test_a_licence_is_told():
    with pytest.raises(ValidationError, match="say under which licence"):
        BackboneExperiment.model_validate({"system": {"weights": "a.safetensors"}})


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": 7}, {"batch_size": 1}, {"learning_rate": 0.3}, {"warmup": 0.0}, {"momentum": 0.0},
        {"weight_decay": 0.0}, {"label_smoothing": 0.0}, {"small_share": 0.5},
        {"small_size": 16, "small_share": 0.5}, {"precision": "fp32"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_of_a_training_that_is_none_are_refused(setting: dict[str, object]):
    system = {"weights": "a.safetensors", "weights_licence": "MIT"}
    used = {"crop_padding": 0, "flip": False, "validation_fraction": 0.1, "seed": 3, "threads": 1}
    BackboneExperiment.model_validate({"system": system, "training": used})
    with pytest.raises(
        ValidationError, match=rf"training\.{next(iter(setting))} means nothing to weights of"
    ):
        BackboneExperiment.model_validate({"system": system, "training": setting})


def test_a_file_that_is_not_there_is_refused_before_images_are_read(tmp_path: Path):
    experiment = BackboneExperiment.model_validate(
        {"system": {"weights": str(tmp_path / "no.safetensors"), "weights_licence": "MIT"}}
    )
    with pytest.raises(DataError, match="does not exist"):
        train(experiment, tmp_path / "run", progress=False)
    (tmp_path / "no.safetensors").mkdir()
    with pytest.raises(DataError, match="is no file"):
        train(experiment, tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("what", "layers"), [("features", ("conv1.0", "conv2.0")), ("scores", ("conv3.0", "scores"))]
)
def test_weights_that_make_no_finite_numbers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, layers: tuple[str, ...]
):
    use_bars(monkeypatch, tmp_path)
    names = [f"blocks.{layer}.weight" for layer in layers]
    large = {name: (1e30 * other().state_dict()[name]).contiguous() for name in names}
    path = written(tmp_path / "theirs.safetensors", **large)
    experiment = BackboneExperiment.model_validate(
        {"system": {"backbone": "cnn8", "weights": str(path), "weights_licence": "MIT"}}
    )
    with pytest.raises(DataError, match=f"gives {what} that are not finite\n.*take other weights") as caught:
        train(experiment, tmp_path / "run", progress=False)
    assert caught.value.where == str(tmp_path / "run")

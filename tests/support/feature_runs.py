"""A backbone on bars of 8 x 8 pixels, trained in a second, and a cache of features beside it."""

from pathlib import Path

import pytest

from nsc_deploy.config.features import BackboneExperiment, FeaturesExperiment
from nsc_deploy.training.features import backbone, cache
from nsc_deploy.training.run import train
from tests.support.images import bar_data


def use_bars(monkeypatch: pytest.MonkeyPatch, cache_folder: Path, seed: int = 0) -> None:
    """Let every image data set be bars, and features be kept in a folder."""
    data = bar_data(200, 60) if not seed else bar_data(201, 61)
    for module in (backbone, cache):
        monkeypatch.setattr(module, "load_images", lambda *_, **__: data)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_folder))


def train_bars(run: Path, **training: object) -> Path:
    """A finished run of a backbone that tells the bars apart."""
    small = {"epochs": 2, "batch_size": 20, "crop_padding": 1, "flip": False, "threads": 1}
    experiment = BackboneExperiment.model_validate(
        {"system": {"backbone": "cnn8"}, "training": small | {"validation_fraction": 0.2} | training}
    )
    return train(experiment, run, progress=False).run


def codec_experiment(run: Path, name: str = "snn-sc", **tables: dict[str, object]) -> FeaturesExperiment:
    """A codec of four steps, trained in seconds."""
    training = {
        "epochs": 4, "tuning_epochs": 1, "learning_rate": 4e-3, "tuning_rate": 1e-3, "threads": 1,
        "halve_every": 0,
    } | tables.get("training", {})  # fmt: skip
    if not training["tuning_epochs"]:
        del training["tuning_rate"]
    return FeaturesExperiment.model_validate(
        {
            "system": {"name": name, "backbone": str(run), "steps": 4} | tables.get("system", {}),
            "channel": tables.get("channel", {}),
            "training": training,
        }
    )

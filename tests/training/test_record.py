"""What is kept of each epoch."""

import math
from pathlib import Path

import pytest

from nsc_deploy.io.files import read_json
from nsc_deploy.training.metrics import BackboneMetrics
from nsc_deploy.training.record import EpochRecord, TrainingRecord
from nsc_deploy.training.run_directory import METRICS, write_metrics

DIVERGED = [math.nan, math.inf]


def epoch(number: int, loss: float | None, accuracy: float | None = 0.5) -> EpochRecord:
    return EpochRecord(
        epoch=number, train_loss=1.0, train_accuracy=0.5, validation_loss=loss, validation_accuracy=accuracy
    )


@pytest.mark.parametrize("loss", DIVERGED)
def test_a_run_whose_validation_diverged_in_an_epoch_is_written(loss: float, tmp_path: Path) -> None:
    metrics = BackboneMetrics(
        system="backbone",
        dataset="digits",
        validation_accuracy=0.5,
        test_accuracy=0.5,
        parameters=1,
        epochs=2,
        training_seconds=1.0,
        backbone="cnn8",
        split="conv2",
        feature=(1, 1, 1),
        best_epoch=1,
        history=(epoch(0, loss), epoch(1, 2.0)),
    )
    write_metrics(tmp_path, metrics)
    assert [one["validation_loss"] for one in read_json(tmp_path / METRICS)["history"]] == [None, 2.0]


@pytest.mark.parametrize("loss", [*DIVERGED, None])
def test_a_diverged_validation_is_worse_than_any_other_of_its_accuracy(loss: float | None) -> None:
    assert epoch(0, loss).rank < epoch(0, 1e9).rank < epoch(1, loss, 0.6).rank
    assert epoch(1, None, None).rank > epoch(0, None, None).rank  # without validation the later one


@pytest.mark.parametrize("loss", DIVERGED)
def test_a_resumed_run_takes_over_a_diverged_validation(loss: float, tmp_path: Path) -> None:
    record = TrainingRecord(tmp_path, 0)
    kept = epoch(0, 2.0).model_dump(exclude={"seconds"}) | {"validation_loss": loss}
    record.load_state_dict({"epochs": [kept], "best": 0})
    assert record.epochs[0].validation_loss is None

"""Training of an image classifier: one cycle of the learning rate, resumable after every epoch."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

from nsc_deploy.config.features import BackboneExperiment, BackboneTrainingConfig
from nsc_deploy.data.events import held_out
from nsc_deploy.data.images import ImageData, ImageSet, load_images
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.models.features.backbones import Backbone, build_backbone
from nsc_deploy.training.batches import Batch, ShuffledBatches, stream, stream_seed
from nsc_deploy.training.checkpoints import BEST, DIRECTORY, HINT, LAST, read_tensors
from nsc_deploy.training.family import Training
from nsc_deploy.training.features.augmentation import crop_and_flip, normalised, resized
from nsc_deploy.training.features.foreign_weights import take_weights, taken_digest
from nsc_deploy.training.features.separate import write_separate_graphs
from nsc_deploy.training.features.trainer import single_device_trainer
from nsc_deploy.training.fit import (
    in_bfloat16,
    is_complete,
    plain_signals,
    quiet_lightning,
    reproducible,
    state_that_fits,
)
from nsc_deploy.training.metrics import BackboneMetrics
from nsc_deploy.training.module import SystemTraining
from nsc_deploy.training.record import TrainingRecord

EVALUATION_BATCH = 250


class BackboneTraining(Training):
    """The training of a classifier of images."""

    def __init__(self, experiment: BackboneExperiment) -> None:
        self._experiment = experiment
        self._images: ImageData | None = None

    def check(self, out: Path, *, resume: bool) -> None:
        """Refuse a split that does not exist, and weights that are not there or in the directory to write."""
        system = self._experiment.system
        if system.weights is not None:
            _require_weights(Path(system.weights), out)
        with torch.device("meta"):
            build_backbone(system.backbone, 2, system.split)

    def load(self, *, progress: bool) -> str:
        """Load the images; refuse those that the backbone or a validation part cannot be made for."""
        self._images = load_images(self._experiment.data, progress=progress)
        backbone = new_backbone(self._experiment, self._images)
        require_sizes(self._experiment.training, backbone)
        in_validation(self._images.train.labels, self._experiment.training)
        return self._images.sha256()

    def run(self, out: Path, *, resume: bool, progress: bool) -> BackboneMetrics:
        """Train, write what separate coding of its features takes, then measure the best weights."""
        if self._images is None:
            raise RuntimeError("training began before its data was loaded")
        system = self._experiment.system
        if system.weights is not None:
            backbone = new_backbone(self._experiment, self._images)
            take_weights(Path(system.weights), system.weights_licence or "", backbone, out)
            record = TrainingRecord(out, patience=0)
        else:
            record = fit_backbone(self._experiment, self._images, out, resume=resume, progress=progress)
        with reproducible(self._experiment.training.threads):
            best = best_backbone(self._experiment, out)
            trained_on, _ = parts(self._images, self._experiment.training)
            write_separate_graphs(self._experiment, best, self._images, trained_on, out)
        return measure_backbone(self._experiment, self._images, out, record)


def _require_weights(weights: Path, out: Path) -> None:
    if not weights.is_file():
        problem = "is no file" if weights.exists() else "does not exist"
        raise DataError(problem, where=weights, hint="Check the name.")
    if weights.resolve().is_relative_to(out.resolve()):
        raise ConfigError("holds the file that system.weights names", where=out, hint="Name another --out.")


def fit_backbone(
    experiment: BackboneExperiment, images: ImageData, run: Path, *, resume: bool, progress: bool
) -> TrainingRecord:
    """Train a backbone; leaves the best weights and the last state in RUN/checkpoints.

    On the first GPU if there is one, else on the CPU.

    Args:
        experiment: what to train.
        images: on what.
        run: the run directory.
        resume: go on from the last finished epoch, if there is one.
        progress: show a progress bar on stderr.

    Raises:
        ConfigError: the images are not of the backbone's size.
        DataError: the last state is damaged or of another training.
        UserError: training diverged.
    """
    config = experiment.training
    record = TrainingRecord(run, patience=0)
    last = run / DIRECTORY / LAST
    going_on = resume and last.is_file()
    if going_on and is_complete(last, record, config.epochs):
        return record
    backbone = new_backbone(experiment, images)
    training, validation = parts(images, config)
    batches = ShuffledBatches(len(training), config.batch_size, config.seed)
    module = BackboneFit(backbone, images, config, len(batches))
    with quiet_lightning(), reproducible(config.threads):
        trainer = single_device_trainer(
            config.epochs, run, record, bfloat16=in_bfloat16(config.precision), progress=progress
        )
        with plain_signals(), state_that_fits(record, going_on=going_on):
            trainer.fit(
                module,
                DataLoader(_tensors(training), sampler=batches, batch_size=None),
                None if validation is None else _in_order(validation),
                ckpt_path=last if going_on else None,
            )
    return record


def parts(images: ImageData, config: BackboneTrainingConfig) -> tuple[ImageSet, ImageSet | None]:
    """The training part without its validation part, and that part; None if there is none."""
    chosen = in_validation(images.train.labels, config)
    if not chosen.any():
        return images.train, None
    return images.train.take(np.flatnonzero(~chosen)), images.train.take(np.flatnonzero(chosen))


def in_validation(labels: NDArray[np.int64], config: BackboneTrainingConfig) -> NDArray[np.bool_]:
    """Which samples of the training part a backbone keeps for validation, as codecs behind it do."""
    if not config.validation_fraction:
        return np.zeros(len(labels), dtype=bool)
    return held_out(labels, config.validation_fraction, stream_seed(config.seed, "validation part"))


def new_backbone(experiment: BackboneExperiment, images: ImageData) -> Backbone:
    """The backbone with weights drawn from the seed.

    Raises:
        ConfigError: it takes images of another size.
    """
    system = experiment.system
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(experiment.training.seed, "weights"))
        backbone = build_backbone(system.backbone, images.classes, system.split)
    if backbone.image != images.shape:
        raise ConfigError(
            f"{system.backbone} takes images of {_size(backbone.image)}, and those of "
            f"{experiment.data.dataset} have {_size(images.shape)}",
            where="system.backbone",
            hint="Take cnn8 for digits, and any other for cifar100.",
        )
    return backbone


def require_sizes(config: BackboneTrainingConfig, backbone: Backbone) -> None:
    """Refuse an augmentation and small images that do not go with the size of a backbone's images.

    Args:
        config: how it is trained.
        backbone: a new one, which is spent on a try.

    Raises:
        ConfigError: images are moved out of themselves, small ones are larger than the others, or a batch has
            a single value of a channel, which normalisation compares with nothing.
    """
    channels, side = backbone.image[0], min(backbone.image[1:])
    if config.crop_padding >= side:
        raise ConfigError(
            f"is {config.crop_padding}, and an image of {side} pixels is moved by {side - 1} at most",
            where="training.crop_padding",
            hint=f"Set it to {side - 1} or less.",
        )
    small = config.small_share > 0
    if small and config.small_size > side:
        raise ConfigError(
            f"is {config.small_size}, and images have {side} pixels",
            where="training.small_size",
            hint=f"Set it to {side} or less, or training.small_share to 0.",
        )
    if config.batch_size == 1:
        size = config.small_size if small else side
        try:
            with torch.no_grad():
                backbone.train()(torch.zeros(1, channels, size, size))
        except ValueError as error:
            raise ConfigError(
                f"is 1, and batch normalisation has nothing to compare in a single image of {size} pixels",
                where="training.batch_size",
                hint="Set it to 2 or more.",
            ) from error


def _size(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))


def best_backbone(experiment: BackboneExperiment, run: Path) -> Backbone:
    """The backbone of a run with its best weights, for evaluation.

    Raises:
        DataError: the weights are missing, damaged, or of another backbone.
    """
    system, path = experiment.system, run / DIRECTORY / BEST
    tensors, _ = read_tensors(path)
    try:
        classes = len(tensors["blocks.scores.bias"])
        backbone = build_backbone(system.backbone, classes, system.split)
        backbone.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        raise DataError("holds weights of another backbone", where=path, hint=HINT) from error
    return backbone.eval()


def measure_backbone(
    experiment: BackboneExperiment, images: ImageData, run: Path, record: TrainingRecord
) -> BackboneMetrics:
    """What the best weights reach on the validation and the test part, in full precision."""
    backbone, system = best_backbone(experiment, run), experiment.system
    _, validation = parts(images, experiment.training)
    with reproducible(experiment.training.threads):
        on_validation = accuracy(backbone, validation, images) if validation else None
        on_test = accuracy(backbone, images.test, images)
    return BackboneMetrics(
        system=experiment.system.name,
        dataset=experiment.data.dataset,
        backbone=experiment.system.backbone,
        split=backbone.split,
        feature=backbone.feature_shape(),
        validation_accuracy=on_validation,
        test_accuracy=on_test,
        parameters=sum(parameter.numel() for parameter in backbone.parameters()),
        epochs=len(record.epochs),
        best_epoch=record.best.epoch if record.best else None,
        weights_sha256=None if system.weights is None else taken_digest(run),
        weights_licence=system.weights_licence,
        training_seconds=sum(epoch.seconds for epoch in record.epochs),
        history=tuple(record.epochs),
    )


class BackboneFit(SystemTraining):
    """Trains a backbone on batches of pixels uint8 [B, C, H, W] and labels int64 [B].

    Args:
        backbone: what is trained.
        images: mean and deviation of the pixels.
        config: how.
        steps_per_epoch: optimiser steps of an epoch, for the schedule.
    """

    system: Backbone

    def __init__(
        self, backbone: Backbone, images: ImageData, config: BackboneTrainingConfig, steps_per_epoch: int
    ) -> None:
        super().__init__()
        self.system = backbone
        self._mean, self._deviation = images.mean, images.deviation
        self._config = config
        self._steps = steps_per_epoch * config.epochs

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch; its augmentation is a function of (seed, epoch, step)."""
        config, place = self._config, (self.current_epoch, batch_idx)
        torch.manual_seed(stream_seed(config.seed, "dropout", *place))  # torch's dropout takes no generator
        pixels, labels = batch
        chance = stream(config.seed, "augmentation", *place)
        pixels = crop_and_flip(pixels, config.crop_padding, chance, flip=config.flip)
        images = normalised(pixels, self._mean, self._deviation)
        if self.current_epoch < config.small_share * config.epochs:
            images = resized(images, config.small_size)
        scores = self.system(images)
        loss = functional.cross_entropy(scores, labels, label_smoothing=config.label_smoothing)
        self._note("train", scores, labels, loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and accuracy of one batch."""
        scores = self.system(normalised(batch[0], self._mean, self._deviation))
        self._note("validation", scores, batch[1], functional.cross_entropy(scores, batch[1]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """SGD, and a schedule that is a function of the step alone."""
        config = self._config
        weights = [one for one in self.system.parameters() if one.dim() > 1]
        others = [one for one in self.system.parameters() if one.dim() <= 1]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": config.weight_decay},
            {"params": others},
        ]
        optimizer = torch.optim.SGD(
            groups,
            lr=config.learning_rate,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
        )
        schedule = LambdaLR(optimizer, self._rate_at)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate_at(self, step: int) -> float:
        """One cycle (Smith and Topin 2018): a straight rise, then a straight fall to 0."""
        rise = self._config.warmup * self._steps
        if step < rise:
            return (step + 1) / (rise + 1)
        return max(0.0, (self._steps - step) / (self._steps - rise))

    def _note(self, part: str, scores: Tensor, labels: Tensor, loss: Tensor) -> None:
        accuracy = (scores.detach().argmax(1) == labels).float().mean()
        values = {f"{part}/loss": loss.detach(), f"{part}/accuracy": accuracy}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(labels))


def accuracy(classifier: nn.Module, part: ImageSet, images: ImageData) -> float:
    """The share of a part that a classifier tells right, in full precision."""
    right = 0
    with torch.no_grad():
        for pixels, labels in _in_order(part):
            scores = classifier(normalised(pixels, images.mean, images.deviation))
            right += int((scores.argmax(1) == labels).sum())
    return right / len(part)


def _tensors(part: ImageSet) -> TensorDataset:
    return TensorDataset(torch.from_numpy(part.pixels), torch.from_numpy(part.labels))


def _in_order(part: ImageSet) -> DataLoader[tuple[Tensor, ...]]:
    index = torch.split(torch.arange(len(part)), EVALUATION_BATCH)
    return DataLoader(_tensors(part), sampler=index, batch_size=None)

"""Training of a codec behind a finished backbone, on cached features: alone, then with the server's part.

Of the papers' three steps this is the second and the third; the first is the training of the backbone. In the
third they train the whole network; here the device's part stays as it is, for features are computed once.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from nsc_deploy.channels.binary import BinaryChannel
from nsc_deploy.config.features import CodecTrainingConfig, FeaturesExperiment
from nsc_deploy.errors import ConfigError
from nsc_deploy.models.features.held import hold
from nsc_deploy.training.batches import Batch, ShuffledBatches, stream, stream_seed
from nsc_deploy.training.checkpoints import DIRECTORY, LAST
from nsc_deploy.training.features.backbone import in_validation
from nsc_deploy.training.features.cache import Features, FeatureSource
from nsc_deploy.training.features.system import CodedClassifier, new_classifier
from nsc_deploy.training.features.trainer import single_device_trainer
from nsc_deploy.training.fit import (
    in_bfloat16,
    is_complete,
    plain_signals,
    quiet_lightning,
    reproducible,
    state_that_fits,
)
from nsc_deploy.training.module import SystemTraining
from nsc_deploy.training.record import TrainingRecord

EVALUATION_BATCH = 250


def fit_codec(
    experiment: FeaturesExperiment,
    source: FeatureSource,
    features: Features,
    run: Path,
    *,
    resume: bool,
    progress: bool,
) -> TrainingRecord:
    """Train a codec; leaves the best weights and the last state in RUN/checkpoints.

    Args:
        experiment: what to train.
        source: the backbone.
        features: its features.
        run: the run directory.
        resume: go on from the last finished epoch, if there is one.
        progress: show a progress bar on stderr.

    Raises:
        DataError: the last state is damaged or of another training.
        UserError: training diverged.
    """
    config = experiment.training
    record = TrainingRecord(run, 0, "Lower training.learning_rate or training.tuning_rate")
    last = run / DIRECTORY / LAST
    going_on = resume and last.is_file()
    epochs = config.epochs + config.tuning_epochs
    if going_on and is_complete(last, record, epochs):
        return record
    training, validation = training_indices(source, features)
    batches = _PassBatches(len(training), config.batch_size, config.seed, len(features.train))
    module = CodecFit(new_classifier(experiment, source.backbone), experiment, len(batches))
    samples = _Samples(features.train, features.train_labels, training)
    with quiet_lightning(), reproducible(config.threads):
        trainer = single_device_trainer(
            epochs, run, record, bfloat16=in_bfloat16(config.precision), progress=progress
        )
        with plain_signals(), state_that_fits(record, going_on=going_on):
            trainer.fit(
                module,
                DataLoader(samples, sampler=batches, batch_size=None),
                _in_order(_Samples((features.clean,), features.train_labels, validation))
                if len(validation)
                else None,
                ckpt_path=last if going_on else None,
            )
    return record


def require_normalisable(shape: tuple[int, int, int], batch_size: int) -> None:
    """Refuse batches in which a channel has a single value, which batch normalisation compares with nothing.

    Args:
        shape: channels, height and width of a feature.
        batch_size: samples of one step.

    Raises:
        ConfigError: one sample of 1 x 1.
    """
    if batch_size == 1 and shape[1:] == (1, 1):
        raise ConfigError(
            "is 1, and batch normalisation has nothing to compare in a single feature of 1 x 1",
            where="training.batch_size",
            hint="Set it to 2 or more, or split the backbone earlier.",
        )


def training_indices(
    source: FeatureSource, features: Features
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The samples of the training part that the backbone was trained on, and those of its validation part."""
    chosen = in_validation(features.train_labels, source.experiment.training)
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


class _Samples(Dataset[Batch]):
    """Features float16 [N, C, h, w] of one pass or several, read a whole batch at a time as float32."""

    def __init__(
        self,
        passes: tuple[NDArray[np.float16], ...],
        labels: NDArray[np.int64],
        indices: NDArray[np.int64],
    ) -> None:
        self._passes = tuple(torch.from_numpy(one) for one in passes)
        self._labels = torch.from_numpy(labels)
        self._indices = torch.from_numpy(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Tensor) -> Batch:
        """Samples of one pass; an index beyond the first pass is of a later one."""
        chosen = self._indices[index % len(self)]
        return self._passes[int(index[0]) // len(self)][chosen].float(), self._labels[chosen]


class _PassBatches(ShuffledBatches):
    """Batches in a shuffled order; each epoch goes through the next pass."""

    def __init__(self, samples: int, size: int, seed: int, passes: int) -> None:
        super().__init__(samples, size, seed)
        self._passes = passes

    def __iter__(self) -> Iterator[Tensor]:
        beyond = (self.epoch % self._passes) * self.samples
        for batch in super().__iter__():
            yield batch + beyond


def _in_order(samples: _Samples) -> DataLoader[Batch]:
    index = torch.split(torch.arange(len(samples)), EVALUATION_BATCH)
    return DataLoader(samples, sampler=index, batch_size=None)


class CodecFit(SystemTraining):
    """Trains a codec on batches of features [B, C, h, w] and labels int64 [B].

    Args:
        classifier: the codec and the server's part.
        experiment: channel, and how it is trained.
        steps_per_epoch: optimiser steps of an epoch, for the schedule.
    """

    system: CodedClassifier

    def __init__(
        self, classifier: CodedClassifier, experiment: FeaturesExperiment, steps_per_epoch: int
    ) -> None:
        super().__init__()
        self.system = classifier
        self._config: CodecTrainingConfig = experiment.training
        self._channel = BinaryChannel(experiment.channel)
        self._steps_per_epoch = steps_per_epoch
        self._products = torch.bfloat16 if in_bfloat16(self._config.precision) else torch.float32
        self._held: tuple[nn.Module, ...] = ()  # in a tuple: no part of what is trained
        self._validation_noise = stream(self._config.seed, "validation")

    @property
    def _tuning(self) -> bool:
        """Whether the server's part is trained too."""
        return self.current_epoch >= self._config.epochs

    def on_train_epoch_start(self) -> None:
        """Hold the server's part as the backbone left it, or let it go."""
        server = self.system.server.train(self._tuning)
        self._held = () if self._tuning else self._held or (hold(server, self._products),)

    def _send(self, features: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Scores of features, and the bits that were sent for them."""
        coded = self.system.codec(features, self._channel, noise)
        [server] = self._held or (self.system.server,)
        return server(coded.features), coded.bits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch; its channel is a function of (seed, epoch, step)."""
        seed, place = self._config.seed, (self.current_epoch, batch_idx)
        torch.manual_seed(stream_seed(seed, "dropout", *place))  # torch's dropout takes no generator
        features, labels = batch
        scores, bits = self._send(features, stream(seed, "channel", *place))
        loss = functional.cross_entropy(scores, labels) + self.system.codec.penalty(bits)
        self._note("train", scores, labels, loss, bits)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin the validation noise anew: it is the same in every epoch."""
        self._validation_noise = stream(self._config.seed, "validation")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and accuracy of one batch."""
        scores, bits = self._send(batch[0], self._validation_noise)
        loss = functional.cross_entropy(scores, batch[1]) + self.system.codec.penalty(bits)
        self._note("validation", scores, batch[1], loss, bits)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, and schedules that are functions of the step alone."""
        groups = [
            {"params": list(self.system.codec.parameters())},
            {"params": list(self.system.server.parameters())},
        ]
        optimizer = torch.optim.Adam(groups, lr=1.0, fused=True)
        optimizer.register_load_state_dict_post_hook(_lay_out)
        schedule = LambdaLR(optimizer, [self._codec_rate, self._server_rate])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _codec_rate(self, step: int) -> float:
        """Halved every so many epochs, in each of the two stages anew."""
        config, epoch = self._config, step // self._steps_per_epoch
        tuning = epoch >= config.epochs
        within = epoch - config.epochs if tuning else epoch
        halvings = within // config.halve_every if config.halve_every else 0
        return (config.tuning_rate if tuning else config.learning_rate) * 0.5**halvings

    def _server_rate(self, step: int) -> float:
        return self._codec_rate(step) if step >= self._config.epochs * self._steps_per_epoch else 0.0

    def _note(self, part: str, scores: Tensor, labels: Tensor, loss: Tensor, bits: Tensor) -> None:
        accuracy = (scores.detach().argmax(1) == labels).float().mean()
        values = {
            f"{part}/loss": loss.detach(),
            f"{part}/accuracy": accuracy,
            f"{part}/spike_rate": bits.detach().mean(),
        }
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(labels))


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Let a state that was read lie in memory as its parameter: fused, Adam goes through both as they lie."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)

"""The Lightning module: one system, its losses, its optimiser, and how votes become a decision."""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.config.speech import TrainingConfig
from nsc_deploy.models.dense import products_in
from nsc_deploy.models.system import System, SystemOutput, rounded_parameters
from nsc_deploy.training.batches import Batch, Share, augment, stream, stream_seed, to_signal
from nsc_deploy.training.sparsity import Synapses, cut_share

_FINAL_RATE = 0.01
"""The cosine schedule ends at this part of the learning rate."""


class SystemTraining(lightning.LightningModule):
    """What trains one system; its state is what checkpoints keep.

    Attributes:
        system: what is trained.
    """

    system: nn.Module


class ReceiverTraining(SystemTraining):
    """Trains a system on batches of events uint8 [B, T, C] and labels int64 [B].

    Args:
        system: what is trained.
        config: how.
        steps_per_epoch: optimiser steps of an epoch, for the schedule.
        bits: round the weights of chip parts to so many in every pass; None leaves them as they are.
        products: number format of the products of dense layers in training; validation is in float32.
        teacher: a finished system whose mean votes are learnt as well.
    """

    system: System

    def __init__(
        self,
        system: System,
        config: TrainingConfig,
        steps_per_epoch: int,
        *,
        bits: int | None = None,
        products: torch.dtype = torch.float32,
        teacher: System | None = None,
    ) -> None:
        super().__init__()
        self.system = system
        self._config = config
        self._steps_per_epoch = steps_per_epoch
        self._bits = bits
        self._products = products
        self._teacher = () if teacher is None else (teacher,)  # in a tuple: no part of what is trained
        self._synapses = Synapses(system)
        self._validation_noise = stream(config.seed, "validation")

    def on_train_epoch_start(self) -> None:
        """Cut as many synapses as the epoch wants."""
        if self._config.sparsity:
            self._synapses.cut(cut_share(self._config, self.current_epoch))

    def on_train_batch_end(self, *_: object) -> None:
        """Leave out what is cut: the optimiser has moved it."""
        self._synapses.hold()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch; its noise is a function of (seed, epoch, step, rank).

        Augmentation does not depend on the rank: it is drawn for the batch of all processes.
        """
        seed, place = self._config.seed, (self.current_epoch, batch_idx, self.global_rank)
        torch.manual_seed(stream_seed(seed, "dropout", *place))  # torch's dropout layers take no generator
        chance = stream(seed, "augmentation", self.current_epoch, batch_idx, 0)
        share = Share(self.global_rank, self.trainer.world_size)
        events = augment(to_signal(batch[0]), self._config, chance, share)
        channel = self.system.link.channel.config
        meter: AbstractContextManager[list[Tensor]] = (
            self._synapses.operations() if self._config.synop_weight else nullcontext([])
        )
        snr = training_snr(channel, self._config, self.current_epoch)
        with self.system.at_snr(*snr), meter as operations, products_in(self._products, self.system):
            output = self._run(events, stream(seed, "channel", *place))
        risen = _risen(self.current_epoch, self._config.spike_rate_warmup * self._config.epochs)
        loss = self._loss(output, batch[1], risen)
        for teacher in self._teacher:
            with torch.no_grad():
                votes = teacher(events, stream(seed, "teacher", *place)).votes
            loss = loss + self._config.teacher_weight * distillation_loss(output.votes, votes)
        if operations:
            loss = loss + risen * self._config.synop_weight * torch.stack(operations).sum() / 1000
        self._note("train", output, batch[1], loss)
        if self._config.sparsity:
            cut = cut_share(self._config, self.current_epoch)
            self.log("train/sparsity", cut, on_step=False, on_epoch=True, batch_size=len(batch[1]))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin the validation noise anew: it is the same in every epoch and on every device."""
        self._validation_noise = stream(self._config.seed, "validation")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and accuracy of one batch."""
        output = self._run(to_signal(batch[0]), self._validation_noise)
        self._note("validation", output, batch[1], self._loss(output, batch[1]))

    def _run(self, events: Tensor, noise: torch.Generator) -> SystemOutput:
        if self._bits is None:
            return self.system(events, noise)  # type: ignore[no-any-return]
        rounded = rounded_parameters(self.system, self._bits)
        output: SystemOutput = functional_call(self.system, rounded, (events, noise))
        return output

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam (AdamW where weights decay) and a schedule that is a function of the step alone."""
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self._config.learning_rate, weight_decay=self._config.weight_decay
        )
        schedule = LambdaLR(optimizer, self._rate_at)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate_at(self, step: int) -> float:
        warmup = self._config.warmup_epochs * self._steps_per_epoch
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self._config.schedule == "constant":
            return 1.0
        whole = max(1.0, self._config.epochs * self._steps_per_epoch - warmup)
        progress = min(1.0, (step - warmup) / whole)
        return _FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress))

    def _loss(self, output: SystemOutput, labels: Tensor, rate_weight: float = 1.0) -> Tensor:
        loss = classification_loss(output.votes, labels)
        if self._config.spike_rate_weight:
            loss = loss + rate_weight * self._config.spike_rate_weight * spike_rate_loss(output.symbols)
        return loss

    def _note(self, part: str, output: SystemOutput, labels: Tensor, loss: Tensor) -> None:
        with torch.no_grad():
            values: dict[str, Any] = {
                f"{part}/loss": loss,
                f"{part}/accuracy": (decide(output.votes) == labels).float().mean(),
            }
            if self.system.spiking:
                values[f"{part}/spike_rate"] = output.symbols.mean()
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(labels), sync_dist=part == "train")


def training_snr(channel: ChannelConfig, config: TrainingConfig, epoch: int) -> tuple[float, float | None]:
    """SNR of an epoch's training channel in dB and None, or both ends of its range.

    Training begins at `snr_start_db` where that is above the channel's own SNR, and falls to it; each sample
    of a range falls to its own. Validation always meets the channel itself.
    """
    risen = _risen(epoch, config.snr_warmup * config.epochs, first=0)

    def now(own: float) -> float:
        start = max(config.snr_start_db, own)
        return start + (own - start) * risen

    return now(channel.snr_db), None if channel.snr_to_db is None else now(channel.snr_to_db)


def _risen(epoch: int, over: float, *, first: int = 1) -> float:
    """How far (0 to 1) a warm-up over `over` epochs has come in an epoch, counted from `first`."""
    return min(1.0, (epoch + first) / over) if over else 1.0


def classification_loss(votes: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error between the votes' mean over time and the one-hot label.

        L = mean over b, c of (mean over t of y[t, b, c] - [labels[b] = c])^2

    The poster prints the mean over steps of each step's squared error instead; its public code, like this,
    takes the mean over steps first, so that a neuron need not vote in every step.

    Args:
        votes: [T, B, classes].
        labels: [B] int64.
    """
    target = functional.one_hot(labels, votes.shape[2]).to(votes.dtype)
    return functional.mse_loss(votes.mean(0), target)


def distillation_loss(votes: Tensor, taught: Tensor) -> Tensor:
    """Mean squared error between the mean votes over time of a system and of its teacher.

        L = mean over b, c of (mean over t of y[t, b, c] - mean over t of y'[t, b, c])^2

    Learning from a larger network what it makes of each sample: Hinton, Vinyals and Dean, "Distilling the
    knowledge in a neural network", arXiv 1503.02531 (2015), with the distance of `classification_loss`.

    Args:
        votes: [T, B, classes].
        taught: likewise, of as many steps as the teacher votes in.
    """
    return functional.mse_loss(votes.mean(0), taught.mean(0))


def spike_rate_loss(symbols: Tensor) -> Tensor:
    """Mean over samples b and transmitter neurons i of the squared spike count.

        L = mean over b, i of (sum over t of s[t, b, i])^2

    The count is taken sample by sample, so neither the batch size nor the number of devices changes
    the loss. The poster's public code squares the count of a whole batch of B samples instead, about
    B^2 times this value: its weights 1e-8 to 2e-7 at B = 64 are 4e-5 to 8e-4 here.

    Args:
        symbols: [T, B, S], 0 or 1.
    """
    return symbols.sum(0).square().mean()


def decide(votes: Tensor) -> Tensor:
    """The class with the largest mean vote over time, the first of equals.

    Args:
        votes: [T, B, classes].

    Returns:
        [B] int64.
    """
    return first_largest(votes.mean(0))


def first_largest(scores: Tensor) -> Tensor:
    """Index of the largest score along the last dimension, the first of equals (argmax promises no order)."""
    classes = scores.shape[-1]
    place = torch.arange(classes, device=scores.device).expand_as(scores)
    is_largest = scores == scores.max(-1, keepdim=True).values
    return torch.where(is_largest, place, classes - 1).min(-1).values

"""A system with memory whose spiking halves compute in Lava's integers: what that costs in answers."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor, nn

from nsc_deploy.config.memory import MemoryExperiment
from nsc_deploy.errors import ConfigError
from nsc_deploy.models.memory.spiking import STEPS, SpikingJscDecoder, SpikingJscEncoder, qpsk
from nsc_deploy.models.memory.spiking_sender import SpikingTransmitter
from nsc_deploy.models.memory.system import MemDeepSC
from nsc_deploy.training.integers import emulator_of
from nsc_deploy.training.run_directory import read_experiment
from nsc_deploy.verification.runner import Runner

BATCH = 2000


def require_chip_parts(run: Path) -> None:
    """Refuse a run that has nothing for a chip.

    Raises:
        ConfigError: it is of no spiking codec.
    """
    experiment = read_experiment(run)
    if not isinstance(experiment, MemoryExperiment) or experiment.system.codec == "dense":
        raise ConfigError(
            "is a run without a spiking codec, which has nothing for a chip",
            where=run,
            hint="Leave --quantise out, or name runs with system.codec spiking or spiking-transmitter.",
        )


def in_integers(run: Path, system: MemDeepSC, bits: int) -> MemDeepSC:
    """A finished system with both spiking halves as an export to Lava writes them; all else stays as it is.

    Args:
        run: of the system.
        system: its best weights; it is not changed.
        bits: of a weight, its sign included.

    Raises:
        ExportError: Lava does not take a half.
    """
    sender, receiver = system.jsc_encoder, system.jsc_decoder
    if not isinstance(sender, SpikingTransmitter | SpikingJscEncoder) or not isinstance(
        receiver, SpikingJscDecoder
    ):
        raise TypeError(f"a {type(sender).__name__} has nothing for a chip")
    # Neurons that take a real current, and the sum that leaves, stay on the host.
    parts = {
        name: emulator_of(run, name, bits, split=split)
        for name, split in (("transmitter", not system.reads_words), ("receiver", True))
    }
    return MemDeepSC(
        system.semantic,
        IntegerSender(sender, parts["transmitter"]),
        IntegerReceiver(receiver, parts["receiver"]),
        system.symbols,
        system.air,
    ).eval()


class IntegerSender(nn.Module):
    """Stands for the spiking half of a sender: its graph in the emulator of Lava's arithmetic.

    Args:
        half: what it stands for, which makes what enters the chip.
        chip: what runs its graph.
    """

    def __init__(self, half: SpikingTransmitter | SpikingJscEncoder, chip: Runner) -> None:
        super().__init__()
        self.stands_for, self.chip = half, chip
        self.reads_words = isinstance(half, SpikingTransmitter)

    def forward(self, read: Tensor) -> Tensor:
        """Symbols [N, L, 2] of words [N, W] or of sentence vectors [N, width]."""
        if isinstance(self.stands_for, SpikingTransmitter):
            return qpsk(_run(self.chip, self.stands_for.events(read), np.uint8)[-STEPS:])
        return qpsk(_run(self.chip, self.stands_for.current(read), np.float32))


class IntegerReceiver(nn.Module):
    """Stands likewise for the spiking half of a receiver.

    Args:
        half: what it stands for.
        chip: what runs its graph.
    """

    def __init__(self, half: SpikingJscDecoder, chip: Runner) -> None:
        super().__init__()
        self.stands_for, self.chip = half, chip

    def forward(self, symbols: Tensor) -> Tensor:
        """Sentence vectors [N, width] of detected symbols [N, L, 2]."""
        return _run(self.chip, self.stands_for.events(symbols), np.uint8).mean(0)


def _run(chip: Runner, signal: Tensor, kind: DTypeLike) -> Tensor:
    """What leaves a chip [T, N, ...] that a signal [T, N, ...] enters, some samples at a time."""
    values: Any = signal.detach().numpy().astype(kind)
    pieces = [chip.run(values[:, start : start + BATCH]).output for start in range(0, values.shape[1], BATCH)]
    return torch.from_numpy(np.concatenate(pieces, 1).astype(np.float32))

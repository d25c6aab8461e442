"""A step of the training of a codec behind VGG16, whole: loop, loss, gradients, optimiser, schedule.

Random features of 512 x 2 x 2, batch 128, n = 8, BSC with p = 0.15, products in bfloat16 where the processor
has instructions for them, behind a backbone that is not trained. The codec alone first, then with the
server's part; time of the process, the median of all steps. The ends of epochs (validation, checkpoints) are
left out.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from nsc_deploy.config.features import FeaturesExperiment
from nsc_deploy.models.features.backbones import build_backbone
from nsc_deploy.training.features.codec import CodecFit
from nsc_deploy.training.features.system import new_classifier
from nsc_deploy.training.features.trainer import single_device_trainer
from nsc_deploy.training.fit import in_bfloat16, quiet_lightning, reproducible
from nsc_deploy.training.record import TrainingRecord

BATCH = 128
WHOLE = {"codec alone": 3000, "with the server's part": 375}
"""Steps of each stage in examples/grids/cifar100_results.toml."""


class TimedBatches:
    """The same batch again and again; the time of the process is noted whenever one is asked for."""

    def __init__(self, steps: int) -> None:
        self._batch = torch.randn(BATCH, 512, 2, 2).relu(), torch.arange(BATCH) % 100
        self._steps = steps
        self.asked_at: list[list[float]] = []

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.asked_at.append([])
        for _ in range(self._steps):
            self.asked_at[-1].append(time.process_time())
            yield self._batch


def measure(system: str, steps: int, threads: int, precision: str) -> dict[str, float]:
    """Milliseconds of a step in each stage."""
    experiment = FeaturesExperiment.model_validate(
        {
            "system": {"name": system, "backbone": "none", "steps": 8},
            "channel": {"kind": "bsc", "p": 0.15},
            "training": {
                "epochs": 1, "tuning_epochs": 1, "batch_size": BATCH, "precision": precision,
                "learning_rate": 2e-3, "tuning_rate": 2e-4,
            },
        }
    )  # fmt: skip
    torch.manual_seed(0)
    backbone = build_backbone("vgg16", 100).eval()
    batches = TimedBatches(steps)
    with tempfile.TemporaryDirectory() as folder, quiet_lightning(), reproducible(threads):
        record = TrainingRecord(Path(folder), patience=0)
        trainer = single_device_trainer(
            2, Path(folder), record, bfloat16=in_bfloat16(experiment.training.precision), progress=False
        )
        module = CodecFit(new_classifier(experiment, backbone), experiment, steps)
        trainer.fit(module, batches)
    return {
        # The first steps compile, and make the server's copy or the optimiser's state.
        stage: 1e3 * median(later - earlier for earlier, later in pairwise(times[2:]))
        for stage, times in zip(WHOLE, batches.asked_at, strict=True)
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--system", default="snn-sc", help="snn-sc, s-jscc, cnn-sc or cnn-1bit (%(default)s)"
    )
    options.add_argument("--steps", type=int, default=20, help="of each stage, 4 or more (%(default)s)")
    options.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    options.add_argument("--precision", default="auto", help="auto, bf16 or fp32 (%(default)s)")
    options.add_argument("--json", action="store_true", help="print JSON in place of a table")
    asked = options.parse_args()
    milliseconds = measure(asked.system, asked.steps, asked.threads, asked.precision)
    if asked.json:
        print(json.dumps({"system": asked.system, "milliseconds": milliseconds}))
        return
    print(f"training of {asked.system} behind VGG16, {asked.threads} thread(s), processor time of a step")
    for stage, time_of_step in milliseconds.items():
        print(f"  {stage:<22}  {time_of_step:7.1f} ms")
    seconds = sum(milliseconds[stage] * steps / 1e3 for stage, steps in WHOLE.items())
    print(f"  {seconds:.0f} s for the 3000 and 750 steps of ten epochs over CIFAR-100")


if __name__ == "__main__":
    main()

"""Features over a channel that flips bits, on small digits: train, evaluate, export to Lava, run, report."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nsc_deploy.channels.config import BinaryChannelConfig, BinaryKind
from nsc_deploy.config.features import (
    BackboneConfig,
    BackboneExperiment,
    BackboneTrainingConfig,
    CodecConfig,
    CodecTrainingConfig,
    FeaturesExperiment,
)
from nsc_deploy.data.image_config import ImageDataConfig
from nsc_deploy.demo.speech import lava_or_why_not
from nsc_deploy.energy import Estimate, estimate
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.verify import Run, open_deployment, run
from nsc_deploy.io.text import counted
from nsc_deploy.training.features.plots import write_codec_plots
from nsc_deploy.training.features.sweep import CodecSweep, sweep_codecs
from nsc_deploy.training.run import train

BACKBONE, SPIKING, OPPONENT = "backbone", "snn-sc", "cnn-1bit"
_FLIPS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
_DRAWS = 3


@dataclass(frozen=True)
class FeaturesPlan:
    """What the demonstration trains and runs.

    Attributes:
        backbone_epochs: of the classifier.
        epochs: of each codec alone.
        tuning_epochs: of each codec with the server's part.
        steps: n, for both codecs.
        flip: probability in training.
        seed: of everything drawn by chance.
        lava_samples: recorded samples that run in Lava.
    """

    backbone_epochs: int = 20
    epochs: int = 15
    tuning_epochs: int = 3
    steps: int = 4
    flip: float = 0.15
    seed: int = 0
    lava_samples: int = 10

    def backbone(self) -> BackboneExperiment:
        """The classifier."""
        return BackboneExperiment(
            system=BackboneConfig(backbone="cnn8"),
            data=ImageDataConfig(dataset="digits"),
            training=BackboneTrainingConfig(epochs=self.backbone_epochs, seed=self.seed, threads=1),
        )

    def codec(self, name: str, backbone: Path) -> FeaturesExperiment:
        """A codec for its features."""
        return FeaturesExperiment(
            system=CodecConfig.model_validate({"name": name, "backbone": str(backbone), "steps": self.steps}),
            data=ImageDataConfig(dataset="digits"),
            channel=BinaryChannelConfig(p=self.flip),
            training=CodecTrainingConfig(
                epochs=self.epochs,
                tuning_epochs=self.tuning_epochs,
                learning_rate=2e-3,
                tuning_rate=2e-4,
                seed=self.seed,
                threads=1,
            ),
        )


@dataclass(frozen=True)
class FeaturesDemonstration:
    """What it leaves behind.

    Attributes:
        runs: backbone, spiking codec, 1-bit opponent.
        sweeps: accuracy over the channel; the backbone's with JPEG and a convolutional code.
        deployments: encoder and decoder, exported for Lava.
        outcome: the decoder on its backend, beside the floating-point graph.
        without_lava: why the emulator ran instead of Lava, or None.
        estimate: the energy of all three.
        files: pictures and reports.
    """

    runs: tuple[Path, ...]
    sweeps: tuple[CodecSweep, ...]
    deployments: tuple[Path, ...]
    outcome: Run
    without_lava: str | None
    estimate: Estimate
    files: tuple[Path, ...]

    def as_json(self) -> dict[str, object]:
        """What was written and the figures that matter, as a value `json` can write."""
        energies = {
            system.label: {column: energy.mean_uj for column, energy in system.energy.items()}
            for system in self.estimate.report.systems
        }
        return {
            "runs": [str(one) for one in self.runs],
            "deployments": [str(one) for one in self.deployments],
            "files": [str(path) for path in self.files],
            "backend": self.outcome.backend,
            "without_lava": self.without_lava,
            "p": list(self.sweeps[0].p),
            "accuracy": {sweep.label: list(sweep.accuracy) for sweep in self.sweeps},
            "bits": {sweep.label: sweep.bits for sweep in self.sweeps},
            "energy_uj": energies,
        }


def demonstrate_features(
    out: Path,
    plan: FeaturesPlan | None = None,
    *,
    lava: bool = True,
    overwrite: bool = False,
    progress: bool = True,
    notify: Callable[[str], None] = lambda _line: None,
) -> FeaturesDemonstration:
    """Train, evaluate, export, run and report, all below `out`.

    What an earlier, interrupted call finished is kept, unless `overwrite` is set.

    Args:
        out: the folder to write.
        plan: what to train; the default ends in under five minutes on two cores.
        lava: run in the real Lava, installing its environment where a Python 3.10 is found; else in the
            emulator.
        overwrite: train anew.
        progress: show progress bars.
        notify: called with one line at the start of each step.

    Raises:
        ConfigError: `out` holds runs of another plan.
        UserError: a file cannot be written, or a package is missing.
    """
    plan = plan or FeaturesPlan()
    asked = {"resume": not overwrite, "overwrite": overwrite, "progress": progress}
    notify("Training 1 of 3: a classifier of digits")
    backbone = train(plan.backbone(), out / BACKBONE, **asked).run
    runs = [backbone]
    for number, name in enumerate((SPIKING, OPPONENT), start=2):
        notify(f"Training {number} of 3: {name}, which sends its features as {plan.steps} x 16 bits")
        runs.append(train(plan.codec(name, backbone), out / name, **asked).run)
    notify("Sending the test images over channels that flip bits")
    kind = BinaryKind.BSC
    order = [runs[1], runs[2], backbone]
    sweeps = sweep_codecs(order, kind, _FLIPS, draws=_DRAWS, progress=progress)
    notify("Exporting encoder and decoder to Lava")
    deployments = tuple(
        export_all(runs[1], "lava", out / f"lava-{part}", part=part, split=part == "transmitter")[0]
        for part in ("transmitter", "receiver")
    )
    without_lava = lava_or_why_not() if lava else "not asked for"
    backend = "lava" if without_lava is None else "twin"
    notify(f"Decoding {counted(plan.lava_samples, 'sample')} on {backend}")
    outcome = run(open_deployment(deployments[1]), backend, samples=plan.lava_samples)
    notify("Counting every operation")
    priced = estimate(order)
    files = (*write_codec_plots(sweeps, out), *priced.write(out))
    return FeaturesDemonstration(
        tuple(runs), tuple(sweeps), deployments, outcome, without_lava, priced, files
    )

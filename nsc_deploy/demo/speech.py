"""The whole path in one call: train three receivers, export the spiking one, run it, report their energy."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.config.speech import ReceiverKind, SpeechExperiment, SystemConfig, SystemName, TrainingConfig
from nsc_deploy.data.config import DataConfig, SynthesisConfig
from nsc_deploy.energy import Estimate, estimate
from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.lava.environment import install_environment
from nsc_deploy.exporters.verify import Run, open_deployment, run
from nsc_deploy.io.progress import progress_bar, waiting
from nsc_deploy.io.text import counted
from nsc_deploy.training.run import train


@dataclass(frozen=True)
class Contestant:
    """A system that the demonstration trains.

    Attributes:
        title: as shown while it is trained.
        system: which one.
        receiver: of att-neurosc; the others have only one.
    """

    title: str
    system: SystemName
    receiver: ReceiverKind = ReceiverKind.EVENT


CONTESTANTS = {
    "event": Contestant("att-neurosc with the event receiver", SystemName.ATT_NEUROSC),
    "fc": Contestant("fc, a conventional network", SystemName.FC),
    "lstm": Contestant("lstm, a conventional recurrent network", SystemName.LSTM),
}
SPIKING = "event"

Notify = Callable[[str], None]


class Plan(BaseModel):
    """What the demonstration trains and runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    data: DataConfig = DataConfig(synthesis=SynthesisConfig(train=1000, test=300))
    """the data set, the same for all"""
    system: SystemConfig = SystemConfig()
    """sizes; name and receiver are those of each system"""
    channel: ChannelConfig = ChannelConfig(snr_db=10)
    """the channel, the same for all"""
    training: TrainingConfig = TrainingConfig(
        epochs=30, learning_rate=2e-3, time_shift=0, channel_dropout=0.0, threads=1
    )
    """how long and with which seed; one thread, so that every machine takes sums in the same order"""
    spike_rate_weight: Annotated[float, Field(ge=0)] = 0.0
    """of the spiking system's loss"""
    lava_samples: Annotated[int, Field(ge=1)] = 20
    """recorded samples that run in Lava"""

    def experiment(self, name: str) -> SpeechExperiment:
        """The experiment of one of `CONTESTANTS`."""
        one = CONTESTANTS[name]
        weight = self.spike_rate_weight if one.system.spiking else 0.0
        return SpeechExperiment(
            system=self.system.model_copy(update={"name": one.system, "receiver": one.receiver}),
            data=self.data,
            channel=self.channel,
            training=self.training.model_copy(update={"spike_rate_weight": weight}),
        )

    def of_length(self, epochs: int, seed: int) -> "Plan":
        """The same with another number of epochs and another seed."""
        return self.model_copy(
            update={"training": self.training.model_copy(update={"epochs": epochs, "seed": seed})}
        )


@dataclass(frozen=True)
class Demonstration:
    """What the demonstration leaves behind.

    Attributes:
        runs: the run directories, the spiking system first.
        deployment: the folder exported for Lava.
        outcome: the spiking receiver's run on its backend, beside the floating-point graph.
        without_lava: why the emulator of Lava's arithmetic ran instead of Lava, or None.
        estimate: the energy of all three.
        files: the report's files.
    """

    runs: tuple[Path, ...]
    deployment: Path
    outcome: Run
    without_lava: str | None
    estimate: Estimate
    files: tuple[Path, ...]

    def as_json(self) -> dict[str, object]:
        """What was written and the figures that matter, as a value `json` can write."""
        report = self.estimate.report
        systems = [
            {
                "label": system.label,
                "accuracy": system.accuracy,
                "energy_uj": {column: energy.mean_uj for column, energy in system.energy.items()},
            }
            for system in report.systems
        ]
        return {
            "runs": [str(run) for run in self.runs],
            "deployment": str(self.deployment),
            "files": [str(path) for path in self.files],
            "backend": self.outcome.backend,
            "without_lava": self.without_lava,
            "parity": self.outcome.parity(),
            "profile": report.profile.name,
            "systems": systems,
        }


def demonstrate(
    out: Path,
    plan: Plan | None = None,
    *,
    lava: bool = True,
    overwrite: bool = False,
    progress: bool = True,
    notify: Notify = lambda _line: None,
) -> Demonstration:
    """Train, export, run and report, all below `out`; progress bars go to the standard error.

    What an earlier, interrupted call finished is kept, unless `overwrite` is set.

    Args:
        out: the folder to write.
        plan: what to train; the default ends in under ten minutes on two cores.
        lava: run in the real Lava, installing its environment where a Python 3.10 is found; else in the
            emulator.
        overwrite: train anew.
        progress: show the progress of training.
        notify: called with one line at the start of each step.

    Raises:
        ConfigError: `out` holds runs of another plan.
        UserError: a file cannot be written, or synthesised speech is not available.
    """
    plan = Plan() if plan is None else plan
    runs = []
    for number, (name, contestant) in enumerate(CONTESTANTS.items(), start=1):
        notify(f"Training {number} of {len(CONTESTANTS)}: {contestant.title}")
        asked = {"resume": not overwrite, "overwrite": overwrite, "progress": progress}
        runs.append(train(plan.experiment(name), out / name, **asked).run)
    notify("Exporting the spiking receiver to Lava")
    (deployment,) = export_all(out / SPIKING, "lava", out / "lava")
    without_lava = lava_or_why_not() if lava else "not asked for"
    backend = "lava" if without_lava is None else "twin"
    notify(f"Running {counted(plan.lava_samples, 'sample')} on {backend}")
    outcome = _run(deployment, backend, plan.lava_samples)
    notify("Counting every operation")
    priced = estimate(runs)
    return Demonstration(tuple(runs), deployment, outcome, without_lava, priced, priced.write(out))


def _run(deployment: Path, backend: str, samples: int) -> Run:
    with progress_bar() as bar:
        task = bar.add_task(f"samples on {backend}", total=samples)
        return run(
            open_deployment(deployment),
            backend,
            samples=samples,
            advance=lambda count: bar.advance(task, count),
        )


def lava_or_why_not() -> str | None:
    """Install Lava's environment if it is not there; why that is not possible, or None."""
    with waiting("Lava's environment") as tell:
        try:
            install_environment(notify=lambda line: tell(f"Lava's environment: {line}"))
        except BackendError as error:
            return error.message
    return None

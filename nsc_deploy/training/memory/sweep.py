"""Runs of systems with memory over many SNRs: accuracy, tasks solved and symbols."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nsc_deploy.channels.config import require_snr
from nsc_deploy.config.memory import MemoryChannelConfig, MemoryExperiment, MemorySystemConfig
from nsc_deploy.data.corpora import corpus_sha256, load_corpus
from nsc_deploy.data.stories import Corpus
from nsc_deploy.errors import ConfigError
from nsc_deploy.experiment_file import settings_digest
from nsc_deploy.io.progress import waiting
from nsc_deploy.io.text import places_apart
from nsc_deploy.models.memory.text import TextSystem
from nsc_deploy.training.fit import reproducible
from nsc_deploy.training.memory.evaluate import Point, evaluate_at
from nsc_deploy.training.memory.integers import in_integers, require_chip_parts
from nsc_deploy.training.memory.rounds import sample
from nsc_deploy.training.memory.training import finished_memory_system
from nsc_deploy.training.run_directory import (
    read_experiment,
    read_experiment_of,
    read_metrics,
    require_same_data,
)

SNRS_DB = (-6.0, -3.0, 0.0, 3.0, 6.0, 9.0, 12.0, 18.0)
RICIAN_K = MemoryChannelConfig().rician_k
QUESTIONS = 200
"""Of each task that a point is measured on; 20 tasks of them tell 1 part of 100 apart."""


@dataclass(frozen=True)
class MemorySweep:
    """One run at several SNRs.

    Attributes:
        run: its directory.
        system: its name and what distinguishes it, the end of its path where nothing else does.
        channel: its kind, and whether it is known from a pilot.
        questions: of the test that each point was measured on.
        points: by rising SNR.
        settings: digest of its experiment; seeds of one experiment share it.
    """

    run: Path
    system: str
    channel: str
    questions: int
    points: tuple[Point, ...]
    settings: str

    @property
    def label(self) -> str:
        """The system and its channel."""
        return f"{self.system}, {self.channel}"

    def as_json(self) -> dict[str, Any]:
        """For evaluation.json."""
        return {
            "run": str(self.run),
            "label": self.label,
            "system": self.system,
            "channel": self.channel,
            "settings": self.settings,
            "questions": self.questions,
            "points": [
                {
                    "snr_db": point.snr_db,
                    "accuracy": point.accuracy,
                    "tasks_at_95": point.solved,
                    "by_task": {str(task): share for task, share in point.by_task.items()},
                    "symbols": point.symbols.sent,
                    "symbols_blocks": point.symbols.blocks,
                    "symbols_with_positions": point.symbols.with_positions,
                }
                | ({} if point.seen is None else {"seen": asdict(point.seen)})
                | ({} if point.unseen is None else {"unseen": asdict(point.unseen)})
                for point in self.points
            ],
        }


_OF_A_SEED = ("training.seed", "training.threads", "training.start_from", "data.path")


def have_memory(runs: Sequence[Path]) -> bool:
    """Whether all runs are of systems with memory.

    Raises:
        ConfigError: only some of them are.
    """
    kinds = [isinstance(read_experiment(run), MemoryExperiment) for run in runs]
    if any(kinds) and not all(kinds):
        raise ConfigError(
            "systems with memory and others answer different questions",
            where=runs[kinds.index(False)],
            hint="Evaluate them apart.",
        )
    return all(kinds)


def sweep_memory(
    runs: Sequence[Path],
    snrs_db: Sequence[float] | None,
    questions: int = QUESTIONS,
    *,
    bits: Sequence[int] = (),
) -> list[MemorySweep]:
    """Evaluate finished runs, on the same test questions and noise at each SNR.

    Args:
        runs: their directories.
        snrs_db: in dB; None for -6 to 18.
        questions: of each task.
        bits: of a weight; for each a further sweep of each run, its spiking halves in Lava's integers.

    Raises:
        ConfigError: an SNR is out of range, or a run has no spiking half.
        DataError: a run is not finished, or its data is missing or not that of its training.
    """
    for snr_db in snrs_db or ():
        require_snr(snr_db)
    for run in runs if bits else ():
        require_chip_parts(run)
    corpora: dict[str, Corpus] = {}
    sweeps = []
    with waiting("stories") as say:
        for run in runs:
            experiment = read_experiment_of(MemoryExperiment, run)
            read_metrics(run)
            told = experiment.data.model_dump_json()
            if told not in corpora:
                corpora[told] = load_corpus(experiment.data)
            corpus = corpora[told]
            require_same_data(run, corpus_sha256(corpus))
            with reproducible(experiment.training.threads):
                system = finished_memory_system(experiment, corpus, run)
                chosen, training = sample(corpus.test, questions), experiment.training
                held_out = corpus.held_out(training.hold_out, training.seed) if training.hold_out else None
                settings = settings_digest(experiment, _OF_A_SEED)
                for form in (None, *bits):
                    if form is None or isinstance(system, TextSystem):
                        computed = system
                    else:
                        computed = in_integers(run, system, form)
                    points = []
                    for snr_db in sorted(snrs_db or SNRS_DB):
                        say(f"{run.name} at {snr_db:g} dB" + ("" if form is None else f", {form} bits"))
                        points.append(evaluate_at(computed, corpus, chosen, snr_db, training.seed, held_out))
                    labels = _labels(experiment, form)
                    sweeps.append(MemorySweep(run, *labels, len(chosen), tuple(points), settings))
    places = places_apart([one.label for one in sweeps], [one.run for one in sweeps])
    return [
        replace(one, system=", ".join(filter(None, (one.system, place))))
        for one, place in zip(sweeps, places, strict=True)
    ]


def _labels(experiment: MemoryExperiment, bits: int | None = None) -> tuple[str, str]:
    """What distinguishes the system, and the channel."""
    system, channel = experiment.system, experiment.channel
    own = _of_mem_deepsc(experiment) if system.name == "mem-deepsc" else [str(system.modulation)]
    if system.memory <= 1:
        own.append("question only" if system.memory == 0 else "last sentence")
    if bits is not None:
        own.append(f"{bits} bits")
    ratio = f", r = {channel.rician_k:g}" if channel.kind == "rician" and channel.rician_k != RICIAN_K else ""
    pilot = " with a pilot" if channel.knowledge == "pilot" else ""
    return ", ".join([system.name, *own]), f"{channel.kind}{ratio}{pilot}"


def _of_mem_deepsc(experiment: MemoryExperiment) -> list[str]:
    """What an experiment with Mem-DeepSC changes of the usual one."""
    system, training, usual = experiment.system, experiment.training, MemorySystemConfig()
    found: dict[str, bool] = {
        system.codec: system.codec != "dense",
        f"{system.symbols} symbols": system.symbols != usual.symbols,
        f"{system.mask} mask": system.mask != "none",
        f"{system.least_symbols} at least": system.mask != "none"
        and system.least_symbols != usual.least_symbols,
        "separate": training.joint_steps == 0,
        "encoder held": training.freeze_encoder and training.joint_steps > 0,
        f"{100 * training.hold_out:g}% of the sentences held out": training.hold_out > 0,
    }
    return [name for name, holds in found.items() if holds]

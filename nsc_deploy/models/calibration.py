"""Recorded inputs of the parts for a chip, from samples that no test ever sees."""

from pathlib import Path

import numpy as np
import torch

from nsc_deploy.data import EventSet
from nsc_deploy.deployment import Deployment, Part, Place, write_deployment
from nsc_deploy.models.export import check_stage, record_stages, write_stage_recording
from nsc_deploy.models.system import System


def write_calibration(
    system: System, run: Path, deployment: Deployment, samples: EventSet, noise: torch.Generator
) -> Deployment:
    """Record what enters each chip part of a run, and name the recordings in deployment.json.

    The graphs that are there must give what the system gives on these samples: weights and graphs of
    different trainings are never mixed.

    Args:
        system: the finished system of the run.
        run: the run directory, its graphs written.
        deployment: what its deployment.json says.
        samples: of the training part.
        noise: the channel's generator.

    Raises:
        GraphError: a graph of the run does not compute what the system computes.
        UserError: the run directory cannot be written.
    """
    recorded: dict[str, str] = {}
    places = {part.name: part for part in deployment.parts if part.place is Place.CHIP}
    for stage_run in record_stages(system, samples, noise):
        part = places.get(stage_run.name)
        if part is None:
            continue
        check_stage(run / part.graph, stage_run)
        recorded[part.name] = f"{part.name}.calibration.npz"
        write_stage_recording(run / recorded[part.name], stage_run, deployment.dt, samples.labels)
    parts = tuple(
        part.model_copy(update={"calibration": recorded.get(part.name)}) for part in deployment.parts
    )
    complete = deployment.model_copy(update={"parts": parts})
    write_deployment(run, complete)
    return complete


def is_recorded(run: Path, deployment: Deployment) -> bool:
    """Whether every chip part of a run has its calibration recording."""
    return all(_has_recording(run, part) for part in deployment.parts if part.place is Place.CHIP)


def _has_recording(run: Path, part: Part) -> bool:
    return part.calibration is not None and (run / part.calibration).is_file()


def balanced(part: EventSet, count: int, seed: int) -> EventSet:
    """At most `count` samples, of every class as many as of any other as far as there are so many.

    One sample of each class follows another, so that the first so many are balanced too.

    Args:
        part: what to choose from.
        count: how many.
        seed: the same seed gives the same choice.
    """
    chance, rank = np.random.default_rng(seed), np.empty(len(part), np.int64)
    for label in np.unique(part.labels):
        members = np.flatnonzero(part.labels == label)
        rank[chance.permutation(members)] = np.arange(len(members))
    return part.take(np.lexsort((part.labels, rank))[:count])

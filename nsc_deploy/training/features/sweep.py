"""Accuracy of codecs over the probability of an error, and of separate coding beside them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nsc_deploy.channels.config import BinaryChannelConfig, BinaryKind, Erased
from nsc_deploy.config.features import BackboneExperiment, FeaturesExperiment
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.experiment_file import FILE_NAME, settings_digest
from nsc_deploy.io.progress import progress_bar
from nsc_deploy.io.text import places_apart
from nsc_deploy.models.features.held import hold_scoring
from nsc_deploy.models.features.jpeg import JpegCodec
from nsc_deploy.training.features.cache import Features, FeatureSource, load_features
from nsc_deploy.training.features.evaluate import (
    accuracy_after,
    accuracy_without_channel,
    encoded,
    measure_bits,
)
from nsc_deploy.training.features.integers import in_integers, require_chip_parts
from nsc_deploy.training.features.separate import SEPARATE, measure_separate
from nsc_deploy.training.features.system import finished_classifier
from nsc_deploy.training.fit import reproducible
from nsc_deploy.training.run_directory import read_experiment
from nsc_deploy.training.start import require_finished


@dataclass(frozen=True)
class CodecSweep:
    """One run over a channel.

    Attributes:
        run: the run directory.
        name: the codec; `jpeg-conv` for a run of a backbone.
        backbone: what it stands behind.
        backbone_run: the run of that.
        steps: n; None for separate coding.
        trained_at: its training channel, as a person writes it; empty for separate coding.
        channel: bsc or bec, on which it was evaluated.
        p: the probabilities evaluated.
        accuracy: mean over the draws of the channel, one for each of `p`.
        deviation: standard deviation over the draws, likewise.
        bits: on the channel for one sample, all of what is sent; the mean where samples differ.
        ones: part of the bits that are 1; None for separate coding.
        failures: part of the samples whose picture could not be read, one for each of `p`; separate coding.
        after: accuracy when only the first 1, 2, ..., T steps have arrived at the last of `p` that is not
            above that of the training, of a range its end; spiking codecs.
        after_p: that probability.
        without_channel: accuracy of the server's part on the features themselves, of the backbone alone.
        samples: of the test part.
        draws: of the channel for each sample.
        products: number format of the server's products, float32 or bfloat16.
        settings: digest of its experiment; seeds of one experiment share it.
        place: end of the run's path, where another run has the same label.
    """

    run: Path
    name: str
    backbone: str
    backbone_run: Path
    steps: int | None
    trained_at: str
    channel: str
    p: tuple[float, ...]
    accuracy: tuple[float, ...]
    deviation: tuple[float, ...]
    bits: float
    ones: float | None
    failures: tuple[float, ...]
    after: tuple[float, ...]
    after_p: float | None
    without_channel: float
    samples: int
    draws: int
    products: str
    settings: str
    place: str = ""

    @property
    def label(self) -> str:
        """Name of the codec, n and its training, and its place where that is not enough."""
        n = "" if self.steps is None else f" n {self.steps}"
        return ", ".join(filter(None, (f"{self.name}{n}", self.trained_at, self.place)))

    def as_json(self) -> dict[str, object]:
        """Every field, for a file."""
        return asdict(self) | {"run": str(self.run), "backbone_run": str(self.backbone_run)}


def are_features(runs: Sequence[Path]) -> bool:
    """Whether these are runs of codecs or backbones.

    Raises:
        ConfigError: some are and some are not.
    """
    found = [isinstance(read_experiment(run), BackboneExperiment | FeaturesExperiment) for run in runs]
    if any(found) and not all(found):
        raise ConfigError(
            "is no run of a codec or a backbone, and others are",
            where=runs[found.index(False)],
            hint="Evaluate runs of speech receivers on their own.",
        )
    return all(found)


def sweep_codecs(
    runs: Sequence[Path],
    kind: BinaryKind | None,
    points: Sequence[float],
    *,
    draws: int = 1,
    most: int | None = None,
    bits: Sequence[int] = (),
    bfloat16: bool = False,
    progress: bool = False,
) -> list[CodecSweep]:
    """Evaluate runs on the test images over probabilities of an error.

    Args:
        runs: of codecs, or of backbones for separate coding.
        kind: of the channel; None for the one of each training, at its own probability, at five over a range.
        points: the probabilities; none with no kind.
        draws: how often each sample is sent.
        most: look at the first so many test images alone; None for all.
        bits: of a weight; for each a further sweep of each run, its chip parts in Lava's integers.
        bfloat16: compute the server's products in bfloat16, its scores in float32 all the same.
        progress: show a progress bar on stderr.

    Raises:
        ConfigError: a probability out of range, or a backbone without a channel.
        DataError: a run is not finished, or its weights or images are missing or damaged.
    """
    # All of them, before the first minute of work.
    channels = {run: _channels(run, kind, points) for run in runs}
    for run in runs if bits else ():
        require_chip_parts(run)
    forms: tuple[int | None, ...] = (None, *bits)
    products = torch.bfloat16 if bfloat16 else torch.float32
    with progress_bar(shown=progress) as bar:
        total = len(forms) * sum(len(channels[run]) for run in runs)
        task = bar.add_task("evaluating", total=total)
        sweeps = [
            _sweep(
                run, channels[run], draws, most, lambda: bar.advance(task), form, products, progress=progress
            )
            for run in runs
            for form in forms
        ]
    places = places_apart([one.label for one in sweeps], [one.run for one in sweeps])
    return [replace(one, place=place) for one, place in zip(sweeps, places, strict=True)]


def _channels(run: Path, kind: BinaryKind | None, points: Sequence[float]) -> list[BinaryChannelConfig]:
    """What a run is evaluated on.

    Raises:
        ConfigError: a probability out of range, or a backbone without a channel.
        DataError: the run is not finished, or its backbone is not there as it was.
    """
    require_finished(run, "nsc-deploy evaluate")
    experiment = read_experiment(run)
    if isinstance(experiment, FeaturesExperiment):
        _backbone_of(run, experiment).require_behind(run)
        own = experiment.channel
        return _at_home(own) if kind is None else [channel_at(kind, p, own.erased) for p in points]
    if kind is None:
        raise ConfigError(
            "is a run of a backbone, which has no channel of its own",
            where=run,
            hint="Say which one to evaluate JPEG and the convolutional code on: --flip 0:0.1:0.01.",
        )
    return [channel_at(kind, p) for p in points]


def _backbone_of(run: Path, experiment: FeaturesExperiment, *, progress: bool = False) -> FeatureSource:
    try:
        return FeatureSource(Path(experiment.system.backbone or ""), experiment.data.path, progress=progress)
    except DataError as error:
        raise DataError(
            error.problem,
            where=error.where,
            hint=f"{run} was trained behind it: put it back, or name where it is now in {run / FILE_NAME}, "
            "field system.backbone.",
        ) from error


_POINTS = 5
_OF_A_SEED = ("training.seed", "training.threads", "data.path")


def _at_home(own: BinaryChannelConfig) -> list[BinaryChannelConfig]:
    """The channel of a training; of a range points over it, but for one that tells nothing."""
    if own.p_to is None:
        return [own]
    points = np.linspace(own.p, own.p_to, _POINTS).round(12).tolist()
    return [channel_at(own.kind, p, own.erased) for p in points if p != own.kind.useless]


def _sweep(
    run: Path,
    channels: Sequence[BinaryChannelConfig],
    draws: int,
    most: int | None,
    advance: Callable[[], None],
    bits: int | None,
    products: torch.dtype,
    *,
    progress: bool,
) -> CodecSweep:
    experiment = read_experiment(run)
    if isinstance(experiment, BackboneExperiment):
        source = FeatureSource(run, progress=progress)
        features = _first(load_features(source, progress=progress), most)
        return _separate(source, features, channels, experiment.training.seed, draws, advance, products)
    if not isinstance(experiment, FeaturesExperiment):
        raise TypeError(f"no codec in {run}")
    source = _backbone_of(run, experiment, progress=progress)
    features = _first(load_features(source, progress=progress), most)
    return _codec(run, experiment, source, features, channels, draws, advance, bits, products)


def channel_at(kind: BinaryKind, p: float, erased: Erased = Erased.RANDOM) -> BinaryChannelConfig:
    """A channel at one probability.

    Args:
        kind: BSC or BEC.
        p: of an error.
        erased: how the receiver reads an erased bit.

    Raises:
        ConfigError: it is no probability, or one at which nothing arrives.
    """
    try:
        if kind is BinaryKind.BEC:
            return BinaryChannelConfig(kind=kind, p=p, erased=erased)
        return BinaryChannelConfig(kind=kind, p=p)
    except ValueError as error:
        option = "--flip" if kind is BinaryKind.BSC else "--erase"
        raise ConfigError(
            f"{p:g} is no probability that tells something: from 0 to 1, on a BSC not 0.5, on a BEC not 1",
            where=option,
            hint=f"Write {option} 0:0.3:0.05 (first:last:step) or {option} 0,0.1,0.2.",
        ) from error


def _first(features: Features, most: int | None) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    return features.test[:most], features.test_labels[:most]


def _codec(
    run: Path,
    experiment: FeaturesExperiment,
    source: FeatureSource,
    test: tuple[NDArray[np.float16], NDArray[np.int64]],
    channels: Sequence[BinaryChannelConfig],
    draws: int,
    advance: Callable[[], None],
    weight_bits: int | None,
    products: torch.dtype,
) -> CodecSweep:
    features, labels = test
    own, seed = experiment.channel, experiment.training.seed
    with reproducible(experiment.training.threads):
        server = hold_scoring(source.backbone.server_part, products)
        without = accuracy_without_channel(server, features, labels)
        classifier = finished_classifier(experiment, source.backbone, run)
        classifier.server = hold_scoring(classifier.server, products)
        chips = None if weight_bits is None else in_integers(run, classifier, weight_bits)
        bits = encoded(classifier, features) if chips is None else chips.encoded(features)
        scores = classifier.scores if chips is None else chips.scores
        found = []
        for channel in channels:
            found.append(measure_bits(classifier, bits, labels, channel, seed, draws=draws, scores=scores))
            advance()
        after_at = _as_in_training(own, channels)
        spiking = chips is None and classifier.codec.form.name.spiking
        after = accuracy_after(classifier, bits, labels, after_at, seed, draws=draws) if spiking else ()
    ends = f"{own.p:g}" if own.p_to is None else f"{own.p:g} to {own.p_to:g}"
    return CodecSweep(
        run=run,
        name=_name(experiment) + ("" if weight_bits is None else f", {weight_bits} bits"),
        backbone=source.experiment.system.backbone,
        backbone_run=source.run.resolve(),
        steps=experiment.system.steps,
        trained_at=f"{own.kind.value} {ends}",
        channel=channels[0].kind.value,
        p=tuple(one.p for one in channels),
        accuracy=tuple(one.accuracy for one in found),
        deviation=tuple(one.deviation for one in found),
        bits=float(np.prod(bits.shape) / bits.shape[1]),
        ones=found[0].ones,
        failures=(),
        after=after,
        after_p=after_at.p if after else None,
        without_channel=without,
        samples=len(labels),
        draws=draws,
        products=f"{products}".removeprefix("torch."),
        settings=settings_digest(experiment, _OF_A_SEED),
    )


def _as_in_training(own: BinaryChannelConfig, channels: Sequence[BinaryChannelConfig]) -> BinaryChannelConfig:
    """The channel that is told step by step: the worst one not beyond the training's, else the best there is.

    Probabilities of the two kinds of channel are not compared.
    """
    end = own.p if own.p_to is None else own.p_to
    known = [one for one in channels if one.kind is own.kind and one.p <= end]
    return max(known, key=lambda one: one.p) if known else min(channels, key=lambda one: one.p)


def _name(experiment: FeaturesExperiment) -> str:
    """The codec, with what sets it apart from the papers' form."""
    system, plain = experiment.system, type(experiment.system).model_fields
    words = {
        "last": f"{system.last}",
        "reset": "reset to zero",
        "target": f"alpha {system.target}",
        "target_weight": f"weight {system.target_weight:g}" if system.target_weight else "no term",
        "threshold": f"threshold {system.threshold:g}",
        "slope": f"slope {system.slope:g}",
        "gain": f"gain {system.gain}",
        "gray": "gray",
        "hidden": f"hidden {system.hidden}",
        "bits": f"k {system.bits}",
    }
    marks = [word for field, word in words.items() if getattr(system, field) != plain[field].default]
    if experiment.channel.erased is Erased.HALF:
        marks.append("erased as 0.5")
    return f"{system.name} ({', '.join(marks)})" if marks else system.name


def _separate(
    source: FeatureSource,
    test: tuple[NDArray[np.float16], NDArray[np.int64]],
    channels: Sequence[BinaryChannelConfig],
    seed: int,
    draws: int,
    advance: Callable[[], None],
    products: torch.dtype,
) -> CodecSweep:
    """JPEG of the tiled feature, and the convolutional code of rate 1/3, over a channel."""
    features, labels = test
    server = hold_scoring(source.backbone.server_part, products)
    _, channels_in, height, width = features.shape
    codec = JpegCodec((channels_in, height, width))
    with reproducible(source.experiment.training.threads):
        without = accuracy_without_channel(server, features, labels)
        sent = [codec.compress(one.astype(np.float32)) for one in features]
        found = []
        for channel in channels:
            found.append(measure_separate(server, codec, sent, labels, channel, seed, draws))
            advance()
    return CodecSweep(
        run=source.run,
        name=SEPARATE,
        backbone=source.experiment.system.backbone,
        backbone_run=source.run.resolve(),
        steps=None,
        trained_at="",
        channel=channels[0].kind.value,
        p=tuple(one.p for one in channels),
        accuracy=tuple(one.accuracy for one in found),
        deviation=tuple(one.deviation for one in found),
        bits=float(np.mean([one.bits for one in sent])),
        ones=None,
        failures=tuple(one.failures for one in found),
        after=(),
        after_p=None,
        without_channel=without,
        samples=len(labels),
        draws=draws,
        products=f"{products}".removeprefix("torch."),
        settings=settings_digest(source.experiment, _OF_A_SEED),
    )

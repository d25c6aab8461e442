"""What a trained codec leaves in its run: graphs, recorded inputs, deployment.json, and what it reached."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nsc_deploy.channels.binary import BinaryChannel
from nsc_deploy.config.features import FeaturesExperiment
from nsc_deploy.deployment import Deployment, Readout, write_deployment
from nsc_deploy.models.features.export import FeatureSystem, channel_use, write_parts
from nsc_deploy.models.features.held import hold
from nsc_deploy.training.batches import stream, stream_seed
from nsc_deploy.training.features.backbone import parts
from nsc_deploy.training.features.cache import Features, FeatureSource
from nsc_deploy.training.features.codec import training_indices
from nsc_deploy.training.features.evaluate import accuracy_without_channel, measure_codec
from nsc_deploy.training.features.recorded import STEP_SECONDS, recorded
from nsc_deploy.training.features.system import CodedClassifier, finished_classifier
from nsc_deploy.training.fit import reproducible
from nsc_deploy.training.metrics import FeaturesMetrics
from nsc_deploy.training.record import TrainingRecord


def finish(
    experiment: FeaturesExperiment,
    source: FeatureSource,
    features: Features,
    run: Path,
    record: TrainingRecord,
) -> FeaturesMetrics:
    """Measure the best weights, normalisation folded, and write graphs and recordings.

    Everything here is a function of the best weights and is written file by file: an interrupted `finish`
    is simply done again.
    """
    with reproducible(experiment.training.threads):
        # Before the best weights take the place of the server's part.
        server = hold(FeatureSource(source.run).backbone.server_part, torch.float32)
        backbone_accuracy = accuracy_without_channel(server, features.test, features.test_labels)
        classifier = finished_classifier(experiment, source.backbone, run)
        held = CodedClassifier(classifier.codec, hold(classifier.server, torch.float32))
        metrics = _metrics(experiment, source, features, held, record, backbone_accuracy)
        write_graphs(experiment, source, classifier, run, metrics.test_accuracy)
        return metrics


def write_graphs(
    experiment: FeaturesExperiment,
    source: FeatureSource,
    classifier: CodedClassifier,
    run: Path,
    test_accuracy: float,
) -> None:
    """Write each part of a system as a graph with its recorded inputs, and deployment.json.

    Args:
        experiment: what was trained.
        source: the backbone, whose server part the classifier has.
        classifier: finished.
        run: the run directory.
        test_accuracy: of the whole test part, of which some samples are recorded.

    Raises:
        GraphError: a graph does not compute what the torch model computed.
        UserError: the run directory cannot be written.
    """
    images, seed = source.images, experiment.training.seed
    device = source.backbone.device_part.eval()
    system = FeatureSystem(device, classifier.codec, BinaryChannel(experiment.channel), classifier.server)
    trained_on, _ = parts(images, source.experiment.training)
    test = recorded(images, images.test, stream_seed(seed, "recorded"))
    calibration = recorded(images, trained_on, stream_seed(seed, "calibration"))
    written = write_parts(run, system, test, calibration, STEP_SECONDS, stream(seed, "recorded"))
    height, width = source.backbone.feature_shape()[1:]
    deployment = Deployment(
        system=experiment.system.name,
        dataset=source.experiment.data.dataset,
        class_names=images.class_names,
        dt=STEP_SECONDS,
        channel=channel_use(system, (height, width)),
        readout=Readout(classes=images.classes, group=1),
        parts=written,
        test_accuracy=test_accuracy,
    )
    write_deployment(run, deployment)


def _metrics(
    experiment: FeaturesExperiment,
    source: FeatureSource,
    features: Features,
    classifier: CodedClassifier,
    record: TrainingRecord,
    backbone_accuracy: float,
) -> FeaturesMetrics:
    channel, seed = experiment.channel, experiment.training.seed
    on_test = measure_codec(classifier, features.test, features.test_labels, channel, seed)
    _, validation = training_indices(source, features)
    on_validation = None
    if len(validation):
        labels: NDArray[np.int64] = features.train_labels[validation]
        on_validation = measure_codec(
            classifier, features.clean[validation], labels, channel, seed, purpose="validation"
        )
    codec, (height, width) = classifier.codec, features.shape[1:]
    return FeaturesMetrics(
        system=experiment.system.name,
        dataset=source.experiment.data.dataset,
        backbone=source.experiment.system.backbone,
        channel=channel.kind.value,
        p=channel.p,
        p_to=channel.p_to,
        steps=codec.form.steps,
        bits=codec.form.bits_per_inference(height, width),
        backbone_accuracy=backbone_accuracy,
        validation_accuracy=on_validation.accuracy if on_validation else None,
        test_accuracy=on_test.accuracy,
        ones=on_test.ones,
        entropy=on_test.entropy,
        entropy_per_position=on_test.entropy_per_position,
        parameters=sum(parameter.numel() for parameter in codec.parameters()),
        epochs=len(record.epochs),
        best_epoch=record.best.epoch if record.best else 0,
        training_seconds=sum(epoch.seconds for epoch in record.epochs),
        history=tuple(record.epochs),
    )

"""The training of a codec as `train` has it: from a finished backbone to a finished run."""

from pathlib import Path

from nsc_deploy.config.features import FeaturesExperiment
from nsc_deploy.errors import ConfigError
from nsc_deploy.training.family import Training
from nsc_deploy.training.features.cache import Features, FeatureSource, load_features
from nsc_deploy.training.features.codec import fit_codec, require_normalisable
from nsc_deploy.training.features.finish import finish
from nsc_deploy.training.features.system import form_of
from nsc_deploy.training.metrics import FeaturesMetrics
from nsc_deploy.training.run_directory import RunState, state_of


class CodecTraining(Training):
    """The training of a codec behind a finished backbone."""

    def __init__(self, experiment: FeaturesExperiment) -> None:
        self._experiment = experiment
        self._source: FeatureSource | None = None
        self._features: Features | None = None
        self.starts_from = experiment.system.backbone

    def check(self, out: Path, *, resume: bool) -> None:
        """Refuse a backbone that is not finished, another than before, or the directory to be written."""
        source = self._open(progress=False)
        if source.run.resolve() == out.resolve():
            raise ConfigError("is the run of the backbone", where=out, hint="Name another --out.")
        if resume and state_of(out) is not RunState.EMPTY:
            source.require_behind(out)

    def load(self, *, progress: bool) -> str:
        """Load the images; compute their features, or find them in the cache."""
        self._source = self._open(progress=progress)
        self._source.require_images()  # Recordings are made of them in the end, whatever the cache holds.
        passes = self._experiment.training.augmented_passes
        self._features = load_features(self._source, passes, progress=progress)
        form_of(self._experiment, self._features.shape[0])
        require_normalisable(self._features.shape, self._experiment.training.batch_size)
        return self._features.key

    def run(self, out: Path, *, resume: bool, progress: bool) -> FeaturesMetrics:
        """Train, then write graphs and recordings of the best weights."""
        if self._source is None or self._features is None:
            raise RuntimeError("training began before its features were loaded")
        record = fit_codec(
            self._experiment, self._source, self._features, out, resume=resume, progress=progress
        )
        return finish(self._experiment, self._source, self._features, out, record)

    def _open(self, *, progress: bool) -> FeatureSource:
        system, data = self._experiment.system, self._experiment.data
        if system.backbone is None:
            raise RuntimeError("an experiment without a backbone")
        source = FeatureSource(Path(system.backbone), data.path, progress=progress)
        trained_on = source.experiment.data.dataset
        if data.dataset != trained_on:
            raise ConfigError(
                f"is {data.dataset}, and the backbone was trained on {trained_on}",
                where="data.dataset",
                hint=f"Set it to {trained_on}, or name another backbone.",
            )
        return source

"""The families of experiments, each known by the systems it trains.

An experiment of any family has the tables `[system]` (with `name`), `[data]` and `[training]` (with `seed`,
`threads`, `devices` and `nodes`); what else it holds is the family's own.
"""

from nsc_deploy.config.features import BackboneExperiment, FeaturesExperiment
from nsc_deploy.config.memory import MemoryExperiment
from nsc_deploy.config.speech import SpeechExperiment

Experiment = SpeechExperiment | BackboneExperiment | FeaturesExperiment | MemoryExperiment
FAMILIES: tuple[type[Experiment], ...] = (
    SpeechExperiment,
    BackboneExperiment,
    FeaturesExperiment,
    MemoryExperiment,
)


def system_names() -> tuple[str, ...]:
    """Every system that can be trained, family by family."""
    return tuple(name for family in FAMILIES for name in family.SYSTEMS)


def family_of(system: object) -> type[Experiment]:
    """The kind of experiment that trains a system; that of speech receivers for a name nobody knows."""
    return next((family for family in FAMILIES if system in family.SYSTEMS), SpeechExperiment)

"""What a comparison has to reach."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.errors import ConfigError
from nsc_deploy.verification.compare import Comparison


@dataclass(frozen=True)
class Limits:
    """Limits to hold a comparison against; None asks for nothing.

    Attributes:
        max_accuracy_drop: points of accuracy that the second run may lose.
        min_agreement: share of equal decisions.
        min_rate_cosine: mean cosine of the firing rates of the outputs.
        min_coincidence: share of coinciding output spikes.
        max_rmse: largest error of any layer's potentials, each neuron's in units of its own threshold; where
            that is 0 or there is none, of the layer's largest potential in the first run.
        exact: whether every spike and output has to be equal.
        allow_silence: whether a limit holds where no output fires, or is other than 0, on either side; else
            there is nothing to judge by, and it is missed.

    Raises:
        ConfigError: a limit that is NaN or infinite.
    """

    max_accuracy_drop: float | None = None
    min_agreement: float | None = None
    min_rate_cosine: float | None = None
    min_coincidence: float | None = None
    max_rmse: float | None = None
    exact: bool | None = None
    allow_silence: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not math.isfinite(value):
                raise ConfigError(f"{value} is no limit", where=_option(field.name), hint="Name a number.")


@dataclass(frozen=True)
class Finding:
    """One limit and what was found.

    Attributes:
        limit: name of the limit.
        wanted: its value.
        found: the figure.
        met: whether the figure keeps the limit, and there was something to judge by.
        note: what is to be said of it beside the figure.
    """

    limit: str
    wanted: float
    found: float
    met: bool
    note: str = ""


def findings(comparison: Comparison, limits: Limits) -> tuple[Finding, ...]:
    """Every limit that was asked for, held against a comparison.

    Raises:
        ConfigError: a figure is asked for that these runs do not have.
    """
    # By identity, for a limit of 0 equals False.
    values = {name: getattr(limits, name) for name in _FIGURES}
    asked = [name for name, value in values.items() if value is not None and value is not False]
    silent = comparison.output.silent and not limits.allow_silence
    return tuple(_finding(name, float(getattr(limits, name)), comparison, silent) for name in asked)


def _finding(name: str, wanted: float, comparison: Comparison, silent: bool) -> Finding:
    figure, missing = _FIGURES[name]
    found = figure(comparison)
    if found is None:
        undecided = comparison.decisions is None and name in {"max_accuracy_drop", "min_agreement"}
        hint = _of_decisions(comparison) if undecided else "Leave this limit out."
        raise ConfigError(missing, where=_option(name), hint=hint)
    met = found <= wanted if name.startswith("max_") else found >= wanted
    unjudged = silent and name in _BY_OUTPUT_SPIKES
    if unjudged:
        nothing = "every output is 0" if comparison.output.reference_spikes is None else "no output fires"
        note = f"{nothing}, so there is nothing to judge by (--allow-silence)"
    else:
        note = _where_real_outputs_part(comparison) if name == "exact" and not met else ""
    return Finding(name, wanted, found, met and not unjudged, note)


def _of_decisions(comparison: Comparison) -> str:
    """What to ask for where a graph does not say how decisions are read from its outputs."""
    if comparison.output.coincidence is not None:
        return (
            "Say how many classes they vote for, with --classes N; spikes that another part takes in decide "
            "nothing: --min-coincidence."
        )
    instead = "leave this limit out" if _largest_rmse(comparison) is None else "limit --max-rmse"
    return (
        f"Its outputs are values, no spikes: {instead}. Only where the class of the largest mean is the "
        "decision, say how many there are: --classes N."
    )


def _where_real_outputs_part(comparison: Comparison) -> str:
    """What parts two runs whose spikes are all equal."""
    if comparison.first_divergence is not None:
        return ""
    return f"every spike is, outputs differ by up to {comparison.output.largest:.1g}"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _accuracy_drop(comparison: Comparison) -> float | None:
    decisions = comparison.decisions
    if decisions is None or decisions.reference_accuracy is None or decisions.other_accuracy is None:
        return None
    return round(100 * (decisions.reference_accuracy - decisions.other_accuracy), 9)


def _agreement(comparison: Comparison) -> float | None:
    return None if comparison.decisions is None else comparison.decisions.agreement


def _largest_rmse(comparison: Comparison) -> float | None:
    errors = [one.relative_rmse for one in comparison.layers if one.relative_rmse is not None]
    return max(errors, default=None)


_BY_OUTPUT_SPIKES = {"max_accuracy_drop", "min_agreement", "min_rate_cosine", "min_coincidence", "exact"}
Figure = Callable[[Comparison], float | None]

_FIGURES: dict[str, tuple[Figure, str]] = {
    "max_accuracy_drop": (
        _accuracy_drop,
        "there is no accuracy: the inputs have no labels, or the graph no readout",
    ),
    "min_agreement": (_agreement, "there are no decisions: the graph does not say how they are read"),
    "min_rate_cosine": (lambda one: one.output.rate_cosine, "the outputs are no spikes"),
    "min_coincidence": (lambda one: one.output.coincidence, "the outputs are no spikes"),
    "max_rmse": (_largest_rmse, "no layer shows its potentials on both sides"),
    "exact": (lambda one: float(one.equal), ""),
}


@dataclass(frozen=True)
class Verification:
    """A comparison and how it stands to its limits.

    Attributes:
        subject: the file or folder.
        target: what the folder was exported to; None for a NIR file.
        comparison: both runs; the first divergence counts samples as the recording does.
        findings: one for each limit asked for.
        class_names: names of the classes, or empty.
        warnings: what looks like a fault of the program that wrote the graph.
    """

    subject: str
    target: str | None
    comparison: Comparison
    findings: tuple[Finding, ...]
    class_names: tuple[str, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every limit is met."""
        return all(finding.met for finding in self.findings)

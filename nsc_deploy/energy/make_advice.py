"""The whole way of `nsc-deploy energy advise`: find, count, try, write."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from nsc_deploy.diagnostics import collected
from nsc_deploy.energy.advice.advise import AdviceReport, Advisor
from nsc_deploy.energy.pipeline import chosen_reset
from nsc_deploy.energy.pricing.profile import load_profile
from nsc_deploy.energy.sources import Options, count_source, find_sources
from nsc_deploy.errors import ConfigError
from nsc_deploy.io.progress import waiting

_COLUMNS = ("paper", "compute", "memory")


def make_advice(
    path: Path,
    *,
    profile: str = "horowitz-45nm",
    column: str = "memory",
    recordings: Sequence[Path] = (),
    samples: int | None = None,
    dt: float | None = None,
    reset: str | None = None,
    rate_run: Path | None = None,
    write: Path | None = None,
    part: str | None = None,
) -> AdviceReport:
    """Try what could save energy in a run or a graph.

    Args:
        path: a run folder, or a .nir file.
        profile: name of a profile, or a TOML file.
        column: accounting of the energy: paper, compute or memory.
        recordings: the inputs of a graph file.
        samples: use only the first so many.
        dt: seconds, for a NIR file that does not state its step.
        reset: "zero" or "subtract", for a NIR file that does not state it.
        rate_run: another run of the system, trained with a loss on the rate of spikes.
        write: where a NIR part goes with all that its outputs do not need taken out.
        part: which one is written; by default the last NIR part.

    Raises:
        UserError: anything missing, damaged or inconsistent among them; a price that is missing.
    """
    refuse_unknown_column(column)
    if part is not None and write is None:
        raise ConfigError(
            "names what is to be written, and nothing is", where="--part", remedy="Add --write."
        )
    prices = load_profile(profile)
    options = Options(samples=samples, dt=dt, reset=chosen_reset(reset))
    (source,) = find_sources([path], recordings)
    with waiting(f"counting {source.label}") as progress, collected() as told:
        advisor = Advisor(source, prices, options, column=column, progress=progress)
        rival = None if rate_run is None else count_source(find_sources([rate_run])[0], options)
        report = advisor.report(rival)
        if write is not None:
            name = advisor.write_pruned(write, part)
    if write is not None:
        Console(stderr=True).print(f"wrote {write} ({name})", highlight=False, markup=False)
    return report.model_copy(update={"warnings": tuple(told)})


def refuse_unknown_column(name: str) -> None:
    """Let pass only the accountings that advice can be given in.

    Raises:
        ConfigError: another one.
    """
    if name not in _COLUMNS:
        raise ConfigError(f"is {name!r} where one of {', '.join(_COLUMNS)} is wanted", where="--column")

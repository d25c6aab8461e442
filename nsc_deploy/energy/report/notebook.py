"""Results as tables: HTML for notebooks, rows for pandas, one line as their repr."""

from abc import abstractmethod
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from nsc_deploy.energy.counting.operations import PartCount
from nsc_deploy.energy.report.chip_schema import OnTarget
from nsc_deploy.errors import BackendError
from nsc_deploy.io.text import counted

if TYPE_CHECKING:
    import pandas as pd


class Tabular:
    """A result that a notebook shows as a table and pandas takes as one."""

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """Its rows, all with the same columns."""

    def to_pandas(self) -> "pd.DataFrame":
        """A pandas table.

        Raises:
            BackendError: pandas is not installed.
        """
        return frame(self.rows())

    def __repr__(self) -> str:
        """One line: a notebook shows the table instead."""
        return f"<{type(self).__name__}: {counted(len(self.rows()), 'row')}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        rows = self.rows()
        heads = list(rows[0]) if rows else []
        return table(heads, [[_cell(row[head]) for head in heads] for row in rows])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def layer_rows(system: str, part: PartCount) -> list[dict[str, Any]]:
    """A row a layer: means over the samples, a column a kind of operation or access."""
    return [
        {"system": system, "part": part.name, "layer": layer.name, "primitive": layer.primitive}
        | {"arrives": str(layer.arrives), "neurons": layer.neurons, "synapses": layer.synapses}
        | {"dense": layer.dense}
        | layer.per_sample.means()
        | layer.traffic.means()
        for layer in part.layers
    ]


def step_rows(system: str, part: PartCount) -> list[dict[str, Any]]:
    """A row a layer and step: means over the samples. Layers that take all steps at once have none."""
    return [
        {"system": system, "part": part.name, "layer": layer.name, "step": step}
        | {
            name: float(numbers[step] / part.samples)
            for name, numbers in (vars(layer.per_step) | vars(layer.traffic_per_step)).items()
        }
        for layer in part.layers
        if layer.per_step is not None and layer.traffic_per_step is not None
        for step in range(part.steps)
    ]


def chip_row(placed: OnTarget) -> dict[str, Any]:
    """What is known of a part on a target; None where it is not."""
    traffic, energy, time, load = placed.traffic, placed.energy, placed.time, placed.load
    return {
        "target": placed.target,
        "on_host": placed.on_host,
        "fits": placed.fits,
        "problems": "; ".join(placed.problems),
        "messages": None if traffic is None else traffic.messages.mean,
        "hops": None if traffic is None or traffic.hops is None else traffic.hops.mean,
        "from_host": None if traffic is None else traffic.from_host.mean,
        "to_host": None if traffic is None else traffic.to_host.mean,
        "network_uj": None if energy is None else energy.mean_uj,
        "step_us_low": None if time is None else time.step_us.mean.low,
        "step_us_high": None if time is None else time.step_us.mean.high,
        "worst_step_us": None if time is None else time.step_us.worst.high,
        "inference_us_low": None if time is None else time.inference_us.mean.low,
        "inference_us_high": None if time is None else time.inference_us.mean.high,
        "busiest_core_share": None if load is None else load.share,
    }


def frame(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    """A pandas table.

    Raises:
        BackendError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise BackendError(
            "pandas is not installed", hint="Install it: pip install 'nsc-deploy[pandas]'"
        ) from error
    return pd.DataFrame(rows)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; every text in it is escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

"""Counts as pandas tables and as HTML for notebooks."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from nsc_deploy.energy.counts import Kind, PartCount
from nsc_deploy.errors import BackendError

if TYPE_CHECKING:
    import pandas as pd


def layer_rows(system: str, part: PartCount) -> list[dict[str, Any]]:
    """A row a layer: means over the samples, a column a kind of operation or access."""
    return [
        {"system": system, "part": part.name, "layer": layer.name, "primitive": layer.primitive}
        | {"arrives": str(layer.arrives), "neurons": layer.neurons, "synapses": layer.synapses}
        | {kind.value: float(layer.per_sample.of(kind).mean()) for kind in Kind}
        | {name: float(numbers.mean()) for name, numbers in vars(layer.traffic).items()}
        for layer in part.layers
    ]


def frame(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    """A pandas table.

    Raises:
        BackendError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise BackendError(
            "pandas is not installed", remedy="Install it: pip install 'nsc-deploy[pandas]'"
        ) from error
    return pd.DataFrame(rows)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; every text in it is escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

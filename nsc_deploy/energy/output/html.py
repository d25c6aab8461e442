"""The report as HTML: one file that needs nothing from outside and prints well."""

from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined

from nsc_deploy.energy.output import chip_tables, tables
from nsc_deploy.energy.output.charts import COLOURS, Bar, accuracy_chart, bars, time_chart
from nsc_deploy.energy.report import numbers
from nsc_deploy.energy.report.definitions import basis_words
from nsc_deploy.energy.report.schema import Report, SystemReport

_CHARTED_LAYERS = 24


def render_html(report: Report) -> str:
    """The whole page as text."""
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signs"] = numbers.with_signs
    return environment.get_template("report.html.j2").render(
        report=report,
        show=numbers,
        table=tables,
        chip=chip_tables,
        kinds=_kinds(report),
        totals={column.name: _totals(report, column.name) for column in report.columns},
        front=report.fronts.get(report.main.name, ()),
        accuracy=accuracy_chart(report.fronts.get(report.main.name, ())),
        time_chart=time_chart,
        basis=basis_words(report.profile),
        layer_chart=lambda system: _layers(system, report.main.name),
    )


def _template(name: str) -> str:
    return resources.files("nsc_deploy.energy.output").joinpath(f"templates/{name}").read_text("utf-8")


def _kinds(report: Report) -> Sequence[tuple[str, str]]:
    """Names and colours of the kinds that any bar shows."""
    shown = {
        kind for system in report.systems for energy in system.energy.values() for kind in energy.kinds_uj
    }
    return [(numbers.KIND_NAMES[kind], COLOURS[kind]) for kind in COLOURS if kind in shown]


def _totals(report: Report, column: str) -> str:
    rows = [Bar(s.label, s.energy[column]) for s in report.systems if column in s.energy]
    return bars(rows, "Energy by system")


def _layers(system: SystemReport, column: str) -> str:
    rows = [
        Bar(f"{part.name} · {layer.name}", layer.energy[column])
        for part in system.parts
        for layer in part.layers
        if layer.energy[column].mean_uj > 0
    ]
    largest = sorted(rows, key=lambda row: -row.energy.mean_uj)[:_CHARTED_LAYERS]
    return bars([row for row in rows if row in largest], f"Energy by layer of {system.label}")

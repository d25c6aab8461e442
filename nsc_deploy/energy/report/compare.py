"""Two builds of a system side by side: what changed layer by layer."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field

from nsc_deploy.diagnostics import Diagnostic, announce
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.schema import SCHEMA_VERSION, Layer, PartReport, Report, SystemReport
from nsc_deploy.energy.report.tabular import Tabular
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.io.files import read_json
from nsc_deploy.io.records import Record, to_record
from nsc_deploy.io.text import counted

FIELDS = ("synops", "neuron_updates", "spikes", "synapses", "neurons", "energy_uj")
_HINT = "Make it anew: nsc-deploy energy report RUN --out DIR"


class Status(StrEnum):
    """What became of a layer."""

    SAME = "same"
    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"


class Change(Record):
    """One figure before and after; None where an ONNX graph does not tell it."""

    before: float | None
    after: float | None

    @property
    def difference(self) -> float | None:
        """After minus before; None where one of them is not told."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def growth(self) -> float | None:
        """Difference over before; None from nothing, and where it is not told."""
        return self.difference / self.before if self.before and self.difference is not None else None


class LayerChange(Record):
    """One layer before and after; what is missing on one side is 0 there."""

    part: str
    layer: str
    primitive: str = Field(
        description="kind of the layer; of one that became another kind 'Linear -> Affine'"
    )
    status: Status
    changes: dict[str, Change] = Field(description="by field, per inference where it is an operation")
    unpriced: tuple[str, ...] = Field(description="kinds without a price, before or after: a lower bound")


class SystemChange(Record):
    """A system before and after; one that the later report has no more is gone with all its layers."""

    before: str
    after: str | None = Field(description="None of a system that is gone")
    total: dict[str, Change]
    layers: tuple[LayerChange, ...]
    unknown: tuple[str, ...] = Field(description="figures that an ONNX graph does not tell")

    @property
    def label(self) -> str:
        """Its name now, or the last one that it had."""
        return self.before if self.after is None else self.after

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Kinds without a price, each with a layer that has it."""
        found: dict[str, str] = {}
        for layer in self.layers:
            for kind in layer.unpriced:
                found.setdefault(kind, f"{kind} of {layer.part}/{layer.layer}")
        return tuple(found.values())


class Comparison(Tabular, Record):
    """Two reports, system by system; a table in a notebook."""

    profile: str
    column: str
    systems: tuple[SystemChange, ...]
    warnings: tuple[Diagnostic, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """A row a layer: each figure before and after."""
        return [
            {"system": system.label, "part": layer.part, "layer": layer.layer, "status": layer.status.value}
            | {f"{field}_before": change.before for field, change in layer.changes.items()}
            | {f"{field}_after": change.after for field, change in layer.changes.items()}
            for system in self.systems
            for layer in system.layers
        ]


def compare_reports(before: Report, after: Report, column: str | None = None) -> Comparison:
    """Lay two reports side by side.

    Systems are matched by label; a single one in each is matched whatever it is called. One that the later
    report has no more is gone with all its layers.

    Args:
        before: the older one.
        after: the newer one.
        column: accounting of the energy; the main one of `after` if None.

    Raises:
        ConfigError: other prices, other products left out, a system that the earlier one has not, or an
            accounting that a system has not.
    """
    if not _same_prices(before.profile, after.profile) or not _same_prices(
        before.host_profile, after.host_profile
    ):
        names = (
            " and ".join(one.name for one in (report.profile, report.host_profile) if one is not None)
            for report in (before, after)
        )
        raise ConfigError(
            f"the reports have different prices ({', '.join(names)})",
            hint="Make both with the same profile.",
        )
    if before.options.get("zeros") != after.options.get("zeros"):
        which = "second" if after.options.get("zeros") else "first"
        raise ConfigError(
            f"products by zero are left out of the {which} report alone",
            hint="Make both with --skip-zeros, or neither.",
        )
    name = column or after.main.name
    for system in (*before.systems, *after.systems):
        _require_column(system, name)
    pairs = _pairs(before, after)
    inputs = (one for old, new in pairs if new is not None for one in _other_recordings(old, new))
    warnings = (*_other_readings(before, after), *inputs)
    for one in warnings:
        announce(one)
    return Comparison(
        profile=after.profile.name,
        column=name,
        systems=tuple(_system(old, new, name) for old, new in pairs),
        warnings=warnings,
    )


def _same_prices(before: Profile | None, after: Profile | None) -> bool:
    """Whether two profiles price alike, or there is none on either side."""
    return before is after if before is None or after is None else before.prices_as(after)


def _require_column(system: SystemReport, name: str) -> None:
    """Refuse an accounting that a system is not priced in: its energy is not 0 there."""
    if name not in system.energy:
        raise ConfigError(
            f"is {name!r}, and {system.label} is priced in {', '.join(system.energy)}", where="column"
        )


_READINGS = {"signal": "--signal", "arrays": "--samples-first", "layout": "--layout"}
"""What decides how the same inputs are read, and the option that says it."""


def _other_readings(before: Report, after: Report) -> Iterator[Diagnostic]:
    """Say so where the inputs were read in another way; a file that says it itself needs no option."""
    for field, option in _READINGS.items():
        old, new = before.options.get(field), after.options.get(field)
        if old != new:
            yield Diagnostic(
                "other-reading",
                f"the inputs were read in another way than before ({option})",
                f"{field} before: {old or 'not given'}; now: {new or 'not given'}",
                "Differences may come from that: count both with the same options.",
            )


def _other_recordings(before: SystemReport, after: SystemReport) -> Iterator[Diagnostic]:
    """Say so where the two were counted over other inputs: then no difference is the network's alone."""
    old = {part.name: part for part in before.parts}
    for part in after.parts:
        one = old.get(part.name, before.parts[0] if len(before.parts) == len(after.parts) == 1 else None)
        if one is not None and _recorded(one) != _recorded(part):
            fault = f"{part.name} was counted over other recorded inputs than before"
            yield _other_inputs(fault, (one, part))


def beside_other_recordings(report: Report) -> tuple[Diagnostic, ...]:
    """Say so where a graph stands beside the first one and was counted over other inputs.

    A run has recordings of its own, of the same data; those of graphs are what somebody gave them.
    """
    first, *others = report.systems
    found = tuple(
        _other_inputs(
            f"{system.label} was counted over other recorded inputs than {first.label}",
            (first.parts[0], system.parts[0]),
        )
        for system in others
        if first.system is None and system.system is None
        if _recorded(first.parts[0]) != _recorded(system.parts[0])
    )
    for one in found:
        announce(one)
    return found


def _recorded(part: PartReport) -> tuple[str, int]:
    """Which inputs a part was counted over, and how many samples of them."""
    return part.recording_sha256, part.samples


def _other_inputs(fault: str, parts: tuple[PartReport, PartReport]) -> Diagnostic:
    numbers = " and ".join(f"{part.recording} ({counted(part.samples, 'sample')})" for part in parts)
    hashes = " and ".join(part.recording_sha256[:12] for part in parts)
    return Diagnostic(
        "other-recording",
        fault,
        f"{numbers}, SHA-256 {hashes}",
        "Differences may come from the inputs: count both over the same recording.",
    )


def _pairs(before: Report, after: Report) -> list[tuple[SystemReport, SystemReport | None]]:
    """Each system before with what became of it: None of one that is gone, behind the others."""
    if len(before.systems) == len(after.systems) == 1:
        return [(before.systems[0], after.systems[0])]
    old = {system.label: system for system in before.systems}
    missing = [system.label for system in after.systems if system.label not in old]
    if missing:
        raise ConfigError(
            f"the earlier report has no system called {', '.join(missing)} (it has: {', '.join(old)})"
        )
    gone = old.keys() - {system.label for system in after.systems}
    return [
        *((old[system.label], system) for system in after.systems),
        *((system, None) for label, system in old.items() if label in gone),
    ]


def _system(before: SystemReport, after: SystemReport | None, column: str) -> SystemChange:
    old, new = _layers(before), {} if after is None else _layers(after)
    if after is not None and len(before.parts) == len(after.parts) == 1:
        # The only part is the same one, whatever its file is called.
        old = {(after.parts[0].name, layer): figures for (_, layer), figures in old.items()}
    names = [*new, *(key for key in old if key not in new)]
    layers = tuple(_layer(key, old.get(key), new.get(key), column) for key in names)
    total = {
        field: Change(
            before=_added(layer.changes[field].before for layer in layers),
            after=_added(layer.changes[field].after for layer in layers),
        )
        for field in FIELDS
    }
    return SystemChange(
        before=before.label,
        after=None if after is None else after.label,
        total=total,
        layers=layers,
        unknown=tuple(
            sorted(
                {
                    name
                    for one in (before, after)
                    if one is not None
                    for part in one.parts
                    for name in part.unknown
                }
            )
        ),
    )


def _added(figures: Iterable[float | None]) -> float | None:
    """Their sum; None as soon as one of them is not told."""
    known = list(figures)
    return None if None in known else sum(one for one in known if one is not None)


@dataclass(frozen=True)
class _Told:
    """A layer, and the figures that its graph does not tell."""

    layer: Layer
    unknown: tuple[str, ...]

    @property
    def primitive(self) -> str:
        """What kind of layer it is."""
        return self.layer.primitive


def _unpriced(layers: Iterable[_Told | None], column: str) -> tuple[str, ...]:
    energies = (one.layer.energy[column] for one in layers if one is not None)
    kinds = (kind.value for energy in energies for kind in energy.unpriced)
    return tuple(dict.fromkeys(kinds))


def _layers(system: SystemReport) -> dict[tuple[str, str], _Told]:
    return {
        (part.name, layer.name): _Told(layer, part.unknown) for part in system.parts for layer in part.layers
    }


def _layer(key: tuple[str, str], before: _Told | None, after: _Told | None, column: str) -> LayerChange:
    old, new = _figures(before, column), _figures(after, column)
    changes = {field: Change(before=old[field], after=new[field]) for field in FIELDS}
    if before is None:
        status = Status.ADDED
    elif after is None:
        status = Status.REMOVED
    else:
        same = before.primitive == after.primitive and old == new
        status = Status.SAME if same else Status.CHANGED
    return LayerChange(
        part=key[0],
        layer=key[1],
        primitive=" -> ".join(dict.fromkeys(one.primitive for one in (before, after) if one is not None)),
        status=status,
        changes=changes,
        unpriced=_unpriced((before, after), column),
    )


def _figures(one: _Told | None, column: str) -> dict[str, float | None]:
    """Of a layer that is not there all are 0; one that is not told is None."""
    if one is None:
        return dict.fromkeys(FIELDS, 0.0)
    layer = one.layer
    figures = {
        "synops": layer.counts.acs + layer.counts.macs,
        "neuron_updates": layer.counts.neuron_updates,
        "spikes": layer.counts.spikes,
        "synapses": float(layer.synapses),
        "neurons": float(layer.neurons),
        "energy_uj": layer.energy[column].mean_uj,
    }
    return {name: None if name in one.unknown else figure for name, figure in figures.items()}


def read_report(path: Path) -> Report:
    """Read a report.json.

    Raises:
        DataError: missing or damaged, or written by another version of the report.
    """
    data = read_json(path)
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise DataError(
            f"is no energy report of schema version {SCHEMA_VERSION} (it says {version})",
            where=path,
            hint=_HINT,
        )
    return to_record(Report, data, "an energy report", where=path, hint=_HINT, kind=DataError)

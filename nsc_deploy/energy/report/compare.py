"""Two builds of a system side by side: what changed layer by layer, and what may not have grown."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field

from nsc_deploy.diagnostics import Diagnostic, announce
from nsc_deploy.energy.report.budget import CULPRITS, CheckedSystem, CheckResult, Culprit, Finding
from nsc_deploy.energy.report.quantity import keeps_to
from nsc_deploy.energy.report.schema import SCHEMA_VERSION, Layer, Report, SystemReport
from nsc_deploy.energy.report.tabular import Tabular
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.io.files import read_json
from nsc_deploy.io.records import Record, to_record
from nsc_deploy.io.text import counted

FIELDS = ("synops", "neuron_updates", "spikes", "synapses", "neurons", "energy_uj")
CHECKED = ("synops", "spikes", "neurons", "energy_uj")
_HINT = "Make it anew: nsc-deploy energy report RUN --out DIR"


class Status(StrEnum):
    """What became of a layer."""

    SAME = "same"
    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"


class Change(Record):
    """One figure before and after."""

    before: float
    after: float

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def growth(self) -> float | None:
        """Difference over before; None from nothing."""
        return self.difference / self.before if self.before else None


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
    """A system before and after."""

    before: str
    after: str
    total: dict[str, Change]
    layers: tuple[LayerChange, ...]
    unknown: tuple[str, ...] = Field(description="figures that an ONNX graph does not tell")

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
            {"system": system.after, "part": layer.part, "layer": layer.layer, "status": layer.status.value}
            | {f"{field}_before": change.before for field, change in layer.changes.items()}
            | {f"{field}_after": change.after for field, change in layer.changes.items()}
            for system in self.systems
            for layer in system.layers
        ]


def compare_reports(before: Report, after: Report, column: str | None = None) -> Comparison:
    """Lay two reports side by side.

    Systems are matched by label; a single one in each is matched whatever it is called.

    Args:
        before: the older one.
        after: the newer one.
        column: accounting of the energy; the main one of `after` if None.

    Raises:
        ConfigError: other prices, other products left out, or systems that do not match.
    """
    if (before.profile, before.host_profile) != (after.profile, after.host_profile):
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
    pairs = _pairs(before, after)
    inputs = (one for old, new in pairs for one in _other_recordings(old, new))
    warnings = (*_other_readings(before, after), *inputs)
    for one in warnings:
        announce(one)
    return Comparison(
        profile=after.profile.name,
        column=name,
        systems=tuple(_system(old, new, name) for old, new in pairs),
        warnings=warnings,
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
        if one is None or (one.recording_sha256, one.samples) == (part.recording_sha256, part.samples):
            continue
        numbers = " and ".join(
            f"{side.recording} ({counted(side.samples, 'sample')})" for side in (one, part)
        )
        yield Diagnostic(
            "other-recording",
            f"{part.name} was counted over other recorded inputs than before",
            f"{numbers}, SHA-256 {one.recording_sha256[:12]} and {part.recording_sha256[:12]}",
            "Differences may come from the inputs: count both over the same recording.",
        )


def _pairs(before: Report, after: Report) -> list[tuple[SystemReport, SystemReport]]:
    if len(before.systems) == len(after.systems) == 1:
        return [(before.systems[0], after.systems[0])]
    old = {system.label: system for system in before.systems}
    missing = [system.label for system in after.systems if system.label not in old]
    if missing:
        raise ConfigError(
            f"the earlier report has no system called {', '.join(missing)} (it has: {', '.join(old)})"
        )
    return [(old[system.label], system) for system in after.systems]


def _system(before: SystemReport, after: SystemReport, column: str) -> SystemChange:
    old, new = _layers(before), _layers(after)
    if len(before.parts) == len(after.parts) == 1:
        # The only part is the same one, whatever its file is called.
        old = {(after.parts[0].name, layer): figures for (_, layer), figures in old.items()}
    names = [*new, *(key for key in old if key not in new)]
    layers = tuple(_layer(key, old.get(key), new.get(key), column) for key in names)
    total = {
        field: Change(
            before=sum(layer.changes[field].before for layer in layers),
            after=sum(layer.changes[field].after for layer in layers),
        )
        for field in FIELDS
    }
    return SystemChange(
        before=before.label,
        after=after.label,
        total=total,
        layers=layers,
        unknown=tuple(
            sorted({name for one in (before, after) for part in one.parts for name in part.unknown})
        ),
    )


def _unpriced(layers: Iterable[Layer | None], column: str) -> tuple[str, ...]:
    energies = (layer.energy.get(column) for layer in layers if layer is not None)
    kinds = (kind.value for energy in energies if energy is not None for kind in energy.unpriced)
    return tuple(dict.fromkeys(kinds))


def _layers(system: SystemReport) -> Mapping[tuple[str, str], Layer]:
    return {(part.name, layer.name): layer for part in system.parts for layer in part.layers}


def _layer(key: tuple[str, str], before: Layer | None, after: Layer | None, column: str) -> LayerChange:
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


def _figures(layer: Layer | None, column: str) -> dict[str, float]:
    if layer is None:
        return dict.fromkeys(FIELDS, 0.0)
    energy = layer.energy.get(column)
    return {
        "synops": layer.counts.acs + layer.counts.macs,
        "neuron_updates": layer.counts.neuron_updates,
        "spikes": layer.counts.spikes,
        "synapses": float(layer.synapses),
        "neurons": float(layer.neurons),
        "energy_uj": 0.0 if energy is None else energy.mean_uj,
    }


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


def check_baseline(baseline: Report, now: Report, *, tolerance: float, column: str) -> CheckResult:
    """Hold means of a report against those of an earlier one.

    Args:
        baseline: the earlier report.
        now: the later one, with the same prices.
        tolerance: by how much each figure may have grown, as a share (0.05 for 5 per cent).
        column: accounting of the energy.

    Raises:
        ConfigError: a negative tolerance, other prices, or systems that do not match.
    """
    if not 0 <= tolerance < float("inf"):
        raise ConfigError(f"is {tolerance:g} where 0 or more is wanted", where="--tolerance")
    comparison = compare_reports(baseline, now, column)
    findings = tuple(
        _finding(system, field, tolerance)
        for system in comparison.systems
        for field in CHECKED
        if field not in system.unknown
    )
    return CheckResult(
        baseline=baseline.created,
        profile=now.profile.name,
        host_profile=None if now.host_profile is None else now.host_profile.name,
        target=now.target,
        column=column,
        systems=tuple(_checked(system) for system in now.systems),
        findings=findings,
        warnings=comparison.warnings,
    )


def _checked(system: SystemReport) -> CheckedSystem:
    return CheckedSystem(
        system=system.label,
        path=system.path,
        parts=tuple(part.name for part in system.parts),
        samples=system.samples,
        steps=max(part.steps for part in system.parts),
        dt=system.parts[0].dt,
    )


_UNITS = {"synops": "SynOps", "spikes": "spikes", "neurons": "neurons", "energy_uj": "uJ"}


def _finding(system: SystemChange, field: str, tolerance: float) -> Finding:
    change = system.total[field]
    limit = change.before * (1 + tolerance)
    grown = sorted(system.layers, key=lambda layer: -layer.changes[field].difference)
    all_growth = sum(max(0.0, layer.changes[field].difference) for layer in grown) or 1.0
    culprits = tuple(
        Culprit(
            part=layer.part,
            layer=layer.layer,
            value=layer.changes[field].difference,
            share=layer.changes[field].difference / all_growth,
        )
        for layer in grown[:CULPRITS]
        if layer.changes[field].difference > 0
    )
    holds = keeps_to(change.after, limit)
    why = ""
    if field == "energy_uj" and system.unpriced and holds:
        why = f"the profile has no price for {', '.join(system.unpriced)}, which may have grown"
    return Finding(
        system=system.after,
        quantity=f"{field} against the baseline",
        unit=_UNITS[field],
        over="mean",
        value=change.after,
        limit=limit,
        passed=None if why else holds,
        why=why,
        culprits=culprits,
    )

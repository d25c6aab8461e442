"""manifest.json of a Lava deployment folder: what is in it, where it came from, what was approximated.

A deployment's account of itself for the terminal: what was done to the graph, and what it cost.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nsc_deploy.deployment import FileName
from nsc_deploy.exporters import manifest as common
from nsc_deploy.exporters.lava.integers import MAX_LATE, Group, Role
from nsc_deploy.exporters.quantised import Approximation, Calibrated, losses
from nsc_deploy.io.records import Record
from nsc_deploy.io.text import counted

Scale = Annotated[float, Field(gt=0)]


class Source(common.Source):
    """The graph the deployment was made from; its hash is that of the copy."""

    file: FileName = Field(description="name of the copy in the folder")
    recording: FileName | None = Field(default=None, description="name of the recorded inputs in the folder")
    recording_sha256: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{64}$", description="None of a folder that did not keep it"
    )


class GroupRecord(Record):
    """Neurons of a layer that stand for one node of the graph."""

    node: str
    role: Role
    start: int = Field(ge=0)
    size: int = Field(ge=1)
    scale: Scale | tuple[Scale, ...] = Field(
        description="weight units for one unit of the graph; one for each neuron where they differ"
    )
    late: int = Field(
        default=0,
        ge=0,
        le=MAX_LATE,
        description="steps by which they are later than the layer, in and behind some cycles",
    )

    @model_validator(mode="after")
    def _one_scale_or_one_each(self) -> Self:
        if isinstance(self.scale, tuple) and len(self.scale) != self.size:
            raise ValueError(f"{len(self.scale)} scales for {self.size} neurons")
        return self


class LayerRecord(Record):
    """One layer of the chain."""

    inputs: int = Field(ge=1)
    neurons: int = Field(ge=1)
    synapses: int = Field(ge=0, description="weights that are not zero")
    recurrent: int = Field(default=0, ge=0, description="of them, those from the layer itself")
    max_delay: int = Field(ge=0, description="steps")
    weight_exp: int = Field(ge=0, description="a spike adds weight * 2^weight_exp")
    latency: int = Field(ge=1, description="steps from the input of the network to these spikes")
    groups: tuple[GroupRecord, ...]
    process: str = Field(
        default="LIFReset", description="what its neurons are: LIFReset of Lava, or SubtractiveLIF of ours"
    )


class LayerError(Record):
    """Spikes of one layer before and after a pass, on the inputs of the check."""

    node: str
    spikes: int = Field(ge=0, description="before the pass")
    either: int = Field(ge=0, description="places (sample, step, neuron) with a spike before or after")
    alone: int = Field(ge=0, description="of them, those with a spike on one side only")

    @property
    def differing(self) -> float:
        """Share of the spikes of either side that the other lacks."""
        return self.alone / self.either if self.either else 0.0


class PassRecord(Record):
    """A pass that ran, in order, and the error it brought."""

    step: str = Field(description="its name")
    did: tuple[str, ...] = Field(
        description="one sentence for everything it did; none where it had nothing to do"
    )
    exact: bool = Field(description="whether every spike stays; its error is 0 then")
    differing: float = Field(
        ge=0, le=1, description="share of the spikes before or after it that the other side lacks, all layers"
    )
    layers: tuple[LayerError, ...] = Field(default=(), description="measured where the pass is not exact")


class Manifest(common.Manifest):
    """Everything about a deployment but its numbers."""

    target: Literal["lava"] = "lava"
    lava: str = Field(description="version of lava-nc whose arithmetic is meant")
    source: Source
    dt: float = Field(gt=0)
    weight_bits: int = Field(ge=2, le=8)
    integers: FileName = Field(description="file with the numbers")
    integers_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    netx: FileName | None = Field(
        description="network file for lava-dl, or None where netx could not hold it"
    )
    netx_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    netx_obstacle: str | None = Field(default=None, description="why not")
    netx_difference: str | None = Field(
        default=None, description="what the network file holds less exactly than the integers"
    )
    own_process: FileName | None = Field(
        default=None,
        description="file of the process of ours that neurons which reset by subtraction are; None where all "
        "processes are Lava's",
    )
    own_process_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    graded: bool = Field(
        default=False, description="whether potentials leave, from its second port, and no spikes"
    )
    latency: int = Field(ge=1, description="steps from an input to the output it causes")
    calibration: Calibrated = Calibrated(samples=0)
    layers: tuple[LayerRecord, ...] = Field(min_length=1)
    approximations: tuple[Approximation, ...]
    passes: tuple[PassRecord, ...] = ()

    def hashes(self) -> Iterator[tuple[str, str]]:
        """Names and hashes of the files of numbers, and of the inputs that the integers were judged on."""
        yield self.integers, self.integers_sha256
        if self.source.recording is not None and self.source.recording_sha256 is not None:
            yield self.source.recording, self.source.recording_sha256
        if self.netx is not None and self.netx_sha256 is not None:
            # Nothing here reads it, but what is checked here goes to the chip through it.
            yield self.netx, self.netx_sha256
        if self.own_process is not None and self.own_process_sha256 is not None:
            yield self.own_process, self.own_process_sha256

    def layer_groups(self) -> tuple[tuple[Group, ...], ...]:
        """What the rows of each layer stand for."""
        return tuple(tuple(Group(**dict(one)) for one in layer.groups) for layer in self.layers)


def summary(manifest: Manifest) -> list[str]:
    """Sizes, what the netx file lacks, and what rounding cut or lost, a line each."""
    sizes = " -> ".join(str(layer.neurons) for layer in manifest.layers)
    inexact = [one for one in manifest.approximations if not one.exact]
    lines = [
        f"{counted(manifest.layers[0].inputs, 'line')} -> {sizes} neurons, "
        f"{counted(manifest.latency, 'step')} of latency, {counted(len(inexact), 'approximation')}, "
        f"netx file {'written' if manifest.netx else 'not written'}"
    ]
    ours = [str(index) for index, layer in enumerate(manifest.layers) if layer.process != "LIFReset"]
    if ours:
        layers = counted(len(ours), "layer").split(" ", 1)[1]
        leaving = "; potentials leave by its second port" if manifest.graded else ""
        lines.append(
            f"not Lava's: neurons of {layers} {', '.join(ours)} reset by subtraction, a process of ours "
            f"({manifest.own_process}){leaving}"
        )
    if manifest.netx_obstacle:
        lines.append(f"no netx file: {manifest.netx_obstacle}")
    if manifest.netx_difference:
        lines.append(f"netx file differs: {manifest.netx_difference}")
    return lines + losses(manifest.approximations, manifest.weight_bits)


def explanation(manifest: Manifest) -> list[str]:
    """A table of the passes with the share of spikes each made differ, then everything they did."""
    check = manifest.verification
    measured = "not measured" if check is None else f"{check.samples} {check.inputs} samples"
    rows = [("pass", "did", f"differing spikes ({measured})")]
    for one in manifest.passes:
        rows.append((one.step, _done(one), "0" if one.exact else f"{one.differing:.2%}"))
        rows += [
            (f"  {layer.node}", counted(layer.spikes, "spike"), f"{layer.differing:.2%}")
            for layer in one.layers
        ]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    table = [f"{first:<{widths[0]}}  {second:<{widths[1]}}  {third}" for first, second, third in rows]
    marks = {True: "=", False: "~"}
    return [
        *table,
        *(
            f"{marks[one.exact]} {one.step}: {one.node or 'graph'}: {one.text}"
            for one in manifest.approximations
        ),
    ]


def _done(one: PassRecord) -> str:
    if not one.did:
        return "-"
    kind = "exact" if one.exact else "approximate"
    return f"{counted(len(one.did), 'change')}, {kind}"

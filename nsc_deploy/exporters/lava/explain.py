"""A deployment's account of itself for the terminal: what was done to the graph, and what it cost."""

from nsc_deploy.exporters.lava.manifest import Manifest, PassRecord
from nsc_deploy.io.text import counted

_LOST = {"saturation": "cut at the limit", "underflow": "became 0"}


def summary(manifest: Manifest) -> list[str]:
    """Sizes, what the netx file lacks, and which weights were cut or lost, a line each."""
    sizes = " -> ".join(str(layer.neurons) for layer in manifest.layers)
    inexact = [one for one in manifest.approximations if not one.exact]
    lines = [
        f"{counted(manifest.layers[0].inputs, 'line')} -> {sizes} neurons, "
        f"{counted(manifest.latency, 'step')} of latency, {counted(len(inexact), 'approximation')}, "
        f"netx file {'written' if manifest.netx else 'not written'}"
    ]
    if manifest.netx_obstacle:
        lines.append(f"no netx file: {manifest.netx_obstacle}")
    if manifest.netx_difference:
        lines.append(f"netx file differs: {manifest.netx_difference}")
    lost = [
        f"{words} {', '.join(f'{one.node} {one.error:.2%}' for one in told)}"
        for kind, words in _LOST.items()
        if (told := [one for one in manifest.approximations if one.kind == kind])
    ]
    return [*lines, f"weights of {manifest.weight_bits} bits: {'; '.join(lost)}"] if lost else lines


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

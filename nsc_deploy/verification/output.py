"""A verification in words, for the terminal and for the page."""

from nsc_deploy.verification.divergence import LayerDivergence, LayerParity
from nsc_deploy.verification.limits import Finding
from nsc_deploy.verification.verify import Verification

_LIMITS = {
    "max_accuracy_drop": ("accuracy lost, in points", "at most"),
    "min_agreement": ("equal decisions", "at least"),
    "min_rate_cosine": ("rate cosine", "at least"),
    "min_coincidence": ("spike coincidence", "at least"),
    "max_rmse": ("largest RMSE of potentials, in thresholds", "at most"),
    "exact": ("every spike equal", "at least"),
}
_WIDEST_CONFUSION = 12


def as_text(verification: Verification) -> str:
    """For the terminal, in eighty columns where names allow it."""
    one = verification.comparison
    lines = [
        f"{one.samples} samples of {one.steps} steps",
        *(f"{name:<20}{left:>14}{right:>14}" for name, left, right in rows(verification)),
    ]
    if one.layers:
        lines += ["", *_layer_table(one.layers)]
    lines += ["", divergence_sentence(one.first_divergence, one.reference, one.other)]
    lines += _confusion(verification)
    if verification.findings:
        lines += ["", *(finding_sentence(finding) for finding in verification.findings)]
    return "\n".join(lines)


def rows(verification: Verification) -> list[tuple[str, str, str]]:
    """The figures of the whole network: a name, the first run's and the second's, or one for both."""
    one = verification.comparison
    table = [("", one.reference, one.other)]
    if one.decisions is not None:
        left, right = one.decisions.reference_accuracy, one.decisions.other_accuracy
        table.append(("accuracy", share(left), share(right)))
    if one.output.reference_spikes is not None:
        table.append(("output spikes", str(one.output.reference_spikes), str(one.output.other_spikes)))
    table.append(("diverging samples", "", str(one.diverging_samples)))
    table.append(("seconds", f"{one.reference_seconds:.2f}", f"{one.other_seconds:.2f}"))
    if one.decisions is not None:
        table.append(("equal decisions", "", share(one.decisions.agreement)))
    if one.output.rate_cosine is not None:
        table.append(("rate cosine", "", f"{one.output.rate_cosine:.6f}"))
        table.append(("spike coincidence", "", share(one.output.coincidence)))
    if one.output.rmse is not None:
        table.append(("RMSE of outputs", "", f"{one.output.rmse:.4g}"))
    return table


def divergence_sentence(first: LayerDivergence | None, reference: str, other: str) -> str:
    """Where the two runs part, in a sentence."""
    if first is None:
        return "no spike differs"
    fired = reference if first.reference else other
    sides = ", ".join(
        f"{name} {number(potential)} (threshold {number(threshold)})"
        for name, potential, threshold in (
            (reference, first.reference_potential, first.reference_threshold),
            (other, first.other_potential, first.other_threshold),
        )
        if potential is not None
    )
    return (
        f"first divergence: sample {first.sample}, step {first.step}, layer {first.layer}, "
        f"neuron {first.neuron}: only {fired} fired" + (f"\n  potentials: {sides}" if sides else "")
    )


def finding_sentence(finding: Finding) -> str:
    """One limit, what was wanted and what was found."""
    what, bound = _LIMITS[finding.limit]
    verdict = "met" if finding.met else "MISSED"
    if finding.limit == "exact":
        return f"{verdict:<8}{what}"
    return f"{verdict:<8}{what}: {number(finding.found)}, wanted {bound} {number(finding.wanted)}"


def share(value: float | None) -> str:
    """A share in per cent."""
    return "-" if value is None else f"{value:.2%}"


def number(value: float | None) -> str:
    """A figure to six places."""
    return "-" if value is None else f"{value:.6g}"


def class_names(verification: Verification) -> tuple[str, ...]:
    """Names of the classes, their numbers where there are none."""
    decisions = verification.comparison.decisions
    count = 0 if decisions is None else len(decisions.confusion)
    names = verification.class_names
    return names if len(names) == count else tuple(map(str, range(count)))


def _layer_table(layers: tuple[LayerParity, ...]) -> list[str]:
    width = max(5, *(len(layer.node) for layer in layers))
    titles = f"{'neurons':>7}  {'spikes':>17}  {'coincidence':>11}  {'RMSE':>9}  {'largest':>9}"
    body = []
    for layer in layers:
        spikes = "-" if layer.reference_spikes is None else f"{layer.reference_spikes} / {layer.other_spikes}"
        body.append(
            f"{layer.node:<{width}}  {layer.neurons:>7}  {spikes:>17}  {share(layer.coincidence):>11}  "
            f"{_short(layer.rmse):>9}  {_short(layer.largest_error):>9}"
        )
    return [f"{'layer':<{width}}  {titles}", *body]


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _confusion(verification: Verification) -> list[str]:
    one = verification.comparison
    if one.decisions is None or one.decisions.agreement == 1:
        return []
    names = class_names(verification)
    if len(names) > _WIDEST_CONFUSION:
        return ["", f"decisions of {len(names)} classes: see --json or --out"]
    width = max(4, *(len(name) for name in names))
    head = " " * width + "".join(f"{name:>{width + 1}}" for name in names)
    body = [
        f"{name:>{width}}" + "".join(f"{count or '.':>{width + 1}}" for count in row)
        for name, row in zip(names, one.decisions.confusion, strict=True)
    ]
    return ["", f"decisions of {one.reference} (rows) and {one.other} (columns)", head, *body]

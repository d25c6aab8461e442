"""Text of files and messages, fit for a terminal: no control sequences, lone surrogates or endless lines."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nsc_deploy.errors import UserError

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
"""Control characters but line feed and tab, lone surrogates, and what turns the direction of a line."""

_LONGEST_FIELD = 1000


def shown(value: object, most: int = 80) -> str:
    """A value of a file in a message: on one line, and not all of a long one."""
    text = repr(value) if isinstance(value, str | bytes) else str(value)
    return printable(" ".join(text.split()), most)


def printable(text: str, most: int = 1200) -> str:
    """A text with what nobody would see in it spelt out, and the middle of a long one left out."""
    spelt = "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in text)
    if len(spelt) <= most:
        return spelt
    half = most // 2
    return f"{spelt[:half]} [...] {spelt[-half:]}"


def refuse_control(value: object, *, where: object, kind: type[UserError]) -> None:
    """Refuse control characters in the texts and names of nested tables and lists.

    Raises:
        UserError: of `kind`, with the field.
    """
    field = _with_control(value)
    if field is not None:
        raise kind(
            f"field {field}: holds control characters",
            where=where,
            hint="Take them out: plain text is wanted.",
        )


def places_apart(labels: Sequence[str], runs: Sequence[Path]) -> list[str]:
    """Of each run whose label another has too the end of its path that only it has; of the others nothing."""
    met = dict.fromkeys(zip(labels, (run.resolve() for run in runs), strict=True))
    shared = Counter(label for label, _ in met)
    return [
        _end(run.resolve(), [other for one, other in met if one == label]) if shared[label] > 1 else ""
        for label, run in zip(labels, runs, strict=True)
    ]


def _end(path: Path, others: Sequence[Path]) -> str:
    """The last parts of a path, as few as tell it from others."""
    ends = (path.parts[-length:] for length in range(1, len(path.parts) + 1))
    alone = (end for end in ends if sum(other.parts[-len(end) :] == end for other in others) == 1)
    return str(Path(*next(alone)))


def _with_control(value: object) -> str | None:
    """The first place that holds control characters; a value may nest deeper than Python recurses."""
    waiting: list[tuple[object, str]] = [(value, "")]
    while waiting:
        one, path = waiting.pop()
        if isinstance(one, str) and CONTROL.search(one):
            return printable(path, 60)
        inner: Iterable[tuple[object, object]] = ()
        if isinstance(one, Mapping):
            bad = next((key for key in one if isinstance(key, str) and CONTROL.search(key)), None)
            if bad is not None:
                return printable(_within(path, bad), 60)
            inner = one.items()
        elif isinstance(one, list | tuple):
            inner = enumerate(one)
        waiting += reversed([(item, _within(path, key)) for key, item in inner if item])
    return None


def _within(path: str, key: object) -> str:
    """The dotted name of a field; of a long one the end, for a deep value would be all names."""
    return f"{path[-_LONGEST_FIELD:]}.{key}".removeprefix(".")


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 node", "1,200 nodes".

    Args:
        number: how many.
        one: the noun in the singular.
        many: its plural, where that is not the singular with an s.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def percent(share: float, decimals: int = 0, *, apart: tuple[float, ...] = (1.0,)) -> str:
    """A share in per cent, with so many decimals that it never looks like what it falls short of or passes.

    Args:
        share: 0.997 for example, which is 99.7 and never 100.
        decimals: the fewest.
        apart: shares that it must not seem to be without being equal.
    """
    for more in range(decimals, decimals + 6):
        text = f"{100 * share:.{more}f}"
        if all(share == one or float(text) != round(100 * one, more) for one in apart):
            return text
    return f"{100 * share!r}"


def span(low: float, high: float | None) -> str:
    """A number, or the range from one to another: "10", "-10 to 10"."""
    return f"{low:g}" if high is None else f"{low:g} to {high:g}"

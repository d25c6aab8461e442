"""What an operator leaves in its first output: truth values, numbers of 0 and 1, whole numbers or any.

Proven from the graph alone, operator by operator; `instrument` walks a graph with these rules. Beside them
stands which of it a graph decides itself, by a comparison.
"""

from typing import Any

import numpy as np

from nsc_deploy.energy.counting.onnx.operators import Contents, ContentsRule, Holds, attribute_of

_BOOL = 9


def moved(*carrying: int) -> ContentsRule:
    """What moves stays what it is: truth values, or numbers of 0 and 1, or whole numbers.

    Args:
        carrying: the inputs that carry values, not sizes, axes and the like; none for all of them.
    """

    def rule(node: Any, contents: Contents) -> Holds:
        names = [node.input[index] for index in carrying or range(len(node.input)) if index < len(node.input)]
        return _kept(node, contents, [name for name in names if name])

    return rule


def _kept(node: Any, contents: Contents, names: list[str]) -> Holds:
    """What these tensors hold, where not all of what enters is constant."""
    changing = contents.binary | contents.graded | contents.truth
    if not changing.isdisjoint(node.input):
        for holds in (Holds.TRUTH, Holds.BINARY, Holds.GRADED):
            if contents.are(holds, *names):
                return holds
    return Holds.ANY


def padded(node: Any, contents: Contents) -> Holds:
    """Pad: what is put around is a value too, an attribute before opset 11."""
    filled = attribute_of(node, "mode", "constant") == "constant"
    if filled and attribute_of(node, "value", 0.0) not in {0.0, 1.0}:
        return Holds.ANY
    return moved(0, 2)(node, contents) if filled else moved(0)(node, contents)


def cast(node: Any, contents: Contents) -> Holds:
    """Truth values become numbers, and numbers truth values."""
    if attribute_of(node, "to", 0) == _BOOL:
        return Holds.TRUTH
    return _number(_kept(node, contents, [node.input[0]]))


def cast_decided(node: Any, contents: Contents) -> bool:
    """A cast to a truth value asks whether a value is zero."""
    if attribute_of(node, "to", 0) == _BOOL:
        return compared_here(node, contents)
    return node.input[0] in contents.decided


def cast_like(node: Any, contents: Contents) -> Holds:
    """As a cast to what the second input is; a constant that is no truth value is a number."""
    to = contents.constants.get(node.input[1])
    if node.input[1] in contents.truth or (to is not None and to.dtype == np.bool_):
        return Holds.TRUTH
    return _number(_kept(node, contents, [node.input[0]]))


def _number(holds: Holds) -> Holds:
    return Holds.BINARY if holds is Holds.TRUTH else holds


def choice(node: Any, contents: Contents) -> Holds:
    """One of two values, by a truth value."""
    if contents.are(Holds.BINARY, *node.input[1:]):
        return Holds.BINARY
    return _kept(node, contents, list(node.input[1:]))


def choice_decided(node: Any, contents: Contents) -> bool:
    """By the truth value, where it chooses between constants; else by what it chooses from."""
    chosen = [name for name in node.input[1:] if name in contents.binary | contents.truth]
    return any(name in contents.decided for name in chosen or node.input[:1])


def true(node: Any, contents: Contents) -> Holds:
    """Comparisons and logic give truth values."""
    return Holds.TRUTH


def compared_here(node: Any, contents: Contents) -> bool:
    """A comparison decides, but for one of events that entered, which are told again."""
    changing = [name for name in node.input if name and name not in contents.constants]
    return not all(name in (contents.binary | contents.truth) - contents.decided for name in changing)


def recognised(node: Any, contents: Contents) -> bool:
    """What a value is (the number of a word, of a padded place) is no threshold that a potential passes."""
    return False


def all_decided(node: Any, contents: Contents) -> bool:
    """What masks events that enter decides none: both have to be decided, of those that change."""
    changing = [name for name in node.input if name and name not in contents.constants]
    return all(name in contents.decided for name in changing)


def multiplied(node: Any, contents: Contents) -> Holds:
    """Products of 0 and 1 are 0 or 1, of whole numbers whole."""
    return _kept(node, contents, list(node.input))


def negated(node: Any, contents: Contents) -> Holds:
    """What is taken off an event is a whole number."""
    return Holds.GRADED if node.input[0] in contents.binary | contents.graded else Holds.ANY


def clipped(node: Any, contents: Contents) -> Holds:
    """Whole numbers between whole bounds are whole, and between 0 and 1 they are 0 or 1."""
    low, high = _bound(node, contents, "min", 1), _bound(node, contents, "max", 2)
    holds = _kept(node, contents, [node.input[0]])
    whole = low == np.rint(low) and high == np.rint(high) and low <= 0 <= high
    if holds is Holds.ANY or not whole:
        return Holds.ANY
    return Holds.BINARY if low == 0 and high <= 1 else holds


def _bound(node: Any, contents: Contents, name: str, index: int) -> float:
    """A bound of a Clip, an attribute before opset 11; NaN where it may be any number."""
    if index >= len(node.input) or not node.input[index]:
        return float(attribute_of(node, name, -np.inf if name == "min" else np.inf))
    value = contents.constants.get(node.input[index])
    return float("nan") if value is None or value.size != 1 else float(value.reshape(()))


def extreme(node: Any, contents: Contents) -> Holds:
    """Minima and maxima are one of the values."""
    return _kept(node, contents, list(node.input))


def added(node: Any, contents: Contents) -> Holds:
    """Sums and differences of events are whole numbers; a constant other than 0 would be there at rest."""
    rest = [name for name in node.input if name not in contents.binary | contents.graded]
    nothing = [name for name in rest if name in contents.constants and not contents.constants[name].any()]
    return Holds.GRADED if len(nothing) == len(rest) < len(node.input) else Holds.ANY


def taken_off(node: Any, contents: Contents) -> Holds:
    """1 - x is 0 or 1 as x is; a difference of events is a whole number."""
    ones = contents.constants.get(node.input[0])
    if ones is not None and node.input[1] in contents.binary and bool((ones == 1).all()):
        return Holds.BINARY
    return added(node, contents)


def pooled_holds(node: Any, contents: Contents) -> Holds:
    """MaxPool: one of the values of each window, if none lies in the padding alone."""
    spread = max([1, *attribute_of(node, "dilations", [])]) > 1
    edges = any(attribute_of(node, "pads", [])) or attribute_of(node, "auto_pad", "NOTSET") != "NOTSET"
    holds = _kept(node, contents, [node.input[0]])
    return Holds.ANY if spread and (edges or attribute_of(node, "ceil_mode", 0)) else holds


def summed(node: Any, contents: Contents) -> Holds:
    """A sum of events over a line is a whole number."""
    return Holds.GRADED if node.input[0] in contents.binary | contents.graded else Holds.ANY

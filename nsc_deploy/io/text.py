"""Text from files, fit for a terminal: no control sequences, no lone surrogates, no endless lines."""

import re

# Control characters but line feed and tab, lone surrogates, and what turns the direction of a line.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")


def control(text: str) -> bool:
    """Whether a text holds what a terminal would obey or could not show."""
    return _CONTROL.search(text) is not None


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

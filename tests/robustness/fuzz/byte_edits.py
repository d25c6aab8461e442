"""Mutations of bytes, of values in JSON and TOML, and of the text they are written in."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import tomlkit

NASTY_TEXTS = (
    "",
    " ",
    "x" * 100_000,
    "../../etc/passwd",
    "/etc/passwd",
    "a\nb",
    "\x1b[2J\x1b]0;title\x07",
    "\u202ereversed",
    "\x00",
    "\ud800",
    "NaN",
    "{0.__class__}",
    "%s%n",
    "[bold red]x[/]",
    "[/]",
    "é" * 300,
)
NASTY_NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63), 2**64, 10**400, 1e308, -1e-308, 1e-320, 0.5, 255, 1e15)
NASTY_OTHERS = (None, True, [], {}, [[]], [None], {"a": 1}, [1, 2, 3], ["a", "a"])

Mutation = tuple[str, bytes]


def flip_bytes(chance: random.Random, content: bytes) -> Mutation:
    """Cut off, or with some bytes changed, taken out or put in."""
    how = chance.random()
    if how < 0.2:
        at = chance.randrange(len(content))
        return f"cut to {at} of {len(content)}", content[:at]
    if how < 0.3:
        at, width = chance.randrange(len(content)), chance.randrange(1, 64)
        return f"{width} bytes out at {at}", content[:at] + content[at + width :]
    if how < 0.4:
        at = chance.randrange(len(content))
        return f"bytes into {at}", content[:at] + chance.randbytes(chance.randrange(1, 64)) + content[at:]
    changed = bytearray(content)
    count = chance.choice([1, 1, 1, 2, 4, 16, 64])
    for _ in range(count):
        at = chance.randrange(len(changed))
        changed[at] = chance.choice([0, 0xFF, 0x7F, 0x80, changed[at] ^ (1 << chance.randrange(8))])
    return f"{count} bytes changed", bytes(changed)


def change_json(chance: random.Random, content: bytes) -> Mutation:
    """JSON with one or two values replaced, taken out, renamed or put in; or damaged as text."""
    if chance.random() < 0.25:
        return flip_bytes(chance, content)
    if chance.random() < 0.1:
        return _odd_text(chance, content, b"[", b"]", b'{"a":')
    value = json.loads(content)
    label = ""
    for _ in range(chance.choice([1, 1, 1, 2])):
        label += change_value(chance, value) + "; "
    if chance.random() < 0.03:
        label, value = "not a table", chance.choice([None, 3, "text", [], [value]])
    text = json.dumps(value)
    if chance.random() < 0.15:
        number = chance.choice(["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "-0", "0.1e-400"])
        spots = [at for at, sign in enumerate(text) if sign.isdigit() and text[at - 1] == " "]
        if spots:
            at = chance.choice(spots)
            end = next(i for i in range(at, len(text)) if text[i] in ",]} \n")
            label, text = f"the number {number[:20]} at {at}", text[:at] + number + text[end:]
    return label, text.encode("utf-8", errors="surrogatepass")


def change_toml(chance: random.Random, content: bytes) -> Mutation:
    """The same for TOML."""
    if chance.random() < 0.25:
        return flip_bytes(chance, content)
    if chance.random() < 0.1:
        return _odd_text(chance, content, b"[", b"]", b"a.")
    value = tomlkit.parse(content.decode()).unwrap()
    label = change_value(chance, value)
    try:
        text = tomlkit.dumps(value)
    except (TypeError, ValueError, tomlkit.exceptions.TOMLKitError):
        return "a table twice", content + b"\n" + content
    lines = text.split("\n")
    if chance.random() < 0.25:
        at = chance.randrange(len(lines))
        words = [
            "= 3",
            "[[prices]]",
            "a = {b = {c = nan}}",
            "x = 1979-05-27",
            "value = inf",
            lines[at],
            '"""',
        ]
        lines.insert(at, chance.choice(words))
        label = f"the line {lines[at]!r:.40} put in"
    return label, "\n".join(lines).encode("utf-8", errors="surrogatepass")


def change_value(chance: random.Random, value: Any) -> str:
    """Change one place inside nested tables and lists; says which."""
    places = _places(value, "")
    if not places:
        return "nothing to change"
    path, holder, key = chance.choice(places)
    kind = chance.randrange(6)
    if kind == 0:
        del holder[key]
        return f"{path} taken out"
    if kind == 1 and isinstance(holder, dict):
        holder[f"{key}s"] = holder.pop(key)
        return f"{path} renamed"
    if kind == 2 and isinstance(holder, list):
        holder.insert(chance.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
        return f"{path} twice"
    old = holder[key]
    if isinstance(old, int | float) and not isinstance(old, bool) and kind < 5:
        holder[key] = chance.choice([*NASTY_NUMBERS, old + 1, -old, old * 2])
    elif isinstance(old, str) and kind < 5:
        holder[key] = chance.choice([*NASTY_TEXTS, old + "x", old[:-1], old.upper()])
    else:
        holder[key] = copy.deepcopy(chance.choice([*NASTY_OTHERS, *NASTY_NUMBERS, *NASTY_TEXTS]))
    return f"{path} set to {holder[key]!r:.40}"


def _places(value: Any, path: str) -> list[tuple[str, Any, Any]]:
    if isinstance(value, dict):
        inner: list[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    else:
        return []
    found: list[tuple[str, Any, Any]] = []
    for key, one in inner:
        found.append((f"{path}.{key}", value, key))
        found += _places(one, f"{path}.{key}")
    return found


def _odd_text(chance: random.Random, content: bytes, *nests: bytes) -> Mutation:
    odd: list[tuple[str, Callable[[], bytes]]] = [
        ("empty", lambda: b""),
        ("UTF-16", lambda: content.decode().encode("utf-16")),
        ("a byte order mark", lambda: b"\xef\xbb\xbf" + content),
        ("not UTF-8", lambda: content.replace(b"a", b"\xe9", 3)),
        ("null bytes", lambda: b"\0" * 4096),
        ("nested deep", lambda: chance.choice(nests) * 100_000),
        ("twice", lambda: content + content),
        ("long", lambda: content + b" " * (chance.choice([1, 3, 80]) * 2**20)),
        ("a million of them", lambda: b"[" + b"[]," * 1_000_000 + b"[]]"),
    ]
    label, make = chance.choice(odd)
    return label, make()

"""Compares two folders of answers that `record.py` wrote: `compare.py BASE NEW`.

Prints what differs, like with like, and ends with exit code 1 where `differences.toml` does not expect it.
That file holds words that were renamed ([[word]]: `old` becomes `new` in the answers of BASE, as regular
expressions) and differences that are meant ([[difference]]: `case` and `where` as in a shell, `line` a
regular expression that each differing line has to match), each with its `reason`.
"""

import argparse
import difflib
import json
import re
import sys
import tempfile
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

EXPECTED = Path(__file__).with_name("differences.toml")
MOST_LINES, MOST_CASES = 30, 4

# What differs from one run to the next: (pattern, what stands for it).
CHANGING = [
    (rf"{re.escape(tempfile.gettempdir())}/[\w./-]+", "<temporary>"),
    (
        r'("(?:\w*seconds|created|started|git_revision|start_sha256|teacher_sha256)": )[^,\n]+',
        r"\1<changing>",
    ),
    (r"(samples?|training time +│?) *,? +[\d.]+ s\b", r"\1, <seconds> s"),
    (r"(?m)^seconds +[\d.]+ +[\d.]+$", "seconds <seconds>"),
    (r"(>seconds</t[dh]>)(\s*<td>[\d.]+</td>)+", r"\1<seconds>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00|Z)?", "<time>"),
    (r"events\.out\.tfevents[\w.-]*", "events.out.tfevents"),
    (r"0x[0-9a-f]{6,}", "<address>"),
    (r"\b(image|[pm])[0-9a-f]{10}\b", "<mark>"),
]


@dataclass(frozen=True)
class Difference:
    """What differs in one answer; `where`: exit code, stdout, stderr, removed or the name of a file."""

    case: str
    where: str
    lines: tuple[str, ...]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--only", default="*", help="cases whose name matches this pattern")
    options = parser.parse_args()
    expected = tomllib.loads(EXPECTED.read_text(encoding="utf-8"))
    words, meant = expected.get("word", []), expected.get("difference", [])
    used: Counter[str] = Counter()
    base, new = answers(options.base, words, used), answers(options.new, [], used)
    chosen = [name for name in base if name in new and fnmatch(name, options.only)]
    found = [difference for name in chosen for difference in differences(name, base[name], new[name])]
    open_ones = [one for one in found if not any(expects(entry, one, used) for entry in meant)]
    print_groups(open_ones)
    for entry in (*words, *meant):
        if not used[entry["reason"]]:
            print(f"never met: {entry['reason']}")
    alone = sorted(base.keys() ^ new.keys())
    print(f"{len(chosen)} cases compared, {len(alone)} only on one side", *alone[:10], sep="\n  ")
    print(f"{len(found)} differences, {len(open_ones)} of them not expected")
    return 1 if open_ones else 0


def answers(folder: Path, words: list[dict[str, str]], used: Counter[str]) -> dict[str, dict[str, list[str]]]:
    """Of each case the lines of each part of its answer, without what always changes."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        answer = json.loads(path.read_text(encoding="utf-8"))
        parts = {"exit code": str(answer["exit_code"]), "removed": "\n".join(answer["removed"])}
        parts |= {"stdout": answer["stdout"], "stderr": answer["stderr"]} | answer["files"]
        found[answer["name"]] = {
            clean(where, answer["places"]): clean(text_of(part, words, used), answer["places"]).splitlines()
            for where, part in parts.items()
        }
    return found


def text_of(part: Any, words: list[dict[str, str]], used: Counter[str]) -> str:
    """In the words of NEW, as lines that can be compared one by one."""
    text = part if isinstance(part, str) else json.dumps(part)
    for word in words:
        text, count = re.subn(word["old"], word["new"], text)
        used[word["reason"]] += count
    try:
        return json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False).replace("\\n", "\n")
    except ValueError:
        return text.replace("><", ">\n<") if text.lstrip().startswith("<") else text


def clean(text: str, places: dict[str, str]) -> str:
    """Without what always changes."""
    for name, place in sorted(places.items(), key=lambda item: -len(item[1])):
        text = text.replace(place, name)
    for pattern, standing in CHANGING:
        text = re.sub(pattern, standing, text)
    return text


def differences(name: str, base: dict[str, list[str]], new: dict[str, list[str]]) -> Iterator[Difference]:
    for where in dict.fromkeys((*base, *new)):
        before, after = base.get(where), new.get(where)
        if before is None or after is None:
            yield Difference(name, where, ("- not there" if before is None else "+ not there",))
        elif before != after:
            lines = list(difflib.unified_diff(before, after, lineterm="", n=0))[2:]
            changed = tuple(f"{line[0]} {line[1:]}" for line in lines if not line.startswith("@@"))
            yield Difference(name, where, changed)


def expects(entry: dict[str, str], one: Difference, used: Counter[str]) -> bool:
    """Whether an entry of the file of expected differences covers all lines of a difference."""
    fits = fnmatch(one.case, entry.get("case", "*")) and fnmatch(one.where, entry.get("where", "*"))
    meant = fits and all(re.search(entry["line"], line) for line in one.lines)
    used[entry["reason"]] += meant
    return meant


def print_groups(found: list[Difference]) -> None:
    """The same lines, numbers aside, are one group; the largest group first."""
    groups: dict[tuple[str, ...], list[Difference]] = defaultdict(list)
    for one in found:
        kind = (
            one.where if one.where in {"exit code", "stdout", "stderr", "removed"} else Path(one.where).suffix
        )
        groups[kind, *(re.sub(r"\d+", "#", line) for line in one.lines)].append(one)
    for members in sorted(groups.values(), key=len, reverse=True):
        first = members[0]
        print(f"## {len(members)} x {first.where}")
        print(*(f"   {one.case}" for one in members[:MOST_CASES]), sep="\n")
        print(*(f"     {line[:200]}" for line in first.lines[:MOST_LINES]), sep="\n")
        if len(first.lines) > MOST_LINES:
            print(f"     ... {len(first.lines) - MOST_LINES} more lines")
        print()


if __name__ == "__main__":
    sys.exit(main())

"""The cases: commands of nsc-deploy read from `cases.txt`, which says how they are written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

TEXT = Path(__file__).with_name("cases.txt")


@dataclass(frozen=True)
class Case:
    """One command.

    Attributes:
        command: the words after `nsc-deploy`.
        damage: what is done before, as `cases.txt` says it; may be empty.
        origin: name of the case whose folder it begins with; empty for an empty folder.
    """

    command: str
    damage: str
    origin: str

    @property
    def name(self) -> str:
        """The command, with the damage and with what went before."""
        parts = (self.command, self.damage and f"[{self.damage}]", self.origin and f"<- {self.origin}")
        return " ".join(part for part in parts if part)


def read_cases(text: str) -> dict[str, Case]:
    """All cases by name, each behind the one it begins with."""
    cases: dict[str, Case] = {}
    words: dict[str, str] = {}
    above: list[list[str]] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        bare = line.split("#")[0].strip()
        if named := re.fullmatch(r"(\w+) = (.*)", bare):
            words[named[1]] = named[2]
        elif bare:
            depth = (len(line) - len(line.lstrip())) // 4
            bare = re.sub(r"\$(\w+)", lambda found: words[found[1]], bare)
            made = [
                Case(spelt[2], spelt[1] or "", origin)
                for origin in (above[depth - 1] if depth else [""])
                for one in expand(bare)
                if (spelt := re.fullmatch(r"(?:\[(.*?)\] )?(.*)", one))
            ]
            cases |= {case.name: case for case in made}
            above[depth:] = [[case.name for case in made]]
    return cases


def expand(line: str) -> Iterator[str]:
    """A line with each choice of words out of its braces."""
    parts = re.split(r"\{([^{}]{2,})\}", line)
    for chosen in product(*(part.split() for part in parts[1::2])):
        filled = "".join(text + word for text, word in zip(parts[::2], (*chosen, ""), strict=True))
        yield filled.replace("{1}", chosen[0]) if chosen else filled


CASES = read_cases(TEXT.read_text(encoding="utf-8"))

"""Timing of candidates in turn, so that a busy machine slows them alike; the best of several rounds."""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Floor:
    """How near something comes to the matrix products that it cannot do without.

    Attributes:
        name: what is held to it.
        ratio: its time as a multiple of theirs.
        goal: largest multiple.
    """

    name: str
    ratio: float
    goal: float


@dataclass(frozen=True)
class Comparison:
    """What a benchmark measured.

    Attributes:
        name: what was timed.
        milliseconds: best time of each candidate.
        ratio: how many times faster the product is than what it is compared with; None if it is not compared.
        goal: the claim, in words.
        reached: whether the claim holds in this run.
        floors: what was held to the matrix products alone.
    """

    name: str
    milliseconds: dict[str, float]
    ratio: float | None
    goal: str
    reached: bool
    floors: tuple[Floor, ...] = ()


def best_times(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    repeats: int = 1,
) -> dict[str, float]:
    """Best time of each candidate in milliseconds, over `rounds` rounds in which each runs in its turn.

    Args:
        candidates: what is timed, by name.
        rounds: how often.
        clock: seconds; `time.process_time` leaves out the time in which other programs had the processor.
        repeats: times it runs in its turn: what takes microseconds is slower where another has just filled
            the caches.
    """
    for candidate in candidates.values():
        candidate()
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(rounds):
        for name, candidate in candidates.items():
            for _ in range(repeats):
                start = clock()
                candidate()
                best[name] = min(best[name], 1e3 * (clock() - start))
    return best


def parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """A parser of the options that every benchmark has: `--json` and `--rounds`."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--json", action="store_true", help="print JSON in place of a table")
    made.add_argument("--rounds", type=int, default=rounds, help="times each candidate runs (%(default)s)")
    return made


def arguments(description: str, rounds: int) -> argparse.Namespace:
    """These options, read."""
    return parser(description, rounds).parse_args()


def report(comparison: Comparison, *, as_json: bool) -> None:
    """Print a comparison as a table or as JSON."""
    if as_json:
        print(json.dumps(asdict(comparison), indent=2))
        return
    width = max(map(len, comparison.milliseconds))
    print(comparison.name)
    for name, milliseconds in comparison.milliseconds.items():
        print(f"  {name:<{width}}  {milliseconds:9.3f} ms")
    ratio = "" if comparison.ratio is None else f"{comparison.ratio:.2f} times as fast; "
    print(f"  {ratio}goal {comparison.goal}: {'reached' if comparison.reached else 'missed'}")
    for floor in comparison.floors:
        verdict = "reached" if floor.ratio <= floor.goal else "missed"
        print(f"  {floor.name}: {floor.ratio:.2f} times the products alone; goal {floor.goal}: {verdict}")

"""How long the ways through the package are: modules that a command loads, and files that it enters.

Each call runs in a process of its own on the same small graph: three dense layers of LIF neurons and
recorded events. To see the names and not only how many there are: `--names`, or `--json`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
from followed import READING, Followed

GRAPH, INPUTS, DEPLOYED = PLACES = ("GRAPH.nir", "INPUTS.npz", "DEPLOYED")
FOLLOWER = Path(__file__).with_name("followed.py")
SIZES = (32, 64, 64, 16)
STEPS = 20
SAMPLES = 8
CLASSES = 4
DT = 1e-3
TAU = 10e-3
EVENT_RATE = 0.2


@dataclass(frozen=True)
class Goal:
    """The longest that a way may be; None where nothing is claimed."""

    loaded: int | None = None
    entered: int | None = None
    onnx_counting: bool = True

    def is_reached_by(self, found: Followed) -> bool:
        """Whether a call stays within it."""
        limits = ((self.loaded, found.loaded), (self.entered, found.entered))
        within = all(most is None or len(names) <= most for most, names in limits)
        return within and (self.onnx_counting or not onnx_counting(found))

    def __str__(self) -> str:
        parts = [f"at most {most} {verb}" for verb in ("loaded", "entered") if (most := getattr(self, verb))]
        return ", ".join(parts + ["no ONNX counting"] * (not self.onnx_counting))


@dataclass(frozen=True)
class Way:
    """What one call goes through.

    Attributes:
        call: the words of the command, or the function.
        found: modules loaded and files entered.
        onnx_counting: modules loaded that count operations of ONNX graphs.
        goal: the claim, in words; empty without one.
        reached: whether the claim holds.
    """

    call: str
    found: Followed
    onnx_counting: tuple[str, ...]
    goal: str
    reached: bool


CALLS = {
    f"check {GRAPH} --target lava": Goal(loaded=90),
    f"check {GRAPH} --target loihi1": Goal(),
    f"export {GRAPH} --inputs {INPUTS} --target lava --out {DEPLOYED}": Goal(entered=60),
    f"energy report {GRAPH} --inputs {INPUTS}": Goal(entered=45, onnx_counting=False),
    f"inspect {GRAPH}": Goal(),
    f"{READING} {GRAPH}": Goal(entered=8),
}


def onnx_counting(found: Followed) -> tuple[str, ...]:
    """Modules loaded that count operations of ONNX graphs."""
    return tuple(name for name in found.loaded if name.startswith("nsc_deploy.energy.") and "onnx" in name)


def write_graph(path: Path) -> None:
    """Three dense layers of LIF neurons that say themselves all that a command asks for."""
    generator = np.random.default_rng(0)
    nodes: dict[str, nir.NIRNode] = {"input": nir.Input(np.array(SIZES[:1]), metadata={"signal": "events"})}
    for layer, (into, out) in enumerate(pairwise(SIZES)):
        weights = 2 * generator.standard_normal((out, into)) / into**0.5
        nodes[f"weights{layer}"] = nir.Linear(weights.astype(np.float32))
        ones = np.ones(out, dtype=np.float32)
        nodes[f"neurons{layer}"] = nir.LIF(
            tau=TAU * ones, r=TAU / DT * ones, v_leak=0 * ones, v_threshold=ones
        )
    nodes["output"] = nir.Output(np.array(SIZES[-1:]), metadata={"classes": CLASSES})
    metadata = {"dt": DT, "reset": "zero"}
    nir.write(path, nir.NIRGraph(nodes, list(pairwise(nodes)), metadata=metadata, type_check=False))


def write_inputs(path: Path) -> None:
    """Recorded events, time first, with the class of each sample; written without the package."""
    shape = (STEPS, SAMPLES, SIZES[0])
    events = np.random.default_rng(1).random(shape) < EVENT_RATE
    np.savez(
        path,
        shape=np.array(shape),
        signal=np.frombuffer(b"events", dtype=np.uint8),
        dt=np.array(DT),
        events=np.packbits(events.reshape(-1)),
        labels=np.arange(SAMPLES) % CLASSES,
    )


def follow(call: str, folder: Path) -> Followed:
    """What a call goes through, in a process of its own; its files lie in `folder`.

    Raises:
        RuntimeError: the call fails.
    """
    answer = folder / "followed.json"
    words = [folder / word if word in PLACES else word for word in call.split()]
    program = [sys.executable, FOLLOWER, answer, *words]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{call}: {done.stderr}")
    read = json.loads(answer.read_text())
    return Followed(tuple(read["loaded"]), tuple(read["entered"]))


def measured() -> Iterator[Way]:
    """Each way, in the order of `CALLS`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_graph(folder / GRAPH)
        write_inputs(folder / INPUTS)
        for call, goal in CALLS.items():
            found = follow(call, folder)
            yield Way(call, found, onnx_counting(found), str(goal), goal.is_reached_by(found))


def print_table(ways: list[Way], *, names: bool) -> None:
    width = max(len(way.call) for way in ways)
    print(f"{'':{width}}  loaded  entered  goal")
    for way in ways:
        verdict = f"{way.goal}: {'reached' if way.reached else 'missed'}" if way.goal else ""
        counts = f"{len(way.found.loaded):6}  {len(way.found.entered):7}"
        print(f"{way.call:{width}}  {counts}  {verdict}".rstrip())
        if way.call.startswith("energy"):
            print(f"  loaded of those that count ONNX: {len(way.onnx_counting) or 'none'}")
        if names:
            print("  loaded: " + " ".join(way.found.loaded))
            print("  entered: " + " ".join(way.found.entered))


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--json", action="store_true", help="print JSON in place of a table")
    made.add_argument("--names", action="store_true", help="also print which modules and files they are")
    options = made.parse_args()
    ways = list(measured())
    if options.json:
        print(json.dumps([asdict(way) for way in ways], indent=2))
    else:
        print_table(ways, names=options.names)


if __name__ == "__main__":
    main()

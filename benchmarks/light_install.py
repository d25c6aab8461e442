"""How long the light install takes, what it weighs, and the three commands a newcomer runs with it.

    python benchmarks/light_install.py [--graph GRAPH.nir --inputs RECORDING.npz]

By default the graph is a network of 64, 128 and 10 neurons with weights drawn by chance.

Makes an environment in a temporary folder, installs this checkout into it without an extra, from whatever
index pip is set to, and runs `check`, `energy report` and `export` of a graph there. Prints seconds on the
clock, and megabytes on the disk before the first command and after the last.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
DRAW = """
import sys
from pathlib import Path
import numpy as np
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal

chance, graph = np.random.default_rng(0), GraphBuilder(dt=1e-3)
graph.input(64, Signal.EVENTS)
for name, inputs, outputs in (("hidden", 64, 128), ("decision", 128, 10)):
    graph.linear(f"{name}_weights", chance.normal(0.02, 0.1, (outputs, inputs)).astype(np.float32))
    graph.lif(name, 0.9, 1.0, outputs)
graph.output(10)
folder = Path(sys.argv[1])
write_network(folder / "drawn.nir", graph.build())
events = chance.random((30, 50, 64)) < 0.08
write_recording(folder / "drawn.npz", Recording(events.astype(np.uint8), Signal.EVENTS, 1e-3))
"""


def main() -> None:
    """Install, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graph", type=Path)
    parser.add_argument("--inputs", type=Path)
    wanted = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder) / "venv"
        run(sys.executable, "-m", "venv", venv)
        run(venv / "bin/pip", "install", "--quiet", "-c", ROOT / "constraints.txt", ROOT)
        print(f"installed: {time.monotonic() - started:.0f} s, {megabytes(venv):.0f} MB")
        graph, inputs = (
            wanted.graph or Path(folder) / "drawn.nir",
            wanted.inputs or Path(folder) / "drawn.npz",
        )
        if wanted.graph is None:
            run(venv / "bin/python", "-I", "-c", DRAW, graph.parent)
        for command in (
            ["check", graph, "--target", "loihi1"],
            ["energy", "report", graph, "--inputs", inputs],
            ["export", graph, "--inputs", inputs, "--target", "lava", "--out", Path(folder) / "deployed"],
        ):
            run(venv / "bin/nsc-deploy", *command)
        print(f"and three commands: {time.monotonic() - started:.0f} s, {megabytes(venv):.0f} MB")


def run(*command: object) -> None:
    """Run a command quietly; where it fails, show what it said and end."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def megabytes(folder: Path) -> float:
    """What the files of a folder hold."""
    return sum(path.stat().st_size for path in folder.rglob("*") if not path.is_symlink()) / 1e6


if __name__ == "__main__":
    main()

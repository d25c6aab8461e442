"""Wall time of `nsc-deploy --help`, beside that of an interpreter that does nothing."""

import subprocess
import sys
from pathlib import Path

from interleaved import Comparison, arguments, best_times, report

GOAL_MILLISECONDS = 300


def main() -> None:
    options = arguments(__doc__, rounds=15)
    command = Path(sys.executable).with_name("nsc-deploy")

    def run(*words: str | Path) -> None:
        subprocess.run(words, check=True, capture_output=True)

    candidates = {
        "python -c pass": lambda: run(sys.executable, "-c", "pass"),
        "nsc-deploy --help": lambda: run(command, "--help"),
    }
    times = best_times(candidates, options.rounds)
    reached = times["nsc-deploy --help"] < GOAL_MILLISECONDS
    report(
        Comparison("start-up", times, None, f"below {GOAL_MILLISECONDS} ms", reached), as_json=options.json
    )


if __name__ == "__main__":
    main()

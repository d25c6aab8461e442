import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("name", ["training_step", "inference", "cli_startup"])
def test_a_benchmark_runs_checks_its_spikes_and_reports(name):
    command = [sys.executable, BENCHMARKS / f"{name}.py", "--json", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    comparison = json.loads(done.stdout)
    assert all(time > 0 for time in comparison["milliseconds"].values())
    # One round on a busy machine is no measurement; that the product is the faster one shows all the same.
    assert comparison["ratio"] is None or comparison["ratio"] > 1

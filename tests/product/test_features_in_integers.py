import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.feature_systems import system, write_run

EXAMPLE = Path(__file__).parents[2] / "examples" / "features_in_integers.py"


@pytest.mark.slow
def test_the_whole_in_integers_is_measured_beside_floating_point(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", system(), count=30)
    done = subprocess.run(
        [sys.executable, EXAMPLE, run, "--draws", "2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"(floating point|8-bit integers): ([\d.]+) %", done.stdout)
    assert [name for name, _ in found] == ["floating point", "8-bit integers"]
    assert all(0 <= float(accuracy) <= 100 for _, accuracy in found)

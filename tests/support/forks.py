"""Many commands of a test in forks of one process: see `forked_commands`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]


def forked(task: str, *, warm: list[list[str]] | None = None, **options: Any) -> Any:
    """What a task of `forked_commands` answers; `warm` are commands that import what it needs."""
    told = json.dumps({"warm": warm or [], **options})
    command = [sys.executable, "-m", "tests.support.forked_commands", task, told]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])

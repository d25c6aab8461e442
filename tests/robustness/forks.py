"""Many commands of a test in forks of one process: see `forked_commands`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).parent / "forked_commands.py"


def forked(task: str, *, warm: list[list[str]] | None = None, **options: Any) -> Any:
    """What a task of `forked_commands` answers; `warm` are commands that import what it needs."""
    told = json.dumps({"warm": warm or [], **options})
    command = [sys.executable, str(_SCRIPT), task, told]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])

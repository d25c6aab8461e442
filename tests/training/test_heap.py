import os
import platform
import subprocess
import sys

import pytest

CODE = """
import sys

import numpy as np

if sys.argv[1] == "keep":
    from nsc_deploy.training.heap import keep_freed_memory

    print(keep_freed_memory())


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])


before = resident()
for _ in range(3):
    taken = [np.ones(500_000, np.float32) for _ in range(20)]
    there = resident()
    del taken
print((resident() - before) / (there - before))
"""


def run(what: str) -> list[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", CODE, what]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=own).stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library cannot be told so")
def test_freed_memory_stays_with_the_process():
    told, kept = run("keep")
    (left,) = run("leave")
    assert told == "True"
    # The share of 40 MB that is still there after they are freed.
    assert float(kept) > 0.9
    assert float(left) < 0.3

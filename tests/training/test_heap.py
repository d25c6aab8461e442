import subprocess
import sys

import pytest

CODE = """
import resource
import sys

import numpy as np

if sys.argv[1] == "keep":
    from nsc_deploy.training.heap import keep_freed_memory

    print(keep_freed_memory())


def faults() -> int:
    for _ in range(20):
        taken = [np.ones(500_000, np.float32) for _ in range(20)]
        del taken
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


print(-faults() + faults())
"""


def run(what: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", CODE, what], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone can be told so")
def test_freed_memory_is_not_cleared_by_the_system_again():
    told, kept = run("keep")
    (given_back,) = run("leave")
    assert told == "True"
    # 40 MB are taken and freed 20 times: each page that was handed back in between is a fault again.
    assert int(kept) < 500
    assert int(given_back) > 5000

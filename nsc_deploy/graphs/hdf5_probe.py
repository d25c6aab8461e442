"""Whether an HDF5 file from anywhere can be read at all, tried out in a process of its own.

The HDF5 library runs without end, takes all memory or ends the process on some damaged files. The
process that tries has a limit on memory and on processor time, so that none of it reaches the caller.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from nsc_deploy.errors import GraphError

_SECONDS = 0.5
_BYTES_PER_SECOND = 20e6
_MEMORY = 1024**3
_MEMORY_PER_BYTE = 64
_LONGEST_WAIT = 60.0
_DAMAGED = "is not a readable HDF5 file (the HDF5 library does not get to its end)"
_REMEDY = "It is damaged or of another format."


def probe(path: Path) -> None:
    """Read all of a file once in another process.

    Raises:
        GraphError: what the reader there said, or that it did not come to an end.
    """
    command = [sys.executable, "-c", f"from {__name__} import main; main()", str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    try:
        ended = subprocess.run(
            command, env=environment, capture_output=True, timeout=_LONGEST_WAIT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise GraphError(_DAMAGED, where=path, remedy=_REMEDY) from error
    try:
        complaint = json.loads(ended.stdout)
    except ValueError as error:
        raise GraphError(_DAMAGED, where=path, remedy=_REMEDY) from error
    if complaint is not None:
        raise GraphError(**complaint)


def main() -> None:
    """The other process: print null, or what is wrong as JSON."""
    from nsc_deploy.graphs.hdf5_guard import read_file

    path = Path(sys.argv[1])
    size = path.stat().st_size
    memory = _MEMORY + _MEMORY_PER_BYTE * size
    resource.setrlimit(resource.RLIMIT_AS, (_resident() + memory, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, _SECONDS + size / _BYTES_PER_SECOND)
    complaint = None
    try:
        read_file(path)
    except GraphError as error:
        complaint = {"problem": error.problem, "where": error.where, "remedy": error.remedy}
    sys.stdout.write(json.dumps(complaint))
    sys.stdout.flush()
    os._exit(0)


def _resident() -> int:
    """Address space in use, or nothing where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[0]) * resource.getpagesize() if status.exists() else 0

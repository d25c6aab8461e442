"""A further process of a data-parallel run: `python -m nsc_deploy.training.worker RUN`, its job on stdin.

Its standard input stays open as long as the first process lives; when that is gone, so is this one.
"""

import os
import sys
import threading
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from nsc_deploy.config import Experiment
from nsc_deploy.data import load_events
from nsc_deploy.errors import UserError
from nsc_deploy.training.fit import fit
from nsc_deploy.training.processes import READY, group

_ORPHANED = 3


class Job(BaseModel):
    """What a worker is told on its standard input, as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: Experiment
    resume: bool


def main() -> int:
    """Train with the other processes; 0 if that went well, else 2 and one line on stderr."""
    run = Path(sys.argv[1])
    job = Job.model_validate_json(sys.stdin.readline())
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    try:
        data = load_events(job.experiment.data)
        print(READY, flush=True)
        with group(job.experiment.training.devices, job.experiment.training.nodes):
            fit(job.experiment, data, run, resume=job.resume, progress=False)
    except UserError as error:
        print(" ".join(error.message.split()), file=sys.stderr)
        return 2
    return 0


def _end_with_the_first() -> None:
    """End this process when its standard input does, which it may be deep in the libraries' waiting."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(_ORPHANED)


if __name__ == "__main__":
    sys.exit(main())

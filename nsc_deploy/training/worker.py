"""A further process of a data-parallel run: `python -P worker.py NAME RUN`, its job on its standard input.

That input stays open as long as the first process lives; when that is gone, so is this one. It watches from
its first moment on, so nothing that takes long to import is imported at the top.
"""

import os
import sys
import threading
from pathlib import Path

_ORPHANED = 3


def main() -> int:
    """Train with the other processes; 0 if that went well, else 2 and one line on stderr."""
    told = sys.stdin.readline()
    threading.Thread(target=_end_with_the_first, daemon=True).start()

    from nsc_deploy.data import load_events
    from nsc_deploy.errors import UserError
    from nsc_deploy.training.fit import fit
    from nsc_deploy.training.processes import READY, Job, group

    run, job = Path(sys.argv[2]), Job.model_validate_json(told)
    training = job.experiment.training
    try:
        data = load_events(job.experiment.data)
        print(READY, flush=True)
        with group(training.devices, training.nodes):
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

"""A further process of a data-parallel run: `python -m nsc_deploy.training.worker`, its job on stdin."""

import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from nsc_deploy.config import Experiment
from nsc_deploy.data import load_events
from nsc_deploy.errors import UserError
from nsc_deploy.training.fit import fit


class Job(BaseModel):
    """What a worker is told on its standard input, as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: Experiment
    run: Path
    resume: bool


def main() -> int:
    """Train with the other processes; 0 if that went well, else 2 and one line on stderr."""
    job = Job.model_validate_json(sys.stdin.read())
    try:
        fit(job.experiment, load_events(job.experiment.data), job.run, resume=job.resume, progress=False)
    except UserError as error:
        print(" ".join(error.message.split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

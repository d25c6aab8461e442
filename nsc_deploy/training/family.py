"""What a family of systems brings so that `train` can train it."""

from abc import ABC, abstractmethod
from pathlib import Path

from nsc_deploy.training.checkpoints import BEST
from nsc_deploy.training.metrics import RunMetrics


class Training(ABC):
    """The training of one experiment: checked, then loaded, then run, in this order.

    Attributes:
        starts_from: the run whose weights it starts from; None where they are drawn from the seed.
        starts_with: which of that run's files of weights.
        teacher: the run whose votes it learns as well, if any.
    """

    starts_from: str | None = None
    starts_with: str = BEST
    teacher: str | None = None

    @abstractmethod
    def check(self, out: Path, *, resume: bool) -> None:
        """Refuse, before anything is read or written, what cannot be trained.

        Args:
            out: the run directory to be written.
            resume: whether an unfinished run there is gone on with.

        Raises:
            UserError: the experiment does not fit what it starts from.
        """

    @abstractmethod
    def load(self, *, progress: bool) -> str:
        """Load the data; its SHA-256, as it is fed.

        Raises:
            DataError: the data set is missing or damaged, or another than the one it has to be.
        """

    @abstractmethod
    def run(self, out: Path, *, resume: bool, progress: bool) -> RunMetrics:
        """Train, export what was trained, and write everything of the run but its metrics.

        Whatever moment it is killed at, a second call with `resume` goes on and ends with the same files.

        Args:
            out: the run directory, locked and claimed.
            resume: go on from the last state, if there is one.
            progress: show progress bars on stderr.

        Raises:
            DataError: the state to resume from is damaged.
            UserError: the directory cannot be written, or training diverged.
        """

    def take_part(self, out: Path, *, resume: bool) -> None:
        """Train together with the first machine of a run on several, which does everything else."""
        raise NotImplementedError

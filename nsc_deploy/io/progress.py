"""Progress on the standard error, for a person who waits at a terminal; a file or a pipe gets nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

_WIDEST = 90


def progress_bar(*columns: str | ProgressColumn, shown: bool = True, transient: bool = True) -> Progress:
    """A bar, or several, that shows itself only on a terminal.

    Args:
        columns: what stands beside the bar; none for rich's own choice.
        shown: False for no bar at all.
        transient: whether it disappears at the end.
    """
    console = Console(stderr=True)
    # Of names of files, brackets are no markup, which rich's own choice reads.
    own = (TextColumn("{task.description}", markup=False), *Progress.get_default_columns()[1:])
    return Progress(
        *(columns or own), console=console, transient=transient, disable=not (shown and console.is_terminal)
    )


@contextmanager
def waiting(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner with a line beside it that the yielded function replaces; for work of unknown length."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with progress_bar(*columns) as progress:
        task = progress.add_task(title)
        yield lambda line: progress.update(task, description=line[:_WIDEST])

"""SIGINT and SIGTERM end training as they end any program; Lightning would do otherwise."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import lightning
from lightning.pytorch.callbacks import Callback


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def plain_signals() -> Iterator[None]:
    """Let an interrupt come out as KeyboardInterrupt.

    Lightning makes an exit of it, and leaves SIGINT ignored afterwards.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if _in_main_thread():
            signal.signal(signal.SIGINT, before)


class EndOnSigterm(Callback):
    """On SIGTERM, end at once with exit code 143; the last finished epoch is on disk.

    Lightning's own handler ends with exit code 0, and waits for ever where several processes train.
    """

    def __init__(self) -> None:
        self._asked = False

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the place of Lightning's handler, which it removes itself when training ends."""
        if _in_main_thread():
            signal.signal(signal.SIGTERM, self._end)

    def on_train_batch_end(self, *_: object) -> None:
        """End here if the handler's exit was lost, as it is inside a callback of the compiler."""
        if self._asked:
            raise SystemExit(128 + signal.SIGTERM)

    def _end(self, number: int, _: object) -> None:
        self._asked = True
        raise SystemExit(128 + number)

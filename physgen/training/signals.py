"""Ctrl-C and SIGTERM while a training runs: noted, and acted upon between two steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["StopSignal", "noted_signals"]


class StopSignal:
    """Remembers the signal that asked the training to stop, if there was one."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.previous: dict[int, Any] = {}

    def note(self, number: int, frame: FrameType | None) -> None:
        """Note the signal; the second one is no longer kept waiting."""
        if self.number is not None:
            self.restore()
            signal.raise_signal(number)
        self.number = number

    def restore(self) -> None:
        """Give the signals back to who had them."""
        while self.previous:
            number, handler = self.previous.popitem()
            signal.signal(number, handler)

    def obey(self) -> None:
        """End as the signal asks: KeyboardInterrupt, or SystemExit with 128 + its number."""
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.number is not None:
            raise SystemExit(128 + self.number)


@contextlib.contextmanager
def noted_signals() -> Iterator[StopSignal]:
    """Note SIGINT and SIGTERM inside; outside of the main thread none is ever noted.

    A signal that somebody else has asked to ignore stays ignored.
    """
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        if handler not in (signal.SIG_IGN, None):
            stop.previous[number] = signal.signal(number, stop.note)
    try:
        yield stop
    finally:
        stop.restore()

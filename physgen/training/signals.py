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

    def __init__(self, *, patient: bool = False) -> None:
        self.patient = patient
        self.number: int | None = None
        self.previous: dict[int, Any] = {}

    def note(self, number: int, frame: FrameType | None) -> None:
        """Note the signal; the second one is no longer kept waiting, unless it is patient."""
        if self.number is not None and not self.patient:
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
def noted_signals(*, patient: bool = False) -> Iterator[StopSignal]:
    """Note SIGINT and SIGTERM inside; outside of the main thread none is ever noted.

    A signal that somebody else has asked to ignore stays ignored.

    Parameters
    ----------
    patient : bool, default False
        Let a second signal wait as well: torchrun passes on what the terminal has sent already.
    """
    stop = StopSignal(patient=patient)
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

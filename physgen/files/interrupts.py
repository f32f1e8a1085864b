"""Ctrl-C waits while a file is open that it would destroy.

HDF5 calls our file object from C code, also while it frees an object, and an exception that Python
raises there is swallowed: the interrupt is lost, HDF5's state is wrong, and the process crashes
later. So the signal is noted and acted upon where nothing is half written.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

__all__ = ["Interrupts", "uninterrupted"]


class Interrupts:
    """A handler of SIGINT that remembers.

    Parameters
    ----------
    previous : callable
        The handler to call later.
    """

    def __init__(self, previous: Callable[[int, FrameType | None], object]) -> None:
        self._previous = previous
        self._came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note the signal; a second one says no more than the first."""
        self._came = True

    def deliver(self) -> None:
        """Do now what the signal asked for, if it came: raise KeyboardInterrupt, as a rule."""
        if self._came:
            self._came = False
            self._previous(signal.SIGINT, None)


@contextlib.contextmanager
def uninterrupted() -> Iterator[Interrupts]:
    """Hold Ctrl-C back until the block ends, or until :meth:`Interrupts.deliver` is called in it.

    Blocks may be nested; the outermost one delivers. Outside of the main thread there is nothing
    to do, since Python handles signals in the main thread only.
    """
    previous = signal.getsignal(signal.SIGINT)
    if isinstance(previous, Interrupts):
        yield previous
    elif not callable(previous) or threading.current_thread() is not threading.main_thread():
        yield Interrupts(signal.default_int_handler)
    else:
        interrupts = Interrupts(previous)
        signal.signal(signal.SIGINT, interrupts)
        try:
            yield interrupts
        finally:
            signal.signal(signal.SIGINT, previous)
            interrupts.deliver()

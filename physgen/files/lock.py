"""A folder that one process at a time may use."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["LOCK", "locked"]

logger = logging.getLogger(__name__)

LOCK = "lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder alone; the lock of a process that died is no lock."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(
            f"cannot use {folder} as a folder: a file has that name; move it away"
        )
    folder.mkdir(exist_ok=True)
    if importlib.util.find_spec("fcntl") is not None:
        with _flock(folder):
            yield
        return
    logger.warning(
        "this system has no locks on files: do not write %s from two processes at once",
        folder.name.removesuffix(".parts"),
    )
    yield


@contextlib.contextmanager
def _flock(folder: Path) -> Iterator[None]:
    import fcntl

    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(handle, 32, 0).decode(errors="replace")
            raise _busy(folder, owner) from None
        if os.fstat(handle).st_nlink == 0:  # its owner has just finished
            raise _busy(folder, "that finished just now")
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def _busy(folder: Path, owner: str) -> BlockingIOError:
    target = folder.name.removesuffix(".parts")
    return BlockingIOError(
        f"another process ({owner}) is writing {target}; wait for it, or stop it and repeat this"
    )

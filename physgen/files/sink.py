"""A file object for HDF5 that does not fail in the middle.

When a write fails (a full disk, a quota), the HDF5 library cannot close the file any more, keeps
half of it in memory, and crashes the process later, in some other file (h5py issue 914). So
HDF5 writes through this object, which tells it that all is well and tells us the error. Ctrl-C
would raise here too, so it waits (:mod:`physgen.files.interrupts`).
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

__all__ = ["Sink"]

# metadata, which HDF5 may read again while it closes the file; larger blocks are data
_MAX_KEPT_BYTES = 65_536


class Sink(io.RawIOBase):
    """A new file that remembers its first error instead of raising it.

    Parameters
    ----------
    path : Path
        Written from the start.

    Attributes
    ----------
    error : OSError or None
        What went wrong first. The content of the file is worthless then.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.error: OSError | None = None
        self._file = path.open("w+b", buffering=0)
        self._at = self._size = 0
        self._kept: dict[int, bytes] = {}

    def check(self) -> None:
        """Raise the error that was met, if any."""
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def readable(self) -> bool:
        """HDF5 reads back what it wrote."""
        return True

    def writable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, also behind the end."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def truncate(self, size: int | None = None) -> int:
        """Set the size."""
        self._size = self._at if size is None else size
        if self.error is None:
            try:
                self._file.truncate(self._size)
            except OSError as error:
                self.error = error
        return self._size

    def write(self, block: Any) -> int:
        """Write the whole block, or note why not."""
        content = memoryview(block).cast("B")
        if self.error is None:
            try:
                self._write(content)
            except OSError as error:
                self.error = error
        if self.error is not None and len(content) <= _MAX_KEPT_BYTES:
            self._kept[self._at] = bytes(content)
        self._at += len(content)
        self._size = max(self._size, self._at)
        return len(content)

    def _write(self, content: memoryview) -> None:
        self._file.seek(self._at)
        while content:
            content = content[self._file.write(content) :]

    def readinto(self, buffer: Any) -> int:
        """Read at the present position; what was never written is zero."""
        target = memoryview(buffer).cast("B")
        found = self._kept.get(self._at, b"")
        if len(found) < len(target):
            self._file.seek(self._at)
            found = self._file.read(len(target)) or b""
        target[: len(found)] = found[: len(target)]
        target[len(found) :] = bytes(max(0, len(target) - len(found)))
        self._at += len(target)
        return len(target)

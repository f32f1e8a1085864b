"""The global heaps of an HDF5 file, where texts of variable length lie.

An object of no size in such a heap makes libhdf5 (1.14, 2.0) step on the spot for ever, and no
call of Python can stop it. So the heaps are walked here before a text is read from one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["check_heaps"]

_MAGIC = b"GCOL\x01\0\0\0"
_BLOCK = 1 << 19
_HEADER = 16  # of a heap, and of each object in it


def check_heaps(path: Path) -> None:
    """Walk all heaps of a file as libhdf5 would.

    Raises
    ------
    ValueError
        If one does not come to an end.
    """
    with path.open("rb") as file:
        for start in _starts(path):
            file.seek(start)
            header = file.read(_HEADER)
            size = int.from_bytes(header[8:], "little")
            _walk(file.read(min(size, path.stat().st_size) - _HEADER), start)


def _starts(path: Path) -> Iterator[int]:
    with path.open("rb") as file:
        at, tail = 0, b""
        while block := file.read(_BLOCK):
            content = tail + block
            found = content.find(_MAGIC)
            while found >= 0:
                yield at - len(tail) + found
                found = content.find(_MAGIC, found + 1)
            at += len(block)
            tail = content[1 - len(_MAGIC) :]


def _walk(heap: bytes, start: int) -> None:
    at = 0
    while at + _HEADER <= len(heap):
        index = int.from_bytes(heap[at : at + 2], "little")
        size = int.from_bytes(heap[at + 8 : at + _HEADER], "little")
        step = _HEADER + -(-size // 8) * 8 if index else size
        if step % (1 << 64) == 0:
            raise ValueError(f"the heap at byte {start} has an object of no size")
        at += step

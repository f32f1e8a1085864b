"""Bounds of memory and time where uproot has none, for damaged and hostile ROOT files.

A block of a ROOT file says how many bytes it unpacks to, 16 MB at most. uproot compares that with
what came out only afterwards, and 16 MB of zstd can unpack to hundreds of gigabytes. And a basket
may declare 2 GB, of a hundred blocks of a kilobyte each. The lists of an RNTuple count up to four
billion items, which may be of no bytes, or lie one in the other.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
import uproot
from uproot import compression
from uproot.models import RNTuple as rntuple

from physgen.files.memory import in_words, memory_bound

__all__ = ["BoundedSource"]

# "Frames" and "Page Locations" of the RNTuple Binary Format Specification
_FRAME_BYTES, _FRAME_ITEMS = struct.Struct("<q"), struct.Struct("<I")
_PAGE_BYTES = 16  # number of elements, and the smallest locator
_uproot_read_pages = rntuple.ColumnPageListFrameReader.read


class BoundedSource(uproot.MemmapSource):  # type: ignore[misc]  # uproot has no types
    """A file whose baskets, pages and objects may not unpack to more than the file may take."""

    def __init__(self, file_path: str, **options: Any) -> None:
        super().__init__(file_path, **options)
        self.bound = memory_bound(Path(file_path))


def _check_size(*, chunk: Any, uncompressed_bytes: int, **_: Any) -> None:
    source = chunk.source
    if isinstance(source, BoundedSource) and uncompressed_bytes > source.bound:
        raise ValueError(
            f"it declares {in_words(uncompressed_bytes)} of one basket, page or object, and may "
            f"take {in_words(source.bound)}"
        )


def _check_filled(
    *, chunk: Any, cursor: Any, start: Any, compressed_bytes: int, uncompressed_bytes: int,
    filled: int, **_: Any,
) -> None:  # fmt: skip
    """Refuse blocks that end too early: uproot takes what stands in memory for the rest."""
    is_last = cursor.displacement(start) >= compressed_bytes
    if isinstance(chunk.source, BoundedSource) and is_last and filled != uncompressed_bytes:
        raise ValueError(f"its blocks hold {filled} bytes of {uncompressed_bytes}")


def _unpack_zlib(data: Any, uncompressed_bytes: int) -> bytes:
    return zlib.decompressobj().decompress(data, uncompressed_bytes + 1)


def _into(module: Any) -> Callable[[Any, int], np.ndarray]:
    """Unpack into the declared size; what is longer ends with an error when that is full."""

    def unpack(data: Any, uncompressed_bytes: int) -> np.ndarray:
        unpacked = np.empty(uncompressed_bytes, np.uint8)
        return unpacked[: module.decompress_into(data, unpacked)]

    return unpack


def _read_record(self: Any, chunk: Any, cursor: Any, context: Any) -> Any:
    """A frame of one record, which must lie in it."""
    inner = cursor.copy()
    cursor.skip(max(0, inner.field(chunk, _FRAME_BYTES, context)))
    found = self.payload.read(chunk, inner, context)
    return _within(found, inner, cursor)


def _read_list(self: Any, chunk: Any, cursor: Any, context: Any) -> Any:
    """A frame of a list, in which each item must lie."""
    inner = cursor.copy()
    cursor.skip(max(0, -inner.field(chunk, _FRAME_BYTES, context)))
    return [
        _within(self.payload.read(chunk, inner, context), inner, cursor)
        for _ in range(inner.field(chunk, _FRAME_ITEMS, context))
    ]


def _within(found: Any, inner: Any, end: Any) -> Any:
    if inner.index > end.index:
        raise ValueError("a frame is shorter than what it holds")
    return found


def _read_pages(self: Any, chunk: Any, cursor: Any, context: Any) -> Any:
    inner = cursor.copy()
    n_bytes = -inner.field(chunk, _FRAME_BYTES, context)
    if n_bytes < _PAGE_BYTES * inner.field(chunk, _FRAME_ITEMS, context):
        raise ValueError("a list of pages is shorter than its pages")
    return _uproot_read_pages(self, chunk, cursor, context)


def _bound_uproot() -> None:
    """Take the place of uproot's calls, for all who read by it in this process.

    What is read is the same, and as fast; uproot's choice of another library for zlib is kept.
    """
    compression.decompress.hook_before_block = _check_size
    compression.decompress.hook_after_block = _check_filled
    compression._decompress_LZMA.decompress = _into(cramjam.xz)
    compression._decompress_ZSTD.decompress = _into(cramjam.zstd)
    if compression._decompress_ZLIB.library == "zlib":
        compression._decompress_ZLIB.decompress = _unpack_zlib
    rntuple.RecordFrameReader.read = _read_record
    rntuple.ListFrameReader.read = _read_list
    rntuple.ColumnPageListFrameReader.read = _read_pages


_bound_uproot()

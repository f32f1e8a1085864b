"""Compressed blocks of ROOT files take no more memory than they declare, nor than the file may.

A block of a ROOT file says how many bytes it unpacks to, 16 MB at most. uproot compares that with
what came out only afterwards, and 16 MB of zstd can unpack to hundreds of gigabytes. And a basket
may declare 2 GB, of a hundred blocks of a kilobyte each.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
import uproot
from uproot import compression

from physgen.files.memory import in_words, memory_bound

__all__ = ["BoundedSource"]


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


def _bound_blocks() -> None:
    """Take the place of uproot's calls, for all who read by it in this process.

    What is read is the same, and as fast; uproot's choice of another library for zlib is kept.
    """
    compression.decompress.hook_before_block = _check_size
    compression.decompress.hook_after_block = _check_filled
    compression._decompress_LZMA.decompress = _into(cramjam.xz)
    compression._decompress_ZSTD.decompress = _into(cramjam.zstd)
    if compression._decompress_ZLIB.library == "zlib":
        compression._decompress_ZLIB.decompress = _unpack_zlib


_bound_blocks()

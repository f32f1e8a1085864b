"""IDX, the format of MNIST: one array of unsigned bytes per file, often compressed by gzip.

Four bytes (0, 0, type 0x08, number of axes), one big-endian 32-bit size per axis, the bytes.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from physgen.events import Events
from physgen.files.memory import in_words, memory_bound
from physgen.files.source import Column, Source
from physgen.schema import Field, SchemaError

__all__ = ["open_source", "write"]

_UNSIGNED_BYTE = 0x08
_BLOCK = 1 << 20


def open_source(path: Path, *, tree: str | None, binning: Path | None) -> Source:
    """Open an IDX file; it is small, so it is read at once.

    Raises
    ------
    OSError
        If it is shorter than its header says, or its compression is damaged.
    ValueError
        If it is not an IDX file of unsigned bytes.
    """
    if tree is not None or binning is not None:
        raise ValueError(f"tree= and binning= do not belong to the IDX file {path}")
    with _unpacked(path) as file:
        return _source(path, file)


def _source(path: Path, file: IO[bytes]) -> Source:
    content = file.read(4)
    n_axes = content[3] if len(content) == 4 else 0
    if content[:3] != bytes((0, 0, _UNSIGNED_BYTE)) or not 1 <= n_axes <= 4:
        raise ValueError(
            f"{path} is not an IDX file of unsigned bytes: it begins with {content[:4]!r}"
        )
    header = file.read(4 * n_axes)
    sizes = np.frombuffer(header, dtype=">u4").tolist() if len(header) == 4 * n_axes else []
    wanted = math.prod(sizes)
    if wanted > memory_bound(path):
        raise ValueError(
            f"{path} declares {in_words(wanted)} in {in_words(path.stat().st_size)} of file, and "
            f"may take {in_words(memory_bound(path))}; the file is damaged, so copy it again"
        )
    # no more than one byte beyond what is declared, however much is packed
    values = np.frombuffer(_at_most(file, wanted + 1), dtype=np.uint8)
    if not sizes or not wanted or len(values) != wanted:
        n_bytes = 4 + len(header) + len(values)
        found = "more" if len(values) > wanted else f"{len(values)}, up to byte {n_bytes}"
        raise OSError(
            f"{path} should hold {' x '.join(map(str, sizes)) or 'its sizes'} bytes and holds "
            f"{found}; the file is damaged or incomplete, so copy it again"
        )
    array = values.reshape(sizes)
    field = _field(path, array.shape[1:])
    width = max(1, math.prod(field.shape))
    column = Column(
        field, len(array), lambda a, b: array[a:b].copy(), lambda a, b: (b - a) * width
    )
    return Source(path, "idx", {field.name: column})


def _field(path: Path, shape: tuple[int, ...]) -> Field:
    if len(shape) == 2:
        return Field("images", "uint8", shape=shape, description="gray level, 0 to 255")
    if not shape and "label" in path.name:
        return Field("labels", "uint8", allowed=tuple(range(10)), role="condition")
    return Field("values", "uint8", shape=shape)


def _at_most(file: IO[bytes], n_bytes: int) -> bytearray:
    """Read in blocks: one call would take the memory before it knows what is there."""
    content = bytearray()
    while block := file.read(min(_BLOCK, n_bytes - len(content))):
        content += block
    return content


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    packed = path.name.lower().endswith(".gz")
    try:
        opened: IO[bytes] = gzip.GzipFile(path) if packed else path.open("rb")  # type: ignore[assignment]
        with opened as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise OSError(
            f"cannot unpack {path}: the file is damaged or incomplete ({error}); copy it again"
        ) from error


def write(path: Path, events: Events) -> None:
    """Write the one field of the events, of type uint8."""
    names = events.schema.names
    if (
        len(names) != 1
        or events.schema[names[0]].dtype != "uint8"
        or events.schema[names[0]].jagged
    ):
        raise SchemaError(
            f"an IDX file holds one field of type uint8, not {', '.join(names)}; choose one with "
            "events[['images']], or write .h5"
        )
    array = np.ascontiguousarray(events[names[0]])
    header = bytes((0, 0, _UNSIGNED_BYTE, array.ndim))
    content = header + np.array(array.shape, dtype=">u4").tobytes() + array.tobytes()
    # a fixed time stamp: equal events give equal files
    packed = gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content
    path.write_bytes(packed)

"""Chunks of an HDF5 dataset: whether they can be what the file declares, and unpacking them.

libhdf5 unpacks whatever a stream of deflate holds: a stored chunk of 1 MB, declared as 1 MB, may
become 1 GB in its memory. So large chunks that deflate packed are unpacked here, where the
declared size is the limit. Small ones cannot grow beyond some 200 MB and stay with libhdf5.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from physgen.files.memory import in_words, memory_bound

__all__ = ["PackedChunks", "check_chunks", "guarded"]

# deflate packs at most 1032 to 1, and libhdf5 doubles its buffer until all fits
_SAFE_BYTES = 100_000
_PIECE = 1 << 13
_SHUFFLE, _DEFLATE, _SCALEOFFSET = (
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SCALEOFFSET,
)
_SCALEOFFSET_COUNT, _SCALEOFFSET_SIZE = 2, 4


def check_chunks(dataset: h5py.Dataset, path: Path) -> None:
    """Refuse chunks and filters that no program writes and that libhdf5 would trust.

    Raises
    ------
    OSError
        If one chunk is larger than the file can mean, or a filter contradicts the dataset.
    """
    if dataset.chunks is None:
        return
    n_values = math.prod(dataset.chunks)
    n_bytes = n_values * dataset.dtype.itemsize
    bound = memory_bound(path)
    if n_bytes > bound:
        raise OSError(
            f"dataset {dataset.name!r} of {path} has chunks of {in_words(n_bytes)}, which must be "
            f"unpacked as a whole; in a file of this size physgen takes up to {in_words(bound)}; "
            "the file is damaged or made to fill the memory: make it again with smaller chunks"
        )
    filters = _filters(dataset)
    codes = [code for code, _ in filters]
    sizes = [v for code, v in filters if code == _SCALEOFFSET]
    if codes.count(_DEFLATE) > 1 or any(
        len(v) <= _SCALEOFFSET_SIZE
        or (v[_SCALEOFFSET_COUNT], v[_SCALEOFFSET_SIZE]) != (n_values, dataset.dtype.itemsize)
        for v in sizes
    ):
        raise OSError(
            f"the compression of dataset {dataset.name!r} of {path} contradicts its shape or is "
            "applied twice; the file is damaged, so copy or make it again"
        )


def _filters(dataset: h5py.Dataset) -> list[tuple[int, tuple[int, ...]]]:
    settings = dataset.id.get_create_plist()
    found = (settings.get_filter(i) for i in range(settings.get_nfilters()))
    return [(code, values) for code, _, values, _ in found]


def guarded(dataset: h5py.Dataset) -> PackedChunks | None:
    """The chunks if libhdf5 must not unpack them itself, else None."""
    if dataset.chunks is None or _DEFLATE not in [code for code, _ in _filters(dataset)]:
        return None
    found: list[_Stored] = []
    dataset.id.chunk_iter(lambda c: found.append(_Stored(c.chunk_offset, c.filter_mask, c.size)))
    if max((chunk.n_bytes for chunk in found), default=0) <= _SAFE_BYTES:
        return None
    return PackedChunks(dataset, sorted(found, key=lambda chunk: chunk.at))


@dataclass(frozen=True)
class _Stored:
    at: tuple[int, ...]
    mask: int
    n_bytes: int


class PackedChunks:
    """Chunks packed by deflate, read with the size that the dataset declares as the limit."""

    def __init__(self, dataset: h5py.Dataset, stored: list[_Stored]) -> None:
        self._dataset, self._stored = dataset, stored
        self._starts = np.array([chunk.at[0] for chunk in stored])
        self._shape = dataset.chunks
        self._n_bytes = math.prod(self._shape) * dataset.dtype.itemsize
        self._codes = [code for code, _ in _filters(dataset)]
        self._known: set[tuple[int, ...]] = set()

    @property
    def is_ours(self) -> bool:
        """Whether the packing is one of the two that are undone here."""
        simple = self._codes in ([_DEFLATE], [_SHUFFLE, _DEFLATE])
        return simple and not self._dataset.dtype.hasobject

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows of the dataset.

        Raises
        ------
        ValueError
            If a chunk holds more or less than it should.
        """
        rows = np.empty((stop - start, *self._dataset.shape[1:]), self._dataset.dtype)
        for chunk in self._touched(start, stop):
            self._place(rows, start, chunk)
        return rows

    def check(self, start: int, stop: int) -> None:
        """Unpack within bounds what libhdf5 will then unpack without any.

        Raises
        ------
        ValueError
            If a chunk holds more than it should.
        """
        # what other filters add is a head of some bytes
        for chunk in self._touched(start, stop):
            self._verify(chunk, self._n_bytes + self._n_bytes // 8 + 1024)

    def _verify(self, chunk: _Stored, limit: int) -> None:
        packed = not chunk.mask & 1 << self._codes.index(_DEFLATE)
        if packed and chunk.n_bytes > _SAFE_BYTES and chunk.at not in self._known:
            _, raw = self._dataset.id.read_direct_chunk(chunk.at)
            for _ in _inflated(raw, limit):
                pass
        self._known.add(chunk.at)

    def _touched(self, start: int, stop: int) -> Iterable[_Stored]:
        first = np.searchsorted(self._starts, start - self._shape[0], side="right")
        last = np.searchsorted(self._starts, stop, side="left")
        return self._stored[first:last]

    def _place(self, rows: np.ndarray, start: int, chunk: _Stored) -> None:
        low = max(start, chunk.at[0])
        high = min(start + len(rows), chunk.at[0] + self._shape[0])
        size = tuple(
            min(n, whole - at)
            for n, whole, at in zip(self._shape[1:], rows.shape[1:], chunk.at[1:], strict=True)
        )
        there = tuple(slice(at, at + n) for at, n in zip(chunk.at[1:], size, strict=True))
        target = rows[(slice(low - start, high - start), *there)]
        if high - low < min(self._shape[0], len(self._dataset) - chunk.at[0]):
            self._verify(chunk, self._n_bytes)  # libhdf5 keeps it for the rows of the next batch
        if chunk.at in self._known:
            target[...] = self._dataset[(slice(low, high), *there)]
            return
        block = self._unpacked(chunk, low - chunk.at[0], high - chunk.at[0])
        target[...] = block[(slice(None), *map(slice, size))]
        self._known.add(chunk.at)

    def _unpacked(self, chunk: _Stored, first: int, last: int) -> np.ndarray:
        dtype = self._dataset.dtype
        _, raw = self._dataset.id.read_direct_chunk(chunk.at)
        if not chunk.mask & 1 << self._codes.index(_DEFLATE):
            raw = zlib.decompressobj().decompress(raw, self._n_bytes + 1)
        if len(raw) != self._n_bytes:
            raise ValueError(f"the chunk at {chunk.at} has {len(raw)} bytes, not {self._n_bytes}")
        flat = np.frombuffer(raw, np.uint8)
        low, high = (row * math.prod(self._shape[1:]) for row in (first, last))
        if self._codes[0] == _SHUFFLE and not chunk.mask & 1:
            # byte 0 of all values, then byte 1 of all values, and so on
            part = np.empty((high - low, dtype.itemsize), np.uint8)
            for byte, of_all in enumerate(flat.reshape(dtype.itemsize, -1)[:, low:high]):
                part[:, byte] = of_all
        else:
            part = flat[low * dtype.itemsize : high * dtype.itemsize]
        return part.reshape(-1).view(dtype).reshape(last - first, *self._shape[1:])


def _inflated(raw: bytes, limit: int) -> Iterator[bytes]:
    """What a stream of deflate holds, in pieces.

    Raises
    ------
    ValueError
        If it is more than the limit.
    """
    stream = zlib.decompressobj()
    for at in range(0, len(raw), _PIECE):
        # one byte of room beyond the limit, since 0 would mean no limit
        piece = stream.decompress(memoryview(raw)[at : at + _PIECE], limit + 1)
        limit -= len(piece)
        if limit < 0:
            raise ValueError("a chunk holds more than it declares")
        yield piece

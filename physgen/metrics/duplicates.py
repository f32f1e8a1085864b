"""Rows that repeat, found by one number per row."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["duplicates", "row_keys"]


def duplicates(sample: np.ndarray, other: np.ndarray | None = None) -> int:
    """Count the rows that repeat an earlier row of the sample, or that equal a row of another.

    Samples in two floating types are compared in the narrower one, so that a copy written in
    float32 is found in float64 data.

    Parameters
    ----------
    sample : array of shape (n, ...)
        Events.
    other : array of shape (m, ...), optional
        Events to compare with.

    Examples
    --------
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])
    >>> duplicates(x), duplicates(x, np.array([[1.0, 2.0]], dtype=np.float32))
    (1, 2)
    """
    if other is None:
        return len(sample) - len(np.unique(row_keys(sample)[0]))
    ours, theirs = row_keys(sample, other)
    return int(np.isin(ours, theirs).sum())


def row_keys(*samples: np.ndarray) -> list[np.ndarray]:
    """One 64-bit number per row; equal for equal rows, and for others once in 10^19 pairs."""
    types = [np.asarray(z).dtype for z in samples]
    floats = [t for t in types if t.kind == "f"]
    common = min(floats, key=lambda t: t.itemsize) if len(floats) == len(types) else None
    return [_digests(z, common or np.result_type(*types)) for z in samples]


def _digests(sample: np.ndarray, dtype: np.dtype) -> np.ndarray:
    keys = bytearray()
    for start in range(0, len(sample), 1024):
        block = np.ascontiguousarray(sample[start : start + 1024]).astype(dtype)
        block = block.reshape(len(block), -1) + dtype.type(0)  # -0.0 equals 0.0
        for row in block:
            keys += hashlib.blake2b(row, digest_size=8, usedforsecurity=False).digest()
    return np.frombuffer(bytes(keys), dtype=np.uint64)

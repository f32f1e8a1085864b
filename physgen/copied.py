"""Copies: candidate events that are reference events, or training events, again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from physgen.events import Events
from physgen.metrics.copies import Memorization, memorization
from physgen.metrics.duplicates import duplicates
from physgen.schema import Field

__all__ = ["find_copies", "n_leaked"]

_MAX_REPEATS = 0.01  # of the reference: where more events repeat by chance, a copy proves nothing


def n_leaked(reference: Events, candidate: Events, fields: Sequence[str]) -> int:
    """Candidate events that equal a reference event in every field; 0 for data that repeat."""
    ours, theirs = _numbers([reference, candidate], fields)
    if duplicates(ours) > _MAX_REPEATS * len(ours):
        return 0
    return duplicates(theirs, ours)


def find_copies(
    reference: Events, candidate: Events, train: Events, fields: Sequence[str], *, rng: int
) -> Memorization:
    """Look for training events among the candidate events, all fields together.

    Every number is scaled by its spread in the training events, so that distances mean the same
    in all directions; numbers of one array have one scale.
    """
    samples = _numbers([train, candidate, reference], fields, scaled=True)
    return memorization(
        samples[1], samples[0], samples[2], weights=(reference.weights, candidate.weights), rng=rng
    )


def _numbers(
    samples: Sequence[Events], fields: Sequence[str], *, scaled: bool = False
) -> list[np.ndarray]:
    """All numbers of each event in a row, float64 of shape (n_events, n_numbers)."""
    parts: list[list[np.ndarray]] = [[] for _ in samples]
    for name in fields:
        columns = _padded(samples[0].schema[name], [e[name] for e in samples])
        spread = (columns[0].std() if scaled else 1.0) or 1.0
        for part, column in zip(parts, columns, strict=True):
            part.append(column / spread)
    return [np.concatenate(part, axis=1) for part in parts]


def _padded(field: Field, columns: Sequence[object]) -> list[np.ndarray]:
    if not field.jagged:
        arrays = [np.asarray(c) for c in columns]
        # a copy that was written in single precision is one too
        narrow = any(a.dtype == np.float32 for a in arrays)
        numbers = [a.astype(np.float32) if narrow else a for a in arrays]
        return [a.reshape(len(a), -1).astype(np.float64) for a in numbers]
    import awkward as ak

    length = max(1, *(int(ak.max(ak.num(c, axis=1))) for c in columns))
    return [
        ak.to_numpy(ak.fill_none(ak.pad_none(c, length, axis=1, clip=True), 0.0)).astype(
            np.float64
        )
        for c in columns
    ]

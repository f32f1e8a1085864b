"""Copies: candidate events that are reference events, or training events, again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from physgen.events import Events
from physgen.metrics.copies import Memorization, memorization
from physgen.metrics.duplicates import row_keys
from physgen.schema import Field

__all__ = ["find_copies", "n_leaked"]

_MAX_GROUP = 4  # events that are equal to each other: larger groups are no rare coincidence
_MIN_LEAKED = 5  # without a coincidence within either sample
_LEVEL = 1e-4


def n_leaked(reference: Events, candidate: Events, fields: Sequence[str]) -> int:
    """Candidate events that equal a reference event in every field, if that is more than chance.

    Events of rounded numbers coincide by chance, across the samples as within them: of the pairs
    of equal events, a share 2nm / ((n + m)(n + m - 1)) lies across if both have one law.
    """
    from scipy.stats import binom

    if not fields:
        return 0
    if reference.sha256() == candidate.sha256():
        return len(candidate)
    ours, theirs = row_keys(*_numbers([reference, candidate], fields))
    keys, index = np.unique(np.concatenate((ours, theirs)), return_inverse=True)
    of_ours = np.bincount(index[: len(ours)], minlength=len(keys))
    of_theirs = np.bincount(index[len(ours) :], minlength=len(keys))
    size = of_ours + of_theirs
    rare = size <= _MAX_GROUP
    across = int((of_ours * of_theirs)[rare].sum())
    pairs = int((size * (size - 1) // 2)[rare].sum())
    n, m = len(ours), len(theirs)
    by_chance = 2 * n * m / ((n + m) * (n + m - 1))
    seen = binom.sf(across - 1, pairs, by_chance) < _LEVEL if pairs else False
    if not seen and (pairs > across or across < _MIN_LEAKED):
        return 0
    return int(of_theirs[rare & (of_ours > 0)].sum())


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
        # a copy that was written in single precision is one too
        arrays = [np.asarray(c) for c in columns]
        narrow = any(a.dtype == np.float32 for a in arrays)
        numbers = [a.astype(np.float32) if narrow else a for a in arrays]
        return [a.reshape(len(a), -1).astype(np.float64) for a in numbers]
    import awkward as ak

    narrow = any("float32" in str(ak.type(c)) for c in columns)
    if narrow:
        columns = [ak.values_astype(c, np.float32) for c in columns]
    length = max(1, *(int(ak.max(ak.num(c, axis=1))) for c in columns))
    return [
        ak.to_numpy(ak.fill_none(ak.pad_none(c, length, axis=1, clip=True), 0.0)).astype(
            np.float64
        )
        for c in columns
    ]

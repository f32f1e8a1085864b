"""Columns of one number per event of any field, whatever it means."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from physgen.observables.jagged import leading
from physgen.schema import Field

__all__ = ["columns_of", "is_cells", "summary_words"]

_MAX_COMPONENTS = 8  # a field with at most so many numbers per event is compared one by one


def is_cells(field: Field, *columns: object) -> bool:
    """Whether a field is an array of contents: many numbers, none negative in any sample."""
    if field.jagged or math.prod(field.shape) <= _MAX_COMPONENTS:
        return False
    return all(bool((np.asarray(column) >= 0).all()) for column in columns)


def summary_words(field: Field, cells: bool) -> str:
    """What an array is compared by; empty if that is all of its numbers."""
    few = math.prod(field.shape) <= _MAX_COMPONENTS
    if field.jagged:
        return "leading entry" if field.unit == "rad" else "sum and leading entry"
    if few:
        return ""
    if cells:
        return "sum, fraction not 0 and mean index along each axis"
    return "sum and fraction not 0"


def columns_of(
    field: Field, column: object, cells: bool
) -> Iterator[tuple[str, bool, np.ndarray]]:
    """Name, whether it has the field's unit, and values of each summary of a field."""
    if field.jagged:
        import awkward as ak

        if field.unit != "rad":
            yield f"{field.name} sum", True, np.asarray(ak.sum(column, axis=1), np.float64)
        yield f"{field.name} leading", True, leading(column)
        return
    values = np.asarray(column)
    flat = values.reshape(len(values), -1)
    if not field.shape:
        yield field.name, True, values.astype(np.float64)
        return
    few = flat.shape[1] <= _MAX_COMPONENTS
    if not few:
        yield f"{field.name} sum", True, flat.sum(axis=1, dtype=np.float64)
        yield f"{field.name} fraction not 0", False, (flat != 0).mean(axis=1)
    if few:
        for k, index in enumerate(np.ndindex(*field.shape)):
            place = ",".join(map(str, index))
            yield f"{field.name}[{place}]", True, flat[:, k].astype(np.float64)
    if cells:
        for axis, mean in _mean_indices(values):
            where = f" along axis {axis}" if len(field.shape) > 1 else ""
            yield f"{field.name} mean index{where}", False, mean


def _mean_indices(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Axis, and mean index along it weighted by the contents: where they are, not how large."""
    for axis, length in enumerate(values.shape[1:]):
        if length == 1:
            continue
        others = tuple(k for k in range(1, values.ndim) if k != axis + 1)
        profile = values.sum(axis=others, dtype=np.float64)
        total = profile.sum(axis=1)
        yield axis, (profile @ np.arange(length)) / np.where(total > 0, total, 1.0)

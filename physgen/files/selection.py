"""What to read of a source: columns, entry range, cut; and the checks on what came."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from physgen.events import Events
from physgen.files.checks import nonfinite_events
from physgen.files.cuts import Cut
from physgen.files.guesses import ungrouped
from physgen.files.source import Source
from physgen.schema import Schema, SchemaError, no_such_field

__all__ = ["Selection", "entry_range", "read_block", "select"]

logger = logging.getLogger(__name__)

CutLike = str | Callable[[Events], Any]


@dataclass(frozen=True)
class Selection:
    """Columns to return, columns that only the cut needs, and the cut."""

    schema: Schema
    only_for_cut: tuple[str, ...]
    cut: Cut | Callable[[Events], Any] | None
    drop_nonfinite: bool
    n_events: int

    @property
    def names(self) -> tuple[str, ...]:
        """All columns to read."""
        return (*self.schema.names, *self.only_for_cut)


def select(
    source: Source,
    *,
    fields: str | Iterable[str] | None,
    cut: CutLike | None,
    units: Mapping[str, str] | None,
    drop_nonfinite: bool,
) -> Selection:
    """Check a request against a source.

    Raises
    ------
    SchemaError
        If a column is missing, cannot be held, or columns have different lengths.
    ValueError
        If nothing is left to read, or the cut cannot be understood.
    """
    names = _names(source, fields)
    if not names:
        raise ValueError(f"{source.where} has no columns that physgen can hold{_why(source)}")
    schema = source.schema(names)
    for name, unit in (units or {}).items():
        schema = schema.with_field(name, unit=unit)
    parsed = Cut(cut, (*source.columns, *source.hidden)) if isinstance(cut, str) else cut
    needed = parsed.names if isinstance(parsed, Cut) else ()
    only_for_cut = tuple(name for name in needed if name not in names)
    n_events = _length(source, (*names, *only_for_cut))
    return Selection(schema, only_for_cut, parsed, drop_nonfinite, n_events)


def _names(source: Source, fields: str | Iterable[str] | None) -> tuple[str, ...]:
    if fields is None:
        return tuple(source.columns)
    asked = [fields] if isinstance(fields, str) else list(fields)
    return tuple(dict.fromkeys(name for one in asked for name in _matches(source, one)))


def _matches(source: Source, name: str) -> list[str]:
    if name in source.columns or name in source.hidden:
        return [name]
    if name in source.left_out:
        raise SchemaError(
            f"field {name!r} of {source.where} cannot be read: {source.left_out[name]}"
        )
    found = fnmatch.filter(source.columns, name)
    if not found:
        known = (*source.columns, *source.hidden)
        raise SchemaError(no_such_field(name, known, source.where))
    return found


def _why(source: Source) -> str:
    reasons = [f"{name}: {reason}" for name, reason in list(source.left_out.items())[:5]]
    return f" ({'; '.join(reasons)})" if reasons else ""


def _length(source: Source, names: tuple[str, ...]) -> int:
    lengths = {name: source[name].n_events for name in names}
    if len(set(lengths.values())) > 1:
        raise SchemaError(
            f"the columns of {source.where} have different lengths: "
            + ", ".join(f"{name} {n}" for name, n in lengths.items())
            + "; choose columns of one length with fields="
        )
    n_events = next(iter(lengths.values()))
    if n_events == 0:
        raise ValueError(f"{source.where} has no events; choose another file or tree")
    return n_events


def entry_range(n_events: int, start: int | None, stop: int | None, where: str) -> tuple[int, int]:
    """Entries of a range as of a Python slice.

    Raises
    ------
    ValueError
        If there are none.
    """
    first, last, _ = slice(start, stop).indices(n_events)
    if first >= last:
        raise ValueError(
            f"the range from {start} to {stop} holds none of the {n_events} events of {where}"
        )
    return first, last


def read_block(source: Source, selection: Selection, start: int, stop: int) -> Events:
    """Read one range of entries, cut it and check that its numbers are finite."""
    columns = {name: source[name].read(start, stop) for name in selection.names}
    mask = _mask(source, selection, columns)
    columns = {name: columns[name] for name in selection.schema.names}
    if mask is not None:
        columns = {name: column[mask] for name, column in columns.items()}
    n_events = stop - start if mask is None else int(np.count_nonzero(mask))
    rows = _Rows(start, n_events, mask)
    keep = _finite(source, columns, rows, drop=selection.drop_nonfinite)
    if keep is not None:
        columns = {name: column[keep] for name, column in columns.items()}
    return _events(source, selection, columns)


@dataclass(frozen=True)
class _Rows:
    """Entries of the file that events come from; worked out for those only that are named."""

    start: int
    n_events: int
    mask: np.ndarray | None

    def of(self, events: np.ndarray) -> np.ndarray:
        return self.start + (events if self.mask is None else np.flatnonzero(self.mask)[events])


def _events(source: Source, selection: Selection, columns: Mapping[str, Any]) -> Events:
    try:
        return Events(ungrouped(selection.schema, columns, source.guessed), columns)
    except SchemaError as error:
        raise SchemaError(
            f"the columns of {source.where} contradict each other: {error}"
        ) from error


def _mask(source: Source, selection: Selection, columns: Mapping[str, Any]) -> np.ndarray | None:
    if selection.cut is None:
        return None
    if isinstance(selection.cut, Cut):
        return selection.cut(columns)
    columns = {name: columns[name] for name in selection.schema.names}
    events = _events(source, selection, columns)
    mask = np.asarray(selection.cut(events))
    if mask.dtype != bool or mask.shape != (len(events),):
        raise ValueError(
            f"the cut must return one bool per event, shape ({len(events)},), but returned "
            f"{mask.dtype} of shape {mask.shape}"
        )
    return mask


def _finite(
    source: Source, columns: Mapping[str, Any], rows: _Rows, *, drop: bool
) -> np.ndarray | None:
    """Return the mask of the events to keep, or None for all."""
    bad = {name: nonfinite_events(column) for name, column in columns.items()}
    bad = {name: events for name, events in bad.items() if len(events)}
    if not bad:
        return None
    counts = ", ".join(f"{name} in {len(events)}" for name, events in bad.items())
    if not drop:
        name, events = next(iter(bad.items()))
        first = ", ".join(str(row) for row in rows.of(events[:5]))
        raise ValueError(
            f"{source.where} has NaN or infinite values: {counts} of {rows.n_events} events "
            f"(first entries of {name}: {first}); leave the column out with fields=, or drop "
            "these events with drop_nonfinite=True"
        )
    keep = np.ones(rows.n_events, dtype=bool)
    for events in bad.values():
        keep[events] = False
    logger.warning(
        "dropped %d of %d events of %s with NaN or infinite values: %s",
        np.count_nonzero(~keep),
        rows.n_events,
        source.where,
        counts,
    )
    return keep

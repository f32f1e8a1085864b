"""Reading events: at once, or in batches that keep a memory bound."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from physgen.events import Events, concatenate
from physgen.files.checks import existing_file
from physgen.files.formats import format_of
from physgen.files.memory import check_memory, n_bytes
from physgen.files.paths import event_files
from physgen.files.selection import Selection, entry_range, read_block, select
from physgen.files.source import Source
from physgen.schema import SchemaError

__all__ = ["iter_events", "joined_schema", "open_file", "read_events"]

StrPath = str | os.PathLike[str]
# a batch exists up to five times at once: in the library's buffers, as read, as cut, with a mask
# of temporaries, and as the batch before, which the caller still holds
_COPIES = 5


def open_file(path: StrPath, *, tree: str | None = None, binning: StrPath | None = None) -> Source:
    """Open an event file of any format; a context manager."""
    where = Path(path)
    existing_file(where)
    form = format_of(where)
    source: Source = form.load().open_source(
        where, tree=tree, binning=None if binning is None else Path(binning)
    )
    return source


def read_events(
    path: StrPath | Sequence[StrPath],
    *,
    tree: str | None = None,
    fields: str | Iterable[str] | None = None,
    start: int | None = None,
    stop: int | None = None,
    cut: str | Callable[[Events], Any] | None = None,
    binning: StrPath | None = None,
    units: Mapping[str, str] | None = None,
    drop_nonfinite: bool = False,
    max_memory: int | str | None = None,
) -> Events:
    """Read events from a ROOT, HDF5 or IDX file, or from several as one.

    Parameters
    ----------
    path : str or path, or sequence of them
        A file, a pattern such as ``"part*.root"``, or several of both, of the same fields; see
        :func:`~physgen.files.event_files` for their order. The suffix decides the format: .root
        (TTree, RNTuple), .h5 or .hdf5 (physgen's own, CaloChallenge, Geant4 Par04, JetNet, plain
        columns, structured arrays), or a MNIST name.
    tree : str, optional
        Which tree of a ROOT file; needed if it has several. The bookkeeping trees of NanoAOD
        (Runs, LuminosityBlocks, MetaData, ParameterSets) do not count.
    fields : str or sequence of str, optional
        Columns to read, in this order; ``*`` and ``?`` are wildcards. By default all that
        physgen can hold, without the counters of jagged columns (``nJet``), which the
        multiplicity already says.
    start, stop : int, optional
        Range of entries of the file, or of all files together, as of a slice, before the cut.
    cut : str or callable, optional
        Which events to keep: an expression of columns such as ``"mu1_pt > 30 and abs(mu1_eta) <
        2.4"`` (columns that only the cut uses are not returned), or a function that takes the
        Events and returns a mask.
    binning : str or path, optional
        XML of a CaloChallenge file, checked against the voxels and kept with the events; see
        :class:`~physgen.files.Binning`.
    units : mapping of str to str, optional
        Units of columns, where the file does not say them.
    drop_nonfinite : bool, default False
        Drop events with a NaN or an infinity (logged) instead of refusing the file.
    max_memory : int or str, optional
        What the columns may take, in bytes or with a unit (kB, MB, GB); by default 500 MB and
        100 times the size of the file, which honest compression keeps.

    Returns
    -------
    Events
        With the schema that the file carries, or one inferred from it. It may hold no events if
        the cut keeps none.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    OSError
        If the file is damaged or truncated.
    SchemaError
        If a column is missing, cannot be held, or the columns differ in length; if a file has
        other fields or conventions than the first.
    ValueError
        If the content is not of the format that the suffix says, the tree is missing or not
        unique, there are no events, a column is not finite, or the columns are larger than
        ``max_memory``.

    Examples
    --------
    >>> truth = read_events("data/zmumu.root", fields=["mu1_pt", "njet"], cut="mu1_pt > 30")
    >>> truth.schema["njet"].dtype
    'int32'
    """
    files = event_files(path)
    asked = None if fields is None else [fields] if isinstance(fields, str) else list(fields)
    how: dict[str, Any] = {
        "fields": asked, "cut": cut, "units": units, "drop_nonfinite": drop_nonfinite,
    }  # fmt: skip
    ranges = _ranges(files, start, stop, tree=tree, fields=asked)
    parts: list[Events] = []
    empty: Events | None = None
    for file, (begin, end) in ranges.items():
        with open_file(file, tree=tree, binning=binning) as source:
            selection = select(source, **how)
            span = entry_range(selection.n_events, begin, end, source.where)
            check_memory(source, selection.names, *span, max_memory)
            parts.append(read_block(source, selection, *span))
            empty = joined_schema(empty, parts[-1], source.where)
    return concatenate(_without_differing(parts, "sampling"))


def _ranges(
    files: Sequence[Path],
    start: int | None,
    stop: int | None,
    *,
    tree: str | None,
    fields: list[str] | None,
) -> dict[Path, tuple[int | None, int | None]]:
    """Entries to read of each file, where start and stop count through all files."""
    if len(files) == 1 or (start is None and stop is None):
        return dict.fromkeys(files, (start, stop))
    lengths = []
    for file in files:
        with open_file(file, tree=tree) as source:
            lengths.append(
                select(source, fields=fields, cut=None, units=None, drop_nonfinite=False).n_events
            )
    first, last = entry_range(sum(lengths), start, stop, f"the {len(files)} files")
    edges = itertools.accumulate(lengths, initial=0)
    spans = {
        file: (max(first - at, 0), min(last - at, n))
        for file, at, n in zip(files, edges, lengths, strict=False)
    }
    return {file: span for file, span in spans.items() if span[0] < span[1]}


def iter_events(
    paths: StrPath | Sequence[StrPath],
    *,
    tree: str | None = None,
    fields: str | Iterable[str] | None = None,
    start: int | None = None,
    stop: int | None = None,
    cut: str | Callable[[Events], Any] | None = None,
    binning: StrPath | None = None,
    units: Mapping[str, str] | None = None,
    drop_nonfinite: bool = False,
    max_memory: int | str = "100 MB",
) -> Iterator[Events]:
    """Read events in batches, in order, within a memory bound.

    Parameters
    ----------
    paths : str, path, or sequence of them
        Files or patterns as in :func:`read_events`, of the same fields, read one after the other;
        a batch never spans two files.
    tree, fields, cut, binning, units, drop_nonfinite
        As in :func:`read_events`.
    start, stop : int, optional
        Range of entries of each file.
    max_memory : int or str, default "100 MB"
        What one batch may take while it is read, in bytes or with a unit (kB, MB, GB). One
        basket of a TTree or one cluster of an RNTuple cannot be read in parts, so it is the
        least that this can be.

    Yields
    ------
    Events
        Batches; those in which the cut keeps nothing are skipped.

    Raises
    ------
    SchemaError
        If a file has other fields than the first one; see also :func:`read_events`.

    Examples
    --------
    >>> batches = iter_events("data/zmumu.root", fields=["met"], max_memory="200 kB")
    >>> sum(len(events) for events in batches)
    60000
    """
    bound = n_bytes(max_memory, "max_memory") // _COPIES
    asked = None if fields is None else [fields] if isinstance(fields, str) else list(fields)
    first: Events | None = None
    for path in event_files(paths):
        with open_file(path, tree=tree, binning=binning) as source:
            selection = select(
                source, fields=asked, cut=cut, units=units, drop_nonfinite=drop_nonfinite
            )
            begin, end = entry_range(selection.n_events, start, stop, source.where)
            for low, high in _batches(source, selection, begin, end, bound):
                events = read_block(source, selection, low, high)
                first = events[:0] if first is None else first
                _check_same_fields(first, events, source.where)
                if len(events):
                    yield events
                del events


def _check_same_fields(first: Events, events: Events, where: str) -> None:
    if events.schema.fields != first.schema.fields:
        joined_schema(first[:0], events, where)


def joined_schema(empty: Events | None, events: Events, where: str) -> Events:
    """No events, with the schema of the files so far, which this one must continue.

    Raises
    ------
    SchemaError
        If its fields or conventions are others.
    """
    if empty is None:
        return events[:0]
    try:
        return concatenate(_without_differing([empty, events[:0]], "sampling"))
    except SchemaError as error:
        raise SchemaError(f"{where} does not continue the files before it: {error}") from None


def _without_differing(parts: list[Events], convention: str) -> list[Events]:
    """Leave out a convention that need not be the same: how each file was sampled."""
    if len({part.schema.conventions.get(convention) for part in parts}) == 1:
        return parts
    said = [{k: v for k, v in p.schema.conventions.items() if k != convention} for p in parts]
    return [
        part.replace_schema(dataclasses.replace(part.schema, conventions=kept))
        for part, kept in zip(parts, said, strict=True)
    ]


def _batches(
    source: Source, selection: Selection, start: int, stop: int, bound: int
) -> Iterator[tuple[int, int]]:
    while start < stop:
        end = _largest_end(source, selection.names, start, stop, bound)
        yield start, end
        start = end


def _largest_end(source: Source, names: Sequence[str], start: int, stop: int, bound: int) -> int:
    """Bisect for the last entry that keeps the bound; at least one event, or nothing moves."""
    low, high = start + 1, stop
    while low < high:
        middle = (low + high + 1) // 2
        if sum(source[name].n_bytes(start, middle) for name in names) <= bound:
            low = middle
        else:
            high = middle - 1
    return low

"""Source: an open file as columns that can be read by entry range.

A format module makes one from a path (``open_source``); everything else (selection, cuts, checks,
batches) is written once, for all formats, in :mod:`physgen.files.selection`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from physgen.schema import Field, Schema

__all__ = ["Column", "Source", "as_stored", "checked_lists", "jagged", "jagged_parts"]


@dataclass(frozen=True)
class Column:
    """One column of an open file.

    Parameters
    ----------
    field : Field
        What it holds.
    n_events : int
        Its length.
    read : callable of (start, stop)
        Returns the entries of a range: numpy, or awkward for a jagged column.
    n_bytes : callable of (start, stop)
        Size of that array in memory, without reading it.
    """

    field: Field
    n_events: int
    read: Callable[[int, int], Any]
    n_bytes: Callable[[int, int], int]


@dataclass(frozen=True)
class Source:
    """An open file.

    Parameters
    ----------
    path : Path
        The file.
    layout : str
        How it is organised: ``"physgen"``, ``"calochallenge"``, ``"ttree"``, ...
    columns : dict of str to Column
        In the order of the file.
    hidden : dict of str to Column
        Columns that are read only when asked for by name (counters of collections).
    left_out : dict of str to str
        What physgen cannot hold, with the reason.
    conventions : dict of str to str
        Conventions of the schema.
    trees : dict of str to int
        Entries of each tree of the file, for formats that have trees.
    tree : str
        The tree that is open.
    guessed : frozenset of str
        Collections that were only guessed from the names of lists without a counter.
    resources : contextlib.ExitStack
        Closed with the source.
    """

    path: Path
    layout: str
    columns: dict[str, Column]
    hidden: dict[str, Column] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    conventions: dict[str, str] = field(default_factory=dict)
    trees: dict[str, int] = field(default_factory=dict)
    tree: str = ""
    guessed: frozenset[str] = frozenset()
    resources: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.resources.close()

    def __getitem__(self, name: str) -> Column:
        return self.columns[name] if name in self.columns else self.hidden[name]

    @property
    def where(self) -> str:
        """Place for messages: file and tree."""
        return f"tree {self.tree!r} of {self.path}" if self.tree else str(self.path)

    def schema(self, names: tuple[str, ...]) -> Schema:
        """Return the schema of these columns."""
        return Schema(tuple(self[name].field for name in names), self.conventions)


def as_stored(
    columns: dict[str, Column], hidden: dict[str, Column], stored: Schema
) -> dict[str, Column]:
    """Return the columns with the properties and in the order of the schema in the file."""
    known = {**columns, **hidden}
    ordered = {name: _stored_column(known[name], stored) for name in stored.names if name in known}
    return ordered | {name: column for name, column in columns.items() if name not in stored}


def _stored_column(column: Column, stored: Schema) -> Column:
    found, known = column.field, stored[column.field.name]
    # another program may have changed the column since: what the file holds is what counts
    if (known.shape, known.jagged) != (found.shape, found.jagged):
        return column
    return dataclasses.replace(column, field=dataclasses.replace(known, dtype=found.dtype))


def jagged(content: np.ndarray, offsets: np.ndarray) -> Any:
    """Awkward array of lists: event i is ``content[offsets[i]:offsets[i + 1]]``."""
    import awkward as ak

    layout = ak.contents.ListOffsetArray(
        ak.index.Index64(offsets), ak.contents.NumpyArray(np.ascontiguousarray(content))
    )
    return ak.Array(layout)


def checked_lists(column: Any) -> Any:
    """The lists as they are, if each ends where it begins or later, and within the content.

    Raises
    ------
    ValueError
        If not.
    """
    content, offsets = jagged_parts(column)
    if offsets[0] < 0 or (offsets[1:] < offsets[:-1]).any() or offsets[-1] > len(content):
        raise ValueError("its lists end before they begin")
    return column


def jagged_parts(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Content and offsets of a jagged column, the offsets beginning at 0."""
    import awkward as ak

    layout = ak.to_layout(column).to_ListOffsetArray64(True)
    offsets = np.asarray(layout.offsets.data)
    content = ak.to_numpy(layout.content)[: offsets[-1]]
    return content, offsets

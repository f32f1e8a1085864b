"""What a file holds, without reading its events."""

from __future__ import annotations

import os
from dataclasses import dataclass

from physgen.files.formats import format_of
from physgen.files.reading import open_file
from physgen.schema import Schema

__all__ = ["Description", "describe"]


@dataclass(frozen=True)
class Description:
    """What a file holds.

    Parameters
    ----------
    path : str
        The file.
    format : str
        ``"HDF5"``, ``"ROOT"`` or ``"IDX"``.
    layout : str
        How the file is organised: ``"physgen"``, ``"calochallenge"``, ``"ttree"``, ...
    n_bytes : int
        Size of the file.
    tree : str
        The tree described; empty where there are none.
    trees : dict of str to int
        Events of each tree.
    lengths : dict of str to int
        Events of each column; all equal in a file that can be read as a whole.
    schema : Schema
        Fields and conventions.
    hidden : tuple of str
        Columns that are read only when asked for by name: counters of collections.
    left_out : dict of str to str
        What physgen cannot hold, with the reason.
    """

    path: str
    format: str
    layout: str
    n_bytes: int
    tree: str
    trees: dict[str, int]
    lengths: dict[str, int]
    schema: Schema
    hidden: tuple[str, ...]
    left_out: dict[str, str]

    @property
    def n_events(self) -> int | None:
        """Number of events; None if the columns differ in length."""
        found = set(self.lengths.values())
        return found.pop() if len(found) == 1 else None

    def __str__(self) -> str:
        n_events = (
            "columns of different lengths"
            if self.n_events is None
            else (f"{self.n_events:,} events")
        )
        tree = f", tree {self.tree!r}" if self.tree else ""
        lines = [
            (
                f"{self.path}: {self.format} ({self.layout}{tree}), {n_events}, "
                f"{len(self.schema)} fields, {self.n_bytes:,} bytes"
            ),
            *(f"  tree {name}: {n:,} events" for name, n in self.trees.items()),
            *_table(self),
            *(f"  convention {k}: {_short(v)}" for k, v in self.schema.conventions.items()),
            *(f"  counter {name}: read when asked for by name" for name in self.hidden),
            *(f"  left out {name}: {reason}" for name, reason in self.left_out.items()),
        ]
        return "\n".join(lines)


def _table(description: Description) -> list[str]:
    header = ("field", "unit", "type", "per event", "role", "description")
    rows = [header]
    for f in description.schema:
        shape = f"jagged ({f.collection})" if f.jagged else "×".join(map(str, f.shape)) or "1"
        rows.append((f.name, f.unit, f.dtype, shape, f.role, f.description))
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    return [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 72 else f"{line[:69]}..."


def describe(path: str | os.PathLike[str], *, tree: str | None = None) -> Description:
    """Say what a file holds, without reading its events.

    Parameters
    ----------
    path : str or path
        File of any known format.
    tree : str, optional
        Which tree of a ROOT file to describe; needed if it has several.

    Raises
    ------
    FileNotFoundError, OSError, ValueError
        As :func:`~physgen.files.read_events`.

    Examples
    --------
    >>> describe("data/zmumu.root").n_events
    60000
    """
    with open_file(path, tree=tree) as source:
        names = tuple(source.columns)
        return Description(
            path=str(path),
            format=format_of(source.path).name,
            layout=source.layout,
            n_bytes=source.path.stat().st_size,
            tree=source.tree,
            trees=source.trees,
            lengths={name: source[name].n_events for name in names},
            schema=source.schema(names),
            hidden=tuple(source.hidden),
            left_out=source.left_out,
        )

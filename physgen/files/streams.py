"""Files larger than memory: events by blocks, in any order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from physgen.events import Events
from physgen.files.memory import n_bytes
from physgen.files.paths import event_files
from physgen.files.reading import joined_schema, open_file
from physgen.files.selection import read_block, select

__all__ = ["Block", "EventStream", "stream"]

# a block is so small a part of the memory that a pool holds dozens of them, from all over the
# files; entries are a power of two, as the chunks of files often are
_BLOCKS = 200


@dataclass(frozen=True)
class Block:
    """A range of entries of one file."""

    file: Path
    start: int
    stop: int


@dataclass(frozen=True)
class EventStream:
    """Events of files that need not fit into memory; made by :func:`stream`.

    Attributes
    ----------
    files : tuple of Path
        In their order.
    memory : int
        Bytes that a training on them may take, beside its model, or a comparison.
    n_entries : int
        Entries of all files, before the cut.
    """

    files: tuple[Path, ...]
    memory: int
    n_entries: int
    _blocks: tuple[Block, ...]
    _opened: Mapping[str, Any]
    _selected: Mapping[str, Any]

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All entries, in ranges of about a two-hundredth of the memory."""
        return self._blocks

    def read(self, blocks: Sequence[Block]) -> Iterator[Events]:
        """Events of blocks, in the order given; a file is opened once for those in a row.

        Raises
        ------
        OSError, ValueError
            As :func:`~physgen.files.read_events`.
        """
        for first, last in _runs(blocks):
            with open_file(blocks[first].file, **self._opened) as source:
                selection = select(source, **self._selected)
                for block in blocks[first:last]:
                    yield read_block(source, selection, block.start, block.stop)


def stream(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    memory: int | str = "2 GB",
    tree: str | None = None,
    fields: str | Iterable[str] | None = None,
    cut: str | Callable[[Events], Any] | None = None,
    binning: str | os.PathLike[str] | None = None,
    units: Mapping[str, str] | None = None,
    drop_nonfinite: bool = False,
) -> EventStream:
    """Name events of files larger than memory, to train on them or compare them within a bound.

    Parameters
    ----------
    paths : str or path, or iterable of them
        Files and patterns as in :func:`~physgen.files.read_events`.
    memory : int or str, default "2 GB"
        What the process may take for the events, in bytes or with a unit (kB, MB, GB): in a
        training two pools of features, the sample that the preprocessing is fitted to, and what
        reading needs; in a comparison a random sample, and what is computed from it. At least
        about 100 MB are sensible, since libraries take some ten MB each.
    tree, fields, cut, binning, units, drop_nonfinite
        As in :func:`~physgen.files.read_events`.

    Returns
    -------
    EventStream
        For :meth:`physgen.Surrogate.fit` and :func:`physgen.compare`.

    Raises
    ------
    FileNotFoundError, OSError, SchemaError, ValueError
        If a file cannot be opened, or has other fields than the first.

    Examples
    --------
    >>> events = stream("data/zmumu.root", memory="100 MB", fields=["met"])
    >>> events.n_entries
    60000
    """
    files = event_files(paths)
    size = n_bytes(memory, "memory")
    opened: dict[str, Any] = {"tree": tree, "binning": binning}
    asked = None if fields is None else [fields] if isinstance(fields, str) else list(fields)
    selected: dict[str, Any] = {
        "fields": asked, "cut": cut, "units": units, "drop_nonfinite": drop_nonfinite,
    }  # fmt: skip
    blocks: list[Block] = []
    empty: Events | None = None
    for file in files:
        with open_file(file, **opened) as source:
            selection = select(source, **selected)
            first = read_block(source, selection, 0, 1)
            empty = joined_schema(empty, first, source.where)
            n = selection.n_events
            n_raw = sum(source[name].n_bytes(0, n) for name in selection.names)
            rows = max(1, size // _BLOCKS * n // max(1, n_raw))
            rows = 1 << (rows.bit_length() - 1)
            blocks += [Block(file, a, min(a + rows, n)) for a in range(0, n, rows)]
    n_entries = sum(block.stop - block.start for block in blocks)
    return EventStream(tuple(files), size, n_entries, tuple(blocks), opened, selected)


def _runs(blocks: Sequence[Block]) -> Iterator[tuple[int, int]]:
    """First and last of the blocks in a row that are of one file."""
    first = 0
    for k in range(1, len(blocks) + 1):
        if k == len(blocks) or blocks[k].file != blocks[first].file:
            yield first, k
            first = k

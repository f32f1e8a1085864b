"""Writing events: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from physgen.events import Events, require_events
from physgen.files.atomic import atomic_path, check_writable
from physgen.files.formats import format_of

__all__ = ["check_target", "write_events"]


def write_events(
    path: str | os.PathLike[str],
    events: Events,
    *,
    tree: str | None = None,
    rntuple: bool | None = None,
    layout: str | None = None,
    compression: str | None = None,
) -> None:
    """Write events to a ROOT, HDF5 or IDX file, replacing a file of that name.

    The file is written beside the old one and renamed at the end, so whatever fails on the way
    leaves the old file as it was. Values are stored exactly to the bit, in order, and reading the
    file gives the same schema. Ctrl-C waits until an HDF5 file is closed; the old file stays.

    Parameters
    ----------
    path : str or path
        The suffix decides the format: .root, .h5 or .hdf5, or a MNIST name.
    events : Events
        At least one event.
    tree : str, default "Events"
        Name of the tree (ROOT).
    rntuple : bool, default False
        Write an RNTuple instead of a TTree (ROOT).
    layout : str, optional
        ``"physgen"``, ``"calochallenge"``, ``"par04"`` or ``"jetnet"`` (HDF5); by default the
        layout that the events were read from if they still have exactly its fields, else
        physgen's own.
    compression : str, optional
        ROOT: ``"zstd"`` (default), ``"lz4"``, ``"zlib"``, ``"lzma"`` or ``"none"``, with a level
        as in ``"zstd:9"``. HDF5: ``"gzip"`` (default), ``"lzf"`` or ``"none"``.

    Raises
    ------
    FileNotFoundError, PermissionError, IsADirectoryError, OSError
        If the file cannot be written; ENOSPC if the disk is full.
    ValueError
        If there are no events, the format is not known, cannot hold a type, or does not have one
        of the settings.
    """
    require_events("what is written", events)
    where = Path(path)
    if where.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder; add a file name to it")
    form = format_of(where)
    given = {"tree": tree, "rntuple": rntuple, "layout": layout, "compression": compression}
    for name, value in given.items():
        if value is not None and name not in form.settings:
            raise ValueError(f"{name}= does not belong to {form.name} files such as {where.name}")
    if len(events) == 0:
        raise ValueError(f"there are no events to write to {path}; nothing was written")
    with atomic_path(where) as temporary:
        settings = {name: given[name] for name in form.settings}
        form.load().write(temporary, events, **settings)


def check_target(path: str | os.PathLike[str]) -> None:
    """Raise now if events cannot be written there, rather than after they were made.

    Raises
    ------
    ValueError, OSError
        As :func:`write_events` would, for an unknown suffix or a folder that takes no file.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder; add a file name to it")
    format_of(Path(path))
    check_writable(path)

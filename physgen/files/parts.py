"""Writing a stream of events that may be stopped at any moment, and continued.

The events are kept in a folder beside the target, ``ising.h5.parts`` for ``ising.h5``: one file
per piece, named by the events it holds, each written whole or not at all, and ``request.json``,
which says what was asked for. When the last event is there, the pieces are joined into the target
and the folder is removed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from physgen.events import Events
from physgen.files.atomic import atomic_path, replace_file
from physgen.files.formats import Format, format_of
from physgen.files.interrupts import uninterrupted
from physgen.files.lock import LOCK, locked
from physgen.files.reading import iter_events, open_file, read_events
from physgen.files.writing import check_target
from physgen.schema import Schema

if TYPE_CHECKING:
    from physgen.files.dialects import Dialect

__all__ = ["check_stream_target", "n_safe_events", "parts_folder", "write_stream"]

logger = logging.getLogger(__name__)

_REQUEST = "request.json"
_MAX_SHOWN = 60


def write_stream(
    path: str | os.PathLike[str],
    pieces: Callable[[int], Iterable[Events]],
    n_events: int,
    request: Mapping[str, Any],
    *,
    prepare: Callable[[], None] = lambda: None,
    observe: Callable[[Events], None] = lambda _: None,
) -> None:
    """Write events as they are made; the same call goes on where a stopped one was.

    Whenever the process ends (Ctrl-C, ``kill -9``, a power cut, a full disk), the pieces written
    before stay in the folder :func:`parts_folder`, where :func:`~physgen.files.read_events` reads
    each of them. In memory is one piece at a time; on the disk, while the pieces are joined,
    twice the size of the file.

    Parameters
    ----------
    path : str or path
        HDF5 or ROOT file to write; one of that name is replaced at the end.
    pieces : callable
        ``pieces(start)`` yields the events from number ``start`` on, in pieces of one schema and
        any size, and the same events every time.
    n_events : int
        Events to write.
    request : mapping
        All that decides the events: settings, seed, versions; of what JSON can hold. A stopped
        call is continued only by one with an equal request.
    prepare : callable, optional
        Called once before the first piece, when nothing else is in the way: what takes long
        belongs there.
    observe : callable, optional
        Called with every piece in order once it is safe on the disk, also with those that a
        stopped call has left.

    Raises
    ------
    ValueError
        If the folder holds events of another request, or the stream ends early or changes its
        columns.
    BlockingIOError
        If another process is writing the same file.
    OSError
        If the file cannot be written or the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> def pieces(start):
    ...     for first in range(start, 10, 4):
    ...         yield Events.from_dict({"x": np.arange(first, min(first + 4, 10))})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "x.h5")
    ...     write_stream(path, pieces, 10, {"what": "numbers"})
    ...     read_events(path)["x"]
    array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    check_stream_target(path)
    if n_events < 1:
        raise ValueError(f"n_events must be 1 or more, got {n_events}")
    form = format_of(Path(path))
    folder = parts_folder(path)
    with locked(folder), _tidied(folder), _full_disk(path, n_events):
        _agree(folder, path, {"n_events": n_events, **request})
        prepare()
        for number, events in enumerate(_kept(folder, pieces, n_events)):
            if number == 0:
                _try(form, folder, events[:1])
            observe(events)
            del events  # the next piece may be as large
        _join(form, folder, Path(path), n_events)


def check_stream_target(path: str | os.PathLike[str]) -> None:
    """Raise now what :func:`write_stream` would raise for this file, before settings are made.

    Raises
    ------
    ValueError, OSError
        As for :func:`~physgen.files.check_target`, and for a format without pieces.
    """
    check_target(path)
    if format_of(Path(path)).name == "IDX":
        raise ValueError(f"cannot write {path} piece by piece; use .h5 or .root")


def parts_folder(path: str | os.PathLike[str]) -> Path:
    """Folder where :func:`write_stream` keeps what is not joined yet."""
    target = Path(os.path.realpath(path))
    return target.with_name(f"{target.name}.parts")


def n_safe_events(path: str | os.PathLike[str]) -> int:
    """Events that a stopped :func:`write_stream` has left in :func:`parts_folder`."""
    return sum(stop - start for start, stop in _spans(parts_folder(path)))


@contextlib.contextmanager
def _tidied(folder: Path) -> Iterator[None]:
    """Leave nothing if nothing was kept, and never what was half written."""
    _remove_unfinished(folder)
    try:
        yield
    finally:
        _remove_unfinished(folder)
        if not _spans(folder):
            (folder / _REQUEST).unlink(missing_ok=True)
            (folder / LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # files that are not ours
                folder.rmdir()


def _remove_unfinished(folder: Path) -> None:
    for path in (*folder.glob(".*.tmp.*"), *folder.glob("whole.*"), *folder.glob("trial.*")):
        path.unlink()


@contextlib.contextmanager
def _full_disk(path: str | os.PathLike[str], n_events: int) -> Iterator[None]:
    """Say how much is safe when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            error.errno,
            f"no space left while writing {path}; {n_safe_events(path):,} of {n_events:,} events "
            f"are safe in {parts_folder(path)}: free some space and repeat the same to go on",
        ) from error


def _agree(folder: Path, path: str | os.PathLike[str], request: dict[str, Any]) -> None:
    """Note the request, or compare it with the one that the parts were made for."""
    wanted = json.loads(json.dumps(request))
    file = folder / _REQUEST
    if not (file.exists() and _spans(folder)):
        _forget(folder)
        with atomic_path(file) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1))
        return
    try:
        found = dict(json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}); delete {folder} to start afresh") from None
    if found != wanted:
        raise ValueError(
            f"{folder} holds {n_safe_events(path):,} events of another request for "
            f"{Path(path).name}: {_differences(found, wanted)}; repeat that request to go on with "
            "it, or delete the folder to start afresh"
        )


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    names = [n for n in {**wanted, **found} if found.get(n) != wanted.get(n)]
    return ", ".join(
        f"{n} was {_shown(found.get(n))} and is {_shown(wanted.get(n))}" for n in names
    )


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def _part(folder: Path, start: int, stop: int) -> Path:
    return folder / f"{start:012}-{stop:012}.h5"


def _spans(folder: Path) -> list[tuple[int, int]]:
    """First and last event of the parts, in order, as the names of the files say."""
    names = (path.stem.split("-") for path in folder.glob(f"{'[0-9]' * 12}-{'[0-9]' * 12}.h5"))
    return sorted((int(start), int(stop)) for start, stop in names)


def _kept(
    folder: Path, pieces: Callable[[int], Iterable[Events]], n_events: int
) -> Iterator[Events]:
    """Yield the events of all parts in order, after making the parts that are missing."""
    stream: Iterator[Events] | None = None
    schema: Schema | None = None
    at = 0
    while at < n_events:
        spans = dict(_spans(folder))
        events = _stored(folder, at, spans[at]) if at in spans else None
        if events is not None:
            _close(stream)
            stream = None
            schema = _checked(schema, events, at, folder)
        else:
            stream = iter(pieces(at)) if stream is None else stream
            limit = min((start for start in spans if start > at), default=n_events)
            events = _next(stream, at, limit, n_events)
            schema = _checked(schema, events, at, folder)
            _keep(folder, at, events)
        at += len(events)
        yield events
        del events  # the next piece may be as large
    _close(stream)


def _checked(schema: Schema | None, events: Events, at: int, folder: Path) -> Schema:
    if schema is not None and events.schema != schema:
        raise ValueError(
            f"event {at} of the stream has other columns or conventions than those before it; "
            f"delete {folder} to start afresh"
        )
    return events.schema


def _stored(folder: Path, start: int, stop: int) -> Events | None:
    path = _part(folder, start, stop)
    try:
        events = read_events(path)
    except (OSError, ValueError) as error:
        logger.warning("%s; its events are made again", error)
    else:
        if len(events) == stop - start:
            return events
        logger.warning(
            "%s has %d events, not those of its name; they are made again", path, len(events)
        )
    path.unlink()
    return None


def _next(stream: Iterator[Events], at: int, limit: int, n_events: int) -> Events:
    """The next piece, up to the event where another part begins."""
    events = next((piece for piece in stream if len(piece)), None)
    if events is None:
        raise ValueError(f"the stream ended after {at:,} of {n_events:,} events")
    return events if at + len(events) <= limit else events[: limit - at]


def _close(stream: Iterator[Events] | None) -> None:
    close = getattr(stream, "close", None)
    if close is not None:
        close()


def _keep(folder: Path, start: int, events: Events) -> None:
    from physgen.files.pieces import write_part

    # outside, so that an interrupted part is finished, and kept
    with uninterrupted(), atomic_path(_part(folder, start, start + len(events))) as temporary:
        write_part(temporary, events)


def _try(form: Format, folder: Path, events: Events) -> None:
    """Find out now, not when all is made, if the format cannot hold such events."""
    if form.name == "ROOT":
        from physgen.files.rootwrite import write_pieces

        write_pieces(folder / "trial.root", [events])
        (folder / "trial.root").unlink()


def _join(form: Format, folder: Path, target: Path, n_events: int) -> None:
    """Make the target of the parts, then forget them."""
    parts = [_part(folder, *span) for span in _spans(folder)]
    whole = folder / f"whole{target.suffix}"
    if form.name == "ROOT":
        from physgen.files.rootwrite import write_pieces

        write_pieces(whole, iter_events(parts))
    else:
        from physgen.files.pieces import join, join_dialect

        dialect = _dialect_of(parts[0])
        if dialect is None:
            join(parts, whole)
        else:
            join_dialect(iter_events(parts), whole, dialect)
    _check_whole(whole, n_events, parts[-1])
    with uninterrupted():
        replace_file(whole, target)
        _forget(folder)


def _dialect_of(part: Path) -> Dialect | None:
    """The layout that :func:`~physgen.files.write_events` would choose."""
    from physgen.files.dialects import for_events

    events = read_events(part, stop=1)
    # without it the width of a JetNet file is that of its largest jet, which a piece does not know
    known = events.schema.conventions
    if known.get("layout") == "jetnet" and "n_particles_max" not in known:
        return None
    return for_events(events, None)


def _check_whole(whole: Path, n_events: int, last_part: Path) -> None:
    """Raise unless the joined file has all events and ends as its last part does."""
    try:
        with open_file(whole) as source, open_file(last_part) as part:
            for name, column in part.columns.items():
                end, expected = (
                    c.read(c.n_events - 1, c.n_events) for c in (source[name], column)
                )
                same = np.array_equal(np.asarray(end), np.asarray(expected), equal_nan=True)
                if source[name].n_events != n_events or not same:
                    raise OSError(f"its field {name!r} is not that of the parts")
    except (OSError, ValueError) as error:
        raise OSError(
            f"what was joined of {whole.parent} cannot be read back ({error}); the parts are "
            "kept: repeat the same to join them again"
        ) from error


def _forget(folder: Path) -> None:
    """Remove the parts, after the request: parts without one are known as leftovers."""
    (folder / _REQUEST).unlink(missing_ok=True)
    for span in _spans(folder):
        _part(folder, *span).unlink()

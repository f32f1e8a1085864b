"""Checks at the file border: is it there, is it what its name says, is every number finite."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from physgen.files.source import jagged_parts

__all__ = [
    "check_magic",
    "damaged",
    "existing_file",
    "name_problem",
    "nonfinite_events",
    "printable",
]

_MAX_REASON, _MAX_NAME = 300, 1000

_MAGIC = {b"root": "a ROOT file", b"\x89HDF": "an HDF5 file", b"\x1f\x8b": "a gzip file"}


def existing_file(path: Path) -> Path:
    """Return the path if it is a file with something in it.

    Raises
    ------
    FileNotFoundError
        If there is none; the message lists near names in the same folder.
    IsADirectoryError, ValueError
        If it is a folder, or empty.
    """
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder, not an event file (a saved surrogate is opened by "
            "Surrogate.load)"
        )
    if not path.exists():
        raise FileNotFoundError(_no_such_file(path))
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); was its transfer or its writing cut off?")
    return path


def _no_such_file(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"no file {path}: there is no folder {folder}"
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    if near:
        return f"no file {path}; did you mean {' or '.join(repr(name) for name in near)}?"
    return f"no file {path}; the folder {folder.resolve()} has none of a similar name"


def check_magic(path: Path, magic: bytes, what: str) -> None:
    """Compare the first bytes of a file with those of its format.

    Raises
    ------
    ValueError
        If they differ; the message names the format they belong to, if known.
    """
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(magic):
        return
    known = next((name for m, name in _MAGIC.items() if start.startswith(m)), None)
    found = f"it is {known}; rename it" if known else f"it begins with {start[:4]!r}"
    raise ValueError(f"{path} is not {what} as its name says: {found}")


@contextmanager
def damaged(path: Path, part: str) -> Iterator[None]:
    """Turn whatever a format library raises on damaged bytes into one clear OSError."""
    try:
        yield
    except FileNotFoundError:  # lost since it was opened, and not damaged
        raise
    except MemoryError as error:
        raise OSError(
            f"cannot read {part} of {path}: it asks for more memory than there is ({error}); if "
            "the file is not damaged, read fewer fields, or it in batches with iter_events"
        ) from error
    except Exception as error:
        text = str(error).strip().split("\n")[0] or type(error).__name__
        reason = printable(text, _MAX_REASON)
        raise OSError(
            f"cannot read {part} of {path}: the file is damaged or incomplete ({reason}); copy "
            "or make it again"
        ) from error


def printable(text: str, n_max: int = 80) -> str:
    r"""The text without what a terminal would obey, and not longer than a line or two.

    Examples
    --------
    >>> printable("pt\x1b[2J"), printable("x" * 100, 10)
    ('pt\\x1b[2J', 'xxxxxxx...')
    """
    safe = text if text.isprintable() else "".join(map(_printable, text[: n_max + 1]))
    return safe if len(safe) <= n_max else f"{safe[: n_max - 3]}..."


def name_problem(name: str) -> str | None:
    """Why a name of a file cannot name a field; None if it can."""
    if not name.isprintable():
        return "a name with control characters"
    return f"a name of {len(name):,} characters" if len(name) > _MAX_NAME else None


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()


def nonfinite_events(column: Any) -> np.ndarray:
    """Entries with a NaN or an infinity, int64 of shape (n_bad,), increasing."""
    if isinstance(column, np.ndarray):
        if _all_finite(column):
            return np.empty(0, dtype=np.int64)
        bad = ~np.isfinite(column)
        return np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))
    content, offsets = jagged_parts(column)
    if _all_finite(content):
        return np.empty(0, dtype=np.int64)
    rows = np.searchsorted(offsets, np.flatnonzero(~np.isfinite(content)), side="right") - 1
    return np.unique(rows)


def _all_finite(values: np.ndarray) -> bool:
    if values.dtype.kind != "f":
        return True
    flat = values.reshape(-1)
    # one pass without a temporary: a NaN or infinity never leaves the sum of squares finite, and
    # a sum that overflows by itself only costs the second, exact pass
    with np.errstate(all="ignore"):
        return bool(np.isfinite(np.dot(flat, flat))) or bool(np.isfinite(flat).all())

"""Which files are meant by paths and patterns."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

__all__ = ["event_files"]

StrPath = str | os.PathLike[str]


def event_files(paths: StrPath | Iterable[StrPath]) -> list[Path]:
    """Files that are meant by paths and patterns, each file once.

    Parameters
    ----------
    paths : str or path, or iterable of them
        A name with ``*``, ``?`` or ``[...]`` is a pattern, unless there is a file of that name.
        Its files come in the order of their names, numbers in them by size: ``s2.h5`` before
        ``s10.h5``.

    Returns
    -------
    list of Path

    Raises
    ------
    FileNotFoundError
        If no file fits a pattern. Whether other files are there shows when they are opened.
    ValueError
        If the iterable is empty, or names a file twice.
    """
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found = [file for one in named for file in _matching(os.fspath(one))]
    if not found:
        raise ValueError("no file to read was given: the list of paths is empty")
    for file, count in Counter(found).items():
        if count > 1:
            raise ValueError(f"{file} is given {count} times, so its events would count as often")
    return found


def _matching(name: str) -> list[Path]:
    if not re.search(r"[*?\[]", name) or Path(name).exists():
        return [Path(name)]
    found = glob.glob(name, recursive=True)  # noqa: PTH207  # Path.glob takes no absolute pattern
    if not found:
        raise FileNotFoundError(f"no file fits the pattern {name!r}, from the folder {Path.cwd()}")
    return [Path(one) for one in sorted(found, key=_by_numbers)]


def _by_numbers(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(int(part) if k % 2 else 0, part) for k, part in enumerate(parts)]

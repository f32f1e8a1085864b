"""How much memory a file may ask for.

A compressed file, and a sparse one, is rightly much smaller than its columns; a damaged or hostile
file of a kilobyte may declare a terabyte. In between is a bound that honest files keep and that
the user can raise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from physgen.files.source import Source

__all__ = ["check_memory", "in_words", "memory_bound", "n_bytes"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_FREE_BYTES = 500 * 10**6
_RATIO = 100


def memory_bound(path: Path) -> int:
    """What a file may unpack to unless the user says more: 500 MB and 100 times its size."""
    return _FREE_BYTES + _RATIO * path.stat().st_size


def check_memory(
    source: Source, names: Sequence[str], start: int, stop: int, max_memory: int | str | None
) -> None:
    """Refuse columns that are larger than a bound before they are read.

    Raises
    ------
    ValueError
        If they are.
    """
    wanted = sum(source[name].n_bytes(start, stop) for name in names)
    bound = memory_bound(source.path) if max_memory is None else n_bytes(max_memory, "max_memory")
    if wanted <= bound:
        return
    size = source.path.stat().st_size
    raise ValueError(
        f"{source.where} declares {in_words(wanted)} of columns in {in_words(size)} of file, and "
        f"may take {in_words(bound)}; if the file is not damaged, read it in batches with "
        "iter_events, read fewer fields= or entries, or say max_memory="
    )


def n_bytes(size: int | str, name: str) -> int:
    """Bytes of a size such as 100_000_000 or "100 MB"; ``name`` is the argument, for messages.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> n_bytes("1.5 kB", "memory"), n_bytes(20, "memory")
    (1500, 20)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kmg]?)(?:i?b)?\s*", str(size), re.IGNORECASE)
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{name}={size!r} is no size; write bytes or e.g. '100 MB'")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def in_words(size: int) -> str:
    """A size for people.

    Examples
    --------
    >>> in_words(999), in_words(1_500_000), in_words(2**60)
    ('999 bytes', '1.5 MB', '1,152,921,505 GB')
    """
    if size < 1000:
        return f"{size} bytes"
    unit, scale = next(
        (u, s) for u, s in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)) if size < 1e3 * s or u == "GB"
    )
    return f"{size / scale:,.0f} {unit}" if size >= 100 * scale else f"{size / scale:.1f} {unit}"

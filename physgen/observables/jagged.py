"""Numbers per event of jagged columns."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["leading", "multiplicity", "padded"]


def multiplicity(column: Any) -> np.ndarray:
    """Entries per event of a jagged column, int64 of shape (n_events,)."""
    import awkward as ak

    return np.asarray(ak.num(column, axis=1), dtype=np.int64)


def leading(column: Any, empty: float = 0.0, *, rank: int = 0) -> np.ndarray:
    """First entry per event of a jagged column, float64; ``empty`` where there is none.

    ``rank=1`` gives the second entry, and so on.
    """
    return padded(column, rank + 1, empty)[:, rank]


def padded(column: Any, n_entries: int | None = None, empty: float = 0.0) -> np.ndarray:
    """Entries of a jagged column in rows of equal length.

    Parameters
    ----------
    column : awkward array of n_events lists
        Numbers.
    n_entries : int, optional
        Length of a row, longer lists are cut; by default that of the longest list.
    empty : float, default 0
        What stands where a list has ended.

    Returns
    -------
    array of shape (n_events, n_entries), float64

    Examples
    --------
    >>> import awkward as ak
    >>> padded(ak.Array([[3.0, 1.0], [], [2.0]]))
    array([[3., 1.],
           [0., 0.],
           [2., 0.]])
    """
    import awkward as ak

    n = int(ak.max(ak.num(column, axis=1), initial=0)) if n_entries is None else n_entries
    rows = ak.fill_none(ak.pad_none(column, n, axis=1, clip=True), empty, axis=1)
    return np.asarray(ak.to_numpy(rows), dtype=np.float64).reshape(len(column), n)

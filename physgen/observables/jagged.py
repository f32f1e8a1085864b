"""Numbers per event of jagged columns."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["leading", "multiplicity"]


def multiplicity(column: Any) -> np.ndarray:
    """Entries per event of a jagged column, int64 of shape (n_events,)."""
    import awkward as ak

    return np.asarray(ak.num(column, axis=1), dtype=np.int64)


def leading(column: Any, empty: float = 0.0) -> np.ndarray:
    """First entry per event of a jagged column, float64; ``empty`` where there is none."""
    import awkward as ak

    first = ak.fill_none(ak.firsts(column, axis=1), empty)
    return np.asarray(first, dtype=np.float64)

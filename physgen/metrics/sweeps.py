"""The compiled sweep of the sliced Wasserstein distance."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["areas"]


@njit(cache=True, nogil=True)
def areas(rows: np.ndarray, order: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Sum over directions of the area between F and G.

    Parameters
    ----------
    rows : array of shape (n_events, n_draws)
        Draws of D, one per column.
    order : array of int, shape (n_directions, n_events)
        Positions of the events in increasing order of their projection.
    steps : array of shape (n_directions, n_events - 1)
        Distances between neighboring projections.

    Returns
    -------
    array of shape (n_draws,)
        Sums over the directions.
    """
    n_draws = rows.shape[1]
    total = np.zeros(n_draws)
    gap = np.empty(n_draws)
    for direction in range(len(order)):
        gap[:] = 0.0
        for i in range(steps.shape[1]):
            row, step = order[direction, i], steps[direction, i]
            for k in range(n_draws):
                gap[k] += rows[row, k]
                total[k] += abs(gap[k]) * step
    return total

"""Hamming distances between discrete events: the number of columns in which two differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from physgen.metrics.resampling import Pair, normalize_weights

__all__ = ["hamming_code", "hamming_histograms"]

_MOST_VALUES = 64  # of a discrete column
_BLOCK = 1024


def hamming_histograms(
    reference: np.ndarray, candidate: np.ndarray, *, weights: Pair = (None, None)
) -> np.ndarray:
    r"""Laws of the Hamming distance within and between two samples of discrete events.

    Distances are whole numbers, so that three histograms hold all that a kernel of the distance
    can see: for any bandwidth, and any function k of it,

    .. math:: {\rm MMD}^2_u = \sum_H (p_{xx} + p_{yy} - 2p_{xy})(H)\;k(H).

    Parameters
    ----------
    reference, candidate : array of shape (n, d) and (m, d)
        Spins or other discrete features, at most 64 values each.
    weights : pair of array or None
        Event weights of either sample; may be negative.

    Returns
    -------
    array of shape (3, d + 1)
        Weighted shares of pairs at distance 0, 1, ..., d, each row of sum one: pairs of different
        reference events, of different candidate events, and of one of each. Exact up to the
        rounding of float64 sums.

    Examples
    --------
    >>> x, y = np.array([[1, 1], [1, -1]]), np.array([[1, 1], [1, 1]])
    >>> hamming_histograms(x, y)
    array([[0. , 1. , 0. ],
           [1. , 0. , 0. ],
           [0.5, 0.5, 0. ]])
    """
    x, y = torch.as_tensor(reference), torch.as_tensor(candidate)
    a, b = (normalize_weights(w, len(z)) for w, z in zip(weights, (x, y), strict=True))
    table = _distinct_values(x, y)
    samples = [(_signs_or_one_hot(z, table), torch.from_numpy(w)) for z, w in ((x, a), (y, b))]
    within = [_histogram(*s, *s, x.shape[1]) for s in samples]
    for row, w in zip(within, (a, b), strict=True):
        row[0] -= w @ w  # an event and itself
        row /= 1 - w @ w
    return np.stack((*within, _histogram(*samples[0], *samples[1], x.shape[1])))


def hamming_code(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Features whose squared Euclidean distances are the Hamming distances.

    Raises
    ------
    ValueError
        For a column of more than 64 values.
    """
    table = _distinct_values(x, y)
    length = (4 if _is_binary(table) else 2) ** 0.5
    return _signs_or_one_hot(x, table) / length, _signs_or_one_hot(y, table) / length


def _histogram(u: Tensor, a: Tensor, v: Tensor, b: Tensor, d: int) -> np.ndarray:
    counts = torch.zeros(d + 1, dtype=torch.float64)
    for i in range(0, len(u), _BLOCK):
        for j in range(0, len(v), _BLOCK):
            at, to = slice(i, i + _BLOCK), slice(j, j + _BLOCK)
            product = u[at] @ v[to].T  # whole numbers below 2^24: exact in float32
            # d - 2 H of signs; matches d - H of one-hot columns
            apart = (d - product) / 2 if u.shape[1] == d else d - product
            pairs = a[at, None] * b[to]
            counts += torch.bincount(apart.long().ravel(), pairs.ravel(), minlength=d + 1)
    return counts.numpy()


def _distinct_values(x: Tensor, y: Tensor) -> list[Tensor]:
    table = [torch.cat((x[:, k].unique(), y[:, k].unique())).unique() for k in range(x.shape[1])]
    for k, values in enumerate(table):
        if len(values) > _MOST_VALUES:
            raise ValueError(
                f"the Hamming distance counts columns that differ and needs discrete features, "
                f"but column {k} takes {len(values):,} values; use kernel='gaussian'"
            )
    return table


def _signs_or_one_hot(z: Tensor, table: Sequence[Tensor]) -> Tensor:
    """Rows of -1 and 1 if no column takes more than two values, else of 0 and 1."""
    if _is_binary(table):
        return 2 * (z == torch.stack([values[-1] for values in table])).float() - 1
    return torch.cat([(z[:, k, None] == values).float() for k, values in enumerate(table)], dim=1)


def _is_binary(table: Sequence[Tensor]) -> bool:
    return all(len(values) <= 2 for values in table)

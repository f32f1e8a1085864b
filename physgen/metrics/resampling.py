r"""Draws from the null: the engine under every p-value.

A comparison sees two weighted samples through the difference of their empirical measures,

.. math:: D = \sum_i a_i\,\delta_{x_i} - \sum_j b_j\,\delta_{y_j}, \qquad a_i = w_i/\sum w,

a vector of one number per pooled event that sums to zero. Every statistic of this package is a
function of D, so one set of null draws of D serves all of them, and their joint maximum has a
p-value that needs no correction (Westfall and Young, *Resampling-based multiple testing*, 1993).

Without weights the draws permute D over the pooled events: exact for every sample size. With
weights a permutation would test the law of (event, weight) instead of the weighted law, so the
draws are multipliers :math:`D^*_i = a_i(\xi_i - \sum a\xi)` with random signs :math:`\xi`, sample
by sample (van der Vaart and Wellner, *Weak convergence and empirical processes*, section 3.6);
right for many events, negative weights included.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = [
    "difference_draws",
    "effective_size",
    "half_draws",
    "half_scale",
    "is_unweighted",
    "normalize_weights",
    "p_values",
    "studentized",
]

_CHUNK = 4_000_000  # numbers per block of draws: 32 MB, whatever the number of events


def normalize_weights(weights: np.ndarray | None, n_events: int) -> np.ndarray:
    """Return weights that sum to one, float64 of shape (n_events,); equal ones for None.

    Raises
    ------
    ValueError
        If the weights are not finite, have the wrong length, or a sum that is not positive.
    """
    if weights is None:
        return np.full(n_events, 1.0 / n_events)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (n_events,):
        raise ValueError(f"{n_events} events need {n_events} weights, got shape {w.shape}")
    if not np.isfinite(w).all():
        raise ValueError(f"{(~np.isfinite(w)).sum()} of {n_events} event weights are NaN or inf")
    total = w.sum()
    if total <= 1e-12 * np.abs(w).sum():
        what = "are all zero" if not w.any() else f"sum to {total:.4g}"
        raise ValueError(
            f"the event weights {what}; a weighted law needs weights with a positive sum"
        )
    return w / total


def effective_size(weights: np.ndarray) -> float:
    r"""Effective number of events :math:`(\sum w)^2 / \sum w^2`; signs count."""
    return float(weights.sum() ** 2 / np.square(weights).sum())


def is_unweighted(*weights: np.ndarray) -> bool:
    """Whether within each sample all weights are equal, so that permutations are exact."""
    return all(np.ptp(w) <= 1e-12 * abs(w[0]) for w in weights)


def difference_draws(
    a: np.ndarray, b: np.ndarray, n_draws: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Blocks of draws of D under one common law; the very first row is the D observed.

    Parameters
    ----------
    a, b : array of shape (n,) and (m,)
        Normalized weights of reference and candidate.
    n_draws : int
        Draws beside the observed row.
    rng : numpy.random.Generator
        Source of the permutations or signs.

    Yields
    ------
    array of shape (n_block, n + m)
        Rows of D; n_draws + 1 rows over all blocks.
    """
    observed = np.concatenate((a, -b))
    exact = is_unweighted(a, b)
    for n_rows, first in _blocks(n_draws + 1, len(observed)):
        rows = np.empty((n_rows, len(observed)))
        for row in rows:
            if exact:
                row[:] = rng.permutation(observed)
            else:
                row[: len(a)] = _multiplied(a, _signs(len(a), rng))
                row[len(a) :] = _multiplied(b, _signs(len(b), rng))
        if first:
            rows[0] = observed
        yield rows


def half_draws(a: np.ndarray, n_draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Blocks of D between random disjoint halves of one sample, shape (n_block, n)."""
    signs = np.where(np.arange(len(a)) < len(a) // 2, 1.0, -1.0)
    for n_rows, _ in _blocks(n_draws, len(a)):
        yield np.stack([2 * _multiplied(a, rng.permutation(signs)) for _ in range(n_rows)])


def half_scale(n_reference: float, n_candidate: float) -> float:
    """Variance of D at these sizes over its variance between halves of the reference."""
    return (1 / n_reference + 1 / n_candidate) * n_reference / 4


def p_values(statistics: np.ndarray) -> np.ndarray:
    """Monte Carlo p-value of row 0 of (1 + n_draws, ...) statistics: (1 + #) / (n_draws + 1).

    Never zero (Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39).
    """
    observed, null = statistics[0], statistics[1:]
    # sums in another order differ in the last bits; a tie must stay a tie
    slack = 1e-9 * np.maximum(np.abs(statistics).max(axis=0), 1e-300)
    return (1 + (null >= observed - slack).sum(axis=0)) / len(statistics)


def studentized(statistics: np.ndarray) -> np.ndarray:
    """Statistics minus their mean over their standard deviation, over all rows.

    The observed row counts as one of them, which keeps the rows exchangeable and the p-value of
    a maximum over columns exact. A statistic without any spread says nothing and becomes 0.
    """
    spread = statistics.std(axis=0)
    flat = spread <= 1e-12 * np.abs(statistics).max(axis=0)
    return np.where(flat, 0.0, (statistics - statistics.mean(axis=0)) / np.where(flat, 1, spread))


def _multiplied(a: np.ndarray, signs: np.ndarray) -> np.ndarray:
    return a * (signs - a @ signs)


def _signs(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 2, n) * 2.0 - 1.0


def _blocks(n_rows: int, n_columns: int) -> Iterator[tuple[int, bool]]:
    size = max(1, _CHUNK // max(n_columns, 1))
    for start in range(0, n_rows, size):
        yield min(size, n_rows - start), start == 0

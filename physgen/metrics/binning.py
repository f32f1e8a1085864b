"""Bins for one-dimensional comparisons: equal probability, atoms in bins of their own."""

from __future__ import annotations

import numpy as np

from physgen.metrics.resampling import effective_size, is_unweighted

__all__ = ["bin_contents", "bin_edges", "merge_bins", "n_bins_default"]

_MAX_DISCRETE = 200  # with at most so many distinct values a column counts as discrete,
_MIN_REPEATS = 5  # if a value occurs so often on average; fewer tell a bin nothing


def n_bins_default(n_effective: float) -> int:
    r"""Number of bins :math:`K = 2\,n_{\rm eff}^{0.4}`, held in [10, 100].

    The exponent is the one that balances the bias of a binned density against its noise for a
    chi-square test (Mann and Wald, Ann. Math. Stat. 13 (1942) 306).
    """
    return int(np.clip(2 * n_effective**0.4, 10, 100))


def bin_edges(
    values: np.ndarray, weights: np.ndarray | None = None, *, n_bins: int | None = None
) -> np.ndarray:
    """Inner edges of equal-probability bins; values that repeat get a bin of their own.

    Bin k holds ``edges[k-1] <= value < edges[k]``; the first and the last bin are open, so no
    event is ever lost. A column of at most 200 distinct values, each five times on average, has
    one bin per value. In other columns a value that carries half a bin's share of the events (the
    zeros of a sum, a mask) becomes an atom: a bin ``[v, next float)``. A bin that is mostly an
    empty gap is cut there.

    Parameters
    ----------
    values : array of shape (n_events,)
        Sample that defines the bins. The pooled sample keeps permutation p-values exact; a fixed
        training sample makes the numbers of several candidates comparable.
    weights : array of shape (n_events,), optional
        Event weights; their absolute values share out the probability.
    n_bins : int, optional
        Number of equal-probability bins; :func:`n_bins_default` of half the effective size.

    Returns
    -------
    array of shape (n_bins - 1,)
        Increasing edges; empty if only one value occurs.
    """
    distinct, index = np.unique(values, return_inverse=True)
    if len(distinct) <= min(_MAX_DISCRETE, max(1, len(values) // _MIN_REPEATS)):
        return distinct[1:]
    share = np.ones(len(values)) if weights is None else np.abs(weights)
    if n_bins is None:
        n_bins = n_bins_default(effective_size(share) / 2)
    mass = np.bincount(index, share) / share.sum()
    repeats = np.bincount(index)
    atom = (mass > 0.5 / n_bins) & (repeats > 5)
    smooth = np.cumsum(np.where(atom, 0.0, mass))
    n_smooth = max(1, round(n_bins * smooth[-1]))
    levels = np.arange(1, n_smooth) / n_smooth * smooth[-1]
    cuts = distinct[np.minimum(np.searchsorted(smooth, levels), len(distinct) - 1)]
    atoms = distinct[atom]
    edges = np.unique(np.concatenate((cuts, atoms, np.nextafter(atoms, np.inf))))
    edges = edges[edges > distinct[0]]
    return np.union1d(edges, _cuts_in_gaps(distinct, edges))


def _cuts_in_gaps(distinct: np.ndarray, edges: np.ndarray) -> list[float]:
    """Further edges for bins that are mostly empty: what lies on either side is kept apart.

    Without them samples that do not even touch would share a bin, and their JS would not be 1.
    """
    cuts = []
    for members in np.split(distinct, np.searchsorted(distinct, edges)):
        gaps = np.diff(members)
        if len(gaps) > 1 and gaps.max() > 0.8 * gaps.sum():
            cuts.append(float(members[1 + int(gaps.argmax())]))
    return cuts


def bin_contents(
    values: np.ndarray, edges: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Sum of weights (or events) per bin, shape (len(edges) + 1,); nothing is dropped."""
    index = np.searchsorted(edges, values, side="right")
    return np.bincount(index, weights, minlength=len(edges) + 1)


def merge_bins(
    values: np.ndarray, a: np.ndarray, b: np.ndarray, edges: np.ndarray, min_effective: float = 10
) -> np.ndarray:
    """Join neighboring bins until the weighted content of each means something.

    With equal weights every bin is fine as it is. Otherwise, from left to right, a bin takes in
    its right neighbor until either sample has at least ``min_effective`` effective events in it
    or none at all, and until neither content is negative: a divergence of negative
    probabilities is not defined.

    Parameters
    ----------
    values : array of shape (n + m,)
        Reference, then candidate.
    a, b : array of shape (n,) and (m,)
        Normalized weights.
    edges : array
        Inner edges, as from :func:`bin_edges`.
    min_effective : float, default 10
        Effective events that a bin needs.
    """
    if is_unweighted(a, b):
        return edges
    n = len(a)
    tables = [_moments(v, edges, w) for v, w in ((values[:n], a), (values[n:], b))]

    def settled(start: int, stop: int | None) -> bool:
        sums = [table[:, start:stop].sum(axis=1) for table in tables]
        return all(
            events == 0 or (content > 0 and content**2 >= min_effective * squares)
            for content, squares, events in sums
        )

    kept, start = [], 0
    for k in range(len(edges)):
        if settled(start, k + 1):
            kept.append(k)
            start = k + 1
    while kept and not settled(kept[-1] + 1, None):
        kept.pop()
    return edges[kept]


def _moments(values: np.ndarray, edges: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum of weights, of their squares, and events per bin, shape (3, n_bins)."""
    powers = (weights, weights**2, np.ones_like(weights))
    return np.stack([bin_contents(values, edges, w) for w in powers])

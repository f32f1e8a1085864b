"""Comparisons of histograms: triangular discrimination, chi-square with weights."""

from __future__ import annotations

import numpy as np

from physgen.estimates import Estimate
from physgen.metrics.binned import binned_pair
from physgen.metrics.judged import estimate_of_square
from physgen.metrics.resampling import Design, Pair, as_design
from physgen.random import Rng, as_seed

__all__ = ["chi2_test", "triangular_discrimination"]


def triangular_discrimination(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    weights: Pair | Design = (None, None),
    edges: np.ndarray | None = None,
    keep_outside: bool = True,
    n_permutations: int = 999,
    rng: Rng,
) -> Estimate:
    r"""Triangular discrimination, the separation power of the CaloChallenge.

    .. math:: \tfrac12\sum_k \frac{(p_k - q_k)^2}{p_k + q_k}

    (eq. 15 of arXiv:2009.03796; arXiv:2410.21611.) Nothing is subtracted, so that the value can
    be set beside published ones: equal laws give about (K-1)(1/n+1/m)/4, for which the floor
    stands. Near 0 it is 2 ln 2 times the JS divergence in bits.

    Parameters
    ----------
    reference, candidate : array of shape (n,) and (m,)
        Values, any unit.
    weights : pair of (array or None), or Design
        Event weights of either sample; bins of negative content count as empty.
    edges : array, optional
        Bin edges; equal-probability bins of the pooled sample by default. Published values hold
        for the edges they were made with.
    keep_outside : bool, default True
        Whether events below the first and above the last edge fill two further bins. False is
        the definition of the challenge: such events are dropped and the rest is normalized, so
        that a candidate pays nothing for them.
    n_permutations : int, default 999
        Draws of the null.
    rng : int or torch.Generator
        Source of the draws.

    Returns
    -------
    Estimate
        In [0, 1].

    Raises
    ------
    ValueError
        If events are dropped and no edges are given, or no event of a sample is left.

    Examples
    --------
    >>> x, y = np.repeat([0.5, 1.5], [30, 10]), np.repeat([0.5, 1.5], [10, 30])
    >>> round(triangular_discrimination(x, y, edges=np.array([1]), rng=0).value, 6)
    0.25
    """
    random = np.random.default_rng(as_seed(rng))
    design = as_design(weights, len(reference), len(candidate))
    if keep_outside:
        pair = binned_pair(reference, candidate, design, edges)
        inside = slice(None)
    else:
        pair = binned_pair(reference, candidate, design, _closed(edges), merge=False)
        inside = slice(1, -1)
        _check_inside(pair.p[inside], pair.q[inside])

    def statistic(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        p, q = _normalized(p[..., inside]), _normalized(q[..., inside])
        return 0.5 * _ratio(np.square(p - q), p + q).sum(axis=-1)

    found = pair.evaluated(statistic, n_permutations, random)
    slopes = []
    for own, other in ((pair.p, pair.q), (pair.q, pair.p)):
        p, q = _normalized(own[inside]), _normalized(other[inside])
        slope = np.zeros(len(own))
        slope[inside] = 0.5 * _ratio((p - q) * (p + 3 * q), np.square(p + q))
        if not keep_outside:
            slope[inside] -= slope[inside] @ p
        slopes.append(slope / np.maximum(own[inside], 0).sum())
    error = design.std_error(pair.per_event(slopes[0], -slopes[1]))
    return estimate_of_square(*found, design, error, note=f"{len(pair.p[inside])} bins")


def chi2_test(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    weights: Pair | Design = (None, None),
    edges: np.ndarray | None = None,
    n_permutations: int = 999,
    rng: Rng,
) -> Estimate:
    r"""Chi-square of two histograms, weighted or not.

    .. math:: X^2 = \sum_k \frac{(p_k - q_k)^2}{p_k s_k + q_k r_k}, \qquad
              r_k = \frac{\sum_{i\in k} a_i^2}{\sum_{i\in k} a_i}, \quad
              s_k = \frac{\sum_{j\in k} b_j^2}{\sum_{j\in k} b_j}

    with normalized weights a and b. The denominator is the variance of p - q if both samples
    have the law that fits them best: the ratios r and s are 1/n and 1/m without weights, and
    :math:`X^2` is Pearson's for a 2 x K table; with weights the idea is that of Gagunashvili
    (arXiv:0905.4221). Bins with few effective events are joined first. For many events per bin
    it has K - 1 degrees of freedom, but the p-value is that of the draws.

    Parameters
    ----------
    reference, candidate : array of shape (n,) and (m,)
        Values, any unit.
    weights : pair of (array or None), or Design
        Event weights of either sample; may be negative.
    edges : array, optional
        Inner bin edges; equal-probability bins of the pooled sample by default.
    n_permutations : int, default 999
        Draws of the null.
    rng : int or torch.Generator
        Source of the draws.

    Returns
    -------
    Estimate
        :math:`X^2`, about K - 1 for equal laws; the note tells K.

    Examples
    --------
    >>> x, y = np.repeat([0, 1], [30, 10]), np.repeat([0, 1], [10, 30])
    >>> found = chi2_test(x, y, rng=0)
    >>> round(found.value, 6), found.note
    (20.0, '2 bins, 1 degrees of freedom')
    """
    random = np.random.default_rng(as_seed(rng))
    design = as_design(weights, len(reference), len(candidate))
    pair = binned_pair(reference, candidate, design, edges)
    n, n_bins = len(reference), len(pair.p)
    # an empty bin takes the ratio of the whole sample
    r, s = (
        _ratio(np.bincount(index, w**2, n_bins), content, w @ w)
        for w, content, index in (
            (design.a, pair.p, pair.index[:n]),
            (design.b, pair.q, pair.index[n:]),
        )
    )
    variance = pair.p * s + pair.q * r
    found = pair.evaluated(
        lambda p, q: _ratio(np.square(p - q), variance).sum(axis=-1),
        n_permutations,
        random,
    )
    slope = 2 * _ratio(pair.p - pair.q, variance)
    n_used = np.count_nonzero(variance > 0)
    return estimate_of_square(
        *found,
        design,
        design.std_error(pair.per_event(slope, slope)),
        note=f"{n_used} bins, {n_used - 1} degrees of freedom",
    )


def _closed(edges: np.ndarray | None) -> np.ndarray:
    """Edges whose last bin holds its upper edge, as those of numpy's histograms do."""
    if edges is None:
        raise ValueError("without edges no event is outside: give edges, or keep_outside=True")
    closed = np.array(edges, dtype=np.float64)
    closed[-1] = np.nextafter(closed[-1], np.inf)
    return closed


def _check_inside(p: np.ndarray, q: np.ndarray) -> None:
    for name, content in (("reference", p), ("candidate", q)):
        if not content.any():
            raise ValueError(f"no event of the {name} lies between the first and the last edge")


def _normalized(p: np.ndarray) -> np.ndarray:
    p = np.maximum(p, 0)
    return _ratio(p, p.sum(axis=-1, keepdims=True))


def _ratio(over: np.ndarray, under: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """Quotient where the denominator is positive."""
    over, under = np.broadcast_arrays(over, under)
    return np.divide(over, under, out=np.full(over.shape, empty), where=under > 0)

"""Pairs of columns: the largest difference of rank correlations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from physgen.estimates import Estimate
from physgen.metrics.columns import ONE_SIDED, quantile_of
from physgen.metrics.resampling import Design, p_values

__all__ = ["PairTest", "compare_correlations", "mid_ranks"]


@dataclass(frozen=True)
class PairTest:
    """Rank correlations of either sample and the largest difference between them.

    Attributes
    ----------
    reference, candidate : array of shape (n_columns, n_columns)
        Correlations of pooled ranks; NaN where a column is constant.
    estimate : Estimate
        Largest difference of Fisher's z; for small correlations a difference of z by 0.1 is as
        easy to see as a shift of a mean by 0.1 sigma.
    pair : tuple of int
        The two columns: the most significant pair.
    size : float
        Its difference as a shift in sigma: in standard errors, times that of a mean. For normal
        columns it is the difference of z; a pair of columns that are rarely filled has a larger
        error of z, and the same difference means less.
    upper : float
        95 % upper limit on the size.
    proven : float
        95 % lower limit on it, corrected for the number of pairs.
    pulls : array of shape (n_columns, n_columns)
        Difference of Fisher's z, candidate minus reference, in standard errors of the null; NaN
        where a column is constant.
    """

    reference: np.ndarray
    candidate: np.ndarray
    estimate: Estimate
    pair: tuple[int, int]
    size: float
    upper: float
    proven: float
    pulls: np.ndarray


def mid_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks scaled to mean 0 and spread 1, ties sharing their mean rank; shape kept (n,)."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[index]
    spread = ranks.std()
    return (ranks - ranks.mean()) / (spread if spread > 0 else 1.0)


def compare_correlations(
    reference: np.ndarray,
    candidate: np.ndarray,
    design: Design,
    *,
    n_permutations: int,
    rng: np.random.Generator,
) -> PairTest | None:
    r"""Compare all pairs of columns by :math:`\Delta z = {\rm artanh}\,r - {\rm artanh}\,r'`.

    Correlations are those of the pooled ranks (Spearman's up to the pooling), so heavy tails do
    not matter. Every pair is studentized by its own null draws; the p-value is that of the
    maximum over pairs.

    Parameters
    ----------
    reference, candidate : array of shape (n, d) and (m, d)
        Columns.
    design : Design
        Weights, chains and conditions of the events.
    n_permutations : int
        Null draws.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    PairTest or None
        None if fewer than two columns vary.
    """
    n, d = len(reference), reference.shape[1]
    ranks = np.stack([mid_ranks(v) for v in np.concatenate((reference, candidate)).T], axis=1)
    varying = np.flatnonzero(ranks.std(axis=0) > 0)
    if len(varying) < 2:
        return None
    u = ranks[:, varying]
    a, b, share = design.a, design.b, design.share
    pooled = np.concatenate((share * a, (1 - share) * b))
    products = _products(u)
    drawn = np.concatenate(
        [
            _fisher_z(pooled + (1 - share) * rows, products)
            - _fisher_z(pooled - share * rows, products)
            for rows in design.draws(n_permutations, rng)
        ]
    )
    halves = np.concatenate(
        [
            _fisher_z(a + rows / 2, products[:n]) - _fisher_z(a - rows / 2, products[:n])
            for rows in design.halves(100, rng)
        ]
    )
    sizes = np.abs(drawn) / np.maximum(drawn.std(axis=0), 1e-12)
    worst = int(np.argmax(sizes[0]))
    i, j = (int(k[worst]) for k in np.triu_indices(len(varying), 1))
    scale = design.half_scale**0.5
    errors = drawn[1:].std(axis=0)
    estimate = Estimate(
        value=float(abs(drawn[0, worst])),
        std_error=float(errors[worst]),
        floor=float(np.quantile(np.abs(halves).max(axis=1), 0.95)) * scale,
        p_value=float(p_values(sizes.max(axis=1))),
        note=f"most significant of {sizes.shape[1]} pairs",
    )
    pulls = -drawn[0] / np.maximum(errors, 1e-12)  # draws are reference minus candidate
    n_sigma, unit = float(np.abs(pulls).max()), math.sqrt(sum(1 / n for n in design.n_effective))
    return PairTest(
        reference=_correlation_matrix(a, products[:n], varying, d),
        candidate=_correlation_matrix(b, products[n:], varying, d),
        estimate=estimate,
        pair=(int(varying[i]), int(varying[j])),
        size=n_sigma * unit,
        upper=(n_sigma + ONE_SIDED) * unit,
        proven=max(0.0, n_sigma - quantile_of(sizes.shape[1])) * unit,
        pulls=_matrix(pulls, varying, d, diagonal=0.0),
    )


def _products(u: np.ndarray) -> np.ndarray:
    """Columns 1 (means), squares and products of pairs, shape (n, d + d + d (d-1) / 2)."""
    i, j = np.triu_indices(u.shape[1], 1)
    return np.concatenate((u, u * u, u[:, i] * u[:, j]), axis=1)


def _correlations(weights: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Correlation of each pair under each row of weights, shape (n_draws, n_pairs)."""
    moments = weights @ products
    d = round((np.sqrt(9 + 8 * products.shape[1]) - 3) / 2)
    i, j = np.triu_indices(d, 1)
    mean, square, pair = moments[:, :d], moments[:, d : 2 * d], moments[:, 2 * d :]
    spread = np.sqrt(np.maximum(square - mean**2, 1e-12))
    return (pair - mean[:, i] * mean[:, j]) / (spread[:, i] * spread[:, j])


def _fisher_z(weights: np.ndarray, products: np.ndarray) -> np.ndarray:
    # a correlation of 1 has no finite z; 0.999 keeps its size and stays monotone below
    return np.arctanh(np.clip(_correlations(weights, products), -0.999, 0.999))


def _correlation_matrix(
    weights: np.ndarray, products: np.ndarray, varying: np.ndarray, d: int
) -> np.ndarray:
    found = np.clip(_correlations(weights[None], products)[0], -1, 1)
    return _matrix(found, varying, d, diagonal=1.0)


def _matrix(of_pairs: np.ndarray, varying: np.ndarray, d: int, *, diagonal: float) -> np.ndarray:
    matrix = np.full((d, d), np.nan)
    i, j = (varying[k] for k in np.triu_indices(len(varying), 1))
    matrix[i, j] = matrix[j, i] = of_pairs
    matrix[varying, varying] = diagonal
    return matrix

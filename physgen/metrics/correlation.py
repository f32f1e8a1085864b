"""Pairs of columns: the largest difference of rank correlations."""

from __future__ import annotations

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
    upper : float
        Largest 95 % upper limit of any pair; not always that of the most significant one.
    proven : float
        Difference that some pair has for certain: the largest 95 % lower limit, corrected for
        the number of pairs.
    pulls : array of shape (n_columns, n_columns)
        Difference of Fisher's z, candidate minus reference, in standard errors of the null; NaN
        where a column is constant.
    """

    reference: np.ndarray
    candidate: np.ndarray
    estimate: Estimate
    pair: tuple[int, int]
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
    certain = np.abs(drawn[0]) - quantile_of(sizes.shape[1]) * errors
    return PairTest(
        reference=_correlation_matrix(a, products[:n], varying, d),
        candidate=_correlation_matrix(b, products[n:], varying, d),
        estimate=estimate,
        pair=(int(varying[i]), int(varying[j])),
        upper=float((np.abs(drawn[0]) + ONE_SIDED * errors).max()),
        proven=max(0.0, float(certain.max())),
        # draws are reference minus candidate
        pulls=_matrix(-drawn[0] / np.maximum(errors, 1e-12), varying, d, diagonal=0.0),
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

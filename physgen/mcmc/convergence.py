r"""Do the chains agree? R-hat, and effective sample sizes of bulk and tails.

All three look at ranks rather than values, so heavy tails do not mislead them, and split every
chain in halves, so that a drift shows even in one chain. Wanted: :math:`\hat R < 1.01` from four
chains or more with different starts, and sizes above 400.

References
----------
Vehtari, Gelman, Simpson, Carpenter and Bürkner, Bayesian Analysis 16 (2021) 667,
arXiv:1903.08008. The numbers agree with arviz-stats.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from physgen.mcmc.diagnostics import as_series, lagged_products

__all__ = ["bulk_ess", "split_r_hat", "tail_ess"]


def split_r_hat(series: ArrayLike) -> float:
    r"""Rank-normalized split :math:`\hat R`: 1 for chains that agree, more if they do not.

    The root of the variance of all chains over the variance within chains, of the normal scores
    of the values (chains around different means) and of their distance from the median (chains
    of different spread); the larger one is returned.

    Parameters
    ----------
    series : array of shape (n_steps, n_chains) or (n_steps,)
        Measurements, any unit, after burn-in. One chain is compared with itself: its halves.

    Returns
    -------
    float
        About 1 or more; inf for chains stuck at different values, 1 if all values are equal.

    Raises
    ------
    ValueError
        If there are fewer than 8 steps, or values that are NaN or infinite.

    Examples
    --------
    >>> chains = np.random.default_rng(1).normal(size=(500, 4))
    >>> split_r_hat(chains) < 1.01, split_r_hat(chains * [1, 1, 1, 3]) > 1.1
    (True, True)
    """
    x = _halves(as_series(series))
    folded = np.abs(x - np.median(x))
    return max(_r_hat(_normal_scores(x)), _r_hat(_normal_scores(folded)))


def bulk_ess(series: ArrayLike) -> float:
    r"""Effective sample size of the center of the distribution, from normal scores.

    Sums :math:`\rho` over Geyer's initial monotone sequence, with the variance between chains in
    its denominator: chains that disagree are worth little. May exceed the number of measurements
    for anticorrelated chains.

    Parameters and errors are those of `split_r_hat`.

    References
    ----------
    arXiv:1903.08008; Geyer, Statist. Sci. 7 (1992) 473.

    Examples
    --------
    >>> 3000 < bulk_ess(np.random.default_rng(1).normal(size=(1000, 4))) < 5000
    True
    """
    return _effective_size(_normal_scores(_halves(as_series(series))))


def tail_ess(series: ArrayLike, probability: float = 0.05) -> float:
    """Effective sample size of the tails: the smaller one of two quantiles.

    Parameters
    ----------
    series : array of shape (n_steps, n_chains) or (n_steps,)
        Measurements, any unit, after burn-in.
    probability : float in (0, 1), default 0.05
        The quantiles looked at are this and one minus this.

    Returns
    -------
    float
        Effective number of measurements behind these quantiles.

    Raises
    ------
    ValueError
        As for `split_r_hat`, or if ``probability`` is not inside (0, 1).

    Examples
    --------
    >>> 3000 < tail_ess(np.random.default_rng(1).normal(size=(1000, 4))) < 5000
    True
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability must be inside (0, 1), got {probability}")
    x = as_series(series)
    quantiles = np.quantile(x, [probability, 1 - probability])
    return min(_effective_size(_halves((x <= q).astype(float))) for q in quantiles)


def _halves(x: np.ndarray) -> np.ndarray:
    """First and last halves as chains of their own: (n_steps // 2, 2 n_chains)."""
    half = len(x) // 2
    return np.concatenate((x[:half], x[-half:]), axis=1)


def _normal_scores(x: np.ndarray) -> np.ndarray:
    """Normal quantiles of the ranks over all chains, ties sharing their mean rank."""
    from scipy.special import ndtri

    order = np.argsort(x, axis=None)
    first = np.flatnonzero(np.diff(x.ravel()[order], prepend=-np.inf))
    n_equal = np.diff(first, append=x.size)
    rank = first + (n_equal + 1) / 2
    scores = np.empty(x.size)
    scores[order] = np.repeat(ndtri((rank - 3 / 8) / (x.size + 1 / 4)), n_equal)
    return scores.reshape(x.shape)


def _r_hat(x: np.ndarray) -> float:
    within = (x - x[0]).var(axis=0, ddof=1).mean()  # exactly zero for chains that are stuck
    between = x.mean(axis=0).var(ddof=1)
    if within == 0:
        return 1.0 if between == 0 else math.inf
    return math.sqrt(between / within + (len(x) - 1) / len(x))


def _effective_size(x: np.ndarray) -> float:
    if np.ptp(x) == 0:
        return float(x.size)
    tau = _doubled_time(_correlations_within(x))
    return x.size / max(tau, 1 / math.log10(x.size))


def _correlations_within(x: np.ndarray) -> np.ndarray:
    """Combined estimate of rho(t), of shape (n_steps,)."""
    n_steps, means = len(x), x.mean(axis=0)
    covariances = lagged_products(x, means) / x.size
    within = covariances[0] * n_steps / (n_steps - 1)
    rho = 1 - (within - covariances) / (covariances[0] + means.var(ddof=1))
    rho[0] = 1.0
    return rho


def _doubled_time(rho: np.ndarray) -> float:
    """1 + 2 sum rho over Geyer's initial monotone sequence of sums of neighbors.

    The even lag after the last positive pair counts once, as in Stan and arviz: it is positive
    more often than not, and what matters for anticorrelated chains.
    """
    n_pairs = (len(rho) - 1) // 2
    pairs = rho[: 2 * n_pairs].reshape(n_pairs, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    stop = int(negative[0]) if len(negative) else n_pairs - 1
    monotone = np.minimum.accumulate(pairs[:stop])
    return -1 + 2 * float(monotone.sum()) + max(float(rho[2 * stop]), 0.0)

"""Distances between distribution functions: Wasserstein-1 in units, Kolmogorov-Smirnov."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from physgen.metrics.resampling import Design, Pair, as_design

__all__ = ["DistributionGaps", "distribution_gaps", "ks_distance", "wasserstein"]


@dataclass(frozen=True)
class DistributionGaps:
    """Pooled values, sorted once, on which any draw of F - G can be evaluated.

    Attributes
    ----------
    order : array of shape (n_pooled,)
        Positions of the pooled events in increasing order of value.
    last : array of shape (n_distinct,)
        Position in that order of the last event of each distinct value.
    values : array of shape (n_distinct,)
        Distinct values, increasing.
    period : float or None
        2 pi for angles: then W1 may go either way around.
    """

    order: np.ndarray
    last: np.ndarray
    values: np.ndarray
    period: float | None = None

    def gaps(self, differences: np.ndarray) -> np.ndarray:
        """F - G at each distinct value, shape (n_draws, n_distinct), for draws of D."""
        gaps = np.cumsum(differences[:, self.order], axis=1)[:, self.last]
        gaps[:, -1] = 0.0  # both functions end at 1, whatever the rounding
        return gaps

    def ks(self, gaps: np.ndarray) -> np.ndarray:
        """Largest absolute difference of the distribution functions, shape (n_draws,)."""
        return np.maximum(gaps.max(axis=1), -gaps.min(axis=1)) + 0.0  # no -0.0

    def wasserstein(self, gaps: np.ndarray) -> np.ndarray:
        """Area between the distribution functions, shape (n_draws,), in the unit of the values.

        On a circle any constant may be subtracted from F - G; the median gives the least area
        (Rabin, Delon and Gousseau, arXiv:0906.5499).
        """
        if self.period is None:
            return np.abs(gaps[:, :-1]) @ np.diff(self.values)
        # equal steps make the weighted median a plain one, at a thousandth of the cost
        grid = -math.pi + self.period * (np.arange(720) + 0.5) / 720
        at = np.searchsorted(self.values, grid, side="right") - 1
        on_grid = np.where(at >= 0, gaps[:, np.maximum(at, 0)], 0.0)
        centered = on_grid - np.median(on_grid, axis=1, keepdims=True)
        return np.abs(centered).mean(axis=1) * self.period


def distribution_gaps(pooled: np.ndarray, *, period: float | None = None) -> DistributionGaps:
    """Sort the pooled values of two samples for :class:`DistributionGaps`."""
    order = np.argsort(pooled, kind="stable")
    ordered = pooled[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return DistributionGaps(order, last, ordered[last], period)


def wasserstein(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    weights: Pair | Design = (None, None),
    period: float | None = None,
) -> float:
    r"""Wasserstein-1 distance: how far probability has to be moved, on average.

    .. math:: W_1 = \int |F(t) - G(t)|\,dt

    Parameters
    ----------
    reference, candidate : array of shape (n,) and (m,)
        Values, any unit.
    weights : pair of (array or None), or Design
        Event weights; may be negative.
    period : float, optional
        2 pi for angles in [-pi, pi): distance around the circle, evaluated on 720 steps.

    Returns
    -------
    float
        In the unit of the values; at least 0, and about sigma sqrt(1/n + 1/m) for equal laws.
    """
    order, observed = _observed(reference, candidate, weights, period)
    return float(order.wasserstein(order.gaps(observed))[0])


def ks_distance(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    weights: Pair | Design = (None, None),
) -> float:
    r"""Kolmogorov-Smirnov distance :math:`\sup_t |F(t) - G(t)|`, in [0, 1]; ties are right."""
    order, observed = _observed(reference, candidate, weights, None)
    return float(order.ks(order.gaps(observed))[0])


def equivalent_shift_of_ks(distance: float) -> float:
    r"""Shift of a Gaussian in sigma that has this KS distance, at most 8.

    .. math:: D = 2\,\Phi(\delta/2) - 1

    Examples
    --------
    >>> round(equivalent_shift_of_ks(0.0399), 3)
    0.1
    """
    quantile = min((1 + max(distance, 0.0)) / 2, 0.99997)
    return min(2 * NormalDist().inv_cdf(quantile), 8.0)


def wasserstein_std_error(order: DistributionGaps, gaps: np.ndarray, design: Design) -> float:
    r"""Standard error of W1 (delta method), in the unit of the values.

    W1 is :math:`\sum_i D_i\,g(x_i)` with the potential :math:`g(x) = -\int^x {\rm sign}(F-G)`.

    Parameters
    ----------
    order : DistributionGaps
        The pooled values.
    gaps : array of shape (n_distinct,)
        F - G observed.
    design : Design
        Weights and chains.
    """
    signs = np.sign(gaps[:-1] - (np.median(gaps) if order.period else 0.0))
    potential = np.concatenate(([0.0], np.cumsum(signs * np.diff(order.values))))
    per_event = np.empty(len(order.order))
    per_event[order.order] = np.repeat(potential, np.diff(order.last, prepend=-1))
    return design.std_error(per_event)


def ks_std_error(order: DistributionGaps, gaps: np.ndarray, design: Design) -> float:
    """Standard error of the KS distance: that of F - G where it is largest."""
    below = np.zeros(len(order.order))
    below[order.order[: order.last[np.argmax(np.abs(gaps))] + 1]] = 1.0
    return design.std_error(below)


def _observed(
    reference: np.ndarray,
    candidate: np.ndarray,
    weights: Pair | Design,
    period: float | None,
) -> tuple[DistributionGaps, np.ndarray]:
    design = as_design(weights, len(reference), len(candidate))
    pooled = np.concatenate((reference, candidate)).astype(np.float64)
    return distribution_gaps(pooled, period=period), design.observed[None]

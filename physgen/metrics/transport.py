"""Distances of distribution functions: Wasserstein-1, Kolmogorov-Smirnov, Cramér-von Mises."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from physgen.estimates import Estimate
from physgen.metrics.judged import drawn_and_halves, estimate_of_distance, estimate_of_square
from physgen.metrics.resampling import Design, Pair, as_design
from physgen.random import Rng, as_seed

__all__ = [
    "DistributionGaps",
    "cramer_von_mises",
    "distribution_gaps",
    "ks_distance",
    "wasserstein",
]


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

    def per_event(self, at_values: np.ndarray) -> np.ndarray:
        """Pooled events, shape (n_pooled,), of numbers at the distinct values."""
        numbers = np.empty(len(self.order))
        numbers[self.order] = np.repeat(at_values, np.diff(self.last, prepend=-1))
        return numbers


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
    n_permutations: int = 499,
    rng: Rng,
) -> Estimate:
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
    n_permutations : int, default 499
        Draws of the null.
    rng : int or torch.Generator
        Source of the draws.

    Returns
    -------
    Estimate
        In the unit of the values; at least 0, and about sigma sqrt(1/n + 1/m) for equal laws:
        read it against its floor.

    Examples
    --------
    >>> x = np.linspace(0, 1, 500)
    >>> print(wasserstein(x, x + 2, rng=0))
    2.00 ± 0.02 (floor 0.04, p = 0.0020)
    """
    order, design, random = _ordered(reference, candidate, weights, period, rng)
    found = drawn_and_halves(
        lambda rows: order.wasserstein(order.gaps(rows)), design, n_permutations, random
    )
    error = wasserstein_std_error(order, order.gaps(design.observed[None])[0], design)
    return estimate_of_distance(*found, design, error)


def ks_distance(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    weights: Pair | Design = (None, None),
    n_permutations: int = 499,
    rng: Rng,
) -> Estimate:
    r"""Kolmogorov-Smirnov distance :math:`\sup_t |F(t) - G(t)|`, in [0, 1]; ties are right.

    Parameters are those of :func:`wasserstein`.

    Examples
    --------
    >>> x = np.linspace(0, 1, 500)
    >>> round(ks_distance(x, x + 0.25, rng=0).value, 3)
    0.25
    """
    order, design, random = _ordered(reference, candidate, weights, None, rng)
    found = drawn_and_halves(
        lambda rows: order.ks(order.gaps(rows)), design, n_permutations, random
    )
    error = ks_std_error(order, order.gaps(design.observed[None])[0], design)
    return estimate_of_distance(*found, design, error)


def cramer_von_mises(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    weights: Pair | Design = (None, None),
    n_permutations: int = 499,
    rng: Rng,
) -> Estimate:
    r"""Cramér-von Mises distance, the mean square of F - G over the pooled law H.

    .. math:: \omega^2 = \int (F(t) - G(t))^2\,dH(t)

    Parameters are those of :func:`wasserstein`.

    Returns
    -------
    Estimate
        In [0, 1/3], the upper end for samples that do not touch; about (1/n + 1/m)/6 for equal
        laws. Without ties, Anderson's T (Ann. Math. Stat. 33 (1962) 1148) is this times
        nm/(n + m).

    Examples
    --------
    >>> x = np.linspace(0, 1, 500)
    >>> round(cramer_von_mises(x, x + 2, rng=0).value, 3)
    0.333
    """
    order, design, random = _ordered(reference, candidate, weights, None, rng)
    mass = np.abs(np.concatenate((design.share * design.a, (1 - design.share) * design.b)))
    at_value = np.add.reduceat(mass[order.order], np.append(0, order.last[:-1] + 1)) / mass.sum()
    found = drawn_and_halves(
        lambda rows: np.square(order.gaps(rows)) @ at_value, design, n_permutations, random
    )
    gaps = order.gaps(design.observed[None])[0]
    tail = np.cumsum((gaps * at_value)[::-1])[::-1]
    # an event of the reference moves F, and H by its share; one of the candidate, that enters D
    # with a minus sign, moves H by the rest
    of_law = np.repeat([design.share, design.share - 1], [len(design.a), len(design.b)])
    per_event = 2 * order.per_event(tail) + of_law * order.per_event(gaps**2)
    return estimate_of_square(*found, design, design.std_error(per_event))


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

    W1 is :math:`\sum_i D_i\,g(x_i)` with the potential :math:`g(x) = -\int^x {\rm sign}(F-G-c)`,
    where c is 0 on a line. On a circle c is the median of F - G along it, so that g comes back to
    where it began.

    Parameters
    ----------
    order : DistributionGaps
        The pooled values.
    gaps : array of shape (n_distinct,)
        F - G observed.
    design : Design
        Weights and chains.
    """
    signs = np.sign(gaps) if order.period is None else _signs_on_circle(order, gaps)
    potential = np.concatenate(([0.0], np.cumsum(signs[:-1] * np.diff(order.values))))
    return design.std_error(order.per_event(potential))


def _signs_on_circle(order: DistributionGaps, gaps: np.ndarray) -> np.ndarray:
    """Signs of F - G above its median, whose sum along the circle is 0."""
    arcs = np.append(np.diff(order.values), order.period - np.ptp(order.values))
    by_gap = np.argsort(gaps, kind="stable")
    passed = np.cumsum(arcs[by_gap])
    center = gaps[by_gap[np.searchsorted(passed, passed[-1] / 2)]]
    signs = np.sign(gaps - center)
    at_center = signs == 0
    signs[at_center] = -(signs @ arcs) / arcs[at_center].sum()
    return signs


def ks_std_error(order: DistributionGaps, gaps: np.ndarray, design: Design) -> float:
    """Standard error of the KS distance: that of F - G where it is largest."""
    below = np.zeros(len(order.order))
    below[order.order[: order.last[np.argmax(np.abs(gaps))] + 1]] = 1.0
    return design.std_error(below)


def _ordered(
    reference: np.ndarray,
    candidate: np.ndarray,
    weights: Pair | Design,
    period: float | None,
    rng: Rng,
) -> tuple[DistributionGaps, Design, np.random.Generator]:
    design = as_design(weights, len(reference), len(candidate))
    pooled = np.concatenate((reference, candidate)).astype(np.float64)
    order = distribution_gaps(pooled, period=period)
    return order, design, np.random.default_rng(as_seed(rng))

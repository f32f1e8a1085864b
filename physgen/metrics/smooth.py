r"""Bias in smooth functions of one observable: its location, width, skewness and tails.

The ranks u of the pooled events have polynomials :math:`\phi_k` that are orthonormal under the
pooled law. The differences of their means,

.. math:: c_k = E_q\,\phi_k - E_p\,\phi_k, \qquad \delta^2 = \sum_{k=1}^4 c_k^2,

are the components of Neyman's smooth test (Skandinavisk Aktuarietidskrift 20 (1937) 149; Rayner
and Best, *Smooth Tests of Goodness of Fit*, 1989). By Cauchy and Schwarz no function in their
span has a bias of more than :math:`\delta` of its standard deviation. Four numbers are known far
better than a hundred bins, and :math:`(1/n+1/m)^{-1}\sum\hat c_k^2` follows the noncentral
chi-square law, which gives limits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from physgen.metrics.resampling import Design

__all__ = ["SmoothBias", "smooth_bias"]

_ORDER = 4
_LEVEL = 0.05


@dataclass(frozen=True)
class SmoothBias:
    """Largest bias of a smooth function, in its standard deviations.

    Attributes
    ----------
    value, lower, upper : float
        Estimate, and one-sided 95 % limits.
    statistic : float
        Sum of the squared components over their variance.
    n_functions : int
        Functions that there are: four, or fewer for few distinct values.
    variance : float
        Of each component.
    """

    value: float
    lower: float
    upper: float
    statistic: float = 0.0
    n_functions: int = 0
    variance: float = 0.0

    def proven(self, n_looks: int) -> float:
        """Lower limit that holds with 95 % confidence in the worst of so many looks."""
        if self.n_functions == 0:
            return 0.0
        found = _noncentrality(self.statistic, self.n_functions, 1 - _LEVEL / n_looks)
        return math.sqrt(found * self.variance)


def smooth_bias(reference: np.ndarray, candidate: np.ndarray, design: Design) -> SmoothBias:
    """Bias of location, width, skewness and tails together.

    Parameters
    ----------
    reference, candidate : array of shape (n,) and (m,)
        Values, any unit; only their order counts.
    design : Design
        How they were drawn.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(2, 10_000))
    >>> bias = smooth_bias(x[0], x[1] + 0.1, Design.of(10_000, 10_000))
    >>> 0.05 < bias.lower < bias.value < bias.upper < 0.15
    True
    """
    pooled = np.concatenate((reference, candidate))
    mass = np.abs(np.concatenate((design.share * design.a, (1 - design.share) * design.b)))
    functions = _polynomials(pooled, mass / mass.sum())
    n = functions.shape[1]
    if n == 0:
        return SmoothBias(0.0, 0.0, 0.0)
    # 1/n + 1/m without weights; weights that depend on the values make some functions noisier
    noise = max(design.std_error(f) for f in functions.T) ** 2
    noise = max(noise, sum(1 / size for size in design.n_effective))
    found = float(np.square(design.observed @ functions).sum()) / noise
    low = _noncentrality(found, n, 1 - _LEVEL)
    # what scatters below its expectation excludes no more than the expectation does
    high = _noncentrality(max(found, n), n, _LEVEL)
    value, lower, upper = (math.sqrt(max(x, 0.0) * noise) for x in (found - n, low, high))
    return SmoothBias(value, lower, upper, found, n, noise)


def _polynomials(values: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Orthonormal polynomials of the ranks, shape (n_events, at most 4); fewer for few values."""
    distinct, index = np.unique(values, return_inverse=True)
    share = np.bincount(index, mass)
    rank = np.cumsum(share) - share / 2
    powers = np.vander(2 * rank - 1, min(_ORDER + 1, len(distinct)), increasing=True)
    root = np.sqrt(share)[:, None]
    basis = np.linalg.qr(root * powers)[0] / np.where(root > 0, root, 1.0)
    return np.asarray(basis[:, 1:][index])


def _noncentrality(found: float, n: int, level: float) -> float:
    """Noncentrality at which a chi-square is at most ``found`` with this probability."""
    from scipy.optimize import brentq
    from scipy.stats import chi2, ncx2

    if chi2.cdf(found, n) <= level:
        return 0.0
    high = (math.sqrt(found) + 5.0) ** 2 + n
    return float(brentq(lambda x: ncx2.cdf(found, n, x) - level, 0.0, high, xtol=1e-6 * high))

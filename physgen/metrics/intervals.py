r"""Error and interval of an MMD^2, for equal laws, different ones and all between.

The noise of the U-statistic is normal of variance O(1/n) where the laws differ, and a weighted
sum of :math:`\chi^2` of variance O(1/n^2) where they do not (Gretton et al., JMLR 13 (2012) 723,
theorems 8 and 12). The row sums tell the one, the draws of the null the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from physgen.metrics.discrepancies import Discrepancies

__all__ = ["interval", "std_errors"]

_STEPS = np.array([NormalDist().inv_cdf((k + 0.5) / 50) for k in range(50)])


def std_errors(found: Discrepancies) -> np.ndarray:
    """Standard error of each kernel, near the null and far from it."""
    return np.hypot(*_spreads(found))


def interval(found: Discrepancies, best: int) -> tuple[float, float]:
    """All values theta that the measured one is compatible with, at 95 %.

    At theta the noise is that of the draws and, independent of it, a normal one of variance
    4 theta s2, where s2 is the variance of the difference of the mean embeddings in its own
    direction. Both are one number for all theta: unlike theta plus or minus the standard error,
    this stays right where the two are about equal.
    """
    value = float(found.unbiased[best])
    if not len(found.null) or found.biased[best] <= 0:  # equal events in both
        half = NormalDist().inv_cdf(0.975) * float(found.first_order[best])
        return value - half, value + half
    s2 = _own_variance(found, best)
    # the rung was chosen for its score: near the null, its noise is the largest of all
    deviations = found.null - found.null.mean(axis=0)
    spread = deviations.std(axis=0)
    noise = spread[best] * (deviations / np.where(spread > 0, spread, 1)).max(axis=1)

    def quantile(theta: float, level: float) -> float:
        added = math.sqrt(4 * max(theta, 0.0) * s2)
        return float(np.quantile(noise[:, None] + added * _STEPS, level))

    return _lowest(value, quantile), _highest(value, quantile)


def _own_variance(found: Discrepancies, best: int) -> float:
    """Variance of the difference of mean embeddings along itself, near and far from the null."""
    value, first = found.unbiased[best], found.first_order[best]
    _, added = _spreads(found)
    most = float(found.null[:, best].std()) / math.sqrt(2)  # no eigenvalue is larger
    near = first**2 / (4 * found.biased[best])
    far = added[best] ** 2 / (4 * value) if value > 0 else most
    return float(min(most, max(near, far)))


def _lowest(value: float, quantile: Callable[[float, float], float]) -> float:
    # at theta = 0 one-sided, as the test is: values below zero exist only in the estimate
    if value <= quantile(0, 0.95):
        return value - quantile(0, 0.95)
    low, high = 0.0, value
    for _ in range(16):
        middle = (low + high) / 2
        if value - middle > quantile(middle, 0.975):
            low = middle
        else:
            high = middle
    return high


def _highest(value: float, quantile: Callable[[float, float], float]) -> float:
    theta = 4 * max(value, 0) + 100 * abs(quantile(0, 0.025))
    for _ in range(12):  # comes down on the highest solution
        theta = value - quantile(theta, 0.025)
    return theta


def _spreads(found: Discrepancies) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors that the draws have, and what is to be added for different laws.

    At the null, sums over one index scatter too, by twice the variance of the draws.
    """
    if not len(found.null):
        return np.zeros_like(found.first_order), found.first_order
    null = found.null.std(axis=0)
    return null, np.sqrt(np.maximum(np.square(found.first_order) - 2 * np.square(null), 0))

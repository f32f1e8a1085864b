"""The one-dimensional panel: JS, KS and W1 of many columns on the same null draws."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from physgen.estimates import Estimate
from physgen.metrics.binning import bin_contents, bin_edges, merge_bins, n_bins_default
from physgen.metrics.divergences import equivalent_shift, js_estimate, js_of_differences
from physgen.metrics.resampling import Design, p_values, studentized
from physgen.metrics.smooth import SmoothBias, smooth_bias
from physgen.metrics.transport import (
    DistributionGaps,
    distribution_gaps,
    equivalent_shift_of_ks,
    ks_std_error,
    wasserstein_std_error,
)

__all__ = ["ONE_SIDED", "Column", "ColumnTest", "compare_columns", "quantile_of"]

ONE_SIDED = 1.645  # standard errors to a one-sided 95 % limit
_LEVEL = 0.05
_N_FAMILIES = 4  # of measures with limits


@dataclass(frozen=True)
class Column:
    """One number per event of either sample, float64; ``period`` is 2 pi for angles."""

    reference: np.ndarray
    candidate: np.ndarray
    period: float | None = None


@dataclass(frozen=True)
class ColumnTest:
    """What was found for one column.

    Attributes
    ----------
    js, ks, w1 : Estimate
        JS divergence in bits, KS distance, W1 in the unit of the column.
    ks_noise : float
        Root mean square of the KS distance if both laws were one.
    shift, shift_lower, shift_upper : float
        Size of the difference in plain words: the shift of a Gaussian, in sigma, that has this
        JS or this KS, whichever is larger, and its 95 % limits. JS sees narrow features,
        KS sees smooth ones with less noise.
    bias : SmoothBias
        Largest bias of a smooth function of the column.
    p_adjusted : float
        p-value of this column, corrected for looking at all of them.
    """

    js: Estimate
    ks: Estimate
    w1: Estimate
    ks_noise: float
    shift: float
    shift_lower: float
    shift_upper: float
    bias: SmoothBias
    p_adjusted: float

    def proven(self, n_looks: int) -> float:
        """Shift that is exceeded with 95 % confidence, in the worst of so many looks.

        Bonferroni; each look is at JS and at KS. Far in the tail the law of JS is no normal one,
        so nothing is proven that the permutations do not see.
        """
        if self.p_adjusted > _LEVEL / _N_FAMILIES:
            return 0.0
        return _lower(self.js, self.ks, self.ks_noise, quantile_of(2 * n_looks))


def quantile_of(n_looks: int) -> float:
    """Standard errors to a one-sided 95 % limit that holds for so many looks at once.

    Columns, pairs, classifiers and slices each have a quarter of the 5 % (Bonferroni).
    """
    return NormalDist().inv_cdf(1 - _LEVEL / _N_FAMILIES / n_looks)


def compare_columns(
    columns: Sequence[Column],
    design: Design,
    *,
    n_permutations: int,
    rng: np.random.Generator,
) -> tuple[list[ColumnTest], float]:
    """Compare columns over the same events, one by one and together.

    Parameters
    ----------
    columns : sequence of Column
        Columns over n and m events.
    design : Design
        Weights, chains and conditions of the n and m events.
    n_permutations : int
        Null draws, shared by all columns.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    list of ColumnTest
        ``p_adjusted`` is Westfall and Young's: the probability that the largest studentized JS
        or KS of *any* column is as large as this column's.
    float
        The smallest of these: one p-value for all columns.
    """
    tests, scores = score_columns(columns, design, n_permutations=n_permutations, rng=rng)
    adjusted = adjusted_p_values(scores)
    tests = [
        dataclasses.replace(test, p_adjusted=float(p))
        for test, p in zip(tests, adjusted, strict=True)
    ]
    return tests, float(adjusted.min())


def adjusted_p_values(scores: np.ndarray) -> np.ndarray:
    """Westfall and Young's p-values of the scores in row 0, from the largest of each null row."""
    worst = np.repeat(scores[1:].max(axis=1)[:, None], scores.shape[1], 1)
    return p_values(np.concatenate((scores[:1], worst)))


def score_columns(
    columns: Sequence[Column],
    design: Design,
    *,
    n_permutations: int,
    rng: np.random.Generator,
) -> tuple[list[ColumnTest], np.ndarray]:
    """Compare columns one by one; parameters as for :func:`compare_columns`.

    Returns
    -------
    list of ColumnTest
        With p-values of single columns.
    array of shape (1 + n_permutations, n_columns)
        Studentized scores, observed in row 0, whose maxima correct for the number of columns.
    """
    layouts = [_layout(column, design) for column in columns]
    drawn = _statistics(layouts, design.draws(n_permutations, rng))
    of_reference = [x.of_reference(len(design.a)) for x in layouts]
    halves = _statistics(of_reference, design.halves(100, rng))
    # a chi-square to the power 1/3 is nearly normal (Wilson and Hilferty 1931), so that columns
    # of few and of many bins compete on equal terms
    scores = np.maximum(studentized(np.cbrt(drawn[:, :, 0])), studentized(drawn[:, :, 1]))
    single = p_values(scores)
    tests = [
        _column_test(layouts[k], drawn[:, k], halves[:, k], design, float(single[k]))
        for k in range(len(columns))
    ]
    return tests, scores


@dataclass(frozen=True)
class _Layout:
    order: DistributionGaps
    last_of_bin: np.ndarray  # index of the last distinct value in each bin, -1 for none so far
    p: np.ndarray
    q: np.ndarray
    n_p: float
    n_q: float
    edges: np.ndarray
    pooled: np.ndarray

    def of_reference(self, n_reference: int) -> _Layout:
        """Layout of the reference alone, in the same bins, for draws between its halves."""
        values = self.pooled[:n_reference]
        order = distribution_gaps(values, period=self.order.period)
        last = np.searchsorted(order.values, self.edges, side="left") - 1
        return _Layout(order, last, self.p, self.p, 1, 1, self.edges, values)


def _layout(column: Column, design: Design) -> _Layout:
    pooled = np.concatenate((column.reference, column.candidate))
    a, b, (n_a, n_b) = design.a, design.b, design.n_effective
    # bins of the pooled sample: bins of the reference alone would know the labels, and the
    # permutation p-value would no longer be exact
    mass = np.concatenate((a * n_a, b * n_b))
    edges = bin_edges(pooled, mass, n_bins=n_bins_default(min(n_a, n_b)))
    edges = merge_bins(pooled, a, b, edges)
    order = distribution_gaps(pooled, period=column.period)
    return _Layout(
        order,
        np.searchsorted(order.values, edges, side="left") - 1,
        bin_contents(column.reference, edges, a),
        bin_contents(column.candidate, edges, b),
        n_a,
        n_b,
        edges,
        pooled,
    )


def _statistics(layouts: Sequence[_Layout], draws: Iterable[np.ndarray]) -> np.ndarray:
    """JS (plug-in), KS and W1 of every draw and column, shape (n_draws, n_columns, 3)."""
    return np.concatenate(
        [np.stack([_of_block(layout, rows) for layout in layouts], axis=1) for rows in draws]
    )


def _of_block(x: _Layout, rows: np.ndarray) -> np.ndarray:
    gaps = x.order.gaps(rows)
    cumulative = np.where(x.last_of_bin >= 0, gaps[:, x.last_of_bin], 0.0)
    binned = np.diff(cumulative, axis=1, prepend=0.0, append=0.0)
    js = js_of_differences(binned, x.p, x.q, x.n_p, x.n_q)
    return np.stack((js, x.order.ks(gaps), x.order.wasserstein(gaps)), axis=1)


def _column_test(
    x: _Layout,
    drawn: np.ndarray,
    halves: np.ndarray,
    design: Design,
    p_adjusted: float,
) -> ColumnTest:
    gaps = x.order.gaps(design.observed[None])[0]
    scale = design.half_scale**0.5
    p_ks, p_w1 = p_values(drawn[:, 1:])
    floor_ks, floor_w1 = np.quantile(halves[:, 1:], 0.95, axis=0) * scale
    ks_error = ks_std_error(x.order, gaps, design)
    w1_error = wasserstein_std_error(x.order, gaps, design)
    js = js_estimate(drawn[:, 0], halves[:, 0], x.p, x.q, design)
    ks = Estimate(float(drawn[0, 1]), ks_error, float(floor_ks), float(p_ks))
    noise = math.sqrt(float(np.square(drawn[1:, 1]).mean()))
    # a difference that its own test does not see is not excluded to be none
    seen = min(js.p_value, ks.p_value) < _LEVEL / 2
    n = len(design.a)
    return ColumnTest(
        js=js,
        ks=ks,
        w1=Estimate(float(drawn[0, 2]), w1_error, float(floor_w1), float(p_w1)),
        ks_noise=noise,
        shift=_lower(js, ks, noise, 0.0),
        # the larger of two limits: each may be wrong half as often
        shift_lower=_lower(js, ks, noise, NormalDist().inv_cdf(1 - _LEVEL / 2)) if seen else 0.0,
        shift_upper=_upper(js, ks, drawn[1:, 0], design),
        bias=smooth_bias(x.pooled[:n], x.pooled[n:], design),
        p_adjusted=p_adjusted,
    )


def _lower(js: Estimate, ks: Estimate, ks_noise: float, z: float) -> float:
    """Shift that JS or KS have at least, z standard errors below what was found.

    Noise adds to a KS distance about in quadrature; from JS it is subtracted already.
    """
    excess = math.sqrt(max(ks.value**2 - ks_noise**2, 0.0))
    return max(
        equivalent_shift(js.value - z * js.std_error),
        equivalent_shift_of_ks(excess - z * ks.std_error),
    )


def _upper(js: Estimate, ks: Estimate, null: np.ndarray, design: Design) -> float:
    """Shift that JS and KS have at most.

    A divergence U has the variance 4 s U beside that of the null, s = (1/n + 1/m) / (8 ln 2), so
    its error has to be taken at the limit, not at what was measured.
    """
    s = sum(1 / n for n in design.n_effective) / (8 * math.log(2))
    value, spread = max(js.value, 0.0), max(js.std_error**2 - 4 * s * max(js.value, 0.0), 0.0)
    spread = max(spread, float(null.var()))
    step = 2 * ONE_SIDED**2 * s
    limit = value + step + math.sqrt(step**2 + ONE_SIDED**2 * (spread + 4 * s * value))
    return max(
        equivalent_shift(limit), equivalent_shift_of_ks(ks.value + ONE_SIDED * ks.std_error)
    )

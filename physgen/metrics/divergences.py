"""Jensen-Shannon divergence in bits, and what it means in words."""

from __future__ import annotations

import functools
import math

import numpy as np

from physgen.estimates import Estimate
from physgen.metrics.binning import bin_contents, bin_edges, merge_bins, n_bins_default
from physgen.metrics.resampling import Design, Pair, as_design, p_values
from physgen.random import Rng, as_seed

__all__ = [
    "equivalent_shift",
    "js_divergence",
    "js_estimate",
    "js_from_probabilities",
    "js_of_differences",
    "js_std_error",
]


def js_from_probabilities(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    r"""Jensen-Shannon divergence of binned laws, in bits.

    .. math:: {\rm JS} = \tfrac12\sum_k p_k\log_2\frac{p_k}{m_k} + q_k\log_2\frac{q_k}{m_k},
              \qquad m = \tfrac12(p+q)

    Parameters
    ----------
    p, q : array of shape (..., n_bins)
        Probabilities; negative entries (from resampled weights) count as 0.

    Returns
    -------
    array of shape (...)
        In [0, 1]. It is the divergence itself; ``scipy.spatial.distance.jensenshannon`` returns
        its square root, in nats.

    References
    ----------
    Lin, IEEE Trans. Inf. Theory 37 (1991) 145.
    """
    from scipy.special import xlog1py

    p, q = np.maximum(p, 0), np.maximum(q, 0)
    total = p + q
    # in t = (p - q) / (p + q) no two nearly equal logarithms are subtracted
    t = np.divide(p - q, total, out=np.zeros_like(total), where=total > 0)
    terms = total * (xlog1py(1 + t, t) + xlog1py(1 - t, -t))
    return np.maximum(terms.sum(axis=-1) / (4 * math.log(2)), 0.0)


def js_std_error(p: np.ndarray, q: np.ndarray, n_p: float, n_q: float) -> float:
    r"""Standard error of the binned JS far from p = q, in bits (delta method).

    .. math:: \sigma^2 = \tfrac14\left[\frac{{\rm Var}_p(\log_2 p/m)}{n_p}
              + \frac{{\rm Var}_q(\log_2 q/m)}{n_q}\right]

    It vanishes at p = q, where the spread of the null takes over.
    """
    variance = 0.0
    for own, other, n in ((p, q, n_p), (q, p, n_q)):
        own, other = np.maximum(own, 0), np.maximum(other, 0)
        on = own > 0
        log_ratio = np.log2(2 * own[on] / (own + other)[on])
        mean = (own[on] * log_ratio).sum()
        variance += max((own[on] * log_ratio**2).sum() - mean**2, 0.0) / (4 * n)
    return math.sqrt(variance)


def js_divergence(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    weights: Pair | Design = (None, None),
    edges: np.ndarray | None = None,
    n_permutations: int = 999,
    rng: Rng,
) -> Estimate:
    """JS divergence of two samples in bits, minus what chance alone gives.

    The plug-in divergence of two samples of one law is about (K-1)(1/n+1/m)/(8 ln 2) bits, not
    0. Here the mean over shuffles of the labels is subtracted, so the value scatters around 0
    when the laws agree (and may be slightly negative).

    Parameters
    ----------
    reference, candidate : array of shape (n,) and (m,)
        Values, any unit.
    weights : pair of (array or None), or Design
        Event weights of either sample; may be negative.
    edges : array, optional
        Inner bin edges; equal-probability bins of the pooled sample by default.
    n_permutations : int, default 999
        Shuffles; the smallest possible p-value is 1 / (n_permutations + 1).
    rng : int or torch.Generator
        Source of the shuffles.

    Returns
    -------
    Estimate
        In bits, in [0, 1] up to the subtraction.

    Examples
    --------
    >>> x = np.linspace(0, 1, 1000)
    >>> round(js_divergence(x, x + 2, rng=0).value, 6)
    1.0
    """
    random = np.random.default_rng(as_seed(rng))
    design = as_design(weights, len(reference), len(candidate))
    a, b, (n_a, n_b) = design.a, design.b, design.n_effective
    pooled = np.concatenate((reference, candidate))
    if edges is None:
        mass = np.concatenate((a * n_a, b * n_b))
        edges = bin_edges(pooled, mass, n_bins=n_bins_default(min(n_a, n_b)))
    edges = merge_bins(pooled, a, b, edges)
    index = np.searchsorted(edges, pooled, side="right")
    p = bin_contents(reference, edges, a)
    q = bin_contents(candidate, edges, b)
    if design.is_exact and design.slices[0] is None:
        counts = np.bincount(index, minlength=len(p))
        shuffled = random.multivariate_hypergeometric(
            counts, len(a), size=n_permutations, method="marginals"
        )
        null = js_from_probabilities(shuffled / len(a), (counts - shuffled) / len(b))
        plug_in_and_null = np.concatenate(([js_from_probabilities(p, q)], null))
    else:
        draws = design.draws(n_permutations, random)
        plug_in_and_null = np.concatenate(
            [js_of_differences(_binned(d, index, len(p)), p, q, n_a, n_b) for d in draws]
        )
    halves = np.concatenate(
        [
            js_of_differences(_binned(d, index[: len(a)], len(p)), p, p, 1, 1)
            for d in design.halves(100, random)
        ]
    )
    return js_estimate(plug_in_and_null, halves, p, q, design)


def js_of_differences(
    differences: np.ndarray, p: np.ndarray, q: np.ndarray, n_p: float, n_q: float
) -> np.ndarray:
    """JS in bits of draws of p - q around the pooled law of p and q.

    Parameters
    ----------
    differences : array of shape (n_draws, n_bins)
        Draws of p - q per bin; p - q itself gives JS(p, q).
    p, q : array of shape (n_bins,)
        Observed probabilities.
    n_p, n_q : float
        Effective sizes, which share out a difference between p and q.
    """
    share = n_p / (n_p + n_q)
    pooled = share * p + (1 - share) * q
    return js_from_probabilities(pooled + (1 - share) * differences, pooled - share * differences)


def js_estimate(
    statistics: np.ndarray,
    halves: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    design: Design,
) -> Estimate:
    """Shuffle-subtracted estimate from plug-in values.

    Parameters
    ----------
    statistics : array of shape (1 + n_draws,)
        Plug-in JS observed, then under the null.
    halves : array of shape (n_splits,)
        Plug-in JS between halves of the truth.
    p, q : array of shape (n_bins,)
        Observed probabilities.
    design : Design
        Of the samples.
    """
    null, (n_p, n_q) = statistics[1:], design.n_effective
    # the noise of p and q is in the null already; what is left of the delta method is the
    # cross term of signal and noise
    n_bins = np.count_nonzero((p != 0) | (q != 0))
    noise = (n_bins - 1) * (1 / n_p + 1 / n_q) ** 2 / (16 * math.log(2) ** 2)
    signal = max(js_std_error(p, q, n_p, n_q) ** 2 - noise, 0.0)
    # chance takes the lowest part of the scale [0, 1]: equal laws score 0 on what is left of it,
    # disjoint ones 1; where chance takes all of it nothing can be said, and the value is 0
    chance = float(null.mean())
    room = 1 - chance if chance < 1 - 1e-9 else 1.0
    return Estimate(
        value=float(statistics[0] - chance) / room,
        std_error=math.sqrt(signal + float(null.var())) / room,
        floor=float(np.quantile(halves - halves.mean(), 0.95)) * design.half_scale / room,
        p_value=float(p_values(statistics)),
        note=f"{len(p)} bins",
    )


def _binned(draws: np.ndarray, index: np.ndarray, n_bins: int) -> np.ndarray:
    return np.stack([np.bincount(index, d, minlength=n_bins) for d in draws])


@functools.lru_cache(maxsize=1)
def _shift_table() -> tuple[np.ndarray, np.ndarray]:
    """JS of two unit Gaussians at distances of up to 8, by quadrature."""
    shifts = np.concatenate(([0.0], np.geomspace(1e-3, 8, 200)))
    x = np.linspace(-9, 17, 5201)
    p = np.exp(-0.5 * x**2) * (x[1] - x[0]) / math.sqrt(2 * math.pi)
    q = np.exp(-0.5 * (x - shifts[:, None]) ** 2) * (x[1] - x[0]) / math.sqrt(2 * math.pi)
    return shifts, js_from_probabilities(np.broadcast_to(p, q.shape), q)


def equivalent_shift(js: float) -> float:
    r"""Shift of a Gaussian, in units of its sigma, that has this JS divergence.

    For small shifts :math:`{\rm JS} = \delta^2 / (8\ln 2)` bits; beyond, the exact relation is
    used. It is the plain-word scale of the report: "as far off as a 0.3-sigma shift".

    Parameters
    ----------
    js : float
        JS divergence in bits; below 0 counts as 0.

    Returns
    -------
    float
        Shift in sigma, at most 8 (JS = 1 to four digits).

    Examples
    --------
    >>> round(equivalent_shift(1.801e-3), 3)
    0.1
    """
    shifts, values = _shift_table()
    return float(np.interp(math.sqrt(max(js, 0.0)), np.sqrt(values), shifts))

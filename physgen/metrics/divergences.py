"""Jensen-Shannon and Kullback-Leibler divergence in bits, and what they mean in words."""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np

from physgen.estimates import Estimate
from physgen.metrics.binned import BinnedPair, binned_pair
from physgen.metrics.judged import estimate_of_square
from physgen.metrics.resampling import Design, Pair, as_design, p_values
from physgen.random import Rng, as_seed

__all__ = [
    "equivalent_shift",
    "js_divergence",
    "js_estimate",
    "js_from_probabilities",
    "js_of_differences",
    "js_std_error",
    "kl_divergence",
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
    correction: Literal["shuffle", "miller-madow"] | None = "shuffle",
    n_permutations: int = 999,
    rng: Rng,
) -> Estimate:
    r"""JS divergence of two samples in bits, minus what chance alone gives.

    The plug-in divergence of two samples of one law is about (K-1)(1/n+1/m)/(8 ln 2) bits, not
    0. Here the mean over shuffles of the labels is subtracted, so the value scatters around 0
    when the laws agree (and may be slightly negative). The correction of Miller and Madow,

    .. math:: \frac{1}{\ln 2}\left[\frac{K_p-1}{4n} + \frac{K_q-1}{4m}
              - \frac{K_m-1}{2(n+m)}\right]

    with the numbers K of occupied bins, needs no shuffles and fails where bins outnumber events.

    Parameters
    ----------
    reference, candidate : array of shape (n,) and (m,)
        Values, any unit.
    weights : pair of (array or None), or Design
        Event weights of either sample; may be negative.
    edges : array, optional
        Inner bin edges; equal-probability bins of the pooled sample by default.
    correction : "shuffle", "miller-madow" or None, default "shuffle"
        What is subtracted from the plug-in value; the p-value is the same for all.
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
    pair = binned_pair(reference, candidate, design, edges)
    drawn, halves = pair.evaluated(js_from_probabilities, n_permutations, random)
    if correction == "shuffle":
        return js_estimate(drawn, halves, pair.p, pair.q, design)
    if correction not in ("miller-madow", None):
        raise ValueError(
            f'correction must be "shuffle", "miller-madow" or None, not {correction!r}'
        )
    bias = 0.0 if correction is None else _miller_madow(pair)
    return estimate_of_square(
        drawn,
        halves,
        design,
        js_std_error(pair.p, pair.q, *design.n_effective),
        value=float(drawn[0]) - bias,
        is_unbiased=correction is not None,
        note=f"{len(pair.p)} bins",
    )


def _miller_madow(pair: BinnedPair) -> float:
    """Bias of the plug-in JS divergence to first order, in bits."""
    n_p, n_q = pair.design.n_effective
    k_p, k_q, k_m = (np.count_nonzero(x) - 1 for x in (pair.p, pair.q, pair.p + pair.q))
    return float(k_p / (4 * n_p) + k_q / (4 * n_q) - k_m / (2 * (n_p + n_q))) / math.log(2)


def kl_divergence(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    weights: Pair | Design = (None, None),
    edges: np.ndarray | None = None,
    n_permutations: int = 999,
    rng: Rng,
) -> Estimate:
    r"""KL divergence of the candidate from the reference, KL(reference || candidate), in bits.

    .. math:: {\rm KL} = \sum_k p_k \log_2\frac{p_k}{q_k + 1/(2m)} - \frac{K_p - 1}{2n\ln 2}

    with the law p of the reference in :math:`K_p` occupied bins and q of the candidate: what an
    event of the reference says, on average, against the candidate. The other direction is that of
    swapped samples. Events of the candidate where the reference has none cost nothing.

    Half an event is added to every bin of the candidate. That takes the first-order bias off the
    mean of :math:`\log q` (E ln(k + 1/2) = ln of the Poisson mean, up to its inverse square), as
    the last term (Miller and Madow) takes that of the entropy of p: equal laws scatter around 0.
    And a bin that the candidate never fills is counted as if it held half an event. With the
    plug-in formula the divergence would be infinite there; so where such bins hold much of the
    reference, read the value as a lower bound, which grows with ln m. The note counts them.

    Parameters
    ----------
    reference, candidate : array of shape (n,) and (m,)
        Values, any unit.
    weights : pair of (array or None), or Design
        Event weights of either sample; may be negative. n and m are effective sizes then.
    edges : array, optional
        Inner bin edges; equal-probability bins of the pooled sample by default.
    n_permutations : int, default 999
        Draws of the null.
    rng : int or torch.Generator
        Source of the draws.

    Returns
    -------
    Estimate
        In bits (nats times 1.4427); no upper bound. A shift of a Gaussian by delta sigma has
        delta^2/2 nats.

    Examples
    --------
    >>> x, y = np.random.default_rng(0).random((2, 10_000))
    >>> found = kl_divergence(x, y**2, rng=0)  # of the density 1 / (2 sqrt(y)): 1 - 1/ln 4 = 0.279
    >>> abs(found.value - 0.279) < 2 * found.std_error, found.note
    (True, '79 bins')
    """
    random = np.random.default_rng(as_seed(rng))
    design = as_design(weights, len(reference), len(candidate))
    pair = binned_pair(reference, candidate, design, edges)
    n_p, n_q = design.n_effective
    drawn, halves = pair.evaluated(
        lambda p, q: _kl_from_probabilities(p, q, n_p, n_q), n_permutations, random
    )
    p = np.maximum(pair.p, 0)
    q = np.maximum(pair.q, 0) + 0.5 / n_q
    log_ratio = np.log2(np.where(p > 0, p, q) / q)
    error = design.std_error(pair.per_event(log_ratio, p / q / math.log(2)))
    empty = (pair.q <= 0) & (p > 0)
    note = f"; {empty.sum()} hold {p[empty].sum():.2g} of the reference and no candidate event"
    return estimate_of_square(
        drawn,
        halves,
        design,
        error,
        is_unbiased=True,
        note=f"{len(p)} bins" + (note if empty.any() else ""),
    )


def _kl_from_probabilities(p: np.ndarray, q: np.ndarray, n_p: float, n_q: float) -> np.ndarray:
    """KL in bits without its first-order bias; see :func:`kl_divergence`."""
    from scipy.special import rel_entr

    p, q = np.maximum(p, 0), np.maximum(q, 0) + 0.5 / n_q
    occupied = np.count_nonzero(p, axis=-1)
    return np.asarray(rel_entr(p, q).sum(axis=-1) - (occupied - 1) / (2 * n_p)) / math.log(2)


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

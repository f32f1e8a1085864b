"""From a statistic of D and its null draws to an Estimate: error, floor and p-value."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from physgen.estimates import Estimate
from physgen.metrics.resampling import Design, p_values

__all__ = ["Statistic", "drawn_and_halves", "estimate_of_distance", "estimate_of_square"]

Statistic = Callable[[np.ndarray], np.ndarray]
"""Of rows of D, shape (n_rows, n + m): one number per row, large where the laws differ."""

_HALVES = 100


def drawn_and_halves(
    statistic: Statistic, design: Design, n_draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate a statistic under the null, and between halves of the reference.

    Returns
    -------
    drawn : array of shape (1 + n_draws,)
        Observed first, then the draws.
    halves : array of shape (100,)
        Values between random halves of the reference.
    """
    drawn = np.concatenate([statistic(rows) for rows in design.draws(n_draws, rng)])
    rest = ((0, 0), (0, len(design.b)))  # D between halves is zero at the candidate
    halves = [statistic(np.pad(rows, rest)) for rows in design.halves(_HALVES, rng)]
    return drawn, np.concatenate(halves)


def estimate_of_distance(
    drawn: np.ndarray, halves: np.ndarray, design: Design, std_error: float
) -> Estimate:
    """Estimate of a statistic that grows like D: W1, KS."""
    return Estimate(
        value=float(drawn[0]),
        std_error=std_error,
        floor=float(np.quantile(halves, 0.95)) * math.sqrt(design.half_scale),
        p_value=float(p_values(drawn)),
    )


def estimate_of_square(
    drawn: np.ndarray,
    halves: np.ndarray,
    design: Design,
    delta_error: float,
    *,
    value: float | None = None,
    is_unbiased: bool = False,
    extra_noise: tuple[float, float] = (0.0, 0.0),
    note: str = "",
) -> Estimate:
    r"""Estimate of a statistic that near D = 0 grows like its square: most divergences.

    Its error has two parts, the noise of the null and the cross term of signal and noise, which
    the delta method gives. At D = 0 the delta method has a noise of its own: for
    :math:`\sum\lambda_k z_k^2` with normal z its variance is :math:`4\sum\lambda_k^2` on average,
    twice that of the null, and this is taken off.

    Parameters
    ----------
    drawn, halves : array of shape (1 + n_draws,) and (n_halves,)
        From :func:`drawn_and_halves`.
    design : Design
        Of the samples.
    delta_error : float
        Standard error by the delta method.
    value : float, optional
        Value, if it is not the observed statistic.
    is_unbiased : bool, default False
        Whether equal laws give 0 on average; then chance is taken off the floor as well.
    extra_noise : pair of float, default (0, 0)
        Variance that batches add, in units of that of the cross term and that of the null.
    note : str, default ""
        Note of the estimate.
    """
    null = float(drawn[1:].var())
    signal = max(delta_error**2 - 2 * null, 0.0)
    scatter = halves * design.half_scale
    if is_unbiased:
        scatter = scatter - scatter.mean()
    floor = float(np.quantile(scatter, 0.95))
    # batches widen the law of the value about its mean
    floor += (math.sqrt(1 + extra_noise[1]) - 1) * max(floor - float(scatter.mean()), 0.0)
    return Estimate(
        value=float(drawn[0]) if value is None else value,
        std_error=math.sqrt(signal * (1 + extra_noise[0]) + null * (1 + extra_noise[1])),
        floor=floor,
        p_value=float(p_values(drawn)),
        note=note,
    )

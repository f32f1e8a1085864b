r"""Functions of weighted means of series, with errors: what every average here is made of.

A weighted mean :math:`\bar A = \sum w A / \sum w` fluctuates to first order like the plain mean of
:math:`\bar A + w (A - \bar A) / \bar w`. Series are replaced by that, and weights need no other
care: its mean is :math:`\bar A`, its variance the one of the weighted mean, and its
autocorrelation that of events and weights together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from physgen.mcmc import Measurement, jackknife, measure
from physgen.metrics.resampling import effective_size, normalize_weights

__all__ = ["Curve", "estimate", "estimate_by_jackknife", "estimate_columns"]


class Curve(NamedTuple):
    """Averages with standard errors, along an axis.

    Attributes
    ----------
    x : array of shape (n,)
        Inverse temperature, distance or wave number.
    value, std_error : array of shape (n,)
        Average and its standard error (one sigma) at each x. Neighbors come from the same events
        where x is a distance or wave number, so they are correlated.

    Examples
    --------
    >>> r, value, std_error = Curve(np.arange(2), np.array([1.0, 0.7]), np.array([0.0, 0.1]))
    """

    x: np.ndarray
    value: np.ndarray
    std_error: np.ndarray

    def pulls(self, exact: ArrayLike) -> np.ndarray:
        """Deviations from exact values in standard errors; NaN where there is no spread."""
        with np.errstate(divide="ignore", invalid="ignore"):
            pulls = (self.value - np.asarray(exact, dtype=np.float64)) / self.std_error
        return np.where(self.std_error > 0, pulls, np.nan)


def estimate(
    series: Sequence[ArrayLike],
    function: Callable[..., float],
    *,
    weights: ArrayLike | None,
    independent: bool,
) -> Measurement:
    """Function of as many means as there are series, by the Gamma method (`measure`)."""
    columns, share = _weighted(series, weights, independent)
    if independent:
        found = measure(columns, function, window=_no_lags, min_length=0)
    else:
        found = measure(columns, function)
    return dataclasses.replace(found, n_effective=share * found.n_effective)


def estimate_by_jackknife(
    series: Sequence[ArrayLike],
    function: Callable[..., float],
    *,
    weights: ArrayLike | None,
    independent: bool,
) -> Measurement:
    """Function of as many means as there are series, free of the bias of order 1/n."""
    columns, share = _weighted(series, weights, independent)
    if independent:
        found = jackknife(columns, function, bin_size=1, window=_no_lags)
    else:
        found = jackknife(columns, function)
    return dataclasses.replace(found, n_effective=share * found.n_effective)


def estimate_columns(
    x: np.ndarray, values: np.ndarray, *, weights: ArrayLike | None, independent: bool
) -> Curve:
    """Mean of every column of values of shape (n_events, n_columns)."""
    means = [
        estimate((column,), lambda mean: mean, weights=weights, independent=independent)
        for column in values.T
    ]
    return Curve(x, np.array([m.value for m in means]), np.array([m.std_error for m in means]))


def _weighted(
    series: Sequence[ArrayLike], weights: ArrayLike | None, independent: bool
) -> tuple[tuple[np.ndarray, ...], float]:
    """Series whose plain means are the weighted ones, and the effective share of the events."""
    columns = tuple(np.asarray(s, dtype=np.float64) for s in series)
    share = 1.0
    if weights is not None:
        w = np.asarray(weights, dtype=np.float64)
        if w.shape != columns[0].shape:
            raise ValueError(
                f"weights must have the shape of the series, {columns[0].shape}, got {w.shape}"
            )
        w = normalize_weights(w.reshape(-1), w.size).reshape(w.shape)
        columns = tuple(_with_weights(column, w) for column in columns)
        share = effective_size(w) / w.size
    if independent:
        columns = tuple(column.reshape(-1) for column in columns)
    return columns, share


def _with_weights(column: np.ndarray, w: np.ndarray) -> np.ndarray:
    mean = (w * column).sum()
    return mean + w.size * w * (column - mean)


def _no_lags(tau: np.ndarray, n_samples: int) -> int:  # noqa: ARG001
    """Window of independent events: no correlation is summed, and tau is 1/2."""
    return 0

r"""Measurements: means of chains and functions of means, with errors that know the chain.

``measure`` propagates errors linearly (the Gamma method), ``jackknife`` by leaving out bins of a
chain. They agree where both are right; the jackknife also removes the leading bias of a function
of means. For the Ising model, with the energy E of N spins and the magnetization m per spin,

.. math:: c = \beta^2 (\langle E^2\rangle - \langle E\rangle^2)/N, \qquad
          U_4 = 1 - \langle m^4\rangle / (3 \langle m^2\rangle^2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from physgen.mcmc.diagnostics import ChainTooShortError, as_series, spread_and_time
from physgen.mcmc.windows import SOKAL, Window

__all__ = ["Measurement", "jackknife", "measure"]

# their scatter is then known to 13 %
_MANY_CHAINS = 32
_MIN_BINS = 20  # the error is then itself known to 1 / sqrt(2 * 19) = 16 %


@dataclass(frozen=True)
class Measurement:
    r"""A number measured on a chain.

    Parameters
    ----------
    value : float
        Mean, or function of means.
    std_error : float
        Standard error of ``value`` (one sigma), autocorrelation included.
    tau : float, default 0.5
        Integrated autocorrelation time in steps; 1/2 for independent measurements.
    n_effective : float, default nan
        Number of independent measurements worth as much, :math:`N/(2\tau)`.

    Examples
    --------
    >>> energy = Measurement(-1.43359, 0.00082, tau=4.24)
    >>> print(energy)
    -1.4336 ± 0.0008 (tau 4.2)
    >>> round(energy.pull(-1.4341), 2)
    0.62
    """

    value: float
    std_error: float
    tau: float = 0.5
    n_effective: float = math.nan

    def __str__(self) -> str:
        if self.std_error == 0:
            return f"{self.value:.6g} ± 0 (no spread)"
        digits = _decimals(self.std_error)
        return f"{self.value:.{digits}f} ± {self.std_error:.{digits}f} (tau {self.tau:.1f})"

    def pull(self, exact: float) -> float:
        """Deviation from the exact value in standard errors; standard normal if all is right.

        Without spread it is 0 for the exact value (up to rounding) and infinite for any other.
        """
        if self.std_error > 0:
            return (self.value - exact) / self.std_error
        if math.isclose(self.value, exact, rel_tol=1e-12, abs_tol=1e-300):
            return 0.0
        return math.copysign(math.inf, self.value - exact)


def measure(
    series: ArrayLike | Sequence[ArrayLike],
    function: Callable[..., float] | None = None,
    *,
    window: Window = SOKAL,
    min_length: float = 50.0,
) -> Measurement:
    r"""Measure a mean, or a function of several means, by the Gamma method.

    .. math:: F = f(\bar A, \bar B, \ldots), \qquad \sigma_F^2 = \frac{2\tau_F}{N}
              \mathrm{var}\Big(\sum_\alpha \frac{\partial f}{\partial A_\alpha} A_\alpha\Big)

    with :math:`\tau_F` of that sum: one series, whose autocorrelation is that of F. Derivatives
    are central differences over the standard error of each mean, exact for quadratic functions.
    F keeps its bias of order :math:`\tau/N`, which is below its error; `jackknife` removes it.

    From 32 chains on, the scatter of their own means is a second estimate of the error. It knows
    what a window cuts off, slow modes of small weight, so the larger of the two counts, in
    :math:`\tau_F` as well.

    Parameters
    ----------
    series : array of shape (n_steps, n_chains) or (n_steps,), or a tuple or list of them
        Measurements, any unit, after burn-in. Several series are of the same chains.
    function : callable, optional
        Function of as many means as there are series; by default the mean of one series.
    window : Window, default Sokal(6.0)
        Where to cut the sum over the autocorrelation function.
    min_length : float, default 50.0
        Length of all chains together that is asked for, in units of tau; 0 for any.

    Returns
    -------
    Measurement
        Value, error, tau and effective number of measurements. A series without spread has
        error 0 and tau 1/2.

    Raises
    ------
    ChainTooShortError
        If the chains are too short to know their tau; see `integrated_autocorrelation_time`.
    ValueError
        If series have different shapes, values that are NaN or infinite, fewer than 8 steps, or
        if the function is not finite at the means.

    References
    ----------
    Wolff, Computer Physics Communications 156 (2004) 143, hep-lat/0306017, section 3.

    Examples
    --------
    >>> energy = np.random.default_rng(1).normal(-2, 3, size=(5000, 4))
    >>> print(measure(energy))
    -2.034 ± 0.021 (tau 0.5)
    >>> print(measure((energy, energy**2), lambda e, e2: e2 - e**2))
    8.89 ± 0.09 (tau 0.5)
    """
    columns = _columns(series)
    if function is None:
        if len(columns) > 1:
            raise ValueError(f"{len(columns)} series need a function of {len(columns)} means")
        value, linear = float(columns[0].mean()), columns[0]
    else:
        value, linear = _linearized(function, columns)
    variance, found = spread_and_time(linear, window, min_length)
    tau = max(found.value, _tau_between_chains(linear, variance))
    n_effective = linear.size / (2 * tau)
    return Measurement(value, math.sqrt(variance / n_effective), tau, n_effective)


def jackknife(
    series: ArrayLike | Sequence[ArrayLike],
    function: Callable[..., float],
    *,
    bin_size: int | None = None,
    window: Window = SOKAL,
) -> Measurement:
    r"""Measure a function of several means by leaving out one bin at a time.

    .. math:: F = n f - \sum_j \Big(1 - \frac1{h_j}\Big) f_{(j)}, \qquad
              \sigma_F^2 = \frac1n \sum_j \frac{(h_j f - (h_j-1) f_{(j)} - F)^2}{h_j - 1}

    over n bins, with :math:`f_{(j)}` from all measurements but those of bin j, a fraction
    :math:`1/h_j` of all; for equal bins, h = n, this is the familiar jackknife. F is free of the
    bias of order 1/N. Bins never reach over two chains.

    Parameters
    ----------
    series : array of shape (n_steps, n_chains) or (n_steps,), or a tuple or list of them
        Measurements, any unit, after burn-in. Several series are of the same chains.
    function : callable
        Function of as many means as there are series; called once per bin.
    bin_size : int, optional
        Steps per bin, or a few more where they do not divide the chain. What neighboring bins of
        b steps share makes the error too small by the fraction tau/(2b); their number makes it
        noisy by sqrt(b/(2N)). The default weighs both, :math:`b = (\tau^2 N)^{1/3}`, but takes
        at least 10 tau (5 %), and at most a whole chain, since chains are independent.
    window : Window, default Sokal(6.0)
        Where to cut the sum over the autocorrelation function, for tau.

    Returns
    -------
    Measurement
        Value, error, and tau and effective number of measurements as `measure` finds them.

    Raises
    ------
    ChainTooShortError
        If there are fewer than 20 bins, or without ``bin_size`` also if the chains are too
        short to know their tau. The exception carries the estimate as ``.tau``.
    ValueError
        As for `measure`, or if ``bin_size`` is not between 1 and the number of steps.

    References
    ----------
    Efron, *The jackknife, the bootstrap and other resampling plans* (1982), chapters 2 and 3;
    Busing, Meijer and van der Leeden, Statistics and Computing 9 (1999) 3, for unequal bins.

    Examples
    --------
    >>> energy = np.random.default_rng(1).normal(-2, 3, size=(5000, 4))
    >>> print(jackknife((energy, energy**2), lambda e, e2: e2 - e**2))
    8.89 ± 0.09 (tau 0.5)
    """
    columns = _columns(series)
    whole, linear = _linearized(function, columns)
    _, tau = spread_and_time(linear, window, 50.0 if bin_size is None else 0.0)
    n_steps, n_chains = linear.shape
    size = _bin_size(tau.value, n_steps, n_chains) if bin_size is None else bin_size
    starts = _bin_starts(size, n_steps)
    if len(starts) * n_chains < _MIN_BINS:
        raise _too_few_bins(len(starts) * n_chains, size, linear.shape, tau.value)
    left_out, h = _left_out(function, columns, starts)
    value = float(whole - ((1 - 1 / h) * (left_out - whole)).sum())
    deviations = h * whole - (h - 1) * left_out - value
    return Measurement(
        value=value,
        std_error=math.sqrt((deviations**2 / (h - 1)).mean()),
        tau=tau.value,
        n_effective=linear.size / (2 * tau.value),
    )


def _tau_between_chains(linear: np.ndarray, variance: float) -> float:
    """The tau that explains how far the means of the chains are apart; 0 of few chains."""
    n_steps, n_chains = linear.shape
    if n_chains < _MANY_CHAINS or variance == 0:
        return 0.0
    return float(n_steps * linear.mean(axis=0).var(ddof=1) / (2 * variance))


def _columns(series: ArrayLike | Sequence[ArrayLike]) -> list[np.ndarray]:
    """Each series of shape (n_steps, n_chains); a tuple or list of arrays holds several."""
    if isinstance(series, tuple | list) and any(np.ndim(x) > 0 for x in series):
        columns = [as_series(x) for x in series]
    else:
        columns = [as_series(cast(ArrayLike, series))]
    shapes = [x.shape for x in columns]
    if len(set(shapes)) > 1:
        raise ValueError(f"all series must be of the same steps and chains, got shapes {shapes}")
    return columns


def _linearized(
    function: Callable[..., float], columns: list[np.ndarray]
) -> tuple[float, np.ndarray]:
    """The function at the means, and the series that fluctuates as it does to first order."""
    means = [float(x.mean()) for x in columns]
    steps = [float(x.std()) / math.sqrt(x.size) for x in columns]
    value = float(function(*means))
    linear = np.zeros_like(columns[0])
    for i, (x, step) in enumerate(zip(columns, steps, strict=True)):
        if step > 0:
            linear += _slope(function, means, i, step) * (x - means[i])
    if not (math.isfinite(value) and np.isfinite(linear).all()):
        raise ValueError(f"the function is {value} at the means {means} and not smooth there")
    return value, linear


def _slope(function: Callable[..., float], means: list[float], i: int, step: float) -> float:
    above, below = ([*means[:i], means[i] + s, *means[i + 1 :]] for s in (step, -step))
    return (float(function(*above)) - float(function(*below))) / (2 * step)


def _bin_size(tau: float, n_steps: int, n_chains: int) -> int:
    least_error = (tau**2 * n_steps * n_chains) ** (1 / 3)
    return min(n_steps, math.ceil(max(10 * tau, least_error)))


def _bin_starts(size: int, n_steps: int) -> np.ndarray:
    if not 1 <= size <= n_steps:
        raise ValueError(f"bin_size must be between 1 and the {n_steps} steps, got {size}")
    n_bins = n_steps // size
    return np.arange(n_bins) * n_steps // n_bins


def _left_out(
    function: Callable[..., float], columns: list[np.ndarray], starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The function without each bin, and all measurements over those of the bin: (n_bins,)."""
    n_steps, n_chains = columns[0].shape
    sums = np.stack([np.add.reduceat(x, starts, axis=0) for x in columns])
    counts = np.diff(starts, append=n_steps)[:, None]
    means = (sums.sum(axis=(1, 2), keepdims=True) - sums) / (columns[0].size - counts)
    values = [function(*row) for row in means.reshape(len(columns), -1).T.tolist()]
    return np.array(values, dtype=float), np.repeat(columns[0].size / counts[:, 0], n_chains)


def _too_few_bins(
    n_bins: int, size: int, shape: tuple[int, ...], tau: float
) -> ChainTooShortError:
    n_steps, n_chains = shape
    needed = size * math.ceil(_MIN_BINS / n_chains)
    return ChainTooShortError(
        f"{n_chains} x {n_steps} (chains x steps) make {n_bins} bins of {size} steps and "
        f"{_MIN_BINS} are needed; run {needed} steps per chain or more (tau is about {tau:.3g})",
        tau,
    )


def _decimals(std_error: float) -> int:
    """Decimals for two digits of an error below 3.55, else one: the rule of the PDG."""
    if not math.isfinite(std_error):
        return 3
    exponent = math.floor(math.log10(std_error))
    two = std_error / 10.0**exponent < 3.55
    return min(15, max(0, -exponent + two))

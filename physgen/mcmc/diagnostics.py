r"""Autocorrelation: how many independent measurements a chain is worth.

A chain of :math:`N` correlated measurements knows its mean as well as :math:`N/(2\tau)`
independent ones. Throughout, :math:`\tau = \tfrac12 + \sum_{t\ge1}\rho(t)` (Madras and Sokal;
also pyerrors), which is 1/2 for independent measurements; emcee reports twice as much.

Series have shape (n_steps, n_chains), or (n_steps,) for one chain, after burn-in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from physgen.mcmc.windows import SOKAL, Window

__all__ = [
    "AutocorrelationTime",
    "ChainTooShortError",
    "autocorrelation",
    "effective_sample_size",
    "integrated_autocorrelation_time",
    "mcse",
]

_BLOCK = 4_000_000  # numbers per block of transforms: 32 MB, whatever the number of chains
_MIN_STEPS = 8


class ChainTooShortError(ValueError):
    """A chain too short to know its own autocorrelation time.

    Attributes
    ----------
    tau : float
        The estimate all the same, in steps; as a rule too small.
    """

    def __init__(self, message: str, tau: float = math.nan) -> None:
        super().__init__(message)
        self.tau = tau


@dataclass(frozen=True)
class AutocorrelationTime:
    """Integrated autocorrelation time in steps, with its error and the window summed over.

    Examples
    --------
    >>> print(AutocorrelationTime(9.5312, 0.1234, 58))
    9.53 ± 0.12 (window 58)
    """

    value: float
    std_error: float
    window: int

    def __str__(self) -> str:
        return f"{self.value:.2f} ± {self.std_error:.2f} (window {self.window})"


def autocorrelation(series: ArrayLike) -> np.ndarray:
    r"""Normalized autocorrelation function, pooled over chains.

    .. math:: \rho(t) = \frac{\Gamma(t)}{\Gamma(0)}, \quad \Gamma(t) =
              \frac{\sum_c\sum_{i=1}^{n-t}(x_{ic} - \bar x)(x_{i+t,c} - \bar x)}{C\,(n-t)}

    with one mean over all C chains of n steps. Subtracting it biases every :math:`\Gamma(t)` by
    :math:`-2\tau\Gamma(0)/(Cn)`, so several chains help; and chains that disagree show as a
    function that does not decay. The divisor n - t adds no bias of its own (a divisor n would
    pull long lags towards zero), but leaves lags near n to noise: sum up to a window only.

    Parameters
    ----------
    series : array of shape (n_steps, n_chains) or (n_steps,)
        Measurements, any unit, after burn-in.

    Returns
    -------
    array of shape (n_steps,)
        The function from lag 0, where it is 1. A constant series gives 0 at all other lags.

    Raises
    ------
    ValueError
        If there are fewer than 8 steps, or values that are NaN or infinite.

    References
    ----------
    Wolff, Computer Physics Communications 156 (2004) 143, hep-lat/0306017, section 3.

    Examples
    --------
    >>> autocorrelation([1, -1] * 4)[:4]
    array([ 1., -1.,  1., -1.])
    """
    return _normalized(_covariances(as_series(series)))


def integrated_autocorrelation_time(
    series: ArrayLike, window: Window = SOKAL, *, min_length: float = 50.0
) -> AutocorrelationTime:
    r"""Integrated autocorrelation time :math:`\tau`, in steps.

    .. math:: \tau = \tfrac12 + \sum_{t=1}^{W}\rho(t), \qquad
              \sigma_\tau = 2\tau\sqrt{(W + \tfrac12 - \tau)/N}

    for N measurements over all chains; :math:`\tau` is multiplied by 1 + (2W+1)/N against the
    bias of the subtracted mean. It is never reported below 1/2: for anticorrelated chains errors
    are too large rather than too small. A constant series gives 1/2 with error 0; that no move
    was ever accepted is not seen here but in the acceptance.

    Parameters
    ----------
    series : array of shape (n_steps, n_chains) or (n_steps,)
        Measurements, any unit, after burn-in.
    window : Window, default Sokal(6.0)
        Where to cut the sum: `Sokal` or `GammaWindow`.
    min_length : float, default 50.0
        Length of all chains together that is asked for, in units of tau. 0 accepts whatever
        comes out, also from chains too short for the window.

    Returns
    -------
    AutocorrelationTime
        The value, at least 1/2, its standard error and the window.

    Raises
    ------
    ChainTooShortError
        If the chains together are shorter than ``min_length`` tau, or one chain is shorter than
        two windows. The exception carries the estimate as ``.tau``.
    ValueError
        If there are fewer than 8 steps, or values that are NaN or infinite.

    References
    ----------
    Wolff, hep-lat/0306017, eqs. (42), (49); Madras and Sokal, J. Stat. Phys. 50 (1988) 109.

    Examples
    --------
    >>> independent = np.random.default_rng(1).normal(size=(1000, 4))
    >>> tau = integrated_autocorrelation_time(independent)
    >>> round(tau.value, 1), tau.window
    (0.5, 3)
    """
    return spread_and_time(as_series(series), window, min_length)[1]


def effective_sample_size(
    series: ArrayLike, window: Window = SOKAL, *, min_length: float = 50.0
) -> float:
    r"""Number of independent measurements worth as much, :math:`N/(2\tau)`.

    Parameters and errors are those of `integrated_autocorrelation_time`. For the size that
    arviz and Stan report, see `bulk_ess`.

    Examples
    --------
    >>> effective_sample_size(np.ones(100))
    100.0
    """
    x = as_series(series)
    return x.size / (2 * spread_and_time(x, window, min_length)[1].value)


def mcse(series: ArrayLike, window: Window = SOKAL, *, min_length: float = 50.0) -> float:
    r"""Monte Carlo standard error of the mean, :math:`\sqrt{2\tau\,\mathrm{var}(x)/N}`.

    In the unit of the series. Parameters and errors are those of
    `integrated_autocorrelation_time`.

    Examples
    --------
    >>> round(mcse(np.random.default_rng(1).normal(size=10_000)), 3)
    0.01
    """
    x = as_series(series)
    variance, tau = spread_and_time(x, window, min_length)
    return math.sqrt(2 * tau.value * variance / x.size)


def as_series(series: ArrayLike) -> np.ndarray:
    """Return measurements as float64 of shape (n_steps, n_chains), or say what is wrong."""
    x = np.asarray(series, dtype=np.float64)
    if x.ndim not in (1, 2):
        raise ValueError(f"a series has shape (n_steps,) or (n_steps, n_chains), got {x.shape}")
    x = x[:, None] if x.ndim == 1 else x
    if len(x) < _MIN_STEPS or not x.size:
        raise ValueError(
            f"a series needs {_MIN_STEPS} steps or more, got {x.shape[0]} of {x.shape[1]} chains; "
            "the first axis is the step, and independent values go in as shape (n,)"
        )
    bad = ~np.isfinite(x)
    if bad.any():
        step, chain = np.argwhere(bad)[0]
        raise ValueError(
            f"{bad.sum()} of {x.size} values of the series are NaN or inf, "
            f"the first at step {step} of chain {chain}"
        )
    return x


def spread_and_time(
    x: np.ndarray, window: Window, min_length: float
) -> tuple[float, AutocorrelationTime]:
    """Variance of the measurements, and their autocorrelation time."""
    covariances = _covariances(x)
    if covariances[0] == 0:
        return 0.0, AutocorrelationTime(0.5, 0.0, 0)
    n, tau_of_w = x.size, np.cumsum(_normalized(covariances)[: len(x) // 2]) - 0.5
    chosen = window(tau_of_w, n)
    w = len(tau_of_w) - 1 if chosen is None else chosen
    raw = max(float(tau_of_w[w]), 0.5)
    # eq. (49) of hep-lat/0306017; pyerrors divides likewise, so that 2 tau var / N is corrected
    tau = raw * (1 + (2 * w + 1) / n) / (1 + 1 / n)
    if min_length and (chosen is None or n < min_length * tau):
        raise _too_short(x.shape, tau, w if chosen is not None else len(x), min_length)
    error = 2 * raw * math.sqrt(abs(w + 0.5 - raw) / n)
    return covariances[0] * (1 + 1 / n), AutocorrelationTime(tau, error, w)


def lagged_products(x: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Sums of (x_i - center)(x_{i+t} - center) over steps and chains, of shape (n_steps,)."""
    from scipy.fft import irfft, next_fast_len, rfft

    n_steps, n_chains = x.shape
    n_padded = next_fast_len(2 * n_steps, real=True)
    power = np.zeros(n_padded // 2 + 1)
    n_block = max(1, _BLOCK // n_padded)
    for start in range(0, n_chains, n_block):
        block = slice(start, start + n_block)
        transform = rfft((x[:, block] - center[block]).T, n_padded, axis=1)
        power += (transform.real**2 + transform.imag**2).sum(axis=0)
    return irfft(power, n_padded)[:n_steps]


def _covariances(x: np.ndarray) -> np.ndarray:
    """Gamma(t) of shape (n_steps,); all zero if the spread is nothing but rounding."""
    n_steps, n_chains = x.shape
    mean = x.mean()
    n_products = n_chains * (n_steps - np.arange(n_steps))
    gamma = lagged_products(x, np.full(n_chains, mean)) / n_products
    rounding = 8 * np.finfo(float).eps * abs(mean)
    return gamma if gamma[0] > rounding**2 else np.zeros(n_steps)


def _normalized(covariances: np.ndarray) -> np.ndarray:
    if covariances[0] == 0:
        return (np.arange(len(covariances)) == 0).astype(float)
    return covariances / covariances[0]


def _too_short(
    shape: tuple[int, ...], tau: float, window: int, min_length: float
) -> ChainTooShortError:
    n_steps, n_chains = shape
    needed = math.ceil(max(min_length * tau / n_chains, 2 * window + 2))
    return ChainTooShortError(
        f"too short to know the autocorrelation time: it is about {tau:.3g} steps or more, and "
        f"{n_chains} x {n_steps} (chains x steps) were given; run {needed} steps per chain or "
        "more, or take the estimate as it is with min_length=0 (jackknife: give a bin_size)",
        tau,
    )

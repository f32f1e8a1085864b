"""The infinite lattice: Onsager's energy, Yang's magnetization, the correlation length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from physgen.simulators.ising_exact.arguments import Real, as_beta, as_real

__all__ = ["CRITICAL_BETA", "CRITICAL_TEMPERATURE", "ExactBulk", "bulk", "correlation_length"]

Array = NDArray[np.float64]

CRITICAL_BETA = float(np.log1p(np.sqrt(2)) / 2)
"""Critical inverse temperature ln(1 + sqrt 2) / 2 of the square lattice, in 1/J."""

CRITICAL_TEMPERATURE = 1 / CRITICAL_BETA
"""Critical temperature 2 / ln(1 + sqrt 2) of the square lattice, in J/k_B."""

# the AGM doubles its digits in each step; from 1e-8, the least it can start at, it needs eight
_AGM_STEPS = 9


@dataclass(frozen=True)
class ExactBulk:
    """Exact thermal averages of the infinite square lattice; what `bulk` returns.

    Parameters
    ----------
    beta : float or array
        Inverse temperature in 1/J.
    energy_per_site : float or array
        Mean energy per site, in J.
    specific_heat_per_site : float or array
        Specific heat per site, in units of k_B; infinite at the critical temperature.
    magnetization : float or array
        Spontaneous magnetization per spin, in [0, 1]; 0 above the critical temperature.
    """

    beta: Real
    energy_per_site: Real
    specific_heat_per_site: Real
    magnetization: Real


def bulk(beta: ArrayLike) -> ExactBulk:
    r"""Energy, specific heat and spontaneous magnetization of the infinite square lattice.

    With :math:`s = \sinh 2K`, :math:`K = \beta J`, the modulus :math:`k = s^2` above and
    :math:`s^{-2}` below the critical temperature, and :math:`\tilde K, \tilde E` the complete
    elliptic integrals :math:`K(k), E(k)` times :math:`2/\pi`,

    .. math::
        e = -\coth 2K\,[1 - (1-s^2)\tilde K], \qquad
        c/K^2 = \{4(\tilde K - \tilde E) + 2(\tilde K - 1)\}/s^2 + 2\tilde K

    above, and

    .. math::
        e = -\coth 2K\,[1 + (1-k)\tilde K], \quad
        c/K^2 = 4(\tilde K - \tilde E) + 2k(\tilde K - 1) + 2k^2\tilde K, \quad
        m = (1 - k^2)^{1/8}

    below. These are Onsager's formulas after Landen's transformation
    :math:`2\sinh2K/\cosh^2 2K = 2\sqrt k/(1+k)`, in which every term of c is positive; the
    differences come from the arithmetic-geometric mean, so that no digits cancel at any beta.

    Parameters
    ----------
    beta : float or array
        Inverse temperature in 1/J, from 0.

    Returns
    -------
    ExactBulk
        Of numbers if ``beta`` is one, else of arrays of its shape.

    Raises
    ------
    ValueError
        If beta is negative, infinite or not a number.

    References
    ----------
    L. Onsager, Phys. Rev. 65, 117 (1944); C. N. Yang, Phys. Rev. 85, 808 (1952).

    Examples
    --------
    >>> half = bulk(0.5)
    >>> round(half.energy_per_site, 8), round(half.specific_heat_per_site, 8)
    (-1.74556458, 0.72487145)
    >>> round(half.magnetization, 8)
    0.91131938
    """
    K = as_beta(beta)
    low = K > CRITICAL_BETA
    r, complement = _modulus(np.where(low, np.exp(-2 * K), np.tanh(K)))
    k = r * r
    integral, excess, gap = _elliptic(k, np.sqrt(complement))
    high_energy = r * (1 - (1 - k) * k * excess)
    low_energy = 1 + (1 - k) * integral
    high_heat = k * (4 * gap + 2 * excess) + 2 * integral
    low_heat = k * k * (4 * gap + 2 * k * excess + 2 * integral)
    energy = 0.0 - np.sqrt(1 + k) * np.where(low, low_energy, high_energy)
    heat = np.where(_is_critical(K), np.inf, K * K * np.where(low, low_heat, high_heat))
    magnetization = np.where(low, complement**0.125, 0.0)
    return ExactBulk(*(as_real(v) for v in (K, energy, heat, magnetization)))


def correlation_length(beta: ArrayLike) -> Real:
    r"""Length over which spins of the infinite lattice are correlated, along a row.

    .. math::
        1/\xi = -\ln\tanh K - 2K \quad (T > T_c), \qquad
        1/\xi = 2\,(2K + \ln\tanh K) \quad (T < T_c)

    It governs :math:`\langle s_0 s_r\rangle - m^2 \sim e^{-r/\xi}`. Below the critical temperature
    two domain walls, not one, decay together: hence the 2.

    Parameters
    ----------
    beta : float or array
        Inverse temperature in 1/J, from 0.

    Returns
    -------
    float or array
        In lattice spacings; infinite at the critical temperature, 0 at beta = 0.

    Raises
    ------
    ValueError
        If beta is negative, infinite or not a number.

    References
    ----------
    B. M. McCoy and T. T. Wu, *The Two-Dimensional Ising Model* (1973).

    Examples
    --------
    >>> correlation_length([0.4, 0.5]).round(4).tolist()
    [5.9624, 2.1924]
    """
    K = as_beta(beta)
    with np.errstate(divide="ignore"):
        rate = 2 * K + np.log(np.tanh(K))
        length = 1 / np.where(_is_critical(K), 0.0, np.where(rate > 0, 2 * rate, -rate))
    return as_real(length)


def _is_critical(K: Array) -> NDArray[np.bool_]:
    return np.abs(K - CRITICAL_BETA) <= np.spacing(CRITICAL_BETA)


def _modulus(v: Array) -> tuple[Array, Array]:
    """Least of sinh 2K and its inverse, r = 2v/(1 - v^2), and 1 - r^4."""
    r = 2 * v / (1 - v * v)
    # 1 - r with its root split off, or the digits near the critical temperature would be lost
    gap = (np.sqrt(2) - 1 - v) * (np.sqrt(2) + 1 + v) / (1 - v * v)
    return r, np.maximum(gap, 0.0) * (1 + r) * (1 + r * r)


def _elliptic(k: Array, complement: Array) -> tuple[Array, Array, Array]:
    r"""(2/pi) times K(k), (K - pi/2)/k^2 and (K - E)/k^2, by the arithmetic-geometric mean.

    .. math:: \tilde K = 1/a_\infty, \quad 1 - a_\infty = \sum_{i\ge1} c_i, \quad
        1 - E/K = \tfrac12 \sum_{i\ge0} 2^i c_i^2, \quad c_0 = k, \; c_{i+1} = c_i^2/(4a_{i+1})

    (Abramowitz and Stegun 17.6), with c over k^2 throughout.
    """
    a, b = (1 + complement) / 2, np.sqrt(complement)
    c = 1 / (4 * a)
    distance, tail = c, 0.5 + (k * c) ** 2
    for i in range(1, _AGM_STEPS):
        a, b = (a + b) / 2, np.sqrt(a * b)
        c = (k * c) ** 2 / (4 * a)
        distance, tail = distance + c, tail + 2**i * (k * c) ** 2
    return 1 / a, distance / a, tail / a

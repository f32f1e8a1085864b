r"""Partition function, energy and specific heat of the Ising model on a torus (Kaufman 1949).

Kaufman's solution, for n momenta along one side and length m along the other, with
:math:`\cosh\gamma_p = \cosh 2K \coth 2K - \cos p`, is

.. math:: Z = \tfrac12 (2\sinh 2K)^{nm/2} \Big[
    \prod_{p\,\text{odd}} 2\cosh\tfrac{m\gamma_p}2 + \prod_{p\,\text{odd}} 2\sinh\tfrac{m\gamma_p}2
    + \prod_{p\,\text{even}} 2\cosh\tfrac{m\gamma_p}2
    + \prod_{p\,\text{even}} 2\sinh\tfrac{m\gamma_p}2 \Big],

:math:`p = \pi(2r+1)/n` (odd) or :math:`2\pi r/n` (even), r = 0 ... n-1, and
:math:`\gamma_0 = 2K + \ln\tanh K`, negative above the critical temperature.

As it stands, this cancels at both ends of the temperature: all but the last digits of the energy
at small K and of the specific heat at large K. Here it is written in the variable of the
expansions, :math:`v = \tanh K` above and :math:`v = e^{-2K}` below the critical temperature
(Kramers and Wannier's duality makes one formula of the two), so that :math:`v \le \sqrt2 - 1`.
With :math:`D_p = 1 - 2v\cos p + v^2`, of which the product over p is known, the larger root
:math:`e^{\gamma_p} v(1-v^2) = D_p(1+q_p)` has a :math:`q_p` of order :math:`v^4` that is a ratio
of positive terms, and

.. math:: Z = \tfrac12 z^{nm} \Big\{
    (1+v^n)^m Q_o \Big[\prod_o (1+\rho_p^m) + \prod_o (1-\rho_p^m)\Big]
    + (1-v^n)^m Q_e \Big[(1+\rho_0^m)\prod_{e\ne0} (1+\rho_p^m)
    \pm (1-\rho_0^m)\prod_{e\ne0} (1-\rho_p^m)\Big] \Big\}

where :math:`Q = \prod_{p\ne0} (1+q_p)^{m/2}`, :math:`\rho_p = e^{-\gamma_p}`,
:math:`\rho_0 = v(1+v)/(1-v)`; above the critical temperature :math:`z = 2\cosh^2 K` and the sign
is -, below it :math:`z = e^{2K}` and the sign is +. The last factor vanishes at the critical
temperature itself, linearly, and nothing else is singular there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from physgen.simulators.ising_exact.arguments import Real, Shape, as_beta, as_real, as_shape
from physgen.simulators.ising_exact.jets import Jet
from physgen.simulators.ising_exact.onsager import CRITICAL_BETA

__all__ = ["ExactTorus", "torus"]


@dataclass(frozen=True)
class ExactTorus:
    """Exact thermal averages of a periodic lattice; what `torus` returns.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols).
    beta : float or array
        Inverse temperature in 1/J.
    ln_z : float or array
        Logarithm of the partition function.
    energy : float or array
        Mean energy of the lattice, in J.
    heat_capacity : float or array
        beta^2 times the variance of the energy, of the whole lattice, in units of k_B.
    """

    shape: tuple[int, int]
    beta: Real
    ln_z: Real
    energy: Real
    heat_capacity: Real

    @property
    def n_spins(self) -> int:
        """Number of sites."""
        return self.shape[0] * self.shape[1]

    @property
    def energy_per_site(self) -> Real:
        """Mean energy per site, in J."""
        return self.energy / self.n_spins

    @property
    def specific_heat_per_site(self) -> Real:
        """Heat capacity per site, in units of k_B."""
        return self.heat_capacity / self.n_spins


def torus(shape: Shape, beta: ArrayLike, *, coupling: float = 1.0) -> ExactTorus:
    r"""Exact ln Z, energy and heat capacity of the Ising model on a torus, in zero field.

    .. math:: E = -\frac{\partial \ln Z}{\partial \beta}, \qquad
        C = \beta^2 \frac{\partial^2 \ln Z}{\partial \beta^2}

    with Kaufman's Z, in a form that keeps all digits (see the module), and its derivatives
    carried analytically.

    Parameters
    ----------
    shape : int or tuple of int
        Side of a square, or (rows, cols); each at least 2.
    beta : float or array
        Inverse temperature in 1/J, from 0.
    coupling : float, default 1.0
        J. A negative one, an antiferromagnet, is the ferromagnet with every second spin turned
        if both sides are even; otherwise it is frustrated, which this formula does not cover.

    Returns
    -------
    ExactTorus
        Of numbers if ``beta`` is one, else of arrays of its shape. Correct to a few units of the
        last digit at every beta, but for the heat capacity of a lattice with a side of 2 or 3,
        where below the critical temperature a relative error of 1e-16 exp(4 beta J) remains.

    Raises
    ------
    ValueError
        If the shape, beta or the coupling is out of range.

    References
    ----------
    B. Kaufman, Phys. Rev. 76, 1232 (1949); the layout is that of A. E. Ferdinand and
    M. E. Fisher, Phys. Rev. 185, 832 (1969).

    Examples
    --------
    >>> exact = torus(32, CRITICAL_BETA)
    >>> round(exact.energy_per_site, 12), round(exact.specific_heat_per_site, 9)
    (-1.433658466146, 1.84676759)
    >>> torus((3, 5), [0.0, 0.5]).energy.round(6).tolist()
    [0.0, -26.060709]
    """
    rows, cols = as_shape(shape)
    betas = as_beta(beta)
    strength = _strength(coupling, (rows, cols))
    ln_z = _ln_z(strength * betas.ravel(), *sorted((rows, cols)))
    energy = 0.0 - strength * ln_z.first  # 0 and not -0 at beta = 0
    # a variance, which rounding could leave at -1e-30 for a frozen lattice
    capacity = np.maximum((strength * betas.ravel()) ** 2 * ln_z.second, 0.0)
    values = (as_real(v.reshape(betas.shape)) for v in (betas, ln_z.value, energy, capacity))
    return ExactTorus((rows, cols), *values)


def _strength(coupling: float, shape: tuple[int, int]) -> float:
    """|J|, if the lattice does not feel the sign of J."""
    if not np.isfinite(coupling):
        raise ValueError(f"the coupling must be a finite number, got {coupling}")
    if coupling < 0 and any(side % 2 for side in shape):
        raise ValueError(
            f"an antiferromagnet (coupling={coupling}) on {shape[0]} x {shape[1]} sites is "
            "frustrated: Kaufman's formula covers it only if both sides are even; use "
            "enumerate_states for a small lattice"
        )
    return abs(float(coupling))


def _ln_z(K: NDArray[np.float64], n: int, m: int) -> Jet:
    """Ln Z and its derivatives by K, of shape (n_betas,)."""
    low = K > CRITICAL_BETA
    v = _expansion_variable(K, low)
    bulk = _ln_ground(K, v, low) * float(n * m)
    odd, odd_plus, odd_minus = _sector(v, np.arange(1, 2 * n, 2), n, m)
    even, even_plus, even_minus = _sector(v, np.arange(2, 2 * n, 2), n, m)
    odd = odd + m * (v**n).log1p()
    even = even + m * (-(v**n)).log1p()
    zero = (v * (1 + v) / (1 - v)) ** m
    sign = np.where(low, 1.0, -1.0)
    terms = odd_plus.exp() + odd_minus.exp()
    # the zero mode is not in the exponent: at the critical temperature 1 - zero vanishes
    modes = (1 + zero) * even_plus.exp() + (1 - zero) * even_minus.exp() * sign
    return bulk + odd + (0.5 * (terms + modes * (even - odd).exp())).log()


def _expansion_variable(K: NDArray[np.float64], low: NDArray[np.bool_]) -> Jet:
    t, x = np.tanh(K), np.exp(-2 * K)
    slope, curvature = 1 - t * t, -2 * t * (1 - t * t)
    return Jet(np.where(low, x, t), np.where(low, -2 * x, slope), np.where(low, 4 * x, curvature))


def _ln_ground(K: NDArray[np.float64], v: Jet, low: NDArray[np.bool_]) -> Jet:
    """Ln z: 2K below the critical temperature, ln(2 cosh^2 K) above it."""
    high = -((-(v * v)).log1p()) + np.log(2)
    return Jet(
        np.where(low, 2 * K, high.value), np.where(low, 2.0, high.first),
        np.where(low, 0.0, high.second),
    )  # fmt: skip


def _sector(v: Jet, k: NDArray[np.int_], n: int, m: int) -> tuple[Jet, Jet, Jet]:
    """Sums over p = pi k/n of (m/2) ln(1+q), ln(1+rho^m) and ln(1-rho^m)."""
    z = np.sin(np.pi * k / (2 * n)) ** 2
    w = v[:, None]
    d = (1 - w) ** 2 + w * (4 * z)
    g = (1 + w * w) * (1 - 2 * w - w * w + w * (4 * z))
    source = w**4 * (32 * z * (1 - z))
    q = source / (d * (g + (g * g + 2 * source).sqrt()))
    decay = (w * (1 - w * w) / (d * (1 + q))) ** m
    return q.log1p().sum() * (m / 2), decay.log1p().sum(), (-decay).log1p().sum()

r"""Exact density of states of the Ising model on a torus (Beale 1996), in integers.

With :math:`x = e^{-2K}` and :math:`u = x^2`, :math:`Z e^{-2NK} = \sum_k g_k u^k` for the levels
:math:`E_k = -2N + 4k`. Kaufman's products (see `physgen.simulators.ising_exact.kaufman`) are
polynomials in x: over the pairs :math:`\pm p` of momenta, with
:math:`B_p = (1+x^2)^2 - 2x(1-x^2)\cos p` and :math:`P = x(1-x^2)`,

.. math:: \big(2\cosh\tfrac{m\gamma_p}2\big)^2 P^m = V_m(B_p, P^2) + 2P^m, \qquad
    \big(2\sinh\tfrac{m\gamma_p}2\big)^2 P^m = V_m(B_p, P^2) - 2P^m

where :math:`V_m` is Lucas's sequence (Chebyshev's :math:`2T_m` in another normalization),
:math:`V_{j+1} = B V_j - P^2 V_{j-1}`. The momenta 0 and pi have no partner, but there the roots
are rational: :math:`1-x,\ x(1+x)` and :math:`1+x,\ x(1-x)`.

Beale expanded the polynomials by computer algebra. Here they are evaluated at roots of unity
modulo primes below :math:`2^{31}`, where also :math:`\cos p` is an integer, transformed back, and
combined by the Chinese remainder theorem until the modulus exceeds :math:`2^N`: exact by
construction, without long arithmetic before the last step.
"""

from __future__ import annotations

from functools import lru_cache
from math import lcm, prod

import numpy as np
from numpy.typing import NDArray

from physgen.simulators.ising_exact.arguments import Shape, as_shape
from physgen.simulators.ising_exact.residues import (
    find_primes,
    inverse_transform,
    multiply,
    powers,
    raised,
    root_of_unity,
)

__all__ = ["density_of_states"]

Residues = NDArray[np.uint64]


def density_of_states(shape: Shape) -> tuple[int, ...]:
    """Number of states of each energy of the Ising model on a torus, exactly.

    Parameters
    ----------
    shape : int or tuple of int
        Side of a square, or (rows, cols); each at least 2, odd or even.

    Returns
    -------
    tuple of int, of length N + 1
        ``g[k]`` states have the energy -2N + 4k, in J, N = rows x cols. They sum to 2^N. Results
        of the last 32 shapes are kept.

    Raises
    ------
    ValueError
        If the shape is out of range, or so large that there are too few primes below 2^31.

    References
    ----------
    P. D. Beale, Phys. Rev. Lett. 76, 78 (1996).

    Examples
    --------
    >>> density_of_states(4)[:9]
    (2, 0, 32, 64, 424, 1728, 6688, 13568, 20524)
    >>> sum(density_of_states((3, 5))) == 2**15
    True
    """
    rows, cols = as_shape(shape)
    return _density(min(rows, cols), max(rows, cols))


@lru_cache(maxsize=32)
def _density(n: int, m: int) -> tuple[int, ...]:
    n_spins = n * m
    # 2^a points in u determine g up to the alias of u^N with 1, and g_0 is known
    n_points = 1 << (n_spins - 1).bit_length()
    order = lcm(2 * n_points, 2 * n)
    primes = find_primes(order, n_spins)
    coefficients = _combine([_coefficients(n, m, n_points, order, p) for p in primes], primes)
    if n_points > n_spins:
        return tuple(coefficients[: n_spins + 1])
    return (2, *coefficients[1:], coefficients[0] - 2)


def _combine(residues: list[Residues], primes: list[int]) -> list[int]:
    """Chinese remainder theorem for each coefficient."""
    modulus = prod(primes)
    total = np.zeros(len(residues[0]), dtype=object)
    for residue, p in zip(residues, primes, strict=True):
        others = modulus // p
        total += residue.astype(object) * (others * pow(others, -1, p))
    return [int(value % modulus) for value in total]


def _coefficients(n: int, m: int, n_points: int, order: int, p: int) -> Residues:
    """Coefficients of the polynomial in u modulo p."""
    root = root_of_unity(order, p)
    x = powers(pow(root, order // (2 * n_points), p), n_points, p)
    values = _partition(x, _cosines(pow(root, order // (2 * n), p), n, p), n, m, p)
    return inverse_transform(values, pow(root, order // n_points, p), p)


def _cosines(zeta: int, n: int, p: int) -> Residues:
    """2 cos(pi k/n) for k = 0 ... n, with zeta the 2n-th root of unity."""
    turn = powers(zeta, 2 * n, p)
    return (turn[: n + 1] + turn[-np.arange(n + 1)]) % p


def _partition(x: Residues, cosines: Residues, n: int, m: int, p: int) -> Residues:
    """Z exp(-2NK) at the points x modulo p."""
    odd, even = (_pairs(x, cosines[k:n:2], m, p) for k in (1, 2))
    zero = _unpaired(1 + p - x, x * (1 + x) % p, m, p)
    pi = _unpaired(1 + x, x * (1 + p - x) % p, m, p)
    even = even * zero % p
    odd, even = (odd * pi % p, even) if n % 2 else (odd, even * pi % p)
    return (odd + even).sum(0) % p * ((p + 1) // 2) % p


def _unpaired(one: Residues, other: Residues, m: int, p: int) -> Residues:
    """2 cosh and 2 sinh of the momentum 0 or pi, from its two roots; shape (2, n_points)."""
    first, second = raised(one, m, p), raised(other, m, p)
    return np.stack([first + second, first + (p - second)]) % p


def _pairs(x: Residues, cosines: Residues, m: int, p: int) -> Residues:
    """Products over pairs of momenta of (2 cosh)^2 and (2 sinh)^2; shape (2, n_points)."""
    square = x * x % p
    root_product = x * (1 + p - square) % p
    b = ((1 + square) ** 2 % p + (p - cosines[:, None]) * root_product) % p
    v = _lucas(b, root_product * root_product % p, m, p)
    shift = 2 * raised(root_product, m, p) % p
    return np.stack([multiply(v + shift, p), multiply(v + (p - shift), p)])


def _lucas(b: Residues, q: Residues, m: int, p: int) -> Residues:
    """V_m(b, q): sum of the m-th powers of the roots of y^2 - b y + q, modulo p."""
    twos = (m & -m).bit_length() - 1
    v, following, power = b, (b * b + 2 * (p - q)) % p, q  # V_j, V_{j+1}, q^j
    for bit in bin(m >> twos)[3:]:
        between = (v * following + b * (p - power)) % p
        if bit == "1":
            power_next = power * q % p
            v, following = between, (following * following + 2 * (p - power_next)) % p
            power = power * power_next % p
        else:
            v, following = (v * v + 2 * (p - power)) % p, between
            power = power * power % p
    for _ in range(twos):
        v, power = (v * v + 2 * (p - power)) % p, power * power % p
    return v

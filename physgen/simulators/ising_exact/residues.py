"""Arithmetic modulo primes below 2^31 on arrays of uint64, in which products do not overflow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["find_primes", "inverse_transform", "multiply", "powers", "raised", "root_of_unity"]

Residues = NDArray[np.uint64]

_LIMIT = 1 << 31


def find_primes(order: int, n_bits: int) -> list[int]:
    """Primes below 2^31 that are 1 modulo ``order``, of a product above 2^n_bits.

    Raises
    ------
    ValueError
        If there are not enough of them.

    Examples
    --------
    >>> find_primes(8, 32)
    [2147483497, 2147483489]
    """
    primes: list[int] = []
    product = 1
    for p in range((_LIMIT - 2) // order * order + 1, 1, -order):
        if product >> n_bits:
            break
        if _is_prime(p):
            primes.append(p)
            product *= p
    if product >> n_bits == 0:
        raise ValueError(
            f"a lattice of {n_bits} sites needs more primes p = 1 mod {order} below 2^31 than "
            "there are; take a smaller one, or a smaller side that is a power of 2"
        )
    return primes


def _is_prime(p: int) -> bool:
    """Miller and Rabin's test, which with these three bases is a proof below 4.7e9."""
    if p in (2, 7, 61):
        return True
    if p < 2 or p % 2 == 0:
        return False
    twos = ((p - 1) & (1 - p)).bit_length() - 1
    for base in (2, 7, 61):
        x = pow(base, (p - 1) >> twos, p)
        if x == 1:
            continue
        if not any(pow(x, 1 << i, p) == p - 1 for i in range(twos)):
            return False
    return True


def root_of_unity(order: int, p: int) -> int:
    """A root of unity modulo p of exactly this order, which must divide p - 1.

    Examples
    --------
    >>> root = root_of_unity(8, 17)
    >>> [pow(root, k, 17) for k in (4, 8)]
    [16, 1]
    """
    factors = _prime_factors(order)
    candidates = (pow(base, (p - 1) // order, p) for base in range(2, p))
    return next(r for r in candidates if all(pow(r, order // q, p) != 1 for q in factors))


def _prime_factors(n: int) -> set[int]:
    factors, q = set(), 2
    while n > 1:
        while n % q == 0:
            factors.add(q)
            n //= q
        q += 1
    return factors


def powers(root: int, n: int, p: int) -> Residues:
    """1, root, root^2, ..., n of them, modulo p.

    Examples
    --------
    >>> powers(3, 5, 7).tolist()
    [1, 3, 2, 6, 4]
    """
    values = np.ones(1, dtype=np.uint64)
    while len(values) < n:
        values = np.concatenate([values, values * pow(root, len(values), p) % p])
    return values[:n]


def raised(x: Residues, exponent: int, p: int) -> Residues:
    """The power of each x modulo p, for a positive exponent.

    Examples
    --------
    >>> raised(np.array([2, 3], dtype=np.uint64), 5, 7).tolist()
    [4, 5]
    """
    x = x % p
    result = x
    for bit in bin(exponent)[3:]:
        result = result * result % p
        if bit == "1":
            result = result * x % p
    return result


def multiply(factors: Residues, p: int) -> Residues:
    """Product over the first axis modulo p; 1 if that is empty.

    Examples
    --------
    >>> multiply(np.array([[2, 3], [4, 5]], dtype=np.uint64), 7).tolist()
    [1, 1]
    """
    result = np.ones(factors.shape[1:], dtype=np.uint64)
    for factor in factors:
        result = result * (factor % p) % p
    return result


def inverse_transform(values: Residues, root: int, p: int) -> Residues:
    """Coefficients of the polynomial with these values at 1, root, root^2, ... modulo p.

    Parameters
    ----------
    values : array of shape (n,)
        n a power of 2.
    root : int
        A root of unity of order n modulo p.
    p : int
        A prime below 2^31.

    Examples
    --------
    >>> inverse_transform(np.array([6, 15, 6, 15], dtype=np.uint64), 4, 17).tolist()
    [2, 0, 4, 0]
    """
    n = len(values)
    turn = powers(pow(root, -1, p), n, p)
    # Stockham's order: row k holds the k-th coefficients of the transforms of all strides
    rows = values[None]
    while rows.shape[1] > 1:
        half = rows.shape[1] // 2
        even, odd = rows[:, :half], rows[:, half:] * turn[: half * len(rows) : half, None] % p
        rows = np.concatenate([even + odd, even + (p - odd)]) % p
    return rows[:, 0] * pow(n, -1, p) % p

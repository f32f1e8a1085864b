"""A generator per lattice: xoshiro256++ seeded by splitmix64, for kernels compiled by numba.

Blackman and Vigna, *Scrambled linear pseudorandom number generators*, ACM TOMS 47 (2021) 36,
doi:10.1145/3460772. A state is a row of four 64-bit words and is advanced in place, so what one
lattice draws depends neither on the other lattices nor on the number of threads.
"""

from __future__ import annotations

import operator
from typing import SupportsIndex

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

__all__ = ["bernoulli_word", "next_u64", "seed_states", "thresholds"]

_GOLDEN_GAMMA = 0x9E3779B97F4A7C15
_WORD = 0xFFFFFFFFFFFFFFFF
_ALL, _NONE, _ONE = np.uint64(_WORD), np.uint64(0), np.uint64(1)
_TOP = np.uint64(63)


def seed_states(seed: SupportsIndex, first: int, n: int) -> NDArray[np.uint64]:
    """States of the generators of lattices ``first`` to ``first + n - 1``.

    Lattice i gets outputs 4 i to 4 i + 3 of splitmix64 started at the seed. They are never all
    zero, since splitmix64 visits each word once in its period of 2^64.

    Parameters
    ----------
    seed : int
        Taken modulo 2^64.
    first : int
        Number of the first lattice, at least 0.
    n : int
        Number of lattices, at least 0.

    Returns
    -------
    array of shape (n, 4), uint64

    Raises
    ------
    ValueError
        If ``first`` or ``n`` is negative.

    Examples
    --------
    >>> states = seed_states(0, first=0, n=2)
    >>> [int(next_u64(states[0])) for _ in range(2)]
    [5987356902031041503, 7051070477665621255]
    >>> bool((seed_states(0, first=1, n=1) == states[1:]).all())
    True
    """
    if first < 0 or n < 0:
        raise ValueError(f"lattices are numbered from 0 upwards, got first={first} and n={n}")
    start = np.uint64((operator.index(seed) + (4 * first + 1) * _GOLDEN_GAMMA) & _WORD)
    counter = start + np.arange(4 * n, dtype=np.uint64) * np.uint64(_GOLDEN_GAMMA)
    return _splitmix64(counter).reshape(n, 4)


def _splitmix64(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Output function of splitmix64: Steele, Lea and Flood, OOPSLA 2014."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def thresholds(probability: ArrayLike) -> NDArray[np.uint64]:
    """Probabilities in units of 2^-64, as :func:`bernoulli_word` wants them.

    Parameters
    ----------
    probability : array_like
        In [0, 1]; 1 becomes 1 - 2^-64, the largest that fits.

    Returns
    -------
    array of the same shape, uint64

    Raises
    ------
    ValueError
        If one is outside [0, 1] or NaN.

    Examples
    --------
    >>> [int(t) for t in thresholds([0.0, 0.25])] == [0, 2**62]
    True
    """
    p = np.asarray(probability, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        wrong = p[~((p >= 0) & (p <= 1))].flat[0]
        raise ValueError(f"a probability lies in [0, 1], got {wrong}")
    below_one = np.minimum(p, np.nextafter(1.0, 0.0))
    return np.where(p == 1, _ALL, np.ldexp(below_one, 64).astype(np.uint64))


@njit(cache=True, nogil=True)
def _rotl(x: np.uint64, k: int) -> np.uint64:
    return (x << np.uint64(k)) | (x >> np.uint64(64 - k))


@njit(cache=True, nogil=True)
def _step(
    s0: np.uint64, s1: np.uint64, s2: np.uint64, s3: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64, np.uint64]:
    """One output and the next state."""
    output = _rotl(s0 + s3, 23) + s0
    t = s1 << np.uint64(17)
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    return output, s0, s1, s2 ^ t, _rotl(s3, 45)


@njit(cache=True, nogil=True)
def next_u64(state: NDArray[np.uint64]) -> np.uint64:
    """Next 64 random bits from a state of shape (4,), which moves on."""
    output, state[0], state[1], state[2], state[3] = _step(state[0], state[1], state[2], state[3])
    return output


@njit(cache=True, nogil=True)
def bernoulli_word(state: NDArray[np.uint64], threshold: np.uint64) -> np.uint64:
    """64 independent bits, each 1 with probability ``threshold`` / 2^64 exactly.

    Bit by bit from the top, 64 uniform numbers are compared with the threshold until all of
    them have differed from it: 7.3 random words on average instead of 64.
    """
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    below, undecided, place = _NONE, _ALL, _TOP
    while undecided != _NONE:
        word, s0, s1, s2, s3 = _step(s0, s1, s2, s3)
        digit = _NONE - ((threshold >> place) & _ONE)
        decided = undecided & (word ^ digit)
        below |= decided & digit
        undecided ^= decided
        if place == _NONE:
            break
        place -= _ONE
    state[0], state[1], state[2], state[3] = s0, s1, s2, s3
    return below

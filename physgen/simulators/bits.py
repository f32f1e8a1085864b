r"""Multi-spin coding: 512 independent lattices, one bit each, flipped by the same instructions.

Bit b of word w at a site is the spin of lattice 64 w + b (1 is up). Neighbors therefore need no
shifts, any lattice fits, and every lattice gets random bits of its own. One move of a site, for
all 512 lattices at once:

1. Count the antiparallel neighbors of each spin with a bit-sliced adder.
2. Each count k (with a field: each k and spin) is a class with a probability p to flip; the flip
   is accepted where a uniform U is below the p of the lattice's class. U and p are compared bit by
   bit from the most significant one; a lattice is decided at the first bit in which they
   differ, so about log2(512) + 1 random bits do for 64-bit accuracy.

The probabilities are stored as bit planes, so that every lattice may have its own temperature.
The move itself is in :mod:`physgen.simulators.bits_llvm`.

References
----------
Block, Virnau and Preis, Comput. Phys. Commun. 181 (2010) 1549 (multi-spin coding of the Ising
model); Blackman and Vigna, ACM Trans. Math. Softw. 47 (2021) 36 (xoshiro256++).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from physgen.simulators.bits_llvm import N_BITS, N_WORDS, site_move

__all__ = [
    "N_LANES",
    "aligned",
    "counts",
    "exchange",
    "flip_planes",
    "measure",
    "pack",
    "sweeper",
    "unpack",
]

N_LANES = 64 * N_WORDS


def aligned(words: np.ndarray) -> np.ndarray:
    """Copy that starts at a cache line, so that no vector of eight words straddles two."""
    room = np.empty(words.nbytes + 63, dtype=np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + words.nbytes].view(words.dtype).reshape(words.shape)
    copy[...] = words
    return copy


def pack(up: np.ndarray) -> np.ndarray:
    """Pack booleans (..., 512) into words (..., 8), lattice 64 w + b in bit b of word w."""
    octets = np.packbits(up, axis=-1, bitorder="little")
    return np.ascontiguousarray(octets).view(np.uint64)


def unpack(words: np.ndarray) -> np.ndarray:
    """Unpack words (n_sites, 8) into spins of -1 and +1, int8 of shape (512, n_sites)."""
    octets = np.ascontiguousarray(words.view(np.uint8).T)
    spins = np.empty((N_LANES, len(words)), dtype=np.int8)
    _unpack(octets, spins)
    return spins


@njit(nogil=True, cache=True)
def _unpack(octets: Any, spins: Any) -> None:
    for j in range(octets.shape[0]):
        for b in range(8):
            row = spins[8 * j + b]
            for site in range(row.size):
                up = (octets[j, site] >> np.uint8(b)) & np.uint8(1)
                row[site] = np.int8(up << np.uint8(1)) - np.int8(1)


def flip_planes(probability: np.ndarray) -> np.ndarray:
    """Bit planes of the probabilities to flip.

    Parameters
    ----------
    probability : array of shape (..., 512)
        Of each class and lattice, in [0, 1]; kept to 2^-64.

    Returns
    -------
    uint64 array of shape (..., 64, 8)
        The most significant bit first.
    """
    p = np.asarray(probability, dtype=np.float64)
    # U <= q accepts with probability (q + 1) / 2^64, which is exact for p = 1
    scaled = np.ldexp(np.minimum(p, 1 - 2.0**-53), 64).astype(np.uint64)
    q = np.where(p >= 1, np.uint64(2**64 - 1), np.maximum(scaled, 1) - 1).astype(np.uint64)
    shift = np.arange(N_BITS - 1, -1, -1, dtype=np.uint64)
    return pack((q[..., None, :] >> shift[:, None]) & np.uint64(1) == 1)


@cache
def sweeper(n_neighbors: int, n_classes: int) -> Callable[..., None]:
    """Compile a sweep for lattices with this number of neighbors.

    Parameters
    ----------
    n_neighbors : int
        Columns of the neighbor table, q.
    n_classes : int
        Classes with a probability: q + 1 for the counts k = 0...q of antiparallel neighbors;
        fewer if all counts from n_classes on flip with certainty; 2 (q + 1) for the counts of
        spins down followed by those of spins up.

    Returns
    -------
    callable
        ``sweep(words, neighbors, order, group, planes, state, n_sweeps)``: moves ``words``, uint64
        (n_sites, 8), in place; ``planes`` has shape (n_groups, n_classes, 64, 8) and ``group``,
        int32 (n_sites,), says which of them a site uses; ``state``, uint64 (4, 8), are the eight
        xoshiro256++ generators. Releases the interpreter lock.
    """
    move = site_move(n_neighbors, n_classes)

    @njit(nogil=True)
    def sweep(
        words: Any, neighbors: Any, order: Any, group: Any, planes: Any, state: Any, n_sweeps: int
    ) -> None:
        for _ in range(n_sweeps):
            for k in range(order.size):
                site = order[k]
                move(words, neighbors, np.int64(site), planes, np.int64(group[site]), state)

    return sweep


@njit(nogil=True, cache=True)
def measure(words: Any, neighbors: Any, ordered: Any, bonds: Any, ups: Any, overlap: Any) -> None:
    """Count antiparallel bonds, up spins, and spins as in the ordered state, of all lattices.

    Counters are bit-sliced: bit b of ``bonds[j, w]`` is bit j of the number of antiparallel bonds
    of lattice 64 w + b.

    Parameters
    ----------
    words : uint64 array of shape (n_sites, 8)
    neighbors : int32 array of shape (n_sites, n_neighbors)
    ordered : uint64 array of shape (n_sites,)
        All ones where the spin of the ordered state is up, else zero.
    bonds, ups, overlap : uint64 arrays of shape (n_digits, 8)
        Filled with the counts; 2^n_digits must exceed them.
    """
    bonds[:] = 0
    ups[:] = 0
    overlap[:] = 0
    half = neighbors.shape[1] // 2
    # counters of four digits, which hold 15, need no branch: the loops over words become vectors
    small = np.zeros((3, 4, words.shape[1]), dtype=np.uint64)
    n_added = 0
    for site in range(words.shape[0]):
        for w in range(words.shape[1]):
            _add(small[1], w, words[site, w])
            _add(small[2], w, ~(words[site, w] ^ ordered[site]))
        for j in range(half):
            neighbor = neighbors[site, j]
            for w in range(words.shape[1]):
                _add(small[0], w, words[site, w] ^ words[neighbor, w])
        n_added += half
        if n_added + half > 15 or site + 1 == words.shape[0]:
            _merge(bonds, small[0])
            _merge(ups, small[1])
            _merge(overlap, small[2])
            n_added = 0


@njit(nogil=True, cache=True)
def _add(digits: Any, w: int, carry: Any) -> None:
    for j in range(4):
        digit = digits[j, w]
        digits[j, w] = digit ^ carry
        carry &= digit


@njit(nogil=True, cache=True)
def _merge(counter: Any, small: Any) -> None:
    """Add the small counters to the large ones, and empty them."""
    for w in range(counter.shape[1]):
        carry = np.uint64(0)
        for j in range(counter.shape[0]):
            a = counter[j, w]
            b = small[j, w] if j < small.shape[0] else np.uint64(0)
            counter[j, w] = a ^ b ^ carry
            carry = (a & b) | (carry & (a ^ b))
    small[:] = 0


def counts(digits: np.ndarray) -> np.ndarray:
    """Numbers of shape (512,), int64, from bit-sliced digits of shape (n_digits, 8)."""
    bits = np.unpackbits(digits.view(np.uint8), axis=1, bitorder="little").astype(np.int64)
    return (bits << np.arange(len(digits))[:, None]).sum(axis=0)


@njit(nogil=True, cache=True)
def exchange(planes: Any, a: Any, b: Any) -> None:
    """Exchange the bits of lattices ``a`` and ``b``, int arrays of shape (n,).

    Parameters
    ----------
    planes : uint64 array of shape (n_planes, 8)
        Changed in place.
    """
    one = np.uint64(1)
    for k in range(a.size):
        word_a, bit_a = a[k] >> 6, np.uint64(a[k] & 63)
        word_b, bit_b = b[k] >> 6, np.uint64(b[k] & 63)
        for j in range(planes.shape[0]):
            differ = ((planes[j, word_a] >> bit_a) ^ (planes[j, word_b] >> bit_b)) & one
            planes[j, word_a] ^= differ << bit_a
            planes[j, word_b] ^= differ << bit_b

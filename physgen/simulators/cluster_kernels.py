"""The compiled loops of the cluster moves.

:mod:`physgen.simulators.clusters` says what they do and checks their arguments. Neighbors come as
uint32 here, and for Swendsen-Wang as the half in which each bond stands once, ``backward`` of
shape (n_neighbors / 2, n_sites). Nothing in an inner loop branches on a random bit: a branch
predicted wrongly costs more than all the other work on a site.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from physgen.simulators.xoshiro import bernoulli_word, next_u64

__all__ = ["Sites", "Spins", "Words", "energies", "swendsen_wang", "wolff"]

Spins = NDArray[np.int8]
Sites = NDArray[np.uint32]
Words = NDArray[np.uint64]
Counts = NDArray[np.int64]

# numba turns a mixture of signed and unsigned 64-bit integers into floats, and checks signed
# indices for being negative: the kernels count in uint64
_U = np.uint64
_ZERO, _ONE, _WORD_BITS = _U(0), _U(1), _U(64)
# place of the lowest bit of a word, by multiplication with a de Bruijn sequence
_DE_BRUIJN = _U(0x03F79D71B4CB0A89)
_PLACE = np.zeros(64, dtype=np.uint64)
_PLACE[[(int(_DE_BRUIJN) << k & 0xFFFFFFFFFFFFFFFF) >> 58 for k in range(64)]] = np.arange(64)


# ---------------------------------------------------------------- Wolff


@njit(cache=True, nogil=True)
def wolff(
    spins: Spins, neighbors: Sites, signs: Spins, limits: Words, counts: Counts, states: Words
) -> NDArray[np.int64]:
    """Number of spins flipped in each lattice."""
    n_lattices, n_sites = spins.shape
    queue = np.empty(n_sites + 1, dtype=np.uint32)
    flipped = np.zeros(n_lattices, dtype=np.int64)
    for k in range(n_lattices):
        for _ in range(counts[k]):
            flipped[k] += _flip_cluster(spins[k], neighbors, signs[k], limits[k], states[k], queue)
    return flipped


@njit(cache=True, nogil=True)
def _flip_cluster(
    spins: Spins, neighbors: Sites, sign: np.int8, limit: np.uint64, state: Words, queue: Sites
) -> np.int64:
    """Grow and flip one cluster, breadth first; its size.

    While the cluster grows its spins are 0, which satisfies no bond, and the queue holds
    2 * site + (spin is up). Nothing branches on a random bit: each neighbor is written to the end
    of the queue, and the end moves on if it joins.
    """
    n_neighbors = _U(neighbors.shape[1])
    two = np.uint32(2)
    # the sites need not be equally probable to the last bit: detailed balance holds for any choice
    seed = ((next_u64(state) >> _U(32)) * _U(spins.size)) >> _U(32)
    queue[0] = _U(2) * seed + _U(spins[seed] > 0)
    spins[seed] = 0
    head, tail = _ZERO, _ONE
    bits, n_bits = _ZERO, _ZERO
    while head < tail:
        if n_bits < n_neighbors:
            bits, n_bits = bernoulli_word(state, limit), _WORD_BITS
        n_bits -= n_neighbors
        site, up = queue[head] // two, queue[head] % two
        head += _ONE
        wanted = np.int8(sign * (np.int8(2) * np.int8(up) - np.int8(1)))
        up = np.uint32(wanted > 0)
        for d in range(n_neighbors):
            j = neighbors[site, d]
            queue[tail] = two * j + up
            joins = np.int8(spins[j] == wanted) & np.int8(bits & _ONE)
            spins[j] &= joins - np.int8(1)
            tail += _U(joins)
            bits >>= _ONE
    for k in range(tail):
        spins[queue[k] // two] = np.int8(1) - np.int8(2) * np.int8(queue[k] % two)
    return np.int64(tail)


# ---------------------------------------------------------------- Swendsen-Wang
#
# Union-find with parent[i] <= i. Each site first hangs below one neighbor of lower number to which
# it is bound; the remaining bonds, about a quarter per site at T_c, wait in a list and are joined
# in rounds. Neither step branches on a random bit, which costs more than all the rest.


@njit(cache=True, nogil=True)
def swendsen_wang(
    spins: Spins,
    backward: Sites,
    lower: Words,
    signs: Spins,
    limits: Words,
    counts: Counts,
    states: Words,
) -> None:
    """``counts[k]`` sweeps of lattice k."""
    n_lattices, n_sites = spins.shape
    parent = np.empty(n_sites, dtype=np.uint32)
    waiting = np.empty((2, backward.size), dtype=np.uint32)
    turn = np.empty(n_sites, dtype=np.int8)
    for k in range(n_lattices):
        for _ in range(counts[k]):
            n_waiting = _hang(
                spins[k], backward, lower, signs[k], limits[k], states[k], parent, waiting
            )
            _join(parent, waiting[0], waiting[1], n_waiting)
            _turn(spins[k], parent, turn, states[k])


@njit(cache=True, nogil=True)
def _hang(
    spins: Spins,
    backward: Sites,
    lower: Words,
    sign: np.int8,
    limit: np.uint64,
    state: Words,
    parent: Sites,
    waiting: Sites,
) -> np.uint64:
    """Draw the bonds, 64 sites at a time, and give each site a parent; number of bonds left."""
    n_sites, n_waiting = _U(spins.size), _ZERO
    for i in range(n_sites):
        parent[i] = i
    for block in range(_U(lower.shape[1])):
        first = _WORD_BITS * block
        n = min(_WORD_BITS, n_sites - first)
        free = ~_ZERO
        for d in range(backward.shape[0]):
            column = backward[d]
            bonds = _satisfied(spins, column, sign, first, n) & bernoulli_word(state, limit)
            hung = bonds & lower[d, block] & free
            free ^= hung
            _set_parents(parent, column, hung, first, n)
            n_waiting = _defer(bonds ^ hung, column, first, waiting, n_waiting)
    for i in range(n_sites):
        parent[i] = parent[parent[i]]
    return n_waiting


@njit(cache=True, nogil=True)
def _satisfied(
    spins: Spins, column: Sites, sign: np.int8, first: np.uint64, n: np.uint64
) -> np.uint64:
    """Bit k is set if the bond from site first + k is satisfied."""
    word = _ZERO
    for k in range(n):
        i = first + k
        word |= _U(spins[column[i]] == spins[i] * sign) << k
    return word


@njit(cache=True, nogil=True)
def _set_parents(
    parent: Sites, column: Sites, hung: np.uint64, first: np.uint64, n: np.uint64
) -> None:
    for k in range(n):
        i = first + k
        # exclusive or instead of a condition, which would become a branch
        parent[i] ^= (parent[i] ^ column[i]) * np.uint32((hung >> k) & _ONE)


@njit(cache=True, nogil=True)
def _defer(
    bonds: np.uint64, column: Sites, first: np.uint64, waiting: Sites, n_waiting: np.uint64
) -> np.uint64:
    """Append the bonds to the list."""
    while bonds != _ZERO:
        lowest = bonds & (~bonds + _ONE)
        i = first + _PLACE[(lowest * _DE_BRUIJN) >> _U(58)]
        waiting[0, n_waiting] = i
        waiting[1, n_waiting] = column[i]
        n_waiting += _ONE
        bonds ^= lowest
    return n_waiting


@njit(cache=True, nogil=True)
def _join(parent: Sites, left: Sites, right: Sites, n: np.uint64) -> None:
    """Join the trees of left[k] and right[k], in rounds.

    A step of Rem's algorithm (Dijkstra, *A discipline of programming*, 1976, ch. 23) moves the
    site with the higher parent below the lower parent. If the site was not a root, the two parents
    remain to be joined: they stay in the list, with a higher number that has become lower.
    """
    while n > _ZERO:
        n_left = _ZERO
        for k in range(n):
            u, v = parent[left[k]], parent[right[k]]
            parent_u, parent_v = parent[u], parent[v]
            high, low = max(parent_u, parent_v), min(parent_u, parent_v)
            moved = u if parent_u >= parent_v else v
            parent[moved] = low
            left[n_left], right[n_left] = high, low
            n_left += _U((high != low) & (high != moved))
        n = n_left


@njit(cache=True, nogil=True)
def _turn(spins: Spins, parent: Sites, turn: Spins, state: Words) -> None:
    """Multiply each cluster by -1 or +1: a site takes the factor of its parent, which is final."""
    n_sites = _U(spins.size)
    for first in range(_ZERO, n_sites, _WORD_BITS):
        bits = next_u64(state)
        for k in range(min(_WORD_BITS, n_sites - first)):
            turn[first + k] = np.int8(1) - np.int8(2) * np.int8((bits >> k) & _ONE)
    for i in range(n_sites):
        turn[i] = turn[parent[i]]
    for i in range(n_sites):
        spins[i] *= turn[i]


# ---------------------------------------------------------------- energy


@njit(cache=True, nogil=True)
def energies(spins: Spins, backward: Sites) -> NDArray[np.int64]:
    """Minus the sum of s_i s_j over the bonds, for each lattice."""
    n_lattices, n_sites = spins.shape
    total = np.zeros(n_lattices, dtype=np.int64)
    for k in range(n_lattices):
        for d in range(backward.shape[0]):
            for i in range(_U(n_sites)):
                total[k] -= spins[k, i] * spins[k, backward[d, i]]
    return total

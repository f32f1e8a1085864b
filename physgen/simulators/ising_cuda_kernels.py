r"""Triton kernels of the bit-coded Ising farm; :mod:`physgen.simulators.ising_cuda` runs them.

Bit b of word w at a site is the spin of lattice 32 w + b (1 is up), as on the CPU, and the move is
the one of :mod:`physgen.simulators.bits`. Words lie as (n_sites, n_words), so that neighboring
threads read neighboring words.

One program is one warp: 32 words at a time, 1,024 lattices, at a few sites of one wave. Why so:

* The work is in the random words, so the comparison must stop as soon as the lattices of the loop
  are decided. They are decided together, and 1,024 need 11 bits in the mean where the 4,096 of
  four warps would need 13; and a warp asks its threads with one instruction, without a barrier.
* Half a sweep per launch leaves (sites of a wave) x (words) independent threads, which hide the
  latency of the words of the neighbors, also where the lattices are few.
* Sites of a wave vary fastest over the programs, so the words that neighbors share are still in
  the cache when the next program needs them.

Random words are Philox4x32-10 of the counter (word, site, sweep, draw) under the seed as the key:
no generator is stored, and a history depends neither on the tiles nor on the number of lattices.
The words are those of :func:`physgen.random.philox`.

References
----------
Block, Virnau and Preis, Comput. Phys. Commun. 181 (2010) 1549 (Ising on GPUs); Salmon, Moraes,
Dror and Shaw, SC'11, doi:10.1145/2063384.2063405 (Philox).
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["count", "move", "unpack"]

# draws, of four bits each, until U and p are compared to 2^-64
_N_DRAWS = tl.constexpr(16)
# of 1,024 lattices some are all but surely undecided after 8 bits, and seldom after 12
_UNCHECKED = tl.constexpr(3)


@triton.jit(do_not_specialize=["sweep", "n_wave"])
def move(
    words: tl.tensor,
    neighbors: tl.tensor,
    sites: tl.tensor,
    group: tl.tensor,
    planes: tl.tensor,
    key: tl.tensor,
    sweep: tl.tensor,
    n_wave: tl.tensor,
    n_words: tl.tensor,
    N_NEIGHBORS: tl.constexpr,
    N_CLASSES: tl.constexpr,
    WIDTH: tl.constexpr,
    RUN: tl.constexpr,
) -> None:
    """Move the sites of one wave in all lattices.

    Parameters
    ----------
    words : int32 (n_sites, n_words)
        Changed in place.
    neighbors : int32 (n_sites, N_NEIGHBORS)
    sites : int32 (n_wave,)
        No two of them are neighbors.
    group : int32 (n_sites,)
        Which planes a site uses.
    planes : int32 (n_groups, 16, N_CLASSES, n_words, 4)
        Bits of the probabilities of the classes of :func:`physgen.simulators.bits.sweeper`, the
        most significant first; four at a time, which a thread reads in one instruction.
    key : int64 (1,)
        The seed.
    sweep, n_wave, n_words : int
    N_NEIGHBORS, N_CLASSES : int
        At most 7 neighbors.
    WIDTH, RUN : int
        The tile: words, and sites that the program moves one after the other.
    """
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = column < n_words
    # beyond the last word the last one is moved again, and not stored
    column = tl.minimum(column, n_words - 1)
    levels = planes + column[:, None].to(tl.int64) * 4 + tl.arange(0, 4)[None, :]
    seed = tl.load(key)
    first = tl.program_id(0) * RUN
    for k in range(first, tl.minimum(first + RUN, n_wave)):
        site = tl.load(sites + k)
        here = words + site.to(tl.int64) * n_words + column
        x = tl.load(here)
        ones, twos, fours = _antiparallel(
            x, words + column, neighbors + site * N_NEIGHBORS, n_words, N_NEIGHBORS
        )
        own = tl.load(group + site).to(tl.int64) * (_N_DRAWS * N_CLASSES * 4) * n_words
        flips = _flips(
            x,
            ones,
            twos,
            fours,
            levels + own,
            seed,
            column,
            site,
            sweep,
            n_words,
            N_NEIGHBORS,
            N_CLASSES,
        )
        tl.store(here, x ^ flips, mask=inside)


@triton.jit
def _antiparallel(
    x: tl.tensor,
    words: tl.tensor,
    neighbors: tl.tensor,
    n_words: tl.tensor,
    N_NEIGHBORS: tl.constexpr,
) -> tl.tensor:
    """Three binary digits of the number of antiparallel neighbors."""
    ones, twos, fours = x ^ x, x ^ x, x ^ x
    for j in tl.static_range(N_NEIGHBORS):
        neighbor = tl.load(neighbors + j).to(tl.int64)
        carry = x ^ tl.load(words + neighbor * n_words)
        ones, carry = ones ^ carry, ones & carry
        twos, carry = twos ^ carry, twos & carry
        fours = fours ^ carry
    return ones, twos, fours


@triton.jit
def _flips(
    x: tl.tensor,
    ones: tl.tensor,
    twos: tl.tensor,
    fours: tl.tensor,
    planes: tl.tensor,
    seed: tl.tensor,
    column: tl.tensor,
    site: tl.tensor,
    sweep: tl.tensor,
    n_words: tl.tensor,
    N_NEIGHBORS: tl.constexpr,
    N_CLASSES: tl.constexpr,
) -> tl.tensor:
    """Lattices that flip: where U <= p, and those in no class where such flip with certainty."""
    undecided = x ^ x
    for c in tl.static_range(N_CLASSES):
        undecided |= _class(x, ones, twos, fours, c, N_NEIGHBORS, N_CLASSES)
    accepted = x ^ x
    if N_CLASSES <= N_NEIGHBORS:
        accepted = ~undecided
    draw = 0
    # the first draws do not ask, so that their chains of multiplications overlap
    for _ in tl.static_range(_UNCHECKED):
        accepted, undecided = _draw(
            draw,
            accepted,
            undecided,
            x,
            ones,
            twos,
            fours,
            planes,
            seed,
            column,
            site,
            sweep,
            n_words,
            N_NEIGHBORS,
            N_CLASSES,
        )
        draw += 1
    while (draw < _N_DRAWS) & (tl.max(undecided.to(tl.uint32, bitcast=True), 0) != 0):
        accepted, undecided = _draw(
            draw,
            accepted,
            undecided,
            x,
            ones,
            twos,
            fours,
            planes,
            seed,
            column,
            site,
            sweep,
            n_words,
            N_NEIGHBORS,
            N_CLASSES,
        )
        draw += 1
    return accepted | undecided


@triton.jit
def _draw(
    draw: tl.tensor,
    accepted: tl.tensor,
    undecided: tl.tensor,
    x: tl.tensor,
    ones: tl.tensor,
    twos: tl.tensor,
    fours: tl.tensor,
    planes: tl.tensor,
    seed: tl.tensor,
    column: tl.tensor,
    site: tl.tensor,
    sweep: tl.tensor,
    n_words: tl.tensor,
    N_NEIGHBORS: tl.constexpr,
    N_CLASSES: tl.constexpr,
) -> tl.tensor:
    """Compare four bits of U and p."""
    draw = tl.to_tensor(draw)
    p = tl.zeros((x.shape[0], 4), tl.int32)
    for c in tl.static_range(N_CLASSES):
        at = planes + (draw * N_CLASSES + c).to(tl.int64) * n_words * 4
        mask = _class(x, ones, twos, fours, c, N_NEIGHBORS, N_CLASSES)
        p |= mask[:, None] & tl.load(at)
    even, odd = tl.split(p.reshape(p.shape[0], 2, 2))
    p0, p2 = tl.split(even)
    p1, p3 = tl.split(odd)
    r0, r1, r2, r3 = tl.philox(seed, column, site, sweep, draw)
    accepted, undecided = _compare(p0, r0, accepted, undecided)
    accepted, undecided = _compare(p1, r1, accepted, undecided)
    accepted, undecided = _compare(p2, r2, accepted, undecided)
    return _compare(p3, r3, accepted, undecided)


@triton.jit
def _compare(
    p: tl.tensor, random: tl.tensor, accepted: tl.tensor, undecided: tl.tensor
) -> tl.tensor:
    random = random.to(tl.int32, bitcast=True)
    return accepted | (undecided & p & ~random), undecided & ~(p ^ random)


@triton.jit
def _class(
    x: tl.tensor,
    ones: tl.tensor,
    twos: tl.tensor,
    fours: tl.tensor,
    CLASS: tl.constexpr,
    N_NEIGHBORS: tl.constexpr,
    N_CLASSES: tl.constexpr,
) -> tl.tensor:
    """Lattices in which the site belongs to a class: a number of neighbors, or it and the spin."""
    k: tl.constexpr = CLASS % (N_NEIGHBORS + 1)
    mask = ones if k & 1 else ~ones
    mask &= twos if k & 2 else ~twos
    mask &= fours if k & 4 else ~fours
    if N_CLASSES > N_NEIGHBORS + 1:
        mask &= x if CLASS > N_NEIGHBORS else ~x
    return mask


@triton.jit
def count(
    words: tl.tensor,
    neighbors: tl.tensor,
    ordered: tl.tensor,
    counts: tl.tensor,
    n_sites: tl.tensor,
    n_words: tl.tensor,
    N_NEIGHBORS: tl.constexpr,
    WIDTH: tl.constexpr,
    RUN: tl.constexpr,
) -> None:
    """Count antiparallel bonds, up spins, and spins as in the ordered state, of all lattices.

    Parameters
    ----------
    words : int32 (n_sites, n_words)
    neighbors : int32 (n_sites, N_NEIGHBORS)
    ordered : int32 (n_sites,)
        All ones where the spin of the ordered state is up, else zero.
    counts : int32 (3, 32 n_words)
        The numbers are added to it.
    n_sites, n_words : int
    N_NEIGHBORS, WIDTH, RUN : int
        As for :func:`move`.
    """
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = column < n_words
    lane = column[:, None] * 32 + tl.arange(0, 32)[None, :]
    bonds, ups, overlap = lane * 0, lane * 0, lane * 0
    first = tl.program_id(0) * RUN
    for site in range(first, tl.minimum(first + RUN, n_sites)):
        x = tl.load(words + tl.cast(site, tl.int64) * n_words + column, mask=inside, other=0)
        ups += _bits(x)
        overlap += _bits(~(x ^ tl.load(ordered + site)))
        for j in tl.static_range(N_NEIGHBORS // 2):
            neighbor = tl.load(neighbors + site * N_NEIGHBORS + j).to(tl.int64)
            there = words + neighbor * n_words + column
            bonds += _bits(x ^ tl.load(there, mask=inside, other=0))
    # sums of integers do not depend on the order of the programs
    tl.atomic_add(counts + lane, bonds, mask=inside[:, None], sem="relaxed")
    tl.atomic_add(counts + n_words * 32 + lane, ups, mask=inside[:, None], sem="relaxed")
    tl.atomic_add(counts + n_words * 64 + lane, overlap, mask=inside[:, None], sem="relaxed")


@triton.jit
def _bits(x: tl.tensor) -> tl.tensor:
    return (x[:, None] >> tl.arange(0, 32)[None, :]) & 1


@triton.jit
def unpack(
    words: tl.tensor,
    spins: tl.tensor,
    n_sites: tl.tensor,
    n_words: tl.tensor,
    WIDTH: tl.constexpr,
    RUN: tl.constexpr,
) -> None:
    """Write the spins, int8 (32 n_words, n_sites), of words (n_sites, n_words)."""
    site = tl.program_id(0) * RUN + tl.arange(0, RUN)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = (column < n_words)[:, None] & (site < n_sites)[None, :]
    x = tl.load(words + site[None, :].to(tl.int64) * n_words + column[:, None], mask=inside)
    row = spins + column[:, None].to(tl.int64) * 32 * n_sites + site[None, :]
    for bit in range(32):
        spin = ((x >> bit) & 1) * 2 - 1
        tl.store(row + tl.cast(bit, tl.int64) * n_sites, spin.to(tl.int8), mask=inside)

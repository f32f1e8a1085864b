"""Lattices as neighbor tables, so that one kernel moves the spins of all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

import numpy as np

from physgen.simulators.checks import check_name

__all__ = ["Boundary", "Lattice", "cubic", "square", "triangular"]

Boundary = Literal["periodic", "open"]


@dataclass(frozen=True)
class Lattice:
    """Sites in a box of any dimension, each bound to its neighbors at the same few offsets.

    Parameters
    ----------
    shape : tuple of int
        Sides, each at least 2; the sites are numbered with the last axis fastest.
    offsets : tuple of tuple of int
        Steps to half of the neighbors, one per bond of a site; the other half is opposite.
    critical_coupling : float
        beta J of the ferromagnetic transition in the infinite lattice.
    boundary : {"periodic", "open"}, default "periodic"
        A periodic side of length 2 binds the same two spins twice, and both bonds count.
    """

    shape: tuple[int, ...]
    offsets: tuple[tuple[int, ...], ...]
    critical_coupling: float
    boundary: Boundary = "periodic"

    def __post_init__(self) -> None:
        if min(self.shape) < 2:
            raise ValueError(f"every side of a lattice must be at least 2, got {self.shape}")
        check_name("boundary", self.boundary, ("periodic", "open"))
        if prod(self.shape) * self.n_neighbors >= 1 << 31:
            raise ValueError(
                f"a lattice of {self.shape} has too many sites; 2^31 / 8 is the limit"
            )

    @property
    def n_sites(self) -> int:
        """Number of spins."""
        return prod(self.shape)

    @property
    def n_neighbors(self) -> int:
        """Neighbors of a site that lies away from open sides."""
        return 2 * len(self.offsets)

    @property
    def bipartite(self) -> bool:
        """Whether every bond joins the two sublattices of a checkerboard."""
        odd_steps = all(sum(offset) % 2 for offset in self.offsets)
        return odd_steps and (self.boundary == "open" or not any(n % 2 for n in self.shape))

    @cached_property
    def neighbors(self) -> np.ndarray:
        """Sites next to each site, int32 of shape (n_sites, n_neighbors).

        The first half of the columns are the neighbors at ``offsets`` (so that they visit each
        bond once), the second half those opposite. A neighbor missing behind an open side is
        the site itself, which is never antiparallel to itself.
        """
        steps = [*self.offsets, *(tuple(-d for d in offset) for offset in self.offsets)]
        site = np.arange(self.n_sites, dtype=np.int64)
        where = np.stack(np.unravel_index(site, self.shape), axis=1)
        table = np.empty((self.n_sites, len(steps)), dtype=np.int32)
        for column, step in enumerate(steps):
            moved = where + np.asarray(step)
            inside = ((moved >= 0) & (moved < self.shape)).all(axis=1)
            there = np.ravel_multi_index(tuple((moved % self.shape).T), self.shape)
            keep = inside if self.boundary == "open" else np.ones_like(inside)
            table[:, column] = np.where(keep, there, site)
        return table

    @cached_property
    def degree(self) -> np.ndarray:
        """Number of neighbors of each site, int32 of shape (n_sites,)."""
        own = np.arange(self.n_sites)[:, None]
        return (self.neighbors != own).sum(axis=1).astype(np.int32)

    @cached_property
    def order(self) -> np.ndarray:
        """Order in which a sweep visits the sites, int32 of shape (n_sites,).

        Sublattice by sublattice where the lattice has them: a site then does not wait for the
        one before it. Any fixed order leaves the Boltzmann law invariant.
        """
        where = np.indices(self.shape).reshape(len(self.shape), -1)
        n_colors = 2 if self.n_neighbors == 2 * len(self.shape) else 3
        return np.argsort(where.sum(axis=0) % n_colors, kind="stable").astype(np.int32)

    @property
    def n_bonds(self) -> int:
        """Number of bonds, each once."""
        return int(self.degree.sum()) // 2


def square(shape: tuple[int, int], boundary: Boundary = "periodic") -> Lattice:
    """Square lattice of (rows, cols) sites with four neighbors each.

    Critical at sinh(2 beta J) = 1 (Kramers and Wannier, Phys. Rev. 60 (1941) 252).

    Examples
    --------
    >>> square((4, 4)).n_bonds, square((4, 4), "open").n_bonds
    (32, 24)
    """
    return Lattice(shape, ((1, 0), (0, 1)), math.asinh(1) / 2, boundary)


def triangular(shape: tuple[int, int], boundary: Boundary = "periodic") -> Lattice:
    """Triangular lattice: the square one with a third bond along one diagonal.

    Critical at exp(4 beta J) = 3 (Wannier, Phys. Rev. 79 (1950) 357).

    Examples
    --------
    >>> triangular((6, 6)).n_neighbors
    6
    """
    return Lattice(shape, ((1, 0), (0, 1), (1, 1)), math.log(3) / 4, boundary)


def cubic(shape: tuple[int, int, int], boundary: Boundary = "periodic") -> Lattice:
    """Simple cubic lattice with six neighbors per site.

    Critical at beta J = 0.221654626 (Ferrenberg, Xu and Landau, Phys. Rev. E 97 (2018) 043301).
    """
    return Lattice(shape, ((1, 0, 0), (0, 1, 0), (0, 0, 1)), 0.221654626, boundary)

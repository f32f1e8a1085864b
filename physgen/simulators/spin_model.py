"""The Ising model itself: energies, ground states and the probabilities of its moves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import numpy as np

from physgen.simulators.lattice import Lattice

__all__ = [
    "Algorithm",
    "Rule",
    "SpinModel",
    "flip_probabilities",
    "ordered_spins",
    "random_bits",
]

Rule = Literal["metropolis", "heat_bath"]
Algorithm = Literal[
    "auto", "metropolis", "heat_bath", "wolff", "swendsen_wang", "parallel_tempering"
]

# probability of a Metropolis flip that costs nothing
_FREE_FLIP = 63 / 64


@dataclass(frozen=True)
class SpinModel:
    r"""Ising spins :math:`H = -J \sum_{\langle ij \rangle} s_i s_j - h \sum_i s_i`.

    Parameters
    ----------
    lattice : Lattice
    coupling : float
        J; negative for an antiferromagnet.
    field : float
        h, in the unit of J.
    """

    lattice: Lattice
    coupling: float = 1.0
    field: float = 0.0

    def __post_init__(self) -> None:
        for name in ("coupling", "field"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value!r}")
            object.__setattr__(self, name, float(value))

    @property
    def hamiltonian(self) -> str:
        """The convention, in words for a file."""
        lattice = self.lattice
        sides = " x ".join(map(str, lattice.shape))
        field = f" {-self.field:+g} sum_i s_i" if self.field else ""
        return (
            f"H = {-self.coupling:+g} sum_<ij> s_i s_j{field}, each bond once, {sides} sites with "
            f"{lattice.n_neighbors} neighbors, {lattice.boundary}, beta = 1/(k_B T)"
        )

    @property
    def symmetry(self) -> Literal["flip", "shift", "none"]:
        """What leaves every energy as it is and turns the ordered state into its other one.

        Flipping all spins without a field; in a field, for an antiferromagnet on two sublattices,
        shifting by one site.
        """
        if not self.field:
            return "flip"
        shifts = self.lattice.bipartite and self.lattice.boundary == "periodic"
        return "shift" if self.coupling < 0 and shifts else "none"

    @property
    def frustrated(self) -> bool:
        """Whether no state satisfies all bonds, so that the ground states are many."""
        return self.coupling < 0 and not self.lattice.bipartite

    def energies(self, antiparallel: np.ndarray, ups: np.ndarray) -> np.ndarray:
        """Energies from the numbers of antiparallel bonds and of up spins, float64."""
        bonds = self.lattice.n_bonds - 2.0 * antiparallel
        return -self.coupling * bonds - self.field * (2.0 * ups - self.lattice.n_sites)


def flip_probabilities(
    model: SpinModel, beta: np.ndarray, rule: Rule, degrees: np.ndarray
) -> np.ndarray:
    r"""Probabilities to flip, of every class of :func:`physgen.simulators.bits.sweeper`.

    A spin s with k antiparallel of d neighbors costs :math:`\Delta E = 2 J (d - 2k) + 2 h s`.
    Metropolis: :math:`\min(1, e^{-\beta \Delta E})`, but 63/64 at :math:`\Delta E = 0`. Heat
    bath: :math:`1/(1 + e^{\beta \Delta E})`.

    The 63/64 obeys detailed balance as well as 1 does. With 1, a sweep in a fixed order is not
    ergodic: where half of the neighbors of every spin are antiparallel, every sweep would flip
    all spins, for ever.

    Parameters
    ----------
    model : SpinModel
    beta : array of shape (n_lanes,)
    rule : {"metropolis", "heat_bath"}
    degrees : array of shape (n_groups,)
        The numbers of neighbors that occur, d.

    Returns
    -------
    array of shape (n_groups, n_classes, n_lanes)
        Trailing classes that are certain to flip are left out.
    """
    n_neighbors = model.lattice.n_neighbors
    antiparallel = np.arange(n_neighbors + 1)
    cost = 2 * model.coupling * (degrees[:, None] - 2.0 * antiparallel)
    if model.field:
        cost = np.concatenate([cost - 2 * model.field, cost + 2 * model.field], axis=1)
    exponent = cost[:, :, None] * np.asarray(beta, dtype=np.float64)
    if rule == "heat_bath":
        return np.exp(-np.logaddexp(0, exponent))
    # the certain classes must be the same at all temperatures and sites
    certain = model.coupling > 0 and not model.field and len(degrees) == 1
    n_classes = n_neighbors // 2 + 1 if certain else cost.shape[1]
    accepted = np.exp(-np.maximum(exponent[:, :n_classes], 0))
    return np.where(cost[:, :n_classes, None] == 0, _FREE_FLIP, accepted)


def ordered_spins(model: SpinModel) -> np.ndarray:
    """A ground state without a field, int8 of shape (n_sites,).

    All up for J > 0 (down in a negative field). For J < 0 a checkerboard, on a triangular lattice
    stripes: on odd sides and triangles they leave the fewest bonds unsatisfied, too.
    """
    where = np.indices(model.lattice.shape)
    if model.coupling >= 0:
        up = np.ones(model.lattice.n_sites, dtype=np.int8)
        return up if model.field >= 0 else -up
    triangles = model.lattice.n_neighbors > 2 * len(where)
    parity = (where[0] if triangles else where.sum(axis=0)) % 2
    return (1 - 2 * parity).astype(np.int8).reshape(-1)


def random_bits(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Fair bits, bool, from raw words, whose stream does not change between releases of numpy."""
    n_bits = shape[0] * shape[1]
    generator = np.random.Philox(key=seed)
    words = generator.random_raw(-(-n_bits // 64))
    return np.unpackbits(words.view(np.uint8), count=n_bits).reshape(shape).view(bool)

"""Farms: many independent Ising lattices, each at its own temperature, moved together.

A farm says how many lattices it has, sweeps them, measures them and hands out their spins.
Everything else (how long, how far apart, which events) is decided outside, in
:mod:`physgen.simulators.thermalization` and :mod:`physgen.simulators.sampling`.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from physgen.random import derived_seed
from physgen.simulators import bits, clusters
from physgen.simulators.bits_llvm import N_WORDS
from physgen.simulators.spin_model import (
    Rule,
    SpinModel,
    flip_probabilities,
    ordered_spins,
    random_bits,
)
from physgen.simulators.xoshiro import seed_states

__all__ = ["BitFarm", "ClusterFarm", "Farm", "measured", "starting_spins"]

ClusterMove = Literal["swendsen_wang", "wolff"]

# Swendsen-Wang sweeps given to a hot start in the ordered phase: each merges two stripes with
# probability 1/2, while local moves need of the order of L^3 sweeps to dissolve them
_COARSENING_SWEEPS = 32


class Farm(Protocol):
    """Many lattices that are moved together."""

    @property
    def n_lanes(self) -> int:
        """Number of lattices."""
        ...

    def sweep(self, n_sweeps: int) -> None:
        """Move every lattice."""
        ...

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies, extensive, and order parameters, both float64 of shape (n_lanes,).

        The order parameter is the overlap per spin with the ground state, which for a ferromagnet
        is the magnetization.
        """
        ...

    def spins(self) -> np.ndarray:
        """Configurations, int8 of shape (n_lanes, n_sites)."""
        ...


class BitFarm:
    """512 bit-coded lattices under Metropolis or heat-bath moves.

    Parameters
    ----------
    model : SpinModel
    beta : array of shape (512,)
        Inverse temperature of each lattice.
    rule : {"metropolis", "heat_bath"}
    start : int8 array of shape (512, n_sites)
        Spins to start from.
    seed : int
    """

    n_lanes = bits.N_LANES

    def __init__(
        self, model: SpinModel, beta: np.ndarray, rule: Rule, start: np.ndarray, seed: int
    ) -> None:
        lattice = model.lattice
        self._model = model
        self._words = bits.aligned(bits.pack((np.asarray(start) > 0).T))
        self._state = bits.aligned(seed_states(seed, 0, N_WORDS).T)
        degrees, group = np.unique(lattice.degree, return_inverse=True)
        self._tables = (lattice.neighbors, lattice.order, group.astype(np.int32))
        n_digits = lattice.n_bonds.bit_length() + 1
        self._counters = np.zeros((3, n_digits, N_WORDS), dtype=np.uint64)
        self._ordered = np.where(ordered_spins(model) > 0, ~np.uint64(0), np.uint64(0))
        probability = flip_probabilities(model, beta, rule, degrees)
        self._planes = bits.aligned(bits.flip_planes(probability))
        self._sweep = bits.sweeper(lattice.n_neighbors, probability.shape[1])

    def sweep(self, n_sweeps: int) -> None:
        """Visit every site of every lattice ``n_sweeps`` times."""
        self._sweep(self._words, *self._tables, self._planes, self._state, n_sweeps)

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies and order parameters of shape (512,)."""
        bits.measure(self._words, self._tables[0], self._ordered, *self._counters)
        antiparallel, ups, overlap = (bits.counts(digits) for digits in self._counters)
        return self._model.energies(antiparallel, ups), 2 * overlap / len(self._words) - 1

    def spins(self) -> np.ndarray:
        """Configurations, int8 of shape (512, n_sites)."""
        return bits.unpack(self._words)

    def exchange(self, a: np.ndarray, b: np.ndarray) -> None:
        """Exchange the temperatures of lattices ``a`` and ``b``, int arrays of shape (n,)."""
        bits.exchange(self._planes.reshape(-1, N_WORDS), a, b)


class ClusterFarm:
    """Byte-coded lattices under Swendsen-Wang or Wolff moves; no field.

    A sweep of Wolff moves is as many clusters as flip about as many spins as there are. Every
    call of ``sweep`` tosses a coin for one more: at beta = 0 a cluster is one site, and a fixed
    number of them would tell whether the number of spins up is even.

    Parameters
    ----------
    model : SpinModel
    beta : array of shape (n_lanes,)
    move : {"swendsen_wang", "wolff"}
    start : int8 array of shape (n_lanes, n_sites)
    seed : int
    """

    def __init__(
        self, model: SpinModel, beta: np.ndarray, move: ClusterMove, start: np.ndarray, seed: int
    ) -> None:
        self._model = model
        self._wolff = move == "wolff"
        self._spins = np.array(start, dtype=np.int8)
        self._coupling = np.asarray(beta, dtype=np.float64) * model.coupling
        self._state = seed_states(seed, 0, len(start))
        self._coins = np.random.Philox(key=derived_seed(seed, 1))
        self._n_clusters = _clusters_per_sweep(model, self._coupling)

    @property
    def n_lanes(self) -> int:
        """Number of lattices."""
        return len(self._spins)

    def sweep(self, n_sweeps: int) -> None:
        """Flip about ``n_sweeps`` times as many spins as there are (Wolff), or all clusters."""
        where = self._spins, self._model.lattice.neighbors, self._coupling
        if not self._wolff:
            clusters.swendsen_wang(*where, n_sweeps, self._state)
            return
        coins = (self._coins.random_raw(self.n_lanes) >> np.uint64(63)).astype(np.int64)
        clusters.wolff(*where, n_sweeps * self._n_clusters + coins, self._state)

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies and order parameters of shape (n_lanes,)."""
        return measured(self._model, self._spins)

    def spins(self) -> np.ndarray:
        """Configurations, int8 of shape (n_lanes, n_sites)."""
        return self._spins.copy()


def _clusters_per_sweep(model: SpinModel, coupling: np.ndarray) -> np.ndarray:
    """Sites over the mean size of a cluster, roughly; a function of model and temperature alone.

    The mean size is the susceptibility N <m^2>: about t^(-7/4) in the disordered phase of two
    dimensions, and of the order of N at and below the transition. A rough number will do, since
    it only fixes what is called a sweep.
    """
    lattice = model.lattice
    t = np.maximum(1 - np.abs(coupling) / lattice.critical_coupling, 1e-9)
    size = np.minimum(t**-1.75, lattice.n_sites ** (7 / 8))
    return np.maximum(1, np.round(lattice.n_sites / size)).astype(np.int64)


def measured(model: SpinModel, spins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies and order parameters of configurations, int8 of shape (n, n_sites)."""
    lattice = model.lattice
    minus_bonds, total = clusters.energies_and_magnetizations(spins, lattice.neighbors)
    # behind an open side a site is its own neighbor, a bond that is never antiparallel
    antiparallel = (lattice.n_sites * lattice.n_neighbors // 2 + minus_bonds) // 2
    ups = (total + lattice.n_sites) // 2
    overlap = (spins * ordered_spins(model)).sum(axis=1, dtype=np.int64)
    return model.energies(antiparallel, ups), overlap / lattice.n_sites


def starting_spins(model: SpinModel, beta: np.ndarray, hot: np.ndarray, seed: int) -> np.ndarray:
    """Spins to start from.

    Cold lattices are in a ground state or, where a symmetry makes two, in either at random, so
    that both have their weight even where no move connects them. Hot ones are random; in the
    ordered phase a few Swendsen-Wang sweeps remove the stripes that would otherwise survive for a
    number of local sweeps of the order of L^3.

    Parameters
    ----------
    model : SpinModel
    beta : array of shape (n_lanes,)
    hot : bool array of shape (n_lanes,)
        Which lattices start hot.
    seed : int

    Returns
    -------
    int8 array of shape (n_lanes, n_sites)
    """
    spins = np.repeat(ordered_spins(model)[None], len(beta), axis=0)
    if model.symmetry != "none":
        # of a checkerboard the flipped one is also the shifted one
        flipped = random_bits(derived_seed(seed, 0), (len(beta), 1))
        spins = np.where(flipped, -spins, spins)
    if hot.any():
        up = random_bits(derived_seed(seed, 1), (len(beta), model.lattice.n_sites))
        spins[hot] = 2 * up[hot].astype(np.int8) - 1
    ordered = hot & (abs(model.coupling) * np.asarray(beta) > model.lattice.critical_coupling)
    if ordered.any() and not model.field:
        seed = derived_seed(seed, 2)
        coarse = ClusterFarm(
            model, np.asarray(beta)[ordered], "swendsen_wang", spins[ordered], seed
        )
        coarse.sweep(_COARSENING_SWEEPS)
        spins[ordered] = coarse.spins()
    return spins

r"""Cluster moves for many small Ising lattices: Wolff and Swendsen-Wang.

Energies are :math:`H = -J \sum_{\langle ij \rangle} s_i s_j`, and the moves depend on K = beta J
alone. A bond is satisfied if :math:`K s_i s_j > 0`; it joins its sites with probability
:math:`p = 1 - e^{-2|K|}` if it is satisfied, never else. Swendsen-Wang flips each connected
cluster with probability 1/2 (Swendsen and Wang, Phys. Rev. Lett. 58 (1987) 86), Wolff always flips
the cluster of one random site (Wolff, Phys. Rev. Lett. 62 (1989) 361). At high order start Wolff
from aligned spins: from disorder it needs many more clusters (Du, Zheng and Wang,
cond-mat/0603038).

A lattice is given by its neighbors, an int32 array of shape (n_sites, n_neighbors): columns 0 to
n_neighbors / 2 - 1 are the neighbors in the positive directions, and column d + n_neighbors / 2
holds the one opposite to column d. So each bond stands once in either half; on a side of length 2
it stands there twice and counts twice. Spins are an int8 array of shape (n_lattices, n_sites) with
values -1 and +1, changed in place. Each lattice draws from a state of its own
(:func:`physgen.simulators.xoshiro.seed_states`), so its history depends on no other lattice. The
kernels release the interpreter's lock: threads may work on slices of the lattices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from physgen.simulators import cluster_kernels as kernels
from physgen.simulators.cluster_kernels import Sites, Spins, Words
from physgen.simulators.xoshiro import thresholds

__all__ = ["energies_and_magnetizations", "swendsen_wang", "wolff"]


def wolff(
    spins: Spins,
    neighbors: NDArray[np.int32],
    beta_coupling: ArrayLike,
    n_clusters: ArrayLike,
    states: Words,
) -> NDArray[np.float64]:
    """Flip single clusters, each grown from a random site.

    Parameters
    ----------
    spins : array of shape (n_lattices, n_sites), int8
        -1 or +1, changed in place.
    neighbors : array of shape (n_sites, n_neighbors), int32
        Positive directions first, then the opposite ones.
    beta_coupling : float or array of shape (n_lattices,)
        K = beta J, negative for an antiferromagnet.
    n_clusters : int or array of shape (n_lattices,)
        Number of clusters to flip in each lattice, at least 0.
    states : array of shape (n_lattices, 4), uint64
        From :func:`~physgen.simulators.xoshiro.seed_states`, changed in place.

    Returns
    -------
    array of shape (n_lattices,), float64
        Mean number of sites of the clusters, 0 where there were none. For a ferromagnet its
        expectation is n_sites <m^2>, with m the magnetization per spin.

    Raises
    ------
    ValueError
        If a shape, type, order or range is not the one above.

    Examples
    --------
    A ring of two sites, which two bonds join: they are aligned with probability
    1 / (1 + exp(-4 K)).

    >>> import numpy as np
    >>> from physgen.simulators.xoshiro import seed_states
    >>> pair = np.array([[1, 1], [0, 0]], dtype=np.int32)
    >>> spins = np.ones((1000, 2), dtype=np.int8)
    >>> size = wolff(spins, pair, 0.5, 20, seed_states(1, 0, 1000))
    >>> bool(abs(size.mean() - 2 / (1 + np.exp(-2))) < 0.02)
    True
    """
    _check(spins, neighbors, states)
    coupling = _couplings(beta_coupling, spins)
    counts = _counts(n_clusters, spins, "n_clusters")
    limits = thresholds(-np.expm1(-2 * np.abs(coupling)))
    flipped = kernels.wolff(
        spins, neighbors.view(np.uint32), _signs(coupling), limits, counts, states
    )
    return flipped / np.maximum(counts, 1)


def swendsen_wang(
    spins: Spins,
    neighbors: NDArray[np.int32],
    beta_coupling: ArrayLike,
    n_sweeps: ArrayLike,
    states: Words,
) -> None:
    """Sweeps in which all clusters are found and each is flipped with probability 1/2.

    Parameters
    ----------
    spins, neighbors, beta_coupling, states
        As in :func:`wolff`.
    n_sweeps : int or array of shape (n_lattices,)
        Number of sweeps of each lattice, at least 0.

    Raises
    ------
    ValueError
        If a shape, type, order or range is not the one asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from physgen.simulators.xoshiro import seed_states
    >>> pair = np.array([[1, 1], [0, 0]], dtype=np.int32)
    >>> spins = np.ones((20_000, 2), dtype=np.int8)
    >>> swendsen_wang(spins, pair, 0.5, 10, seed_states(1, 0, 20_000))
    >>> aligned = (spins[:, 0] == spins[:, 1]).mean()
    >>> bool(abs(aligned - 1 / (1 + np.exp(-2))) < 0.02)
    True
    """
    _check(spins, neighbors, states)
    coupling = _couplings(beta_coupling, spins)
    counts = _counts(n_sweeps, spins, "n_sweeps")
    limits = thresholds(-np.expm1(-2 * np.abs(coupling)))
    backward = _backward(neighbors)
    kernels.swendsen_wang(
        spins, backward, _lower(backward), _signs(coupling), limits, counts, states
    )


def energies_and_magnetizations(
    spins: Spins, neighbors: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Energy in units of J, and sum of the spins, of each lattice.

    Parameters
    ----------
    spins : array of shape (n_lattices, n_sites), int8
    neighbors : array of shape (n_sites, n_neighbors), int32
        Positive directions first, then the opposite ones.

    Returns
    -------
    energies : array of shape (n_lattices,), int64
        - sum of s_i s_j over the bonds.
    magnetizations : array of shape (n_lattices,), int64
        Sum of s_i, not divided by the number of sites.

    Raises
    ------
    ValueError
        If a shape, type, order or range is not the one above.

    Examples
    --------
    >>> import numpy as np
    >>> pair = np.array([[1, 1], [0, 0]], dtype=np.int32)
    >>> energy, magnetization = energies_and_magnetizations(np.ones((1, 2), dtype=np.int8), pair)
    >>> int(energy[0]), int(magnetization[0])
    (-2, 2)
    """
    _check(spins, neighbors)
    energies: NDArray[np.int64] = kernels.energies(spins, _backward(neighbors))
    return energies, spins.sum(axis=1, dtype=np.int64)


def _backward(neighbors: NDArray[np.int32]) -> Sites:
    """The half of the columns in which each bond stands once, (n_neighbors / 2, n_sites)."""
    half = neighbors.shape[1] // 2
    return np.ascontiguousarray(neighbors[:, half:].T).view(np.uint32)


def _lower(backward: Sites) -> Words:
    """Bit k of word (d, b) is set if the neighbor of site 64 b + k has a lower number than it."""
    n_directions, n_sites = backward.shape
    bits = np.zeros((n_directions, -(-n_sites // 64), 64), dtype=np.uint64)
    bits.reshape(n_directions, -1)[:, :n_sites] = backward < np.arange(n_sites)
    return (bits << np.arange(64, dtype=np.uint64)).sum(axis=2, dtype=np.uint64)


def _signs(coupling: NDArray[np.float64]) -> Spins:
    return np.where(coupling < 0, -1, 1).astype(np.int8)


def _per_lattice(values: ArrayLike, spins: Spins, name: str) -> NDArray[Any]:
    given = np.asarray(values)
    if given.shape not in ((), (len(spins),)):
        raise ValueError(
            f"{name} must be one number or one per lattice, shape ({len(spins)},); "
            f"got shape {given.shape}"
        )
    return np.broadcast_to(given, (len(spins),))


def _couplings(values: ArrayLike, spins: Spins) -> NDArray[np.float64]:
    coupling = _per_lattice(values, spins, "beta_coupling").astype(np.float64)
    if not np.isfinite(coupling).all():
        wrong = coupling[~np.isfinite(coupling)][0]
        raise ValueError(f"beta_coupling must be finite, got {wrong}")
    return coupling


def _counts(values: ArrayLike, spins: Spins, name: str) -> NDArray[np.int64]:
    counts = _per_lattice(values, spins, name)
    if counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ValueError(f"{name} must be integers of at least 0, got {values!r}")
    return counts.astype(np.int64)


def _check(spins: Spins, neighbors: NDArray[np.int32], states: Words | None = None) -> None:
    """A wrong shape or type would make the kernels write where they must not."""
    _check_array("spins", spins, np.int8, ("n_lattices", "n_sites"))
    _check_array("neighbors", neighbors, np.int32, ("n_sites", "n_neighbors"))
    n_lattices, n_sites = spins.shape
    if len(neighbors) != n_sites or neighbors.shape[1] not in range(2, 65, 2):
        raise ValueError(
            f"neighbors must have shape ({n_sites}, an even number from 2 to 64) for spins of "
            f"shape {spins.shape}, got {neighbors.shape}"
        )
    if n_sites == 0:
        raise ValueError("a lattice needs at least one site, got spins of shape (…, 0)")
    if not 0 <= neighbors.min() <= neighbors.max() < n_sites:
        raise ValueError(
            f"neighbors must be numbers of sites, 0 to {n_sites - 1}; "
            f"got {neighbors.min()} to {neighbors.max()}"
        )
    if states is not None:
        _check_array("states", states, np.uint64, ("n_lattices", "4"))
        if states.shape != (n_lattices, 4):
            raise ValueError(f"states must have shape ({n_lattices}, 4), got {states.shape}")


def _check_array(name: str, array: NDArray[Any], dtype: type, axes: tuple[str, str]) -> None:
    if array.dtype != dtype or array.ndim != 2 or not array.flags.c_contiguous:
        raise ValueError(
            f"{name} must be a C-contiguous array of {np.dtype(dtype).name} with axes "
            f"({', '.join(axes)}), got {array.dtype.name} of shape {array.shape}"
        )

"""Observables: functions of columns that give one number per event."""

from __future__ import annotations

from typing import Any

import numpy as np

from physgen.spin_observables import (
    cluster_sizes,
    require_spins,
    spin_correlations,
    structure_factors,
)

__all__ = [
    "cluster_sizes",
    "delta_phi",
    "energy_ratio",
    "invariant_mass",
    "ising_energy",
    "layer_energies",
    "leading",
    "magnetization",
    "multiplicity",
    "spin_correlations",
    "structure_factors",
    "total_energy",
]


def invariant_mass(
    pt1: np.ndarray,
    eta1: np.ndarray,
    phi1: np.ndarray,
    pt2: np.ndarray,
    eta2: np.ndarray,
    phi2: np.ndarray,
) -> np.ndarray:
    r"""Invariant mass of two massless particles.

    .. math:: m^2 = 2\,p_{T1}\,p_{T2}\,[\cosh(\eta_1-\eta_2) - \cos(\phi_1-\phi_2)]

    Parameters
    ----------
    pt1, pt2 : array of shape (n_events,)
        Transverse momenta, any unit of energy.
    eta1, eta2 : array of shape (n_events,)
        Pseudorapidities.
    phi1, phi2 : array of shape (n_events,)
        Azimuths in rad.

    Returns
    -------
    array of shape (n_events,), float64
        In the unit of pt. Muons of 20 GeV are massless to 1e-5.

    Examples
    --------
    >>> float(invariant_mass(45.6, 0.0, 0.0, 45.6, 0.0, np.pi))
    91.2
    """
    pt1, eta1, phi1, pt2, eta2, phi2 = (
        np.asarray(v, dtype=np.float64) for v in (pt1, eta1, phi1, pt2, eta2, phi2)
    )
    # half angles: cosh - cos cancels for close pairs
    angles = np.sinh((eta1 - eta2) / 2) ** 2 + np.sin((phi1 - phi2) / 2) ** 2
    return 2 * np.sqrt(pt1 * pt2 * angles)


def delta_phi(phi1: np.ndarray, phi2: np.ndarray) -> np.ndarray:
    """Difference of two angles, wrapped to [-pi, pi), in rad.

    Examples
    --------
    >>> round(float(delta_phi(3.0, -3.0)), 4)
    -0.2832
    """
    difference = np.asarray(phi1, dtype=np.float64) - np.asarray(phi2, dtype=np.float64)
    return (difference + np.pi) % (2 * np.pi) - np.pi


def magnetization(spins: np.ndarray) -> np.ndarray:
    r"""Magnetization per spin :math:`m = \frac1N\sum_i s_i`, in [-1, 1].

    Parameters
    ----------
    spins : array of shape (n_events, ...)
        Spins of +1 and -1.

    Raises
    ------
    ValueError
        If a spin is neither -1 nor +1.

    Examples
    --------
    >>> magnetization(np.ones((1, 4, 4), dtype=np.int8))
    array([1.])
    """
    require_spins(spins)
    return _per_event(spins).mean(axis=1)


def ising_energy(spins: np.ndarray) -> np.ndarray:
    r"""Energy of Ising spins on a periodic lattice, in units of J, extensive.

    .. math:: H = -\sum_{\langle ij\rangle} s_i s_j

    with each bond once: a lattice of N spins in d dimensions has d N bonds (two between the
    same pair of spins where a side is 2). The ground state has energy -d N.

    Parameters
    ----------
    spins : array of shape (n_events, n_side) or (n_events, n_side, n_side) or more dimensions
        Spins of +1 and -1.

    Returns
    -------
    array of shape (n_events,), float64

    Raises
    ------
    ValueError
        If a spin is neither -1 nor +1.

    Examples
    --------
    >>> ising_energy(np.ones((1, 4, 4), dtype=np.int8))
    array([-32.])
    """
    require_spins(spins)
    s = np.asarray(spins, dtype=np.float64)
    lattice = tuple(range(1, s.ndim))
    bonds = [(s * np.roll(s, 1, axis)).sum(axis=lattice) for axis in lattice]
    return -np.sum(bonds, axis=0)


def layer_energies(showers: np.ndarray, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Energy per layer of showers on a regular grid of voxels.

    Parameters
    ----------
    showers : array of shape (n_events, n_voxels) or (n_events, n_layers, ...)
        Voxel energies.
    shape : tuple of int, optional
        Binning (n_layers, ...) of flat showers, the layer slowest; e.g. (45, 16, 9) for
        CaloChallenge data set 2 (z, alpha, r).

    Returns
    -------
    array of shape (n_events, n_layers), float64
        In the unit of the voxels.

    Examples
    --------
    >>> layer_energies(np.arange(8.0)[None], (2, 2, 2))
    array([[ 6., 22.]])
    """
    e = np.asarray(showers, dtype=np.float64)
    if shape is not None:
        if int(np.prod(shape)) != int(np.prod(e.shape[1:])):
            raise ValueError(
                f"showers of {int(np.prod(e.shape[1:]))} voxels do not fit the binning {shape} "
                f"with {int(np.prod(shape))}"
            )
        e = e.reshape(len(e), *shape)
    return e.reshape(*e.shape[:2], -1).sum(axis=2)


def total_energy(showers: np.ndarray) -> np.ndarray:
    """Sum of all voxels, shape (n_events,), in the unit of the voxels."""
    return _per_event(showers).sum(axis=1)


def energy_ratio(showers: np.ndarray, incident_energy: np.ndarray) -> np.ndarray:
    """Deposited over incident energy, shape (n_events,); both in the same unit."""
    return total_energy(showers) / np.asarray(incident_energy, dtype=np.float64).reshape(-1)


def multiplicity(column: Any) -> np.ndarray:
    """Entries per event of a jagged column, int64 of shape (n_events,)."""
    import awkward as ak

    return np.asarray(ak.num(column, axis=1), dtype=np.int64)


def leading(column: Any, empty: float = 0.0) -> np.ndarray:
    """First entry per event of a jagged column, float64; ``empty`` where there is none."""
    import awkward as ak

    first = ak.fill_none(ak.firsts(column, axis=1), empty)
    return np.asarray(first, dtype=np.float64)


def _per_event(values: np.ndarray) -> np.ndarray:
    v = np.asarray(values)
    return v.reshape(len(v), -1).astype(np.float64)

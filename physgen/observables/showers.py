"""Energies of calorimeter showers."""

from __future__ import annotations

import numpy as np


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


def _per_event(values: np.ndarray) -> np.ndarray:
    v = np.asarray(values)
    return v.reshape(len(v), -1).astype(np.float64)

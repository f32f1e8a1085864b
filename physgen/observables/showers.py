r"""Observables of calorimeter showers, as the CaloChallenge defines them.

A layer is binned in rings of r times equal angles alpha from -pi to pi, voxels in the order
(alpha, r), r fastest. The center of a voxel is :math:`(x, y) = r\,(\cos\alpha, \sin\alpha)`, r in
the middle of its ring. The challenge calls x "eta" and y "phi", although both are lengths, and so
do the names here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

__all__ = [
    "LayerFeatures",
    "RingLayer",
    "energy_ratio",
    "layer_energies",
    "layer_features",
    "total_energy",
    "voxel_energies",
]


class RingLayer(Protocol):
    """One layer, as :class:`physgen.files.binning.Layer` describes it."""

    @property
    def id(self) -> int:
        """Number of the layer in the detector."""

    @property
    def r_edges(self) -> tuple[float, ...]:
        """Edges of the rings, n_r + 1 of them, any unit of length."""

    @property
    def n_alpha(self) -> int:
        """Number of angular bins."""


@dataclass(frozen=True)
class LayerFeatures:
    """High-level features of showers, arrays of shape (n_events, n_layers), float64.

    Attributes
    ----------
    energy : array
        Sum of the voxels, in their unit.
    sparsity : array
        Fraction of the voxels that are 0.
    center_eta, center_phi, center_r : array
        Mean position weighted by energy, in the unit of ``r_edges``; 0 without energy.
    width_eta, width_phi, width_r : array
        Standard deviation weighted by energy, in the same unit.
    has_angles : array of bool, shape (n_layers,)
        Whether the layer has more than one angular bin; only then eta and phi mean anything.
    """

    energy: np.ndarray
    sparsity: np.ndarray
    center_eta: np.ndarray
    center_phi: np.ndarray
    center_r: np.ndarray
    width_eta: np.ndarray
    width_phi: np.ndarray
    width_r: np.ndarray
    has_angles: np.ndarray


def layer_features(
    showers: np.ndarray, layers: Sequence[RingLayer], *, threshold: float = 0.0
) -> LayerFeatures:
    r"""Energy, sparsity, center and width of each layer.

    .. math:: {\rm EC}_x = \frac{\sum_k x_k e_k}{\sum_k e_k}, \qquad
              {\rm width}_x = \sqrt{\frac{\sum_k x_k^2 e_k}{\sum_k e_k} - {\rm EC}_x^2}

    Parameters
    ----------
    showers : array of shape (n_events, n_voxels)
        Voxel energies, layer after layer.
    layers : sequence of RingLayer
        Binning of the layers, e.g. ``Binning.from_schema(events.schema).layers``.
    threshold : float, default 0
        Voxels below count as 0 (the challenge: 1 MeV in data set 1, 15.15 keV in 2 and 3).

    Returns
    -------
    LayerFeatures

    Raises
    ------
    ValueError
        If the showers have another number of voxels than the layers.

    References
    ----------
    Krause et al., *CaloChallenge 2022*, arXiv:2410.21611; the code of the challenge,
    ``HighLevelFeatures.py``.
    """
    e, sizes = np.asarray(showers), [(len(x.r_edges) - 1) * x.n_alpha for x in layers]
    if e.ndim != 2 or e.shape[1] != sum(sizes):
        raise ValueError(
            f"showers have the shape (n_events, n_voxels) with the {sum(sizes)} voxels of these "
            f"{len(sizes)} layers, got {e.shape}"
        )
    stops = np.cumsum(sizes)
    parts = [
        _of_layer(e[:, stop - size : stop], layer, threshold)
        for layer, size, stop in zip(layers, sizes, stops, strict=True)
    ]
    columns = [np.stack(column, axis=1) for column in zip(*parts, strict=True)]
    has_angles = np.array([layer.n_alpha > 1 for layer in layers])
    return LayerFeatures(*[*columns, has_angles])


def voxel_energies(showers: np.ndarray, *, threshold: float = 0.0) -> np.ndarray:
    """Return the energies of all voxels above a threshold, of all events in one row.

    Their law is the voxel spectrum. It is one of voxels, not of events: those of one shower
    depend on each other, so tests between independent numbers do not hold for it.

    Examples
    --------
    >>> voxel_energies(np.array([[0.0, 0.5], [2.0, 0.01]]), threshold=0.1)
    array([0.5, 2. ])
    """
    e = np.asarray(showers)
    return e[e > threshold].astype(np.float64)


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
    """Sum of all voxels, shape (n_events,), float64, in the unit of the voxels."""
    e = np.asarray(showers)
    return e.reshape(len(e), -1).sum(axis=1, dtype=np.float64)


def energy_ratio(showers: np.ndarray, incident_energy: np.ndarray) -> np.ndarray:
    """Deposited over incident energy, shape (n_events,); both in the same unit."""
    return total_energy(showers) / np.asarray(incident_energy, dtype=np.float64).reshape(-1)


def _of_layer(voxels: np.ndarray, layer: RingLayer, threshold: float) -> tuple[np.ndarray, ...]:
    """Energy, sparsity, centers and widths of one layer, in the order of LayerFeatures."""
    e = voxels.astype(np.float64)
    if threshold > 0:
        e[e < threshold] = 0.0
    positions = _positions(layer)
    total = e.sum(axis=1)
    first, second = (e @ x / (total[:, None] + 1e-16) for x in (positions, positions**2))
    widths = np.sqrt(np.maximum(second - first**2, 0.0))
    return total, 1 - (e > 0).mean(axis=1), *first.T, *widths.T


def _positions(layer: RingLayer) -> np.ndarray:
    """Columns x, y and r of the centers of the voxels, r fastest."""
    edges = np.asarray(layer.r_edges, dtype=np.float64)
    alpha = (np.arange(layer.n_alpha) + 0.5) * 2 * np.pi / layer.n_alpha - np.pi
    r, angle = (
        np.tile((edges[1:] + edges[:-1]) / 2, layer.n_alpha),
        np.repeat(alpha, len(edges) - 1),
    )
    return np.stack((r * np.cos(angle), r * np.sin(angle), r), axis=1)

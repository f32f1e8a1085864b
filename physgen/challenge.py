"""The CaloChallenge 2022: its data sets, features, histograms and published results.

Definitions and numbers are those of Krause et al., arXiv:2410.21611, and of the code of the
challenge (github.com/CaloChallenge/homepage, ``evaluate.py``, ``HighLevelFeatures.py``).
"""

from __future__ import annotations

import csv
import importlib.resources
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from physgen.files.binning import Layer
from physgen.observables.showers import energy_ratio, layer_features, voxel_energies

__all__ = [
    "DATASETS",
    "ChallengeDataset",
    "Published",
    "high_level_features",
    "published_results",
    "separation_powers",
]

_SMALL = 1e-8  # MeV, keeps the logarithm of an empty layer finite


@dataclass(frozen=True)
class ChallengeDataset:
    """One data set of the challenge.

    Attributes
    ----------
    name : str
        As in the table of results: ``"ds1_photons"``, ``"ds1_pions"``, ``"ds2"``, ``"ds3"``.
    layers : tuple of (int, int, int)
        Number, rings and angles of each layer.
    threshold : float
        Voxels below [MeV] count as 0 in the evaluation.
    n_events : int
        Events that the published numbers rest on, on either side.
    energies : tuple of float
        Incident energies [MeV]: the only ones there are in data set 1, else lowest and highest.
    """

    name: str
    layers: tuple[tuple[int, int, int], ...]
    threshold: float
    n_events: int
    energies: tuple[float, ...]

    @property
    def n_voxels(self) -> int:
        """Voxels of all layers."""
        return sum(n_r * n_alpha for _, n_r, n_alpha in self.layers)


def _regular(n_r: int, n_alpha: int) -> tuple[tuple[int, int, int], ...]:
    return tuple((k, n_r, n_alpha) for k in range(45))


_POWERS_OF_TWO = tuple(2.0**k for k in range(8, 23))
_PHOTONS = ((0, 8, 1), (1, 16, 10), (2, 19, 10), (3, 5, 1), (12, 5, 1))
_PIONS = ((0, 8, 1), (1, 10, 10), (2, 10, 10), (3, 5, 1), (12, 15, 10), (13, 16, 10), (14, 10, 1))
_READOUT = 0.5e-3 / 0.033

DATASETS = (
    ChallengeDataset("ds1_photons", _PHOTONS, 1.0, 121_000, _POWERS_OF_TWO),
    ChallengeDataset("ds1_pions", _PIONS, 1.0, 120_800, _POWERS_OF_TWO),
    ChallengeDataset("ds2", _regular(9, 16), _READOUT, 100_000, (1e3, 1e6)),
    ChallengeDataset("ds3", _regular(18, 50), _READOUT, 100_000, (1e3, 1e6)),
)


@dataclass(frozen=True)
class Published:
    """Results of one submission on one data set.

    Attributes
    ----------
    dataset, name : str
        Data set and submission; ``"GEANT4"`` is the truth against itself.
    values : dict of float
        Scores by column of the table, e.g. ``"FPD * 1e3"``; without those that are missing.
    """

    dataset: str
    name: str
    values: dict[str, float]


def published_results() -> tuple[Published, ...]:
    """Read the table of results of the challenge that comes with physgen.

    References
    ----------
    Krause et al., arXiv:2410.21611, tables of the organizers.

    Examples
    --------
    >>> [p.values["FPD * 1e3"] for p in published_results() if p.name == "CaloDREAM"]
    [24.6488, 20.7469]
    """
    text = importlib.resources.files("physgen").joinpath("calochallenge_results.csv").read_text()
    return tuple(
        Published(
            row["dataset"],
            row["submission name"],
            {k: float(v) for k, v in row.items() if v and k not in _NO_SCORES},
        )
        for row in csv.DictReader(text.splitlines())
    )


_NO_SCORES = ("submission id", "dataset", "submission name")


def high_level_features(
    showers: np.ndarray,
    incident_energies: np.ndarray,
    layers: Sequence[Layer],
    *,
    threshold: float = 0.0,
) -> np.ndarray:
    r"""Feature vectors of the high-level classifier, of FPD and of KPD.

    In this order: :math:`\log_{10} E_{\rm inc}`, :math:`\log_{10}(E_l + 10^{-8})` of every layer;
    of the layers binned in angle the centers in eta and in phi and the widths in eta and in phi;
    :math:`\log_{10}(E_{\rm tot} + 10^{-8})`; of every layer the sparsity, the center and the width
    in r. Lengths are in units of 100 mm, energies in MeV.

    Parameters
    ----------
    showers : array of shape (n_events, n_voxels)
        Voxel energies [MeV].
    incident_energies : array of shape (n_events,)
        Energies of the particles [MeV].
    layers : sequence of Layer
        Binning.
    threshold : float, default 0
        Voxels below [MeV] count as 0.

    Returns
    -------
    array of shape (n_events, n_features), float64
    """
    f = layer_features(showers, layers, threshold=threshold)
    incident = np.asarray(incident_energies, dtype=np.float64).reshape(-1, 1)
    total = f.energy.sum(axis=1, keepdims=True)
    on = f.has_angles
    return np.concatenate(
        (
            np.log10(incident),
            np.log10(np.maximum(f.energy, 0) + _SMALL),
            *(x[:, on] / 100 for x in (f.center_eta, f.center_phi, f.width_eta, f.width_phi)),
            np.log10(np.maximum(total, 0) + _SMALL),
            f.sparsity,
            f.center_r / 100,
            f.width_r / 100,
        ),
        axis=1,
    )


def separation_powers(
    reference: tuple[np.ndarray, np.ndarray],
    candidate: tuple[np.ndarray, np.ndarray],
    layers: Sequence[Layer],
    *,
    threshold: float,
) -> dict[str, float]:
    r"""Separation powers of the histograms of the challenge.

    .. math:: \tfrac12\sum_k \frac{(p_k - q_k)^2}{p_k + q_k}

    Entries beyond the histogram are dropped, as there. Quantities of the layers give the mean over
    the layers. The voxel spectrum pools the voxels of all events.

    Parameters
    ----------
    reference, candidate : pair of array
        Showers [MeV] of shape (n_events, n_voxels), and incident energies [MeV].
    layers : sequence of Layer
        Binning.
    threshold : float
        Voxels below [MeV] count as 0; where the logarithmic axes begin.

    Returns
    -------
    dict of float
        In [0, 1], by quantity.

    References
    ----------
    Diefenbacher et al., arXiv:2009.03796, eq. (15).
    """
    e, f = (np.where(np.asarray(s[0]) < threshold, 0, s[0]) for s in (reference, candidate))
    a, b = layer_features(e, layers), layer_features(f, layers)
    ratios = energy_ratio(e, reference[1]), energy_ratio(f, candidate[1])
    voxels = voxel_energies(e), voxel_energies(f)
    found = {
        "E_tot / E_inc": _separation(ratios[0], ratios[1], np.linspace(0.5, 1.5, 101)),
        "voxel energies": _separation(voxels[0], voxels[1], _log_edges(voxels[0], threshold, 50)),
    }
    every, binned = range(len(layers)), np.flatnonzero(a.has_angles)
    centers = [np.linspace(-w, w, 101) for w in map(_center_range, layers)]
    widths = [np.linspace(0, w, 101) for w in map(_width_range, layers)]
    logs = [_log_edges(x, threshold, 40) for x in a.energy.T]
    sparsities = [np.linspace(0, 1, 21)] * len(layers)
    for name, field, where, edges in (
        ("layer energies", "energy", every, logs),
        ("centers in eta", "center_eta", binned, centers),
        ("centers in phi", "center_phi", binned, centers),
        ("widths in eta", "width_eta", binned, widths),
        ("widths in phi", "width_phi", binned, widths),
        ("sparsities", "sparsity", every, sparsities),
    ):
        x, y = getattr(a, field), getattr(b, field)
        powers = [_separation(x[:, k], y[:, k], edges[k]) for k in where]
        found[name] = float(np.mean(powers)) if powers else math.nan
    return found


def _separation(x: np.ndarray, y: np.ndarray, edges: np.ndarray) -> float:
    p, q = (np.histogram(v, edges)[0].astype(np.float64) for v in (x, y))
    p, q = p / max(p.sum(), 1.0), q / max(q.sum(), 1.0)
    return float(0.5 * ((p - q) ** 2 / (p + q + 1e-16)).sum())


def _log_edges(reference: np.ndarray, lowest: float, n_edges: int) -> np.ndarray:
    """Edges up to the largest value of the reference; n edges make n - 1 bins."""
    start = lowest or float(reference[reference > 0].min(initial=1.0))
    stop = max(float(reference.max(initial=0.0)), 2 * start)
    return np.logspace(math.log10(start), math.log10(stop), n_edges)


def _center_range(layer: Layer) -> float:
    if layer.r_edges[-1] < 60:  # data sets 2 and 3
        return 30.0
    return 500.0 if layer.id in (12, 13) else 100.0


def _width_range(layer: Layer) -> float:
    return {500.0: 400.0}.get(_center_range(layer), _center_range(layer))

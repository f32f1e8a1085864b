"""How many clusters of each size a lattice has, with errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from physgen.columns import flat_values
from physgen.observables import cluster_sizes, multiplicity
from physgen.observables.spins import lattice_shape
from physgen.thermodynamics.estimation import estimate_columns

__all__ = ["ClusterSizes", "cluster_size_distribution"]


class ClusterSizes(NamedTuple):
    """Number of clusters per site and unit of size, in bins of the size.

    Attributes
    ----------
    edges : array of shape (n_bins + 1,)
        Bin j holds the sizes from edges[j] to edges[j + 1] - 1.
    value, std_error : array of shape (n_bins,)
        Mean number of clusters per site and unit of size, and its standard error. Bins of one
        event are correlated.
    """

    edges: np.ndarray
    value: np.ndarray
    std_error: np.ndarray


def cluster_size_distribution(
    spins: np.ndarray,
    *,
    edges: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    independent: bool = False,
) -> ClusterSizes:
    r"""Number of geometric clusters of s spins per site, n(s).

    Clusters are those of :func:`physgen.observables.cluster_sizes`. Since every spin is in one,
    :math:`\sum_s s\,n(s) = 1`.

    Parameters
    ----------
    spins : array of shape (n_events, n_side) or (n_events, n_side, n_side) or more dimensions
        Spins of +1 and -1 on a periodic lattice; several chains one after the other.
    edges : array of int, optional
        Increasing edges of the bins; by default four bins per factor of two, 1 and N among them.
    weights, independent
        As in `correlation_function`, like the errors.

    Returns
    -------
    ClusterSizes
        ``edges, value, std_error``

    Examples
    --------
    >>> up = np.ones((100, 4, 4), dtype=np.int8)
    >>> edges, value, _ = cluster_size_distribution(up, edges=[1, 16, 17])
    >>> value.tolist()  # one cluster on 16 sites
    [0.0, 0.0625]
    """
    n_sites = int(np.prod(lattice_shape(spins)))
    edges = _default_edges(n_sites) if edges is None else _checked_edges(edges)
    sizes = cluster_sizes(spins)
    n_bins = len(edges) - 1
    bins = np.searchsorted(edges, flat_values(sizes, True), side="right") - 1
    event = np.repeat(np.arange(len(spins)), multiplicity(sizes))
    inside = (bins >= 0) & (bins < n_bins)
    cells = event[inside] * n_bins + bins[inside]
    counts = np.bincount(cells, minlength=len(spins) * n_bins).reshape(-1, n_bins)
    densities = counts / (np.diff(edges) * n_sites)
    curve = estimate_columns(edges[:-1], densities, weights=weights, independent=independent)
    return ClusterSizes(edges, curve.value, curve.std_error)


def _default_edges(n_sites: int) -> np.ndarray:
    n_bins = int(np.ceil(4 * np.log2(n_sites)))
    edges = np.unique(np.geomspace(1, n_sites, n_bins + 1).round().astype(np.int64))
    return np.append(edges, n_sites + 1)


def _checked_edges(edges: ArrayLike) -> np.ndarray:
    found = np.asarray(edges)
    if (
        found.ndim != 1
        or len(found) < 2
        or found.dtype.kind not in "iu"
        or (np.diff(found) < 1).any()
    ):
        raise ValueError(f"edges must be two or more increasing integers, got {found.tolist()}")
    return found.astype(np.int64)

"""Clusters of equal spins on a periodic lattice."""

from __future__ import annotations

from typing import Any

import numpy as np

from physgen.observables.spins import blocks_of_spins, lattice_shape, require_spins

__all__ = ["cluster_sizes"]


def cluster_sizes(spins: np.ndarray) -> Any:
    """Numbers of spins in the geometric clusters of each periodic lattice, largest first.

    A cluster is a set of equal spins joined by nearest neighbors. `leading` gives the largest
    cluster and `multiplicity` the number of clusters.

    Parameters
    ----------
    spins : array of shape (n_events, n_side) or (n_events, n_side, n_side) or more dimensions
        Spins of +1 and -1.

    Returns
    -------
    awkward array of n_events lists of int32
        The sizes of an event add up to its number of spins.

    Raises
    ------
    ValueError
        If a spin is neither -1 nor +1.

    Examples
    --------
    >>> cluster_sizes(np.array([[1, 1, -1, -1, -1, 1]])).tolist()
    [[3, 3]]
    """
    import awkward as ak

    lattice_shape(spins)
    sizes, counts = [], []
    for block in blocks_of_spins(spins):
        require_spins(block)
        event, size = _labeled_sizes(block)
        sizes.append(size[np.lexsort((-size, event))].astype(np.int32))
        counts.append(np.bincount(event, minlength=len(block)))
    return ak.unflatten(np.concatenate(sizes), np.concatenate(counts))


def _labeled_sizes(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Event and size of every cluster of the lattices (n, *sides)."""
    from scipy.ndimage import generate_binary_structure, label
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    bonds = generate_binary_structure(s.ndim, 1)
    bonds[[0, 2]] = False  # events are not neighbors
    labels, n_up = label(s > 0, bonds)
    down, n_down = label(s <= 0, bonds)
    labels = np.where(s > 0, labels, down + n_up) - 1
    pairs = np.concatenate(
        [_across_the_edge(s, labels, axis) for axis in range(1, s.ndim)], axis=1
    )
    n_labels = n_up + n_down
    joined = coo_array((np.ones(pairs.shape[1], dtype=bool), pairs), (n_labels, n_labels))
    n_clusters, cluster_of = connected_components(joined, directed=False)
    cluster = cluster_of[labels.reshape(len(s), -1)]
    size = np.bincount(cluster.reshape(-1), minlength=n_clusters)
    event = np.empty(n_clusters, dtype=np.int64)
    event[cluster] = np.arange(len(s))[:, None]
    return event, size


def _across_the_edge(s: np.ndarray, labels: np.ndarray, axis: int) -> np.ndarray:
    """Labels of equal spins that only the periodic boundary joins, shape (2, n_pairs)."""
    first, last = (np.take(labels, i, axis) for i in (0, -1))
    equal = np.take(s, 0, axis) == np.take(s, -1, axis)
    return np.stack((first[equal], last[equal]))

r"""Nearest neighbors, exact, without a matrix of all distances.

Many dimensions: blocks of :math:`|u-v|^2 = |u|^2 - 2uv + |v|^2` by float32 matrix products, of
which only the nearest are kept. Few dimensions: a k-d tree (scipy's ``cKDTree``), which visits a
few of the points. The distances returned are taken anew in float64, since the difference of
squares has lost its digits where points nearly coincide.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

__all__ = ["TREE_DIMENSIONS", "nearest", "pairs_in_balls"]

# 10,000 points against 10,000: a tree takes 0.05 s for 6 numbers each and 0.4 s for 10, blocks
# take 0.3 s for either
TREE_DIMENSIONS = 8
_ROWS, _COLUMNS = 1024, 4096  # of a block: 16 MB
_SLACK = 1e-6  # of a squared length: the rounding of float32 must not decide about a tie


def nearest(
    points: np.ndarray, among: np.ndarray | None = None, *, k: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest neighbors of every point, by Euclidean distance.

    Parameters
    ----------
    points : array of shape (n, d)
        Where to look from.
    among : array of shape (m, d), optional
        Where to look; None for the other points of the sample itself.
    k : int, default 1
        Neighbors; at most m, or n - 1 within one sample.

    Returns
    -------
    distances : array of shape (n, k), float64
        Sorted, the nearest first.
    index : array of shape (n, k)
        Rows of the neighbors. Which one of several at one distance is not defined.

    Raises
    ------
    ValueError
        If there are fewer than k points to find.

    Examples
    --------
    >>> distances, index = nearest(np.array([[0.0], [5.0]]), np.array([[1.0], [4.5], [9.0]]), k=2)
    >>> distances.tolist(), index.tolist()
    ([[1.0, 4.5], [0.5, 4.0]], [[0, 1], [1, 0]])
    """
    itself = among is None
    others = points if among is None else among
    if len(others) - itself < k:
        raise ValueError(
            f"{k} neighbors wanted of {len(others) - itself} points: give more points"
        )
    find = _by_tree if points.shape[1] <= TREE_DIMENSIONS else _by_blocks
    index = find(points, others, k, itself)
    distances = _distances(points, others, index)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, 1), np.take_along_axis(index, order, 1)


def pairs_in_balls(
    centers: np.ndarray, radii: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the points in every ball; the rim belongs to it.

    Parameters
    ----------
    centers : array of shape (n, d)
        Centers of the balls.
    radii : array of shape (n,)
        Their radii.
    points : array of shape (m, d)
        Points.

    Returns
    -------
    balls, at : array of int, shape (n_pairs,)
        Rows of ball and point, of every pair in which the ball holds the point.
    distances : array of shape (n_pairs,)
        Between them, in single precision for many dimensions.

    Examples
    --------
    >>> balls, at, distances = pairs_in_balls(
    ...     np.array([[0.0], [3.0]]), np.array([1.0, 2.5]), np.array([[0.9], [1.0], [7.0]])
    ... )
    >>> balls.tolist(), at.tolist(), distances.round(3).tolist()
    ([0, 0, 1, 1], [0, 1, 0, 1], [0.9, 1.0, 2.1, 2.0])
    """
    if centers.shape[1] <= TREE_DIMENSIONS:
        return _pairs_by_tree(centers, radii, points)
    u, v = _centered(centers, points)
    squares = torch.from_numpy(np.square(radii)).float() + _SLACK * _mean_square(u, v)
    found = []
    for i, j, block in _blocks(u, v):
        ball, point = (block <= squares[i, None]).nonzero(as_tuple=True)
        length = block[ball, point].clamp_(min=0).sqrt_()
        found.append((ball + i.start, point + j.start, length))
    balls, at, lengths = (torch.cat(part).numpy() for part in zip(*found, strict=True))
    return balls, at, lengths


def _by_tree(points: np.ndarray, among: np.ndarray, k: int, itself: bool) -> np.ndarray:
    from scipy.spatial import cKDTree

    index = cKDTree(among).query(points, k + itself)[1].reshape(len(points), k + itself)
    if not itself:
        return index
    # the point itself need not come first among points that coincide
    own = index == np.arange(len(points))[:, None]
    own[~own.any(axis=1), -1] = True
    return index[~own].reshape(len(points), k)


def _by_blocks(points: np.ndarray, among: np.ndarray, k: int, itself: bool) -> np.ndarray:
    u, v = _centered(points, among)
    best = torch.full((len(u), k), torch.inf)
    index = torch.zeros((len(u), k), dtype=torch.int64)
    for i, j, block in _blocks(u, v):
        if itself:
            first = max(i.start, j.start)
            own = torch.arange(first, max(first, min(i.stop, j.stop)))
            block[own - i.start, own - j.start] = torch.inf
        values, at = block.topk(min(k, block.shape[1]), 1, largest=False, sorted=False)
        values, at = torch.cat((best[i], values), 1), torch.cat((index[i], at + j.start), 1)
        best[i], kept = values.topk(k, 1, largest=False)
        index[i] = at.gather(1, kept)
    return index.numpy()


def _pairs_by_tree(
    centers: np.ndarray, radii: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from scipy.spatial import cKDTree

    rim = radii * (1 + 1e-12)  # a neighbor at this very distance counts
    found = cKDTree(points).query_ball_point(centers, rim, return_sorted=True)
    balls = np.repeat(np.arange(len(centers)), [len(rows) for rows in found])
    at = np.concatenate([np.asarray(rows, dtype=np.int64) for rows in found])
    return balls, at, _distances(centers[balls], points, at[:, None])[:, 0]


def _centered(x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
    """Both samples in float32 about one center, near which differences of squares are best."""
    center = y.mean(axis=0, dtype=np.float64)
    u, v = (np.subtract(z, center).astype(np.float32, copy=False) for z in (x, y))
    return torch.from_numpy(u), torch.from_numpy(v)


def _mean_square(u: Tensor, v: Tensor) -> float:
    return float(u.square().sum(1).mean() + v.square().sum(1).mean())


def _blocks(u: Tensor, v: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Blocks of squared distances, with the rows of u and v they belong to."""
    u_square, v_square = u.square().sum(1), v.square().sum(1)
    for start in range(0, len(u), _ROWS):
        i = slice(start, min(start + _ROWS, len(u)))
        for first in range(0, len(v), _COLUMNS):
            j = slice(first, min(first + _COLUMNS, len(v)))
            square = u_square[i, None] + v_square[j]
            yield i, j, torch.addmm(square, u[i], v[j].T, alpha=-2.0, out=square)


def _distances(points: np.ndarray, among: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Distances of the points to these rows, in float64."""
    squares = np.empty(index.shape)
    for start in range(0, len(points), _ROWS):
        i = slice(start, start + _ROWS)
        for column in range(index.shape[1]):
            gap = np.subtract(points[i], among[index[i, column]], dtype=np.float64)
            squares[i, column] = np.einsum("ij,ij->i", gap, gap)
    return np.sqrt(squares)

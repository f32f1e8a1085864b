r"""Quadratic forms :math:`c^T K c` of many columns c at once, with K streamed in tiles.

Tiles are products in float32, their sums float64. Beside the forms of all columns, those over
pairs of one group (an event and itself, or a block of a chain) are kept for the first few
columns, and K c without such pairs: what unbiased sums and their errors need.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from physgen.metrics.ladders import SPARE, Kernel

__all__ = ["FeatureForm", "TileForm", "full_precision", "lay_out", "random_features", "tiles"]

_TILE = {"cpu": 512, "cuda": 8192}  # rows: 1 MB of kernel values, which a cache holds, or 256 MB
_ROWS = 4096  # per step over the events


class TileForm:
    """Forms of a matrix that comes in tiles of its upper triangle.

    Parameters
    ----------
    c : Tensor of shape (n, n_columns)
        Columns, float32 or int8.
    groups : array of shape (n,)
        Group of each row, in ascending order.
    n_kernels : int
        Matrices that come together.
    n_tracked : int
        Columns, the first ones, for which ``within`` and ``rows`` are kept.

    Attributes
    ----------
    total : Tensor of shape (n_kernels, n_columns)
        Forms over all pairs.
    within : Tensor of shape (n_kernels, n_tracked)
        Forms over pairs of one group.
    rows : Tensor of shape (n_kernels, n, n_tracked)
        K c over pairs of two groups.
    """

    def __init__(self, c: Tensor, groups: np.ndarray, n_kernels: int, n_tracked: int) -> None:
        self.c, self.groups, self.n_tracked = c, groups, n_tracked
        self.total = _zeros(c, n_kernels, c.shape[1])
        self.within = _zeros(c, n_kernels, n_tracked)
        self.rows = _zeros(c, n_kernels, len(c), n_tracked)

    def add(self, i: slice, j: slice, kernels: list[Tensor]) -> None:
        """Add tiles of rows i and columns j, which begin at row i or after it."""
        ours, theirs = self.c[i].float(), self.c[j].float()
        u, v = ours[:, : self.n_tracked], theirs[:, : self.n_tracked]
        times = 1 if i == j else 2
        same = self._same_group(i, j)
        for k, kernel in enumerate(kernels):
            product = kernel @ theirs
            self.total[k] += times * (ours * product).sum(0, dtype=torch.float64)
            if not self.n_tracked:
                continue
            self.rows[k, i] += product[:, : self.n_tracked]
            if i != j:
                self.rows[k, j] += kernel.T @ u
            if same is not None:
                kernel = kernel * same
                product = kernel @ v
                self.within[k] += times * (u * product).sum(0, dtype=torch.float64)
                self.rows[k, i] -= product
                if i != j:
                    self.rows[k, j] -= kernel.T @ u

    def _same_group(self, i: slice, j: slice) -> Tensor | None:
        ours, theirs = self.groups[i], self.groups[j]
        if ours[-1] < theirs[0]:
            return None
        return torch.from_numpy(ours[:, None] == theirs).to(self.c.device)


class FeatureForm:
    r"""Forms of :math:`K = \Psi\Psi^T` from features in parts; attributes of :class:`TileForm`.

    Parameters
    ----------
    features : callable
        Gives the features of a slice of rows, one array of shape (n_rows, n_features) per kernel.
    c, groups, n_tracked
        As for :class:`TileForm`.
    """

    def __init__(
        self,
        features: Callable[[slice], list[Tensor]],
        c: Tensor,
        groups: np.ndarray,
        n_tracked: int,
    ) -> None:
        parts = list(_whole_groups(groups))
        means = _added([f.T @ c[i].float() for f in features(i)] for i in parts)
        self.total = torch.stack([m.square().sum(0) for m in means])
        self.within = _zeros(c, len(means), n_tracked)
        self.rows = _zeros(c, len(means), len(c), n_tracked)
        for i in parts if n_tracked else ():
            group = torch.from_numpy(groups[i] - groups[i.start]).to(c.device)
            for k, f in enumerate(features(i)):
                for t in range(n_tracked):
                    terms = c[i, t].float()[:, None] * f
                    sums = f.new_zeros(int(group[-1]) + 1, f.shape[1]).index_add_(0, group, terms)
                    self.within[k, t] += sums.square().sum(dtype=torch.float64)
                    self.rows[k, i, t] = f @ means[k][:, t].float() - (f * sums[group]).sum(1)


def lay_out(
    kernel: Kernel, x: Tensor, y: Tensor, order: np.ndarray, device: torch.device
) -> Tensor:
    """Pooled features in this order, centered and in float32, with columns to spare.

    Parameters
    ----------
    kernel : Kernel
        Tells whether to center.
    x, y : Tensor of shape (n, d) and (m, d)
        Encoded features.
    order : array of int, shape (n_rows,)
        Pooled events: x is 0 to n - 1, y follows.

    Returns
    -------
    Tensor of shape (n_rows, d + 2)

    Raises
    ------
    ValueError
        For features that are NaN or infinite.
    """
    steps = [order[start : start + _ROWS] for start in range(0, len(order), _ROWS)]
    (total,) = _added([_rows(x, y, step).sum(0)] for step in steps)
    if not torch.isfinite(total).all():
        column = int((~torch.isfinite(total)).nonzero()[0])
        raise ValueError(
            f"the MMD needs finite features, but column {column} holds NaN or infinite values; "
            "leave such events out of both samples"
        )
    mean = total / len(order) if kernel.is_centered else torch.zeros_like(total)
    z = torch.empty(len(order), x.shape[1] + SPARE, device=device)
    for k, step in enumerate(steps):
        z[k * _ROWS : k * _ROWS + len(step), :-SPARE] = _rows(x, y, step) - mean
    return z


def tiles(z: Tensor, kernel: Kernel) -> Iterator[tuple[slice, slice, list[Tensor]]]:
    """Kernels of the pairs of rows of z, as :meth:`Kernel.lay_out` left it: upper triangle."""
    size = _TILE[z.device.type]
    parts = [slice(start, min(start + size, len(z))) for start in range(0, len(z), size)]
    for k, i in enumerate(parts):
        ours = kernel.mirrored(z[i])
        for j in parts[k:]:
            yield i, j, kernel.values(ours @ z[j].T)


def tile_size(device: torch.device) -> int:
    """Rows of a tile."""
    return _TILE[device.type]


def random_features(
    kernel: Kernel, width: int, n_features: int, unit: float, rng: np.random.Generator
) -> Callable[[Tensor], list[Tensor]]:
    r"""Random Fourier features, whose products have the kernels as their means.

    .. math:: \phi(z) = \sqrt{2/D}\,(\cos\omega_1 z, ..., \sin\omega_{D/2} z)

    with frequencies from the Fourier transform of the kernel (Rahimi and Recht, NIPS 2007); the
    same ones for all bandwidths.

    Returns
    -------
    callable
        From rows of shape (n, width + 2) to features of shape (n, n_features), one array per
        rung of the ladder.

    Raises
    ------
    ValueError
        For an odd number of features or none, and for kernels that have no such features.
    """
    half = n_features // 2
    if half < 1 or n_features % 2:
        raise ValueError(f"features is an even number, cosines and sines, got {n_features}")
    omega = torch.from_numpy(kernel.frequencies(width, half, rng)).float()

    def features(z: Tensor) -> list[Tensor]:
        phase = z[:, :-SPARE] @ (omega.to(z.device) / unit)
        turned = [phase / factor for factor in kernel.factors]
        return [torch.cat((p.cos(), p.sin()), dim=1) / half**0.5 for p in turned]

    return features


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Float32 products without the rounding to TF32 or bfloat16 that a user may have allowed."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _rows(x: Tensor, y: Tensor, order: np.ndarray) -> Tensor:
    """Pooled rows in float64."""
    rows = torch.empty(len(order), x.shape[1], dtype=torch.float64, device=x.device)
    index = torch.from_numpy(order).to(x.device)
    ours = index < len(x)
    rows[ours] = x[index[ours]].double()
    rows[~ours] = y[index[~ours] - len(x)].double()
    return rows


def _zeros(like: Tensor, *shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64, device=like.device)


def _added(terms: Iterator[list[Tensor]]) -> list[Tensor]:
    """Sums in float64 of lists of tensors."""
    sums = [t.double() for t in next(terms)]
    for term in terms:
        for total, t in zip(sums, term, strict=True):
            total += t
    return sums


def _whole_groups(groups: np.ndarray) -> Iterator[slice]:
    """Slices of about so many rows that split no group."""
    start = 0
    while start < len(groups):
        last = groups[min(start + _ROWS, len(groups)) - 1]
        stop = int(np.searchsorted(groups, last, side="right"))
        yield slice(start, stop)
        start = stop

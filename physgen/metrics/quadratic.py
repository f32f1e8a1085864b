r"""Quadratic forms of D in a kernel, streamed in blocks: energy distance, MMD, KPD.

For a kernel k the statistic :math:`\sum_{ij} D_i D_j k(z_i, z_j)` is the squared MMD; with
:math:`k = -|x - y|` it is the energy distance (Sejdinovic et al., Ann. Stat. 41 (2013) 2263). One
pass over the blocks of the kernel serves all draws, and no block is kept.

Independent events of equal weight are permuted in random groups, about 2000 in all, which needs no
more than the sums of the kernel over pairs of groups. Permutations of groups are a subgroup of all
permutations, so the p-value is exact, and with so many groups nothing is lost (Domingo-Enrich,
Dwivedi and Mackey, arXiv:2502.07672). Other designs multiply every block by all draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from physgen.metrics.resampling import Design

__all__ = ["Forms", "Kernel", "quadratic_forms"]

_BLOCK = 512
_GROUPS = 2048
_HALVES = 100

Kernel = Callable[[Tensor, Tensor], Tensor]
"""Of rows of shape (n, d) and (m, d), float64: a new tensor of shape (n, m)."""


@dataclass(frozen=True)
class Forms:
    """Quadratic forms of D and mean kernels, over pairs of different events or over all pairs.

    Attributes
    ----------
    drawn, halves : array of shape (1 + n_draws,) and (100,)
        Forms of D observed and drawn, and between halves of the reference.
    at_reference, at_candidate : array of shape (n + m,)
        Mean kernel of each event with the reference and with the candidate.
    """

    drawn: np.ndarray
    halves: np.ndarray
    at_reference: np.ndarray
    at_candidate: np.ndarray

    def unbiased(self, design: Design) -> float:
        """Estimate without the bias of chance; the forms must be those of different events."""
        if design.blocks[0] is not None or design.blocks[1] is not None:
            return float(self.drawn[0] - self.drawn[1:].mean())
        a, b, n = design.a, design.b, len(design.a)
        within = a @ self.at_reference[:n] / (1 - a @ a)
        within += b @ self.at_candidate[n:] / (1 - b @ b)
        return float(within - 2 * a @ self.at_candidate[:n])


def quadratic_forms(
    kernel: Kernel,
    pooled: np.ndarray,
    design: Design,
    n_draws: int,
    rng: np.random.Generator,
    *,
    with_diagonal: bool = False,
) -> Forms:
    """Evaluate all draws of D on a kernel in one pass over its blocks.

    Parameters
    ----------
    kernel : callable
        Symmetric kernel.
    pooled : array of shape (n + m, d), float64
        Reference, then candidate.
    design : Design
        How they were drawn.
    n_draws : int
        Draws of the null.
    rng : numpy.random.Generator
        Source of groups and draws.
    with_diagonal : bool, default False
        Whether an event makes a pair with itself.
    """
    n, m = len(design.a), len(design.b)
    in_groups = design.is_exact and design.slices[0] is None
    in_groups &= (n + m) // _group_size(n, m) <= 4 * _GROUPS
    forms = _of_groups if in_groups else _of_events
    found = forms(kernel, pooled, design, n_draws, rng, with_diagonal)
    # what is left of kernels that cancel would be compared as if it were a distance
    rounding = 1e-13 * max(np.abs(found.at_reference).max(), np.abs(found.at_candidate).max())
    for values in (found.drawn, found.halves):
        values[np.abs(values) < rounding] = 0.0
    return found


def _group_size(n: int, m: int) -> int:
    """Events per group: about 2048 groups in all, and at least 256 in the smaller sample."""
    return max(1, min(-(-(n + m) // _GROUPS), min(n, m) // 256))


def _of_groups(
    kernel: Kernel,
    pooled: np.ndarray,
    design: Design,
    n_draws: int,
    rng: np.random.Generator,
    with_diagonal: bool,
) -> Forms:
    n, m = len(design.a), len(design.b)
    size = _group_size(n, m)
    # in sorted files neighbors are no fair groups
    order = np.concatenate((rng.permutation(n), n + rng.permutation(m)))
    starts = np.concatenate((np.arange(0, n, size), np.arange(n, n + m, size)))
    of_group = np.add.reduceat(_sides(design), starts, axis=0)
    of_group /= np.diff(np.append(starts, n + m))[:, None]
    means = np.zeros((n + m, 2))
    sums = np.zeros((len(starts), len(starts)))
    per_block = max(1, _BLOCK // size)
    cuts = np.append(starts[::per_block], n + m)
    for i, j, block in _blocks(kernel, torch.from_numpy(pooled[order]), cuts, with_diagonal):
        rows, columns = (slice(k * per_block, (k + 1) * per_block) for k in (i, j))
        over_rows = np.add.reduceat(block.numpy(), starts[rows] - cuts[i], axis=0)
        over_columns = np.add.reduceat(block.numpy(), starts[columns] - cuts[j], axis=1)
        means[cuts[i] : cuts[i + 1]] += over_columns @ of_group[columns]
        if i != j:
            means[cuts[j] : cuts[j + 1]] += over_rows.T @ of_group[rows]
        sums[rows, columns] = np.add.reduceat(over_rows, starts[columns] - cuts[j], axis=1)
        sums[columns, rows] = sums[rows, columns].T
    drawn, halves = (
        np.einsum("kg,kg->k", d @ sums, d)
        for d in _group_draws(design, starts, size, n_draws, rng)
    )
    means[order] = means.copy()
    return Forms(drawn, halves, means[:, 0], means[:, 1])


def _group_draws(
    design: Design, starts: np.ndarray, size: int, n_draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """D per event of each group, drawn and between halves; a short last group stays in place."""
    n, m = len(design.a), len(design.b)
    full = np.diff(np.append(starts, n + m)) == size
    ours = starts < n
    groups = Design.of(int((full & ours).sum()), int((full & ~ours).sum()))
    observed = np.where(ours, 1 / n, -1 / m)
    drawn = np.tile(observed, (n_draws + 1, 1))
    labels = np.concatenate(list(groups.draws(n_draws, rng)))
    drawn[:, full] = np.where(labels > 0, 1 / n, -1 / m)
    halves = np.zeros((_HALVES, len(starts)))
    halves[:, full & ours] = np.concatenate(list(groups.halves(_HALVES, rng))) / size
    return drawn, halves


def _of_events(
    kernel: Kernel,
    pooled: np.ndarray,
    design: Design,
    n_draws: int,
    rng: np.random.Generator,
    with_diagonal: bool,
) -> Forms:
    rest = ((0, 0), (0, len(design.b)))
    rows = [d.astype(np.float32) for d in design.draws(n_draws, rng)]
    rows += [np.pad(d, rest).astype(np.float32) for d in design.halves(_HALVES, rng)]
    draws = torch.from_numpy(np.ascontiguousarray(np.concatenate(rows).T))
    sides = torch.from_numpy(_sides(design))
    means = torch.zeros_like(sides)
    forms = torch.zeros(draws.shape[1], dtype=torch.float64)
    cuts = np.append(np.arange(0, len(pooled), _BLOCK), len(pooled))
    for i, j, block in _blocks(kernel, torch.from_numpy(pooled), cuts, with_diagonal):
        at, to = slice(cuts[i], cuts[i + 1]), slice(cuts[j], cuts[j + 1])
        means[at] += block @ sides[to]
        if i != j:
            means[to] += block.T @ sides[at]
        part = ((block.float() @ draws[to]) * draws[at]).sum(dim=0, dtype=torch.float64)
        forms += part if i == j else 2 * part
    drawn, halves = np.split(forms.numpy(), [n_draws + 1])
    return Forms(drawn, halves, means[:, 0].numpy(), means[:, 1].numpy())


def _sides(design: Design) -> np.ndarray:
    """Weights of the pooled events in the mean of either sample, shape (n + m, 2)."""
    zeros_a, zeros_b = np.zeros_like(design.a), np.zeros_like(design.b)
    return np.stack((np.append(design.a, zeros_b), np.append(zeros_a, design.b)), axis=1)


def _blocks(
    kernel: Kernel, z: Tensor, cuts: np.ndarray, with_diagonal: bool
) -> Iterator[tuple[int, int, Tensor]]:
    """Numbers and contents of the blocks of the upper triangle of the kernel matrix."""
    for i in range(len(cuts) - 1):
        for j in range(i, len(cuts) - 1):
            block = kernel(z[cuts[i] : cuts[i + 1]], z[cuts[j] : cuts[j + 1]])
            if i == j and not with_diagonal:
                block.fill_diagonal_(0.0)
            yield i, j, block

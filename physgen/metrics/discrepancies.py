"""MMD^2 at every bandwidth of a ladder, observed and under the null, from one pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from physgen.metrics.ladders import SPARE, Kernel
from physgen.metrics.resampling import Design
from physgen.metrics.streaming import (
    FeatureForm,
    TileForm,
    full_precision,
    lay_out,
    random_features,
    tile_size,
    tiles,
)
from physgen.metrics.subsets import Subset, half_columns, null_columns, pair_groups

__all__ = ["Discrepancies", "discrepancies"]

_SAMPLE = 500  # events that tell the median distance

Form = TileForm | FeatureForm


@dataclass(frozen=True)
class Discrepancies:
    """MMD^2 for each kernel of a ladder (last axis).

    Attributes
    ----------
    unbiased, biased : array of shape (n_kernels,)
        U- and V-statistic.
    first_order : array of shape (n_kernels,)
        Standard error of first order, which is right far from the null.
    null : array of shape (n_draws, n_kernels)
        Draws of the U-statistic under the null.
    statistics : array of shape (1 + n_draws, n_kernels)
        What the p-value compares; row 0 is observed.
    halves : array of shape (n_halves, n_kernels)
        Draws between halves of the reference.
    unit : float
        Unit of the bandwidths.
    """

    unbiased: np.ndarray
    biased: np.ndarray
    first_order: np.ndarray
    null: np.ndarray
    statistics: np.ndarray
    halves: np.ndarray
    unit: float


def discrepancies(
    x: Tensor,
    y: Tensor,
    subset: Subset,
    kernel: Kernel,
    *,
    n_draws: int,
    features: int | None,
    device: torch.device,
    rng: np.random.Generator,
) -> Discrepancies:
    """Measure a subset of the events of two samples.

    Parameters
    ----------
    x, y : Tensor of shape (n, d) and (m, d)
        Features.
    subset : Subset
        Events that are used.
    kernel : Kernel
        Ladder.
    n_draws : int
        Draws of the null; without any, no floor either.
    features : int, optional
        Random Fourier features that stand for the kernel.
    device : torch.device
        Where to compute.
    rng : numpy.random.Generator
        Source of the draws and of the features.
    """
    x, y = kernel.encoded(x, y)
    order = np.concatenate((subset.ours, subset.theirs + len(x)))
    # from rows drawn without regard to the sample: a bandwidth that depends on the labels would
    # spoil the exactness of permutations
    some = lay_out(kernel, x, y, rng.permutation(order)[:_SAMPLE], torch.device("cpu"))
    unit = kernel.unit(some[:, :-SPARE])
    if subset.is_paired and features is None:
        n = len(order) // 2
        order = _in_turns(order[:n], order[n:], tile_size(device) // 2)
    z = lay_out(kernel, x, y, order, device)
    with full_precision():
        if subset.is_paired:
            return _paired(z, subset.design, kernel, unit, n_draws, features, rng)
        return _pooled(z, subset.design, kernel, unit, n_draws, features, rng)


def _paired(
    z: Tensor,
    design: Design,
    kernel: Kernel,
    unit: float,
    n_draws: int,
    features: int | None,
    rng: np.random.Generator,
) -> Discrepancies:
    n = len(z) // 2
    signs = 2 * rng.integers(0, 2, (n, 1 + n_draws), dtype=np.int8) - 1
    signs[:, 0] = 1
    columns = torch.from_numpy(signs).to(z.device)
    halves = half_columns(design, n, n_draws, rng).to(z.device)
    if features is None:
        form, of_halves = _paired_tiles(z, kernel, unit, columns, halves)
    else:
        form, of_halves = _paired_features(z, kernel, unit, columns, halves, features, rng)
    total, rows = _array(form.total), _array(form.rows)[..., 0]
    draws = (total - _array(form.within)) / (n * (n - 1))
    return Discrepancies(
        unbiased=draws[:, 0],
        biased=total[:, 0] / n**2,
        first_order=2 * (rows / (n - 1)).std(axis=1, ddof=1) / math.sqrt(n),
        null=draws[:, 1:].T,
        statistics=draws.T,
        halves=_array(of_halves.total).T,
        unit=unit,
    )


def _paired_tiles(
    z: Tensor, kernel: Kernel, unit: float, signs: Tensor, halves: Tensor
) -> tuple[Form, Form]:
    events = np.arange(len(signs))
    form = TileForm(signs, events, len(kernel.factors), n_tracked=1)
    of_halves = TileForm(halves, events, len(kernel.factors), n_tracked=0)
    kernel.lay_out(z, unit)
    for i, j, values in tiles(z, kernel):
        rows, columns = (slice(part.start // 2, part.stop // 2) for part in (i, j))
        n = rows.stop - rows.start
        m = columns.stop - columns.start
        h = [k[:n, :m] + k[n:, m:] - k[:n, m:] - k[n:, :m] for k in values]
        form.add(rows, columns, h)
        if halves.shape[1]:
            of_halves.add(rows, columns, [k[:n, :m] for k in values])
    return form, of_halves


def _paired_features(
    z: Tensor,
    kernel: Kernel,
    unit: float,
    signs: Tensor,
    halves: Tensor,
    n_features: int,
    rng: np.random.Generator,
) -> tuple[Form, Form]:
    phi = random_features(kernel, z.shape[1] - SPARE, n_features, unit, rng)
    ours, theirs = z[: len(signs)], z[len(signs) :]

    def differences(i: slice) -> list[Tensor]:
        return [f - g for f, g in zip(phi(ours[i]), phi(theirs[i]), strict=True)]

    events = np.arange(len(signs))
    form = FeatureForm(differences, signs, events, n_tracked=1)
    return form, FeatureForm(lambda i: phi(ours[i]), halves, events, n_tracked=0)


def _pooled(
    z: Tensor,
    design: Design,
    kernel: Kernel,
    unit: float,
    n_draws: int,
    features: int | None,
    rng: np.random.Generator,
) -> Discrepancies:
    n = len(design.a)
    groups, in_group = pair_groups(design)
    columns = null_columns(design, n_draws, rng).to(z.device)
    form = _pooled_form(z, kernel, unit, columns, groups, features, rng)
    total, rows = _array(form.total), _array(form.rows)
    within = _array(form.within)
    # over the share of pairs that are not of one group
    xx = (total[:, 0] - within[:, 0]) / (1 - design.a @ in_group[:n])
    yy = (total[:, 1] - within[:, 1]) / (1 - design.b @ in_group[n:])
    unbiased = xx + yy - (total[:, 0] + total[:, 1] - total[:, 2])
    influence = _influence(rows, in_group, n)
    draws = total[:, 2 : 3 + n_draws].T
    null = draws[1:] - draws[1:].mean(axis=0) if n_draws else draws[1:]
    # permutations of the same statistic are exact; multipliers imitate the noise alone
    statistics = draws if design.is_exact else np.concatenate((unbiased[None], null))
    return Discrepancies(
        unbiased=unbiased,
        biased=total[:, 2],
        first_order=np.array([design.std_error(f) for f in influence]),
        null=null,
        statistics=statistics,
        halves=total[:, 3 + n_draws :].T,
        unit=unit,
    )


def _pooled_form(
    z: Tensor,
    kernel: Kernel,
    unit: float,
    columns: Tensor,
    groups: np.ndarray,
    n_features: int | None,
    rng: np.random.Generator,
) -> Form:
    if n_features is not None:
        phi = random_features(kernel, z.shape[1] - SPARE, n_features, unit, rng)
        return FeatureForm(lambda i: phi(z[i]), columns, groups, n_tracked=3)
    form = TileForm(columns, groups, len(kernel.factors), n_tracked=3)
    kernel.lay_out(z, unit)
    for i, j, values in tiles(z, kernel):
        form.add(i, j, values)
    return form


def _influence(rows: np.ndarray, in_group: np.ndarray, n: int) -> np.ndarray:
    """First-order influence of each event, shape (n_kernels, n_events), from K a and K b."""
    ours, theirs = rows[..., 0].copy(), rows[..., 1].copy()
    ours[:, :n] /= 1 - in_group[:n]
    theirs[:, n:] /= 1 - in_group[n:]
    return 2 * (ours - theirs)


def _in_turns(ours: np.ndarray, theirs: np.ndarray, size: int) -> np.ndarray:
    """So many of the one, as many of the other, and so on: pairs share a tile."""
    parts = range(0, len(ours), size)
    return np.concatenate([z[k : k + size] for k in parts for z in (ours, theirs)])


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()

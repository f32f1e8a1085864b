r"""Maximum mean discrepancy, streamed in blocks, with permutations from the same pass.

.. math:: {\rm MMD}^2 = E\,k(x,x') + E\,k(y,y') - 2E\,k(x,y), \qquad
          k_\sigma(x,y) = e^{-|x-y|^2/(2\sigma^2)}

(Gretton et al., JMLR 13 (2012) 723). The estimate is the unbiased one, so it may be negative:
then it is consistent with zero. Five bandwidths, the pooled median distance times 1/4, 1/2, 1, 2
and 4, are combined by the maximum of the studentized statistics, as in the spirit of MMDAgg
(Schrab et al., arXiv:2110.15073).

Events are paired, (x_i, y_i), and with
:math:`h_{ij} = k(x_i,x_j)+k(y_i,y_j)-k(x_i,y_j)-k(y_i,x_j)`

.. math:: {\rm MMD}^2_u = \frac{1}{n(n-1)}\sum_{i\ne j} h_{ij}, \qquad
          T_s = \frac{1}{n(n-1)}\sum_{i\ne j} s_i s_j h_{ij}

where signs :math:`s_i=\pm1` swap the members of pairs. Swaps are permutations of the pooled
events, so the p-value is exact, and all draws come from h times a matrix of signs: memory
O(n n_draws), never the Gram matrix, and a quarter of the arithmetic of free permutations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from physgen.estimates import Estimate
from physgen.metrics.resampling import (
    Design,
    is_unweighted,
    normalize_weights,
    p_values,
    studentized,
)
from physgen.random import Rng, as_seed

__all__ = ["BANDWIDTHS", "events_per_side", "median_distance", "mmd", "mmd_ladder"]

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # times the median distance
_BLOCK = 512


def mmd(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    weights: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    n_permutations: int = 499,
    max_events: int = 20_000,
    rng: Rng,
) -> Estimate:
    """Unbiased MMD^2 of two samples at the bandwidth that sees most, with its p-value.

    Parameters
    ----------
    reference, candidate : array of shape (n, d) and (m, d)
        Features on comparable scales (each about unit spread).
    weights : pair of array or None
        Event weights of either sample; may be negative.
    n_permutations : int, default 499
        Draws of the null.
    max_events : int, default 20000
        Events used per side: the smaller sample size, at most this many; drawn at random where
        there are more, and told in the note of the estimate. With weights half of it, since a
        draw costs four times as much then.
    rng : int or torch.Generator
        Source of the pairing and the signs.

    Returns
    -------
    Estimate
        MMD^2, without unit; may be negative. The p-value is that of the maximum over the
        bandwidths.
    """
    random = np.random.default_rng(as_seed(rng))
    a = normalize_weights(weights[0], len(reference))
    b = normalize_weights(weights[1], len(candidate))
    n = events_per_side(a, b, max_events)
    x, a = _subset(reference, a, n, random)
    y, b = _subset(candidate, b, n, random)
    z = torch.from_numpy(np.concatenate((x, y)) - np.concatenate((x, y)).mean(axis=0)).float()
    sigma = median_distance(torch.cat((z[:500], z[n : n + 500])))
    drawn, errors = mmd_ladder(z[:n], z[n:], a, b, sigma, n_permutations, random)
    h = n // 2
    halves, _ = mmd_ladder(z[:h], z[h : 2 * h], a[:h], a[h : 2 * h], sigma, 100, random)
    scores = studentized(drawn)
    best = int(np.argmax(scores[0]))
    floor = float(np.quantile(halves[1:, best] - halves[1:, best].mean(), 0.95))
    return Estimate(
        value=float(drawn[0, best]),
        std_error=math.hypot(errors[best], float(drawn[1:, best].std())),
        floor=floor * Design(a, b).half_scale,
        p_value=float(p_values(scores.max(axis=1))),
        note=f"{n:,} events per side, bandwidth {BANDWIDTHS[best] * sigma:.3g} "
        f"({BANDWIDTHS[best]:g} x median distance)",
    )


def events_per_side(a: np.ndarray, b: np.ndarray, max_events: int) -> int:
    """Events of either sample that :func:`mmd` uses, from their normalized weights."""
    most = max_events if is_unweighted(a, b) else max_events // 2
    return min(len(a), len(b), most)


def median_distance(z: Tensor) -> float:
    """Median distance between the rows of z, shape (n, d); their mean or 1 where it is zero."""
    distances = torch.pdist(z)
    median, mean = distances.median().item(), distances.mean().item()
    return median or mean or 1.0


def mmd_ladder(
    x: Tensor,
    y: Tensor,
    a: np.ndarray,
    b: np.ndarray,
    sigma: float,
    n_draws: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """MMD^2 for each bandwidth, observed and under the null.

    Parameters
    ----------
    x, y : Tensor of shape (n, d), float32
        Features; equally many events.
    a, b : array of shape (n,)
        Normalized weights. Equal ones: swaps of pairs. Otherwise multipliers, at four times the
        cost.
    sigma : float
        Median distance; the bandwidths are ``BANDWIDTHS`` times this.
    n_draws : int
        Draws of the null.
    rng : numpy.random.Generator
        Source of the signs.

    Returns
    -------
    array of shape (1 + n_draws, 5)
        Row 0 is observed.
    array of shape (5,)
        Standard error far from the null (first order of the U-statistic).
    """
    if is_unweighted(a, b):
        return _swapped(x, y, sigma, n_draws, rng)
    return _multiplied(x, y, a, b, sigma, n_draws, rng)


def _swapped(
    x: Tensor, y: Tensor, sigma: float, n_draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    n = len(x)
    signs = torch.from_numpy(rng.integers(0, 2, (n, n_draws + 1), dtype=np.int8)).float()
    signs = 2 * signs - 1
    signs[:, 0] = 1
    forms, rows = _quadratic_forms(_pair_blocks(x, y, sigma), signs)
    pairs = n * (n - 1)
    errors = 2 * (rows / (n - 1)).std(axis=0) / math.sqrt(n)
    return forms / pairs, errors


def _multiplied(
    x: Tensor,
    y: Tensor,
    a: np.ndarray,
    b: np.ndarray,
    sigma: float,
    n_draws: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    n = len(x)
    c = np.zeros((2 * n, n_draws + 3))
    c[:n, 0], c[n:, 0] = a, -b
    c[:n, 1], c[n:, 2] = a, b
    for part, w in ((c[:n], a), (c[n:], b)):
        signs = rng.integers(0, 2, (n, n_draws)) * 2.0 - 1.0
        part[:, 3:] = w[:, None] * (signs - w @ signs)
    forms, rows = _quadratic_forms(_point_blocks(torch.cat((x, y)), sigma), _float(c))
    full, xx, yy = forms[:3]
    observed = xx / (1 - a @ a) + yy / (1 - b @ b) - (xx + yy - full)
    null = forms[3:] + np.square(c[:, 3:]).sum(axis=0)[:, None]
    means = np.concatenate(
        (a[:, None] * (rows[:n] - a @ rows[:n]), b[:, None] * (rows[n:] - b @ rows[n:]))
    )
    errors = 2 * np.sqrt(np.square(means).sum(axis=0))
    return np.concatenate((observed[None], null - null.mean(axis=0))), errors


def _quadratic_forms(
    blocks: Iterator[tuple[slice, slice, list[Tensor]]], c: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Off-diagonal sums c' k c per column and bandwidth, and k c of column 0, in float64."""
    forms = torch.zeros(len(BANDWIDTHS), c.shape[1], dtype=torch.float64)
    rows = torch.zeros(len(BANDWIDTHS), c.shape[0], dtype=torch.float64)
    for i, j, kernels in blocks:
        for k, kernel in enumerate(kernels):
            if i == j:
                kernel.fill_diagonal_(0)
            product = kernel @ c[j]
            forms[k] += (2 - (i == j)) * (c[i] * product).sum(0).double()
            rows[k, i] += product[:, 0].double()
            if i != j:
                rows[k, j] += (c[i, 0] @ kernel).double()
    return forms.T.numpy(), rows.T.numpy()


def _pair_blocks(
    x: Tensor, y: Tensor, sigma: float
) -> Iterator[tuple[slice, slice, list[Tensor]]]:
    for i, j in _upper_triangle(len(x)):
        n_i, n_j = len(x[i]), len(x[j])
        ladder = _kernels(torch.cat((x[i], y[i])), torch.cat((x[j], y[j])), sigma)
        yield i, j, [k[:n_i, :n_j] + k[n_i:, n_j:] - k[:n_i, n_j:] - k[n_i:, :n_j] for k in ladder]


def _point_blocks(z: Tensor, sigma: float) -> Iterator[tuple[slice, slice, list[Tensor]]]:
    for i, j in _upper_triangle(len(z)):
        yield i, j, list(_kernels(z[i], z[j], sigma))


def _kernels(u: Tensor, v: Tensor, sigma: float) -> Iterator[Tensor]:
    """Gaussian kernels in the order of the ladder, from one exponential and squarings."""
    square = torch.addmm(
        u.square().sum(1)[:, None] + v.square().sum(1), u, v.T, alpha=-2.0
    ).clamp_(min=0)
    widest = square.mul_(-0.5 / (sigma * BANDWIDTHS[-1]) ** 2).exp_()
    ladder = [widest]
    for _ in BANDWIDTHS[1:]:
        ladder.append(ladder[-1].square().square_())  # half the bandwidth: fourth power
    return reversed(ladder)


def _upper_triangle(n: int) -> Iterator[tuple[slice, slice]]:
    parts = [slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]
    for k, i in enumerate(parts):
        for j in parts[k:]:
            yield i, j


def _subset(
    z: np.ndarray, weights: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    chosen = rng.permutation(len(z))[:n]
    return z[chosen], weights[chosen] / weights[chosen].sum()


def _float(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).float()

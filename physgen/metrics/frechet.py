r"""Fréchet and kernel physics distance, with the formulas of the package jetnet and our null.

Kansal et al., Phys. Rev. D 107 (2023) 076017 (arXiv:2211.10295) measure both on batches drawn
with replacement. The value here is theirs, constants included. The p-value, floor and error are
not: those quoted by jetnet tell how well a line fits the batches and how far batches scatter,
which is not how far the value lies from what equal laws give.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from physgen.estimates import Estimate
from physgen.metrics.judged import drawn_and_halves, estimate_of_square
from physgen.metrics.quadratic import quadratic_forms
from physgen.metrics.resampling import Design, Pair, as_design, is_unweighted
from physgen.random import Rng, as_seed

__all__ = ["fpd", "frechet_distance", "kpd"]


def frechet_distance(
    mean_x: np.ndarray, cov_x: np.ndarray, mean_y: np.ndarray, cov_y: np.ndarray
) -> np.ndarray:
    r"""Squared Fréchet (Wasserstein-2) distance of Gaussians.

    .. math:: |\mu_x - \mu_y|^2 + {\rm tr}\left(\Sigma_x + \Sigma_y
              - 2(\Sigma_x^{1/2}\Sigma_y\Sigma_x^{1/2})^{1/2}\right)

    Parameters
    ----------
    mean_x, mean_y : array of shape (..., d)
        Means.
    cov_x, cov_y : array of shape (..., d, d)
        Covariances; negative eigenvalues (from negative weights) count as 0.

    Returns
    -------
    array of shape (...)
        In the squared unit of the features.

    Examples
    --------
    >>> float(frechet_distance(np.zeros(2), np.eye(2), np.ones(2), 4 * np.eye(2)))
    4.0

    References
    ----------
    Dowson and Landau, J. Multivar. Anal. 12 (1982) 450.
    """
    root = _power(cov_x, 0.5)
    squares = np.maximum(np.linalg.eigvalsh(root @ cov_y @ root), 0.0)
    traces = np.trace(cov_x, axis1=-2, axis2=-1) + np.trace(cov_y, axis1=-2, axis2=-1)
    shift = np.square(mean_x - mean_y).sum(axis=-1)
    return np.asarray(shift + traces - 2 * np.sqrt(squares).sum(axis=-1))


def fpd(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    weights: Pair | Design = (None, None),
    batch_sizes: tuple[int, int] = (20_000, 50_000),
    n_points: int = 10,
    n_batches: int = 20,
    n_permutations: int = 499,
    rng: Rng,
) -> Estimate:
    """Fréchet physics distance (FPD): Fréchet distance, extrapolated to large batches.

    Columns are divided by the largest absolute value in the reference. Batches of 10 sizes,
    equally spaced in 1/size, are drawn with replacement, 20 of each; the value is the intercept
    of a line through their mean Fréchet distances against 1/size, with intercept and slope not
    below 0. Batches know nothing beyond the sample, so what is extrapolated away is their bias,
    not that of the sample: the value agrees with the Fréchet distance of the two samples as they
    are, and its null is that of this distance. Only means and covariances are seen.

    Parameters
    ----------
    reference, candidate : array of shape (n, d) and (m, d)
        Features, any unit. For jets the published ones are 36 energy-flow polynomials.
    weights : pair of (array or None), or Design
        Event weights. jetnet has none: with weights the value is the Fréchet distance of the
        weighted samples, to which no batches are needed.
    batch_sizes : pair of int, default (20000, 50000)
        Smallest and largest batch; larger than the sample is allowed.
    n_points, n_batches : int, default 10 and 20
        Batch sizes, and batches of each.
    n_permutations : int, default 499
        Draws of the null.
    rng : int or torch.Generator
        Source of the batches, then of the draws.

    Returns
    -------
    Estimate
        Without unit (squares of scaled features), at least 0.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(2, 2000, 3))
    >>> found = fpd(x[0], x[1] + 1, rng=0)
    >>> found.value > 2 * found.floor, found.p_value
    (True, 0.002)
    """
    random = np.random.default_rng(as_seed(rng))
    design = as_design(weights, len(reference), len(candidate))
    x, y = _scaled(reference, candidate)
    value, noise, note = None, (0.0, 0.0), "weighted moments, no batches"
    if is_unweighted(design.a, design.b):
        # in jetnet 1/size is cut to an integer, too
        sizes = (1 / np.linspace(1 / batch_sizes[0], 1 / batch_sizes[1], n_points)).astype(int)
        value, noise = _extrapolated(x, y, sizes, n_batches, design, random)
        note = f"{n_points * n_batches} batches of {sizes[0]:,} to {sizes[-1]:,} events"
    pooled = _pooled(x, y, design)
    found = drawn_and_halves(pooled.distances, design, n_permutations, random)
    error = design.std_error(pooled.influence(design.observed, len(x)))
    return estimate_of_square(*found, design, error, value=value, extra_noise=noise, note=note)


def kpd(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    weights: Pair | Design = (None, None),
    batch_size: int = 5000,
    n_batches: int = 10,
    n_permutations: int = 499,
    rng: Rng,
) -> Estimate:
    r"""Kernel physics distance (KPD): squared MMD with a polynomial kernel.

    .. math:: k(x, y) = \left(\tfrac1d\,x\cdot y + 1\right)^4

    Columns are divided by the largest absolute value in the reference. The value is the median
    over 10 batches of 5000 events, drawn with replacement, of the MMD estimate without the pairs
    of equal positions. An event may come twice in a batch, so that equal laws do not give 0, but
    what the squared MMD of all events with equal pairs gives: the null is that of this number.

    Parameters
    ----------
    reference, candidate : array of shape (n, d) and (m, d)
        Features, any unit.
    weights : pair of (array or None), or Design
        Event weights. jetnet has none: with weights the value is the squared MMD of the weighted
        samples, to which no batches are needed.
    batch_size, n_batches : int, default 5000 and 10
        Events per batch, and batches.
    n_permutations : int, default 499
        Draws of the null.
    rng : int or torch.Generator
        Source of the batches, then of the draws.

    Returns
    -------
    Estimate
        Without unit; may be negative.
        ``std_error`` holds the scale found in the reference fixed: where a few far events set it,
        its own scatter comes on top.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(2, 500, 3))
    >>> found = kpd(x[0], x[1] + 1, batch_size=500, rng=0)
    >>> found.value > 2 * found.floor, found.p_value
    (True, 0.002)
    """
    random = np.random.default_rng(as_seed(rng))
    design = as_design(weights, len(reference), len(candidate))
    x, y = _scaled(reference, candidate)
    value, noise, note = None, (0.0, 0.0), "weighted, no batches"
    if is_unweighted(design.a, design.b):
        batches = _batches(x, y, np.repeat(batch_size, n_batches), random)
        value = float(np.median([_unbiased_mmd(*batch) for batch in batches]))
        # the variance of a median of normal numbers is pi/2 that of their mean
        noise = _batch_noise(np.array([batch_size]), np.ones(1), 2 * n_batches / math.pi, design)
        note = f"{n_batches} batches of {batch_size:,} events"
    found = quadratic_forms(
        _polynomial, np.concatenate((x, y)), design, n_permutations, random, with_diagonal=True
    )
    error = design.std_error(2 * (found.at_reference - found.at_candidate))
    return estimate_of_square(
        found.drawn, found.halves, design, error,
        value=value, extra_noise=noise, note=note,
    )  # fmt: skip


def _scaled(reference: np.ndarray, candidate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(reference, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    largest = np.abs(x).max(axis=0)
    largest[largest == 0] = 1.0
    return x / largest, y / largest


def _batches(
    x: np.ndarray, y: np.ndarray, sizes: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for size in sizes:
        yield x[rng.choice(len(x), size=size)], y[rng.choice(len(y), size=size)]


def _polynomial(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T).div_(x.shape[1]).add_(1).square_().square_()


def _unbiased_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Squared MMD over pairs of different positions."""
    u, v = torch.from_numpy(x), torch.from_numpy(y)
    within = []
    for z in (u, v):
        itself = (z.square().mean(dim=1) + 1).pow(4).sum()
        within.append((_sum_of_kernel(z, z) - itself.item()) / (len(z) * (len(z) - 1)))
    return sum(within) - 2 * _sum_of_kernel(u, v) / (len(u) * len(v))


def _sum_of_kernel(x: Tensor, y: Tensor) -> float:
    return float(sum(_polynomial(part, y).sum() for part in x.split(256)))


def _batch_noise(
    sizes: np.ndarray, coefficients: np.ndarray, n_batches: float, design: Design
) -> tuple[float, float]:
    """Variance of a combination of batch means, in units of that of the samples.

    A batch of size s from a sample scatters like a sample of size s, to first order in 1/s for
    the cross term of signal and noise, and to second order for the null.
    """
    n, m = design.n_effective
    ratio = 2 / sizes / (1 / n + 1 / m)
    squares = coefficients**2 / n_batches
    return float((squares * ratio).sum()), float((squares * ratio**2).sum())


def _extrapolated(
    x: np.ndarray,
    y: np.ndarray,
    sizes: np.ndarray,
    n_batches: int,
    design: Design,
    rng: np.random.Generator,
) -> tuple[float, tuple[float, float]]:
    """Intercept of the line through the mean Fréchet distances, and the noise of the batches."""
    from scipy.optimize import nnls

    center = x.mean(axis=0)  # the distance does not see it, rounding does
    batches = _batches(x - center, y - center, np.repeat(sizes, n_batches), rng)
    moments = [(*_mean_and_cov(u), *_mean_and_cov(v)) for u, v in batches]
    distances = frechet_distance(*(np.stack(part) for part in zip(*moments, strict=True)))
    means = distances.reshape(len(sizes), n_batches).mean(axis=1)
    line = np.stack((np.ones(len(sizes)), sizes[0] / sizes), axis=1)
    (intercept, _), _ = nnls(line, means)
    return float(intercept), _batch_noise(sizes, np.linalg.pinv(line)[0], n_batches, design)


def _mean_and_cov(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = x.mean(axis=0)
    return mean, (x.T @ x - len(x) * np.outer(mean, mean)) / (len(x) - 1)


def _power(cov: np.ndarray, power: float) -> np.ndarray:
    """Power of symmetric matrices on the space where they are positive."""
    values, vectors = np.linalg.eigh(cov)
    on = values > 1e-12 * np.maximum(values[..., -1:], 1e-300)
    powers = np.where(on, np.where(on, values, 1.0) ** power, 0.0)
    return np.asarray((vectors * powers[..., None, :]) @ np.swapaxes(vectors, -1, -2))


class _Laws(NamedTuple):
    """Moments of two laws, of shape (n_draws, d) and (n_draws, d, d)."""

    mean_x: np.ndarray
    cov_x: np.ndarray
    mean_y: np.ndarray
    cov_y: np.ndarray


def _pooled(x: np.ndarray, y: np.ndarray, design: Design) -> _Pooled:
    z = np.concatenate((x, y))
    weights = np.concatenate((design.share * design.a, (1 - design.share) * design.b))
    return _Pooled(z - weights @ z, weights, design.share)


@dataclass(frozen=True)
class _Pooled:
    """Pooled events and their weights in the pooled law, around which D moves the two laws."""

    z: np.ndarray
    weights: np.ndarray
    share: float

    def distances(self, rows: np.ndarray) -> np.ndarray:
        return frechet_distance(*self.laws(rows))

    def laws(self, rows: np.ndarray) -> _Laws:
        mean, first = self.weights @ self.z, rows @ self.z
        center, second = self._products(self.weights[None]), self._products(rows)
        moments = []
        for step in (1 - self.share, -self.share):
            at = mean + step * first
            moments += [at, center + step * second - at[:, :, None] * at[:, None, :]]
        return _Laws(*moments)

    def _products(self, rows: np.ndarray) -> np.ndarray:
        """Sums of products of two columns; column by column, to hold no more than one row."""
        d = self.z.shape[1]
        sums = np.empty((len(rows), d, d))
        for i in range(d):
            sums[:, i, i:] = rows @ (self.z[:, i, None] * self.z[:, i:])
            sums[:, i:, i] = sums[:, i, i:]
        return sums

    def influence(self, observed: np.ndarray, n: int) -> np.ndarray:
        """First-order change of the distance by each event, up to the sign of its sample.

        The change by the covariance is 1 - T, T the map that transports one Gaussian to the other.
        """
        mean_x, cov_x, mean_y, cov_y = (part[0] for part in self.laws(observed[None]))
        slope = 2 * self.z @ (mean_x - mean_y)
        changes = []
        for z, mean, own, other in (
            (self.z[:n], mean_x, cov_x, cov_y),
            (self.z[n:], mean_y, cov_y, cov_x),
        ):
            curvature = np.eye(len(own)) - _transport(own, other)
            changes.append(np.einsum("ni,ij,nj->n", z - mean, curvature, z - mean))
        return np.concatenate((changes[0] + slope[:n], changes[1] - slope[n:]))


def _transport(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Linear map that transports a centered Gaussian of one covariance to one of the other."""
    root, inverse = _power(own, 0.5), _power(own, -0.5)
    return inverse @ _power(root @ other @ root, 0.5) @ inverse

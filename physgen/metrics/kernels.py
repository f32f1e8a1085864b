r"""Maximum mean discrepancy, streamed in blocks, with permutations from the same pass.

.. math:: {\rm MMD}^2 = E\,k(x,x') + E\,k(y,y') - 2E\,k(x,y)

(Gretton et al., JMLR 13 (2012) 723). Several bandwidths are combined by the maximum of the
studentized statistics, in the spirit of MMDAgg (Schrab et al., arXiv:2110.15073).

Samples of independent events are paired, (x_i, y_i), and with
:math:`h_{ij} = k(x_i,x_j)+k(y_i,y_j)-k(x_i,y_j)-k(y_i,x_j)`

.. math:: {\rm MMD}^2_u = \frac{1}{n(n-1)}\sum_{i\ne j} h_{ij}, \qquad
          T_s = \frac{1}{n(n-1)}\sum_{i\ne j} s_i s_j h_{ij}

where signs :math:`s_i=\pm1` swap the members of pairs. Swaps are permutations of the pooled
events, so the p-value is exact, and all draws come from h times a matrix of signs: memory
O(n n_draws), never the Gram matrix, and a quarter of the arithmetic of free permutations. All
other designs (weights, chains, unequal sizes) draw from :class:`Design` and use the form
:math:`D^T K D` of the pooled events.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from physgen.estimates import Estimate
from physgen.metrics.discrepancies import Discrepancies, discrepancies
from physgen.metrics.intervals import interval, std_errors
from physgen.metrics.ladders import Kernel, as_kernel
from physgen.metrics.resampling import Design, Pair, as_design, p_values, studentized
from physgen.metrics.subsets import select_events
from physgen.random import Rng, as_seed

__all__ = ["MMDTest", "as_tables", "mmd", "mmd_test"]


@dataclass(frozen=True)
class MMDTest:
    """A maximum mean discrepancy with its interval.

    Attributes
    ----------
    estimate : Estimate
        MMD^2, without unit.
    lower, upper : float
        95 % interval of the MMD^2 at the bandwidth of the estimate, right both for equal and for
        different laws; ``lower`` allows for the choice among the bandwidths.
    """

    estimate: Estimate
    lower: float
    upper: float


def mmd(
    reference: np.ndarray | Tensor,
    candidate: np.ndarray | Tensor,
    *,
    weights: Pair | Design = (None, None),
    kernel: str | Kernel = "gaussian",
    n_permutations: int = 499,
    max_events: int = 20_000,
    exact: bool = False,
    features: int | None = None,
    unbiased: bool = True,
    device: str | torch.device | None = None,
    rng: Rng,
) -> Estimate:
    r"""MMD^2 of two samples at the bandwidth that sees most, with its p-value.

    Parameters
    ----------
    reference, candidate : array or Tensor of shape (n, d) and (m, d)
        Features on comparable scales (each about unit spread), or discrete ones for
        ``kernel="hamming"``.
    weights : pair of (array or None), or Design
        Event weights of either sample, which may be negative; or how the samples were drawn.
        Pairs of events of one block (stretch of a chain) do not enter the unbiased estimate.
    kernel : str or Kernel, default "gaussian"
        "gaussian", "laplace", "hamming" or "polynomial" with their defaults, or a
        :class:`~physgen.metrics.Radial` or :class:`~physgen.metrics.Polynomial`.
    n_permutations : int, default 499
        Draws of the null. With none, there is neither a p-value nor a floor, and the standard
        error is that of first order, too large where the laws are equal.
    max_events : int, default 20000
        Events used per side: the smaller sample size, at most this many, drawn at random where
        there are more. With weights or chains up to half of it from either sample, since a draw
        costs four times as much then. The note says what was used.
    exact : bool, default False
        Use all events, whatever their number.
    features : int, optional
        Use all events, and so many random Fourier features instead of the kernel (at least some
        hundred): time and memory grow as the number of events, and the p-value keeps its size.
    unbiased : bool, default True
        The U-statistic, which may be negative: then it is consistent with zero. Otherwise the
        V-statistic, which never is, and has a floor.
    device : str or torch.device, optional
        Where to compute; by default where the reference is.
    rng : int or torch.Generator
        Source of the subset, the pairs and the draws.

    Returns
    -------
    Estimate
        MMD^2, without unit. The p-value is that of the maximum over the bandwidths. The standard
        error is right both for equal and for different laws; the note has the interval.

    Raises
    ------
    ValueError
        For samples that are no tables of the same columns or hold NaN, fewer than two events or
        blocks, and unknown kernels.

    Examples
    --------
    >>> x, y = np.random.default_rng(0).normal(size=(2, 500, 3))
    >>> found = mmd(x, y + 0.2, rng=0)
    >>> found.p_value
    0.002
    >>> found.note.split(", ")[:3]
    ['500 events per side', 'bandwidth 8.67 (4 x median distance)', 'swaps of pairs']
    """
    return mmd_test(
        reference,
        candidate,
        weights=weights,
        kernel=kernel,
        n_permutations=n_permutations,
        max_events=max_events,
        exact=exact,
        features=features,
        unbiased=unbiased,
        device=device,
        rng=rng,
    ).estimate


def mmd_test(
    reference: np.ndarray | Tensor,
    candidate: np.ndarray | Tensor,
    *,
    weights: Pair | Design = (None, None),
    kernel: str | Kernel = "gaussian",
    n_permutations: int = 499,
    max_events: int = 20_000,
    exact: bool = False,
    features: int | None = None,
    unbiased: bool = True,
    device: str | torch.device | None = None,
    rng: Rng,
) -> MMDTest:
    """Return what :func:`mmd` does, with its 95 % interval.

    The interval holds for different laws, where the estimate is normal, for equal ones, where it
    has the skewed law of the draws, and in between, by adding both kinds of noise.
    """
    x, y = as_tables(reference, candidate)
    design = as_design(weights, len(x), len(y))
    random = np.random.default_rng(as_seed(rng))
    subset = select_events(
        design, max_events, all_events=exact or features is not None, rng=random
    )
    ladder = as_kernel(kernel)
    found = discrepancies(
        x,
        y,
        subset,
        ladder,
        n_draws=n_permutations,
        features=features,
        device=torch.device(device) if device is not None else x.device,
        rng=random,
    )
    best, p_value = _most_significant(found)
    lower, upper = interval(found, best)
    value = found.unbiased if unbiased else found.biased
    bias = 0.0 if unbiased else float(found.biased[best] - found.unbiased[best])
    note = [subset.words(len(x), len(y)), ladder.label(best, found.unit)]
    if features:
        note.append(f"{features} random features")
    if n_permutations:
        note.append(subset.draws)
    note.append(f"95 % from {lower:.2g} to {upper:.2g}")
    estimate = Estimate(
        value=float(value[best]),
        std_error=float(std_errors(found)[best]),
        floor=_floor(found, best) * subset.design.half_scale + bias,
        p_value=p_value,
        note=", ".join(note),
    )
    return MMDTest(estimate, lower, upper)


def as_tables(
    reference: np.ndarray | Tensor, candidate: np.ndarray | Tensor
) -> tuple[Tensor, Tensor]:
    """Return both samples as tensors on one device.

    Raises
    ------
    ValueError
        For samples that are no tables of the same columns, or of fewer than two events.
    """
    x, y = torch.as_tensor(reference), torch.as_tensor(candidate)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(
            "the MMD compares tables of the same columns, of shapes (n, d) and (m, d), but got "
            f"{tuple(x.shape)} and {tuple(y.shape)}; flatten images, and stack single columns"
        )
    if min(len(x), len(y)) < 2:
        raise ValueError(f"the MMD needs two events of each sample, got {len(x)} and {len(y)}")
    return x, y.to(x.device)


def _most_significant(found: Discrepancies) -> tuple[int, float]:
    """Kernel with the largest score, and the p-value of the largest."""
    if not len(found.null):
        spread = np.where(found.first_order > 0, found.first_order, 1)
        return int(np.argmax(found.unbiased / spread)), math.nan
    scores = studentized(found.statistics)
    return int(np.argmax(scores[0])), float(p_values(scores.max(axis=1)))


def _floor(found: Discrepancies, best: int) -> float:
    if not len(found.halves):
        return math.nan
    halves = found.halves[:, best]
    return float(np.quantile(halves - halves.mean(), 0.95))

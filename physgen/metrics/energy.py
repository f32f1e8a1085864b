"""Energy distance, in any number of dimensions."""

from __future__ import annotations

import numpy as np
import torch

from physgen.estimates import Estimate
from physgen.metrics.judged import estimate_of_square
from physgen.metrics.quadratic import quadratic_forms
from physgen.metrics.resampling import Design, Pair, as_design
from physgen.random import Rng, as_seed

__all__ = ["energy_distance"]


def energy_distance(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    weights: Pair | Design = (None, None),
    n_permutations: int = 499,
    rng: Rng,
) -> Estimate:
    r"""Energy distance, zero only for equal laws.

    .. math:: {\cal E} = 2E|x - y| - E|x - x'| - E|y - y'|

    (Szekely and Rizzo, J. Stat. Plan. Inf. 143 (2013) 1249). The estimate is the unbiased one,
    over pairs of different events, so it may be negative: then it is consistent with zero. In one
    dimension it is twice the area under :math:`(F-G)^2`.

    Parameters
    ----------
    reference, candidate : array of shape (n, d), (m, d), or (n,), (m,)
        Features on comparable scales (each about unit spread).
    weights : pair of (array or None), or Design
        Event weights; may be negative.
    n_permutations : int, default 499
        Draws of the null. With weights, chains or slices the cost grows as
        (n + m)^2 n_permutations, else as (n + m)^2.
    rng : int or torch.Generator
        Source of the draws.

    Returns
    -------
    Estimate
        In the unit of the features. In chains, where neighbors are alike, the mean of the draws
        is subtracted in place of the pairs of equal events.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(2, 400, 3))
    >>> found = energy_distance(x[0], x[1] + 1, rng=0)
    >>> 0.9 < found.value < 1.3, found.p_value
    (True, 0.002)
    """
    random = np.random.default_rng(as_seed(rng))
    design = as_design(weights, len(reference), len(candidate))
    pooled = np.concatenate((reference, candidate)).astype(np.float64)
    pooled = pooled.reshape(len(pooled), -1)
    found = quadratic_forms(
        lambda x, y: -torch.cdist(x, y),
        pooled - pooled.mean(axis=0),
        design,
        n_permutations,
        random,
    )
    return estimate_of_square(
        found.drawn,
        found.halves,
        design,
        design.std_error(2 * (found.at_reference - found.at_candidate)),
        value=found.unbiased(design),
        is_unbiased=True,
    )

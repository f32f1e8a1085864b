"""How far a generated sample is from the truth, cheaply enough to be asked while training."""

from __future__ import annotations

import torch
from torch import Tensor

from physgen.random import as_generator

__all__ = ["two_sample_score"]

_N_DIRECTIONS = 128


def two_sample_score(x: Tensor, y: Tensor, given: Tensor | None = None) -> float:
    r"""Distance of two samples of one size: their columns, and mixtures of columns.

    .. math::

        \frac1d \sum_i W_1(x_i, y_i) +
        \frac1k \sum_{j=1}^{k} W_1(\theta_j \cdot x, \theta_j \cdot y)

    Mean Wasserstein distance of the columns plus that along k = 128 random directions, which sees
    correlations (sliced distance; Bonneel et al., J. Math. Imaging Vis. 51 (2015) 22). It has
    neither floor nor error and is good for one thing: to tell which of several states of a model
    is the best, on the same events and noise.

    Parameters
    ----------
    x, y : Tensor of shape (n_events, d)
        Truth and model, in the units of the model: about 1.
    given : Tensor of shape (n_events, n_conditions), optional
        Conditions of both, row by row; they count in the mixtures.

    Returns
    -------
    float
        0 for the same events, and otherwise larger; NaN if some are not finite.

    Examples
    --------
    >>> x = torch.linspace(-1, 1, 101)[:, None]
    >>> two_sample_score(x, x), round(two_sample_score(x, x + 10), 2)
    (0.0, 20.0)
    """
    columns = _wasserstein(x, y)
    if given is not None and given.shape[1]:
        x, y = torch.cat((x, given), dim=1), torch.cat((y, given), dim=1)
    generator = as_generator(0, x.device)
    directions = torch.randn(
        x.shape[1], _N_DIRECTIONS, generator=generator, device=x.device, dtype=x.dtype
    )
    directions = directions / directions.norm(dim=0)
    return columns + _wasserstein(x @ directions, y @ directions)


def _wasserstein(x: Tensor, y: Tensor) -> float:
    """Mean W1 of the columns of two samples of one size."""
    return float((x.sort(0).values - y.sort(0).values).abs().mean())

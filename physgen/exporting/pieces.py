"""What encoders and decoders share: numpy functions that torch lacks or a graph cannot hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from physgen.transforms import ByCategory

__all__ = [
    "Tensors",
    "constants",
    "fold",
    "interpolate",
    "n_below",
    "nearest",
    "part_of",
    "unsupported",
]

Tensors = Mapping[str, Tensor]


def constants(values: Sequence[float]) -> Tensor:
    """Numbers of a transform, float64."""
    return torch.tensor(values, dtype=torch.float64)


def n_below(values: Tensor, edges: Sequence[float]) -> Tensor:
    """How many of the edges lie below each value: ``numpy.searchsorted(edges, values)``."""
    return (values.double()[..., None] > constants(edges)).sum(-1)


def nearest(values: Tensor, seen: Sequence[float]) -> Tensor:
    """Index of the nearest of the values seen; of two as near, the first."""
    return (values[:, None] - constants(seen)).abs().argmin(dim=1)


def part_of(transform: ByCategory, others: Tensors) -> Tensor:
    """Which part of the transform each event takes."""
    return n_below(others[transform.given], transform.edges)


def interpolate(x: Tensor, xp: Sequence[float], fp: Sequence[float]) -> Tensor:
    """Piecewise linear map through the knots, constant beyond them: ``numpy.interp``."""
    knots, values = constants(xp), constants(fp)
    if len(xp) == 1:
        return torch.zeros_like(x) + values[0]
    slopes = (values[1:] - values[:-1]) / (knots[1:] - knots[:-1])
    inside = torch.clamp(x, xp[0], xp[-1])
    k = n_below(inside, xp[1:-1])
    return torch.where(x >= xp[-1], values[-1], values[k] + slopes[k] * (inside - knots[k]))


def fold(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Reflect what lies outside an edge to its inside."""
    folded = torch.where(values < low, 2 * low - values, values)
    folded = torch.where(folded > high, 2 * high - folded, folded)
    return torch.minimum(torch.maximum(folded, low), high)


def unsupported(transform: object) -> TypeError:
    """What to say of a transform that is none of ours."""
    return TypeError(
        f"{type(transform).__name__} cannot be exported: only the transforms of "
        "physgen.transforms have a torch version; fit the surrogate again with one of these for "
        "that column (transforms={'column': ...})"
    )

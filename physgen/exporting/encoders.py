"""The way of conditions to features, as torch operations that a graph can hold.

The same formulas as ``forward`` of each transform, which say why; here in float64, too.
"""

from __future__ import annotations

import math
from functools import singledispatch

import torch
from torch import Tensor

from physgen.exporting.pieces import Tensors, constants, interpolate, nearest, part_of, unsupported
from physgen.random import Random
from physgen.transforms import (
    Angle,
    Below,
    Binary,
    ByCategory,
    Categories,
    Constant,
    Count,
    Integer,
    Linear,
    Log,
    Logit,
    OneHot,
    Quantile,
    Spike,
    Standardize,
    Voxels,
)

__all__ = ["encode"]


@singledispatch
def encode(transform: object, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    """Features of shape (n_events, n_features), float64, of values of shape (n_events, *shape).

    Parameters
    ----------
    transform : Transform
        A fitted one of ours.
    values : Tensor of shape (n_events, *shape), float64
    others : mapping of str to Tensor
        Columns that the transform needs.
    rng : Random
        Asked for the same draws as by ``transform.forward``.

    Raises
    ------
    TypeError
        If the transform is none of ours.
    """
    raise unsupported(transform)


@encode.register
def _(transform: Constant, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    return values.new_zeros((values.shape[0], 0))


@encode.register
def _(transform: Linear, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    return ((values - transform.mean) / transform.std)[:, None]


@encode.register
def _(transform: Log, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    logs = torch.log(transform.sign * (values - (transform.pole or 0.0)))
    return encode(transform.inner, logs, others, rng)


@encode.register
def _(transform: Logit, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    low, high = transform.low or 0.0, transform.high or 0.0
    logits = torch.log(values - low) - torch.log(high - values)
    return ((logits - transform.mean) / transform.std)[:, None]


@encode.register
def _(transform: Standardize, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    flat = values.reshape(-1, len(transform.mean))
    return (flat - constants(transform.mean)) / constants(transform.std)


@encode.register
def _(transform: Quantile, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    return interpolate(values, transform.values, transform.scores)[:, None]


@encode.register
def _(transform: Binary, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    flat = values.reshape(-1, len(transform.binary))
    return torch.where(flat == transform.values[1], 1.0, -1.0).double()


@encode.register
def _(transform: Categories, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    index = torch.arange(len(transform.values))
    flags = torch.where(nearest(values, transform.values)[:, None] == index, 1.0, -1.0).double()
    u = rng.uniform(values.shape[0], len(transform.values)).double()
    return flags + 0.8 * (u - 0.5)


@encode.register
def _(transform: OneHot, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    flat = values.reshape(-1, transform.n_units, 1)
    flags = torch.where(flat == constants(transform.values), 1.0, -1.0).double()
    return flags.reshape(-1, len(transform.binary))


@encode.register
def _(transform: Count, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    return encode(transform.inner, values, others, rng)


@encode.register
def _(transform: Integer, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    spread = values + 1e-3 + 0.998 * rng.uniform(*values.shape).double()
    return encode(transform.inner, spread, others, rng)


@encode.register
def _(transform: Spike, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    at_spike = values == transform.value
    rest = encode(transform.inner, values, others, rng)[:, 0]
    flag = torch.where(at_spike, 1.0, -1.0).double()
    return torch.stack((flag, torch.where(at_spike, torch.zeros_like(rest), rest)), dim=1)


@encode.register
def _(transform: Angle, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    origin = others[transform.reference].double() if transform.reference else 0.0
    turn = 2 * math.pi * (values - origin) / transform.period
    return math.sqrt(2) * torch.stack((turn.cos(), turn.sin()), dim=1)


@encode.register
def _(transform: ByCategory, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    which = part_of(transform, others)
    features = torch.zeros_like(values)
    for k, part in enumerate(transform.parts):
        if not isinstance(part, Constant):
            features = torch.where(which == k, encode(part, values, {}, rng)[:, 0], features)
    return features[:, None]


@encode.register
def _(transform: Below, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    return encode(transform.inner, values, {}, rng)


@encode.register
def _(transform: Voxels, values: Tensor, others: Tensors, rng: Random) -> Tensor:
    below = 0.999 * rng.uniform(*values.shape).double()
    logs = torch.where(
        values > 0, torch.log1p(values / transform.threshold), math.log(2.0) * below
    )
    if transform.scale:
        scale = torch.log1p(others[transform.scale].double() / transform.threshold)
        logs = logs / scale.reshape(-1, *[1] * (values.ndim - 1))
    return encode(transform.inner, logs, others, rng)

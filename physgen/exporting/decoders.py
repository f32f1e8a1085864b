"""The way of features to columns, as torch operations that a graph can hold.

The same formulas as ``inverse`` of each transform, which say why. They are computed in float64 as
there: an exponential of a sum of float32 numbers loses its last digits, and a threshold must hold
to the last bit.
"""

from __future__ import annotations

import math
from functools import singledispatch

import torch
from torch import Tensor

from physgen.exporting.pieces import (
    Tensors,
    constants,
    fold,
    interpolate,
    nearest,
    part_of,
    unsupported,
)
from physgen.exporting.showers import decode_showers
from physgen.transforms import (
    Angle,
    Below,
    Binary,
    ByCategory,
    Categories,
    Constant,
    Count,
    EnergyFirst,
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

__all__ = ["decode"]


@singledispatch
def decode(transform: object, features: Tensor, others: Tensors) -> Tensor:
    """Values of shape (n_events, *shape), float64, of features.

    Parameters
    ----------
    transform : Transform
        A fitted one of ours.
    features : Tensor of shape (n_events, n_features), float64
    others : mapping of str to Tensor
        Columns decoded before, in the types of their fields.

    Raises
    ------
    TypeError
        If the transform is none of ours.
    """
    raise unsupported(transform)


@decode.register
def _(transform: Constant, features: Tensor, others: Tensors) -> Tensor:
    return features.new_full((features.shape[0], *transform.shape), transform.value)


@decode.register
def _(transform: Linear, features: Tensor, others: Tensors) -> Tensor:
    values = features[:, 0] * transform.std + transform.mean
    return fold(values, constants((transform.low,)), constants((transform.high,)))


@decode.register
def _(transform: Log, features: Tensor, others: Tensors) -> Tensor:
    logs = decode(transform.inner, features, others)
    values = (transform.pole or 0.0) + transform.sign * torch.exp(logs)
    return torch.clamp(values, transform.low, transform.high)


@decode.register
def _(transform: Logit, features: Tensor, others: Tensors) -> Tensor:
    low, high = transform.low or 0.0, transform.high or 0.0
    logits = features[:, 0] * transform.std + transform.mean
    return low + (high - low) / (1 + torch.exp(-logits))


@decode.register
def _(transform: Standardize, features: Tensor, others: Tensors) -> Tensor:
    flat = features * constants(transform.std) + constants(transform.mean)
    if transform.fold:
        flat = fold(flat, constants(transform.low), constants(transform.high))
    return flat.reshape(-1, *transform.shape)


@decode.register
def _(transform: Quantile, features: Tensor, others: Tensors) -> Tensor:
    return interpolate(features[:, 0], transform.scores, transform.values)


@decode.register
def _(transform: Binary, features: Tensor, others: Tensors) -> Tensor:
    low, high = constants(transform.values)
    return torch.where(features > 0, high, low).reshape(-1, *transform.shape)


@decode.register
def _(transform: Categories, features: Tensor, others: Tensors) -> Tensor:
    return constants(transform.values)[features.argmax(dim=1)]


@decode.register
def _(transform: OneHot, features: Tensor, others: Tensors) -> Tensor:
    units = features.reshape(-1, transform.n_units, len(transform.values))
    return constants(transform.values)[units.argmax(dim=2)].reshape(-1, *transform.shape)


@decode.register
def _(transform: Count, features: Tensor, others: Tensors) -> Tensor:
    values = features[:, 0] * transform.inner.std + transform.inner.mean
    return constants(transform.values)[nearest(values, transform.values)]


@decode.register
def _(transform: Integer, features: Tensor, others: Tensors) -> Tensor:
    values = torch.floor(decode(transform.inner, features, others))
    return torch.clamp(values, float(transform.low), float(transform.high))


@decode.register
def _(transform: Spike, features: Tensor, others: Tensors) -> Tensor:
    rest = decode(transform.inner, features[:, 1:], others)
    return torch.where(features[:, 0] > 0, constants((transform.value,)), rest)


@decode.register
def _(transform: Angle, features: Tensor, others: Tensors) -> Tensor:
    # in float32, which the features come in: onnxruntime has no arc tangent of doubles
    radians = torch.arctan2(features[:, 1].float(), features[:, 0].float()).double()
    values = radians / (2 * math.pi) * transform.period - transform.low
    if transform.reference:
        values = values + others[transform.reference].double()
    values = transform.low + torch.remainder(values, transform.period)
    margin = 1e-7 * transform.period
    return torch.clamp(values, transform.low + margin, transform.low + transform.period - margin)


@decode.register
def _(transform: ByCategory, features: Tensor, others: Tensors) -> Tensor:
    which = part_of(transform, others)
    values = torch.zeros_like(features[:, 0])
    for k, part in enumerate(transform.parts):
        values = torch.where(which == k, decode(part, features, {}), values)
    return values


@decode.register
def _(transform: Below, features: Tensor, others: Tensors) -> Tensor:
    upper = others[transform.upper].double()
    values = decode(transform.inner, features, {})
    values = torch.minimum(values, 2 * upper - values).clamp_min(transform.low)
    return torch.minimum(values, upper)


@decode.register
def _(transform: Voxels, features: Tensor, others: Tensors) -> Tensor:
    logs = decode(transform.inner, features, others).clamp_max(transform.largest)
    if transform.scale:
        scale = torch.log1p(others[transform.scale].double() / transform.threshold)
        logs = logs * scale.reshape(-1, *[1] * (logs.ndim - 1))
    energies = transform.threshold * torch.expm1(logs.clamp_max(60.0))
    zero = torch.zeros_like(logs)
    return torch.where(
        logs > math.log(2.0) * 0.9995, energies.clamp_min(transform.threshold), zero
    )


@decode.register
def _(transform: EnergyFirst, features: Tensor, others: Tensors) -> Tensor:
    return decode_showers(transform, features, others)

"""The way of features to showers: what ``EnergyFirst.inverse`` does, in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from physgen.exporting.pieces import Tensors, constants
from physgen.transforms import EnergyFirst
from physgen.transforms.showers import EDGE, ENOUGH, ROUNDED, Trend

__all__ = ["decode_showers"]


def decode_showers(transform: EnergyFirst, features: Tensor, others: Tensors) -> Tensor:
    """Energies of the voxels, of shape (n_events, *shape), float64.

    Parameters
    ----------
    transform : EnergyFirst
        Fitted.
    features : Tensor of shape (n_events, n_features), float64
    others : mapping of str to Tensor
        The incident energy, if the transform has a scale.
    """
    t, trends = transform, iter(transform.trends)
    incident = torch.ones_like(features[:, 0])
    if t.scale:
        incident = others[t.scale].double()
    y = _restored(features[:, :1], incident.log(), next(trends), 1)[:, 0]
    y_inside = y.clamp(0.0, t.largest)
    total = t.unit * (y_inside if t.scale else torch.expm1(y_inside)) * incident
    enough = (y > EDGE) & (total >= ENOUGH * t.threshold)
    total = torch.where(enough, total.clamp_min(t.threshold), torch.zeros_like(total))
    energies = total[:, None]
    if t.n_first > 1:
        y = _restored(features[:, 1 : t.n_first], torch.log1p(total / t.units[1]), next(trends), 1)
        energies = _shares(y, _straight(t, y, 1), total, t.threshold)
    shapes, layers, start = features[:, t.n_first :], [], 0
    for k, (n_angles, n_rings) in enumerate(t.layers):
        given = torch.log1p(energies[:, k] / t.units[1])
        part = shapes[:, start : start + n_angles * n_rings]
        start += n_angles * n_rings
        y = _restored(part, given, next(trends), n_angles if t.angular else 1)
        layers.append(_shares(y, _straight(t, y, 0), energies[:, k], t.threshold))
    return _unordered(t, torch.cat(layers, dim=1))


def _unordered(transform: EnergyFirst, voxels: Tensor) -> Tensor:
    if not transform.order:
        return voxels.reshape(-1, *transform.shape)
    ordered = voxels.reshape(-1, *(transform.shape[axis] for axis in transform.order))
    back = [1 + int(axis) for axis in np.argsort(transform.order)]
    return ordered.permute(0, *back)


def _restored(features: Tensor, given: Tensor, trend: Trend, n_pooled: int) -> Tensor:
    """Features times their standard deviation plus their mean, both linear between knots."""
    knots = constants(trend[0])
    # how far each piece between two knots is passed, from 0 to 1; the weights of the knots follow
    passed = ((given[:, None] - knots[:-1]) / (knots[1:] - knots[:-1])).clamp(0.0, 1.0)
    one, zero = torch.ones_like(given[:, None]), torch.zeros_like(given[:, None])
    hats = torch.cat((one, passed), dim=1) - torch.cat((passed, zero), dim=1)
    mean, std = (
        (hats @ constants(part).reshape(len(trend[0]), -1)).repeat(1, n_pooled)
        for part in trend[1:]
    )
    return features * std + mean


def _straight(transform: EnergyFirst, y: Tensor, level: int) -> Tensor:
    """Energies of y, of voxels (level 0) or of layers (1)."""
    logs, bent = (constants(part) for part in transform.bends[level])
    y = y.abs().clamp_max(60.0)
    passed = ((y[:, :, None] - bent[:-1]) / (bent[1:] - bent[:-1])).clamp(0.0, 1.0)
    given = logs[0] + (passed * (logs[1:] - logs[:-1])).sum(dim=2) + (y - bent[-1]).clamp_min(0.0)
    return (transform.units[level] * torch.expm1(given)).clamp_min(transform.threshold)


def _shares(y: Tensor, energies: Tensor, whole: Tensor, threshold: float) -> Tensor:
    """Energies where y is above the edge, scaled to their whole, none below the threshold."""
    zero = torch.zeros_like(y)
    energies = torch.where(y > EDGE, energies, zero)
    largest = torch.arange(y.shape[1]) == y.argmax(dim=1, keepdim=True)
    none = (energies > 0).sum(dim=1, keepdim=True) == 0
    energies = torch.where(none & largest, torch.ones_like(y), energies)
    falling, order = torch.sort(energies, dim=1, descending=True)
    enough = falling * whole[:, None] >= ROUNDED * threshold * falling.cumsum(1)
    stays = enough & (falling > 0)
    energies = zero.scatter(1, order, torch.where(stays, falling, zero))
    total = energies.sum(dim=1)
    empty = total <= 0
    factor = torch.where(empty, torch.zeros_like(whole), whole / torch.where(empty, 1.0, total))
    energies = energies * factor[:, None]
    return torch.where(energies > 0, energies.clamp_min(threshold), zero)

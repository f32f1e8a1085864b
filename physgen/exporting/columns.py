"""Columns of an event from its features: what the preprocessor's inverse does, in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from physgen.exporting.decoders import decode
from physgen.exporting.pieces import Tensors, constants, n_below
from physgen.preprocessing import Preprocessor
from physgen.preprocessing.cloud import Cloud, internal_field
from physgen.preprocessing.frame import MAX_POWER, N_NEWTON, Frame
from physgen.schema import Field
from physgen.transforms import Below

__all__ = ["cast", "decode_columns", "torch_type"]


def decode_columns(
    preprocessor: Preprocessor, x: Tensor, conditions: Tensors
) -> dict[str, Tensor]:
    """Columns of generated tensors.

    Parameters
    ----------
    preprocessor : Preprocessor
    x : Tensor of shape (n_events, n_features)
    conditions : mapping of str to Tensor of shape (n_events,)
        In the types of their fields.

    Returns
    -------
    dict of str to Tensor
        What is generated, in the types of the fields. A jagged field comes as rows of
        ``n_max`` entries with zeros behind those that the event has; how many these are tells the
        column of the multiplicity (if that is more than ``n_max``, all are there), an internal
        one as ``n(collection)``.
    """
    features = x.double()
    done = dict(conditions)
    generated = [n for n in preprocessor.transforms if n not in conditions]
    start = 0
    for name in generated:
        transform = preprocessor.transforms[name]
        part = features[:, start : start + len(transform.binary)]
        start += len(transform.binary)
        if isinstance(transform, Below) and transform.upper in generated:
            transform = transform.inner  # put in order below, by exchange
        field = _field(preprocessor, name)
        done[name] = cast(decode(transform, part, done), field)
    _put_in_order(preprocessor, generated, done)
    frames = [cloud.frame for cloud in preprocessor.clouds.values() if cloud.frame]
    sums = {name for frame in frames for name in frame.columns}
    columns = {name: done[name] for name in generated if name not in sums}
    for cloud in preprocessor.clouds.values():
        width = len(cloud.binary)
        columns |= _cloud(cloud, features[:, start : start + width], done)
        start += width
    return columns


def _field(preprocessor: Preprocessor, name: str) -> Field:
    schema = preprocessor.schema
    return schema[name] if name in schema else internal_field(name)


def _put_in_order(
    preprocessor: Preprocessor, generated: list[str], columns: dict[str, Tensor]
) -> None:
    pairs = [
        (t.upper, name)
        for name, t in preprocessor.transforms.items()
        if isinstance(t, Below) and t.upper in generated
    ]
    for _ in pairs:
        for upper, lower in pairs:
            a, b = columns[upper], columns[lower]
            columns[upper], columns[lower] = torch.maximum(a, b), torch.minimum(a, b)


def _cloud(cloud: Cloud, features: Tensor, others: Tensors) -> dict[str, Tensor]:
    """Padded rows of the fields of a collection."""
    n_max, start = cloud.n_max, 0
    width = sum(len(t.binary) for t in cloud.transforms)
    rows = features.reshape(-1, width)
    # the counter may go on where the rows end
    present = torch.arange(n_max) < others[cloud.counter].double().round()[:, None]
    place = {cloud.frame.place: torch.arange(n_max).repeat(len(features))} if cloud.frame else {}
    decoded = {}
    for field, transform in zip(cloud.fields, cloud.transforms, strict=True):
        part = rows[:, start : start + len(transform.binary)]
        start += len(transform.binary)
        repeated = {
            n: others[n].repeat_interleave(n_max) for n in transform.needs if n not in place
        }
        decoded[field.name] = decode(transform, part, repeated | place).reshape(-1, n_max)
    if cloud.frame:
        decoded |= _from_frame(cloud.frame, decoded, present, others)
    columns = {}
    for field in cloud.fields:
        values = cast(decoded[field.name], field)
        columns[field.name] = torch.where(present, values, torch.zeros_like(values))
    if not cloud.descending:
        return columns
    key = columns[cloud.descending].double()
    order = torch.sort(torch.where(present, key, -torch.inf), dim=1, descending=True).indices
    return {name: torch.gather(column, 1, order) for name, column in columns.items()}


def _from_frame(
    frame: Frame, rows: Tensors, present: Tensor, others: Tensors
) -> dict[str, Tensor]:
    """Rows of the fields of a frame with the sums made before; see ``Frame.inverse``."""
    eta, phi, momenta = (rows[name] for name in frame.fields)
    total, mean_eta, mean_phi, width, *first = (
        others[name].double()[:, None] for name in frame.columns
    )
    if frame.ordered:
        momenta = _falling(momenta, present, first[0])
    pt = torch.where(present, momenta, 0.0)
    made = pt.sum(dim=1, keepdim=True)
    shares = _ratio(pt, made)
    eta, phi = (v - (shares * v).sum(dim=1, keepdim=True) for v in (eta, phi))
    square = (shares * (eta**2 + phi**2)).sum(dim=1, keepdim=True)
    scale = width / torch.sqrt(square.clamp_min(1e-30))  # a root of 0 would have no gradient
    found = (mean_eta + scale * eta, mean_phi + scale * phi, pt * _ratio(total, made))
    return {
        name: torch.clamp(values, low, high)
        for name, values, (low, high) in zip(frame.fields, found, frame.ranges, strict=True)
    }


def _falling(ratios: Tensor, present: Tensor, first: Tensor) -> Tensor:
    """Shares with these ratios of each to the one before it, to the power that they need."""
    falls = torch.cumsum(torch.log(torch.where(present, ratios, 1.0)), dim=1)
    log_first = torch.log(torch.where(first > 0, first, 1.0))
    power = torch.zeros_like(first)
    for _ in range(N_NEWTON):
        shares = torch.where(present, torch.exp(power * falls), 0.0)
        total = shares.sum(dim=1, keepdim=True).clamp_min(1.0)
        slope = (shares * falls).sum(dim=1, keepdim=True) / total
        power = torch.clamp(power + _ratio(torch.log(total) + log_first, -slope), 0.0, MAX_POWER)
    return torch.exp(power * falls)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    there = below > 0
    return torch.where(there, above / torch.where(there, below, 1.0), 0.0)


def cast(values: Tensor, field: Field) -> Tensor:
    """Decoded values in the type of the field, at the nearest value that it allows."""
    if field.allowed is not None:
        allowed = np.array(field.allowed, dtype=np.float64)
        middles = 0.5 * (allowed[1:] + allowed[:-1])
        values = constants(field.allowed)[n_below(values, middles.tolist())]
    if np.dtype(field.dtype).kind in "iu":
        info = np.iinfo(field.dtype)
        values = torch.clamp(torch.round(values), float(info.min), float(info.max))
    return values.to(torch_type(field.dtype))


def torch_type(name: str) -> torch.dtype:
    """Type of torch with the name of one of numpy."""
    found: torch.dtype = getattr(torch, name)
    return found

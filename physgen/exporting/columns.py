"""Columns of an event from its features: what the preprocessor's inverse does, in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from physgen.exporting.decoders import decode
from physgen.exporting.pieces import Tensors, constants, n_below
from physgen.preprocessing import Preprocessor
from physgen.preprocessing.cloud import Cloud
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
    columns = {name: done[name] for name in generated}
    for cloud in preprocessor.clouds.values():
        width = len(cloud.binary)
        columns |= _cloud(cloud, features[:, start : start + width], done)
        start += width
    return columns


def _field(preprocessor: Preprocessor, name: str) -> Field:
    schema = preprocessor.schema
    return schema[name] if name in schema else Field(name, "int64")


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
    columns = {}
    for field, transform in zip(cloud.fields, cloud.transforms, strict=True):
        part = rows[:, start : start + len(transform.binary)]
        start += len(transform.binary)
        repeated = {n: others[n].repeat_interleave(n_max) for n in transform.needs}
        values = cast(decode(transform, part, repeated), field).reshape(-1, n_max)
        columns[field.name] = torch.where(present, values, torch.zeros_like(values))
    if not cloud.descending:
        return columns
    key = columns[cloud.descending].double()
    order = torch.sort(torch.where(present, key, -torch.inf), dim=1, descending=True).indices
    return {name: torch.gather(column, 1, order) for name, column in columns.items()}


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

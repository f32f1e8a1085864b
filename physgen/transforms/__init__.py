"""Invertible transforms of one column: from physical values to features for a network, and back.

A transform is a frozen dataclass. Made by hand it holds settings; ``fit`` returns a copy that also
holds the constants found in the data. Features are real with mean about 0 and variance about 1, or
binary, exactly -1 or +1. ``inverse(forward(values)) == values`` up to rounding, and ``inverse``
accepts any features and returns values inside the domain that the data showed.

``others`` are the columns that were decoded before, by name: an angle may be measured from another
angle, a momentum may be bounded by another, a spike may be implied by a multiplicity.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from physgen.transforms.base import Array, Columns, Transform
from physgen.transforms.continuous import (
    Constant,
    Linear,
    Log,
    Logit,
    Quantile,
    Standardize,
    smooth,
)
from physgen.transforms.discrete import Binary, Categories, Count, Integer, OneHot, Spike
from physgen.transforms.related import Angle, Below, ByCategory, Voxels
from physgen.transforms.showers import EnergyFirst

__all__ = [
    "Angle",
    "Array",
    "Below",
    "Binary",
    "ByCategory",
    "Categories",
    "Columns",
    "Constant",
    "Count",
    "EnergyFirst",
    "Integer",
    "Linear",
    "Log",
    "Logit",
    "OneHot",
    "Quantile",
    "Spike",
    "Standardize",
    "Transform",
    "Voxels",
    "smooth",
    "transform_from_dict",
    "transform_to_dict",
]

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        Angle, Below, Binary, ByCategory, Categories, Constant, Count, EnergyFirst,
        Integer, Linear, Log, Logit, OneHot, Quantile, Spike, Standardize, Voxels,
    )
}  # fmt: skip


def transform_to_dict(transform: Transform) -> dict[str, Any]:
    """Return the settings and constants as plain lists and dicts, for JSON."""
    return {"kind": type(transform).__name__} | {
        f.name: _to_plain(getattr(transform, f.name))
        for f in dataclasses.fields(transform)  # type: ignore[arg-type]  # all kinds are dataclasses
    }


def transform_from_dict(stored: Mapping[str, Any]) -> Transform:
    """Rebuild a transform from :func:`transform_to_dict`.

    Raises
    ------
    ValueError
        If the kind is unknown, e.g. from a newer version.
    """
    kind = _KINDS.get(stored["kind"])
    if kind is None:
        raise ValueError(f"unknown transform {stored['kind']!r} (known: {', '.join(_KINDS)})")
    rebuilt: Transform = kind(**{k: _from_plain(v) for k, v in stored.items() if k != "kind"})
    return rebuilt


def _to_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return transform_to_dict(value)  # type: ignore[arg-type]  # a transform inside a transform
    if isinstance(value, tuple):
        return [_to_plain(v) for v in value]
    return value


def _from_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return transform_from_dict(value)
    if isinstance(value, list):
        return tuple(_from_plain(v) for v in value)
    return value

"""Which transform a column gets, decided from what its values look like."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import torch

from physgen.files.binning import Binning
from physgen.random import PhiloxRandom
from physgen.schema import Field, Schema
from physgen.transforms import (
    Angle,
    Array,
    Below,
    Binary,
    ByCategory,
    Categories,
    Columns,
    Constant,
    Count,
    EnergyFirst,
    Integer,
    Quantile,
    Spike,
    Standardize,
    Transform,
    Voxels,
    smooth,
)

__all__ = ["angle_of", "bounds", "choose_transform", "is_real"]

MAX_CATEGORIES = 12
MAX_COUNTS = 30
SPIKE_FRACTION = 0.005
_ANGLE_NAME = re.compile(r"(^|_)(d?phi|azimuth|angle)\d*($|_)", re.IGNORECASE)


def choose_transform(field: Field, values: Array, others: Columns, fields: Schema) -> Transform:
    """Choose the transform of a flat or fixed-shape column from what its values look like.

    The rules, the first that holds: one value, a grid of a condition (below), two values, an
    array (a shower, other voxels with exact zeros, pixels, other), a few consecutive integers,
    few distinct values, many integers, an angle, a spike (implied by a discrete column or not),
    always below another column, skewed, and else plain.

    A grid is what a condition of two or more floating-point numbers that are not all integers
    is taken for, such as the inverse temperatures 0.3, 0.4 and 0.5: a range, with values between
    them. Labels and charges are integers, of any type, and remain what they are.

    Parameters
    ----------
    field : Field
        What the schema says of the column.
    values : array of shape (n_events, *field.shape)
        The column.
    others : mapping of str to array
        Columns that are decoded before and may serve as references.
    fields : Schema
        Schema that describes ``others``.
    """
    distinct = np.unique(values) if field.allowed is None else np.array(field.allowed)
    if len(distinct) == 1:
        return Constant()
    few = len(distinct) <= MAX_CATEGORIES and len(distinct) < 0.1 * len(values)
    if (few or len(distinct) == 2) and _is_grid(field, distinct):
        return smooth(values)
    if len(distinct) == 2:
        return Binary((float(distinct[0]), float(distinct[1])))
    if field.shape:
        return _choose_for_array(field, values, others, fields)
    integer = np.dtype(field.dtype).kind in "iub"
    if integer and len(distinct) <= MAX_COUNTS and np.ptp(distinct) < 2 * len(distinct):
        return Count()
    if few:
        return Categories()
    if integer:
        return Integer()
    return _choose_for_continuous(field, values, others, fields)


def _choose_for_array(field: Field, values: Array, others: Columns, fields: Schema) -> Transform:
    if np.dtype(field.dtype).kind in "iu":
        return Integer()
    layout = _shower_layout(field, fields)
    has_zeros = values.min() == 0 and np.mean(values == 0) > SPIKE_FRACTION
    if not has_zeros and (layout is None or values.min() < 0):
        return Standardize()
    scale = _energy_condition(others, fields)
    if layout is None:
        return EnergyFirst(scale) if scale else Voxels()
    return dataclasses.replace(layout, scale=scale)


def _shower_layout(field: Field, fields: Schema) -> EnergyFirst | None:
    """Layers, angles and rings of a shower, if its file tells them."""
    if "binning" in fields.conventions:
        binning = Binning.from_schema(fields)
        if field.shape == (binning.n_voxels,):
            layers = tuple((layer.n_alpha, layer.n_r) for layer in binning.layers)
            return EnergyFirst(layers=layers, angular=True)
    if fields.conventions.get("layout") == "par04" and len(field.shape) == 3:
        n_r, n_angles, n_layers = field.shape
        return EnergyFirst(layers=((n_angles, n_r),) * n_layers, order=(2, 1, 0), angular=True)
    return None


def _energy_condition(others: Columns, fields: Schema) -> str:
    """The positive condition that energies are proportional to, or "" if none stands out."""
    positive = [
        f.name
        for f in fields
        if f.role == "condition" and f.name in others and (others[f.name] > 0).all()
    ]
    named = [name for name in positive if "energ" in name.lower()]
    chosen = named if len(named) == 1 else positive
    return chosen[0] if len(chosen) == 1 else ""


def _choose_for_continuous(
    field: Field, values: Array, others: Columns, fields: Schema
) -> Transform:
    angle = angle_of(field, values)
    if angle is not None:
        return dataclasses.replace(
            angle, reference=_reference_angle(values, angle, others, fields)
        )
    spike = _spike_of(values)
    discrete = [
        n
        for n, c in others.items()
        if c.ndim == 1 and len(np.unique(c)) <= 50 and not _is_grid(fields[n], c)
    ]
    if spike is not None:
        implied = [n for n in discrete if _implies(others[n], values == spike)]
        return ByCategory(implied[0]) if implied else Spike(spike)
    upper = [n for n, c in others.items() if is_real(fields[n]) and _always_below(values, c)]
    if upper:
        return Below(upper[-1])
    return Quantile() if _has_heavy_tails(values) else smooth(values)


def is_real(field: Field) -> bool:
    """Whether the field is one floating-point number per event or entry."""
    return not field.shape and np.dtype(field.dtype).kind == "f"


def _is_grid(field: Field, values: Array) -> bool:
    """Whether a condition may take values between those that are there."""
    range_like = is_real(field) and field.role == "condition" and field.allowed is None
    return range_like and not (values == np.rint(values)).all()


def angle_of(field: Field, values: Array) -> Angle | None:
    """The range of an angle that takes all values of a turn, or None."""
    periods = {"rad": 2 * np.pi, "deg": 360.0, "": 2 * np.pi}
    if field.unit not in periods:
        return None
    period = periods[field.unit]
    smallest, largest = float(values.min()), float(values.max())
    hinted = bool(_ANGLE_NAME.search(field.name)) or field.unit != ""
    # detector smearing may push an angle a little over the edge
    slack = 0.002 * period
    for low in (-period / 2, 0.0):
        inside = low - slack <= smallest and largest <= low + period + slack
        at_ends = smallest < low + slack and largest > low + period - slack
        spans = largest - smallest > 0.8 * period
        if inside and ((hinted and spans) or (at_ends and _joins(values - low, period))):
            return Angle("", low, period)
    return None


def _joins(turn: Array, period: float) -> bool:
    """Whether both ends of a turn hold about as many values: the tail of a momentum does not."""
    ends = [(turn < 0.05 * period).sum(), (turn > 0.95 * period).sum()]
    return bool(min(ends) >= 2 and max(ends) < 5 * min(ends))


def _reference_angle(values: Array, angle: Angle, others: Columns, fields: Schema) -> str:
    """The angle from which this one is measured best: where the difference is least uniform."""
    best, best_chi2 = "", _non_uniformity(values, angle)
    for name, other in others.items():
        reference = angle_of(fields[name], other) if is_real(fields[name]) else None
        if reference is None or reference.period != angle.period:
            continue
        chi2 = _non_uniformity(values - other, angle)
        if chi2 > max(best_chi2, 100.0):
            best, best_chi2 = name, chi2
    return best


def _non_uniformity(values: Array, angle: Angle) -> float:
    """Chi-square of 20 bins over one turn against a uniform angle (19 expected)."""
    turn = np.mod(values - angle.low, angle.period) / angle.period
    counts = np.bincount((turn * 20).astype(int) % 20, minlength=20)
    expected = len(values) / 20
    return float(np.sum((counts - expected) ** 2) / expected)


def _spike_of(values: Array) -> float | None:
    """The value that repeats in more events than chance allows, or None."""
    distinct, counts = np.unique(values, return_counts=True)
    fraction = counts.max() / len(values)
    rare = np.median(counts) < 0.1 * counts.max()
    return float(distinct[counts.argmax()]) if fraction > SPIKE_FRACTION and rare else None


def _implies(discrete: Array, at_spike: Array) -> bool:
    """Whether the discrete column tells for every event if it is at the spike."""
    return all(len(np.unique(at_spike[discrete == v])) == 1 for v in np.unique(discrete))


def _has_heavy_tails(values: Array) -> bool:
    """Whether a few values far away set the scale, even after a logarithm (Cauchy-like)."""
    data = values.astype(np.float64)
    scores = smooth(data).fit(data, {}).forward(data, {}, PhiloxRandom(0, torch.arange(len(data))))
    low, high = np.quantile(scores, (0.16, 0.84))
    return bool(high - low < 0.2)


def bounds(schema: Schema, columns: Columns, upper: str, name: str) -> bool:
    """Whether ``upper`` is a continuous column of the same role that ``name`` never exceeds."""
    fields = schema[upper], schema[name]
    return (
        upper != name
        and fields[0].role == fields[1].role
        and all(is_real(f) for f in fields)
        and _always_below(columns[name], columns[upper])
    )


def _always_below(values: Array, upper: Array) -> bool:
    """Whether values <= upper in all events, though their ranges alone would not make it so."""
    if upper.ndim > 1 or len(values) < 500 or not (values[:500] <= upper[:500]).all():
        return False
    if not (values <= upper).all():
        return False
    shifted = np.roll(upper, len(upper) // 2)
    return bool(np.mean(values > shifted) > 0.05)

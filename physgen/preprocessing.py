"""Events to tensors and back.

A :class:`Preprocessor` holds one transform per column, in an order in which every column is
decoded after those it needs. Jagged columns of one collection become a multiplicity and a padded
block. Which transform a column gets is decided from the data by :func:`choose_transform` and can
be overridden for any column.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import chisquare
from torch import Tensor

from physgen.events import Events
from physgen.models.base import TensorSpec
from physgen.random import Random
from physgen.schema import Field, Schema, SchemaError, no_such_field
from physgen.transforms import (
    Angle,
    Array,
    Below,
    Binary,
    ByCategory,
    Categories,
    Columns,
    Constant,
    Integer,
    Spike,
    Standardize,
    Transform,
    Voxels,
    smooth,
    transform_from_dict,
    transform_to_dict,
)

__all__ = ["Cloud", "Preprocessor", "choose_transform"]

MAX_CATEGORIES = 12
SPIKE_FRACTION = 0.005
_ANGLE_NAME = re.compile(r"(^|_)(d?phi|azimuth|angle)\d*($|_)", re.IGNORECASE)


def choose_transform(field: Field, values: Array, others: Columns, fields: Schema) -> Transform:
    """Choose the transform of a flat or fixed-shape column from what its values look like.

    The rules, the first that holds: one value, two values, an array (voxels with exact zeros,
    pixels, other), few distinct values, integers, an angle, a spike (implied by a discrete column
    or not), always below another column, skewed, and else plain.

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
    if len(distinct) == 2:
        return Binary((float(distinct[0]), float(distinct[1])))
    if field.shape:
        return _choose_for_array(field, values, others, fields)
    if len(distinct) <= MAX_CATEGORIES and len(distinct) < 0.1 * len(values):
        return Categories()
    if np.dtype(field.dtype).kind in "iub":
        return Integer()
    return _choose_for_continuous(field, values, others, fields)


def _choose_for_array(field: Field, values: Array, others: Columns, fields: Schema) -> Transform:
    if np.dtype(field.dtype).kind in "iu":
        return Integer()
    if values.min() == 0 and np.mean(values == 0) > SPIKE_FRACTION:
        positive = [
            f.name
            for f in fields
            if f.role == "condition" and f.name in others and (others[f.name] > 0).all()
        ]
        return Voxels(scale=positive[0] if len(positive) == 1 else "")
    return Standardize()


def _choose_for_continuous(
    field: Field, values: Array, others: Columns, fields: Schema
) -> Transform:
    angle = _angle_of(field, values)
    if angle is not None:
        return dataclasses.replace(
            angle, reference=_reference_angle(values, angle, others, fields)
        )
    spike = _spike_of(values)
    discrete = [n for n, c in others.items() if c.ndim == 1 and len(np.unique(c)) <= 50]
    if spike is not None:
        implied = [n for n in discrete if _implies(others[n], values == spike)]
        return ByCategory(implied[0]) if implied else Spike(spike)
    upper = [n for n, c in others.items() if _always_below(values, c) and _is_real(fields[n])]
    return Below(upper[-1]) if upper else smooth(values)


def _is_real(field: Field) -> bool:
    return not field.shape and np.dtype(field.dtype).kind == "f"


def _angle_of(field: Field, values: Array) -> Angle | None:
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
        if inside and (at_ends or (hinted and spans)):
            return Angle("", low, period)
    return None


def _reference_angle(values: Array, angle: Angle, others: Columns, fields: Schema) -> str:
    """The angle from which this one is measured best: where the difference is least uniform."""
    best, best_chi2 = "", _non_uniformity(values, angle)
    for name, other in others.items():
        if not _is_real(fields[name]) or _angle_of(fields[name], other) is None:
            continue
        chi2 = _non_uniformity(values - other, angle)
        if chi2 > max(best_chi2, 100.0):
            best, best_chi2 = name, chi2
    return best


def _non_uniformity(values: Array, angle: Angle) -> float:
    """Chi-square of 20 bins over one turn against a uniform angle (19 expected)."""
    turn = np.mod(values - angle.low, angle.period) / angle.period
    return float(chisquare(np.bincount((turn * 20).astype(int) % 20, minlength=20)).statistic)


def _spike_of(values: Array) -> float | None:
    """The value that repeats in more events than chance allows, or None."""
    distinct, counts = np.unique(values, return_counts=True)
    fraction = counts.max() / len(values)
    rare = np.median(counts) < 0.1 * counts.max()
    return float(distinct[counts.argmax()]) if fraction > SPIKE_FRACTION and rare else None


def _implies(discrete: Array, at_spike: Array) -> bool:
    """Whether the discrete column tells for every event if it is at the spike."""
    return all(len(np.unique(at_spike[discrete == v])) == 1 for v in np.unique(discrete))


def _always_below(values: Array, upper: Array) -> bool:
    """Whether values <= upper in all events, though their ranges alone would not make it so."""
    if upper.ndim > 1 or len(values) < 500 or not (values <= upper).all():
        return False
    shifted = np.roll(upper, len(upper) // 2)
    return bool(np.mean(values > shifted) > 0.05)


@dataclass(frozen=True)
class Cloud:
    """A jagged collection as padded rows: entry k of an event stands in row k, zeros behind.

    Parameters
    ----------
    collection : str
        Its name.
    counter : str
        Name under which its multiplicity is decoded before: a column of the file that always
        equals it, or an internal one.
    fields : tuple of Field
        The jagged fields.
    transforms : tuple of Transform
        One per field, for the values of all entries; references are flat columns.
    n_max : int
        Rows; the largest multiplicity seen.
    descending : str, default ""
        Field by which every event was ordered, largest first.
    """

    collection: str
    counter: str
    fields: tuple[Field, ...]
    transforms: tuple[Transform, ...] = ()
    n_max: int = 0
    descending: str = ""

    @property
    def binary(self) -> tuple[bool, ...]:
        """For each feature whether it is binary; padding makes none of them so."""
        return (False,) * (self.n_max * self._width)

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns decoded before."""
        return (self.counter, *(name for t in self.transforms for name in t.needs))

    @property
    def _width(self) -> int:
        return sum(len(t.binary) for t in self.transforms)

    def forward(self, events: Events, others: Columns, rng: Random) -> Array:
        """Features of shape (n_events, n_max * n_features of one entry)."""
        import awkward as ak

        counts = others[self.counter].astype(np.int64)
        if len(counts) and counts.max() > self.n_max:
            raise SchemaError(
                f"{self.collection} has up to {counts.max()} entries per event, but the "
                f"preprocessor was fitted with at most {self.n_max}"
            )
        mask = np.arange(self.n_max) < counts[:, None]
        rows = np.zeros((len(events), self.n_max, self._width))
        entry_rng = _EntryRandom(rng, mask)
        parts = [
            t.forward(ak.flatten(events[f.name]).to_numpy(), _repeat(others, t, counts), entry_rng)
            for f, t in zip(self.fields, self.transforms, strict=True)
        ]
        rows[mask] = np.concatenate(parts, axis=1)
        return rows.reshape(len(events), -1)

    def inverse(self, features: Array, others: Columns) -> dict[str, Any]:
        """Jagged columns with as many entries as the counter says."""
        import awkward as ak

        counts = np.clip(others[self.counter].astype(np.int64), 0, self.n_max)
        rows = features.reshape(len(features), self.n_max, -1)
        entries = rows[np.arange(self.n_max) < counts[:, None]]
        columns: dict[str, Any] = {}
        start = 0
        for f, t in zip(self.fields, self.transforms, strict=True):
            part = entries[:, start : start + len(t.binary)]
            values = t.inverse(part, _repeat(others, t, counts))
            columns[f.name] = ak.unflatten(values.astype(f.dtype), counts)
            start += len(t.binary)
        if not self.descending:
            return columns
        order = ak.argsort(columns[self.descending], axis=1, ascending=False, stable=True)
        return {name: column[order] for name, column in columns.items()}


class _EntryRandom:
    """Draws for the entries of a padded block, so that an event's draws are its own."""

    def __init__(self, rng: Random, mask: Array) -> None:
        self._rng, self._mask = rng, torch.as_tensor(mask)
        self.device = rng.device

    def uniform(self, *shape: int) -> Tensor:
        return self._rng.uniform(*self._mask.shape, *shape[1:])[self._mask]

    def normal(self, *shape: int) -> Tensor:
        return self._rng.normal(*self._mask.shape, *shape[1:])[self._mask]


def _repeat(others: Columns, transform: Transform, counts: Array) -> Columns:
    """Flat columns that a transform needs, once per entry of the collection."""
    return {name: np.repeat(others[name], counts) for name in transform.needs}


class Preprocessor:
    """One transform per column, fitted to events; knows the way to tensors and back.

    Build with :meth:`fit`. Fields with the role ``condition`` become ``condition``, observables
    become ``x``; the weight goes through neither.
    """

    def __init__(
        self,
        schema: Schema,
        transforms: Mapping[str, Transform],
        clouds: Mapping[str, Cloud],
    ) -> None:
        self.schema, self.clouds = schema, dict(clouds)
        self.transforms = dict(transforms)
        self._conditions = schema.with_role("condition")
        self._generated = [n for n in self.transforms if n not in self._conditions]

    @classmethod
    def fit(cls, events: Events, overrides: Mapping[str, Transform] | None = None) -> Preprocessor:
        """Choose and fit the transforms.

        Parameters
        ----------
        events : Events
            The training events; roles as the schema says.
        overrides : mapping of str to Transform, optional
            Transforms by field name, in place of the chosen ones.
        """
        overrides = dict(overrides or {})
        for name in overrides:
            if name not in events.schema:
                raise SchemaError(no_such_field(name, events.schema.names))
        columns = _flat_columns(events)
        schema = _with_counters(events.schema, columns)
        done: dict[str, Array] = {}
        transforms: dict[str, Transform] = {}
        for name in _decoding_order(schema, columns, overrides):
            values = columns[name]
            chosen = overrides.get(name) or choose_transform(schema[name], values, done, schema)
            _check_needs(name, chosen, done)
            transforms[name] = chosen.fit(values, done)
            done[name] = values
        clouds = {
            name: _fit_cloud(name, members, events, done, schema, overrides)
            for name, members in events.schema.collections.items()
        }
        return cls(events.schema, transforms, clouds)

    @property
    def spec(self) -> TensorSpec:
        """Widths of the tensors and which features are binary."""
        parts: Iterable[Transform | Cloud] = (
            *(self.transforms[n] for n in self._generated),
            *self.clouds.values(),
        )
        binary = tuple(flag for part in parts for flag in part.binary)
        if not binary:
            raise SchemaError(
                "nothing to generate: every observable is constant or there is none; check fields="
            )
        n_conditions = sum(len(self.transforms[n].binary) for n in self._conditions)
        return TensorSpec(n_features=len(binary), n_conditions=n_conditions, binary=binary)

    def forward(self, events: Events, *, rng: Random) -> tuple[Tensor, Tensor]:
        """Tensors of events.

        Parameters
        ----------
        events : Events
            With the fields of the schema.
        rng : Random
            Noise that spreads integers over their interval.

        Returns
        -------
        x : Tensor of shape (n_events, n_features), float32
        condition : Tensor of shape (n_events, n_conditions), float32
        """
        columns = _flat_columns(events)
        x = [self.transforms[n].forward(columns[n], columns, rng) for n in self._generated]
        x += [cloud.forward(events, columns, rng) for cloud in self.clouds.values()]
        return _tensor(x, len(events)), self.condition(columns, len(events), rng=rng)

    def condition(self, columns: Columns, n_events: int, *, rng: Random) -> Tensor:
        """Tensor of the conditions, of shape (n_events, n_conditions)."""
        parts = [self.transforms[n].forward(columns[n], columns, rng) for n in self._conditions]
        return _tensor(parts, n_events)

    def inverse(self, x: Tensor, conditions: Columns) -> dict[str, Any]:
        """Columns of generated tensors, conditions included, in the order of the schema.

        Parameters
        ----------
        x : Tensor of shape (n_events, n_features)
        conditions : mapping of str to array of shape (n_events,)
            Physical values of the conditions.
        """
        features = x.detach().cpu().numpy().astype(np.float64)
        done: dict[str, Array] = dict(conditions)
        start = 0
        for name in self._generated:
            width = len(self.transforms[name].binary)
            values = self.transforms[name].inverse(features[:, start : start + width], done)
            done[name] = _cast(values, self.schema[name].dtype if name in self.schema else "int64")
            start += width
        columns: dict[str, Any] = dict(done)
        for cloud in self.clouds.values():
            width = len(cloud.binary)
            columns |= cloud.inverse(features[:, start : start + width], done)
            start += width
        return {n: columns[n] for n in self.schema.names if n in columns}

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and dicts, for JSON (the schema is stored beside it)."""
        return {
            "transforms": {n: transform_to_dict(t) for n, t in self.transforms.items()},
            "clouds": {
                name: {
                    "counter": cloud.counter,
                    "n_max": cloud.n_max,
                    "descending": cloud.descending,
                    "transforms": [transform_to_dict(t) for t in cloud.transforms],
                }
                for name, cloud in self.clouds.items()
            },
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], schema: Schema) -> Preprocessor:
        """Rebuild from :meth:`to_dict`."""
        clouds = {
            name: Cloud(
                name,
                entry["counter"],
                tuple(schema[n] for n in schema.collections[name]),
                tuple(transform_from_dict(t) for t in entry["transforms"]),
                entry["n_max"],
                entry["descending"],
            )
            for name, entry in stored["clouds"].items()
        }
        transforms = {n: transform_from_dict(t) for n, t in stored["transforms"].items()}
        return cls(schema, transforms, clouds)


def _tensor(parts: list[Array], n_events: int) -> Tensor:
    joined = np.concatenate([np.zeros((n_events, 0)), *parts], axis=1)
    return torch.from_numpy(joined.astype(np.float32))


def _cast(values: Array, dtype: str) -> Array:
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        values = np.clip(np.rint(values), info.min, info.max)
    return values.astype(dtype)


def _counter_name(collection: str) -> str:
    return f"n({collection})"


def _flat_columns(events: Events) -> dict[str, Array]:
    """Flat and fixed-shape columns and the multiplicities of the collections."""
    columns = {f.name: events[f.name] for f in events.schema if not f.jagged}
    for collection, members in events.schema.collections.items():
        columns[_counter_name(collection)] = events.multiplicity(members[0])
    return columns


def _with_counters(schema: Schema, columns: Columns) -> Schema:
    """Schema of the flat columns, internal counters included, those not needed left out."""
    flat = tuple(f for f in schema if not f.jagged and f.role != "weight")
    counters = tuple(
        Field(_counter_name(c), "int64")
        for c in schema.collections
        if not _twin(_counter_name(c), flat, columns)
    )
    return Schema((*flat, *counters))


def _twin(counter: str, flat: tuple[Field, ...], columns: Columns) -> str:
    """Name of a column of the file that always equals the counter, or nothing."""
    for f in flat:
        integer = np.dtype(f.dtype).kind in "iu" and not f.shape
        if integer and np.array_equal(columns[f.name], columns[counter]):
            return f.name
    return ""


def _decoding_order(
    schema: Schema, columns: Columns, overrides: Mapping[str, Transform]
) -> list[str]:
    """Conditions, then discrete columns, then the rest; what an override needs comes first."""

    def rank(f: Field) -> int:
        discrete = not f.shape and len(np.unique(columns[f.name][:10_000])) <= 50
        return 0 if f.role == "condition" else 1 if discrete else 2

    order = [f.name for f in sorted(schema, key=rank)]
    for name in list(order):
        for needed in overrides[name].needs if name in overrides else ():
            if needed in order and order.index(needed) > order.index(name):
                order.remove(needed)
                order.insert(order.index(name), needed)
    return order


def _check_needs(name: str, transform: Transform, done: Columns) -> None:
    for needed in transform.needs:
        if needed not in done:
            raise SchemaError(
                f"{type(transform).__name__} for {name!r} refers to {needed!r}, which is not "
                f"decoded before it (available: {', '.join(done) or 'none'})"
            )


def _fit_cloud(
    collection: str,
    members: tuple[str, ...],
    events: Events,
    columns: Columns,
    schema: Schema,
    overrides: Mapping[str, Transform],
) -> Cloud:
    import awkward as ak

    counter = _counter_name(collection)
    counts = events.multiplicity(members[0])
    if counter not in columns:
        counter = _twin(counter, schema.fields, {**columns, counter: counts})
    transforms = []
    for name in members:
        values = ak.flatten(events[name]).to_numpy()
        flat = {n: np.repeat(c, counts) for n, c in columns.items() if c.ndim == 1}
        field = dataclasses.replace(events.schema[name], jagged=False, collection="")
        angles = {n: c for n, c in flat.items() if _is_real(schema[n]) and _angle_of(schema[n], c)}
        if len(values) == 0:
            chosen: Transform = Standardize(mean=(0.0,), std=(1.0,))
        else:
            chosen = overrides.get(name) or choose_transform(field, values, angles, schema)
            chosen = chosen.fit(values, flat)
        transforms.append(chosen)
    return Cloud(
        collection,
        counter,
        tuple(events.schema[n] for n in members),
        tuple(transforms),
        int(counts.max(initial=0)),
        _ordered_by(events, members),
    )


def _ordered_by(events: Events, members: tuple[str, ...]) -> str:
    """Field by which the entries of every event fall, if there is one."""
    import awkward as ak

    for name in members:
        column = events[name]
        if ak.any(ak.num(column) > 1) and ak.all(column[:, :-1] >= column[:, 1:]):
            return name
    return ""

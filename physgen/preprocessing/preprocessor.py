"""Events to tensors and back, column by column in an order that respects what each one needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physgen.events import Events
from physgen.preprocessing import stages
from physgen.preprocessing.choice import bounds, choose_transform
from physgen.preprocessing.cloud import (
    Cloud,
    cast,
    check_needs,
    counter_name,
    counter_of,
    double,
    find_frames,
    fit_cloud,
    internal_field,
)
from physgen.preprocessing.frame import Frame
from physgen.random import Random
from physgen.schema import Field, Schema, SchemaError, no_such_field
from physgen.tensor_spec import TensorSpec
from physgen.transforms import (
    Array,
    Below,
    Columns,
    Count,
    Transform,
    transform_from_dict,
    transform_to_dict,
)

__all__ = ["Preprocessor"]


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
        frames = find_frames(events, overrides)
        columns = _flat_columns(events, frames.values())
        counters = _counters(events.schema, columns)
        sums = [name for frame in frames.values() for name in frame.columns]
        schema = _with_internal(events.schema, [*counters.values(), *sums])
        for name in counters.values():
            if len(np.unique(columns[name])) > 1:
                # one number with its order, of which a network can tell how many rows there are
                overrides.setdefault(name, Count())
        done: dict[str, Array] = {}
        transforms: dict[str, Transform] = {}
        for name in _decoding_order(schema, columns, overrides):
            values = columns[name]
            chosen = overrides.get(name) or choose_transform(schema[name], values, done, schema)
            known = done if schema[name].role != "condition" else _conditions(schema, done)
            check_needs(name, chosen, known)
            transforms[name] = chosen.fit(values, done)
            done[name] = values
        clouds = {
            name: fit_cloud(
                name, members, events, done, schema, overrides, counters[name], frames.get(name)
            )
            for name, members in events.schema.collections.items()
        }
        return cls(events.schema, transforms, clouds)

    @property
    def spec(self) -> TensorSpec:
        """What the tensors look like: widths, kinds, and the stages in which they are made."""
        parts: tuple[Transform | Cloud, ...] = (
            *(self.transforms[n] for n in self._generated),
            *self.clouds.values(),
        )
        if not any(part.binary for part in parts):
            raise SchemaError(
                "nothing to generate: every observable is constant or there is none; check fields="
            )
        return stages.spec_of(
            self.schema, self.transforms, self._conditions, self._generated, self.clouds
        )

    def features_of(self, name: str) -> slice:
        """Which features of ``x`` belong to a column of one value or array per event."""
        start = 0
        for other in self._generated:
            stop = start + len(self.transforms[other].binary)
            if other == name:
                return slice(start, stop)
            start = stop
        raise SchemaError(no_such_field(name, self._generated, "the generated columns"))

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
        columns = _flat_columns(events, (c.frame for c in self.clouds.values() if c.frame))
        x = [self._forward(n, columns, rng) for n in self._generated]
        x += [cloud.forward(events, columns, rng) for cloud in self.clouds.values()]
        return _tensor(x, len(events)), self.condition(columns, len(events), rng=rng)

    def condition(self, columns: Columns, n_events: int, *, rng: Random) -> Tensor:
        """Tensor of the conditions, of shape (n_events, n_conditions)."""
        return _tensor([self._forward(n, columns, rng) for n in self._conditions], n_events)

    def _forward(self, name: str, columns: Columns, rng: Random) -> Array:
        return self.transforms[name].forward(double(columns[name]), columns, rng)

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
            transform = self.transforms[name]
            part = features[:, start : start + len(transform.binary)]
            if isinstance(transform, Below) and transform.upper in self._generated:
                transform = transform.inner  # put in order below, by exchange
            values = transform.inverse(part, done)
            field = self.schema[name] if name in self.schema else internal_field(name)
            done[name] = cast(values, field)
            start += part.shape[1]
        self._put_in_order(done)
        columns: dict[str, Any] = dict(done)
        for cloud in self.clouds.values():
            width = len(cloud.binary)
            columns |= cloud.inverse(features[:, start : start + width], done)
            start += width
        return {n: columns[n] for n in self.schema.names if n in columns}

    def _put_in_order(self, columns: dict[str, Array]) -> None:
        """Exchange ordered columns where a model blurred the edge between them.

        The truth is a folded pair: an exchange leaves every symmetric function of the two (the
        mass of two leptons) as the model made it, which moving one of them would not.
        """
        pairs = [
            (t.upper, name)
            for name, t in self.transforms.items()
            if isinstance(t, Below) and t.upper in self._generated
        ]
        for _ in pairs:
            for upper, lower in pairs:
                a, b = columns[upper], columns[lower]
                columns[upper], columns[lower] = np.maximum(a, b), np.minimum(a, b)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and dicts, for JSON (the schema is stored beside it)."""
        return {
            "transforms": {n: transform_to_dict(t) for n, t in self.transforms.items()},
            "clouds": {
                name: {
                    "counter": cloud.counter,
                    "n_max": cloud.n_max,
                    "descending": cloud.descending,
                    "truncated": cloud.truncated,
                    "transforms": [transform_to_dict(t) for t in cloud.transforms],
                    "frame": dataclasses.asdict(cloud.frame) if cloud.frame else None,
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
                entry.get("truncated", False),
                Frame.from_dict(entry["frame"]) if entry.get("frame") else None,
            )
            for name, entry in stored["clouds"].items()
        }
        transforms = {n: transform_from_dict(t) for n, t in stored["transforms"].items()}
        return cls(schema, transforms, clouds)


def _tensor(parts: list[Array], n_events: int) -> Tensor:
    joined = np.concatenate([np.zeros((n_events, 0)), *parts], axis=1)
    return torch.from_numpy(joined.astype(np.float32))


def _conditions(schema: Schema, columns: Columns) -> Columns:
    return {n: columns[n] for n in schema.with_role("condition") if n in columns}


def _flat_columns(events: Events, frames: Iterable[Frame]) -> dict[str, Array]:
    """Flat and fixed-shape columns, multiplicities of the collections, and sums over jets."""
    columns = {f.name: events[f.name] for f in events.schema if not f.jagged}
    for collection, members in events.schema.collections.items():
        columns[counter_name(collection)] = events.multiplicity(members[0])
    for frame in frames:
        columns |= frame.measure(events)
    return columns


def _counters(schema: Schema, columns: Columns) -> dict[str, str]:
    """For each collection the column that tells its multiplicity."""
    flat = [f for f in schema if not f.jagged and f.role != "weight"]
    return {name: counter_of(name, flat, columns) for name in schema.collections}


def _with_internal(schema: Schema, names: Iterable[str]) -> Schema:
    """Schema of the flat columns and of internal ones among these names."""
    flat = tuple(f for f in schema if not f.jagged and f.role != "weight")
    internal = tuple(internal_field(name) for name in names if name not in schema)
    return Schema((*flat, *internal), schema.conventions)


def _decoding_order(
    schema: Schema, columns: Columns, overrides: Mapping[str, Transform]
) -> list[str]:
    """Conditions, discrete columns, then the rest, what bounds another one before it, arrays.

    What an override needs comes first, too.
    """

    def rank(f: Field) -> int:
        if f.role == "condition" or f.shape:
            return 0 if f.role == "condition" else 3
        return 1 if len(np.unique(columns[f.name][:10_000])) <= 50 else 2

    order = [f.name for f in sorted(schema, key=rank)]
    for name in list(order):
        if name in overrides:
            needs = overrides[name].needs
        else:
            needs = tuple(upper for upper in order if bounds(schema, columns, upper, name))
        for needed in needs:
            if needed in order and order.index(needed) > order.index(name):
                order.remove(needed)
                order.insert(order.index(name), needed)
    return order

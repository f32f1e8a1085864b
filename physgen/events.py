"""Events: columns over the same events, with their schema.

A data set is a set of *columns*. A column is flat (one number per event), of fixed shape (a voxel
grid, a spin lattice) or jagged (the jets of an event). What a column means travels with it as a
:class:`~physgen.schema.Field`; the fields and the conventions of a file make a
:class:`~physgen.schema.Schema`; the schema and the arrays make :class:`Events`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch

from physgen.columns import (
    as_array,
    as_column,
    flat_values,
    group_collections,
    infer_field,
    nonfinite_rows,
    number,
)
from physgen.random import Rng, as_generator
from physgen.schema import Field, Schema, SchemaError, no_such_field

if TYPE_CHECKING:
    import awkward as ak

__all__ = ["Events", "concatenate", "require_events"]


class Events:
    """Columns over the same events, with their schema.

    Parameters
    ----------
    schema : Schema
        What each column means.
    columns : mapping of str to array
        One array per field: numpy of shape ``(n_events, *field.shape)``, or an awkward array of
        ``n_events`` lists for a jagged field. Values are cast to the field's type when that loses
        nothing of their kind (float64 to float32 yes, float to int no).

    Raises
    ------
    SchemaError
        If a column is missing, too many, of another length, shape or kind.

    Examples
    --------
    >>> events = Events.from_dict({"pt": [31.0, 45.5, 27.2]}, units={"pt": "GeV"})
    >>> len(events), float(events["pt"][1])
    (3, 45.5)
    >>> len(events[events["pt"] > 30])
    2
    """

    def __init__(self, schema: Schema, columns: Mapping[str, Any]) -> None:
        unknown = [name for name in columns if name not in schema]
        if unknown:
            raise SchemaError(no_such_field(unknown[0], schema.names, "the schema"))
        missing = [name for name in schema.names if name not in columns]
        if missing:
            raise SchemaError(f"no column given for the field(s) {', '.join(missing)}")
        self._schema = schema
        self._columns = {f.name: as_column(f, columns[f.name]) for f in schema}
        lengths = {name: len(column) for name, column in self._columns.items()}
        if len(set(lengths.values())) > 1:
            raise SchemaError(
                "columns must have one entry per event, but their lengths differ: "
                + ", ".join(f"{name} {n}" for name, n in lengths.items())
            )
        self._n_events = next(iter(lengths.values()), 0)
        self._check_multiplicities()

    def _check_multiplicities(self) -> None:
        for collection, names in self._schema.collections.items():
            counts = [self.multiplicity(name) for name in names]
            for name, count in zip(names[1:], counts[1:], strict=True):
                if not np.array_equal(count, counts[0]):
                    event = int(np.flatnonzero(count != counts[0])[0])
                    raise SchemaError(
                        f"{names[0]} and {name} share the collection {collection!r}, but event "
                        f"{event} has {counts[0][event]} and {count[event]} entries"
                    )

    @property
    def schema(self) -> Schema:
        """Fields and conventions."""
        return self._schema

    @property
    def weights(self) -> np.ndarray:
        """Event weights, float64 of shape (n_events,); ones where the file has none."""
        name = self._schema.weight
        if name is None:
            return np.ones(self._n_events)
        return np.asarray(self._columns[name], dtype=np.float64)

    def multiplicity(self, name: str) -> np.ndarray:
        """Entries per event of a jagged field, int64 of shape (n_events,)."""
        import awkward as ak

        layout = self._columns[name].layout
        if isinstance(layout, ak.contents.ListOffsetArray):  # ak.num is slower
            return np.diff(np.asarray(layout.offsets.data)).astype(np.int64, copy=False)
        return np.asarray(ak.num(self._columns[name], axis=1), dtype=np.int64)

    def __len__(self) -> int:
        return self._n_events

    @overload
    def __getitem__(self, key: str) -> Any: ...
    @overload
    def __getitem__(self, key: slice | list[str] | np.ndarray | torch.Tensor) -> Events: ...
    def __getitem__(self, key: Any) -> Any:
        """Return a column by name, or the events of a slice, mask, indices or list of names."""
        if isinstance(key, str):
            self._schema[key]
            return self._columns[key]
        if isinstance(key, list | tuple) and key and all(isinstance(name, str) for name in key):
            return Events(self._schema.select(key), {name: self._columns[name] for name in key})
        if isinstance(key, int | np.integer):
            raise TypeError(f"one event is not Events; write events[{key}:{key + 1}]")
        rows = key if isinstance(key, slice) else np.asarray(key)
        if isinstance(rows, np.ndarray) and rows.dtype == bool and len(rows) != len(self):
            raise IndexError(f"the mask has {len(rows)} entries for {len(self)} events")
        if isinstance(rows, np.ndarray) and rows.size == 0:
            rows = rows.astype(np.int64)
        return Events(self._schema, {name: c[rows] for name, c in self._columns.items()})

    def __iter__(self) -> Iterator[str]:
        raise TypeError("Events are columns; iterate over events.schema.names, or slice")

    def check_finite(self) -> None:
        """Raise if a column holds NaN or infinity.

        Raises
        ------
        ValueError
            Naming the column, the number of events and the first of them.
        """
        for f in self._schema:
            if np.dtype(f.dtype).kind != "f":
                continue
            bad = nonfinite_rows(self._columns[f.name], f.jagged)
            if len(bad):
                raise ValueError(
                    f"{f.name} is NaN or infinite in {len(bad)} of {len(self)} events (first: "
                    f"{', '.join(map(str, bad[:5]))}); drop them, e.g. with "
                    "read_events(..., drop_nonfinite=True)"
                )

    def check_allowed(self) -> None:
        """Raise if a column holds a value that its field does not allow.

        Raises
        ------
        ValueError
            Naming the column, the first such value and what is allowed.
        """
        for f in self._schema:
            if f.allowed is None:
                continue
            values = flat_values(self._columns[f.name], f.jagged)
            wrong = values[~np.isin(values, np.array(f.allowed, dtype=f.dtype))]
            if len(wrong):
                raise ValueError(
                    f"{f.name} holds {len(wrong)} values that its field does not allow (first: "
                    f"{wrong[0]:g}; allowed: {', '.join(f'{v:g}' for v in f.allowed)}); remove "
                    "these events, or correct Field.allowed"
                )

    def replace_schema(self, schema: Schema) -> Events:
        """Return the same columns under another schema with the same names (roles, units, ...)."""
        return Events(schema, self._columns)

    def with_columns(self, columns: Mapping[str, Any], **properties: Any) -> Events:
        """Return the events with further columns, their fields inferred from the values.

        Parameters
        ----------
        columns : mapping of str to array
            New columns; one that exists already is replaced and keeps its place, unit, role and
            description.
        **properties
            Properties of the new fields, e.g. ``unit="GeV"``.
        """
        arrays = {name: as_array(name, column) for name, column in columns.items()}
        fields = {f.name: f for f in self._schema}
        for name, array in arrays.items():
            new = infer_field(name, array)
            if name in fields:
                old = fields[name]
                new = dataclasses.replace(
                    new, unit=old.unit, role=old.role, description=old.description
                )
            fields[name] = dataclasses.replace(new, **properties)
        schema = dataclasses.replace(self._schema, fields=tuple(fields.values()))
        return Events(schema, {**self._columns, **arrays})

    def split(self, *fractions: float, rng: Rng) -> tuple[Events, ...]:
        """Split at random into parts of these fractions and the rest.

        Parameters
        ----------
        *fractions : float
            Fractions of the events, each in (0, 1), with a sum below 1.
        rng : int or torch.Generator
            Seed of the shuffle.

        Returns
        -------
        tuple of Events
            One part per fraction and the rest; disjoint, each in the order of the file.

        Examples
        --------
        >>> train, test = Events.from_dict({"x": range(10)}).split(0.8, rng=0)
        >>> len(train), len(test)
        (8, 2)
        """
        if not fractions or min(fractions) <= 0 or sum(fractions) >= 1:
            raise ValueError(
                f"fractions must be positive with a sum below 1 (the rest is the last part), "
                f"got {fractions}"
            )
        order = torch.randperm(len(self), generator=as_generator(rng)).numpy()
        edges = np.round(np.cumsum(fractions) * len(self)).astype(int)
        return tuple(self[np.sort(part)] for part in np.split(order, edges))

    def sha256(self) -> str:
        """Return the SHA-256 of the names and the values of all columns, in hexadecimal."""
        digest = hashlib.sha256()
        for f in self._schema:
            digest.update(f.name.encode())
            if f.jagged:
                digest.update(self.multiplicity(f.name).tobytes())
            digest.update(flat_values(self._columns[f.name], f.jagged).tobytes())
        return digest.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the columns by name (no copy)."""
        return dict(self._columns)

    @classmethod
    def from_dict(
        cls,
        columns: Mapping[str, Any],
        *,
        units: Mapping[str, str] | None = None,
        conventions: Mapping[str, str] | None = None,
    ) -> Events:
        """Make events from arrays, fields inferred from their types and shapes.

        Jagged columns whose names share the part before the first underscore and whose
        multiplicities agree (``Jet_pt``, ``Jet_eta``) become one collection.

        Parameters
        ----------
        columns : mapping of str to array
            numpy or awkward arrays, or lists.
        units, conventions : mapping of str to str, optional
            Units by field; conventions of the schema.
        """
        arrays = {name: as_array(name, column) for name, column in columns.items()}
        fields = group_collections([infer_field(name, a) for name, a in arrays.items()], arrays)
        schema = Schema(tuple(fields), conventions or {})
        for name, unit in (units or {}).items():
            schema = schema.with_field(name, unit=unit)
        return cls(schema, arrays)

    def to_awkward(self) -> ak.Array:
        """Return one awkward record array with the fields as records."""
        import awkward as ak

        return ak.zip(self._columns, depth_limit=1)

    @classmethod
    def from_awkward(cls, array: ak.Array, schema: Schema | None = None) -> Events:
        """Make events from an awkward record array (schema inferred unless given)."""
        import awkward as ak

        if not ak.fields(array):
            raise SchemaError(f"from_awkward needs records with named fields, got {array.type}")
        columns = {name: array[name] for name in ak.fields(array)}
        return cls(schema, columns) if schema is not None else cls.from_dict(columns)

    def __repr__(self) -> str:
        header = ("field", "unit", "type", "per event", "role", "range")
        rows = [header, *(_describe(f, self._columns[f.name]) for f in self._schema)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        noun = "event" if len(self) == 1 else "events"
        return "\n".join([f"Events: {len(self):,} {noun}, {len(self._schema)} fields", *lines])


def require_events(what: str, given: Any) -> None:
    """Raise TypeError if something else than Events was given."""
    if not isinstance(given, Events):
        raise TypeError(
            f"{what} must be Events, got {type(given).__name__}; make them with "
            "pg.Events.from_dict, or read them with pg.read_events"
        )


def concatenate(parts: Sequence[Events]) -> Events:
    """Join events of one schema, in order.

    Raises
    ------
    SchemaError
        If there is nothing to join, or fields or conventions differ; the message names the first
        difference. A convention that only some of the parts have is kept.
    """
    if not parts:
        raise SchemaError("nothing to concatenate: the list of Events is empty")
    first = parts[0].schema
    for part in parts[1:]:
        if part.schema.fields != first.fields:
            raise SchemaError(f"cannot concatenate: {_first_difference(first, part.schema)}")
    first = dataclasses.replace(first, conventions=_joined_conventions(parts))
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {}
    for f in first:
        columns_of_parts = [part[f.name] for part in parts]
        if f.jagged:
            import awkward as ak

            columns[f.name] = ak.concatenate(columns_of_parts)
        else:
            columns[f.name] = np.concatenate(columns_of_parts)
    return Events(first, columns)


def _joined_conventions(parts: Sequence[Events]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for part in parts:
        for key, value in part.schema.conventions.items():
            if joined.setdefault(key, value) != value:
                raise SchemaError(
                    f"cannot concatenate: convention {key!r} is {joined[key]!r} in one part and "
                    f"{value!r} in another"
                )
    return joined


def _first_difference(a: Schema, b: Schema) -> str:
    if a.names != b.names:
        only = [n for n in a.names if n not in b] + [n for n in b.names if n not in a]
        return f"fields {', '.join(only) or 'in another order'} are not in both"
    name, old, new = next((f.name, f, b[f.name]) for f in a if f != b[f.name])
    changed = [
        f"{p.name} {getattr(old, p.name)!r} and {getattr(new, p.name)!r}"
        for p in dataclasses.fields(Field)
        if getattr(old, p.name) != getattr(new, p.name)
    ]
    return f"field {name!r} differs in {'; '.join(changed)}"


def _describe(field: Field, column: Any) -> tuple[str, ...]:
    values = flat_values(column, field.jagged)
    per_event = "jagged" if field.jagged else "×".join(str(n) for n in field.shape) or "1"
    if field.allowed is not None:
        span = "{" + ", ".join(f"{v:g}" for v in field.allowed) + "}"
    elif values.size == 0:
        span = "empty"
    else:
        span = f"{number(values.min())} .. {number(values.max())}"
    return field.name, field.unit, field.dtype, per_event, field.role, span

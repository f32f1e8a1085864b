"""Jagged collections: a multiplicity and a padded block of entries."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physgen.events import Events
from physgen.preprocessing.choice import angle_of, choose_transform, is_real
from physgen.preprocessing.frame import Frame, frame_of
from physgen.random import Random
from physgen.schema import Field, Schema, SchemaError
from physgen.transforms import Array, Columns, Constant, Linear, Quantile, Transform

__all__ = [
    "Cloud",
    "cast",
    "check_needs",
    "counter_name",
    "counter_of",
    "double",
    "find_frames",
    "fit_cloud",
    "internal_field",
]


@dataclass(frozen=True)
class Cloud:
    """A jagged collection as padded rows: entry k of an event stands in row k, zeros behind.

    Parameters
    ----------
    collection : str
        Its name.
    counter : str
        Name under which its multiplicity is decoded before: a column of the file that always
        tells it, or an internal one.
    fields : tuple of Field
        The jagged fields.
    transforms : tuple of Transform
        One per field, for the values of all entries; references are flat columns.
    n_max : int
        Rows; the largest multiplicity seen.
    descending : str, default ""
        Field by which every event was ordered, largest first.
    truncated : bool, default False
        Whether the counter goes on where the rows end: the file keeps the first ``n_max``
        entries of an event that has more (the 30 hardest of all particles of a jet).
    frame : Frame, optional
        Coordinates that the transforms see, for the particles of a jet.
    """

    collection: str
    counter: str
    fields: tuple[Field, ...]
    transforms: tuple[Transform, ...] = ()
    n_max: int = 0
    descending: str = ""
    truncated: bool = False
    frame: Frame | None = None

    @property
    def binary(self) -> tuple[bool, ...]:
        """For each feature whether it is binary; padding makes none of them so."""
        return (False,) * (self.n_max * self._width)

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns decoded before."""
        sums = self.frame.columns if self.frame else ()
        return (self.counter, *sums, *(name for t in self.transforms for name in t.needs))

    @property
    def _width(self) -> int:
        return sum(len(t.binary) for t in self.transforms)

    def forward(self, events: Events, others: Columns, rng: Random) -> Array:
        """Features of shape (n_events, n_max * n_features of one entry)."""
        import awkward as ak

        counts = others[counter_name(self.collection)]
        self._check_lengths(counts, others)
        mask = np.arange(self.n_max) < counts[:, None]
        rows = np.zeros((len(events), self.n_max, self._width))
        entry_rng = _EntryRandom(rng, mask)
        values = {f.name: double(ak.flatten(events[f.name]).to_numpy()) for f in self.fields}
        if self.frame:
            values |= self.frame.forward(values, mask, others)
        parts = [
            t.forward(values[f.name], self._known(others, t, mask), entry_rng)
            for f, t in zip(self.fields, self.transforms, strict=True)
        ]
        rows[mask] = np.concatenate(parts, axis=1)
        return rows.reshape(len(events), -1)

    def inverse(self, features: Array, others: Columns) -> dict[str, Any]:
        """Jagged columns with as many entries as the counter says."""
        import awkward as ak

        counts = self._wanted(others)
        if len(counts) and (counts.min() < 0 or counts.max() > self.n_max):
            # a given number outside those seen: fewer entries than it says would contradict it
            raise SchemaError(
                f"{self.collection} can have 0 to {self.n_max} entries, as many as in training, "
                f"but {self.counter} asks for {counts.min()} to {counts.max()}"
            )
        mask = np.arange(self.n_max) < counts[:, None]
        entries = features.reshape(len(features), self.n_max, self._width)[mask]
        values: dict[str, Array] = {}
        start = 0
        for f, t in zip(self.fields, self.transforms, strict=True):
            part = entries[:, start : start + len(t.binary)]
            values[f.name] = t.inverse(part, self._known(others, t, mask))
            start += len(t.binary)
        if self.frame:
            values |= self.frame.inverse(values, mask, others)
        columns = {f.name: ak.unflatten(cast(values[f.name], f), counts) for f in self.fields}
        if not self.descending:
            return columns
        order = ak.argsort(columns[self.descending], axis=1, ascending=False, stable=True)
        return {name: column[order] for name, column in columns.items()}

    def _known(self, others: Columns, transform: Transform, mask: Array) -> Columns:
        """Columns that a transform needs, once per entry; its place in the event is one."""
        place = {self.frame.place: np.nonzero(mask)[1]} if self.frame else {}
        counts = mask.sum(axis=1)
        return place | {n: np.repeat(others[n], counts) for n in transform.needs if n not in place}

    def _wanted(self, others: Columns) -> Array:
        """Entries that the counter asks for; what a file cuts off is not asked for."""
        counts = np.rint(others[self.counter]).astype(np.int64)
        return np.minimum(counts, self.n_max) if self.truncated else counts

    def _check_lengths(self, counts: Array, others: Columns) -> None:
        if len(counts) and counts.max() > self.n_max:
            raise SchemaError(
                f"{self.collection} has up to {counts.max()} entries per event, as in event "
                f"{int(counts.argmax())}, but the preprocessor was fitted with at most "
                f"{self.n_max}; cut them, or fit to events as long as these"
            )
        wrong = np.flatnonzero(self._wanted(others) != counts)
        if len(wrong):
            i = int(wrong[0])
            raise SchemaError(
                f"{self.counter} is {others[self.counter][i]:g} in event {i}, which has "
                f"{counts[i]} entries of {self.collection}: in training it told their number"
            )


class _EntryRandom:
    """Draws for the entries of a padded block, so that an event's draws are its own."""

    def __init__(self, rng: Random, mask: Array) -> None:
        self._rng, self._mask = rng, torch.as_tensor(mask)
        self.device = rng.device

    def uniform(self, *shape: int) -> Tensor:
        return self._rng.uniform(*self._mask.shape, *shape[1:])[self._mask]

    def normal(self, *shape: int) -> Tensor:
        return self._rng.normal(*self._mask.shape, *shape[1:])[self._mask]


def double(values: Array) -> Array:
    """Floats in double precision, in which transforms compute; all else as it is."""
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def cast(values: Array, field: Field) -> Array:
    """Decoded values in the type of the field, at the nearest value that it allows."""
    if field.allowed is not None:
        allowed = np.array(field.allowed)
        values = allowed[np.searchsorted(0.5 * (allowed[1:] + allowed[:-1]), values)]
    if np.dtype(field.dtype).kind in "iu":
        info = np.iinfo(field.dtype)
        values = np.clip(np.rint(values), info.min, info.max)
    return values.astype(field.dtype)


def counter_name(collection: str) -> str:
    """Internal name of a multiplicity; no column of a file is called so."""
    return f"n({collection})"


def internal_field(name: str) -> Field:
    """Field of an internal column: a multiplicity, or a sum over the particles of a jet."""
    return Field(name, "int64" if name.startswith("n(") else "float64")


def counter_of(collection: str, flat: Iterable[Field], columns: Columns) -> str:
    """Name of the column that tells the multiplicity of a collection.

    That is a column of whole numbers of the file that equals the multiplicity in every event;
    else one that equals it where the event is not as long as the longest (a file that keeps the
    30 hardest particles and says how many there were); else an internal one.
    """
    counts = columns[counter_name(collection)]
    longest, cut = counts.max(initial=0), ""
    for name in (f.name for f in flat if not f.shape and np.dtype(f.dtype).kind in "iuf"):
        values = columns[name]
        if np.array_equal(values, counts):
            return name
        whole = np.array_equal(values, np.rint(values))
        if whole and len(np.unique(counts)) > 1:
            cut = cut or (name if np.array_equal(np.minimum(values, longest), counts) else "")
    return cut or counter_name(collection)


def check_needs(name: str, transform: Transform, done: Columns) -> None:
    """Refuse a transform that refers to a column which is not decoded before it."""
    for needed in transform.needs:
        if needed not in done:
            raise SchemaError(
                f"{type(transform).__name__} for {name!r} refers to {needed!r}, which is not "
                f"decoded before it (available: {', '.join(done) or 'none'})"
            )


def find_frames(events: Events, overrides: Iterable[str]) -> dict[str, Frame]:
    """Frames of the collections that are particles of jets, by collection.

    A transform of their fields that the user chose is for the values in the file, and so leaves
    the collection without a frame.
    """
    chosen = set(overrides)
    found = {
        name: frame_of(name, members, events, _ordered_by(events, members))
        for name, members in events.schema.collections.items()
        if not chosen.intersection(members)
    }
    return {name: frame for name, frame in found.items() if frame}


def fit_cloud(
    collection: str,
    members: tuple[str, ...],
    events: Events,
    columns: Columns,
    schema: Schema,
    overrides: Mapping[str, Transform],
    counter: str,
    frame: Frame | None = None,
) -> Cloud:
    """Choose and fit the transforms of a collection; ``columns`` are those decoded before."""
    import awkward as ak

    counts = events.multiplicity(members[0])
    n_max = int(counts.max(initial=0))
    mask = np.arange(n_max) < counts[:, None]
    entries = {name: ak.flatten(events[name]).to_numpy() for name in members}
    if frame:
        entries |= frame.forward(entries, mask, columns)
    flat = {n: np.repeat(c, counts) for n, c in columns.items() if c.ndim == 1}
    angles = {n: flat[n] for n in flat if is_real(schema[n]) and angle_of(schema[n], columns[n])}
    transforms = []
    for name, values in entries.items():
        field = dataclasses.replace(events.schema[name], jagged=False, collection="")
        if len(values) == 0:
            chosen: Transform = Constant()
        elif frame and name in frame.fields:
            chosen = frame.transform().fit(values, {frame.place: np.nonzero(mask)[1]})
        else:
            chosen = overrides.get(name) or _choose(field, values, angles, schema)
            check_needs(name, chosen, flat)
            chosen = chosen.fit(values, flat)
        transforms.append(chosen)
    return Cloud(
        collection,
        counter,
        tuple(events.schema[n] for n in members),
        tuple(transforms),
        n_max,
        _ordered_by(events, members),
        bool(columns[counter].max(initial=0) > n_max),
        frame,
    )


def _choose(field: Field, values: Array, angles: Columns, schema: Schema) -> Transform:
    """Transform of the entries of a collection: as for flat columns, but for peaks.

    The angles of particles around the axis of their jet have a narrow peak and long tails. One
    scale fits either of them, a normal score both.
    """
    chosen = choose_transform(field, values, angles, schema)
    return Quantile() if isinstance(chosen, Linear) and _is_peaked(values) else chosen


def _is_peaked(values: Array) -> bool:
    """Whether 68 % of the values are much closer together than their width says (1 if normal)."""
    low, high = np.quantile(values, (0.16, 0.84))
    return bool(high - low < 2 * 0.85 * values.std(dtype=np.float64))


def _ordered_by(events: Events, members: tuple[str, ...]) -> str:
    """Field by which the entries of every event fall, if there is one."""
    import awkward as ak

    for name in members:
        column = events[name]
        if ak.any(ak.num(column) > 1) and ak.all(column[:, :-1] >= column[:, 1:]):
            return name
    return ""

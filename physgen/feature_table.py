"""Events as a table of numbers for a classifier: fields, observables of packs, functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from physgen.events import Events
from physgen.field_columns import columns_of, is_cells
from physgen.packs import Pack, find_packs
from physgen.schema import SchemaError, no_such_field
from physgen.summaries import Observables, chosen_observables

__all__ = ["FeatureTable"]


@dataclass(frozen=True)
class FeatureTable:
    """Which numbers of an event a classifier sees; the same for every sample.

    Attributes
    ----------
    fields : tuple of str
        Fields that count, as they are or by their summaries.
    replaced : frozenset of str
        Those that a pack says all of.
    cells : frozenset of str
        Arrays of contents, none negative.
    packs : tuple of Pack
    functions : mapping of str to callable
        From events to an array of shape (n_events,) or (n_events, k).
    """

    fields: tuple[str, ...]
    replaced: frozenset[str]
    cells: frozenset[str]
    packs: tuple[Pack, ...]
    functions: Mapping[str, Callable[[Events], Any]]

    @classmethod
    def of(
        cls,
        reference: Events,
        candidate: Events,
        fields: Sequence[str] | None,
        observables: Observables | None,
    ) -> FeatureTable:
        """Choose them for two samples, as :func:`physgen.summaries.summarize` does.

        Raises
        ------
        SchemaError
            If a field is not in both, or none is.
        TypeError
            If ``fields`` is a single word.
        """
        names = _common(reference, candidate, fields)
        packs, functions = chosen_observables(observables)
        found = find_packs(reference[names], packs) if packs is None or packs else []
        return cls(
            tuple(names),
            frozenset(name for pack in found for name in pack.replaces),
            frozenset(
                n for n in names if is_cells(reference.schema[n], reference[n], candidate[n])
            ),
            tuple(found),
            functions,
        )

    def __call__(self, events: Events) -> np.ndarray:
        """Table of shape (n_events, n_features), float64.

        Raises
        ------
        SchemaError
            If a field is missing.
        ValueError
            If a number is not finite, or a function returns something else.
        """
        for name in self.fields:
            if name not in events.schema:
                raise SchemaError(no_such_field(name, events.schema.names, "the events"))
        columns: dict[str, np.ndarray] = {}
        for name in self.fields:
            if name not in self.replaced:
                field = events.schema[name]
                parts = columns_of(field, events[name], name in self.cells)
                columns |= {label: x for label, _, x in parts}
                if field.jagged:
                    columns[f"number of {field.collection}"] = events.multiplicity(name)
        for pack in self.packs:
            columns |= pack.observe(events[list(self.fields)])
        for name, function in self.functions.items():
            columns[name] = np.asarray(function(events))
        return np.column_stack([_checked(n, x, len(events)) for n, x in columns.items()])


def _common(reference: Events, candidate: Events, fields: Sequence[str] | None) -> list[str]:
    if isinstance(fields, str):
        raise TypeError(f"fields is a list of names, e.g. fields=[{fields!r}]")
    samples = (reference, candidate)
    weights = {e.schema.weight for e in samples}
    names = reference.schema.names if fields is None else fields
    for where, events in zip(("the reference", "the generated events"), samples, strict=True):
        for name in fields or ():
            if name not in events.schema:
                raise SchemaError(no_such_field(name, events.schema.names, where))
    common = [n for n in names if n in candidate.schema and n not in weights]
    if not common:
        raise SchemaError(
            f"no field is in both samples: {', '.join(reference.schema.names)} and "
            f"{', '.join(candidate.schema.names)}"
        )
    return common


def _checked(name: str, values: np.ndarray, n_events: int) -> np.ndarray:
    if values.ndim not in (1, 2) or len(values) != n_events or values.dtype.kind not in "biuf":
        raise ValueError(
            f"{name!r} must be numbers of shape ({n_events},) or ({n_events}, k), one row per "
            f"event; it is {values.dtype} of shape {values.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(values.reshape(n_events, -1)).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{name!r} is NaN or infinite in {len(bad)} of {n_events} events (first: row "
            f"{bad[0]}); remove these events first"
        )
    return values.astype(np.float64)

"""What a foreign file does not say and its names suggest: weight, and lists that belong together.

A guess is made only where it is almost certain, and
:meth:`~physgen.events.Events.replace_schema` undoes it.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from physgen.files.source import Column, jagged_parts
from physgen.schema import Schema

__all__ = ["grouped_by_name", "ungrouped", "with_weight"]

logger = logging.getLogger(__name__)

_WEIGHTS = {"weight", "eventweight", "event_weight", "genweight", "mcweight", "mc_weight"}
_N_PROBED = 1000


def with_weight(columns: dict[str, Column]) -> dict[str, Column]:
    """Give the role of the weight to the one column that is called so in every experiment."""
    names = [
        name
        for name, c in columns.items()
        if name.lower() in _WEIGHTS and not c.field.jagged and c.field.shape == ()
    ]
    if len(names) != 1:
        return columns
    column = columns[names[0]]
    field = dataclasses.replace(column.field, role="weight")
    return {**columns, names[0]: dataclasses.replace(column, field=field)}


def grouped_by_name(columns: dict[str, Column]) -> tuple[dict[str, Column], frozenset[str]]:
    """Join lists without a counter (``std::vector``) that are named and filled alike.

    ``jet_pt`` and ``jet_eta`` become the collection ``jet`` if the first events have as many of
    the one as of the other; nothing else in such a file says that they belong together.

    Returns
    -------
    columns, guessed
        The columns, and the names of the collections made.
    """
    groups: dict[str, list[str]] = {}
    for name, column in columns.items():
        if column.field.jagged and column.field.collection == name and re.search(r"[_.]", name):
            groups.setdefault(re.split(r"[_.]", name)[0], []).append(name)
    joined = dict(columns)
    guessed = set()
    for prefix, names in groups.items():
        if len(names) > 1 and _equal_counts([_first_lists(columns[name]) for name in names]):
            guessed.add(prefix)
            for name in names:
                field = dataclasses.replace(columns[name].field, collection=prefix)
                joined[name] = dataclasses.replace(columns[name], field=field)
    return joined, frozenset(guessed)


def ungrouped(schema: Schema, columns: Mapping[str, Any], guessed: frozenset[str]) -> Schema:
    """Return the schema without the guessed collections that the values contradict."""
    for collection, names in schema.collections.items():
        if collection in guessed and not _equal_counts([columns[name] for name in names]):
            logger.info("%s differ in multiplicity, so they are no collection", ", ".join(names))
            for name in names:
                schema = schema.with_field(name, collection="")
    return schema


def _first_lists(column: Column) -> Any:
    return column.read(0, min(column.n_events, _N_PROBED))


def _equal_counts(lists: list[Any]) -> bool:
    offsets = [jagged_parts(one)[1] for one in lists]
    return all(np.array_equal(other, offsets[0]) for other in offsets[1:])

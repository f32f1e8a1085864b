"""Field and Schema: what the columns of a data set mean."""

from __future__ import annotations

import dataclasses
import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

__all__ = ["Field", "Role", "Schema", "SchemaError", "no_such_field"]

_MAX_LISTED, _MAX_SHOWN, _MAX_COMPARED = 100, 100, 5000

Role = Literal["observable", "condition", "weight"]


class SchemaError(ValueError):
    """Columns and schema do not fit together, or a field is missing."""


@dataclass(frozen=True)
class Field:
    """One column of a data set.

    Parameters
    ----------
    name : str
        Name of the column, as in the file.
    dtype : str, default "float32"
        numpy name of the type of one number: ``"float32"``, ``"int8"``, ``"bool"``, ...
    unit : str, default ""
        Unit in the file (``"GeV"``, ``"rad"``, ``"mm"``); empty for numbers without a unit.
    shape : tuple of int, default ()
        Shape per event: ``()`` for a number, ``(16, 16)`` for a lattice.
    jagged : bool, default False
        Whether the number of entries varies from event to event (one level deep).
    collection : str, default ""
        For a jagged field the collection that it shares its multiplicity with: ``Jet_pt`` and
        ``Jet_eta`` belong to ``Jet``. Empty means a collection of its own.
    allowed : tuple of float, optional
        The only values that occur, in increasing order, e.g. ``(-1, 1)`` for spins.
    role : {"observable", "condition", "weight"}
        Whether a surrogate generates the column, is given it, or weighs events with it.
    description : str, default ""
        One line for people.

    Examples
    --------
    >>> Field("incident_energy", unit="GeV", role="condition").label
    'incident_energy [GeV]'
    """

    name: str
    dtype: str = "float32"
    unit: str = ""
    shape: tuple[int, ...] = ()
    jagged: bool = False
    collection: str = ""
    allowed: tuple[float, ...] | None = None
    role: Role = "observable"
    description: str = ""

    def __post_init__(self) -> None:
        if not (self.name + self.unit + self.collection).isprintable():
            raise SchemaError(
                f"field {self.name!r}: name, unit {self.unit!r} and collection "
                f"{self.collection!r} must be printable, without control characters"
            )
        if self.role not in get_args(Role):
            raise SchemaError(
                f"field {self.name!r} has role {self.role!r}; use one of "
                f"{', '.join(get_args(Role))}"
            )
        if self.jagged and self.shape:
            raise SchemaError(
                f"field {self.name!r} is jagged and has shape {self.shape}; a jagged field holds "
                "numbers, so split the vector into one jagged field per component"
            )
        if self.role == "weight" and (self.jagged or self.shape):
            raise SchemaError(f"the event weight {self.name!r} must be one number per event")
        object.__setattr__(self, "dtype", _numeric(self.name, self.dtype))
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        if self.allowed is not None:
            object.__setattr__(self, "allowed", tuple(sorted(self.allowed)))
        if self.jagged and not self.collection:
            object.__setattr__(self, "collection", self.name)

    @property
    def label(self) -> str:
        """Name with unit, for axes and tables."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


@dataclass(frozen=True)
class Schema:
    """The fields of a data set and the conventions that travel with its file.

    Parameters
    ----------
    fields : sequence of Field
        In the order of the file; names are unique, and at most one field is the weight.
    conventions : mapping of str to str, optional
        Facts that a reader must know and no number shows: ``{"spin_up": "+1"}``, the dialect of
        the file the events came from, the text of a binning XML.
    """

    fields: tuple[Field, ...]
    conventions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", tuple(self.fields))
        object.__setattr__(self, "conventions", dict(self.conventions))
        twice = sorted(name for name, n in Counter(self.names).items() if n > 1)
        if twice:
            raise SchemaError(f"field names must be unique; given twice: {_listed(twice)}")
        if len(weights := self.with_role("weight")) > 1:
            raise SchemaError(
                f"one weight per event, but {', '.join(weights)} all have the role 'weight'; "
                "multiply them into one field or give the others another role"
            )

    @cached_property
    def _by_name(self) -> dict[str, Field]:
        return {f.name: f for f in self.fields}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields, in order."""
        return tuple(f.name for f in self.fields)

    def with_role(self, role: Role) -> tuple[str, ...]:
        """Names of the fields with this role, in order."""
        return tuple(f.name for f in self.fields if f.role == role)

    @property
    def weight(self) -> str | None:
        """Name of the weight field, if there is one."""
        return next(iter(self.with_role("weight")), None)

    @property
    def collections(self) -> dict[str, tuple[str, ...]]:
        """Jagged fields by the collection whose multiplicity they share."""
        found: dict[str, tuple[str, ...]] = {}
        for f in self.fields:
            if f.jagged:
                found[f.collection] = (*found.get(f.collection, ()), f.name)
        return found

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Field:
        if name not in self._by_name:
            raise SchemaError(no_such_field(name, self.names))
        return self._by_name[name]

    def select(self, names: Iterable[str]) -> Schema:
        """Return the schema of these fields only, in the order asked for."""
        return dataclasses.replace(self, fields=tuple(self[name] for name in names))

    def with_field(self, name: str, **changes: Any) -> Schema:
        """Return the schema with some properties of one field changed.

        Examples
        --------
        >>> Schema((Field("pt"),)).with_field("pt", unit="GeV")["pt"].label
        'pt [GeV]'
        """
        changed = dataclasses.replace(self[name], **changes)
        return dataclasses.replace(
            self, fields=tuple(changed if f.name == name else f for f in self.fields)
        )

    def with_roles(self, *, conditions: Iterable[str] | None = None) -> Schema:
        """Return the schema in which exactly these fields are conditions (None: as it is)."""
        if conditions is None:
            return self
        wanted = set(conditions)
        for name in wanted:
            if self[name].role == "weight":
                raise SchemaError(f"field {name!r} is the event weight; it cannot be a condition")
        roles: dict[str, Role] = {
            f.name: "condition" if f.name in wanted else "observable"
            for f in self.fields
            if f.role != "weight"
        }
        return dataclasses.replace(
            self,
            fields=tuple(
                dataclasses.replace(f, role=roles.get(f.name, f.role)) for f in self.fields
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and dicts, for JSON."""
        return {
            "fields": [dataclasses.asdict(f) for f in self.fields],
            "conventions": dict(self.conventions),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Schema:
        """Rebuild a schema from :meth:`to_dict`; unknown keys are an error."""
        fields = []
        for entry in stored["fields"]:
            allowed = entry.get("allowed")
            fields.append(
                Field(
                    **{
                        **entry,
                        "shape": tuple(entry.get("shape", ())),
                        "allowed": None if allowed is None else tuple(allowed),
                    }
                )
            )
        return cls(tuple(fields), stored.get("conventions", {}))


def _numeric(name: str, dtype: Any) -> str:
    """Name of a numpy type; only numbers are held."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if found.kind not in "biuf":
        raise SchemaError(
            f"field {name!r} has type {str(dtype)!r}; physgen holds numbers (bool, integer, float)"
        )
    return found.name


def no_such_field(name: str, names: Sequence[str], where: str = "") -> str:
    """Sentence for a missing field, with the nearest names first."""
    # a comparison of long names takes for ever, and nobody mistypes them
    short = [n for n in names[:_MAX_COMPARED] if len(n) <= _MAX_SHOWN]
    near = difflib.get_close_matches(name, short, n=3, cutoff=0.5) if len(name) < 200 else []
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    place = f" in {where}" if where else ""
    return f"no field {_cut(name)!r}{place}{hint} (fields: {_listed(names) or 'none'})"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED:,} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(map(_cut, names[:_MAX_LISTED])) + more


def _cut(name: str) -> str:
    return name if len(name) <= _MAX_SHOWN else f"{name[: _MAX_SHOWN - 3]}..."

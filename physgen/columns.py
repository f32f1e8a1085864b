"""One column: from what a caller hands over to an array that fits its field, or an error."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from physgen.schema import Field, SchemaError

__all__ = [
    "as_array",
    "as_column",
    "flat_values",
    "group_collections",
    "infer_field",
    "nonfinite_rows",
    "number",
]


def flat_values(column: Any, jagged: bool) -> np.ndarray:
    """All values of a column in one row."""
    if jagged:
        import awkward as ak

        return np.asarray(ak.flatten(column).to_numpy())
    return np.ravel(column)


def nonfinite_rows(column: Any, jagged: bool) -> np.ndarray:
    """Events in which a column of floats is NaN or infinite."""
    if jagged:
        import awkward as ak

        finite = ak.to_numpy(ak.all(np.isfinite(column), axis=1))
    else:
        finite = np.isfinite(column).all(axis=tuple(range(1, column.ndim)))
    return np.flatnonzero(~finite)


def _is_awkward(column: Any) -> bool:
    return type(column).__module__.startswith("awkward")


def as_array(name: str, column: Any) -> Any:
    """Return numpy for what is regular, awkward for what is not."""
    if isinstance(column, torch.Tensor):
        return column.detach().cpu().numpy()
    if _is_awkward(column):
        return _from_awkward(name, column)
    if isinstance(column, np.ma.MaskedArray):
        raise SchemaError(
            f"column {name!r} is masked; physgen holds no missing values, so fill or cut them"
        )
    if isinstance(column, np.ndarray) and column.dtype != object:
        return column
    try:
        array = np.asarray(column)
    except ValueError:
        array = np.empty(0, dtype=object)
    if array.dtype != object:
        return array
    import awkward as ak

    try:
        return _from_awkward(name, ak.Array([list(entry) for entry in column]))
    except TypeError:
        raise SchemaError(
            f"column {name!r} holds neither numbers nor lists of numbers; give one number or one "
            "list per event"
        ) from None


def _from_awkward(name: str, column: Any) -> Any:
    kind = str(column.type)
    if "?" in kind or "option" in kind or "union" in kind:
        raise SchemaError(
            f"column {name!r} has the type {kind}; physgen holds no missing or mixed values, so "
            "fill or cut them"
        )
    return column if column.ndim > 1 and "var" in kind else column.to_numpy()


def infer_field(name: str, array: Any) -> Field:
    """Field that an array without a schema describes."""
    if _is_awkward(array):
        import awkward as ak

        if array.ndim != 2:
            raise SchemaError(
                f"column {name!r} is nested {array.ndim - 1} levels deep; physgen holds one level "
                "of lists per event, so flatten it or leave it out"
            )
        if "string" in str(array.type):
            raise SchemaError(f"column {name!r} holds strings; physgen holds numbers")
        return Field(name, str(ak.flatten(array).to_numpy().dtype), jagged=True)
    if array.dtype.kind not in "biuf":
        raise SchemaError(
            f"column {name!r} has type {array.dtype}; physgen holds numbers (bool, integer, float)"
        )
    if array.ndim == 0:
        raise SchemaError(f"column {name!r} is a single number; give one entry per event")
    return Field(name, array.dtype.name, shape=array.shape[1:])


def group_collections(fields: list[Field], arrays: Mapping[str, Any]) -> list[Field]:
    """Put jagged fields of one prefix (``Jet_pt``, ``Jet_eta``) and length into one collection."""
    of_prefix: dict[str, list[Field]] = {}
    for f in fields:
        if f.jagged and "_" in f.name:
            of_prefix.setdefault(f.name.split("_")[0], []).append(f)
    grouped: dict[str, Field] = {}
    for prefix, members in of_prefix.items():
        import awkward as ak

        counts = [ak.num(arrays[f.name], axis=1).to_numpy() for f in members]
        if all(np.array_equal(counts[0], count) for count in counts[1:]):
            grouped |= {f.name: dataclasses.replace(f, collection=prefix) for f in members}
    return [grouped.get(f.name, f) for f in fields]


def as_column(field: Field, column: Any) -> Any:
    """Array of this column in the type and shape of its field, or a SchemaError."""
    array = as_array(field.name, column)
    if field.jagged != _is_awkward(array):
        if field.jagged and (array.ndim == 2 or array.shape == (0,)):
            import awkward as ak

            shape = array.shape if array.ndim == 2 else (0, 0)
            array = ak.from_regular(ak.Array(array.reshape(shape)))
        else:
            found = "lists of varying length" if not field.jagged else "one entry"
            raise SchemaError(
                f"field {field.name!r} is {'jagged' if field.jagged else 'not jagged'}, but its "
                f"column has {found} per event"
            )
    if field.jagged:
        import awkward as ak

        found_dtype = np.dtype(infer_field(field.name, array).dtype)
        _check_kind(field, found_dtype)
        if found_dtype == field.dtype:
            return array
        values = _cast(field, ak.flatten(array).to_numpy())
        return ak.unflatten(values, ak.num(array, axis=1))
    if array.shape[1:] != field.shape:
        raise SchemaError(
            f"field {field.name!r} has shape {field.shape} per event, but its column has "
            f"{array.shape[1:]}"
        )
    _check_kind(field, array.dtype)
    return _cast(field, array)


def _cast(field: Field, array: np.ndarray) -> np.ndarray:
    """Values in the type of the field; a value beyond its range is an error."""
    with np.errstate(over="ignore"):
        values = array.astype(field.dtype, copy=False)
    if array.dtype == values.dtype or array.size == 0:
        return values
    if values.dtype.kind in "iu" and array.dtype.kind in "iu":
        info = np.iinfo(values.dtype)
        fits = info.min <= int(array.min()) and int(array.max()) <= info.max
    else:
        fits = bool((np.isfinite(values) | ~np.isfinite(array)).all())
    if not fits:
        raise SchemaError(
            f"field {field.name!r} holds {field.dtype}, but its values reach from "
            f"{number(array.min())} to {number(array.max())}, beyond what that type can hold"
        )
    return values


def _check_kind(field: Field, found: np.dtype[Any]) -> None:
    integers = found.kind in "iu" and np.dtype(field.dtype).kind in "iu"
    castable = integers or np.can_cast(found, field.dtype, casting="same_kind")
    if found.kind not in "biuf" or not castable:
        raise SchemaError(
            f"field {field.name!r} holds {field.dtype}, but its column is {found}, and that cast "
            "loses information; convert the column first"
        )


def number(value: Any) -> str:
    """Six digits of a float, all of an integer."""
    return f"{value}" if np.issubdtype(type(value), np.integer) else f"{value:.6g}"

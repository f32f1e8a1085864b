"""Conditions that a surrogate is given, checked against what it was trained with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from physgen.events import Events
from physgen.schema import Schema, no_such_field
from physgen.transforms import Array, Binary, Categories, Transform

__all__ = ["ConditionError", "TrainedConditions", "in_words", "range_of"]

logger = logging.getLogger(__name__)


class ConditionError(ValueError):
    """A condition is missing, has the wrong length or lies outside the trained range."""


@dataclass(frozen=True)
class TrainedConditions:
    """What the conditions of the training events were.

    Parameters
    ----------
    schema : Schema
        Of the surrogate; its fields with the role ``condition`` are meant.
    ranges : mapping of str to (float, float)
        Smallest and largest value of each condition.
    transforms : mapping of str to Transform
        Those of categories know the values seen.
    """

    schema: Schema
    ranges: Mapping[str, tuple[float, float]]
    transforms: Mapping[str, Transform]

    def check(
        self,
        n_events: int,
        conditions: Mapping[str, Any] | Events | None,
        *,
        extrapolate: bool,
    ) -> tuple[dict[str, Array], list[str]]:
        """Check what a caller gives for n_events events.

        Returns
        -------
        dict of str to array of shape (n_events,)
            The conditions in the type of their fields.
        list of str
            Those with values outside the trained range (only if ``extrapolate``).

        Raises
        ------
        ConditionError
            If one is missing, unknown, of the wrong length or kind, or outside the range.

        Notes
        -----
        A condition that had one value in training need not be given.
        """
        names = self.schema.with_role("condition")
        given = dict(conditions.to_dict() if isinstance(conditions, Events) else conditions or {})
        if isinstance(conditions, Events):
            given = {n: c for n, c in given.items() if n in names}
        for name in given:
            if name not in names:
                raise ConditionError(
                    no_such_field(name, names, "the conditions of this surrogate")
                )
        # one value in training (the beta of a file): nothing else could be meant
        given |= {n: self.ranges[n][0] for n in names if n not in given and self._constant(n)}
        missing = [f"{n} ({in_words(self.ranges[n])})" for n in names if n not in given]
        if missing:
            raise ConditionError(
                f"this surrogate needs the condition(s) {', '.join(missing)}; give them as "
                "surrogate(n, {'name': values}, rng=...), or in the shell as --given name=value"
            )
        checked = {n: self._cast(n, given[n], n_events) for n in names}
        outside = [n for n in names if not self._trained(n, checked[n]).all()]
        for name in outside:
            self._report_outside(name, checked[name], extrapolate)
        return checked, outside

    def _constant(self, name: str) -> bool:
        low, high = self.ranges[name]
        return low == high

    def _cast(self, name: str, values: Any, n_events: int) -> Array:
        array = np.asarray(values)
        if array.ndim == 0:
            array = np.full(n_events, array)
        if array.shape != (n_events,):
            raise ConditionError(
                f"condition {name!r} has shape {array.shape}, but {n_events} events were asked "
                "for; give one value per event or one number"
            )
        if array.dtype.kind not in "biuf":
            raise ConditionError(f"condition {name!r} holds {array.dtype}; give numbers")
        if not np.isfinite(array).all():
            raise ConditionError(f"condition {name!r} has non-finite values")
        dtype = np.dtype(self.schema[name].dtype)
        with np.errstate(over="ignore"):
            cast: Array = array.astype(dtype)
        if dtype.kind in "iub" and not (cast == array).all():
            wrong = array[cast != array][0]
            raise ConditionError(
                f"condition {name!r} holds {dtype}, and {wrong:g} is none of them"
            )
        return cast

    def _trained(self, name: str, values: Array) -> Array:
        """Whether each value lies in the trained range; for categories, whether it was seen."""
        transform = self.transforms[name]
        if isinstance(transform, Binary | Categories):
            return np.isin(values, transform.values)
        low, high = self.ranges[name]
        # a float32 that went through JSON and back is exactly itself, so no tolerance is needed
        return (values >= low) & (values <= high)

    def _report_outside(self, name: str, values: Array, extrapolate: bool) -> None:
        n_outside = int((~self._trained(name, values)).sum())
        text = (
            f"{n_outside} of {len(values)} values of the condition {name!r} lie outside the "
            f"trained {self._trained_values(name)} (they span {in_words(range_of(values))})"
        )
        if not extrapolate:
            raise ConditionError(f"{text}; pass extrapolate=True to accept that")
        logger.warning("%s; extrapolating", text)

    def _trained_values(self, name: str) -> str:
        transform = self.transforms[name]
        if isinstance(transform, Binary | Categories):
            return "values " + ", ".join(f"{v:g}" for v in transform.values)
        return f"range {in_words(self.ranges[name])}"


def range_of(values: Array) -> tuple[float, float]:
    """Smallest and largest value."""
    return float(values.min()), float(values.max())


def in_words(span: tuple[float, float]) -> str:
    """Return a range for people."""
    return f"{span[0]:g} to {span[1]:g}"

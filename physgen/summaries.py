"""Summaries: any pair of Events as columns of one number per event, ready to be compared."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from physgen.events import Events
from physgen.field_columns import columns_of, is_cells, summary_words
from physgen.packs import Pack, find_packs
from physgen.schema import Field, SchemaError, no_such_field

__all__ = [
    "Observable",
    "Observables",
    "Quantity",
    "chosen_observables",
    "joint_columns",
    "summarize",
]

# widths from the middle beyond which all is equally far: squares of distances stay in float32
_FARTHEST = 1e6

Observable = Callable[[Events], np.ndarray]
Observables = (
    Mapping[str, Observable] | Sequence[Observable | str] | Observable | str | Literal[False]
)


@dataclass(frozen=True)
class Quantity:
    """One number per event of both samples.

    Attributes
    ----------
    name, unit : str
        For labels.
    reference, candidate : array of shape (n,) and (m,)
        Values, float64 and finite.
    is_angle : bool
        Values are angles, wrapped to [-pi, pi).
    """

    name: str
    unit: str
    reference: np.ndarray
    candidate: np.ndarray
    is_angle: bool = False

    @property
    def label(self) -> str:
        """Name with unit."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    @property
    def is_constant(self) -> bool:
        """Whether one value fills both samples."""
        value = self.reference[0]
        return bool((self.reference == value).all() and (self.candidate == value).all())


def summarize(
    reference: Events,
    candidate: Events,
    *,
    fields: Sequence[str] | None = None,
    observables: Observables | None = None,
) -> tuple[list[Quantity], list[str]]:
    """Make the columns that a comparison looks at.

    Fields that a pack of :mod:`physgen.packs` understands (spins, pairs of particles, jets,
    showers) give the observables of the pack. Any other flat field is a column as it is. A jagged
    collection gives its multiplicity, and each of its fields the sum and the leading entry (0
    where there is none). A field of fixed shape gives its components (up to 8), or else sum and
    fraction of entries that are not 0, and, if no entry is negative, the mean index along each
    axis, weighted by the values (0 where all are 0). The weight is no column.

    Parameters
    ----------
    reference, candidate : Events
        Samples.
    fields : sequence of str, optional
        Fields to compare; all that both have by default.
    observables : optional
        Functions ``observable(events) -> array (n_events,)``: one, a list, or a dict by name; a
        name may end in a unit, ``"mll [GeV]"``. They come on top of the packs, unless packs are
        chosen by their names, ``"ising"`` or ``["pairs", function]``. False: no packs.

    Returns
    -------
    list of Quantity
    list of str
        Notes for the report: which packs were taken and why, what was left out, or taken in
        another way than it came.

    Raises
    ------
    SchemaError
        If nothing is common, or a field differs in unit, shape or binning.
    ValueError
        If a value is NaN or infinite, or there is no such pack.
    """
    names, notes = _common_fields(reference, candidate, fields)
    for name in names:
        _check_same_kind(reference.schema[name], candidate.schema[name])
    chosen, functions = chosen_observables(observables)
    packs = _packs(reference, candidate, names, chosen)
    replaced = {name for pack in packs for name in pack.replaces}
    rest = [name for name in names if name not in replaced]
    quantities, kinds = _of_fields(reference, candidate, rest)
    quantities.extend(_multiplicities(reference, candidate, rest))
    quantities = _without_twins(quantities, names)
    own = _of_functions(reference, candidate, functions, {q.name for q in quantities})
    quantities.extend(_of_packs(reference, candidate, packs, [*quantities, *own]))
    quantities.extend(own)
    if not quantities:
        raise SchemaError("nothing to compare: the samples share no field but their weight")
    return quantities, [*notes, *kinds, *(f"{pack.name}: {pack.reason}" for pack in packs)]


def chosen_observables(
    observables: Observables | None,
) -> tuple[Sequence[str] | None, dict[str, Observable]]:
    """Names of packs (None: all that fit) and functions by name."""
    if observables is None or observables is False:
        return (None if observables is None else ()), {}
    if isinstance(observables, Mapping):
        return None, dict(observables)
    given: list[Observable | str] = (
        [observables] if isinstance(observables, str) or callable(observables) else [*observables]
    )
    packs = [x for x in given if isinstance(x, str)]
    functions = [x for x in given if not isinstance(x, str)]
    named = {getattr(f, "__name__", f"observable {k}"): f for k, f in enumerate(functions)}
    return packs or None, named


def _packs(
    reference: Events, candidate: Events, names: Sequence[str], chosen: Sequence[str] | None
) -> list[Pack]:
    binnings = [e.schema.conventions.get("binning") for e in (reference, candidate)]
    if None not in binnings and binnings[0] != binnings[1]:
        raise SchemaError("the showers of the candidate have another binning than the reference's")
    if not names or (chosen is not None and not chosen):
        return []
    return find_packs(reference[list(names)], chosen)


def _of_packs(
    reference: Events, candidate: Events, packs: Sequence[Pack], taken: Sequence[Quantity]
) -> Iterator[Quantity]:
    """Columns of the packs, but for those that are there already, by name or by value."""
    names = {q.name for q in taken}
    for pack in packs:
        ours, theirs = pack.observe(reference), pack.observe(candidate)
        for name, x in ours.items():
            quantity = _quantity(*_split_unit(name), x, theirs[name])
            if quantity.name not in names and not any(_is_same(quantity, q) for q in taken):
                names.add(quantity.name)
                yield quantity


def _without_twins(quantities: Sequence[Quantity], fields: Sequence[str]) -> list[Quantity]:
    """Leave out what is derived and equals another column: a sum of jets that is a field too."""
    kept = [q for q in quantities if q.name in fields]
    # how many there are says more than a sum that happens to be as large
    for quantity in sorted(quantities, key=lambda q: not q.name.startswith("number of ")):
        if quantity.name not in fields and not any(_is_same(quantity, q) for q in kept):
            kept.append(quantity)
    return [q for q in quantities if any(q is k for k in kept)]


def _is_same(one: Quantity, other: Quantity) -> bool:
    for x, y in ((one.reference, other.reference), (one.candidate, other.candidate)):
        for part in (slice(50), slice(None)):  # most differ in the first events
            if not np.allclose(x[part], y[part], rtol=1e-6, atol=0.0):
                return False
    return True


def _of_functions(
    reference: Events, candidate: Events, functions: Mapping[str, Observable], taken: set[str]
) -> list[Quantity]:
    quantities = []
    for name, function in functions.items():
        label, unit = _split_unit(name)
        if label in taken:
            raise ValueError(f"the observable {label!r} has the name of a field; rename it")
        x, y = (_evaluate(label, function, e) for e in (reference, candidate))
        quantities.append(_quantity(label, unit, x, y))
    return quantities


def _of_fields(
    reference: Events, candidate: Events, names: Sequence[str]
) -> tuple[list[Quantity], list[str]]:
    """Columns of the fields, and by what the arrays among them are compared."""
    quantities = []
    by: dict[str, list[str]] = defaultdict(list)
    for name in names:
        own, other = reference.schema[name], candidate.schema[name]
        samples = (reference[name], candidate[name])
        cells = is_cells(own, *samples)
        parts = zip(*(columns_of(own, sample, cells) for sample in samples), strict=True)
        unit = own.unit or other.unit
        for (label, has_unit, x), (_, _, y) in parts:
            quantities.append(_quantity(label, unit if has_unit else "", x, y))
        by[summary_words(own, cells)].append(name)
    notes = [f"{', '.join(group)}: compared by {how} only" for how, group in by.items() if how]
    return quantities, notes


def _common_fields(
    reference: Events, candidate: Events, fields: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    samples = {"the reference": reference, "the candidate": candidate}
    if isinstance(fields, str):
        raise TypeError(f"fields is a list of names, e.g. fields=[{fields!r}]")
    if fields is not None:
        for where, events in samples.items():
            for name in fields:
                if name not in events.schema:
                    raise SchemaError(no_such_field(name, events.schema.names, where))
        return [n for n in fields if n not in _weights(reference, candidate)], []
    weights = _weights(reference, candidate)
    names = {w: [n for n in e.schema.names if n not in weights] for w, e in samples.items()}
    ours, theirs = names.values()
    common = [n for n in ours if n in theirs]
    if theirs and not common:
        raise SchemaError(
            "the samples have no field in common: "
            + no_such_field(theirs[0], ours, "the reference")
        )
    notes = [
        f"only in {where}, left out: {', '.join(left)}"
        for where, own in names.items()
        if (left := [n for n in own if n not in common])
    ]
    return common, notes


def _weights(*samples: Events) -> set[str]:
    return {e.schema.weight for e in samples if e.schema.weight is not None}


def _check_same_kind(own: Field, other: Field) -> None:
    if own.unit and other.unit and own.unit != other.unit:
        raise SchemaError(
            f"field {own.name!r} is in {own.unit} in the reference and in {other.unit} in the "
            "candidate; convert one of them first"
        )
    if (own.jagged, own.shape) != (other.jagged, other.shape):
        kinds = ["jagged" if f.jagged else f"of shape {f.shape}" for f in (own, other)]
        raise SchemaError(
            f"field {own.name!r} is {kinds[0]} in the reference and {kinds[1]} in the candidate"
        )


def _multiplicities(
    reference: Events, candidate: Events, names: Sequence[str]
) -> Iterator[Quantity]:
    for collection, members in reference.schema.collections.items():
        if first := next((n for n in members if n in names), None):
            x, y = reference.multiplicity(first), candidate.multiplicity(first)
            yield _quantity(f"number of {collection}", "", x, y)


def _split_unit(name: str) -> tuple[str, str]:
    if name.endswith("]") and " [" in name:
        label, _, unit = name[:-1].rpartition(" [")
        return label, unit
    return name, ""


def _evaluate(name: str, function: Observable, events: Events) -> np.ndarray:
    values = np.asarray(function(events))
    if values.shape != (len(events),) or values.dtype.kind not in "biuf":
        raise ValueError(
            f"the observable {name!r} must return one number per event, shape ({len(events)},); "
            f"it returned {values.dtype} of shape {values.shape}"
        )
    return values


def _quantity(name: str, unit: str, x: np.ndarray, y: np.ndarray) -> Quantity:
    x, y = x.astype(np.float64), y.astype(np.float64)
    _check_finite(name, "reference", x)
    _check_finite(name, "candidate", y)
    if not _is_angle(unit, np.concatenate((x, y))):
        return Quantity(name, unit, x, y)
    x, y = ((v + math.pi) % (2 * math.pi) - math.pi for v in (x, y))
    return Quantity(name, unit, x, y, is_angle=True)


def _check_finite(name: str, sample: str, values: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        rows = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise ValueError(
            f"{name!r} of the {sample} is NaN or infinite in {len(bad)} of {len(values)} events "
            f"(rows {rows}); remove these events first"
        )


def _is_angle(unit: str, values: np.ndarray) -> bool:
    """Say whether values go around a circle: by their unit, or by filling [-pi, pi] exactly."""
    low, high = values.min(), values.max()
    if unit:  # small angles stay on one side of the circle: they are numbers
        return unit == "rad" and max(-low, high) > math.pi / 2
    return bool(-3.15 < low < -3.1 and 3.1 < high < 3.15)  # files round pi


def _width(values: np.ndarray, middle: float) -> float:
    """Width of the middle; of all where most values are the same but for rounding."""
    if middle > 1e-5 * abs(float(np.median(values))):
        return middle
    return float(values.std()) or 1.0


def joint_columns(quantities: Sequence[Quantity]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Columns of both samples for joint tests on comparable scales; angles as cosine and sine.

    The scale is half the distance of the pooled 16 % and 84 % quantiles: known to no label, and
    indifferent to tails.
    """
    labels, ours, theirs = [], [], []
    for q in quantities:
        pooled = np.concatenate((q.reference, q.candidate))
        if q.is_angle:
            parts = {f"cos {q.name}": np.cos(pooled), f"sin {q.name}": np.sin(pooled)}
        else:
            parts = {q.name: pooled}
        for label, values in parts.items():
            low, high = np.quantile(values, [0.16, 0.84])
            scaled = (values - np.median(values)) / _width(values, (high - low) / 2)
            scaled = np.clip(scaled, -_FARTHEST, _FARTHEST)
            labels.append(label)
            ours.append(scaled[: len(q.reference)])
            theirs.append(scaled[len(q.reference) :])
    return labels, np.stack(ours, axis=1), np.stack(theirs, axis=1)

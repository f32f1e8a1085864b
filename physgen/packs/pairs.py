"""Two particles: mass, transverse momentum, rapidity and angles of the pair."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from physgen.events import Events
from physgen.observables.jagged import leading
from physgen.observables.pairs import (
    cos_theta_star,
    delta_phi,
    invariant_mass,
    pair_pt,
    pair_rapidity,
)
from physgen.packs.pack import Columns, Pack
from physgen.schema import Schema

__all__ = ["pairs"]

_MAX_PAIRS = 4  # a NanoAOD file has a dozen collections
_PART = r"pt|eta|phi|mass|charge|q"
_PATTERNS = (
    re.compile(rf"(?P<object>.*[^_])_(?P<part>{_PART})", re.IGNORECASE),
    re.compile(rf"(?P<part>{_PART})_?(?P<object>[^_].*)", re.IGNORECASE),
)


@dataclass(frozen=True)
class _Pair:
    """Fields of two particles by part, or of one collection whose first two entries they are."""

    label: str
    first: dict[str, str]
    second: dict[str, str]
    jagged: bool

    def values(self, events: Events, part: str, rank: int) -> np.ndarray:
        column = events[(self.first, self.second)[rank][part]]
        return leading(column, rank=rank) if self.jagged else np.asarray(column, np.float64)


def pairs(events: Events) -> Iterator[Pack]:
    """Find pt, eta and phi of two particles (``mu1_pt``, ...), or of lists (``Jet_pt``, ...).

    The two leading entries of a list are its pair, and two objects whose names differ in a number
    (or the only two objects there are); at most four pairs in all.
    """
    found = itertools.chain(_flat_pairs(events.schema), _jagged_pairs(events.schema))
    for pair in itertools.islice(found, _MAX_PAIRS):
        parts = ", ".join(pair.first[part] for part in ("pt", "eta", "phi"))
        of = "their two leading entries" if pair.jagged else f"those of {pair.label.split()[1]}"
        yield Pack(
            "pairs",
            f"{parts} and {of}: mass, pt, rapidity and angles of the pair",
            (),
            _observer(pair, events.schema[pair.first["pt"]].unit),
        )


def _flat_pairs(schema: Schema) -> Iterator[_Pair]:
    objects = _objects(schema, jagged=False)
    stems: dict[str, list[str]] = {}
    for name in objects:
        stem = "" if len(objects) == 2 else name.rstrip("0123456789").rstrip("_")
        stems.setdefault(stem, []).append(name)
    for names in stems.values():
        if len(names) > 1:
            one, two = sorted(names)[:2]
            yield _Pair(f"{one} {two}", objects[one], objects[two], jagged=False)


def _jagged_pairs(schema: Schema) -> Iterator[_Pair]:
    for name, parts in _objects(schema, jagged=True).items():
        if len({schema[field].collection for field in parts.values()}) == 1:
            yield _Pair(f"{name}1 {name}2", parts, parts, jagged=True)


def _objects(schema: Schema, *, jagged: bool) -> dict[str, dict[str, str]]:
    """Fields by object and part, for the objects that have pt, eta and phi."""
    found: dict[str, dict[str, str]] = {}
    for field in schema:
        if field.shape or field.jagged != jagged or field.role == "weight":
            continue
        matches = (pattern.fullmatch(field.name) for pattern in _PATTERNS)
        if match := next(filter(None, matches), None):
            part = match["part"].lower().replace("q", "charge")
            found.setdefault(match["object"], {})[part] = field.name
    return {name: parts for name, parts in found.items() if {"pt", "eta", "phi"} <= set(parts)}


def _observer(pair: _Pair, unit: str) -> Callable[[Events], Columns]:
    energy, of = f" [{unit}]" if unit else "", f"({pair.label})"

    def observe(events: Events) -> Columns:
        one, two = (
            [pair.values(events, part, rank) for part in ("pt", "eta", "phi")] for rank in (0, 1)
        )
        # without two momenta there is no pair, and all is 0
        there = (one[0] > 0) & (two[0] > 0)
        one[0], two[0] = np.where(there, one[0], 0.0), np.where(there, two[0], 0.0)
        masses = [
            pair.values(events, "mass", rank) if "mass" in parts else 0.0
            for rank, parts in enumerate((pair.first, pair.second))
        ]
        columns = {
            f"m{of}{energy}": invariant_mass(*one, *two, *masses),
            f"pt{of}{energy}": pair_pt(one[0], one[2], two[0], two[2]),
            f"y{of}": pair_rapidity(*one, *two, *masses),
            f"delta phi{of} [rad]": delta_phi(one[2], two[2]),
            f"delta eta{of}": one[1] - two[1],
        }
        if "charge" in pair.first:
            positive = pair.values(events, "charge", 0) > 0
            columns[f"cos theta*{of}"] = np.where(positive, -1, 1) * cos_theta_star(*one, *two)
        elif "mass" not in pair.first:
            columns[f"|cos theta*|{of}"] = np.abs(cos_theta_star(*one, *two))
        return {name: np.where(there, column, 0.0) for name, column in columns.items()}

    return observe

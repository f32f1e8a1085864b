"""Transforms that decode a column with the help of others."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass

import numpy as np

from physgen.random import Random
from physgen.transforms.base import Array, Columns, midway, uniform
from physgen.transforms.continuous import Constant, Linear, Log, Quantile, Standardize, smooth

__all__ = ["Angle", "Below", "ByCategory", "Voxels"]


@dataclass(frozen=True)
class Angle:
    """Cosine and sine, so that no seam shows; optionally measured from another angle.

    Parameters
    ----------
    reference : str, default ""
        Angle to measure from: in a sample with rotation symmetry the difference of two angles is
        what carries the physics.
    low : float, default -pi
        Lower end of the range; values are returned in [low, low + period).
    period : float, default 2 pi
        Length of one turn, in the unit of the column.
    """

    reference: str = ""
    low: float = -np.pi
    period: float = 2 * np.pi

    @property
    def binary(self) -> tuple[bool, ...]:
        return (False, False)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.reference,) if self.reference else ()

    def fit(self, values: Array, others: Columns) -> Angle:
        return self

    def _origin(self, others: Columns) -> Array | float:
        return others[self.reference].astype(np.float64) if self.reference else 0.0

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        turn = 2 * np.pi * (values - self._origin(others)) / self.period
        # a point on the circle of radius sqrt(2) has variance 1 per axis when the angle is uniform
        return np.sqrt(2) * np.stack((np.cos(turn), np.sin(turn)), axis=1)

    def inverse(self, features: Array, others: Columns) -> Array:
        turn = np.arctan2(features[:, 1], features[:, 0]) / (2 * np.pi) * self.period
        values = self.low + np.mod(turn + self._origin(others) - self.low, self.period)
        # float32 rounds pi up: stay inside the range after the cast
        margin = 1e-7 * self.period
        return np.clip(values, self.low + margin, self.low + self.period - margin)


@dataclass(frozen=True)
class ByCategory:
    """A continuous column whose distribution hangs on a discrete one (``ht`` given ``njet``).

    Each value of ``given`` has a scale of its own; where the column is constant for a value
    (``ht = 0`` without jets) it is that constant, so the two can never contradict each other.

    Parameters
    ----------
    given : str
        The discrete column.
    min_events : int, default 200
        Values of ``given`` with fewer events share the scale of their nearest neighbors.
    n_knots : int, default 0
        If above 0, each value of ``given`` has a normal score of its own through so many points
        instead of a scale.
    """

    given: str
    min_events: int = 200
    edges: tuple[float, ...] = ()
    parts: tuple[Linear | Log | Quantile | Constant, ...] = ()
    n_knots: int = 0

    @property
    def binary(self) -> tuple[bool, ...]:
        return (False,)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.given,)

    def fit(self, values: Array, others: Columns) -> ByCategory:
        given = others[self.given]
        groups = _groups(given, values, self.min_events)
        parts: list[Linear | Log | Quantile | Constant] = []
        for group in groups:
            inside = values[np.isin(given, group)]
            constant = bool((inside == inside[0]).all())
            chosen = Quantile(self.n_knots) if self.n_knots else smooth(inside)
            parts.append((Constant() if constant else chosen).fit(inside, {}))
        edges = tuple(float(0.5 * (a[-1] + b[0])) for a, b in itertools.pairwise(groups))
        return dataclasses.replace(self, edges=edges, parts=tuple(parts))

    def _part(self, others: Columns) -> Array:
        return np.searchsorted(np.array(self.edges), others[self.given])

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        features = np.zeros((len(values), 1))
        which = self._part(others)
        for k, part in enumerate(self.parts):
            if not isinstance(part, Constant):
                features[which == k] = part.forward(values[which == k], {}, rng)
        return features

    def inverse(self, features: Array, others: Columns) -> Array:
        values = np.zeros(len(features))
        which = self._part(others)
        for k, part in enumerate(self.parts):
            values[which == k] = part.inverse(features[which == k], {})
        return values


@dataclass(frozen=True)
class Below:
    """A column that never exceeds another (pt-ordered leptons).

    It is transformed like any continuous column; what comes out above the other column is
    reflected to below it, so that the edge stays sharp. (Where both columns are generated, the
    preprocessor exchanges the two values instead.)
    """

    upper: str
    inner: Linear | Log = Linear()
    low: float = -np.inf

    @property
    def binary(self) -> tuple[bool, ...]:
        return self.inner.binary

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.upper,)

    def fit(self, values: Array, others: Columns) -> Below:
        return Below(self.upper, smooth(values).fit(values, {}), float(values.min()))

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        return self.inner.forward(values, {}, rng)

    def inverse(self, features: Array, others: Columns) -> Array:
        upper = others[self.upper].astype(np.float64)
        values = self.inner.inverse(features, {})
        return np.minimum(np.maximum(np.minimum(values, 2 * upper - values), self.low), upper)


@dataclass(frozen=True)
class Voxels:
    """Energies of many cells with exact zeros, on a scale set by the event's condition.

    With t the smallest energy seen (the readout threshold) a cell becomes
    ln(1 + e/t) / ln(1 + E/t), E the condition (or 1 for none). Zeros are spread uniformly below
    the image of t, so that the sign of the distance from it tells a zero; energies between 0 and t
    cannot come out, nor any above the largest image seen.

    Parameters
    ----------
    scale : str, default ""
        Positive condition to divide by, e.g. the incident energy.
    """

    scale: str = ""
    threshold: float = 1.0
    # a zero may lie far below the threshold: folding would make it an energy
    inner: Standardize = Standardize(fold=False)
    largest: float = math.inf

    @property
    def binary(self) -> tuple[bool, ...]:
        return self.inner.binary

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.scale,) if self.scale else ()

    def fit(self, values: Array, others: Columns) -> Voxels:
        positive = values[values > 0]
        if len(positive) == 0 or values.min() < 0:
            raise ValueError("Voxels needs energies >= 0 with some above 0; use Standardize()")
        unfitted = dataclasses.replace(self, threshold=float(positive.min()))
        spread = unfitted._logarithms(values, others, midway(values.shape))
        return dataclasses.replace(
            unfitted, inner=self.inner.fit(spread, others), largest=float(spread.max())
        )

    def _logarithms(self, values: Array, others: Columns, below: Array) -> Array:
        per_event = self._scale(others, len(values)).reshape(-1, *[1] * (values.ndim - 1))
        logs = np.where(values > 0, np.log1p(values / self.threshold), np.log(2.0) * below)
        return logs / per_event

    def _scale(self, others: Columns, n_events: int) -> Array:
        if not self.scale:
            return np.ones(n_events)
        return np.log1p(others[self.scale].astype(np.float64) / self.threshold)

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        # a zero must stay below the threshold, and the threshold above, after rounding to float32
        below = 0.999 * uniform(rng, values.shape)
        return self.inner.forward(self._logarithms(values, others, below), others, rng)

    def inverse(self, features: Array, others: Columns) -> Array:
        # an exponential follows: a model not yet trained would make more than the incident energy
        spread = np.minimum(self.inner.inverse(features, others), self.largest)
        logs = spread * self._scale(others, len(features)).reshape(-1, *[1] * (spread.ndim - 1))
        above = logs > np.log(2.0) * 0.9995
        energies = self.threshold * np.expm1(np.minimum(logs, 60.0))
        return np.where(above, np.maximum(energies, self.threshold), 0.0)


def _groups(given: Array, values: Array, min_events: int) -> list[list[float]]:
    """Values of ``given`` in runs of at least ``min_events``; constant columns stay alone."""
    groups: list[list[float]] = []
    sizes: list[int] = []
    closed = True
    for value in np.unique(given).tolist():
        inside = values[given == value]
        constant = bool((inside == inside[0]).all()) and len(inside) > 1
        if closed or constant or sizes[-1] >= min_events:
            groups.append([value])
            sizes.append(len(inside))
        else:
            groups[-1].append(value)
            sizes[-1] += len(inside)
        closed = constant
    if len(groups) > 1 and sizes[-1] < min_events and not closed:
        previous = values[np.isin(given, groups[-2])]
        if not (previous == previous[0]).all():
            groups[-2:] = [groups[-2] + groups[-1]]
    return groups

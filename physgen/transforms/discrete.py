"""Transforms of columns with repeating values: charges, counts, spikes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from physgen.random import Random
from physgen.transforms.base import Array, Columns, midway, uniform
from physgen.transforms.continuous import Linear, Log, Quantile, Standardize, smooth

__all__ = ["Binary", "Categories", "Count", "Integer", "OneHot", "Spike"]


@dataclass(frozen=True)
class Binary:
    """Two values, entry by entry: the smaller is -1, the larger +1. Charges and spins."""

    values: tuple[float, float] = (-1.0, 1.0)
    shape: tuple[int, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def binary(self) -> tuple[bool, ...]:
        return (True,) * int(np.prod(self.shape))

    def fit(self, values: Array, others: Columns) -> Binary:
        found = np.unique(values)
        if len(found) > 2:
            raise ValueError(f"Binary needs two values, but the column has {len(found)}")
        low, high = (found[0], found[-1]) if len(found) == 2 else self.values
        return Binary((float(low), float(high)), values.shape[1:])

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        flat = values.reshape(len(values), len(self.binary))
        return np.where(flat == self.values[1], 1.0, -1.0)

    def inverse(self, features: Array, others: Columns) -> Array:
        values = np.where(features > 0, self.values[1], self.values[0])
        return values.reshape(len(features), *self.shape)


@dataclass(frozen=True)
class Categories:
    """One feature per value: near +1 for the value of the event, near -1 for the others.

    Each feature is blurred by up to 0.4 either way and counts as real, so that a model is not
    asked for exact flags one by one: of those it could set none or several, while of real numbers
    one is the largest. The blur cannot change which one it is.
    """

    values: tuple[float, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def binary(self) -> tuple[bool, ...]:
        return (False,) * len(self.values)

    def fit(self, values: Array, others: Columns) -> Categories:
        return Categories(tuple(np.unique(values).astype(float).tolist()))

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        flags = np.where(
            _nearest(values, self.values)[:, None] == np.arange(len(self.values)), 1, -1
        )
        return flags + 0.8 * (uniform(rng, flags.shape) - 0.5)

    def inverse(self, features: Array, others: Columns) -> Array:
        return np.array(self.values)[features.argmax(axis=1)]


@dataclass(frozen=True)
class OneHot:
    """One binary feature per value, entry by entry: +1 for the value there, -1 for the others.

    For models with categorical units, of which exactly one feature is +1 (Potts spins in an RBM).
    """

    values: tuple[float, ...] = ()
    shape: tuple[int, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def binary(self) -> tuple[bool, ...]:
        return (True,) * (len(self.values) * self.n_units)

    @property
    def n_units(self) -> int:
        """Number of categorical units."""
        return int(np.prod(self.shape))

    def fit(self, values: Array, others: Columns) -> OneHot:
        found = self.values or tuple(np.unique(values).astype(float).tolist())
        return OneHot(found, values.shape[1:])

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        flat = values.reshape(len(values), -1, 1)
        return np.where(flat == np.array(self.values), 1.0, -1.0).reshape(len(values), -1)

    def inverse(self, features: Array, others: Columns) -> Array:
        chosen = features.reshape(len(features), self.n_units, len(self.values)).argmax(axis=2)
        return np.array(self.values)[chosen].reshape(len(features), *self.shape)


@dataclass(frozen=True)
class Count:
    """A few integers in which the order counts (a multiplicity), as one real number.

    It comes back as the nearest of the values seen. One feature serves a network better than a
    feature per value, most of which are rare and cost the other columns their precision.
    """

    values: tuple[float, ...] = ()
    inner: Linear = Linear()
    needs: tuple[str, ...] = ()

    @property
    def binary(self) -> tuple[bool, ...]:
        return self.inner.binary

    def fit(self, values: Array, others: Columns) -> Count:
        seen = tuple(np.unique(values).astype(float).tolist())
        return Count(seen, Linear().fit(values, others))

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        return self.inner.forward(values, others, rng)

    def inverse(self, features: Array, others: Columns) -> Array:
        # without the folding of the inner map: a count just beyond an edge belongs to the edge
        values = features[:, 0] * self.inner.std + self.inner.mean
        return np.array(self.values)[_nearest(values, self.values)]


def _nearest(values: Array, seen: tuple[float, ...]) -> Array:
    """Index of the nearest of the values seen."""
    return np.abs(values[:, None] - np.array(seen)).argmin(axis=1)


@dataclass(frozen=True)
class Integer:
    """Many integers: each is spread uniformly over its unit interval, then standardized.

    A single number per event goes through the normal score; arrays are scaled linearly, those of
    two and more axes (pixels) all entries alike: one that is always dark stays calm.
    """

    low: int = 0
    high: int = 0
    shape: tuple[int, ...] = ()
    inner: Quantile | Standardize = Quantile()
    needs: tuple[str, ...] = ()

    @property
    def binary(self) -> tuple[bool, ...]:
        return self.inner.binary

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Ends of the features, if all entries have the same: those of pixels."""
        if not (isinstance(self.inner, Standardize) and self.inner.pooled):
            return None
        mean, std = self.inner.mean[0], self.inner.std[0]
        return (self.low - mean) / std, (self.high + 1 - mean) / std

    def fit(self, values: Array, others: Columns) -> Integer:
        low, high = int(values.min()), int(values.max())
        spread = values.astype(np.float64) + midway(values.shape)
        inner: Quantile | Standardize = Quantile()
        if values.ndim > 1:
            # the spread of new events may pass that of the fit; the integers are clipped instead
            inner = Standardize(fold=False, pooled=values.ndim > 2)
        return Integer(low, high, values.shape[1:], inner.fit(spread, others))

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        # away from the edges, so that rounding to float32 does not reach the next integer
        spread = uniform(rng, values.shape)
        spread *= 0.998
        spread += values + 1e-3
        return self.inner.forward(spread, others, rng)

    def inverse(self, features: Array, others: Columns) -> Array:
        return np.clip(np.floor(self.inner.inverse(features, others)), self.low, self.high)


@dataclass(frozen=True)
class Spike:
    """A continuous column with one value that repeats (``ht = 0``): a flag and the rest.

    The first feature is +1 at the spike and -1 elsewhere; the second stands for the rest,
    and is 0 at the spike.
    """

    value: float = 0.0
    inner: Linear | Log = Linear()
    needs: tuple[str, ...] = ()

    @property
    def binary(self) -> tuple[bool, ...]:
        return (True, *self.inner.binary)

    def fit(self, values: Array, others: Columns) -> Spike:
        rest = values[values != self.value]
        if len(rest) == 0:
            raise ValueError(f"Spike(value={self.value:g}) needs other values beside the spike")
        return Spike(self.value, smooth(rest).fit(rest, others))

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        at_spike = values == self.value
        features = np.zeros((len(values), 2))
        features[:, 0] = np.where(at_spike, 1.0, -1.0)
        features[~at_spike, 1:] = self.inner.forward(values[~at_spike], others, rng)
        return features

    def inverse(self, features: Array, others: Columns) -> Array:
        return np.where(
            features[:, 0] > 0, self.value, self.inner.inverse(features[:, 1:], others)
        )

"""What a transform is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from physgen.random import Random

__all__ = ["Array", "Columns", "Transform", "midway", "uniform"]

Array = np.ndarray[Any, np.dtype[Any]]
Columns = Mapping[str, Array]


class Transform(Protocol):
    """What the preprocessor asks of a transform; all of it on numpy arrays in float64."""

    @property
    def binary(self) -> tuple[bool, ...]:
        """For each feature whether it is binary; the length is the number of features."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the columns that must be decoded before."""
        ...

    def fit(self, values: Array, others: Columns) -> Transform:
        """Return a copy with the constants of this column."""
        ...

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        """Features of shape (n_events, n_features) of values of shape (n_events, *shape)."""
        ...

    def inverse(self, features: Array, others: Columns) -> Array:
        """Values of these features, in the domain of the data."""
        ...


def uniform(rng: Random, shape: tuple[int, ...]) -> Array:
    """Draw uniform numbers in (0, 1) as float64."""
    drawn: Array = rng.uniform(*shape).cpu().numpy().astype(np.float64)
    return drawn


def midway(shape: tuple[int, ...]) -> Array:
    """Evenly spread numbers in (0, 1) for fitting, where a random draw is not needed."""
    golden = 0.6180339887498949
    spread = np.arange(np.prod(shape), dtype=np.float64)
    spread += 0.5
    spread *= golden
    spread -= np.floor(spread)
    return spread.reshape(shape)

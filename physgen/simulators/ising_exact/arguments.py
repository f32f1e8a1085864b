"""Checks of the shape of a lattice and of its inverse temperature."""

from __future__ import annotations

import operator
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Real", "Shape", "as_beta", "as_one_beta", "as_real", "as_shape"]

Shape: TypeAlias = int | tuple[int, int]
"""A side, for a square, or (rows, cols)."""

Real: TypeAlias = float | NDArray[np.float64]
"""A number where the inverse temperature was one, else an array of its shape."""


def as_shape(shape: Shape) -> tuple[int, int]:
    """(rows, cols) of a lattice given as such or by its side.

    Raises
    ------
    ValueError
        If it is not one or two integers of at least 2.

    Examples
    --------
    >>> as_shape(4), as_shape((2, 3))
    ((4, 4), (2, 3))
    """
    try:
        given = tuple(shape) if np.iterable(shape) else (shape, shape)
        sides = tuple(operator.index(side) for side in given)
    except TypeError:
        sides = ()
    if len(sides) != 2 or min(sides) < 2:
        raise ValueError(
            "the shape of a lattice is a side or (rows, cols), integers of at least 2, "
            f"got {shape!r}"
        )
    return sides


def as_beta(beta: ArrayLike) -> NDArray[np.float64]:
    """Inverse temperatures in 1/J as float64, of the shape given.

    Raises
    ------
    ValueError
        If one of them is negative, infinite or not a number.
    """
    values = np.asarray(beta, dtype=np.float64)
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        where = f" in {wrong.sum()} of {values.size} entries" if values.ndim else ""
        raise ValueError(
            "beta = 1/(k_B T) must be finite and not negative, in 1/J; "
            f"got {values[wrong][0]}{where}"
        )
    return values


def as_one_beta(beta: float) -> float:
    """One inverse temperature in 1/J, checked as by `as_beta`.

    Raises
    ------
    ValueError
        If it is not one finite number that is not negative.
    """
    values = as_beta(beta)
    if values.ndim:
        raise ValueError(
            f"one beta is wanted here, got an array of shape {values.shape}; call once for each"
        )
    return float(values)


def as_real(values: NDArray[np.float64]) -> Real:
    """A float in place of an array without axes."""
    return values if values.ndim else float(values)

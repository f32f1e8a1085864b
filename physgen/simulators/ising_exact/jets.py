"""Functions of one variable carried with their first and second derivative."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Jet"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Jet:
    """Values f, f' and f'' of a function, which sums, products and functions of it carry along.

    Parameters
    ----------
    value, first, second : array
        f, f' and f'', of shapes that broadcast.

    Examples
    --------
    >>> x = Jet(np.array(2.0), np.array(1.0), np.array(0.0))
    >>> cube = x * x * x
    >>> float(cube.value), float(cube.first), float(cube.second)
    (8.0, 12.0, 12.0)
    """

    value: Array
    first: Array
    second: Array

    def __add__(self, other: Jet | Array | float) -> Jet:
        if isinstance(other, Jet):
            return Jet(
                self.value + other.value, self.first + other.first, self.second + other.second
            )
        return Jet(self.value + other, self.first, self.second)

    def __mul__(self, other: Jet | Array | float) -> Jet:
        if not isinstance(other, Jet):
            return Jet(self.value * other, self.first * other, self.second * other)
        return Jet(
            self.value * other.value,
            self.first * other.value + self.value * other.first,
            self.second * other.value + 2 * self.first * other.first + self.value * other.second,
        )

    __radd__ = __add__
    __rmul__ = __mul__
    # else an array on the left would take the jet for one of its elements
    __array_ufunc__ = None

    def __neg__(self) -> Jet:
        return self * -1.0

    def __sub__(self, other: Jet | float) -> Jet:
        return self + -other

    def __rsub__(self, other: float) -> Jet:
        return -self + other

    def __pow__(self, n: int) -> Jet:
        """Integer power, at least 2."""
        x = self.value
        return self._of(x**n, n * x ** (n - 1), n * (n - 1) * x ** (n - 2))

    def __truediv__(self, other: Jet) -> Jet:
        x = other.value
        return self * other._of(1 / x, -1 / x**2, 2 / x**3)

    def sqrt(self) -> Jet:
        """Square root."""
        root = np.sqrt(self.value)
        return self._of(root, 0.5 / root, -0.25 / root**3)

    def exp(self) -> Jet:
        """Exponential."""
        power = np.exp(self.value)
        return self._of(power, power, power)

    def log1p(self) -> Jet:
        """Logarithm of 1 + f."""
        slope = 1 / (1 + self.value)
        return self._of(np.log1p(self.value), slope, -(slope**2))

    def log(self) -> Jet:
        """Natural logarithm."""
        slope = 1 / self.value
        return self._of(np.log(self.value), slope, -(slope**2))

    def sum(self) -> Jet:
        """Sum over the last axis."""
        return Jet(self.value.sum(-1), self.first.sum(-1), self.second.sum(-1))

    def __getitem__(self, index: tuple[object, ...]) -> Jet:
        return Jet(self.value[index], self.first[index], self.second[index])  # type: ignore[index]

    def _of(self, value: Array, slope: Array, curvature: Array) -> Jet:
        """Chain rule for a function with this value, slope and curvature at f."""
        return Jet(value, slope * self.first, curvature * self.first**2 + slope * self.second)

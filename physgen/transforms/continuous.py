"""Transforms of a continuous column by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from physgen.random import Random
from physgen.transforms.base import Array, Columns

__all__ = ["Constant", "Linear", "Log", "Logit", "Quantile", "Standardize", "smooth"]


@dataclass(frozen=True)
class Constant:
    """A column with one value: no feature at all."""

    value: float = 0.0
    shape: tuple[int, ...] = ()
    binary: tuple[bool, ...] = ()
    needs: tuple[str, ...] = ()

    def fit(self, values: Array, others: Columns) -> Constant:
        return Constant(float(values.flat[0]), values.shape[1:])

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        return np.zeros((len(values), 0))

    def inverse(self, features: Array, others: Columns) -> Array:
        return np.full((len(features), *self.shape), self.value)


@dataclass(frozen=True)
class _OneReal:
    """A transform to one real feature, which needs no other column."""

    @property
    def binary(self) -> tuple[bool, ...]:
        return (False,)

    @property
    def needs(self) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True)
class Standardize:
    """Subtract the mean and divide by the standard deviation, entry by entry.

    Generated values are folded into the range that each entry showed (see :class:`Linear`), unless
    ``fold`` is False. With ``pooled`` all entries have one mean and one standard deviation.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    shape: tuple[int, ...] = ()
    fold: bool = True
    needs: tuple[str, ...] = ()
    pooled: bool = False

    @property
    def binary(self) -> tuple[bool, ...]:
        return (False,) * len(self.mean)

    def fit(self, values: Array, others: Columns) -> Standardize:
        flat = values.reshape(len(values), -1).astype(np.float64)
        axis = None if self.pooled else 0
        std = np.broadcast_to(flat.std(axis=axis), flat.shape[1])
        mean = np.broadcast_to(flat.mean(axis=axis), flat.shape[1])
        return Standardize(
            tuple(mean.tolist()),
            tuple(np.where(std > 0, std, 1.0).tolist()),
            tuple(flat.min(axis=0).tolist()),
            tuple(flat.max(axis=0).tolist()),
            values.shape[1:],
            self.fold,
            pooled=self.pooled,
        )

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        flat = values.reshape(len(values), len(self.mean)) - np.array(self.mean)
        flat /= np.array(self.std)
        return flat

    def inverse(self, features: Array, others: Columns) -> Array:
        flat = features * np.array(self.std) + np.array(self.mean)
        if self.fold:
            flat = _fold(flat, np.array(self.low), np.array(self.high))
        return flat.reshape(len(features), *self.shape)


@dataclass(frozen=True)
class Quantile(_OneReal):
    """Normal score of the empirical distribution, for any continuous column.

    The map is piecewise linear through ``n_knots`` points, equally spaced in the normal score, so
    tails keep their shape. Generated values lie between the smallest and the largest one seen.
    """

    n_knots: int = 256
    values: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()

    def fit(self, values: Array, others: Columns) -> Quantile:
        from scipy.special import ndtri  # scipy is slow to import

        data = np.sort(values.astype(np.float64))
        n = len(data)
        rank_scores = ndtri((np.arange(n) + 0.5) / n)
        wanted = np.linspace(rank_scores[0], rank_scores[-1], max(2, min(self.n_knots, n)))
        knots, first = np.unique(np.interp(wanted, rank_scores, data), return_index=True)
        last = np.append(first[1:], len(wanted)) - 1
        scores = 0.5 * (wanted[first] + wanted[last])
        return Quantile(self.n_knots, tuple(knots.tolist()), tuple(scores.tolist()))

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        return np.interp(values, self.values, self.scores)[:, None]

    def inverse(self, features: Array, others: Columns) -> Array:
        return np.interp(features[:, 0], self.scores, self.values)


@dataclass(frozen=True)
class Linear(_OneReal):
    """Standardize one number per event; generated values are folded into the range seen.

    Folding reflects what lies outside an edge to its inside, so that a sharp edge (an acceptance
    cut) stays sharp and no value piles up on it.
    """

    mean: float = 0.0
    std: float = 1.0
    low: float = -np.inf
    high: float = np.inf

    def fit(self, values: Array, others: Columns) -> Linear:
        data = values.astype(np.float64)
        return Linear(
            float(data.mean()), float(data.std()) or 1.0, float(data.min()), float(data.max())
        )

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        return ((values - self.mean) / self.std)[:, None]

    def inverse(self, features: Array, others: Columns) -> Array:
        return _fold(features[:, 0] * self.std + self.mean, self.low, self.high)


@dataclass(frozen=True)
class Log(_OneReal):
    r"""Logarithm of the distance from a pole outside the data, standardized; for long tails.

    :math:`\ln(\pm(x - \mathrm{pole}))`. Unlike a normal score it is smooth, so that a sharp
    correlation (a resonance in an invariant mass) stays a smooth surface for the network.

    Parameters
    ----------
    pole : float, optional
        By default 0 for a positive column whose plain logarithm is not very skewed (momenta and
        energies, which multiply in invariant masses), and else the point beyond the short tail
        that leaves the logarithm without skewness.
    """

    pole: float | None = None
    sign: float = 1.0
    inner: Linear = Linear()
    low: float = -np.inf
    high: float = np.inf

    def fit(self, values: Array, others: Columns) -> Log:
        data = values.astype(np.float64)
        sign = 1.0 if self.pole is not None or _skewness(data) >= 0 else -1.0
        pole = sign * _natural_pole(sign * data) if self.pole is None else self.pole
        if (sign * (data - pole)).min() <= 0:
            raise ValueError(
                f"Log(pole={pole:g}) needs values above the pole, but the smallest is "
                f"{data.min():g}; lower the pole"
            )
        inner = self.inner.fit(np.log(sign * (data - pole)), others)
        return Log(pole, sign, inner, float(data.min()), float(data.max()))

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        logs = np.log(self.sign * (values - (self.pole or 0.0)))
        return self.inner.forward(logs, others, rng)

    def inverse(self, features: Array, others: Columns) -> Array:
        values = (self.pole or 0.0) + self.sign * np.exp(self.inner.inverse(features, others))
        # the inner fold keeps the range up to rounding; a threshold must hold to the last bit
        return np.clip(values, self.low, self.high)


def smooth(values: Array) -> Linear | Log:
    """Choose between the two: a logarithm for a skewed column."""
    return Log() if abs(_skewness(values.astype(np.float64))) > 0.5 else Linear()


def _fold(values: Array, low: float | Array, high: float | Array) -> Array:
    folded = np.where(values < low, 2 * low - values, values)
    folded = np.where(folded > high, 2 * high - folded, folded)
    return np.clip(folded, low, high)


def _skewness(data: Array) -> float:
    """Third standardized moment; 0 for a constant column."""
    width = float(data.std())
    return float(np.mean(((data - data.mean()) / width) ** 3)) if width > 0 else 0.0


def _natural_pole(data: Array) -> float:
    if data.min() > 0 and abs(_skewness(np.log(data))) < 0.8:
        return 0.0
    return _pole_without_skew(data)


def _pole_without_skew(data: Array) -> float:
    """Pole below the data at which the skewness of ln(data - pole) changes sign."""
    from scipy.optimize import brentq  # scipy is slow to import

    width = float(data.std())

    def asymmetry(log_gap: float) -> float:
        return _skewness(np.log(data - data.min() + np.exp(log_gap) * width))

    near, far = np.log(1e-3), np.log(1e3)
    if asymmetry(near) >= 0:
        gap = near
    elif asymmetry(far) <= 0:
        gap = far
    else:
        gap = brentq(asymmetry, near, far, xtol=1e-2)
    return float(data.min() - np.exp(gap) * width)


@dataclass(frozen=True)
class Logit(_OneReal):
    """Log-odds of the position between two bounds, standardized; for bounded columns.

    Parameters
    ----------
    low, high : float, optional
        Bounds of the domain; by default just outside the smallest and the largest value.
    """

    low: float | None = None
    high: float | None = None
    mean: float = 0.0
    std: float = 1.0

    def fit(self, values: Array, others: Columns) -> Logit:
        smallest, largest = float(values.min()), float(values.max())
        margin = 1e-4 * (largest - smallest)
        low = smallest - margin if self.low is None else self.low
        high = largest + margin if self.high is None else self.high
        if not low < smallest <= largest < high:
            raise ValueError(
                f"Logit(low={low:g}, high={high:g}) needs values strictly between its bounds, but "
                f"they span {smallest:g} to {largest:g}; widen the bounds"
            )
        bounds = Logit(low, high)
        logits = bounds._logits(values)
        return Logit(low, high, float(logits.mean()), float(logits.std()) or 1.0)

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        return ((self._logits(values) - self.mean) / self.std)[:, None]

    def _logits(self, values: Array) -> Array:
        return np.log(values - (self.low or 0.0)) - np.log((self.high or 0.0) - values)

    def inverse(self, features: Array, others: Columns) -> Array:
        low, high = self.low or 0.0, self.high or 0.0
        with np.errstate(over="ignore"):
            return low + (high - low) / (1 + np.exp(-(features[:, 0] * self.std + self.mean)))

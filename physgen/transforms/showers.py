"""Showers: how much energy, in which layers, and only then which voxels."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from physgen.random import Random
from physgen.transforms.base import Array, Columns, midway, uniform

__all__ = ["EDGE", "ENOUGH", "ROUNDED", "EnergyFirst"]

# a zero becomes a number from -0.9 to -0.1, an energy one above 0
_ZERO, _SPREAD, EDGE = -0.9, 0.8, -0.05
_MAX_KNOTS = 8
# added to the standard deviation where all is zero, so that the first energies are not far out
_ZERO_STD = 0.5
# share of the energies that are bent
_BENT = 0.2
# what float32 may lose
ROUNDED = 0.99999
# of the threshold: a sum below is no shower
ENOUGH = 0.5

# knots of the logarithm above, then means and standard deviations, all knots of one feature first
Trend = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
# ln(1 + e/s) at knots, and y there; above the last one y grows alike
Bend = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class EnergyFirst:
    r"""A shower as its energy, the energies of its layers, and the shape of each layer.

    Every energy e becomes :math:`y = \ln(1 + e/s)`, s its typical smallest value, and a zero
    becomes a random number below 0, so that its sign tells it. The lowest fifth of the energies is
    bent, so that no value of y is rarer than there: a model blurs the edge between zeros and
    energies, and what it puts between them is then not seen. Each y is standardized given
    the logarithm of what it is a part of: the sum given the incident energy, the layers given the
    sum, the voxels given their layer. Means and standard deviations are piecewise linear there,
    and the same for all angles. Decoding goes the same way and scales the parts to their whole:
    the energy of a shower is what the first feature says, layers add up to it, voxels add up to
    their layer, and each is 0 or at least the readout threshold.

    The first ``n_first`` features (sum and layers) are made first, and the shape given them. That
    is what the best entries of the CaloChallenge do (CaloDREAM, arXiv:2405.09629; CaloDiffusion,
    arXiv:2308.03876); they generate the ratio of each layer to those behind it.

    Parameters
    ----------
    scale : str, default ""
        Positive condition that the energy is proportional to, e.g. the incident energy.
    layers : tuple of (int, int), optional
        Angles and rings of each layer, the order of the voxels: layer, angle, ring (fastest). By
        default each index of the first axis of an array of three axes is a layer, and any other
        array is one layer.
    order : tuple of int, optional
        Order in which the axes of the array are layer, angle, ring, where they are not, e.g.
        (2, 1, 0) for the layout of Par04.
    angular : bool, default False
        Whether the angles of a layer go all around, and all see the same.
    """

    scale: str = ""
    layers: tuple[tuple[int, int], ...] = ()
    order: tuple[int, ...] = ()
    angular: bool = False
    shape: tuple[int, ...] = ()
    threshold: float = 1.0
    unit: float = 1.0
    units: tuple[float, float] = (1.0, 1.0)
    bends: tuple[Bend, Bend] = (((0.0,), (0.0,)), ((0.0,), (0.0,)))
    largest: float = math.inf
    trends: tuple[Trend, ...] = ()

    @property
    def binary(self) -> tuple[bool, ...]:
        return (False,) * (self.n_first + self._stops[-1])

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.scale,) if self.scale else ()

    @property
    def n_first(self) -> int:
        """Features of the first stage: the sum, and the layers if there are several."""
        return 1 if len(self.layers) == 1 else 1 + len(self.layers)

    @property
    def stage_shape(self) -> tuple[int, ...]:
        """Shape of the other features, layer (if several), angle, ring; () if layers differ."""
        if len(set(self.layers)) != 1 or (len(self.layers) == 1 and self.layers[0][0] == 1):
            return ()
        return (*([len(self.layers)] if len(self.layers) > 1 else []), *self.layers[0])

    @property
    def periodic(self) -> tuple[bool, ...]:
        """Which axes of that shape have ends that meet."""
        n_axes = len(self.stage_shape)
        return tuple(self.angular and k == n_axes - 2 for k in range(n_axes))

    def fit(self, values: Array, others: Columns) -> EnergyFirst:
        if not (values >= 0).all() or not (values > 0).any():
            raise ValueError(
                "EnergyFirst needs energies >= 0 with some above 0; use Standardize()"
            )
        if self.scale and not (others[self.scale] > 0).all():
            raise ValueError(
                f"EnergyFirst needs a condition {self.scale!r} above 0; say scale='' for none"
            )
        new = dataclasses.replace(self, shape=values.shape[1:])
        new = dataclasses.replace(new, layers=self.layers or _layers_of(new.shape))
        if new._stops[-1] != math.prod(new.shape):
            raise ValueError(
                f"EnergyFirst: the layers have {new._stops[-1]} voxels, but the showers "
                f"{math.prod(new.shape)}; give layers= of this detector"
            )
        positive = values[values > 0]
        new = dataclasses.replace(new, threshold=float(positive.min()))
        return new._with_units(values, others)._with_trends(values, others)

    def _with_units(self, values: Array, others: Columns) -> EnergyFirst:
        """What energies are measured in: a low one of voxels and of layers, the ratio seen."""
        voxels, energies, total = self._energies(values)
        low = [float(np.quantile(part[part > 0], 0.05)) for part in (voxels, energies)]
        bends = [
            _bend(np.log1p(part[part > 0] / unit), math.log1p(self.threshold / unit))
            for part, unit in zip((voxels, energies), low, strict=True)
        ]
        ratio = total / self._incident(others, len(values))
        unit = float(np.median(ratio[ratio > 0])) if self.scale else low[1]
        new = dataclasses.replace(
            self, units=(low[0], low[1]), bends=(bends[0], bends[1]), unit=unit
        )
        return dataclasses.replace(new, largest=float(new._compressed(ratio).max()))

    def _with_trends(self, values: Array, others: Columns) -> EnergyFirst:
        trends: list[Trend] = []

        def fitted(y: Array, given: Array, pooled: tuple[int, int]) -> Array:
            trends.append(_trend(y, given, pooled))
            return _standardized(y, given, trends[-1], pooled)

        self._encode(values, others, lambda shape: midway(shape), fitted)
        return dataclasses.replace(self, trends=tuple(trends))

    def forward(self, values: Array, others: Columns, rng: Random) -> Array:
        trends = iter(self.trends)
        return self._encode(
            values,
            others,
            lambda shape: uniform(rng, shape),
            lambda y, given, pooled: _standardized(y, given, next(trends), pooled),
        )

    def _encode(
        self,
        values: Array,
        others: Columns,
        draw: Callable[[tuple[int, ...]], Array],
        standardize: Callable[[Array, Array, tuple[int, int]], Array],
    ) -> Array:
        """Features, level by level: the sum, the layers, the voxels of each layer."""
        voxels, energies, total = self._energies(values)
        incident = self._incident(others, len(values))
        below = [_ZERO + _SPREAD * draw(e.shape) for e in (total, energies, voxels)]
        y = np.where(total > 0, self._compressed(total / incident), below[0])
        parts = [standardize(y[:, None], np.log(incident), (1, 1))]
        if self.n_first > 1:
            y = np.where(energies > 0, self._bent(energies, 1), below[1])
            parts.append(standardize(y, np.log1p(total / self.units[1]), (1, y.shape[1])))
        y = np.where(voxels > 0, self._bent(voxels, 0), below[2])
        for k, part in enumerate(self._slices):
            given = np.log1p(energies[:, k] / self.units[1])
            parts.append(standardize(y[:, part], given, self._pooled(k)))
        return np.concatenate(parts, axis=1)

    def inverse(self, features: Array, others: Columns) -> Array:
        n, trends = len(features), iter(self.trends)
        incident = self._incident(others, n)
        y = _restored(features[:, :1], np.log(incident), next(trends), (1, 1))[:, 0]
        total = self._expanded(np.clip(y, 0.0, self.largest)) * incident
        # a sum far below the others loses more to float32 than a part of it
        enough = (y > EDGE) & (total >= ENOUGH * self.threshold)
        total = np.where(enough, np.maximum(total, self.threshold), 0.0)
        energies = total[:, None]
        if self.n_first > 1:
            given, pooled = np.log1p(total / self.units[1]), (1, len(self.layers))
            y = _restored(features[:, 1 : self.n_first], given, next(trends), pooled)
            energies = _shares(y, self._straight(y, 1), total, self.threshold)
        voxels = np.empty((n, self._stops[-1]))
        for k, part in enumerate(self._slices):
            given = np.log1p(energies[:, k] / self.units[1])
            shape = features[:, self.n_first :][:, part]
            y = _restored(shape, given, next(trends), self._pooled(k))
            parts = self._straight(y, 0)
            voxels[:, part] = _shares(y, parts, energies[:, k], self.threshold)
        return self._unordered(voxels)

    def _compressed(self, ratio: Array) -> Array:
        """The sum in units of what is expected; its logarithm, if nothing is."""
        return ratio / self.unit if self.scale else np.log1p(ratio / self.unit)

    def _expanded(self, y: Array) -> Array:
        return self.unit * (y if self.scale else np.expm1(y))

    def _bent(self, energies: Array, level: int) -> Array:
        logs, y = self.bends[level]
        given = np.log1p(energies / self.units[level])
        return np.interp(given, logs, y) + np.maximum(given - logs[-1], 0.0)

    def _straight(self, y: Array, level: int) -> Array:
        """Energies of y; the edge between zeros and energies lies a little below 0."""
        logs, bent = self.bends[level]
        y = np.minimum(np.abs(y), 60.0)
        given = np.interp(y, bent, logs) + np.maximum(y - bent[-1], 0.0)
        return np.maximum(self.units[level] * np.expm1(given), self.threshold)

    def _energies(self, values: Array) -> tuple[Array, Array, Array]:
        """Voxels in order, energies of the layers, and the sum; nothing below the threshold."""
        array = values.reshape(len(values), *self.shape).astype(np.float64)
        if self.order:
            array = array.transpose(0, *(1 + axis for axis in self.order))
        voxels = array.reshape(len(values), -1)
        voxels = np.where(voxels < self.threshold, 0.0, voxels)
        energies = np.stack([voxels[:, part].sum(axis=1) for part in self._slices], axis=1)
        return voxels, energies, energies.sum(axis=1)

    def _unordered(self, voxels: Array) -> Array:
        if not self.order:
            return voxels.reshape(len(voxels), *self.shape)
        ordered = voxels.reshape(len(voxels), *(self.shape[axis] for axis in self.order))
        return ordered.transpose(0, *(1 + int(axis) for axis in np.argsort(self.order)))

    def _incident(self, others: Columns, n_events: int) -> Array:
        if not self.scale:
            return np.ones(n_events)
        return others[self.scale].astype(np.float64)

    @property
    def _stops(self) -> tuple[int, ...]:
        return tuple(itertools.accumulate(a * r for a, r in self.layers))

    @property
    def _slices(self) -> tuple[slice, ...]:
        return tuple(slice(a, b) for a, b in itertools.pairwise((0, *self._stops)))

    def _pooled(self, k: int) -> tuple[int, int]:
        """Voxels of layer k as (those with the same trend, trends)."""
        angles, rings = self.layers[k]
        return (angles, rings) if self.angular else (1, angles * rings)


def _layers_of(shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    if len(shape) == 3:
        return ((shape[1], shape[2]),) * shape[0]
    return ((shape[0], shape[1]),) if len(shape) == 2 else ((1, math.prod(shape)),)


def _bend(logs: Array, lowest: float) -> Bend:
    """Knots of a map to values of a density not below that at the fifth of the smallest ones."""
    share = _BENT * np.linspace(0, 1, 17) ** 2
    low, high = np.quantile(logs, (0.75 * _BENT, 1.25 * _BENT))
    knots, first = np.unique(np.append(lowest, np.quantile(logs, share[1:])), return_index=True)
    steps = np.diff(knots)
    even = np.diff(share[first]) * (high - low) / (0.5 * _BENT)
    bent = np.cumsum(np.clip(even, 0.02 * steps, steps))
    return tuple(knots.tolist()), (0.0, *bent.tolist())


def _hats(given: Array, knots: Array) -> Array:
    """Weight of each knot in the linear interpolation at each event, (n_events, n_knots)."""
    return np.stack([np.interp(given, knots, one) for one in np.eye(len(knots))], axis=1)


def _trend(y: Array, given: Array, pooled: tuple[int, int]) -> Trend:
    """Mean and standard deviation of features at knots in what is given."""
    known = given[given != 0] if given.any() else given  # 0: an empty layer
    wanted = (np.arange(_MAX_KNOTS) + 0.5) / _MAX_KNOTS
    knots = np.unique(np.quantile(known, wanted))
    hats = _hats(given, knots)
    weights = hats / np.maximum(hats.sum(axis=0), 1e-12)
    y = y.reshape(len(y), *pooled)
    mean = weights.T @ y.mean(axis=1)
    square = weights.T @ np.square(y - (hats @ mean)[:, None]).mean(axis=1)
    zeros = weights.T @ (y < 0).mean(axis=1)
    std = np.sqrt(square + _ZERO_STD**2 * zeros)
    std = np.where(std > 1e-6, std, 1.0)
    flat = [tuple(part.reshape(-1).tolist()) for part in (knots, mean, std)]
    return flat[0], flat[1], flat[2]


def _at(given: Array, trend: Trend, pooled: tuple[int, int]) -> tuple[Array, Array]:
    """Mean and standard deviation of all features of each event."""
    knots, mean, std = (np.array(part) for part in trend)
    hats = _hats(given, knots)
    at = (np.tile(hats @ part.reshape(len(knots), -1), (1, pooled[0])) for part in (mean, std))
    return next(at), next(at)


def _standardized(y: Array, given: Array, trend: Trend, pooled: tuple[int, int]) -> Array:
    mean, std = _at(given, trend, pooled)
    return (y - mean) / std


def _restored(features: Array, given: Array, trend: Trend, pooled: tuple[int, int]) -> Array:
    mean, std = _at(given, trend, pooled)
    return features * std + mean


def _shares(y: Array, energies: Array, whole: Array, threshold: float) -> Array:
    """Energies where y is above the edge, scaled to their whole, none below the threshold.

    Of the largest ones as many stay as can: with fewer parts each of them is larger.
    """
    energies = np.where(y > EDGE, energies, 0.0)
    none = ~energies.any(axis=1)
    energies[none, y[none].argmax(axis=1)] = 1.0
    largest_first = np.argsort(-energies, axis=1, kind="stable")
    falling = np.take_along_axis(energies, largest_first, axis=1)
    stays = falling * whole[:, None] >= ROUNDED * threshold * falling.cumsum(axis=1)
    stays &= falling > 0
    np.put_along_axis(energies, largest_first, np.where(stays, falling, 0.0), axis=1)
    total = energies.sum(axis=1)
    energies *= np.divide(whole, total, out=np.zeros_like(whole), where=total > 0)[:, None]
    return np.where(energies > 0, np.maximum(energies, threshold), 0.0)

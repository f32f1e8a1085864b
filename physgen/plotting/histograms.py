"""Two samples in the same bins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from physgen.metrics.binning import bin_contents
from physgen.metrics.resampling import Design, Pair, as_design
from physgen.summaries import Quantity

__all__ = ["Histogram", "make_histogram"]


@dataclass(frozen=True)
class Histogram:
    """Two samples in the same bins, as probability per bin.

    Attributes
    ----------
    label : str
        Name with unit.
    edges : array of shape (n_bins + 1,)
        Uniform edges; events beyond are counted in ``outside``.
    reference, candidate : array of shape (n_bins,)
        Share of the sample in each bin.
    reference_error, candidate_error : array of shape (n_bins,)
        Statistical errors, from the sum of squared weights and the autocorrelation time.
    size_ratio : float
        Effective events of the reference over those of the candidate.
    outside : pair of float
        Share of either sample beyond the edges.
    log_scale : bool
        Whether a logarithmic axis shows the shares better.
    """

    label: str
    edges: np.ndarray
    reference: np.ndarray
    candidate: np.ndarray
    reference_error: np.ndarray
    candidate_error: np.ndarray
    outside: tuple[float, float]
    log_scale: bool = False
    size_ratio: float = 1.0

    @property
    def null_error(self) -> np.ndarray:
        """Error of the difference of two samples of the reference's law, of these sizes."""
        return np.asarray(self.reference_error * np.sqrt(1 + self.size_ratio))


def make_histogram(
    quantity: Quantity,
    weights: Pair | Design = (None, None),
    *,
    n_bins: int = 40,
) -> Histogram:
    """Histogram of both samples over the central 99 % of the reference.

    Parameters
    ----------
    quantity : Quantity
        Values of both samples.
    weights : pair of (array or None), or Design
        Event weights.
    n_bins : int, default 40
        Uniform bins; integers of a small range get one bin per value.
    """
    edges = _uniform_edges(quantity, n_bins)
    design = as_design(weights, len(quantity.reference), len(quantity.candidate))
    ours, ours_error = _shares(quantity.reference, edges, design.a, design.tau[0])
    theirs, theirs_error = _shares(quantity.candidate, edges, design.b, design.tau[1])
    filled = ours[ours > 0]
    return Histogram(
        label=quantity.label,
        edges=edges,
        reference=ours,
        candidate=theirs,
        reference_error=ours_error,
        candidate_error=theirs_error,
        outside=(float(1 - ours.sum()), float(1 - theirs.sum())),
        log_scale=bool(len(filled) > 3 and filled.max() > 15 * np.median(filled)),
        size_ratio=design.n_effective[0] / design.n_effective[1],
    )


def _shares(
    values: np.ndarray, edges: np.ndarray, weights: np.ndarray, tau: float
) -> tuple[np.ndarray, np.ndarray]:
    """Share of the sample in each bin, and its statistical error."""
    share, square = (bin_contents(values, edges, w)[1:-1] for w in (weights, weights**2))
    return share, np.sqrt(2 * tau * square)


def _uniform_edges(quantity: Quantity, n_bins: int) -> np.ndarray:
    values = quantity.reference
    if quantity.is_angle:
        return np.linspace(-np.pi, np.nextafter(np.pi, 4), n_bins + 1)
    low, high = np.quantile(values, [0.005, 0.995], method="nearest")
    if np.array_equal(values, np.round(values)) and high - low <= n_bins:
        return np.arange(np.floor(low), np.ceil(high) + 2) - 0.5
    step = _level_spacing(values)
    if step is not None:
        # a bin holds as many levels as its neighbor, or empty ones would show as spikes
        width = step * max(1, math.ceil((high - low) / step / n_bins))
        n = math.floor((high - low) / width + 1e-6) + 1
        return np.asarray(low - step / 2 + width * np.arange(n + 1))
    if low == high:
        width = max(abs(low), 1.0) * 0.5
        return np.linspace(low - width, low + width, n_bins + 1)
    # the last bin holds its upper edge, which may be the limit that a column is cut at
    return np.linspace(low, np.nextafter(high, np.inf), n_bins + 1)


def _level_spacing(values: np.ndarray) -> float | None:
    """Distance between the levels of a discrete observable, None for a continuous one."""
    levels = np.unique(values)
    if not 2 <= len(levels) <= len(values) / 2:
        return None
    step = float(np.diff(levels).min())
    places = (levels - levels[0]) / step
    return step if np.abs(places - np.round(places)).max() < 1e-3 else None

"""Two samples in common bins, and their draws from the null."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from physgen.metrics.binning import bin_contents, bin_edges, merge_bins, n_bins_default
from physgen.metrics.resampling import Design

__all__ = ["BinnedPair", "BinnedStatistic", "binned_pair"]

BinnedStatistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""``statistic(p, q)`` of probabilities of shape (..., n_bins)."""

_HALVES = 100


@dataclass(frozen=True)
class BinnedPair:
    """Probabilities of two samples in common bins.

    Attributes
    ----------
    p, q : array of shape (n_bins,)
        Probabilities of reference and candidate.
    index : array of int, shape (n + m,)
        Bin of every pooled event.
    design : Design
        How the samples were drawn.
    """

    p: np.ndarray
    q: np.ndarray
    index: np.ndarray
    design: Design

    def evaluated(
        self, statistic: BinnedStatistic, n_draws: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate a statistic observed and drawn, (1 + n_draws,), and between halves, (100,)."""
        if self.design.is_exact and self.design.slices[0] is None:
            null = [statistic(*self._shuffled(n_draws, rng))]
            drawn = [statistic(self.p[None], self.q[None]), *null]
        else:
            blocks = self.design.draws(n_draws, rng)
            drawn = [statistic(*self._laws(rows)) for rows in blocks]
        steps = [0.5 * self._summed(rows) for rows in self.design.halves(_HALVES, rng)]
        halves = [statistic(self.p + d, self.p - d) for d in steps]
        return np.concatenate(drawn), np.concatenate(halves)

    def per_event(self, of_reference: np.ndarray, of_candidate: np.ndarray) -> np.ndarray:
        """Numbers per pooled event, shape (n + m,), from one number per bin for either sample."""
        n = len(self.design.a)
        return np.concatenate((of_reference[self.index[:n]], of_candidate[self.index[n:]]))

    def _shuffled(self, n_draws: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Permutations of the events as they show in the bins: no event has to be moved."""
        n, m = len(self.design.a), len(self.design.b)
        counts = np.bincount(self.index, minlength=len(self.p))
        ours = rng.multivariate_hypergeometric(counts, n, size=n_draws, method="marginals")
        return ours / n, (counts - ours) / m

    def _laws(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        share, differences = self.design.share, self._summed(rows)
        pooled = share * self.p + (1 - share) * self.q
        return pooled + (1 - share) * differences, pooled - share * differences

    def _summed(self, rows: np.ndarray) -> np.ndarray:
        index = self.index[: rows.shape[1]]
        return np.stack([np.bincount(index, d, minlength=len(self.p)) for d in rows])


def binned_pair(
    reference: np.ndarray,
    candidate: np.ndarray,
    design: Design,
    edges: np.ndarray | None = None,
    *,
    merge: bool = True,
) -> BinnedPair:
    """Bin two samples; by default in equal-probability bins of both together.

    Parameters
    ----------
    reference, candidate : array of shape (n,) and (m,)
        Values, any unit.
    design : Design
        How they were drawn.
    edges : array, optional
        Inner edges; the first and the last bin are open.
    merge : bool, default True
        Join bins that hold too little weight, see :func:`physgen.metrics.binning.merge_bins`.
    """
    a, b, (n_a, n_b) = design.a, design.b, design.n_effective
    pooled = np.concatenate((reference, candidate))
    if edges is None:
        # bins of the reference alone would know the labels: no exact permutation p-value
        mass = np.concatenate((a * n_a, b * n_b))
        edges = bin_edges(pooled, mass, n_bins=n_bins_default(min(n_a, n_b)))
    if merge:
        edges = merge_bins(pooled, a, b, edges)
    p, q = bin_contents(reference, edges, a), bin_contents(candidate, edges, b)
    return BinnedPair(p, q, np.searchsorted(edges, pooled, side="right"), design)

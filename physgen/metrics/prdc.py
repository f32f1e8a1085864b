r"""Precision, recall, density and coverage: how the nearest-neighbor balls of two samples overlap.

With :math:`B_i` the ball around a reference event that reaches its k-th neighbor in the
reference, :math:`B'_j` the same of the candidate, and n events in each,

.. math:: {\rm precision} = \frac1n \sum_j 1[y_j \in \cup_i B_i], \quad
          {\rm recall} = \frac1n \sum_i 1[x_i \in \cup_j B'_j], \quad
          {\rm density} = \frac1{kn} \sum_{ij} 1[y_j \in B_i], \quad
          {\rm coverage} = \frac1n \sum_i 1[\exists j: y_j \in B_i]

(Kynkäänniemi et al., arXiv:1904.06991; Naeem et al., arXiv:2002.09797, eqs. 3 and 4). None of them
is 1 for a perfect candidate: its density is 1 in the mean, and may exceed 1, and its coverage is

.. math:: 1 - \prod_{j=0}^{k-1} \frac{n-1-j}{2n-1-j} \approx 1 - 2^{-k}

in any number of dimensions, since among the other events the k nearest are all of the reference
with this probability. They see missing and invented regions, not copies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from physgen.estimates import Estimate
from physgen.metrics.neighbors import nearest, pairs_in_balls
from physgen.metrics.resampling import Design, Pair, as_design, p_values
from physgen.random import Rng, as_seed

__all__ = ["PRDC", "prdc"]

_AT_HAND = 6  # times k neighbors of either label, of which k have any one label
_MIN_EVENTS = 20  # times k

Scores = tuple[float, float, float, float]


@dataclass(frozen=True)
class PRDC:
    """Four scores of a candidate, each with what the truth scores against itself.

    Attributes
    ----------
    precision : Estimate
        Share of candidate events within the reference.
    recall : Estimate
        Share of reference events within the candidate.
    density : Estimate
        Reference balls around a candidate event, over k.
    coverage : Estimate
        Share of reference balls with a candidate event.
    truth : tuple of float
        The four scores of one half of the reference against the other.

    Notes
    -----
    Less is worse, except for the density, so the floor of an Estimate is a lower one here: of a
    perfect candidate 95 of 100 values lie above. The p-value is that of the difference from the
    truth, two-sided.
    """

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate
    truth: Scores

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and dicts, for JSON."""
        scores = ("precision", "recall", "density", "coverage")
        return {name: getattr(self, name).to_dict() for name in scores} | {
            "truth": list(self.truth)
        }


def prdc(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    k: int = 5,
    weights: Pair | Design = (None, None),
    n_permutations: int = 199,
    max_events: int = 10_000,
    rng: Rng,
) -> PRDC:
    """Precision, recall, density and coverage of a candidate, beside those of the truth.

    The reference is cut into two halves. One is the reference of the scores, the candidate and
    the other half are what they judge, all three with the same number of events. Those two may
    exchange events if they have one law, which gives p-values and errors, both for the given half
    of the reference: in many dimensions a few of its events are in most of the balls, and another
    half would move candidate and truth together, by more than these errors.

    Parameters
    ----------
    reference, candidate : array of shape (n, d) and (m, d)
        Features on comparable scales (each about unit spread).
    k : int, default 5
        Neighbor that a ball reaches to.
    weights : pair of (array or None), or Design
        Neighbors have no weights, so weighted events are unweighted first: kept with probability
        w / max w. Blocks stay together in halves and in exchanges, but neighbors in a chain make
        the balls too small, so thin chains to steps of two autocorrelation times before.
    n_permutations : int, default 199
        Exchanges of labels.
    max_events : int, default 10000
        Events used in each of the three samples; a random subset where there are more, told in
        the note.
    rng : int or torch.Generator
        Source of halves, subsets and exchanges.

    Returns
    -------
    PRDC
        Four scores, each with its error, the value of the truth and a p-value.

    Raises
    ------
    ValueError
        For negative weights, or fewer than 20 k events in a half or in the candidate.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(3000, 2))
    >>> found = prdc(x[:2000], x[2000:] / 2, rng=0)
    >>> found.precision.value > 0.99, found.recall.value < found.recall.floor
    (True, True)
    >>> 0.95 < found.truth[3] < 0.99
    True
    """
    random = np.random.default_rng(as_seed(rng))
    design = as_design(weights, len(reference), len(candidate))
    rows = _three_samples(design, max_events, random)
    n = min(len(r) for r in rows)
    if n < _MIN_EVENTS * k:
        raise ValueError(
            f"{n} events in a half of the reference or in the candidate, with weights as many as "
            f"are left of them; balls to neighbor {k} need {_MIN_EVENTS * k}"
        )
    half, truth, judged = (r[:n] for r in rows)
    x, pooled = reference[half], np.concatenate((candidate[judged], reference[truth]))
    values, of_truth = _scores(x, pooled[:n], k), _scores(x, pooled[n:], k)
    units = _units(design, judged, truth)
    drawn = _relabeled(x, pooled, units, k, n_permutations, random)
    note = f"{n:,} events per sample, k = {k}"
    precision, recall, density, coverage = (
        _estimate(value, true, column, note)
        for value, true, column in zip(values, of_truth, drawn.T, strict=True)
    )
    return PRDC(precision, recall, density, coverage, of_truth)


def _scores(x: np.ndarray, y: np.ndarray, k: int) -> Scores:
    """Precision, recall, density and coverage of y with x as the reference."""
    balls, at, _ = pairs_in_balls(x, nearest(x, k=k)[0][:, -1], y)
    recalled = pairs_in_balls(y, nearest(y, k=k)[0][:, -1], x)[1]
    n = len(x)
    return (
        len(np.unique(at)) / n,
        len(np.unique(recalled)) / n,
        len(at) / (k * n),
        len(np.unique(balls)) / n,
    )


def _relabeled(
    x: np.ndarray,
    pooled: np.ndarray,
    units: np.ndarray,
    k: int,
    n_draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Candidate minus truth in each score, observed and with labels exchanged, (1 + n_draws, 4).

    The neighbors of all pooled events are searched once; those with one label, for any exchange
    of labels, are among them.
    """
    n = len(x)
    to_x = pairs_in_balls(x, nearest(x, k=k)[0][:, -1], pooled)[:2]
    lengths, index = nearest(pooled, k=min(_AT_HAND * k, 2 * n - 1))
    of_pooled = pairs_in_balls(pooled, lengths[:, -1], x)
    labels = np.arange(2 * n) < n
    n_units = int(units.max()) + 1
    of_unit = np.bincount(units, labels) > 0
    drawn = np.empty((n_draws + 1, 4))
    for row in drawn:
        ours, theirs = (
            np.array(_labeled(side, to_x, of_pooled, lengths, index, n, k))
            for side in (labels, ~labels)
        )
        row[:] = ours - theirs
        labels = of_unit[rng.permutation(n_units)][units]
    return drawn


def _labeled(
    chosen: np.ndarray,
    to_x: tuple[np.ndarray, np.ndarray],
    of_pooled: tuple[np.ndarray, np.ndarray, np.ndarray],
    lengths: np.ndarray,
    index: np.ndarray,
    n: int,
    k: int,
) -> Scores:
    """Scores of the chosen ones of the pooled events."""
    n_chosen = max(int(chosen.sum()), 1)
    in_ball = chosen[to_x[1]]
    balls, at = to_x[0][in_ball], to_x[1][in_ball]
    rows = np.flatnonzero(chosen)
    kth = (np.cumsum(chosen[index[rows]], axis=1, dtype=np.int16) >= k).argmax(axis=1)
    radii = np.zeros(len(chosen))
    radii[rows] = lengths[rows, np.where(kth > 0, kth, -1)] if k > 1 else lengths[rows, kth]
    recalled = of_pooled[1][of_pooled[2] <= radii[of_pooled[0]] * (1 + 1e-6)]
    return (
        _n_distinct(at, len(chosen)) / n_chosen,
        _n_distinct(recalled, n) / n,
        len(at) / (k * n_chosen),
        _n_distinct(balls, n) / n,
    )


def _n_distinct(rows: np.ndarray, n: int) -> int:
    seen = np.zeros(n, dtype=bool)
    seen[rows] = True
    return int(seen.sum())


def _estimate(value: float, truth: float, drawn: np.ndarray, note: str) -> Estimate:
    """A score with the errors that the exchange of labels tells."""
    spread = float(drawn[1:].std())
    return Estimate(
        value=value,
        std_error=spread / math.sqrt(2),
        floor=truth - 1.645 * spread,
        p_value=float(p_values(np.abs(drawn))),
        note=f"truth against itself {truth:.4f}; {note}",
    )


def _units(design: Design, judged: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Numbers of the pooled events; those of a block share one."""
    ours, theirs = (
        np.arange(len(rows)) if blocks is None else np.unique(blocks[rows], return_inverse=True)[1]
        for rows, blocks in zip((judged, truth), reversed(design.blocks), strict=True)
    )
    return np.concatenate((ours, theirs + ours.max() + 1))


def _three_samples(design: Design, max_events: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of either half of the reference and of the candidate, blocks in one piece."""
    ours, theirs = (
        _shuffled(_unweighted(w, rng), blocks, rng)
        for w, blocks in zip((design.a, design.b), design.blocks, strict=True)
    )
    middle = len(ours) // 2
    if design.blocks[0] is not None:
        starts = np.flatnonzero(np.diff(design.blocks[0][ours])) + 1
        middle = int(starts[np.abs(starts - middle).argmin()]) if len(starts) else 0
    return [rows[:max_events] for rows in (ours[:middle], ours[middle:], theirs)]


def _shuffled(rows: np.ndarray, blocks: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Rows in random order; those of a block stay together."""
    if blocks is None:
        return rng.permutation(rows)
    order = rng.permutation(int(blocks.max()) + 1)[blocks[rows]]
    return rows[np.argsort(order, kind="stable")]


def _unweighted(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows kept with probability w / max w: events of the weighted law, without weights."""
    if weights.min() < 0:
        raise ValueError(
            f"{(weights < 0).sum()} of {len(weights)} event weights are negative; such events "
            "cannot be unweighted, and neighbors have no weights"
        )
    return np.flatnonzero(rng.random(len(weights)) * weights.max() <= weights * (1 + 1e-12))

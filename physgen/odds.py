"""Calibrated odds of two samples, from classifiers that have not seen the events they judge."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from physgen.metrics.classifier import Fit, Score, platt, trees
from physgen.metrics.resampling import is_unweighted

__all__ = ["Odds", "Signs", "careful_trees", "folds_of"]

_MIN_NEGATIVE = 100


@dataclass(frozen=True)
class Odds:
    """Logarithm of the ratio of the densities of two samples.

    Attributes
    ----------
    held_out : array of shape (n + m,)
        At the events of the first sample, then of the second, each by the classifier whose fold
        it was in.
    """

    held_out: np.ndarray
    _scores: tuple[Score, ...]
    _lines: tuple[tuple[float, float], ...]

    @classmethod
    def fit(
        cls,
        samples: tuple[np.ndarray, np.ndarray],
        weights: tuple[np.ndarray, np.ndarray],
        folds: tuple[np.ndarray, np.ndarray],
        fit: Fit,
        seed: int,
    ) -> Odds:
        """Train one classifier per fold on the others, and calibrate it there.

        Parameters
        ----------
        samples : pair of array of shape (n, k) and (m, k)
        weights : pair of array
            Not negative, each with the sum 1: the samples count alike, however long they are.
        folds : pair of array of int
            Fold of every event, from 0.
        fit : callable
        seed : int
        """
        events, fold, weight = (np.concatenate(pair) for pair in (samples, folds, weights))
        labels = np.repeat([0, 1], [len(x) for x in samples])
        given = None
        if not is_unweighted(*weights):  # trees are several times slower with weights
            given = np.concatenate([w * len(w) for w in weights])
        rng = np.random.default_rng(seed)
        raw = np.empty(len(events))
        scores = []
        n_folds = int(fold.max()) + 1
        for k in range(n_folds):
            seen = fold != k
            part = None if given is None else given[seen]
            score = fit(events[seen], labels[seen], part, seed=int(rng.integers(2**31)))
            raw[~seen] = score(events[~seen])
            scores.append(score)
        lines = tuple(
            platt(raw[fold != k], labels[fold != k], weight[fold != k]) for k in range(n_folds)
        )
        slope, shift = np.array(lines)[fold].T
        return cls(-(slope * raw + shift), tuple(scores), lines)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Mean over the classifiers at events (n_events, k) that none of them has seen."""
        parts = [
            -(slope * score(x) + shift)
            for score, (slope, shift) in zip(self._scores, self._lines, strict=True)
        ]
        return np.mean(parts, axis=0)


@dataclass(frozen=True)
class Signs:
    r"""What negative weights take away, from the truth alone.

    With the densities :math:`p_\pm` of events of either sign, times their share of the weights,
    it is :math:`\ln (p_+ - p_-)/(p_+ + p_-)` less that of the whole sample.
    """

    odds: Odds | None
    log_shares: float  # of all positive weights over all negative ones

    @classmethod
    def fit(cls, x: np.ndarray, a: np.ndarray, fold: np.ndarray, fit: Fit, seed: int) -> Signs:
        """Train between the events (n, k) of positive and of negative weight a.

        With fewer than 100 negative ones nothing is taken away anywhere.
        """
        above, below = a >= 0, a < 0
        if below.sum() < _MIN_NEGATIVE:  # too few to tell where they are
            return cls(None, math.inf)
        parts = (a[above], -a[below])
        odds = Odds.fit(
            (x[above], x[below]),
            (parts[0] / parts[0].sum(), parts[1] / parts[1].sum()),
            (fold[above], fold[below]),
            fit,
            seed,
        )
        return cls(odds, math.log(parts[0].sum() / parts[1].sum()))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """At events (n_events, k) of the other sample; 0 if no weight is negative."""
        if self.odds is None:
            return np.zeros(len(x))
        # a density that comes out negative is left to the limit of r
        share = np.tanh((self.odds(x) + self.log_shares) / 2)
        return np.log(np.maximum(share, 1e-30) / math.tanh(self.log_shares / 2))


def careful_trees(
    x: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, *, seed: int
) -> Score:
    """Boosted trees that learn slowly and stop early, so that their odds mean what they say.

    scikit-learn's ``HistGradientBoostingClassifier`` with 8 leaves and rate 0.05.
    """
    return trees(
        x, labels, weights, seed,
        learning_rate=0.05, max_leaf_nodes=8, max_iter=1000, l2_regularization=1.0,
        early_stopping=True, n_iter_no_change=15,
    )  # fmt: skip


def folds_of(
    n: int, m: int, n_folds: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Fold of every event of two samples; of equal length, they share it row by row.

    Events made at the conditions of the truth have a twin there, which must not tell of them.
    """
    first = rng.permutation(n) % n_folds
    return first, first if n == m else rng.permutation(m) % n_folds

"""Classifier two-sample test: whether gradient-boosted trees tell the samples apart."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np

from physgen.estimates import Estimate
from physgen.metrics.resampling import effective_size, half_scale, is_unweighted, normalize_weights
from physgen.random import Rng, as_seed

__all__ = ["auc", "auc_errors", "classifier_auc"]


def classifier_auc(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    weights: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    n_folds: int = 3,
    max_events: int = 20_000,
    rng: Rng,
) -> Estimate:
    r"""Area under the ROC curve of a classifier between the samples, on held-out events.

    scikit-learn's ``HistGradientBoostingClassifier`` with its default settings is trained on
    all folds but one and scores that one; the value is the mean AUC over the folds. 0.5 means
    that it found no difference. For two Gaussians a shift of delta sigma has
    :math:`{\rm AUC} = \Phi(\delta/\sqrt2)`.

    Folds share training events, so their AUC values are not independent and the naive error of
    their mean is too small for a test. Each fold alone is a valid test, and the p-value is the
    smallest of them times the number of folds.

    Samples of equal length share subset and folds row by row. So two samples made at the same
    conditions may be compared: an event's twin is never among those that the trees have seen
    with the other label.

    Parameters
    ----------
    reference, candidate : array of shape (n, d) and (m, d)
        Features, any scale.
    weights : pair of array or None
        Event weights. The trees learn with their absolute values, the AUC counts their signs.
    n_folds : int, default 3
        Folds.
    max_events : int, default 20000
        Events used per side; a random subset where there are more, told in the note.
    rng : int or torch.Generator
        Source of the folds and of the trees.

    Returns
    -------
    Estimate
        AUC in [0, 1]; the floor is the AUC between two halves of the reference plus 1.64 of its
        standard errors, its distance from 0.5 scaled to the sizes of the samples.
    """
    random = np.random.default_rng(as_seed(rng))
    chosen = random.permutation(len(reference))[:max_events]
    x, a = _subset(reference, weights[0], chosen)
    if len(candidate) != len(reference):
        chosen = random.permutation(len(candidate))[:max_events]
    # else the same rows: events with one and the same conditions stay at one place
    y, b = _subset(candidate, weights[1], chosen)
    value, error, p_value = _cross_validated(x, y, a, b, n_folds, random)
    half = len(x) // 2
    floor, floor_error, _ = _cross_validated(
        x[:half], x[half:], a[:half] / a[:half].sum(), a[half:] / a[half:].sum(), n_folds, random
    )
    scale = math.sqrt(half_scale(effective_size(a), effective_size(b)))
    return Estimate(
        value=value,
        std_error=error,
        floor=0.5 + scale * (floor - 0.5 + NormalDist().inv_cdf(0.95) * floor_error),
        p_value=p_value,
        note=f"gradient-boosted trees, {n_folds} folds, {len(x):,} against {len(y):,} events",
    )


def auc(scores: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    r"""Weighted area under the ROC curve, :math:`P(s_y > s_x) + \tfrac12 P(s_y = s_x)`.

    Parameters
    ----------
    scores : array of shape (n + m,)
        Scores of the reference, then of the candidate; large means candidate.
    a, b : array of shape (n,) and (m,)
        Normalized weights.
    """
    return float(b @ _mid_cdf(scores, np.concatenate((a, np.zeros_like(b))))[len(a) :])


def auc_errors(scores: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Standard errors of the AUC: as measured (DeLong 1988), and if both laws were one.

    Parameters are those of :func:`auc`. Without weights and ties the second is that of the
    Mann-Whitney test.
    """
    n = len(a)
    from_a = _mid_cdf(scores, np.concatenate((a, np.zeros_like(b))))[n:]
    from_b = 1 - _mid_cdf(scores, np.concatenate((np.zeros_like(a), b)))[:n]
    measured = _spread(from_b, a) + _spread(from_a, b)
    return math.sqrt(measured), math.sqrt(_null_variance(scores, a, b))


def _null_variance(scores: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    n_a, n_b = effective_size(a), effective_size(b)
    total = n_a + n_b
    shares = np.concatenate((n_a * a, n_b * b)) / total
    pooled = _mid_cdf(scores, shares)
    # around the mean of both: around that of each sample a difference would narrow the null
    square = np.square(pooled - shares @ pooled)
    if is_unweighted(a, b):
        spread = (a @ a + b @ b) * square.mean()
    else:  # weights may depend on the scores
        spread = np.square(np.concatenate((a, b))) @ square
    return float(spread) * total / max(total - 1, 1)


def _cross_validated(
    x: np.ndarray,
    y: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    n_folds: int,
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    """Mean AUC over the folds, its standard error, and a p-value valid for dependent folds."""
    folds = [np.array_split(rng.permutation(len(x)), n_folds)] * 2
    if len(y) != len(x):
        folds[1] = np.array_split(rng.permutation(len(y)), n_folds)
    values, variances, p_values = [], [], []
    for test_x, test_y in zip(*folds, strict=True):
        train_x = np.setdiff1d(np.arange(len(x)), test_x)
        train_y = np.setdiff1d(np.arange(len(y)), test_y)
        model = _fitted(x[train_x], y[train_y], a[train_x], b[train_y], rng)
        scores = model.decision_function(np.concatenate((x[test_x], y[test_y])))
        held_a, held_b = a[test_x] / a[test_x].sum(), b[test_y] / b[test_y].sum()
        value = auc(scores, held_a, held_b)
        measured, null = auc_errors(scores, held_a, held_b)
        values.append(value)
        variances.append(max(measured, null) ** 2)
        # where all scores are equal, both are rounding
        z = (value - 0.5) / null if null > 1e-9 else 0.0
        p_values.append(NormalDist().cdf(-z))
    error = math.sqrt(np.sum(variances)) / n_folds
    return float(np.mean(values)), error, min(1.0, n_folds * min(p_values))


def _fitted(
    x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray, rng: np.random.Generator
) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    labels = np.repeat([0, 1], [len(x), len(y)])
    weights = None
    if not is_unweighted(a, b):  # scikit-learn is several times slower with weights
        weights = np.concatenate((np.abs(a) / np.abs(a).mean(), np.abs(b) / np.abs(b).mean()))
    model = HistGradientBoostingClassifier(random_state=int(rng.integers(2**31)))
    # on a busy machine the threads of the trees spend most of their time waiting for each other
    with threadpool_limits(1, user_api="openmp"):
        return model.fit(np.concatenate((x, y)), labels, sample_weight=weights)


def _mid_cdf(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Distribution function of the weighted scores at each score, ties counted by half."""
    _, index = np.unique(scores, return_inverse=True)
    mass = np.bincount(index, weights)
    return (np.cumsum(mass) - mass / 2)[index]


def _spread(values: np.ndarray, weights: np.ndarray) -> float:
    """Variance of a weighted mean."""
    return float(np.square(weights * (values - weights @ values)).sum())


def _subset(
    z: np.ndarray, weights: np.ndarray | None, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    a = normalize_weights(weights, len(z))
    return z[chosen], a[chosen] / a[chosen].sum()

"""Classifier two-sample test: whether a classifier tells the samples apart, and where."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from physgen.estimates import Estimate
from physgen.metrics.resampling import Design, Pair, as_design, is_unweighted
from physgen.random import Rng, as_seed

__all__ = [
    "ClassifierTest",
    "Fit",
    "auc",
    "auc_errors",
    "boosted_trees",
    "classifier_auc",
    "classifier_test",
    "platt",
    "trees",
]

Score = Callable[[np.ndarray], np.ndarray]
"""Logit of "this event is a candidate event", shape (n,), of features of shape (n, ...)."""

Fit = Callable[..., Score]
"""``fit(x, labels, weights, *, seed) -> Score``; labels 0 and 1, weights positive or None."""


@dataclass(frozen=True)
class ClassifierTest:
    """What a classifier found on held-out events.

    Attributes
    ----------
    auc : Estimate
        Area under the ROC curve; 0.5 means that nothing was found.
    js : Estimate
        Lower bound on the JS divergence in bits: as much as the classifier proves.
    rows : pair of array of int
        Events used of reference and candidate.
    log_weights : pair of array
        ln p_reference / p_candidate at these events, calibrated; large means that there are too
        few candidate events at this place.
    roc : pair of array
        Share of reference events and of candidate events above each threshold, from 0 to 1.
    """

    auc: Estimate
    js: Estimate
    rows: tuple[np.ndarray, np.ndarray]
    log_weights: tuple[np.ndarray, np.ndarray]
    roc: tuple[np.ndarray, np.ndarray]


def boosted_trees(
    x: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, *, seed: int
) -> Score:
    """Fit scikit-learn's ``HistGradientBoostingClassifier`` with its default settings."""
    return trees(x, labels, weights, seed)


def trees(
    x: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, seed: int, **settings: Any
) -> Score:
    """Fit ``HistGradientBoostingClassifier(**settings)`` on one thread."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    model = HistGradientBoostingClassifier(random_state=seed, **settings)
    # on a busy machine the threads of the trees spend most of their time waiting for each other
    with threadpool_limits(1, user_api="openmp"):
        model.fit(x, labels, sample_weight=weights)
    return lambda events: np.asarray(model.decision_function(events))


def classifier_auc(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    weights: Pair | Design = (None, None),
    n_folds: int = 3,
    max_events: int = 20_000,
    rng: Rng,
) -> Estimate:
    """AUC of :func:`classifier_test`, whose parameters these are."""
    return classifier_test(
        reference, candidate, weights=weights, n_folds=n_folds, max_events=max_events, rng=rng
    ).auc


def classifier_test(
    reference: np.ndarray,
    candidate: np.ndarray,
    *,
    weights: Pair | Design = (None, None),
    fit: Fit = boosted_trees,
    n_folds: int = 3,
    max_events: int = 20_000,
    refit_floor: bool = True,
    rng: Rng,
) -> ClassifierTest:
    r"""Train a classifier between the samples, and judge it on held-out events.

    A classifier is trained on all folds but one and scores that one; the AUC is the mean over
    the folds. For two Gaussians a shift of delta sigma has
    :math:`{\rm AUC} = \Phi(\delta/\sqrt2)`. Under the null the held-out labels are exchangeable,
    so the AUC of a fold, which is linear in them, has the law of a Mann-Whitney statistic; with
    weights or chains its variance is that of the multiplier draws. Folds share training events,
    so their AUC values are not independent, and the p-value is the smallest of the folds times
    their number. Events of one block of a chain are in one fold.

    The optimal classifier D has :math:`L(G, D^*) = 2\,{\rm JS} - 2\ln 2` (Goodfellow et al.,
    arXiv:1406.2661), and any other proves less:
    :math:`{\rm JS} \ge 1 - {\rm BCE}/\ln 2` bits on held-out events. Logits that promise too much
    would spoil this bound, so in each held-out half they are calibrated (Platt) on the other.

    Samples of equal length share subset and folds row by row. So two samples made at the same
    conditions may be compared: an event's twin is never among those that the classifier has seen
    with the other label.

    Parameters
    ----------
    reference, candidate : array of shape (n, ...) and (m, ...)
        Features, any scale.
    weights : pair of (array or None), or Design
        Event weights. The classifier learns with their absolute values, the AUC counts their
        signs.
    fit : callable, default :func:`boosted_trees`
        How to train; see :data:`Fit`.
    n_folds : int, default 3
        Folds.
    max_events : int, default 20000
        Events used per side; a random subset where there are more, told in the note.
    refit_floor : bool, default True
        Train between two halves of the reference too, and take their AUC for the floor: plus 1.64
        of its standard errors, its distance from 0.5 scaled to the sizes of the samples. Otherwise
        the floor is 0.5 plus 1.64 standard errors of the null.
    rng : int or torch.Generator
        Source of the folds and of the classifier.

    Returns
    -------
    ClassifierTest

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(2, 500, 1))
    >>> found = classifier_test(x[0], x[1] + 1, rng=0)
    >>> 0.7 < found.auc.value < 0.8, found.js.value > 3 * found.js.std_error
    (True, True)
    """
    random = np.random.default_rng(as_seed(rng))
    design = as_design(weights, len(reference), len(candidate))
    rows = _subset(design, max_events, random)
    x, y, used = reference[rows[0]], candidate[rows[1]], design.restricted(*rows)
    scores = _cross_validated(x, y, used, fit, n_folds, random)
    value, error, p_value = _auc_of_folds(scores, used)
    above = _above_half(x, used, fit, n_folds, random) if refit_floor else 1.645 * error
    log_odds = _calibrated(scores, used, random)
    n = len(x)
    return ClassifierTest(
        auc=Estimate(
            value=value,
            std_error=error,
            floor=0.5 + above,
            p_value=p_value,
            note=f"{n_folds} folds, {n:,} against {len(y):,} events",
        ),
        js=_js_bound(log_odds, used),
        rows=rows,
        log_weights=(-log_odds[:n], -log_odds[n:]),
        roc=_roc(scores, used),
    )


@dataclass(frozen=True)
class _Scores:
    """Held-out logits of all events, reference first, and the fold that each event was in."""

    logits: np.ndarray
    fold: np.ndarray
    n_folds: int


def _above_half(
    x: np.ndarray, design: Design, fit: Fit, n_folds: int, rng: np.random.Generator
) -> float:
    """How far above 0.5 the AUC between samples of the truth of these sizes may be."""
    halves, half_design = _halves(x, design)
    found = _cross_validated(*halves, half_design, fit, n_folds, rng)
    floor, error, _ = _auc_of_folds(found, half_design)
    return math.sqrt(design.half_scale) * (floor - 0.5 + NormalDist().inv_cdf(0.95) * error)


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


def auc_errors(scores: np.ndarray, design: Design) -> tuple[float, float]:
    """Standard errors of the AUC: as measured (DeLong 1988), and if both laws were one.

    Parameters are scores of the pooled events and how they were drawn. Without weights and ties
    the second is that of the Mann-Whitney test.
    """
    a, b = design.a, design.b
    n = len(a)
    from_a = _mid_cdf(scores, np.concatenate((a, np.zeros_like(b))))[n:]
    from_b = _mid_cdf(scores, np.concatenate((np.zeros_like(a), b)))[:n]
    measured = design.std_error(np.concatenate((from_b, from_a)))
    pooled = _mid_cdf(scores, np.concatenate((design.share * a, (1 - design.share) * b)))
    return measured, design.null_error(pooled)


def _cross_validated(
    x: np.ndarray,
    y: np.ndarray,
    design: Design,
    fit: Fit,
    n_folds: int,
    rng: np.random.Generator,
) -> _Scores:
    n = len(x)
    events = np.concatenate((x, y))
    labels = np.repeat([0, 1], [n, len(y)])
    fold = np.concatenate(_folds(design, n_folds, rng))
    weights = None
    if not is_unweighted(design.a, design.b):  # trees are several times slower with weights
        weights = np.abs(np.concatenate((design.a * n, design.b * len(y))))
    logits = np.empty(len(events))
    for k in range(n_folds):
        held, seen = fold == k, fold != k
        given = None if weights is None else weights[seen]
        score = fit(events[seen], labels[seen], given, seed=int(rng.integers(2**31)))
        logits[held] = score(events[held])
    return _Scores(logits, fold, n_folds)


def _folds(design: Design, n_folds: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Fold of every event of either sample; whole blocks, and twins in the same fold."""
    folds: list[np.ndarray] = []
    for w, blocks in zip((design.a, design.b), design.blocks, strict=True):
        if blocks is None and folds and design.blocks[0] is None and len(folds[0]) == len(w):
            folds.append(folds[0])
            continue
        n_groups = len(w) if blocks is None else int(blocks.max()) + 1
        of_group = rng.permutation(n_groups) % n_folds
        folds.append(of_group if blocks is None else of_group[blocks])
    return folds


def _auc_of_folds(scores: _Scores, design: Design) -> tuple[float, float, float]:
    """Mean AUC over the folds, its standard error, and a p-value valid for dependent folds."""
    values, variances, p_values = [], [], []
    n = len(design.a)
    for k in range(scores.n_folds):
        held = scores.fold == k
        part = design.restricted(np.flatnonzero(held[:n]), np.flatnonzero(held[n:]))
        logits = scores.logits[held]
        value = auc(logits, part.a, part.b)
        measured, null = auc_errors(logits, part)
        values.append(value)
        variances.append(max(measured, null) ** 2)
        # where all scores are equal, both are rounding
        z = (value - 0.5) / null if null > 1e-9 else 0.0
        p_values.append(NormalDist().cdf(-z))
    error = math.sqrt(np.sum(variances)) / scores.n_folds
    return float(np.mean(values)), error, min(1.0, scores.n_folds * min(p_values))


def _calibrated(scores: _Scores, design: Design, rng: np.random.Generator) -> np.ndarray:
    """Log-odds of "candidate" at equal shares, each half of a fold calibrated on the other."""
    labels = np.repeat([0.0, 1.0], [len(design.a), len(design.b)])
    weights = np.abs(np.concatenate((design.a, design.b)))
    half = np.concatenate(_folds(design, 2, rng))
    log_odds = np.empty(len(labels))
    for k in range(scores.n_folds):
        for side in (0, 1):
            to = (scores.fold == k) & (half == side)
            of = (scores.fold == k) & (half != side)
            slope, shift = platt(scores.logits[of], labels[of], weights[of])
            log_odds[to] = slope * scores.logits[to] + shift
    return log_odds


def platt(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Slope and shift of a logistic regression in one number, by Newton's method.

    A slope below 0 would turn the classifier round; then 0 says that it found nothing.
    """
    theta = np.array([1.0, 0.0])
    w = weights / weights.sum()
    # a weak pull to slope 1 keeps separable samples finite
    design, ridge = np.stack((logits, np.ones_like(logits)), axis=1), np.array([1e-6, 0.0])
    for _ in range(50):
        p = 0.5 + 0.5 * np.tanh(0.5 * design @ theta)
        slope = design.T @ (w * (p - labels)) + ridge * (theta - [1.0, 0.0])
        curvature = (design.T * (w * p * (1 - p))) @ design + np.diag(ridge) + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        theta -= step / max(1.0, float(np.abs(step).max()) / 2)
        if np.abs(step).max() < 1e-8:
            break
    return (float(theta[0]), float(theta[1])) if theta[0] > 0 else (0.0, 0.0)


def _js_bound(log_odds: np.ndarray, design: Design) -> Estimate:
    n = len(design.a)
    # log2 of twice the probability that the classifier gives to the right answer
    signs = np.where(np.arange(len(log_odds)) < n, 1, -1)
    gain = 1 - np.logaddexp(0, signs * log_odds) / math.log(2)
    value = 0.5 * (design.a @ gain[:n] + design.b @ gain[n:])
    return Estimate(
        value=float(value),
        std_error=0.5 * design.std_error(gain),
        note="at least; held-out events, calibrated",
    )


def _roc(scores: _Scores, design: Design) -> tuple[np.ndarray, np.ndarray]:
    """ROC curve at 200 thresholds; folds share a scale by their ranks."""
    n = len(design.a)
    ranks = np.empty(len(scores.logits))
    for k in range(scores.n_folds):
        held = scores.fold == k
        ranks[held] = _mid_cdf(scores.logits[held], np.full(held.sum(), 1 / held.sum()))
    thresholds = np.linspace(1, 0, 201)
    ours, theirs = (
        np.array([w[r > t].sum() for t in thresholds])
        for w, r in ((design.a, ranks[:n]), (design.b, ranks[n:]))
    )
    return ours, theirs


def _mid_cdf(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Distribution function of the weighted scores at each score, ties counted by half."""
    _, index = np.unique(scores, return_inverse=True)
    mass = np.bincount(index, weights)
    return (np.cumsum(mass) - mass / 2)[index]


def _subset(
    design: Design, max_events: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of either sample; the same ones where both are equally long."""
    n, m = len(design.a), len(design.b)
    ours = rng.permutation(n)[:max_events]
    return ours, ours if n == m else rng.permutation(m)[:max_events]


def _halves(x: np.ndarray, design: Design) -> tuple[tuple[np.ndarray, np.ndarray], Design]:
    """Two disjoint halves of the reference, blocks kept together, and how they were drawn."""
    n = len(x)
    blocks = design.blocks[0]
    first = np.arange(n) < n // 2
    if blocks is not None:
        first = blocks % 2 == 0
    ours, theirs = np.flatnonzero(first), np.flatnonzero(~first)
    half = Design.of(
        len(ours),
        len(theirs),
        weights=(design.a[ours], design.a[theirs]),
        blocks=(None, None) if blocks is None else (blocks[ours], blocks[theirs]),
        tau=(design.tau[0], design.tau[0]),
    )
    return (x[ours], x[theirs]), half

r"""Copies of training events: equal ones, nearly equal ones, and a candidate that is too near.

A candidate that repeats its training data passes every comparison with that data. What gives it
away is the distance to the nearest training event, to be compared with that of test events, which
no training has seen (the three-sample test of Meehan, Chaudhuri and Dasgupta, arXiv:2004.05675).
A candidate may be wrong without copying: one that has collapsed to the densest region lies nearer
to the training events than the test events do. Near copies are therefore told by

.. math:: r(x) = d_1(x) / d_5(x),

distances to the nearest and fifth nearest training event. Locally the law of r depends neither on
the density nor on its scale, and a copy has r near 0.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from physgen.estimates import Estimate, p_words
from physgen.metrics.classifier import auc, auc_errors
from physgen.metrics.duplicates import row_keys
from physgen.metrics.neighbors import nearest
from physgen.metrics.resampling import Design, Pair, as_design
from physgen.random import Rng, as_seed

__all__ = ["Memorization", "memorization"]

_NEIGHBORS = 5
_TOLD = 0.01
_LEVELS = (0.01, 0.001)  # shares of test events that are called near; the first is reported


@dataclass(frozen=True)
class Memorization:
    """What was found of the training events in the candidate.

    Attributes
    ----------
    n_exact : int
        Candidate events that equal a training event in every column.
    n_expected : float
        Number expected, from the test events that do.
    p_exact : float
        Probability of so many if nothing was copied.
    near : Estimate
        Share of candidate events nearer to a training event, for their surroundings, than 99 %
        of the test events are.
    near_expected : float
        The same of the test events: 0.01, less where they tie.
    closeness : Estimate
        Probability that a candidate event is nearer to the training events than a test event;
        1/2 is expected. More says copying or a collapse to dense regions, less says events
        beside the data.
    z : float
        The same in standard errors with the sign of the literature: far below 0 is too near.
    exact_rows, near_rows : array of int
        Candidate rows of the copies, the nearest first among the near ones.
    """

    n_exact: int
    n_expected: float
    p_exact: float
    near: Estimate
    near_expected: float
    closeness: Estimate
    z: float
    exact_rows: np.ndarray
    near_rows: np.ndarray

    @property
    def p_value(self) -> float:
        """Of copies, equal or nearly: the smaller of two p-values, times two."""
        return min(1.0, 2 * min(self.p_exact, self.near.p_value))

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and dicts, for JSON."""
        return {
            "n_exact": self.n_exact,
            "n_expected": self.n_expected,
            "p_exact": self.p_exact,
            "near": self.near.to_dict(),
            "near_expected": self.near_expected,
            "closeness": self.closeness.to_dict(),
            "z": self.z,
            "p_value": self.p_value,
            "exact_rows": self.exact_rows.tolist(),
            "near_rows": self.near_rows.tolist(),
        }

    def __str__(self) -> str:
        return self.words

    @property
    def words(self) -> str:
        """One sentence: equal events, near ones, or both; that which is more than chance."""
        equal = (
            f"{self.n_exact:,} candidate events equal a training event "
            f"({self.n_expected:.3g} expected, {p_words(self.p_exact)})"
        )
        near = (
            f"{self.near.value:.2%} of the candidate events nearly equal a training event "
            f"({self.near_expected:.2%} expected, {p_words(self.near.p_value)})"
        )
        told = [w for w, p in ((equal, self.p_exact), (near, self.near.p_value)) if p < _TOLD]
        return "; ".join(told or [equal, near])


def memorization(
    candidate: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    *,
    weights: Pair | Design = (None, None),
    max_events: int = 20_000,
    rng: Rng,
) -> Memorization:
    r"""Look for training events in the candidate.

    *Equal events.* In continuous data, where no test event equals a training event, the number in
    the candidate is compared with that in the test sample (hypergeometric). Discrete data repeat
    by chance, the more the narrower a candidate is, so there the events themselves are compared:
    of the training and test events that occur once, as large a share of the training events as of
    the test events should be met by the candidate, whatever the law of the candidate. That is
    hypergeometric too, and sees no copies of events that occur twice.

    *Near copies.* Two p-values, of which the larger counts, each at 1 % and at 0.1 %, which sees
    rare copies, and corrected for the two. The first compares the share of the candidate with
    the quantile of r that 1 % of the test events stay below; the number of candidate events before
    the j-th of m test events is negative hypergeometric, which counts the noise of the quantile.
    The second takes the 1 % of the candidate events that are nearest to any event, training or
    test, for their surroundings: whatever the law of the candidate, they should prefer neither
    (hypergeometric). So a candidate that has collapsed is not called a copy, nor is one whose
    noisy copies are all of a few events.

    *Closeness.* Mann-Whitney of the distances to the training events, ties counted by half. This
    one does not tell copies from a collapse.

    Parameters
    ----------
    candidate, train, test : array of shape (n, d), (l, d) and (m, d)
        Features on comparable scales (each about unit spread); at least 20 events each. Training
        and test events must be drawn alike and apart: from different chains, not one cut in two.
    weights : pair of (array or None), or Design
        Of test and candidate events. With weights or blocks of chains the p-values come from
        normal errors of the shares, which count both; that of equal events in discrete data has
        no use for them.
    max_events : int, default 20000
        Test and candidate events whose neighbors are searched; a random subset where there are
        more, told in the note. Equal events are counted among all.
    rng : int or torch.Generator
        Source of the subset.

    Returns
    -------
    Memorization
        Numbers, p-values and rows of the copies.

    Raises
    ------
    ValueError
        For fewer than 20 events, unequal columns, or numbers that are NaN or infinite.

    Examples
    --------
    >>> train, test, fresh = np.random.default_rng(0).normal(size=(3, 2000, 3))
    >>> fresh[:40] = train[:40]
    >>> found = memorization(fresh, train, test, rng=0)
    >>> print(found)  # doctest: +NORMALIZE_WHITESPACE
    40 candidate events equal a training event (0 expected, p < 0.0001); 3.20% of the candidate
    events nearly equal a training event (1.00% expected, p < 0.0001)
    >>> found.exact_rows.tolist() == list(range(40))
    True
    """
    candidate, train, test = _checked(candidate, train, test)
    design = as_design(weights, len(test), len(candidate))
    exact = _equal_events(candidate, train, test, design)
    random = np.random.default_rng(as_seed(rng))
    ours, theirs = (np.sort(random.permutation(len(z))[:max_events]) for z in (test, candidate))
    part = design.restricted(ours, theirs)
    note = f"{len(theirs):,} candidate and {len(ours):,} test events"
    of_test = nearest(test[ours], train, k=_NEIGHBORS)[0]
    to_train = nearest(candidate[theirs], train, k=_NEIGHBORS)
    to_test = nearest(candidate[theirs], test, k=_NEIGHBORS)
    near, expected, found = _near(_relative(of_test), _relative(to_train[0]), part, note)
    preference = _p_of_preference(to_train, to_test, len(train), len(test))
    closeness, z = _mann_whitney(of_test[:, 0], to_train[0][:, 0], part, note)
    return Memorization(
        n_exact=len(exact[0]),
        n_expected=exact[1],
        p_exact=exact[2],
        near=dataclasses.replace(near, p_value=max(near.p_value, preference)),
        near_expected=expected,
        closeness=closeness,
        z=z,
        exact_rows=exact[0],
        near_rows=theirs[found],
    )


def _checked(*samples: np.ndarray) -> list[np.ndarray]:
    flat = [np.asarray(z).reshape(len(z), -1) for z in samples]
    for name, z in zip(("candidate", "train", "test"), flat, strict=True):
        if len(z) < 20:
            raise ValueError(f"{name} has {len(z)} events; copies are judged from 20 on")
        if z.shape[1] != flat[0].shape[1]:
            raise ValueError(
                f"{name} has {z.shape[1]} columns, but the candidate has {flat[0].shape[1]}"
            )
        if not np.isfinite(z).all():
            bad = int((~np.isfinite(z).all(axis=1)).sum())
            raise ValueError(f"{bad} of {len(z)} {name} events hold NaN or inf; drop them first")
    return flat


def _equal_events(
    candidate: np.ndarray, train: np.ndarray, test: np.ndarray, design: Design
) -> tuple[np.ndarray, float, float]:
    """Rows of the equal events, number expected, and p-value."""
    keys, of_train, of_test = row_keys(candidate, train, test)
    equal, natural = np.isin(keys, of_train), np.isin(of_test, of_train)
    expected = len(keys) * float(design.a @ natural)
    if natural.any() or len(np.unique(of_train)) < len(of_train):
        p_value = _p_of_once_seen(keys, of_train, of_test)
    else:
        p_value = _p_of_share(natural, equal, design)
    return np.flatnonzero(equal), expected, p_value


def _p_of_once_seen(keys: np.ndarray, of_train: np.ndarray, of_test: np.ndarray) -> float:
    """Whether the candidate meets more training than test events, of those that occur once."""
    from scipy.stats import hypergeom

    pooled = np.concatenate((of_train, of_test))
    once, first, counts = np.unique(pooled, return_index=True, return_counts=True)
    once, from_train = once[counts == 1], first[counts == 1] < len(of_train)
    met = np.isin(once, keys)
    n_met = int((met & from_train).sum())
    return float(hypergeom.sf(n_met - 1, len(once), int(from_train.sum()), int(met.sum())))


def _p_of_share(ours: np.ndarray, theirs: np.ndarray, design: Design) -> float:
    """Probability of as many candidate events if theirs and the test events have one share."""
    from scipy.stats import hypergeom

    if design.is_exact:
        total, found = len(ours) + len(theirs), int(ours.sum() + theirs.sum())
        return float(hypergeom.sf(int(theirs.sum()) - 1, total, found, len(theirs)))
    excess = float(design.b @ theirs - design.a @ ours)
    return _upper_tail(excess, design.null_error(np.concatenate((ours, theirs)).astype(float)))


def _relative(distances: np.ndarray) -> np.ndarray:
    """Distance to the nearest neighbor over that to the last, 1 where all of them coincide."""
    first, last = distances[:, 0], distances[:, -1]
    # where many events coincide, being one more of them is no sign of a copy
    return np.divide(first, last, out=np.ones_like(first), where=last > 0)


def _near(
    ours: np.ndarray, theirs: np.ndarray, design: Design, note: str
) -> tuple[Estimate, float, np.ndarray]:
    """Share of candidate events below the quantile of the test events, expected, positions."""
    # of 0.1 % there are too few events for normal errors
    levels = _LEVELS if design.is_exact else _LEVELS[:1]
    quantiles = [_quantile(ours, level, design) for level in levels]
    p_value = len(levels) * min(_p_below(ours, theirs, *q, design) for q in quantiles)
    threshold = quantiles[0][0]
    below = theirs < threshold
    expected = float(design.a @ (ours < threshold))
    both = np.concatenate((ours < threshold, below)).astype(float)
    estimate = Estimate(
        value=float(design.b @ below),
        std_error=max(design.std_error(both), 1 / len(theirs)),
        floor=expected + 1.645 * design.null_error(both),
        p_value=min(1.0, p_value),
        note=note,
    )
    rows = np.flatnonzero(below)
    return estimate, expected, rows[np.argsort(theirs[rows], kind="stable")]


def _quantile(values: np.ndarray, level: float, design: Design) -> tuple[float, int]:
    """The first value above this share of the test events, and how many of them come before."""
    order = np.argsort(values, kind="stable")
    mass = np.cumsum(design.a[order])
    above = min(int(np.searchsorted(mass, level * (1 + 1e-9), side="right")), len(order) - 1)
    return float(values[order[above]]), above


def _p_below(
    ours: np.ndarray, theirs: np.ndarray, threshold: float, n_before: int, design: Design
) -> float:
    """Probability of as many candidate events below a quantile of the test events."""
    from scipy.stats import hypergeom

    below = theirs < threshold
    if design.is_exact:
        # of as many of the smallest values of both, so many or more are candidate events; ties
        # with the threshold count as if they came before, which is the safe side
        n, total = int(below.sum()), len(ours) + len(theirs)
        return float(hypergeom.sf(n - 1, total, len(theirs), n + n_before))
    indicators = np.concatenate((ours < threshold, below)).astype(float)
    excess = float(design.b @ below - design.a @ (ours < threshold))
    return _upper_tail(excess, design.null_error(indicators))


def _p_of_preference(
    to_train: tuple[np.ndarray, np.ndarray],
    to_test: tuple[np.ndarray, np.ndarray],
    n_train: int,
    n_test: int,
) -> float:
    """Whether the events that the candidate nearly meets are training rather than test events."""
    from scipy.stats import hypergeom

    distances = np.concatenate((to_train[0], to_test[0]), axis=1)
    index = np.concatenate((to_train[1], to_test[1] + n_train), axis=1)
    order = np.argsort(distances, axis=1, kind="stable")[:, :_NEIGHBORS]
    distances = np.take_along_axis(distances, order, 1)
    # where two are equally near, neither has been met
    single = distances[:, 0] < distances[:, 1] * (1 - 1e-9)
    ratio = (distances[:, 0] / np.where(single, distances[:, -1], 1))[single]
    met = index[np.arange(len(index)), order[:, 0]][single][np.argsort(ratio, kind="stable")]
    p_values = []
    for level in _LEVELS:
        rows = np.unique(met[: math.ceil(level * len(index))])
        n_met = int((rows < n_train).sum())
        p_values.append(hypergeom.sf(n_met - 1, n_train + n_test, n_train, len(rows)))
    return float(min(1.0, len(_LEVELS) * min(p_values)))


def _mann_whitney(
    ours: np.ndarray, theirs: np.ndarray, design: Design, note: str
) -> tuple[Estimate, float]:
    scores = -np.concatenate((ours, theirs))
    value = auc(scores, design.a, design.b)
    measured, null = auc_errors(scores, design)
    z = (value - 0.5) / null if null > 1e-9 else 0.0
    estimate = Estimate(value, max(measured, null), 0.5 + 1.645 * null, NormalDist().cdf(-z), note)
    return estimate, -z


def _upper_tail(excess: float, error: float) -> float:
    if error <= 1e-12:
        return 1.0 if excess <= 1e-12 else 0.0
    return NormalDist().cdf(-excess / error)

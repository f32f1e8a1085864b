"""Where a candidate fails: ranges of an observable, kinds of events, slices of the conditions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from physgen.metrics.classifier import ClassifierTest
from physgen.metrics.columns import Column, adjusted_p_values, score_columns
from physgen.metrics.resampling import Design, effective_size
from physgen.report.findings import Driver, Region, Slice
from physgen.summaries import Quantity

__all__ = ["compare_slices", "drivers", "worst_region"]

_N_BINS = 40
_MAX_VALUES = 200
_MAX_SHARE = 0.5  # a region of more than half of the events is no region
_SUREST = 0.02  # share of the events that a classifier is surest of
_N_DRIVERS = 3
_MIN_DRIVER_SHIFT = 0.2  # in spreads of the column
_MIN_IN_SLICE = 20


def worst_region(quantity: Quantity, design: Design) -> Region | None:
    """Range of an observable in which the shares of the samples differ most significantly.

    All ranges of 40 equal-probability bins are looked at; of at most 200 values, the values. None
    where no range differs.
    """
    pooled = np.concatenate((quantity.reference, quantity.candidate))
    edges = np.unique(pooled)[1:]
    if len(edges) >= _MAX_VALUES:
        edges = np.unique(np.quantile(pooled, np.arange(1, _N_BINS) / _N_BINS, method="higher"))
    index = np.searchsorted(edges, pooled, side="right")
    n = len(design.a)
    p = np.bincount(index[:n], design.a, len(edges) + 1)
    q = np.bincount(index[n:], design.b, len(edges) + 1)
    sums = [np.concatenate(([0.0], np.cumsum(s))) for s in (p, q)]
    start, stop = np.triu_indices(len(p) + 1, 1)
    ours, theirs = (s[stop] - s[start] for s in sums)
    share = design.share * ours + (1 - design.share) * theirs
    n_a, n_b = design.n_effective
    noise = np.sqrt(np.clip(share * (1 - share), 0, None) * (1 / n_a + 1 / n_b))
    pulls = np.divide(theirs - ours, noise, out=np.zeros_like(noise), where=noise > 1e-12)
    pulls[share > _MAX_SHARE] = 0.0
    worst = int(np.argmax(np.abs(pulls)))
    if pulls[worst] == 0:
        return None
    ends = np.concatenate(([-np.inf], edges, [np.inf]))
    return Region(
        low=float(ends[start[worst]]),
        high=float(ends[stop[worst]]),
        reference=float(ours[worst]),
        candidate=float(theirs[worst]),
        pull=float(pulls[worst]),
    )


def drivers(quantities: Sequence[Quantity], found: ClassifierTest) -> tuple[Driver, ...]:
    """Columns by which the events differ that the classifier is surest of, three per kind.

    The 2 % of the reference events with the largest calibrated weights p_reference / p_candidate
    are those that the candidate makes too seldom; the 2 % of the candidate events with the
    smallest, those that it should not make.
    """
    result = []
    for missing, rows, log_weights in (
        (True, found.rows[0], found.log_weights[0]),
        (False, found.rows[1], -found.log_weights[1]),
    ):
        n = max(10, round(_SUREST * len(rows)))
        surest = rows[np.argsort(-log_weights, kind="stable")[:n]]
        of_kind = [d for q in quantities if (d := _driver(q, surest, missing)) is not None]
        of_kind.sort(key=lambda d: -abs(d.shift))
        result += of_kind[:_N_DRIVERS]
    return tuple(result)


def _driver(quantity: Quantity, surest: np.ndarray, missing: bool) -> Driver | None:
    if quantity.is_angle or quantity.is_constant:
        return None
    pooled = np.concatenate((quantity.reference, quantity.candidate))
    low, high = np.quantile(pooled, [0.16, 0.84])
    spread = (high - low) / 2 or pooled.std()
    there = (quantity.reference if missing else quantity.candidate)[surest]
    # medians: one event in a far tail says nothing of the others
    value, everywhere = float(np.median(there)), float(np.median(pooled))
    shift = (value - everywhere) / spread
    if abs(shift) < _MIN_DRIVER_SHIFT:
        return None
    return Driver(quantity.label, missing, value, everywhere, float(shift))


def compare_slices(
    quantities: Sequence[Quantity],
    design: Design,
    slices: Sequence[tuple[str, np.ndarray, np.ndarray]],
    *,
    n_permutations: int,
    rng: np.random.Generator,
) -> tuple[Slice, ...]:
    """Compare the columns within every slice.

    Parameters
    ----------
    quantities : sequence of Quantity
        Columns, without the conditions.
    design : Design
        Of the whole samples.
    slices : sequence of (label, rows of the reference, rows of the candidate)
        Slices with fewer than 20 effective events on either side are left out.
    n_permutations : int
        Null draws per slice.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    tuple of Slice
        p-values are corrected for all columns and slices together (Westfall and Young).
    """
    kept = [
        s for s in slices
        if _is_filled(design.a[s[1]]) and _is_filled(design.b[s[2]])
    ]  # fmt: skip
    parts = []
    for _, ours, theirs in kept:
        columns = [
            Column(q.reference[ours], q.candidate[theirs], 2 * np.pi if q.is_angle else None)
            for q in quantities
        ]
        part = design.restricted(ours, theirs)
        parts.append(score_columns(columns, part, n_permutations=n_permutations, rng=rng))
    if not parts:
        return ()
    adjusted = adjusted_p_values(np.concatenate([scores for _, scores in parts], axis=1))
    found = []
    for (label, ours, theirs), (tests, _), p in zip(
        kept, parts, np.split(adjusted, len(parts)), strict=True
    ):
        worst = min(range(len(tests)), key=lambda k, p=p, tests=tests: (p[k], -tests[k].shift))  # type: ignore[misc]
        proven = [
            dataclasses.replace(t, p_adjusted=float(q)).proven(len(adjusted))
            for t, q in zip(tests, p, strict=True)
        ]
        found.append(
            Slice(
                label=label,
                n_events=(len(ours), len(theirs)),
                worst=quantities[worst].name,
                shift=tests[worst].shift,
                shift_lower=tests[worst].shift_lower,
                shift_upper=tests[worst].shift_upper,
                proven=max(proven),
                p_value=float(p.min()),
            )
        )
    return tuple(found)


def _is_filled(weights: np.ndarray) -> bool:
    return (
        len(weights) >= _MIN_IN_SLICE
        and weights.sum() > 0
        and effective_size(weights) >= _MIN_IN_SLICE
    )

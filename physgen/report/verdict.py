"""The verdict: one outcome and one sentence, from sizes, their limits and significance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from physgen.estimates import p_words
from physgen.metrics.columns import ONE_SIDED, quantile_of

if TYPE_CHECKING:
    from physgen.estimates import Estimate
    from physgen.report.report import Report, Row

__all__ = ["Limit", "decide", "limits"]


@dataclass(frozen=True)
class Limit:
    """One measure of difference against what is tolerated, all in units of the tolerance.

    Attributes
    ----------
    words : str
        Where it is, for the verdict.
    value, upper : float
        Measured, and its 95 % upper limit.
    proven : float
        What it exceeds with 95 % confidence, corrected for all measures of the report.
    row : Row or None
        The observable, if it is one.
    """

    words: str
    value: float
    proven: float
    upper: float
    row: Row | None = None


def decide(report: Report) -> tuple[str, str]:
    """Return outcome and sentence.

    To claim that *all* differences are within tolerance, each 95 % upper limit has to be; such a
    claim needs no correction for their number (intersection-union test, Berger, Technometrics 24
    (1982) 295). To claim that *some* difference is beyond does need one, and the lower limits
    have it. Between the two the events are too few. A difference that only MMD sees has no
    limit, and fails; so do copies.
    """
    measures = limits(report)
    beyond = [m for m in measures if m.proven > 1]
    if report.copied:
        besides = f"; besides, {_worst(beyond)}" if beyond and not report.n_leaked else ""
        return "fail", f"FAIL: {report.copied}{besides}."
    if beyond:
        return "fail", f"FAIL: {_worst(beyond)} ({_seen(report)})."
    within = max(m.upper for m in measures) <= 1
    if not report.difference_seen:
        return _passed(report) if within else _too_few(report, measures)
    if not within:
        return _undecided(report, measures)
    if not _located(report):
        return "fail", f"FAIL: {_only_mmd(report)} ({_seen(report)})."
    return "pass with difference", (
        f"PASS: a difference is seen with {_sizes(report)} ({p_words(report.p_value)}), but it "
        f"is within the tolerance; {_largest(report, measures)}."
    )


def limits(report: Report) -> list[Limit]:
    """Every measure of the report that has limits: columns, pairs, classifiers, slices."""
    tolerance = report.settings["tolerance"]
    return [
        *(_of_row(row, tolerance) for row in report.table),
        *_of_pairs(report, tolerance),
        *_of_classifiers(report),
        *_of_slices(report, tolerance),
    ]


def _of_row(row: Row, tolerance: float) -> Limit:
    return Limit(
        f"{row.name}, {_shift_words(row.shift, row.shift_upper)}",
        row.shift / tolerance,
        row.shift_proven / tolerance,
        row.shift_upper / tolerance,
        row,
    )


def _of_pairs(report: Report, tolerance: float) -> Iterator[Limit]:
    pairs = report.correlations
    if pairs:
        words = f"correlation of {pairs.worst}"
        yield Limit(
            words, pairs.size / tolerance, pairs.proven / tolerance, pairs.upper / tolerance
        )


def _of_classifiers(report: Report) -> Iterator[Limit]:
    room = report.settings["max_auc"] - 0.5
    found = {k: e for k, e in report.joint.items() if k.startswith("classifier AUC")}
    for name, auc in found.items():
        where = name.removeprefix("classifier AUC")
        certain = auc.value - quantile_of(len(found)) * auc.std_error
        upper = auc.value + ONE_SIDED * auc.std_error
        yield Limit(
            f"a classifier{where} tells the samples apart with AUC {auc.value:.3f}",
            (auc.value - 0.5) / room,
            (certain - 0.5) / room,
            (upper - 0.5) / room,
        )


def _of_slices(report: Report, tolerance: float) -> Iterator[Limit]:
    """Slices can fail a candidate; that each has events enough to pass it is not asked."""
    for part in report.slices:
        words = f"{part.worst} at {part.label}, {_shift_words(part.shift, part.shift_upper)}"
        yield Limit(words, part.shift / tolerance, part.proven / tolerance, 0.0)


def _passed(report: Report) -> tuple[str, str]:
    shift = max(row.shift_upper for row in report.table)
    return "pass", (
        f"PASS: no difference seen with {_sizes(report)}; shifts of a single column above "
        f"{shift:.2f} sigma are excluded at 95 %."
    )


def _too_few(report: Report, measures: list[Limit]) -> tuple[str, str]:
    # the limits fall about as n^-0.4: JS noise as sqrt(K)/n, K as n^0.4, shift as sqrt(JS)
    largest = max(m.upper for m in measures)
    shift, tolerance = max(r.shift_upper for r in report.table), report.settings["tolerance"]
    what = f"shifts up to {shift:.2f} sigma are possible, {tolerance:g} are tolerated"
    if shift <= tolerance:
        what = _doubtful(measures)
    needed = _needed_words(min(report.n_events) * largest**2.5)
    return "inconclusive", (
        f"INCONCLUSIVE: no difference seen, but {_sizes(report)} are too few to exclude one "
        f"beyond the tolerance ({what}); {needed} would do."
    )


def _doubtful(measures: list[Limit]) -> str:
    worst = max(measures, key=lambda m: m.upper)
    return f"{worst.words}: up to {worst.upper:.1f} times what is tolerated"


def _undecided(report: Report, measures: list[Limit]) -> tuple[str, str]:
    open_ones = [m for m in measures if m.upper > 1]
    worst = max(open_ones, key=lambda m: (m.value, m.upper))
    # errors fall as n^-1/2 at a given size; both limits have to come off the tolerance
    width = max(worst.upper - worst.value, worst.value - worst.proven, 1e-9)
    gap = abs(1 - worst.value)
    needed = min(report.n_events) * max(2.0, (width / max(gap, 1e-6)) ** 2)
    return "inconclusive", (
        f"INCONCLUSIVE: a difference is seen ({_seen(report)}; {worst.words}), but whether it "
        f"is beyond the tolerance cannot be said; {_needed_words(needed)} would tell."
    )


def _worst(beyond: list[Limit]) -> str:
    """The largest difference, where it is, and how many more are beyond the tolerance."""
    # what a column shows is told first: it is the easiest to look for
    first = max(beyond, key=lambda m: (m.row is not None, m.proven))
    row = first.row
    parts = [f"worst {first.words}" if row else first.words]
    if row and row.region:
        parts.append(row.region.words(row.unit))
    others = len(beyond) - 1
    if others:
        parts.append(f"{others} more {'is' if others == 1 else 'are'} beyond the tolerance")
    return "; ".join(parts)


def _largest(report: Report, measures: list[Limit]) -> str:
    row = min(report.table, key=lambda r: (r.p_value, -r.shift))
    if row.p_value < report.settings["alpha"]:
        return f"worst {row.name}, {_shift_words(row.shift, row.shift_upper)}"
    return max(measures, key=lambda m: m.value).words


def _located(report: Report) -> bool:
    """Whether a test with limits, not MMD alone, sees a difference."""
    alpha = report.settings["alpha"]
    tests: list[Row | Estimate] = [
        *report.table,
        *(e for name, e in report.joint.items() if not name.startswith("MMD")),
    ]
    return any(t.p_value < alpha for t in tests) or any(
        part.p_value < alpha for part in report.slices
    )


def _only_mmd(report: Report) -> str:
    mmd = {k: e for k, e in report.joint.items() if k.startswith("MMD")}
    name, found = min(mmd.items(), key=lambda item: item[1].p_value)
    return (
        f"all columns together differ ({name.replace('MMD²', 'MMD')} {p_words(found.p_value)}), "
        "by an amount that no single column, pair or classifier measures"
    )


def _seen(report: Report) -> str:
    return f"{p_words(report.p_value)} with {_sizes(report)}"


def _shift_words(shift: float, upper: float) -> str:
    if upper >= 8:
        return "as far off as a shift by many sigma"
    return f"as far off as a {shift:.2f}-sigma shift"


def _needed_words(needed: float) -> str:
    if not math.isfinite(needed) or needed > 1_000_000:
        return "more than a million events"
    return f"about {float(f'{needed:.2g}'):,.0f} events"


def _sizes(report: Report) -> str:
    n, m = report.n_events
    return f"{n:,} events" if n == m else f"{n:,} against {m:,} events"

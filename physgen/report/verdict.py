"""The verdict: one outcome and one sentence, from significance and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from physgen.estimates import Estimate, p_words
from physgen.metrics.columns import ONE_SIDED
from physgen.report.report import Correlations, Row

__all__ = ["decide"]


def decide(
    table: Sequence[Row],
    joint: Mapping[str, Estimate],
    correlations: Correlations | None,
    *,
    p_value: float,
    alpha: float,
    tolerance: float,
    max_auc: float,
    n_events: tuple[int, int],
) -> tuple[str, str]:
    """Return outcome and sentence.

    Each upper limit is a 95 % limit by itself. To claim that *all* differences are within
    tolerance, each has to be; such a claim needs no correction for their number
    (intersection-union test, Berger, Technometrics 24 (1982) 295). A difference that only MMD
    sees has no limit, and fails.

    Parameters
    ----------
    table : sequence of Row
        Observables, the worst first.
    joint : dict of str to Estimate
        Joint tests.
    correlations : Correlations or None
        Behind the test of pairs.
    p_value, alpha : float
        Of the whole comparison.
    tolerance, max_auc : float
        As in :func:`physgen.compare`.
    n_events : pair of int
        Sizes of the samples.
    """
    shift = max(row.shift_upper for row in table)
    limits = [shift / tolerance]
    pairs, auc = joint.get("correlations Δz"), joint.get("classifier AUC")
    if correlations:
        limits.append(correlations.upper / tolerance)
    if auc:
        limits.append((_upper(auc) - 0.5) / (max_auc - 0.5))
    within = max(limits) <= 1
    size = _size_words(n_events)
    if p_value >= alpha and within:
        return "pass", (
            f"PASS: no difference seen with {size}; shifts of a single column above "
            f"{shift:.2f} sigma are excluded at 95 %."
        )
    if p_value >= alpha:
        # the limits fall about as n^-0.4: JS noise as sqrt(K)/n, K as n^0.4, shift as sqrt(JS)
        needed = min(n_events) * max(limits) ** 2.5
        return "inconclusive", (
            f"INCONCLUSIVE: no difference seen, but {size} are too few to exclude one beyond the "
            f"tolerance (shifts up to {shift:.2f} sigma are possible, {tolerance:g} are "
            f"tolerated); {_needed_words(needed)} would do."
        )
    found = _found(table, pairs, auc, correlations, alpha, tolerance, max_auc)
    # MMD has no upper limit: what it alone sees cannot be said to be within tolerance
    if within and found:
        return "pass with difference", (
            f"PASS: a difference is seen with {size} ({p_words(p_value)}), but it is within "
            f"the tolerance; {found}."
        )
    return "fail", f"FAIL: {found or _only_mmd(joint)} ({p_words(p_value)} with {size})."


def _found(
    table: Sequence[Row],
    pairs: Estimate | None,
    auc: Estimate | None,
    correlations: Correlations | None,
    alpha: float,
    tolerance: float,
    max_auc: float,
) -> str:
    """Where the difference is seen, in words: column, pair, classifier."""
    found = []
    seen = [row for row in table if row.p_value < alpha]
    if seen:
        others = f" ({len(seen) - 1} more differ)" if len(seen) > 1 else ""
        found.append(f"worst {seen[0].name}, {_shift_words(seen[0])}{others}")
    if pairs and correlations and pairs.p_value < alpha and (not seen or pairs.value > tolerance):
        found.append(f"correlation of {correlations.worst}")
    if auc and auc.p_value < alpha and (not found or auc.value > max_auc):
        found.append(f"a classifier tells the samples apart with AUC {auc.value:.3f}")
    return "; ".join(found)


def _only_mmd(joint: Mapping[str, Estimate]) -> str:
    mmd = joint.get("MMD²")
    seen = f" (MMD {p_words(mmd.p_value)})" if mmd else ""
    return (
        f"all columns together differ{seen}, by an amount that no single column, pair or "
        "classifier measures"
    )


def _upper(estimate: Estimate) -> float:
    return estimate.value + ONE_SIDED * estimate.std_error


def _shift_words(row: Row) -> str:
    if row.shift_upper >= 8:
        return "as far off as a shift by many sigma"
    return f"as far off as a {row.shift:.2f}-sigma shift"


def _needed_words(needed: float) -> str:
    if needed > 1_000_000:
        return "more than a million"
    return f"about {float(f'{needed:.1g}'):,.0f}"


def _size_words(n_events: tuple[int, int]) -> str:
    n, m = n_events
    return f"{n:,} events" if n == m else f"{n:,} against {m:,} events"

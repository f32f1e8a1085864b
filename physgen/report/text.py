"""The report as plain text."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from physgen.estimates import Estimate, decimals, format_p, number, p_words
from physgen.plotting.style import shortened
from physgen.report.findings import rounded

if TYPE_CHECKING:
    from physgen.report.findings import Slice
    from physgen.report.report import Report, Row

__all__ = ["LIMITS", "as_text"]

_WIDTH = 98
_NAME_WIDTH = 32  # of an observable in a table

# what no comparison of samples can say; part of every report
LIMITS = (
    (
        "That the laws are equal. Differences too small for this many events, in quantities not "
        "compared or in regions without events would not be seen."
    ),
    "Anything about conditions or ranges outside those of the samples.",
    (
        "That n generated events are worth n true ones. What the training events do not know, the "
        "surrogate does not know."
    ),
    (
        "That the events are independent: this is taken for granted unless chains= tells that "
        "they are not. Events of a Markov chain carry less information, and their p-values would "
        "come out too small."
    ),
    (
        "That it is good for more events than it says: a bias smaller than the limit may be "
        "there, and shows when enough events are generated."
    ),
)


def as_text(report: Report) -> str:
    """Return the report as lines of at most 98 columns (long names excepted)."""
    alpha = report.settings["alpha"]
    parts = [
        textwrap.fill(report.verdict, _WIDTH),
        f"{p_words(report.p_value)} for the whole comparison (level {alpha:g})",
        f"good for {report.worth}, by the worst observable",
        "",
        *_sizes(report),
        "",
        *_table(report),
        "",
        *_joint(report),
        "",
        *_slices(report),
        *_bullets("Where it fails", failures(report)),
        *_bullets("Notes", [*report.notes, *_joint_notes(report)]),
        *_bullets("What this report cannot say", LIMITS),
        textwrap.fill(provenance(report), _WIDTH),
    ]
    return "\n".join(parts)


def provenance(report: Report) -> str:
    """Return one line with settings, seed and versions."""
    settings = ", ".join(
        f"{k}={v[:12] if k.endswith('sha256') else v}" for k, v in report.settings.items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return f"{settings}; {versions}"


def with_error(estimate: Estimate, places: int | None = None) -> str:
    """Value ± error, by default with the decimals of a two-digit error."""
    if places is None:
        places = error_decimals(estimate)
    value = round(estimate.value, places) + 0.0  # no "-0.000"
    return f"{value:.{places}f} ± {estimate.std_error:.{places}f}"


def error_decimals(estimate: Estimate) -> int:
    """Decimals of a two-digit error."""
    return min(8, decimals(estimate.std_error)) if estimate.std_error > 0 else 3


def js_decimals(report: Report) -> int:
    """Decimals that suit the JS of most rows, so that the column can be read down."""
    errors = sorted(row.js.std_error for row in report.table)
    middle = errors[len(errors) // 2]
    return decimals(middle) if middle > 0 else 4


def in_units(value: float, unit: str) -> str:
    """Two digits and the unit."""
    return f"{number(value)} {unit}".rstrip()


def shift_words(row: Row | Slice) -> str:
    """Shift and its limits: "0.08 (0.06–0.10)", or "0.02 (< 0.04)" if 0 is not excluded."""
    if row.shift_lower > 0:
        return f"{row.shift:.2f} ({row.shift_lower:.2f}–{row.shift_upper:.2f})"
    return f"{row.shift:.2f} (< {row.shift_upper:.2f})"


def worth_words(row: Row) -> str:
    """Events for which the candidate is good in this observable, in few letters."""
    worth = row.worth
    if worth.upper < 1.5:
        return "< 2"
    if not math.isfinite(worth.lower):
        return "any"
    if not math.isfinite(worth.upper):
        return f"≥ {rounded(worth.lower)}"
    return f"~ {rounded(worth.value)}"


def failures(report: Report) -> list[str]:
    """Where the candidate fails, in sentences: ranges of observables, kinds of events, slices."""
    alpha = report.settings["alpha"]
    found = [
        f"{row.label}: {row.region.words(row.unit)}, {row.region.pull:+.1f} standard errors"
        for row in report.table
        if row.p_value < alpha and row.region
    ]
    found += [
        f"at {part.label}: {part.worst}, shift {shift_words(part)} σ"
        for part in report.slices
        if part.p_value < alpha
    ]
    for missing, what in ((True, "made too seldom"), (False, "made that should not be")):
        parts = [
            f"{d.label} = {number(d.value, 3)} (in all {number(d.everywhere, 3)})"
            for d in report.drivers
            if d.missing == missing
        ]
        if parts:
            found.append(f"events {what}, by the classifier (medians): {', '.join(parts)}")
    return found


def _slices(report: Report) -> list[str]:
    if not report.slices:
        return []
    header = ("at each condition", "events", "worst observable", "as shift [σ]", "p")
    rows = [
        (
            s.label,
            f"{s.n_events[0]:,} : {s.n_events[1]:,}",
            s.worst,
            shift_words(s),
            format_p(s.p_value),
        )
        for s in report.slices
    ]
    return [*aligned([header, *rows]), ""]


def _sizes(report: Report) -> list[str]:
    n, m = report.n_events
    e, f = report.n_effective
    lines = [f"reference {n:,} events, candidate {m:,} events"]
    if report.is_weighted:
        lines.append(f"effective numbers with weights: {e:,.0f} and {f:,.0f}")
    return lines


def _table(report: Report) -> list[str]:
    places = js_decimals(report)
    header = ("observable", "JS [bits]", "floor", "as shift [σ]", "good for", "W1", "p")
    rows = [
        (
            shortened(row.label, _NAME_WIDTH),
            with_error(row.js, places),
            f"{row.js.floor:.{places}f}",
            shift_words(row),
            worth_words(row),
            number(row.w1.value),
            format_p(row.p_value),
        )
        for row in report.table
    ]
    return [*aligned([header, *rows]), *_footnote()]


def _footnote() -> list[str]:
    text = (
        "Worst first. JS: Jensen-Shannon divergence minus its mean over shuffled labels. floor: "
        "95 of 100 comparisons of the truth with itself stay below. shift: of a Gaussian with "
        "the same JS or KS, the larger, and its 95 % limits, at the resolution of the bins: "
        "what differs only within a bin is not in it. good for: number of events at which that "
        "bias reaches 0.3 of the statistical error. p: corrected for the number of observables."
    )
    return textwrap.wrap(text, _WIDTH)


def _joint(report: Report) -> list[str]:
    if not report.joint:
        return ["No joint test: no column varies."]
    header = ("all columns together", "value", "floor", "p")
    rows = [
        (name, with_error(e), f"{e.floor:.{error_decimals(e)}f}", format_p(e.p_value))
        for name, e in report.joint.items()
    ]
    bound = report.classifier.js if report.classifier else None
    if bound is None or bound.value < 2 * bound.std_error:
        return aligned([header, *rows])
    proof = f"The classifier proves a JS divergence of at least {with_error(bound)} bits."
    return [*aligned([header, *rows]), proof]


def _joint_notes(report: Report) -> list[str]:
    return [f"{name}: {e.note}" for name, e in report.joint.items() if e.note]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: first column left, the others right."""
    first, *widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [
        "  ".join(
            (row[0].ljust(first), *(c.rjust(w) for c, w in zip(row[1:], widths, strict=True)))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "─" * min(_WIDTH, max(len(line) for line in lines)), *lines[1:]]


def _bullets(title: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    wrapped = [
        textwrap.fill(item, _WIDTH, initial_indent="  · ", subsequent_indent="    ")
        for item in items
    ]
    return [title, *wrapped, ""]

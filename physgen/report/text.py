"""The report as plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from physgen.estimates import Estimate, format_p, p_words

if TYPE_CHECKING:
    from physgen.report.report import Report

__all__ = ["LIMITS", "as_text", "number"]

_WIDTH = 98

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
        "That the events are independent: this is taken for granted. Events of a Markov chain "
        "carry less information, and their p-values come out too small."
    ),
)


def as_text(report: Report) -> str:
    """Return the report as lines of at most 98 columns (long names excepted)."""
    alpha = report.settings["alpha"]
    parts = [
        textwrap.fill(report.verdict, _WIDTH),
        f"{p_words(report.p_value)} for the whole comparison (level {alpha:g})",
        "",
        *_sizes(report),
        "",
        *_table(report),
        "",
        *_joint(report),
        "",
        *_bullets("Notes", report.notes),
        *_bullets("What this report cannot say", LIMITS),
        textwrap.fill(provenance(report), _WIDTH),
    ]
    return "\n".join(parts)


def provenance(report: Report) -> str:
    """Return one line with settings, seed and versions."""
    settings = ", ".join(f"{k}={v}" for k, v in report.settings.items())
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return f"{settings}; {versions}"


def number(value: float, digits: int = 2) -> str:
    """Number with this many significant digits, without exponents in ordinary ranges.

    Examples
    --------
    >>> number(0.012345), number(1234.6), number(-0.0000012), number(0)
    ('0.012', '1235', '-1.2e-06', '0')
    """
    if value == 0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-5:
        return f"{value:.{digits - 1}e}"
    if abs(value) >= 10**digits:
        return f"{value:.0f}"
    return f"{float(f'{value:.{digits - 1}e}'):.{decimals(value, digits)}f}"


def decimals(value: float, digits: int = 2) -> int:
    """Decimals that show this many significant digits of a value."""
    exponent = int(f"{value:e}".rpartition("e")[2])
    return max(0, digits - 1 - exponent)


def with_error(estimate: Estimate, places: int | None = None) -> str:
    """Value ± error, by default with the decimals of a two-digit error."""
    if places is None:
        places = min(8, decimals(estimate.std_error) if estimate.std_error > 0 else 3)
    value = round(estimate.value, places) + 0.0  # no "-0.000"
    return f"{value:.{places}f} ± {estimate.std_error:.{places}f}"


def js_decimals(report: Report) -> int:
    """Decimals that suit the JS of most rows, so that the column can be read down."""
    errors = sorted(row.js.std_error for row in report.table)
    middle = errors[len(errors) // 2]
    return decimals(middle) if middle > 0 else 4


def in_units(value: float, unit: str) -> str:
    """Two digits and the unit."""
    return f"{number(value)} {unit}".rstrip()


def _sizes(report: Report) -> list[str]:
    n, m = report.n_events
    e, f = report.n_effective
    lines = [f"reference {n:,} events, candidate {m:,} events"]
    if report.is_weighted:
        lines.append(f"effective numbers with weights: {e:,.0f} and {f:,.0f}")
    return lines


def _table(report: Report) -> list[str]:
    places = js_decimals(report)
    header = ("observable", "JS [bits]", "floor", "as shift [σ]", "W1", "floor", "KS",
              "floor", "p")  # fmt: skip
    rows = [
        (
            row.label,
            with_error(row.js, places),
            f"{row.js.floor:.{places}f}",
            f"{row.shift:.2f} (< {row.shift_upper:.2f})",
            in_units(row.w1.value, row.unit),
            number(row.w1.floor),
            f"{row.ks.value:.3f}",
            f"{row.ks.floor:.3f}",
            format_p(row.p_value),
        )
        for row in report.table
    ]
    return [*aligned([header, *rows]), *_footnote()]


def _footnote() -> list[str]:
    text = (
        "Worst first. JS: Jensen-Shannon divergence minus its mean over shuffled labels. floor: "
        "95 of 100 comparisons of the truth with itself stay below. shift: of a Gaussian with "
        "the same JS or KS, the larger, and its 95 % upper limit, at the resolution of the bins: "
        "what differs only within a bin is not in it. p: corrected for the number of "
        "observables."
    )
    return textwrap.wrap(text, _WIDTH)


def _joint(report: Report) -> list[str]:
    if not report.joint:
        return ["No joint test: no column varies."]
    header = ("all columns together", "value", "floor", "p", "")
    rows = [
        (name, with_error(e), number(e.floor), format_p(e.p_value), e.note)
        for name, e in report.joint.items()
    ]
    return aligned([header, *rows])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: first column left, the others right but the last one if it is text."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    is_text = [k == 0 or (k == len(widths) - 1 and rows[0][k] == "") for k in range(len(widths))]
    lines = [
        "  ".join(
            cell.ljust(w) if left else cell.rjust(w)
            for cell, w, left in zip(row, widths, is_text, strict=True)
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

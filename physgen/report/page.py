"""The report as one HTML page that needs nothing else."""

from __future__ import annotations

import importlib.resources
import math
from typing import TYPE_CHECKING, Any

from physgen.estimates import format_p, number
from physgen.report import figures
from physgen.report.findings import rounded
from physgen.report.text import (
    LIMITS,
    failures,
    in_units,
    js_decimals,
    shift_words,
    with_error,
    worth_words,
)

if TYPE_CHECKING:
    from jinja2 import Environment

    from physgen.estimates import Estimate
    from physgen.report.report import Report

__all__ = ["as_html"]

_N_OPEN = 6  # figures and rows shown at once; the others are folded
_N_ROWS_OPEN = 25


def as_html(report: Report) -> str:
    """Return a page with verdict, tables and figures (SVG inside the page).

    Parameters
    ----------
    report : Report
        What :func:`physgen.compare` returned.
    """
    source = importlib.resources.files("physgen.report").joinpath("page.html.j2")
    outcome, _, rest = report.verdict.partition(": ")
    return (
        _environment()
        .from_string(source.read_text(encoding="utf-8"))
        .render(
            report=report,
            outcome=outcome,
            sentence=rest[:1].upper() + rest[1:],
            alpha=report.settings["alpha"],
            tolerance=report.settings["tolerance"],
            limits=LIMITS,
            failures=failures(report),
            places=js_decimals(report),
            n_rows_open=_N_ROWS_OPEN,
            n_open=_N_OPEN,
            **_drawings(report),
        )
    )


def _environment() -> Environment:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        number=lambda v: number(v) if math.isfinite(v) else "",
        p=lambda v: format_p(v) if math.isfinite(v) else "",
        events=lambda n: f"{n:,.0f}",
        rounded=rounded,
        error=with_error,
        floor=_floor,
        in_units=in_units,
        shift=shift_words,
        worth=worth_words,
    )
    environment.globals["interval"] = figures.interval
    return environment


def _floor(estimate: Estimate) -> str:
    """Floor with the decimals of the value beside it; nothing if there is none."""
    if not math.isfinite(estimate.floor):
        return ""
    value = with_error(estimate).partition(" ")[0]
    return f"{estimate.floor:.{len(value.partition('.')[2])}f}"


def _drawings(report: Report) -> dict[str, Any]:
    found = report.correlations
    return {
        "distributions": figures.distributions(report),
        "pulls": figures.pull_drawings(report),
        "matrix": figures.correlation_drawing(found) if found else None,
        "classifier": figures.classifier_drawings(report),
        "slices": figures.slice_drawing(report) if report.slices else None,
        "pictures": [(p, figures.picture_drawings(p)) for p in report.pictures],
    }

"""The report as one HTML page that needs nothing else."""

from __future__ import annotations

import importlib.resources
import io
from typing import TYPE_CHECKING

from physgen.estimates import format_p
from physgen.report.text import LIMITS, in_units, js_decimals, number, provenance, with_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from physgen.report.report import Report

__all__ = ["as_html"]

_N_FIGURES = 24  # observables drawn, the worst first; the table has all


def as_html(report: Report) -> str:
    """Return a page with verdict, tables and figures (SVG inside the page).

    Parameters
    ----------
    report : Report
        What :func:`physgen.compare` returned.
    """
    import jinja2
    from markupsafe import Markup

    source = importlib.resources.files("physgen.report").joinpath("page.html.j2")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters.update(number=number, p=format_p, error=with_error, in_units=in_units)
    outcome, _, rest = report.verdict.partition(": ")
    return environment.from_string(source.read_text(encoding="utf-8")).render(
        report=report,
        outcome=outcome,
        sentence=rest[:1].upper() + rest[1:],
        limits=LIMITS,
        places=js_decimals(report),
        provenance=provenance(report),
        figures=[Markup(svg) for svg in _histograms(report)],
        n_left_out=max(0, len(report.histograms) - _N_FIGURES),
        correlations=Markup(_correlations(report)) if report.correlations else "",
    )


def _histograms(report: Report) -> list[str]:
    from physgen.plotting import histogram_grid

    return [
        _svg(histogram_grid([h], legend=False), f"Distribution of {h.label} in both samples")
        for h in report.histograms[:_N_FIGURES]
    ]


def _correlations(report: Report) -> str:
    from matplotlib.figure import Figure

    from physgen.plotting import plot_correlations

    found = report.correlations
    if found is None:
        return ""
    side = 2.6 + 0.22 * len(found.labels)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    plot_correlations(figure.subplots(), found.candidate - found.reference, found.labels)
    return _svg(figure, "Difference of rank correlations, candidate minus reference")


def _svg(figure: Figure, description: str) -> str:
    """Figure as an svg element: the same bytes for the same figure, text as text."""
    import matplotlib as mpl
    from markupsafe import escape

    target = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": description}):
        figure.savefig(target, format="svg", metadata={"Date": None}, transparent=True)
    svg = target.getvalue()
    start = svg.index("<svg ")
    return f'<svg role="img" aria-label="{escape(description)}" {svg[start + 5 :]}'

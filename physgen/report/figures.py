"""Figures of the report as SVG elements that a page holds."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from physgen.plotting import Histogram
    from physgen.report.findings import Picture
    from physgen.report.report import Correlations, Report, Row

__all__ = [
    "Drawing",
    "classifier_drawings",
    "correlation_drawing",
    "distributions",
    "interval",
    "picture_drawings",
    "pull_drawings",
    "slice_drawing",
]

_N_DISTRIBUTIONS = 24  # observables drawn, the worst first; the table has all
_N_PULLS = 3
_N_CORRELATED = 24  # columns in the matrix
_LABEL_WIDTH = 34  # characters
_DPI = 150  # of the parts that are pixels


@dataclass(frozen=True)
class Drawing:
    """An SVG element with a caption.

    Attributes
    ----------
    caption : str
        As the user gave it: to be escaped.
    svg : Markup
        Of matplotlib, which escapes its texts.
    """

    caption: str
    svg: Markup


def distributions(report: Report) -> list[Drawing]:
    """Histogram and ratio of the worst observables."""
    return [_distribution(h) for h in report.histograms[:_N_DISTRIBUTIONS]]


def pull_drawings(report: Report) -> list[Drawing]:
    """Pulls per bin of the worst observables among those that differ."""
    alpha = report.settings["alpha"]
    both = zip(report.table, report.histograms, strict=False)  # a report may have no figures
    return [_pulls(row, h) for row, h in both if row.p_value < alpha][:_N_PULLS]


def correlation_drawing(found: Correlations) -> Drawing:
    """Matrix of the differences of correlations, of the columns that differ most."""
    from physgen.plotting import plot_correlations

    kept = _most_different(found.pulls)
    labels = [found.labels[k] for k in kept]
    longest = min(_LABEL_WIDTH, max(len(label) for label in labels))
    side = 0.5 + 0.07 * longest + 0.3 * len(kept)
    all_drawn = len(kept) == len(found.labels)
    caption = (
        "" if all_drawn else f"The {len(kept)} of {len(found.labels)} columns that differ most"
    )
    return _drawn(
        lambda ax: plot_correlations(ax, found.pulls[np.ix_(kept, kept)], labels),
        caption,
        "Differences of rank correlations in standard errors",
        size=(side + 0.7, side),
    )


def classifier_drawings(report: Report) -> list[Drawing]:
    """ROC curve and log-weights."""
    from physgen.plotting import plot_log_weights, plot_roc

    test = report.classifier
    if test is None:
        return []
    weights = "ln of the density ratio at events of both samples"
    return [
        _drawn(lambda ax: plot_roc(ax, test), "ROC curve", "ROC curve", size=(3.6, 3.3)),
        _drawn(lambda ax: plot_log_weights(ax, test), "Weights", weights, size=(3.6, 3.3)),
    ]


def slice_drawing(report: Report) -> Drawing:
    """Shift in every slice of the conditions."""
    from physgen.plotting import plot_slices

    settings = report.settings
    return _drawn(
        lambda ax: plot_slices(
            ax, report.slices, tolerance=settings["tolerance"], alpha=settings["alpha"]
        ),
        "",
        "Shift of the worst observable in every slice of the conditions",
        size=(4.6, 1.1 + 0.22 * len(report.slices)),
    )


def picture_drawings(picture: Picture) -> list[Drawing]:
    """Means of both samples, their difference, and examples."""
    from physgen.plotting import plot_examples

    return [
        _picture(picture, "reference", "Mean of the reference"),
        _picture(picture, "candidate", "Mean of the candidate"),
        _picture(picture, "pull", "Difference of the means"),
        _drawn(
            lambda ax: plot_examples(ax, picture),
            "Single events",
            f"Single events of both samples, {picture.name}",
            size=(4.6, 2.6),
        ),
    ]


def _picture(
    picture: Picture, what: Literal["reference", "candidate", "pull"], caption: str
) -> Drawing:
    from physgen.plotting import plot_picture

    return _drawn(
        lambda ax: plot_picture(ax, picture, what),
        caption,
        f"{caption} of {picture.name}",
        size=(3.6, 3.0),
    )


def interval(lower: float, value: float, upper: float, tolerance: float) -> Markup:
    """Small drawing for a cell of the table: value, limits, and the tolerance as a line.

    The scale ends at four times the tolerance; an arrow says that the interval goes on.
    """
    from markupsafe import Markup

    x0, x, x1, mark = (2 + 96 * min(max(v / (4 * tolerance), 0), 1) for v in
                       (lower, value, upper, tolerance))  # fmt: skip
    arrow = '<path d="M98 2.5l5 4.5-5 4.5z"/>' if upper > 4 * tolerance else ""
    return Markup(
        '<svg class="interval" viewBox="0 0 104 14" width="104" height="14" aria-hidden="true">'
        f'<path class="zero" d="M2 0v14"/><path class="tolerance" d="M{mark:.1f} 0v14"/>'
        f'<path class="range" d="M{x0:.1f} 7H{x1:.1f}"/>'
        f'<circle cx="{x:.1f}" cy="7" r="3"/>{arrow}</svg>'
    )


def _distribution(histogram: Histogram) -> Drawing:
    from matplotlib.figure import Figure

    from physgen.plotting import plot_histogram, plot_ratio
    from physgen.plotting.style import styled

    figure = Figure(figsize=(3.4, 2.8), dpi=_DPI)
    figure.subplots_adjust(0.175, 0.15, 0.975, 0.94, hspace=0.07)
    top, bottom = figure.subplots(2, 1, height_ratios=[2.4, 1])
    styled(plot_histogram(top, histogram, legend=False)).tick_params(labelbottom=False)
    styled(plot_ratio(bottom, histogram))
    figure.align_ylabels([top, bottom])
    return Drawing(
        histogram.label, _svg(figure, f"Distribution of {histogram.label} in both samples")
    )


def _pulls(row: Row, histogram: Histogram) -> Drawing:
    from physgen.plotting import plot_pulls

    return _drawn(
        lambda ax: plot_pulls(ax, histogram, row.region),
        row.label,
        f"Differences per bin of {row.label}",
        size=(3.6, 2.3),
    )


def _drawn(
    draw: Callable[[Axes], Any], caption: str, description: str, *, size: tuple[float, float]
) -> Drawing:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    draw(figure.subplots())
    return Drawing(caption, _svg(figure, description))


def _most_different(pulls: np.ndarray) -> np.ndarray:
    """Columns with the largest differences, in the order of the matrix."""
    strongest = np.nan_to_num(np.abs(pulls)).max(axis=1)
    return np.sort(np.argsort(-strongest, kind="stable")[:_N_CORRELATED])


def _svg(figure: Figure, description: str) -> Markup:
    """Figure as an svg element: the same bytes for the same figure, text as text."""
    import matplotlib as mpl
    from markupsafe import Markup, escape

    target = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": description, "svg.fonttype": "none"}):
        figure.savefig(target, format="svg", metadata={"Date": None}, transparent=True, dpi=_DPI)
    svg = target.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg ") + 5 :], flags=re.DOTALL)
    # names of groups would be there once per figure, and nothing refers to them
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    return Markup(f'<svg role="img" aria-label="{escape(description)}" {svg}')

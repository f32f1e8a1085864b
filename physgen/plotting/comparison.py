"""Figures of two samples: distributions, their ratio, differences of correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from physgen.events import Events
from physgen.plotting.histograms import Histogram, make_histogram
from physgen.plotting.style import (
    BAND_COLORS,
    CANDIDATE_COLOR,
    REFERENCE_COLOR,
    shortened,
    style_bar,
    styled,
)
from physgen.summaries import Observables, summarize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "comparison_figure",
    "histogram_grid",
    "plot_correlations",
    "plot_histogram",
    "plot_ratio",
]

_MAX_NUMBERS = 12  # columns of a matrix whose cells hold numbers


def plot_histogram(ax: Axes, histogram: Histogram, *, legend: bool = True) -> Axes:
    """Draw reference (filled steps) and candidate (points with errors).

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    histogram : Histogram
        Both samples.
    legend : bool, default True
        Whether to name them.
    """
    h = histogram
    ax.stairs(h.reference, h.edges, fill=True, color=REFERENCE_COLOR, alpha=0.18)
    ax.stairs(h.reference, h.edges, color=REFERENCE_COLOR, lw=1.2, label="reference")
    centers = (h.edges[:-1] + h.edges[1:]) / 2
    ax.errorbar(
        centers,
        h.candidate,
        h.candidate_error,
        fmt="o",
        ms=2.2,
        lw=0.8,
        color=CANDIDATE_COLOR,
        label="candidate",
    )
    if h.log_scale and (h.reference > 0).any():
        ax.set_yscale("log")
        ax.set_ylim(bottom=h.reference[h.reference > 0].min() / 2)
        ax.yaxis.set_major_formatter("{x:g}")
    else:
        ax.set_ylim(0, 1.15 * max(h.reference.max(), h.candidate.max(), 1e-12))
    ax.set_xlim(h.edges[0], h.edges[-1])
    ax.set_ylabel("share per bin")
    if max(h.outside) > 0.0005:
        ax.set_title(
            f"beyond the axis: {h.outside[0]:.1%} and {h.outside[1]:.1%}",
            fontsize=6.5,
            color="#5b6875",
            loc="right",
            pad=2,
        )
    if legend:
        ax.legend(frameon=False, fontsize="small", handlelength=1.2)
    return ax


def plot_ratio(ax: Axes, histogram: Histogram) -> Axes:
    """Draw candidate / reference over the band of the truth against itself.

    The band holds 68 % (dark) and 95 % (light) of the ratios of two samples of the law of the
    reference that have these sizes. It contains the errors of both samples, so the points have
    none. Points beyond the frame are drawn as triangles at its edge, also where the reference
    has no event and the candidate has some.
    """
    h = histogram
    on = h.reference > 0
    safe = np.where(on, h.reference, 1.0)
    band = np.where(on, h.null_error / safe, 0.0)
    ratio = np.where(on, h.candidate / safe, np.where(h.candidate > 0, np.inf, np.nan))
    for width, color in ((1.96, BAND_COLORS[1]), (1.0, BAND_COLORS[0])):
        ax.stairs(
            1 + width * band, h.edges, baseline=1 - width * band, fill=True, color=color, lw=0
        )
    ax.axhline(1, color=REFERENCE_COLOR, lw=0.8)
    half = _ratio_range(ratio[on], band[on])
    centers = (h.edges[:-1] + h.edges[1:]) / 2
    _draw_points(ax, centers, ratio, half)
    ax.set_ylim(1 - half, 1 + half)
    ax.set_yticks([1 - half / 2, 1, 1 + half / 2])
    ax.set_xlim(h.edges[0], h.edges[-1])
    _style_values(ax, h)
    ax.set_ylabel("ratio")
    return ax


def _draw_points(ax: Axes, x: np.ndarray, ratio: np.ndarray, half: float) -> None:
    """Points within the frame, triangles at its edge for those beyond."""
    inside = np.abs(ratio - 1) <= half
    ax.plot(x[inside], ratio[inside], "o", ms=2.4, color=CANDIDATE_COLOR)
    for above, marker in ((True, "^"), (False, "v")):
        beyond = ~inside & ((ratio > 1) if above else (ratio < 1))
        y = 1 + (0.9 if above else -0.9) * half
        ax.plot(x[beyond], np.full(beyond.sum(), y), marker, ms=3.4, color=CANDIDATE_COLOR)


def _style_values(ax: Axes, histogram: Histogram) -> None:
    """Axis of the observable: its name as it is, and few numbers of few digits."""
    ax.set_xlabel(shortened(histogram.label), parse_math=False)
    ax.locator_params(axis="x", nbins=6)
    ax.ticklabel_format(axis="x", scilimits=(-3, 5), useOffset=False)


def comparison_figure(
    reference: Events,
    candidate: Events,
    *,
    fields: Sequence[str] | None = None,
    observables: Observables | None = None,
    names: tuple[str, str] = ("reference", "generated"),
    n_columns: int = 3,
) -> Figure:
    """Grid of distributions of two samples, each with its ratio panel.

    Parameters
    ----------
    reference, candidate : Events
        Samples.
    fields, observables
        What to draw, as in :func:`physgen.compare`.
    names : pair of str
        Names of the samples in the legend.
    n_columns : int, default 3
        Panels per row.

    Returns
    -------
    matplotlib Figure
        Ready for ``figure.savefig("real_against_generated.png")``.
    """
    quantities, _ = summarize(reference, candidate, fields=fields, observables=observables)
    weights = (reference.weights, candidate.weights)
    return histogram_grid(
        [make_histogram(q, weights) for q in quantities], names=names, n_columns=n_columns
    )


def histogram_grid(
    histograms: Sequence[Histogram],
    *,
    names: tuple[str, str] = ("reference", "candidate"),
    n_columns: int = 3,
    legend: bool = True,
) -> Figure:
    """Grid of histograms, each over its ratio panel, with one legend on top."""
    from matplotlib.figure import Figure

    n_columns = min(n_columns, len(histograms))
    n_rows = -(-len(histograms) // n_columns)
    figure = Figure(figsize=(3.3 * n_columns, 2.75 * n_rows + 0.3 * legend), dpi=150)
    figure.set_layout_engine("constrained", h_pad=0.04, w_pad=0.04, hspace=0.03)
    ratios = [2.6, 1, 0.2] * n_rows  # the third is air between the rows
    ratios[-1] = 0.01
    axes = figure.subplots(3 * n_rows, n_columns, squeeze=False, height_ratios=ratios)
    for ax in axes[2::3].flat:
        ax.set_visible(False)
    for k in range(n_rows * n_columns):
        row, column = divmod(k, n_columns)
        top, bottom = axes[3 * row : 3 * row + 2, column]
        if k >= len(histograms):
            top.set_visible(False)
            bottom.set_visible(False)
            continue
        styled(plot_histogram(top, histograms[k], legend=False))
        styled(plot_ratio(bottom, histograms[k]))
        top.tick_params(labelbottom=False)
        if column:
            top.set_ylabel("")
            bottom.set_ylabel("")
    if legend:
        handles, _ = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside upper center", ncols=2, frameon=False, fontsize=10
        )
    return figure


def plot_correlations(ax: Axes, pulls: np.ndarray, labels: Sequence[str]) -> Axes:
    """Draw differences of correlations in standard errors, candidate minus reference.

    Signs are also written: as numbers in a matrix of up to 12 columns, as + and − where the
    difference is above 3 standard errors in a larger one.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    pulls : array of shape (n_columns, n_columns)
        ``report.correlations.pulls``; NaN where there is no correlation.
    labels : sequence of str
        Names of the columns.
    """
    below = np.tril(np.ones_like(pulls, dtype=bool), -1)
    shown = np.where(below, pulls, np.nan)
    seen = np.abs(shown[np.isfinite(shown)])
    limit = float(np.clip(seen.max(initial=0.0), 4, 8))
    image = ax.imshow(shown, cmap="PuOr", vmin=-limit, vmax=limit, interpolation="none")
    for i, j in np.argwhere(below & np.isfinite(pulls)):
        text, size = _mark(pulls[i, j], as_number=len(labels) <= _MAX_NUMBERS)
        color = "white" if abs(pulls[i, j]) > 0.6 * limit else "black"
        ax.text(j, i, text, ha="center", va="center_baseline", fontsize=size, color=color)
    names = [shortened(label, 34) for label in labels]
    ax.set_xticks(range(len(labels) - 1), names[:-1], rotation=90, fontsize=7, parse_math=False)
    ax.set_yticks(range(1, len(labels)), names[1:], fontsize=7, parse_math=False)
    ax.set_xlim(-0.5, len(labels) - 1.5)
    ax.set_ylim(len(labels) - 0.5, 0.5)
    ax.tick_params(length=0)
    ax.spines[["top", "right"]].set_visible(False)
    extend = "both" if seen.max(initial=0.0) > limit else "neither"
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, extend=extend)
    style_bar(bar, "candidate − reference [standard errors]")
    return ax


def _mark(pull: float, *, as_number: bool) -> tuple[str, float]:
    """Text of a cell and its size."""
    if as_number:
        return f"{pull:+.1f}".replace("-", "−"), 6.5
    return "" if abs(pull) < 3 else "+" if pull > 0 else "−", 10


def _ratio_range(ratio: np.ndarray, band: np.ndarray) -> float:
    """Half the height of a ratio panel: a round number that holds the well-measured bins."""
    if not len(band):
        return 1.0
    # a peak in one bin alone must not choose the scale of all others
    measured = band <= max(0.2, float(np.quantile(band, 1 / 3)))
    reach = np.maximum(np.abs(ratio[measured] - 1), 2.2 * band[measured]).max()
    return next((half for half in (0.04, 0.1, 0.2, 0.4) if reach < half), 1.0)

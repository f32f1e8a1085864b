"""Figures of two samples: distributions, their ratio, differences of correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from physgen.events import Events
from physgen.plotting.histograms import Histogram, make_histogram
from physgen.plotting.style import BAND_COLOR, CANDIDATE_COLOR, REFERENCE_COLOR, styled
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


def plot_histogram(ax: Axes, histogram: Histogram, *, legend: bool = True) -> Axes:
    """Draw reference (filled, with its statistical band) and candidate (points with errors).

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
    """Draw candidate / reference, with the statistical band of the reference around 1.

    Points beyond the frame are drawn as triangles at its edge.
    """
    h = histogram
    on = h.reference > 0
    safe = np.where(on, h.reference, 1.0)
    band = np.where(on, h.reference_error / safe, 0.0)
    ratio = np.where(on, h.candidate / safe, np.nan)
    error = np.where(on, h.candidate_error / safe, np.nan)
    centers = (h.edges[:-1] + h.edges[1:]) / 2
    ax.stairs(1 + band, h.edges, baseline=1 - band, fill=True, color=BAND_COLOR, alpha=0.7, lw=0)
    ax.axhline(1, color=REFERENCE_COLOR, lw=0.8)
    half = _ratio_range(ratio[on], error[on])
    inside = np.abs(ratio - 1) <= half
    ax.errorbar(
        centers[inside], ratio[inside], error[inside], fmt="o", ms=2.2, lw=0.8,
        color=CANDIDATE_COLOR,
    )  # fmt: skip
    for above, marker in ((True, "^"), (False, "v")):
        beyond = on & ~inside & ((ratio > 1) == above)
        y = 1 + (0.93 if above else -0.93) * half
        ax.plot(centers[beyond], np.full(beyond.sum(), y), marker, ms=3, color=CANDIDATE_COLOR)
    ax.set_ylim(1 - half, 1 + half)
    ax.set_yticks([1 - half / 2, 1, 1 + half / 2])
    ax.set_xlim(h.edges[0], h.edges[-1])
    ax.set_xlabel(h.label)
    ax.set_ylabel("ratio")
    return ax


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


def plot_correlations(ax: Axes, difference: np.ndarray, labels: Sequence[str]) -> Axes:
    """Draw a matrix of differences of correlations, candidate minus reference.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    difference : array of shape (n_columns, n_columns)
        NaN where there is no correlation.
    labels : sequence of str
        Names of the columns.
    """
    off = difference - np.diag(np.diag(difference))
    limit = max(0.05, float(np.nanmax(np.abs(off))))
    image = ax.imshow(off, cmap="PuOr", vmin=-limit, vmax=limit)
    ticks = range(len(labels))
    ax.set_xticks(ticks, labels, rotation=90, fontsize="x-small")
    ax.set_yticks(ticks, labels, fontsize="x-small")
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label="candidate − reference")
    return ax


def _ratio_range(ratio: np.ndarray, error: np.ndarray) -> float:
    """Half the height of a ratio panel: a round number that holds the well-measured bins."""
    measured = error < 0.3
    if not measured.any():
        return 1.0
    reach = np.quantile(np.abs(ratio[measured] - 1) + error[measured], 0.95)
    return next((half for half in (0.1, 0.2, 0.5) if reach < half), 1.0)

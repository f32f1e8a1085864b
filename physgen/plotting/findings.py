"""Figures of what a comparison found: pulls, ROC curve, weights, slices of the conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from physgen.plotting.histograms import Histogram
from physgen.plotting.style import BAND_COLORS, CANDIDATE_COLOR, REFERENCE_COLOR, shortened, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from physgen.metrics.classifier import ClassifierTest
    from physgen.report.findings import Region, Slice

__all__ = ["plot_log_weights", "plot_pulls", "plot_roc", "plot_slices"]

_REGION_COLOR = "#F3E3B3"
_MAX_SHIFT = 5.0  # sigma; what is beyond is drawn at the edge
_N_WEIGHT_BINS = 30


def plot_pulls(ax: Axes, histogram: Histogram, region: Region | None = None) -> Axes:
    """Draw the difference in every bin in standard errors: too many up, too few down.

    Bands are at 1 and 2 standard errors. Bars of too few events are hatched.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    histogram : Histogram
        Both samples.
    region : Region, optional
        A range to be shaded, such as ``report.table[0].region``.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from physgen.plotting import make_histogram
    >>> from physgen.summaries import Quantity
    >>> x = np.linspace(0, 1, 500)
    >>> h = make_histogram(Quantity("x", "cm", x, x**2))
    >>> plot_pulls(Figure().subplots(), h).get_xlabel()
    'x [cm]'
    """
    h = histogram
    pulls = _pulls(h)
    reach = max(4.0, 1.15 * float(np.abs(pulls).max(initial=0.0)))
    for width, color in ((2, BAND_COLORS[1]), (1, BAND_COLORS[0])):
        ax.axhspan(-width, width, color=color, lw=0)
    if region is not None:
        low, high = (float(np.clip(v, h.edges[0], h.edges[-1])) for v in (region.low, region.high))
        ax.axvspan(low, high, color=_REGION_COLOR, lw=0, zorder=0.5)
        ax.axvspan(low, high, fill=False, ec="#7d6a2b", lw=0.7, ls="--")
    for sign, hatch in ((1, None), (-1, "//////")):
        ax.stairs(
            np.clip(sign * pulls, 0, None) * sign, h.edges, fill=True, lw=0.6, hatch=hatch,
            fc=CANDIDATE_COLOR if sign > 0 else "white", ec=CANDIDATE_COLOR,
        )  # fmt: skip
    ax.axhline(0, color="black", lw=0.6)
    ax.set_ylim(-reach, reach)
    ax.set_xlim(h.edges[0], h.edges[-1])
    ax.locator_params(axis="x", nbins=6)
    ax.ticklabel_format(axis="x", scilimits=(-3, 5), useOffset=False)
    ax.set_xlabel(shortened(h.label), parse_math=False)
    ax.set_ylabel("difference [standard errors]")
    return styled(ax)


def plot_roc(ax: Axes, test: ClassifierTest) -> Axes:
    """Draw the ROC curve of a classifier between the samples; the diagonal found nothing.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    test : ClassifierTest
        Such as ``report.classifier``.
    """
    ours, theirs = test.roc
    ax.plot([0, 1], [0, 1], "--", color="#5b6875", lw=0.8)
    ax.plot(ours, theirs, color=CANDIDATE_COLOR, lw=1.4)
    ax.fill_between(ours, ours, theirs, color=CANDIDATE_COLOR, alpha=0.15, lw=0)
    ax.text(
        0.96, 0.06, f"AUC {test.auc.value:.3f} ± {test.auc.std_error:.3f}\n"
        f"truth against itself up to {test.auc.floor:.3f}",
        ha="right", fontsize=8, transform=ax.transAxes,
    )  # fmt: skip
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_aspect("equal")
    ax.set_xlabel("share of reference events above threshold")
    ax.set_ylabel("share of candidate events above threshold")
    return styled(ax)


def plot_log_weights(ax: Axes, test: ClassifierTest) -> Axes:
    """Draw ln of p_reference / p_candidate at the events, as the classifier sees it.

    Reference events far to the right are made too seldom; candidate events far to the left
    should not be made. Where the classifier finds nothing, all events are near 0. Event weights
    do not enter.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    test : ClassifierTest
        Such as ``report.classifier``.
    """
    pooled = np.concatenate(test.log_weights)
    low, high = np.quantile(pooled, [0.001, 0.999])
    edges = np.linspace(min(low, -0.1), max(high, 0.1), _N_WEIGHT_BINS + 1)
    # what is beyond belongs to the last bins: it is what one looks for here
    counts = [np.histogram(np.clip(v, edges[0], edges[-1]), edges)[0] for v in test.log_weights]
    ours, theirs = (c / c.sum() for c in counts)
    ax.stairs(ours, edges, fill=True, color=REFERENCE_COLOR, alpha=0.18)
    ax.stairs(ours, edges, color=REFERENCE_COLOR, lw=1.2, label="reference")
    on = theirs > 0
    ax.errorbar(
        ((edges[:-1] + edges[1:]) / 2)[on], theirs[on], (np.sqrt(counts[1]) / counts[1].sum())[on],
        fmt="o", ms=2.6, lw=0.8, color=CANDIDATE_COLOR, label="candidate",
    )  # fmt: skip
    ax.axvline(0, color="#5b6875", lw=0.8, ls="--")
    ax.set_yscale("log")
    ax.set_ylim(0.5 / max(c.sum() for c in counts), 2 * max(ours.max(), theirs.max()))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xlim(edges[0], edges[-1])
    ax.set_xlabel("ln of p_reference / p_candidate", parse_math=False)
    ax.set_ylabel("share of the events per bin")
    ax.legend(frameon=False, fontsize=8, handlelength=1.2)
    return styled(ax)


def plot_slices(ax: Axes, slices: Sequence[Slice], *, tolerance: float, alpha: float) -> Axes:
    """Draw the shift of the worst observable in every slice, with its 95 % limits.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    slices : sequence of Slice
        Such as ``report.slices``.
    tolerance : float
        Marked by a line, in sigma.
    alpha : float
        Slices with a p-value below it are filled, the others hollow.
    """
    y = np.arange(len(slices))
    values = np.array([(s.shift_lower, s.shift, s.shift_upper) for s in slices])
    lower, shift, upper = np.clip(values, 0, _MAX_SHIFT).T
    seen = np.array([s.p_value < alpha for s in slices])
    ax.hlines(y, lower, upper, color="black", lw=1.1)
    for on, fill in ((seen, CANDIDATE_COLOR), (~seen, "white")):
        ax.plot(shift[on], y[on], "o", ms=5, mfc=fill, mec="black", mew=0.9)
    ax.axvline(tolerance, color=REFERENCE_COLOR, lw=1, ls="--")
    ax.annotate(
        "tolerated", (tolerance, -0.75), (3, 0), textcoords="offset points", va="center",
        color=REFERENCE_COLOR, fontsize=7.5,
    )  # fmt: skip
    ax.set_yticks(y, [shortened(s.label, 36) for s in slices], parse_math=False)
    ax.set_ylim(len(slices) - 0.4, -1.1)
    ax.set_xlim(0, 1.08 * max(float(upper.max()), 1.5 * tolerance))
    ax.set_xlabel("shift of the worst observable [σ]")
    return styled(ax)


def _pulls(histogram: Histogram) -> np.ndarray:
    """Difference in errors of both samples; where both are empty, none."""
    h = histogram
    error = np.hypot(h.reference_error, h.candidate_error)
    difference = h.candidate - h.reference
    return np.divide(difference, error, out=np.zeros_like(difference), where=error > 0)

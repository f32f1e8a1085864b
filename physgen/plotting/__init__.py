"""Figures: functions that draw on the Axes they are given and return them."""

from physgen.plotting.comparison import (
    comparison_figure,
    histogram_grid,
    plot_correlations,
    plot_histogram,
    plot_ratio,
)
from physgen.plotting.findings import plot_log_weights, plot_pulls, plot_roc, plot_slices
from physgen.plotting.histograms import Histogram, make_histogram
from physgen.plotting.pictures import plot_examples, plot_picture
from physgen.plotting.training import training_curves
from physgen.plotting.weights import receptive_fields, weight_spectrum

__all__ = [
    "Histogram",
    "comparison_figure",
    "histogram_grid",
    "make_histogram",
    "plot_correlations",
    "plot_examples",
    "plot_histogram",
    "plot_log_weights",
    "plot_picture",
    "plot_pulls",
    "plot_ratio",
    "plot_roc",
    "plot_slices",
    "receptive_fields",
    "training_curves",
    "weight_spectrum",
]

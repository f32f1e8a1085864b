"""Distances between two samples, as plain functions."""

from physgen.metrics.binning import bin_contents, bin_edges
from physgen.metrics.classifier import classifier_auc
from physgen.metrics.columns import Column, ColumnTest, compare_columns
from physgen.metrics.correlation import PairTest, compare_correlations
from physgen.metrics.divergences import equivalent_shift, js_divergence, js_from_probabilities
from physgen.metrics.kernels import mmd
from physgen.metrics.transport import ks_distance, wasserstein

__all__ = [
    "Column",
    "ColumnTest",
    "PairTest",
    "bin_contents",
    "bin_edges",
    "classifier_auc",
    "compare_columns",
    "compare_correlations",
    "equivalent_shift",
    "js_divergence",
    "js_from_probabilities",
    "ks_distance",
    "mmd",
    "wasserstein",
]

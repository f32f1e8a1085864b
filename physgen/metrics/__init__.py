"""Distances between two samples, as plain functions."""

from physgen.metrics.binning import bin_contents, bin_edges
from physgen.metrics.classifier import (
    ClassifierTest,
    boosted_trees,
    classifier_auc,
    classifier_test,
)
from physgen.metrics.columns import Column, ColumnTest, compare_columns
from physgen.metrics.copies import Memorization, memorization
from physgen.metrics.correlation import PairTest, compare_correlations
from physgen.metrics.divergences import (
    equivalent_shift,
    js_divergence,
    js_from_probabilities,
    kl_divergence,
)
from physgen.metrics.duplicates import duplicates
from physgen.metrics.energy import energy_distance
from physgen.metrics.frechet import fpd, kpd
from physgen.metrics.hamming import hamming_histograms
from physgen.metrics.image_classifier import image_classifier
from physgen.metrics.kernels import MMDTest, mmd, mmd_test
from physgen.metrics.ladders import Polynomial, Radial
from physgen.metrics.lecture import lecture_mmd
from physgen.metrics.prdc import PRDC, prdc
from physgen.metrics.resampling import Design
from physgen.metrics.separation import chi2_test, triangular_discrimination
from physgen.metrics.sliced import sliced_wasserstein
from physgen.metrics.smooth import SmoothBias, smooth_bias
from physgen.metrics.transport import cramer_von_mises, ks_distance, wasserstein

__all__ = [
    "PRDC",
    "ClassifierTest",
    "Column",
    "ColumnTest",
    "Design",
    "MMDTest",
    "Memorization",
    "PairTest",
    "Polynomial",
    "Radial",
    "SmoothBias",
    "bin_contents",
    "bin_edges",
    "boosted_trees",
    "chi2_test",
    "classifier_auc",
    "classifier_test",
    "compare_columns",
    "compare_correlations",
    "cramer_von_mises",
    "duplicates",
    "energy_distance",
    "equivalent_shift",
    "fpd",
    "hamming_histograms",
    "image_classifier",
    "js_divergence",
    "js_from_probabilities",
    "kl_divergence",
    "kpd",
    "ks_distance",
    "lecture_mmd",
    "memorization",
    "mmd",
    "mmd_test",
    "prdc",
    "sliced_wasserstein",
    "smooth_bias",
    "triangular_discrimination",
    "wasserstein",
]

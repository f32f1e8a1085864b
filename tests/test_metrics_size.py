"""Rates of false alarms: every test must keep its size, also with ties, weights, unequal sizes."""

import numpy as np
import pytest
from scipy import stats

from physgen.metrics import Column, classifier_auc, compare_columns, js_divergence, mmd
from physgen.metrics.correlation import compare_correlations
from physgen.metrics.resampling import Design, normalize_weights

N_REPETITIONS = 200


def band(level=0.05, n=N_REPETITIONS):
    """Counts of p <= level that a right test stays within in 998 of 1000 runs."""
    return stats.binom.ppf([0.001, 0.999], n, level)


def is_uniform(p_values, *, upper_only=False):
    rejected = np.sum(np.asarray(p_values) <= 0.05)
    low, high = band()
    return rejected <= high and (upper_only or rejected >= low)


def draw(rng, kind, n):
    values = rng.normal(size=n)
    return np.round(values) if kind == "ties" else values


def weights_of(rng, kind, n):
    if kind == "weighted":
        return normalize_weights(rng.gamma(2.0, size=n), n)
    if kind == "negative":
        return normalize_weights(np.where(rng.random(n) < 0.1, -1.0, 1.0), n)
    return normalize_weights(None, n)


KINDS = ["continuous", "ties", "unequal", "weighted", "negative"]
# with fewer repetitions CI runs the others in tests/test_calibration.py
FEW_KINDS = [
    kind if kind in ("continuous", "weighted") else pytest.param(kind, marks=pytest.mark.slow)
    for kind in KINDS
]


@pytest.mark.parametrize("kind", FEW_KINDS)
def test_size_of_the_columns(kind):
    p_js, p_ks, p_w1, p_all = [], [], [], []
    for k in range(N_REPETITIONS):
        rng = np.random.default_rng([k, 1])
        n, m = (60, 300) if kind == "unequal" else (300, 300)
        a, b = weights_of(rng, kind, n), normalize_weights(None, m)
        columns = [Column(draw(rng, kind, n), draw(rng, kind, m)) for _ in range(3)]
        tests, p = compare_columns(columns, Design(a, b), n_permutations=99, rng=rng)
        p_js.append(tests[0].js.p_value)
        p_ks.append(tests[0].ks.p_value)
        p_w1.append(tests[0].w1.p_value)
        p_all.append(p)
    conservative = kind in ("ties", "weighted", "negative")
    for p_values in (p_js, p_ks, p_w1, p_all):
        assert is_uniform(p_values, upper_only=conservative)


@pytest.mark.parametrize("kind", FEW_KINDS)
def test_size_of_mmd(kind):
    p_values = []
    for k in range(N_REPETITIONS):
        rng = np.random.default_rng([k, 2])
        n, m = (50, 120) if kind == "unequal" else (120, 120)
        a = weights_of(rng, kind, n)
        x, y = draw(rng, kind, (n, 2)), draw(rng, kind, (m, 2))
        p_values.append(mmd(x, y, weights=(a, None), n_permutations=99, rng=k).p_value)
    assert is_uniform(p_values, upper_only=kind in ("weighted", "negative"))


@pytest.mark.parametrize("kind", KINDS)
def test_size_of_the_correlations(kind):
    p_values = []
    for k in range(N_REPETITIONS):
        rng = np.random.default_rng([k, 3])
        n, m = (60, 150) if kind == "unequal" else (200, 200)
        a, b = weights_of(rng, kind, n), normalize_weights(None, m)
        x, y = draw(rng, kind, (n, 4)), draw(rng, kind, (m, 4))
        x[:, 1] += x[:, 0]
        y[:, 1] += y[:, 0]
        found = compare_correlations(x, y, Design(a, b), n_permutations=99, rng=rng)
        p_values.append(found.estimate.p_value)
    assert is_uniform(p_values, upper_only=kind in ("weighted", "negative"))


def test_size_of_js_by_hypergeometric_draws():
    p_values = []
    for k in range(N_REPETITIONS):
        rng = np.random.default_rng([k, 4])
        x, y = rng.normal(size=300), rng.normal(size=200)
        p_values.append(js_divergence(x, y, n_permutations=99, rng=k).p_value)
    assert is_uniform(p_values)


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_size_of_the_classifier(weighted):
    p_values = []
    for k in range(N_REPETITIONS):
        rng = np.random.default_rng([k, 5])
        a = rng.gamma(2.0, size=150) if weighted else None
        found = classifier_auc(
            rng.normal(size=(150, 3)), rng.normal(size=(150, 3)), weights=(a, None), rng=k
        )
        p_values.append(found.p_value)
    assert is_uniform(p_values, upper_only=True)


def test_a_small_run_of_the_classifier_keeps_its_size():
    p_values = []
    for k in range(10):
        rng = np.random.default_rng([k, 6])
        x, y = rng.normal(size=(100, 2)), rng.normal(size=(100, 2))
        p_values.append(classifier_auc(x, y, rng=k).p_value)
    assert np.sum(np.array(p_values) <= 0.05) <= stats.binom.ppf(0.999, 10, 0.05)


def test_the_band_sees_a_test_that_forgets_the_weights():
    p_values = []
    for k in range(N_REPETITIONS):
        rng = np.random.default_rng([k, 7])
        # a Gaussian weighted by exp(x) is the Gaussian shifted by 1
        x, y = rng.normal(size=300), rng.normal(1.0, size=300)
        p_values.append(stats.ks_2samp(x, y).pvalue)
    assert not is_uniform(p_values)


def test_weighted_law_that_is_tilted_is_recognized_as_the_same():
    p_js, p_mmd = [], []
    for k in range(N_REPETITIONS):
        rng = np.random.default_rng([k, 8])
        x, y = rng.normal(size=400), rng.normal(0.4, size=400)
        tilt = normalize_weights(np.exp(0.4 * x), 400)
        tests, _ = compare_columns([Column(x, y)], Design(tilt, normalize_weights(None, 400)),
                                   n_permutations=99, rng=rng)  # fmt: skip
        p_js.append(tests[0].js.p_value)
        p_mmd.append(
            mmd(x[:150, None], y[:150, None], weights=(tilt[:150], None), n_permutations=99,
                rng=k).p_value
        )  # fmt: skip
    assert is_uniform(p_js, upper_only=True)
    assert is_uniform(p_mmd, upper_only=True)

"""Fréchet and kernel physics distance: jetnet's values, our null."""

import numpy as np
import pytest
from scipy import linalg, stats
from scipy.optimize import curve_fit

from physgen.metrics.frechet import fpd, frechet_distance, kpd
from physgen.metrics.resampling import Design
from physgen.random import as_seed

SMALL = {
    fpd: {"batch_sizes": (200, 500), "n_points": 5, "n_batches": 4},
    kpd: {"batch_size": 200, "n_batches": 4},
}


def normal(n, seed, *, d=3, shift=0.0):
    return np.random.default_rng(seed).normal(shift, size=(n, d))


# the formula of Gaussians


def covariance(seed, d=4):
    a = np.random.default_rng(seed).normal(size=(d, d))
    return a @ a.T


def test_frechet_distance_against_the_square_root_of_scipy():
    m, n = np.random.default_rng(0).normal(size=(2, 4))
    a, b = covariance(1), covariance(2)
    expected = (m - n) @ (m - n) + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)
    assert frechet_distance(m, a, n, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(n, b, m, a) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_singular_and_of_many_covariances():
    zero, one = np.zeros((3, 3)), np.eye(3)
    found = frechet_distance(np.zeros((2, 3)), np.stack((zero, one)), np.zeros((2, 3)),
                             np.stack((one, 4 * one)))  # fmt: skip
    assert found == pytest.approx([3, 3], abs=1e-12)


# jetnet's values


@pytest.mark.parametrize(("metric", "apart"), [(fpd, 2), (kpd, 15)])
def test_published_cases_of_jetnet(metric, apart):
    # tests/evaluation/test_gen_metrics.py of the package: zeros against zeros and against ones;
    # 50,000 of each there, but batches of constants do not see how many they are drawn from
    zeros, ones = np.zeros((500, 2)), np.ones((500, 2))
    equal = metric(zeros, zeros, n_permutations=4, rng=0)
    assert equal.value == pytest.approx(0, abs=1e-12)
    assert equal.std_error == pytest.approx(0, abs=1e-12)
    assert equal.p_value == 1
    found = metric(zeros, ones, n_permutations=4, rng=0)
    assert found.value == pytest.approx(apart, rel=1e-9)
    assert found.p_value == 0.2


def test_what_rounding_leaves_is_no_distance():
    zeros, few = np.zeros((500, 2)), {"batch_size": 50, "n_batches": 2, "n_permutations": 4}
    assert {kpd(zeros, zeros, rng=seed, **few).p_value for seed in range(20)} == {1}


def samples_of_jetnet(x, y, sizes, rng):
    """Batches as jetnet draws them: scaled by the largest absolute value, with replacement."""
    largest = np.abs(x).max(axis=0)
    for size in sizes:
        yield (
            x[rng.choice(len(x), size=size)] / largest,
            y[rng.choice(len(y), size=size)] / largest,
        )


def test_fpd_is_the_value_of_jetnets_formula():
    x, y = normal(900, 0), normal(1100, 1, shift=0.1) * [1, 2, 1]
    x, y = x + np.array([0, 1, 5]), y + np.array([0, 1, 5])
    sizes = (1 / np.linspace(1.0 / 200, 1.0 / 500, 5)).astype("int32")
    means = []
    drawn = list(samples_of_jetnet(x, y, np.repeat(sizes, 4), np.random.default_rng(as_seed(7))))
    for k in range(5):
        distances = []
        for u, v in drawn[4 * k : 4 * k + 4]:
            a, b = np.cov(u, rowvar=False), np.cov(v, rowvar=False)
            shift = u.mean(axis=0) - v.mean(axis=0)
            root = linalg.sqrtm(a @ b).real
            distances.append(shift @ shift + np.trace(a) + np.trace(b) - 2 * np.trace(root))
        means.append(np.mean(distances))
    line, _ = curve_fit(
        lambda x, intercept, slope: intercept + slope * x, 1 / sizes, means,
        bounds=([0, 0], [np.inf, np.inf]),
    )  # fmt: skip
    found = fpd(x, y, **SMALL[fpd], n_permutations=9, rng=7)
    assert found.value == pytest.approx(line[0], rel=1e-4)


def test_kpd_is_the_value_of_jetnets_formula():
    x, y = normal(900, 0), normal(1100, 1, shift=0.1)

    def kernel(u, v):
        return (u @ v.T / 3 + 1) ** 4

    def unbiased(k):
        return (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))

    rng = np.random.default_rng(as_seed(7))
    values = [
        unbiased(kernel(u, u)) + unbiased(kernel(v, v)) - 2 * kernel(u, v).mean()
        for u, v in samples_of_jetnet(x, y, [200] * 4, rng)
    ]
    found = kpd(x, y, **SMALL[kpd], n_permutations=9, rng=7)
    assert found.value == pytest.approx(np.median(values), rel=1e-9)


def test_fpd_extrapolates_to_the_distance_of_the_samples():
    # and so keeps their bias: the claim of the docstring on which its null rests
    x, y = normal(2000, 0), normal(2000, 1, shift=0.1)
    largest = np.abs(x).max(axis=0)
    u, v = x / largest, y / largest
    plain = frechet_distance(u.mean(0), np.cov(u.T), v.mean(0), np.cov(v.T))
    values = [
        fpd(x, y, batch_sizes=(2000, 5000), n_permutations=1, rng=k).value for k in range(12)
    ]
    assert np.mean(values) == pytest.approx(plain, abs=4 * np.std(values) / np.sqrt(12))
    assert np.std(values) < 0.2 * plain


def test_values_with_weights_are_those_of_repeated_events():
    x, y = normal(60, 0), normal(50, 1, shift=0.5)
    repeats = np.random.default_rng(2).integers(1, 4, 60)
    again = np.repeat(x, repeats, axis=0)
    largest = np.abs(x).max(axis=0)
    u, v = again / largest, y / largest
    found = fpd(x, y, weights=(repeats, None), n_permutations=9, rng=0)
    expected = frechet_distance(
        u.mean(0), np.cov(u.T, bias=True), v.mean(0), np.cov(v.T, bias=True)
    )
    assert found.value == pytest.approx(expected, rel=1e-9)
    k = lambda p, q: ((p @ q.T / 3 + 1) ** 4).mean()
    found = kpd(x, y, weights=(repeats, None), n_permutations=9, rng=0)
    assert found.value == pytest.approx(k(u, u) + k(v, v) - 2 * k(u, v), rel=1e-4)


# our null


def rejected_inside(p_values, *, upper_only=False):
    low, high = stats.binom.ppf([0.001, 0.999], len(p_values), 0.05)
    rejected = np.sum(np.asarray(p_values) <= 0.05)
    return rejected <= high and (upper_only or rejected >= low)


@pytest.mark.parametrize("kind", ["unequal", "ties", "weighted", "chains"])
@pytest.mark.parametrize("metric", [fpd, kpd])
def test_size(metric, kind):
    p_values = []
    for k in range(80):
        n, m = (60, 150) if kind == "unequal" else (120, 120)
        x, y = normal(n, [k, 0]), normal(m, [k, 1])
        weights = (None, None)
        if kind == "ties":
            x, y = np.round(x), np.round(y)
        if kind == "weighted":
            weights = (np.random.default_rng([k, 2]).gamma(2.0, size=n), None)
        if kind == "chains":  # every event twice
            x = np.repeat(x[:60], 2, axis=0)
            weights = Design.of(120, 120, blocks=(np.arange(120) // 2, None), tau=(1.0, 0.5))
        found = metric(x, y, weights=weights, **SMALL[metric], n_permutations=99, rng=k)
        p_values.append(found.p_value)
    # the scale of the columns knows the labels, but not enough to spoil the size
    assert rejected_inside(p_values, upper_only=kind != "unequal")


@pytest.mark.parametrize("metric", [fpd, kpd])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_error_floor_and_values(metric, shift):
    found = [
        metric(normal(600, [k, 0]), normal(400, [k, 1], shift=shift), **SMALL[metric],
               n_permutations=49, rng=k)
        for k in range(50)
    ]  # fmt: skip
    values, errors = (
        np.array([getattr(e, name) for e in found]) for name in ("value", "std_error")
    )
    assert 0.7 < np.sqrt(np.mean(errors**2)) / values.std() < 1.4
    above = np.mean([e.value > e.floor for e in found])
    assert above < 0.16 if shift == 0 else above > 0.95


def uniform(n, seed, shift=0.0):
    """Columns whose largest values, and with them the scale, are nearly known."""
    return np.random.default_rng(seed).uniform(-1, 1, size=(n, 3)) + np.array((shift, 0, 0))


@pytest.mark.parametrize(
    ("law", "weighted", "low", "high"),
    [
        (uniform, False, 0.85, 1.18),
        (uniform, True, 0.85, 1.18),  # no batches: all events at once
        (normal, True, 0.55, 0.9),  # the scale is that of one event: its scatter is not counted
    ],
)
def test_the_error_of_kpd_is_that_at_the_scale_of_the_reference(law, weighted, low, high):
    n, found = 200, []
    for k in range(150):
        w = np.random.default_rng(k).uniform(0.5, 1.5, n) if weighted else None
        found.append(
            kpd(law(n, [k, 0]), law(n, [k, 1], shift=0.6), weights=(None, w), batch_size=20,
                n_permutations=1, rng=k)
        )  # fmt: skip
    values, errors = (
        np.array([getattr(e, name) for e in found]) for name in ("value", "std_error")
    )
    assert low < np.sqrt(np.mean(errors**2)) / values.std() < high


def test_batches_alone_would_call_equal_laws_different():
    """The negative control: the scatter of batches as an error, and no null."""
    significance = []
    for k in range(40):
        x, y = normal(600, [k, 0]), normal(400, [k, 1])
        values = [fpd(x, y, **SMALL[fpd], n_permutations=1, rng=r).value for r in range(5)]
        significance.append(np.mean(values) / np.std(values, ddof=1) * np.sqrt(5))
    assert np.mean(np.array(significance) > 2) > 0.8


@pytest.mark.parametrize("metric", [fpd, kpd])
def test_weights_that_undo_a_shift_are_seen_and_needed(metric):
    forgotten, p_values = [], []
    for k in range(80):
        x, y = normal(150, [k, 0]), normal(150, [k, 1], shift=0.3)
        tilt = np.exp(0.3 * x.sum(axis=1))
        settings = {**SMALL[metric], "n_permutations": 99, "rng": k}
        p_values.append(metric(x, y, weights=(tilt, None), **settings).p_value)
        forgotten.append(metric(x, y, **settings).p_value)
    assert rejected_inside(p_values, upper_only=True)
    assert np.mean(np.array(forgotten) <= 0.05) > 0.6


def test_fpd_is_blind_to_shapes_and_kpd_is_not():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 2))
    y = rng.choice([-1 / 3, 3], size=(2000, 2), p=[0.9, 0.1])  # of the same mean and variance
    assert fpd(x, y, n_permutations=99, rng=0).p_value > 0.01
    assert kpd(x, y, batch_size=1000, n_permutations=99, rng=0).p_value == 0.01

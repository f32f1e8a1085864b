"""Divergences of binned samples: KL, JS by its corrections, separation power, chi-square."""

import numpy as np
import pytest
from scipy import stats

from physgen.metrics.divergences import js_divergence, kl_divergence
from physgen.metrics.resampling import Design
from physgen.metrics.separation import chi2_test, triangular_discrimination

ALL = [kl_divergence, js_divergence, triangular_discrimination, chi2_test]


def normal(n, seed, *, shift=0.0):
    return np.random.default_rng(seed).normal(shift, size=n)


def uniform_edges(k):
    return stats.norm.ppf(np.arange(1, k) / k)


def binned_gaussian(edges, shift=0.0):
    return np.diff(stats.norm.cdf(np.concatenate(([-np.inf], edges, [np.inf])), shift))


# Kullback-Leibler


def kl_bits(p, q):
    return float(stats.entropy(p, q, base=2))


def test_kl_is_directed_and_in_bits():
    edges = uniform_edges(12)
    p, q = binned_gaussian(edges), binned_gaussian(edges, 0.7)
    x, y = normal(30_000, 0), normal(30_000, 1, shift=0.7)
    there = kl_divergence(x, y, edges=edges, n_permutations=9, rng=0)
    assert there.value == pytest.approx(kl_bits(p, q), abs=4 * there.std_error)
    assert there.std_error < 0.03 * there.value
    forth = kl_divergence(np.abs(x), y, edges=edges, n_permutations=9, rng=0)
    back = kl_divergence(y, np.abs(x), edges=edges, n_permutations=9, rng=0)
    assert back.value > 2 * forth.value  # a quarter of y lies where |x| never is


def test_kl_of_gaussians_comes_near_the_closed_form():
    found = kl_divergence(normal(40_000, 0), normal(40_000, 1, shift=0.5), rng=0)
    # bins lose a little of a divergence, never gain
    exact = 0.5**2 / (2 * np.log(2))
    assert 0.95 * exact - 4 * found.std_error < found.value < exact + 4 * found.std_error


@pytest.mark.parametrize(("n", "m"), [(300, 300), (200, 1500)])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_kl_is_unbiased_where_the_plug_in_is_not(n, m, shift):
    edges = uniform_edges(15)
    exact = kl_bits(binned_gaussian(edges), binned_gaussian(edges, shift))
    corrected, plug_in = [], []
    for k in range(300):
        x, y = normal(n, [k, 0]), normal(m, [k, 1], shift=shift)
        corrected.append(kl_divergence(x, y, edges=edges, n_permutations=1, rng=k).value)
        p, q = (np.bincount(np.searchsorted(edges, z), minlength=15) for z in (x, y))
        if q.all():
            plug_in.append(kl_bits(p, q))
    scatter = np.std(corrected) / np.sqrt(300)
    assert np.mean(corrected) == pytest.approx(exact, abs=4 * scatter + 0.03 * exact)
    assert np.mean(plug_in) > exact + 6 * scatter  # the negative control


def test_kl_with_a_bin_that_the_candidate_never_fills():
    x = np.repeat([0.0, 1.0], [60, 40])
    found = kl_divergence(x, np.zeros(50), edges=np.array([0.5]), rng=0)
    q = np.array([50.5, 0.5]) / 50
    p = np.array([0.6, 0.4])
    assert found.value == pytest.approx(p @ np.log2(p / q) - 1 / (200 * np.log(2)), rel=1e-12)
    assert found.note == "2 bins; 1 hold 0.4 of the reference and no candidate event"
    other = kl_divergence(np.zeros(50), x, edges=np.array([0.5]), rng=0)
    assert other.note == "2 bins"


# Jensen-Shannon


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_corrections_of_js(shift):
    edges = uniform_edges(40)
    p, q = binned_gaussian(edges), binned_gaussian(edges, shift)
    m = (p + q) / 2
    exact = (kl_bits(p, m) + kl_bits(q, m)) / 2
    chance = 39 * (1 / 500 + 1 / 700) / (8 * np.log(2))
    means = {}
    for correction in ("shuffle", "miller-madow", None):
        values = [
            js_divergence(normal(500, [k, 0]), normal(700, [k, 1], shift=shift), edges=edges,
                          correction=correction, n_permutations=49, rng=k).value
            for k in range(100)
        ]  # fmt: skip
        means[correction] = np.mean(values)
        scatter = np.std(values) / 10
    assert means["shuffle"] == pytest.approx(exact, abs=4 * scatter + 0.03 * exact)
    assert means["miller-madow"] == pytest.approx(exact, abs=4 * scatter + 0.03 * exact)
    assert means[None] == pytest.approx(exact + chance, abs=4 * scatter + 0.03 * exact)
    assert means[None] > exact + 6 * scatter  # the negative control


def test_a_correction_that_does_not_exist():
    with pytest.raises(ValueError, match="miller-madow"):
        js_divergence(np.zeros(5), np.ones(5), correction="jackknife", rng=0)


# triangular discrimination


def separation_power(x, y, edges):
    """Of the CaloChallenge: histograms of numpy with density=True."""
    p = np.histogram(x, edges, density=True)[0] * np.diff(edges)
    q = np.histogram(y, edges, density=True)[0] * np.diff(edges)
    return 0.5 * ((p - q) ** 2 / (p + q + 1e-16)).sum()


def test_triangular_discrimination_is_the_separation_power_of_the_challenge():
    x, y = normal(400, 0), normal(300, 1, shift=0.3)
    edges = np.linspace(-1.5, 2.0, 30)
    x[0], x[1] = edges[-1], edges[0]
    found = triangular_discrimination(x, y, edges=edges, keep_outside=False, rng=0)
    assert found.value == pytest.approx(separation_power(x, y, edges), rel=1e-9)
    whole = triangular_discrimination(x, y, edges=edges, rng=0)
    everything = np.concatenate(([-99], edges, [99]))
    x[0] = 2.01  # inner edges belong to the bin above
    assert whole.value == pytest.approx(separation_power(x, y, everything), rel=1e-9)


def test_triangular_discrimination_counts_weights():
    x, y, edges = normal(300, 0), normal(200, 1), np.linspace(-5, 5, 8)
    repeats = np.random.default_rng(2).integers(1, 4, 300)
    found = triangular_discrimination(
        x, y, weights=(repeats, None), edges=edges, keep_outside=False, rng=0
    )
    assert found.value == pytest.approx(
        separation_power(np.repeat(x, repeats), y, edges), rel=1e-9
    )


def test_events_that_are_dropped_are_not_seen():
    x, y = normal(2000, 0), normal(2000, 1)
    y[:200] = 50.0
    edges = np.linspace(-3, 3, 20)
    blind = triangular_discrimination(x, y, edges=edges, keep_outside=False, rng=0)
    assert blind.p_value > 0.01
    assert triangular_discrimination(x, y, edges=edges, rng=0).p_value == 0.001


def test_no_events_or_no_edges():
    with pytest.raises(ValueError, match="no event of the candidate"):
        triangular_discrimination(
            np.zeros(9), np.ones(9), edges=np.array([-0.5, 0.5]), keep_outside=False, rng=0
        )
    with pytest.raises(ValueError, match="give edges"):
        triangular_discrimination(np.zeros(9), np.ones(9), keep_outside=False, rng=0)


def test_floor_of_the_triangular_discrimination():
    values = [
        triangular_discrimination(normal(500, [k, 0]), normal(500, [k, 1]), n_permutations=49,
                                  edges=uniform_edges(25), rng=k)
        for k in range(100)
    ]  # fmt: skip
    mean = np.mean([e.value for e in values])
    assert mean == pytest.approx(24 * (1 / 500 + 1 / 500) / 4, rel=0.1)


# chi-square


def test_chi2_without_weights_is_pearsons():
    x, y, edges = normal(300, 0), normal(170, 1, shift=0.2), uniform_edges(10)
    table = [np.bincount(np.searchsorted(edges, z), minlength=10) for z in (x, y)]
    expected = stats.chi2_contingency(table)
    found = chi2_test(x, y, edges=edges, rng=0)
    assert found.value == pytest.approx(expected.statistic, rel=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.05)
    assert found.note == "10 bins, 9 degrees of freedom"


def test_chi2_with_weights_by_hand():
    x, y = np.repeat([0.0, 1], [40, 60]), np.repeat([0.0, 1], [70, 30])
    w = np.repeat([1.0, 2, 1, 3], [20, 20, 30, 30])
    a, b = w / w.sum(), 1 / 100
    first, second = a[:40], a[40:]
    p, q = np.array([first.sum(), second.sum()]), np.array([0.7, 0.3])
    r = np.array([first @ first, second @ second]) / p
    found = chi2_test(x, y, weights=(w, None), rng=0)
    assert found.value == pytest.approx(((p - q) ** 2 / (p * b + q * r)).sum(), rel=1e-9)


@pytest.mark.parametrize("kind", ["gamma", "signs"])
def test_chi2_with_weights_has_the_law_of_chi2(kind):
    edges, values = uniform_edges(8), []
    for k in range(300):
        rng = np.random.default_rng([k, 2])
        w = (
            rng.gamma(2.0, size=600)
            if kind == "gamma"
            else rng.choice([-1.0, 1], 600, p=[0.1, 0.9])
        )
        found = chi2_test(normal(600, [k, 0]), normal(500, [k, 1]), weights=(w, None),
                          edges=edges, n_permutations=1, rng=k)  # fmt: skip
        values.append(found.value)
    assert stats.kstest(values, stats.chi2(7).cdf).pvalue > 1e-3
    # the negative control: as if each weighted event were one event
    assert stats.kstest(np.multiply(values, 1.5), stats.chi2(7).cdf).pvalue < 1e-6


# all of them


def rejected_inside(p_values, *, upper_only=False):
    low, high = stats.binom.ppf([0.001, 0.999], len(p_values), 0.05)
    rejected = np.sum(np.asarray(p_values) <= 0.05)
    return rejected <= high and (upper_only or rejected >= low)


@pytest.mark.parametrize("kind", ["unequal", "ties", "weighted", "negative", "chains"])
@pytest.mark.parametrize("metric", ALL)
def test_size(metric, kind):
    p_values = []
    for k in range(100):
        n, m = (60, 200) if kind == "unequal" else (200, 200)
        x, y, rng = normal(n, [k, 0]), normal(m, [k, 1]), np.random.default_rng([k, 2])
        weights = (None, None)
        if kind == "ties":
            x, y = np.round(x), np.round(y)
        if kind == "weighted":
            weights = (rng.gamma(2.0, size=n), None)
        if kind == "negative":
            weights = (np.where(rng.random(n) < 0.1, -1.0, 1.0), None)
        if kind == "chains":  # every event twice
            x = np.repeat(x[:100], 2)
            weights = Design.of(200, 200, blocks=(np.arange(200) // 2, None), tau=(1.0, 0.5))
        p_values.append(metric(x, y, weights=weights, n_permutations=99, rng=k).p_value)
    assert rejected_inside(p_values, upper_only=kind != "unequal")


@pytest.mark.parametrize("metric", ALL)
def test_weights_that_undo_a_shift_are_seen_and_needed(metric):
    forgotten, p_values = [], []
    for k in range(100):
        x, y = normal(400, [k, 0]), normal(400, [k, 1], shift=0.4)
        settings = {"n_permutations": 99, "rng": k}
        p_values.append(metric(x, y, weights=(np.exp(0.4 * x), None), **settings).p_value)
        forgotten.append(metric(x, y, **settings).p_value)
    assert rejected_inside(p_values, upper_only=True)
    assert np.mean(np.array(forgotten) <= 0.05) > 0.8  # the negative control


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_error_and_floor(metric, shift):
    edges = uniform_edges(12)
    found = [
        metric(normal(500, [k, 0]), normal(400, [k, 1], shift=shift), edges=edges,
               n_permutations=49, rng=k)
        for k in range(100)
    ]  # fmt: skip
    values, errors = (
        np.array([getattr(e, name) for e in found]) for name in ("value", "std_error")
    )
    assert 0.75 < np.sqrt(np.mean(errors**2)) / values.std() < 1.35
    above = np.mean([e.value > e.floor for e in found])
    assert above < 0.15 if shift == 0 else above > 0.95

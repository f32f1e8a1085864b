import numpy as np
import pytest
from scipy import optimize, stats
from scipy.integrate import quad

from physgen.estimates import Estimate
from physgen.metrics import (
    Column,
    bin_contents,
    bin_edges,
    classifier_auc,
    classifier_test,
    compare_columns,
    equivalent_shift,
    js_divergence,
    js_from_probabilities,
    ks_distance,
    wasserstein,
)
from physgen.metrics.binning import merge_bins, n_bins_default
from physgen.metrics.classifier import _auc_of_folds, _Scores, auc, auc_errors
from physgen.metrics.columns import _upper
from physgen.metrics.correlation import compare_correlations, mid_ranks
from physgen.metrics.divergences import js_estimate
from physgen.metrics.resampling import Design, effective_size, normalize_weights
from physgen.metrics.smooth import smooth_bias
from physgen.metrics.transport import (
    distribution_gaps,
    ks_std_error,
    wasserstein_std_error,
)


def gaussian(n, seed, *, shift=0.0, d=None):
    return np.random.default_rng(seed).normal(shift, size=n if d is None else (n, d))


def equal(n):
    return np.full(n, 1 / n)


def js_by_quadrature(shift):
    def density(x):
        p, q = stats.norm.pdf(x), stats.norm.pdf(x, shift)
        m = (p + q) / 2
        return (p * np.log2(p / m) + q * np.log2(q / m)) / 2

    return quad(density, -9, 9 + shift, points=[0, shift], epsabs=1e-12, limit=200)[0]


# Jensen-Shannon


def test_js_of_disjoint_and_of_equal_laws():
    assert js_from_probabilities(np.array([0.3, 0.7, 0, 0]), np.array([0, 0, 0.5, 0.5])) == 1
    assert js_from_probabilities(np.array([0.3, 0.7]), np.array([0.3, 0.7])) == 0


def test_js_of_disjoint_samples_is_one_after_subtraction_too():
    found = js_divergence(gaussian(200, 0), gaussian(300, 1) + 100, rng=0)
    assert found.value == pytest.approx(1, abs=1e-12)
    assert found.p_value == 0.001


def test_js_by_hand_is_in_bits_and_no_square_root():
    p, q = np.array([0.5, 0.5]), np.array([1.0, 0.0])
    m = (p + q) / 2
    by_hand = 0.5 * (p * np.log2(p / m)).sum() + 0.5 * np.log2(1 / 0.75)
    assert js_from_probabilities(p, q) == pytest.approx(by_hand, rel=1e-12)


def test_js_of_nearly_equal_laws_keeps_its_digits():
    eps = 1e-7
    p, q = np.array([0.5, 0.5]), np.array([0.5 + eps, 0.5 - eps])
    assert js_from_probabilities(p, q) == pytest.approx(eps**2 / (2 * np.log(2)), rel=1e-5)


@pytest.mark.parametrize("shift", [0.1, 0.5, 2.0])
def test_js_of_gaussians_against_quadrature(shift):
    exact = js_by_quadrature(shift)
    found = js_divergence(gaussian(40_000, 1), gaussian(40_000, 2, shift=shift), rng=0)
    # 100 equal-probability bins lose a little of a divergence, never gain
    assert found.value == pytest.approx(exact, abs=4 * found.std_error + 0.01 * exact)


@pytest.mark.parametrize("shift", [0.03, 0.1, 1.0, 3.0])
def test_equivalent_shift_inverts_the_quadrature(shift):
    assert equivalent_shift(js_by_quadrature(shift)) == pytest.approx(shift, rel=2e-3)


def test_equivalent_shift_ends():
    assert equivalent_shift(-0.01) == 0
    assert equivalent_shift(1.0) == 8


def test_js_of_equal_laws_is_unbiased_and_its_error_is_right():
    found = [
        js_divergence(gaussian(500, k), gaussian(700, 1000 + k), n_permutations=99, rng=k)
        for k in range(100)
    ]
    values = np.array([e.value for e in found])
    errors = np.array([e.std_error for e in found])
    assert abs(values.mean()) < 4 * values.std() / 10
    assert 0.75 < errors.mean() / values.std() < 1.35
    above = np.mean([e.value > e.floor for e in found])
    assert 0.0 < above < 0.15  # 5 % expected


@pytest.mark.parametrize(
    ("n", "n_values"), [(60, None), (300, 200), (40, 12)], ids=["continuous", "200", "12"]
)
def test_js_of_few_events_of_equal_laws_scatters_around_zero(n, n_values):
    def drawn(seed):
        rng = np.random.default_rng(seed)
        return rng.normal(size=n) if n_values is None else rng.integers(0, n_values, n)

    values = np.array(
        [
            js_divergence(drawn([k, 0]), drawn([k, 1]), n_permutations=99, rng=k).value
            for k in range(100)
        ]
    )
    assert abs(values.mean()) < 4 * values.std() / 10
    assert values.std() < 0.1


def test_js_where_every_shuffle_is_disjoint_says_nothing():
    ones = np.ones(50)
    found = js_estimate(ones, ones, np.array([1.0, 0]), np.array([0, 1.0]), Design.of(10, 10))
    assert found.value == 0
    assert np.isfinite(found.std_error)


def test_js_interval_covers_a_shift():
    exact = js_by_quadrature(0.3)
    z = [
        (e.value - exact) / e.std_error
        for k in range(60)
        if (e := js_divergence(gaussian(3000, k), gaussian(3000, 900 + k, shift=0.3),
                               n_permutations=99, rng=k))
    ]  # fmt: skip
    assert 0.75 < np.std(z) < 1.3
    assert np.mean(np.abs(z) < 2) > 0.85


def test_js_with_unit_weights_from_draws_agrees_with_the_hypergeometric():
    x, y = gaussian(2000, 0), gaussian(2000, 1, shift=0.1)
    plain = js_divergence(x, y, rng=0)
    tilted = np.ones(2000)
    tilted[0] = 1.001  # no longer equal: multipliers instead of permutations
    weighted = js_divergence(x, y, weights=(tilted, None), rng=0)
    assert weighted.value == pytest.approx(plain.value, abs=3e-4)
    assert weighted.std_error == pytest.approx(plain.std_error, rel=0.2)


def test_js_of_weighted_events_sees_the_weighted_law():
    x = gaussian(20_000, 0)
    tilt = np.exp(0.3 * x)  # a Gaussian times exp(a x) is a Gaussian shifted by a
    shifted = gaussian(20_000, 1, shift=0.3)
    assert js_divergence(x, shifted, weights=(tilt, None), rng=0).p_value > 0.01
    assert js_divergence(x, shifted, rng=0).p_value == pytest.approx(1 / 1000)


def test_js_with_negative_weights():
    rng = np.random.default_rng(0)
    x = gaussian(20_000, 0)
    signs = np.where(rng.random(20_000) < 0.2, -1.0, 1.0)
    found = js_divergence(x, gaussian(20_000, 1), weights=(signs, None), rng=0)
    assert found.p_value > 0.01
    moved = js_divergence(x, gaussian(20_000, 1, shift=0.2), weights=(signs, None), rng=0)
    assert moved.p_value < 0.01
    assert moved.value == pytest.approx(js_by_quadrature(0.2), rel=0.3)


# bins


def test_bins_are_of_equal_probability():
    x = gaussian(10_000, 0)
    counts = bin_contents(x, bin_edges(x, n_bins=20))
    assert len(counts) == 20
    assert counts.min() >= 499
    assert counts.max() <= 501


def test_bins_follow_the_weights_and_their_number_the_effective_size():
    x = gaussian(10_000, 0)
    weights = np.where(x > 0, 3.0, -1.0)
    edges = bin_edges(x, weights=weights)
    assert len(edges) + 1 == n_bins_default(effective_size(np.abs(weights)) / 2)
    mass = bin_contents(x, edges, np.abs(weights))
    assert mass == pytest.approx(np.full(len(mass), mass.mean()), rel=0.05)
    with_all = bin_contents(x, bin_edges(x), np.abs(weights))
    assert with_all.max() > 2 * with_all.min()


def test_an_atom_gets_a_bin_of_its_own():
    x = np.concatenate((np.zeros(4000), np.abs(gaussian(6000, 0)) + 0.1))
    edges = bin_edges(x, n_bins=20)
    assert bin_contents(x, edges).max() == 4000
    moved = np.where(x == 0, 1e-3, x)
    assert js_divergence(x, moved, rng=0).value > 0.1


def test_discrete_values_get_one_bin_each_and_nothing_is_lost():
    x = np.repeat([3, 1, 1, 7, 7, 7], 5)
    edges = bin_edges(x)
    assert bin_contents(x, edges).tolist() == [10, 5, 15]
    assert bin_contents(np.array([-100, 100]), edges).tolist() == [1, 0, 1]


def test_a_gap_separates_bins():
    x = np.concatenate((gaussian(130, 0), gaussian(170, 1) + 50))
    edges = bin_edges(x, n_bins=7)
    assert np.any((edges > 10) & (edges < 60) & (bin_contents(x, edges)[:-1].cumsum() == 130))
    assert len(bin_edges(gaussian(3000, 0), n_bins=20)) == 19


def test_a_constant_column_has_one_bin():
    x = np.full(50, 2.0)
    assert len(bin_edges(x)) == 0
    found = js_divergence(x, x, rng=0)
    assert (found.value, found.p_value) == (0, 1)


def test_bins_are_joined_until_weights_are_positive():
    rng = np.random.default_rng(0)
    x, y = gaussian(400, 0), gaussian(400, 1)
    a = normalize_weights(np.where(rng.random(400) < 0.35, -1.0, 1.0), 400)
    edges = bin_edges(np.concatenate((x, y)), n_bins=40)
    assert bin_contents(x, edges, a).min() < 0
    joined = merge_bins(np.concatenate((x, y)), a, equal(400), edges)
    assert 1 <= len(joined) < len(edges)
    assert bin_contents(x, joined, a).min() > 0


def test_a_last_bin_without_weight_joins_the_one_before():
    x = np.repeat([0.5, 1.5, 2.5, 3.5], 20)
    a = normalize_weights(np.repeat([1.0, 1.0, 1.0, -0.1], 20), 80)
    joined = merge_bins(np.concatenate((x, x)), a, equal(80), np.array([1.0, 2.0, 3.0]))
    assert joined.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (np.zeros(3), "all zero"),
        (np.array([1.0, -2.0, 0.5]), "sum to -0.5"),
        (np.array([1.0, np.nan, 1.0]), "NaN"),
        (np.ones(2), "3 events need 3 weights"),
    ],
)
def test_weights_that_are_no_law(weights, said):
    with pytest.raises(ValueError, match=said):
        normalize_weights(weights, 3)


def test_effective_size():
    assert effective_size(np.ones(10)) == 10
    assert effective_size(np.array([1.0, 1.0, -1.0])) == pytest.approx(1 / 3)


# Wasserstein and Kolmogorov-Smirnov


@pytest.mark.parametrize("ties", [False, True])
def test_wasserstein_and_ks_against_scipy(ties):
    x, y = gaussian(300, 0), gaussian(211, 1, shift=0.4)
    if ties:
        x, y = np.round(x, 1), np.round(y, 1)
    assert wasserstein(x, y, rng=0).value == pytest.approx(
        stats.wasserstein_distance(x, y), rel=1e-9
    )
    assert ks_distance(x, y, rng=0).value == pytest.approx(
        stats.ks_2samp(x, y).statistic, rel=1e-9
    )


def test_wasserstein_with_weights_against_scipy():
    x, y = gaussian(300, 0), gaussian(200, 1)
    w = np.random.default_rng(2).random(300)
    expected = stats.wasserstein_distance(x, y, w, None)
    assert wasserstein(x, y, weights=(w, None), rng=0).value == pytest.approx(expected, rel=1e-9)


def test_wasserstein_goes_the_short_way_around_a_circle():
    rng = np.random.default_rng(0)
    x = (rng.normal(np.pi - 0.05, 0.1, 4000) + np.pi) % (2 * np.pi) - np.pi
    y = (x + 0.1 + np.pi) % (2 * np.pi) - np.pi
    assert wasserstein(x, y, period=2 * np.pi, rng=0).value == pytest.approx(0.1, rel=0.05)
    assert wasserstein(x, y, rng=0).value > 1  # the straight way crosses the whole range


def test_errors_of_wasserstein_and_ks_match_their_spread():
    values, errors = [], []
    for k in range(80):
        x, y = gaussian(400, k), gaussian(400, 500 + k, shift=0.5)
        order = distribution_gaps(np.concatenate((x, y)))
        gaps = order.gaps(np.concatenate((equal(400), -equal(400)))[None])
        values.append((order.wasserstein(gaps)[0], order.ks(gaps)[0]))
        design = Design.of(400, 400)
        errors.append([f(order, gaps[0], design) for f in (wasserstein_std_error, ks_std_error)])
    ratio = np.mean(errors, axis=0) / np.std(values, axis=0)
    assert (np.abs(ratio - 1) < 0.3).all()


# classifier


def test_auc_against_scipy_with_ties():
    scores = np.round(np.concatenate((gaussian(80, 0), gaussian(60, 1, shift=0.5))), 1)
    u = stats.mannwhitneyu(scores[80:], scores[:80]).statistic / (80 * 60)
    assert auc(scores, equal(80), equal(60)) == pytest.approx(u, rel=1e-12)


def test_auc_error_under_the_null_is_that_of_mann_whitney():
    scores = gaussian(2000, 0)
    _, null = auc_errors(scores, Design.of(1200, 800))
    assert null == pytest.approx(np.sqrt(2001 / (12 * 1200 * 800)), rel=0.01)


@pytest.mark.parametrize("shift", [0.0, 1.0, 50.0])
def test_auc_null_error_does_not_shrink_as_the_scores_part(shift):
    scores = np.concatenate((gaussian(300, 0), gaussian(900, 1, shift=shift)))
    mann_whitney = np.sqrt(1201 / (12 * 300 * 900))
    assert auc_errors(scores, Design.of(300, 900))[1] == pytest.approx(mann_whitney, rel=1e-9)
    tilted = normalize_weights(np.where(np.arange(300) == 0, 1.0001, 1.0), 300)
    null = auc_errors(scores, Design(tilted, equal(900)))[1]
    assert null > 0.8 * mann_whitney


@pytest.mark.parametrize("max_events", [20_000, 600])
def test_classifier_is_not_misled_by_conditions_that_both_samples_share(max_events):
    condition = gaussian(1000, 0, d=1)
    x, y = (np.hstack((condition, gaussian(1000, seed, d=2))) for seed in (1, 2))
    found = classifier_auc(x, y, max_events=max_events, rng=0)
    assert found.value == pytest.approx(0.5, abs=0.05)
    alone = classifier_auc(condition, condition, max_events=max_events, rng=0)
    assert alone.value == pytest.approx(0.5, abs=1e-9)
    assert alone.p_value == 1


def test_auc_error_matches_its_spread():
    drawn = [
        np.concatenate((gaussian(150, k), gaussian(150, k + 999, shift=1))) for k in range(99)
    ]
    values = [auc(s, equal(150), equal(150)) for s in drawn]
    errors = [auc_errors(s, Design.of(150, 150))[0] for s in drawn]
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.25)


def test_classifier_finds_the_auc_of_a_known_shift():
    found = classifier_auc(gaussian(4000, 0, d=1), gaussian(4000, 1, d=1, shift=1.0), rng=0)
    best = stats.norm.cdf(1 / np.sqrt(2))
    assert best - 0.03 < found.value < best + 3 * found.std_error
    assert found.p_value < 1e-6
    assert abs(found.floor - 0.5) < 0.05


def test_the_error_of_the_mean_over_folds_matches_its_spread():
    fold, design, found = np.arange(200) % 4, Design.of(100, 100), []
    for k in range(300):
        logits = np.random.default_rng(k).normal(size=200)
        found.append(_auc_of_folds(_Scores(logits, fold, 4), design)[:2])
    values, errors = np.array(found).T
    # the spread of 300 numbers is known to 4 %
    assert np.mean(errors) == pytest.approx(values.std(), rel=0.16)


def test_both_samples_are_learned_with_weights_of_mean_one():
    means = []

    def first_column(_, labels, weights, **__):
        means.append([weights[labels == k].mean() for k in (0, 1)])
        return lambda x: x[:, 0]

    x = gaussian(600, 0, d=1)
    tilt = np.exp(0.2 * x[:, 0])
    classifier_test(x, gaussian(300, 1, d=1), weights=(tilt, None), fit=first_column, rng=0)
    assert np.array(means)[:3] == pytest.approx(1, abs=0.1)


def test_classifier_counts_weights():
    x = gaussian(3000, 0, d=1)
    shifted = gaussian(3000, 1, d=1, shift=0.5)
    tilt = np.exp(0.5 * x[:, 0])
    assert classifier_auc(x, shifted, weights=(tilt, None), rng=0).value < 0.53
    assert classifier_auc(x, shifted, rng=0).value > 0.6


# columns


def test_floors_of_a_column_are_those_of_the_distances_alone():
    x, y = gaussian(1000, 0), gaussian(50, 1)
    rng = np.random.default_rng(0)
    (found,), _ = compare_columns([Column(x, y)], Design.of(1000, 50), n_permutations=99, rng=rng)
    # each from a hundred halves
    assert found.ks.floor == pytest.approx(ks_distance(x, y, rng=1).floor, rel=0.3)
    assert found.w1.floor == pytest.approx(wasserstein(x, y, rng=1).floor, rel=0.3)


def test_the_upper_limit_on_a_shift_is_a_few_errors_above_it():
    x, y = gaussian(4000, 0), gaussian(4000, 1, shift=0.3)
    design, rng = Design.of(4000, 4000), np.random.default_rng(0)
    (found,), _ = compare_columns([Column(x, y)], design, n_permutations=99, rng=rng)
    error = np.sqrt(2 / 4000)
    assert found.shift_lower < 0.3 < found.shift_upper < 0.3 + 5 * error


# pairs


def test_mid_ranks_against_scipy():
    x = np.round(gaussian(100, 0), 1)
    ranks = stats.rankdata(x)
    assert mid_ranks(x) == pytest.approx((ranks - ranks.mean()) / ranks.std())


def test_correlations_are_spearman_and_a_lost_one_is_found():
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal([0, 0, 0], [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]], size=2000)
    y = rng.normal(size=(2000, 3))
    found = compare_correlations(x, y, Design.of(2000, 2000), n_permutations=99, rng=rng)
    assert found.pair == (0, 1)
    assert found.estimate.p_value == 0.01
    spearman = stats.spearmanr(x).statistic
    assert found.reference == pytest.approx(spearman, abs=0.01)
    expected = np.arctanh(spearman[0, 1]) - np.arctanh(stats.spearmanr(y).statistic[0, 1])
    assert found.estimate.value == pytest.approx(abs(expected), abs=0.02)
    # the candidate has less
    assert found.pulls[0, 1] == pytest.approx(-found.estimate.value / found.estimate.std_error)


def test_the_floor_of_a_correlation_is_what_truth_stays_below():
    above = 0
    for k in range(200):
        rng = np.random.default_rng([k, 6])
        x, y = rng.normal(size=(300, 2)), rng.normal(size=(75, 2))
        found = compare_correlations(x, y, Design.of(300, 75), n_permutations=19, rng=rng).estimate
        above += found.value > found.floor
    # a floor from a hundred halves is itself uncertain
    low, high = stats.binom.ppf(0.001, 200, 0.04), stats.binom.ppf(0.999, 200, 0.08)
    assert low <= above <= high


def test_the_limit_is_that_of_the_pair_that_may_differ_most():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 2000, 3))
    x[:, 1] += x[:, 0]
    found = compare_correlations(x, y, Design.of(2000, 2000), n_permutations=99, rng=rng)
    assert found.pair == (0, 1)
    assert found.upper >= found.estimate.value + 1.645 * found.estimate.std_error
    lost = compare_correlations(y, y, Design.of(2000, 2000), n_permutations=99, rng=rng)
    # nothing differs: the pair named is any, and another one is known less well
    assert lost.estimate.value == pytest.approx(0, abs=1e-12)
    assert 1.645 * lost.estimate.std_error < lost.upper < 0.2


def test_constant_columns_have_no_correlation():
    x = np.column_stack((gaussian(100, 0), np.ones(100)))
    assert compare_correlations(x, x, Design.of(100, 100), n_permutations=9,
                                rng=np.random.default_rng(0)) is None  # fmt: skip


def column_test(shift, n=3000):
    """What is found for a Gaussian column that is shifted, beside one that is not."""
    x = np.random.default_rng(4).normal(size=(4, n))
    columns = [Column(x[0], x[1] + shift), Column(x[2], x[3])]
    rng = np.random.default_rng(5)
    return compare_columns(columns, Design.of(n, n), n_permutations=199, rng=rng)[0][0]


def test_the_more_looks_the_less_is_proven():
    found = column_test(0.4)
    assert 0.2 < found.proven(100) < found.proven(1) < 0.4
    assert 0.2 < found.bias.proven(100) < found.bias.proven(1) < 0.4
    assert found.bias.proven(1) == found.bias.lower
    assert column_test(0.0).proven(1) == 0.0


def test_nothing_is_proven_of_a_constant():
    bias = smooth_bias(np.ones(50), np.ones(60), Design.of(50, 60))
    assert (bias.value, bias.lower, bias.upper, bias.proven(3)) == (0.0, 0.0, 0.0, 0.0)


def test_the_upper_limit_by_js_has_the_error_at_the_limit():
    """(limit - value)^2 = z^2 (null variance + 4 s limit), with s = (1/n + 1/m) / (8 ln 2)."""
    n, m, z = 4000, 1000, stats.norm.ppf(0.95)
    s = (1 / n + 1 / m) / (8 * np.log(2))
    null = np.random.default_rng(0).normal(size=100) * 1e-4
    ks = Estimate(0.0, 0.0, 0.0, 1.0)
    for value, error in ((0.02, 0.004), (0.0005, 1e-4), (-0.0002, 1e-4)):
        at_zero = max(error**2 - 4 * s * max(value, 0), null.var())
        limit = optimize.brentq(
            lambda x: (x - max(value, 0)) ** 2 - z**2 * (at_zero + 4 * s * x),  # noqa: B023
            max(value, 0), 1.0, xtol=1e-12,
        )  # fmt: skip
        found = _upper(Estimate(value, error, 0.0, 0.1), ks, null, Design.of(n, m))
        assert found == pytest.approx(equivalent_shift(limit), rel=1e-3)


def test_the_roc_curve_has_the_auc():
    x = np.random.default_rng(0).normal(size=(2, 1500, 2))
    found = classifier_test(x[0], x[1] + [1.0, 0.0], rng=0)
    false, true = np.sort(np.stack(found.roc), axis=0)
    assert np.all(np.diff(found.roc) >= 0)
    assert [curve[0] for curve in found.roc] == [0, 0]
    np.testing.assert_allclose([curve[-1] for curve in found.roc], 1)
    assert np.trapezoid(true, false) == pytest.approx(found.auc.value, abs=0.01)

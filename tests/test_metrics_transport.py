"""Distances of distribution functions, sliced Wasserstein, energy distance."""

import numpy as np
import pytest
from scipy import stats

from physgen.metrics.energy import energy_distance
from physgen.metrics.judged import drawn_and_halves
from physgen.metrics.quadratic import quadratic_forms
from physgen.metrics.resampling import Design
from physgen.metrics.sliced import sliced_wasserstein
from physgen.metrics.transport import cramer_von_mises, ks_distance, wasserstein
from physgen.random import as_seed

ALL = [wasserstein, ks_distance, cramer_von_mises, sliced_wasserstein, energy_distance]
N_REPETITIONS = 100


def normal(n, seed, *, d=None, shift=0.0):
    return np.random.default_rng(seed).normal(shift, size=n if d is None else (n, d))


def pair_for(metric, n, m, seed, *, shift=0.0):
    d = 2 if metric in (sliced_wasserstein, energy_distance) else None
    return normal(n, [seed, 0], d=d), normal(m, [seed, 1], d=d, shift=shift)


def options(metric):
    return {"n_directions": 5} if metric is sliced_wasserstein else {}


# Cramér-von Mises


def test_every_draw_and_every_half_counts_once():
    found = drawn_and_halves(
        lambda rows: np.abs(rows).sum(axis=1), Design.of(40, 30), 19, np.random.default_rng(0)
    )
    assert [f.shape for f in found] == [(20,), (100,)]
    # twenty events against twenty: all of D is 1/20
    assert found[1] == pytest.approx(2.0)


def test_cramer_von_mises_against_scipy():
    x, y = normal(60, 0), normal(41, 1, shift=0.4)
    found = cramer_von_mises(x, y, rng=0)
    expected = stats.cramervonmises_2samp(x, y)
    assert found.value * 60 * 41 / 101 == pytest.approx(expected.statistic, rel=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.05)


def test_cramer_von_mises_with_ties_and_weights_by_hand():
    x, y = np.array([0.0, 1, 1, 2]), np.array([1.0, 2, 2])
    w = np.array([1.0, 2, 3, 2])
    design = Design.of(4, 3, weights=(w, None))
    f, g = np.array([1, 6, 8]) / 8, np.array([0, 1, 3]) / 3
    share = design.share
    h = share * np.array([1, 5, 2]) / 8 + (1 - share) * np.array([0, 1, 2]) / 3
    found = cramer_von_mises(x, y, weights=design, rng=0)
    assert found.value == pytest.approx(h @ (f - g) ** 2, rel=1e-12)


# sliced Wasserstein


def directions_of(rng, n, d):
    theta = np.random.default_rng(as_seed(rng)).normal(size=(n, d))
    return theta / np.linalg.norm(theta, axis=1, keepdims=True)


@pytest.mark.parametrize("m", [300, 170])
def test_sliced_wasserstein_against_scipy(m):
    x, y = normal(300, 0, d=3), normal(m, 1, d=3, shift=0.2)
    w = np.random.default_rng(2).random(300)
    theta = directions_of(0, 7, 3)
    expected = np.mean([stats.wasserstein_distance(x @ t, y @ t, w, None) for t in theta])
    found = sliced_wasserstein(x, y, weights=(w, None), n_directions=7, n_permutations=9, rng=0)
    assert found.value == pytest.approx(expected, rel=1e-9)


def test_sliced_wasserstein_of_equally_many_events_is_a_mean_over_sorted_pairs():
    # the formula of POT's sliced_wasserstein_distance with p = 1
    x, y = normal(200, 0, d=4), normal(200, 1, d=4, shift=0.3)
    theta = directions_of(3, 20, 4)
    expected = np.abs(np.sort(x @ theta.T, axis=0) - np.sort(y @ theta.T, axis=0)).mean()
    found = sliced_wasserstein(x, y, n_directions=20, n_permutations=9, rng=3)
    assert found.value == pytest.approx(expected, rel=1e-9)


def test_sliced_wasserstein_in_one_dimension_and_of_a_pure_shift():
    x, y = normal(150, 0, d=1), normal(100, 1, d=1)
    found = sliced_wasserstein(x, y, n_directions=3, n_permutations=9, rng=0)
    assert found.value == pytest.approx(stats.wasserstein_distance(x[:, 0], y[:, 0]), rel=1e-9)
    x = normal(100, 2, d=3)
    moved = sliced_wasserstein(x, x + np.eye(3)[0], n_directions=4000, n_permutations=1, rng=0)
    # |cos| has mean 1/2 and variance 1/12 over the sphere
    assert moved.value == pytest.approx(0.5, abs=4 / np.sqrt(12 * 4000))


# energy distance


def energy_double_loop(x, y, a, b):
    def mean(u, v, wu, wv, same):
        distance = np.sqrt(np.square(u[:, None] - v).sum(-1))
        return wu @ distance @ wv / (1 - wu @ wu if same else 1)

    return 2 * mean(x, y, a, b, False) - mean(x, x, a, a, True) - mean(y, y, b, b, True)


@pytest.mark.parametrize("weighted", [False, True])
def test_energy_distance_against_a_double_loop(weighted):
    x, y = normal(90, 0, d=3), normal(70, 1, d=3, shift=0.3)
    w = np.random.default_rng(2).normal(1, 0.7, 90) if weighted else np.ones(90)
    found = energy_distance(x, y, weights=(w, None), n_permutations=9, rng=0)
    expected = energy_double_loop(x, y, w / w.sum(), np.full(70, 1 / 70))
    assert found.value == pytest.approx(expected, rel=1e-9)


def test_energy_distance_of_all_pairs_against_scipy():
    x, y = normal(90, 0), normal(70, 1, shift=0.5)
    forms = quadratic_forms(
        lambda u, v: -(u - v.T).abs(), np.concatenate((x, y))[:, None], Design.of(90, 70), 9,
        np.random.default_rng(0), with_diagonal=True,
    )  # fmt: skip
    assert forms.drawn[0] == pytest.approx(stats.energy_distance(x, y) ** 2, rel=1e-9)


def test_energy_distance_of_gaussians_against_the_closed_form():
    # E|N(mu, s^2)| = s sqrt(2/pi) exp(-mu^2/(2 s^2)) + mu (1 - 2 Phi(-mu/s))
    mu, s = 0.5, np.sqrt(2)
    apart = s * np.sqrt(2 / np.pi) * np.exp(-((mu / s) ** 2) / 2)
    apart += mu * (1 - 2 * stats.norm.cdf(-mu / s))
    exact = 2 * apart - 2 * s * np.sqrt(2 / np.pi)
    found = energy_distance(normal(3000, 0), normal(3000, 1, shift=mu), rng=0)
    assert found.value == pytest.approx(exact, abs=4 * found.std_error)
    assert found.std_error < 0.15 * exact


# quadratic forms


def minus_distance(u, v):
    return -(u[:, None] - v).abs().sum(-1)


@pytest.mark.parametrize(("n", "m"), [(106, 213), (300, 41)])
def test_permutations_of_groups_and_of_events_have_one_null(monkeypatch, n, m):
    monkeypatch.setattr("physgen.metrics.quadratic._GROUPS", 120)
    monkeypatch.setattr("physgen.metrics.quadratic._BLOCK", 37)
    monkeypatch.setattr("physgen.metrics.quadratic._group_size", lambda *_: 3)
    z, design = normal(n + m, 0, d=2), Design.of(n, m)
    grouped = quadratic_forms(minus_distance, z, design, 2000, np.random.default_rng(0))
    monkeypatch.setattr("physgen.metrics.quadratic._group_size", lambda *_: 1)
    single = quadratic_forms(minus_distance, z, design, 2000, np.random.default_rng(1))
    monkeypatch.setattr("physgen.metrics.quadratic._GROUPS", 1)  # one event per draw and row
    by_event = quadratic_forms(minus_distance, z, design, 2000, np.random.default_rng(2))
    for other in (grouped, single):
        assert other.drawn[0] == pytest.approx(by_event.drawn[0], rel=1e-4)
        assert other.at_reference == pytest.approx(by_event.at_reference, rel=1e-9)
        assert other.at_candidate == pytest.approx(by_event.at_candidate, rel=1e-9)
        assert other.drawn[1:].mean() == pytest.approx(
            by_event.drawn[1:].mean(), abs=6 * by_event.drawn.std() / np.sqrt(2000)
        )
        assert other.drawn.std() == pytest.approx(by_event.drawn.std(), rel=0.12)
        assert other.halves.std() == pytest.approx(by_event.halves.std(), rel=0.5)


def test_groups_keep_their_size_in_sorted_files(monkeypatch):
    monkeypatch.setattr("physgen.metrics.quadratic._group_size", lambda *_: 3)
    p_values = []
    for k in range(N_REPETITIONS):
        x, y = normal(61, [k, 0]), normal(92, [k, 1])
        found = energy_distance(np.sort(x), np.sort(y), n_permutations=99, rng=k)
        p_values.append(found.p_value)
    assert rejected_inside(p_values)


# all of them


def rejected_inside(p_values, *, upper_only=False):
    low, high = stats.binom.ppf([0.001, 0.999], len(p_values), 0.05)
    rejected = np.sum(np.asarray(p_values) <= 0.05)
    return rejected <= high and (upper_only or rejected >= low)


@pytest.mark.parametrize("kind", ["unequal", "ties", "weighted", "chains"])
@pytest.mark.parametrize("metric", ALL)
def test_size(metric, kind):
    p_values = []
    for k in range(N_REPETITIONS):
        n, m = (40, 90) if kind == "unequal" else (80, 80)
        x, y = pair_for(metric, n, m, k)
        weights = (None, None)
        if kind == "ties":
            x, y = np.round(x), np.round(y)
        if kind == "weighted":
            weights = (np.random.default_rng([k, 2]).gamma(2.0, size=n), None)
        if kind == "chains":  # every event twice
            x, y, m = np.repeat(x[:40], 2, axis=0), y[:40], 40
            weights = Design.of(80, 40, blocks=(np.arange(80) // 2, None), tau=(1.0, 0.5))
        found = metric(x, y, weights=weights, n_permutations=99, rng=k, **options(metric))
        p_values.append(found.p_value)
    assert rejected_inside(p_values, upper_only=kind != "unequal")


@pytest.mark.parametrize("metric", ALL)
def test_weights_that_undo_a_shift_are_seen_and_needed(metric):
    forgotten, p_values = [], []
    for k in range(N_REPETITIONS // 2):
        x, y = pair_for(metric, 150, 150, k, shift=0.4)
        tilt = np.exp(0.4 * x.reshape(150, -1).sum(axis=1))
        settings = {"n_permutations": 99, "rng": k, **options(metric)}
        p_values.append(metric(x, y, weights=(tilt, None), **settings).p_value)
        forgotten.append(metric(x, y, **settings).p_value)
    assert rejected_inside(p_values, upper_only=True)
    assert not rejected_inside(forgotten)  # the negative control: weights left out
    assert np.mean(np.array(forgotten) <= 0.05) > 0.6


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("shift", [0.0, 0.6])
def test_error_matches_the_spread(metric, shift):
    found = [
        metric(*pair_for(metric, 300, 200, k, shift=shift), n_permutations=49, rng=1,
               **options(metric))
        for k in range(60)
    ]  # fmt: skip
    values, errors = (
        np.array([getattr(e, name) for e in found]) for name in ("value", "std_error")
    )
    # at equal laws the error of W1 and KS, that of F - G at a point, is an upper bound
    upper = 1.3 if shift else 2.0
    assert 0.75 < np.sqrt(np.mean(errors**2)) / values.std() < upper
    if shift == 0:
        above = np.mean([e.value > e.floor for e in found])
        assert above < 0.16  # 5 % expected


@pytest.mark.parametrize("metric", ALL)
def test_a_shift_is_found(metric):
    x, y = pair_for(metric, 300, 300, 5, shift=0.6)
    found = metric(x, y, n_permutations=199, rng=0)
    assert found.p_value == pytest.approx(1 / 200)
    assert found.value > 2 * found.floor

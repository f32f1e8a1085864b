from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from physgen.metrics.copies import _p_below, _p_of_preference, memorization
from physgen.metrics.duplicates import duplicates
from physgen.metrics.neighbors import nearest, pairs_in_balls
from physgen.metrics.resampling import Design, normalize_weights

N_REPETITIONS = 200


def gaussian(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def spins(rng, *shape):
    """Two-valued rows with a common field each, of which many repeat."""
    field = rng.normal(size=(*shape[:-1], 1))
    return np.where(rng.random(shape) < 1 / (1 + np.exp(-2 * field)), 1, -1).astype(np.int8)


# ---------------------------------------------------------------- neighbors

SAMPLES = {
    "tree": lambda rng, n: rng.normal(size=(n, 3)),
    "blocks": lambda rng, n: rng.normal(loc=50.0, size=(n, 20)),
    "few integers": lambda rng, n: rng.integers(0, 3, (n, 4)),
    "spins": lambda rng, n: rng.integers(0, 2, (n, 40), dtype=np.int8) * 2 - 1,
}


@pytest.fixture(params=SAMPLES)
def samples(request):
    rng = np.random.default_rng(1)
    return SAMPLES[request.param](rng, 1500), SAMPLES[request.param](rng, 4200)


def test_nearest_is_that_of_all_distances(samples):
    x, y = samples
    every = cdist(x, y)
    distances, index = nearest(x, y, k=4)
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :4], atol=1e-9)
    np.testing.assert_allclose(distances, np.take_along_axis(every, index, 1), atol=1e-9)


def test_a_point_is_not_its_own_neighbor(samples):
    x, _ = samples
    every = cdist(x, x)
    np.fill_diagonal(every, np.inf)
    distances, index = nearest(x, k=4)
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :4], atol=1e-9)
    assert not (index == np.arange(len(x))[:, None]).any()


def test_balls_are_those_of_all_distances(samples):
    x, y = samples
    radii = nearest(x, k=3)[0][:, -1]
    inside = cdist(x, y) <= radii[:, None] * (1 + 1e-9)
    balls, at, distances = pairs_in_balls(x, radii, y)
    found = np.zeros_like(inside)
    found[balls, at] = True
    # float32 may decide otherwise about a point on the rim
    assert (found != inside).sum() <= 2
    np.testing.assert_allclose(distances, cdist(x, y)[balls, at], rtol=1e-4, atol=1e-3)


def test_distances_between_near_copies_keep_their_digits():
    x = gaussian(2, 3000, 100) + 1000
    nudge = 1e-5 * gaussian(3, 3000, 100)
    distances, index = nearest(x + nudge, x)
    assert (index[:, 0] == np.arange(3000)).all()
    np.testing.assert_allclose(distances[:, 0], np.linalg.norm(nudge, axis=1), rtol=1e-6)


def test_too_few_neighbors_are_told():
    with pytest.raises(ValueError, match="5 neighbors wanted of 4 points"):
        nearest(np.zeros((5, 2)), k=5)


# ---------------------------------------------------------------- duplicates


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.int64, bool])
def test_duplicates_of_every_type(dtype):
    x = np.arange(3000).reshape(1000, 3) % 127
    x = (x[:, :, None] >> np.arange(7) & 1).reshape(1000, 21).astype(dtype)
    assert duplicates(x) == 1000 - len(np.unique(x, axis=0))
    assert duplicates(x, x[:10]) == (x[:, None] == x[:10]).all(axis=2).any(axis=1).sum()


def test_duplicates_across_types_and_shapes():
    x = gaussian(0, 50, 4, 3)
    assert duplicates(x.astype(np.float32), x) == 50
    assert duplicates(np.array([[-0.0, 1.0]]), np.array([[0.0, 1.0]])) == 1
    assert duplicates(x, x + 1e-12) == 0
    assert duplicates(np.array([[1.0, 2.0]]), np.array([[2, 1], [1, 2]])) == 1


# ---------------------------------------------------------------- memorization


@pytest.fixture(scope="module")
def split():
    return gaussian(0, 3, 10_000, 6)


def test_one_percent_of_copies_is_found(split):
    train, test, candidate = split
    copied = candidate.copy()
    rows = np.random.default_rng(5).permutation(10_000)[:100]
    copied[rows] = train[:100]
    found = memorization(copied, train, test, rng=0)
    assert found.n_exact == 100
    assert found.n_expected == 0
    assert (found.exact_rows == np.sort(rows)).all()
    # all 100 on one of two sides
    assert found.p_exact == pytest.approx(
        np.prod((10_000 - np.arange(100)) / (20_000 - np.arange(100))), rel=1e-6
    )
    assert found.near.p_value < 1e-6


def test_near_copies_are_found(split):
    train, test, candidate = split
    copied = candidate.copy()
    copied[:100] = train[200:300] + 0.01 * gaussian(9, 100, 6)
    found = memorization(copied, train, test, rng=0)
    assert found.n_exact == 0
    assert found.p_exact == 1
    assert found.near.p_value < 1e-6
    assert found.p_value < 1e-6
    assert np.isin(np.arange(100), found.near_rows[:120]).mean() > 0.95
    assert found.near.value == pytest.approx(0.02, abs=4 * found.near.std_error)
    assert "of the candidate events nearly equal a training event" in str(found)


def test_truth_is_no_copy(split):
    found = memorization(split[2], split[0], split[1], rng=0)
    assert found.p_value > 0.01
    assert abs(found.z) < 4
    assert found.near_expected == pytest.approx(0.01)


def test_a_collapse_is_no_copy(split):
    """Its events are near the training events, but near the test events as well."""
    train, test, candidate = (z[:5000] for z in split)
    for collapsed in (0.3 * candidate, 0.01 * candidate + 1, candidate[candidate[:, 0] > 1]):
        found = memorization(collapsed, train, test, rng=0)
        assert found.p_value > 0.01
    # the distances alone would have called it one
    assert nearest(0.3 * candidate, train)[0].mean() < 0.7 * nearest(test, train)[0].mean()


def test_a_collapse_of_discrete_data_is_no_copy():
    rng = np.random.default_rng(3)
    train, test = spins(rng, 2, 3000, 14)
    ordered = np.sign(rng.normal(size=(3000, 1)))
    chance = 1 / (1 + np.exp(-3 * ordered))
    collapsed = np.where(rng.random((3000, 14)) < chance, 1, -1).astype(np.int8)
    found = memorization(collapsed, train, test, rng=0)
    assert found.n_exact > 1.5 * found.n_expected
    assert found.p_value > 0.01
    copied = collapsed.copy()
    copied[:1000] = train[:1000]
    assert memorization(copied, train, test, rng=0).p_exact < 1e-6


def test_a_generator_that_overfits_is_too_near(split):
    train, test, _ = split
    blurred = train[:5000] + 0.3 * gaussian(4, 5000, 6)
    found = memorization(blurred, train[:5000], test[:5000], rng=0)
    assert found.z < -10
    assert found.closeness.p_value < 1e-6


def test_the_closeness_is_that_of_mann_whitney(split):
    train, test, candidate = (z[:800] for z in split)
    found = memorization(1.1 * candidate, train, test, rng=0)
    ours, theirs = nearest(test, train)[0][:, 0], nearest(1.1 * candidate, train)[0][:, 0]
    oracle = stats.mannwhitneyu(theirs, ours, alternative="less", use_continuity=False)
    assert found.closeness.value == pytest.approx(1 - oracle.statistic / 800**2)
    assert found.closeness.p_value == pytest.approx(oracle.pvalue, abs=1e-4)


def test_the_events_used_are_announced(split):
    found = memorization(split[2], split[0], split[1][:3000], max_events=1000, rng=0)
    assert found.near.note == "1,000 candidate and 1,000 test events"
    assert found.to_dict()["near"]["note"] == found.near.note


def sample(kind, rng, n):
    if kind == "integers":
        return rng.poisson(2.0, size=(3, n, 6))
    return spins(rng, 3, n, 14) if kind == "spins" else rng.normal(size=(3, n, 3))


@pytest.mark.parametrize("kind", ["continuous", "integers", "spins", "unequal", "weighted"])
def test_size(kind):
    p_values = []
    for k in range(N_REPETITIONS):
        rng = np.random.default_rng([k, 11])
        train, test, candidate = sample(kind, rng, 300)
        weights = (None, None)
        if kind == "unequal":
            test = test[:150]
        if kind == "weighted":
            weights = tuple(normalize_weights(rng.gamma(2.0, size=300), 300) for _ in range(2))
        found = memorization(candidate, train, test, weights=weights, rng=k)
        p_values.append((found.p_exact, found.near.p_value, found.closeness.p_value))
    rejected = (np.array(p_values) <= 0.05).sum(axis=0)
    low, high = stats.binom.ppf([0.001, 0.999], N_REPETITIONS, 0.05)
    assert (rejected <= high).all()
    assert rejected[2] >= low


def test_size_with_chains():
    """Steps of one chain are near each other; only the blocks know how little they are worth."""
    naive, right = [], []
    for k in range(60):
        rng = np.random.default_rng([k, 12])
        train, candidate = rng.normal(size=(2, 1000, 2))
        test = np.repeat(rng.normal(size=(100, 2)), 10, axis=0) + 0.01 * rng.normal(size=(1000, 2))
        blocks = (np.arange(1000) // 10, None)
        design = Design.of(1000, 1000, blocks=blocks, tau=(5.0, 0.5))
        for found, w in ((naive, (None, None)), (right, design)):
            found.append(memorization(candidate, train, test, weights=w, rng=k))
    rejected = [np.sum([abs(m.z) > 1.96 for m in found]) for found in (naive, right)]
    high = stats.binom.ppf(0.999, 60, 0.05)
    assert rejected[1] <= high < rejected[0]
    assert sum(m.near.p_value <= 0.05 for m in right) <= high


def test_bad_input_is_told():
    x = gaussian(0, 100, 3)
    with pytest.raises(ValueError, match="test has 19 events"):
        memorization(x, x, x[:19], rng=0)
    with pytest.raises(ValueError, match="train has 2 columns, but the candidate has 3"):
        memorization(x, x[:, :2], x, rng=0)
    broken = x.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 100 candidate events hold NaN"):
        memorization(broken, x, x, rng=0)


# ---------------------------------------------------------------- exact p-values


@pytest.mark.parametrize("theirs", [[0, 2, 3, 6], [0, 1, 6, 7], [4, 5, 6, 7]])
def test_a_share_below_a_quantile_has_the_p_value_of_all_arrangements(theirs):
    """The threshold is the third test event: how many candidate events may come before it?"""
    every = np.arange(8)
    before = [
        (np.array(rows) < np.setdiff1d(every, rows)[2]).sum() for rows in combinations(every, 4)
    ]
    ours = np.setdiff1d(every, theirs)
    found = _p_below(ours, np.array(theirs), ours[2], 2, Design.of(4, 4))
    assert found == pytest.approx(np.mean(np.array(before) >= np.sum(theirs < ours[2])))


@pytest.mark.parametrize(("met", "expected"), [("train", 2 * 0.1), ("test", 1.0)])
def test_an_event_met_is_of_the_training_with_its_share_of_events(met, expected):
    """One training and nine test events; the candidate nearly meets the first of either."""
    near, far = np.array([[0.1, 5.0]]), np.array([[6.0, 7.0]])
    of_train, of_test = (near, far) if met == "train" else (far, near)
    rows = np.array([[0, 0]]), np.array([[0, 1]])
    found = _p_of_preference((of_train, rows[0]), (of_test, rows[1]), 1, 9)
    assert found == pytest.approx(expected)

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from physgen.metrics.prdc import _relabeled, _scores, _three_samples, prdc
from physgen.metrics.resampling import Design

NAMES = ("precision", "recall", "density", "coverage")


def gaussian(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def by_brute_force(x, y, k):
    """The definitions of Naeem et al., with all distances."""
    of_x, of_y = (np.sort(cdist(z, z), axis=1)[:, k] for z in (x, y))
    between = cdist(x, y)
    inside = between <= of_x[:, None]
    return (
        inside.any(axis=0).mean(),
        (between <= of_y).any(axis=1).mean(),
        inside.sum() / (k * len(y)),
        inside.any(axis=1).mean(),
    )


@pytest.mark.parametrize("d", [2, 20])
def test_scores_are_those_of_all_distances(d):
    x, y = gaussian(0, 600, d), 0.7 * gaussian(1, 600, d)
    np.testing.assert_allclose(_scores(x, y, 4), by_brute_force(x, y, 4), atol=1e-3)


@pytest.mark.parametrize("d", [2, 20])
def test_an_exchange_of_labels_scores_as_a_sample_of_its_own(d):
    x, pooled = gaussian(0, 200, d), gaussian(1, 400, d)
    drawn = _relabeled(x, pooled, np.arange(400), 3, 2, np.random.default_rng(5))
    rng, labels = np.random.default_rng(5), np.arange(400) < 200
    for row in drawn:
        expected = np.subtract(_scores(x, pooled[labels], 3), _scores(x, pooled[~labels], 3))
        np.testing.assert_allclose(row, expected, atol=0.006)
        labels = (np.arange(400) < 200)[rng.permutation(400)]


def test_coverage_and_density_of_the_truth():
    """The closed forms hold in any number of dimensions; precision and recall have none."""
    n, k = 200, 3
    found = []
    for seed in range(100):
        x, y = gaussian([seed, 1], 2, n, 1 + seed % 3 * 6)
        found.append(_scores(x, y, k)[2:])
    expected = 1, 1 - np.prod([(n - 1 - j) / (2 * n - 1 - j) for j in range(k)])
    errors = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - expected) < 4 * errors).all()
    assert expected[1] == pytest.approx(1 - 2**-k, abs=0.005)


@pytest.fixture(scope="module")
def reference():
    return gaussian(7, 2000, 3)


def test_what_is_wrong_is_seen_by_the_right_score(reference):
    y = gaussian(8, 1000, 3)
    dropped = prdc(reference, y[y[:, 0] > 0], rng=0)
    assert dropped.recall.value < dropped.recall.floor
    assert dropped.coverage.p_value == 0.005
    assert dropped.precision.value > dropped.precision.floor
    invented = y.copy()
    invented[:200] += 6
    found = prdc(reference, invented, rng=0)
    assert found.precision.value < found.precision.floor
    assert found.precision.p_value == 0.005
    dense = prdc(reference, y / 3, rng=0)
    assert dense.density.value > 1.05
    assert dense.density.p_value == 0.005


def test_the_truth_passes_beside_its_own_value(reference):
    found = prdc(reference, gaussian(8, 1000, 3), rng=0)
    for name, truth in zip(NAMES, found.truth, strict=True):
        estimate = getattr(found, name)
        assert estimate.p_value > 0.01
        assert abs(estimate.value - truth) < 4 * np.sqrt(2) * estimate.std_error
        assert "1,000 events per sample, k = 5" in estimate.note
    assert list(found.to_dict()) == [*NAMES, "truth"]


def rejected(draw, *, n_repetitions=200):
    p_values = []
    for seed in range(n_repetitions):
        rng = np.random.default_rng([seed, 3])
        x, y, weights = draw(rng)
        found = prdc(x, y, k=2, weights=weights, n_permutations=19, rng=seed)
        p_values.append([getattr(found, name).p_value for name in NAMES])
    return (np.array(p_values) <= 0.05).sum(axis=0)


@pytest.mark.parametrize("kind", ["few dimensions", "many dimensions", "ties", "weighted"])
def test_size(kind):
    def draw(rng):
        d = 60 if kind == "many dimensions" else 2
        x, y = rng.normal(size=(160, d)), rng.normal(size=(80, d))
        if kind == "ties":
            x, y = np.round(3 * x), np.round(3 * y)
        if kind != "weighted":
            return x, y, (None, None)
        x = rng.normal(scale=1.5, size=(600, d))
        w = np.exp(-0.5 * np.square(x).sum(axis=1) * (1 - 1.5**-2))  # to unit Gaussians
        return x, y, (w, None)

    high = stats.binom.ppf(0.999, 200, 0.05)
    assert (rejected(draw) <= high).all()


def test_size_needs_the_weights_and_the_blocks():
    def weightless(rng):
        return rng.normal(scale=1.5, size=(600, 2)), rng.normal(size=(80, 2)), (None, None)

    high = stats.binom.ppf(0.999, 60, 0.05)
    assert rejected(weightless, n_repetitions=60).max() > high

    def chains(rng, blocks):
        x, y = (
            np.repeat(rng.normal(size=(n, 2)), 8, axis=0) + 0.5 * rng.normal(size=(8 * n, 2))
            for n in (60, 30)
        )
        own = (np.arange(480) // 8, np.arange(240) // 8)
        return x, y, Design.of(480, 240, blocks=own if blocks else (None, None), tau=(4.0, 4.0))

    assert (rejected(lambda rng: chains(rng, True), n_repetitions=60) <= high).all()
    assert rejected(lambda rng: chains(rng, False), n_repetitions=60).max() > high


def test_blocks_are_in_one_half():
    blocks = np.repeat(np.arange(41), 5)
    design = Design.of(205, 205, blocks=(blocks, blocks))
    ours, theirs, _ = _three_samples(design, 1000, np.random.default_rng(0))
    assert sorted([*ours, *theirs]) == list(range(205))
    assert min(len(ours), len(theirs)) == 100
    assert not set(blocks[ours]) & set(blocks[theirs])


def test_bad_input_is_told():
    x = gaussian(0, 100, 2)
    with pytest.raises(ValueError, match="50 events in a half"):
        prdc(x, x, rng=0)
    w = np.ones(100)
    w[:3] = -1
    with pytest.raises(ValueError, match="3 of 100 event weights are negative"):
        prdc(x, x, weights=(None, w), rng=0)
